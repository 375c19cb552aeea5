//! `halcyon doctor`: what this machine offers, what is missing and how to enable it.
//!
//! It only looks. No file is opened for writing, no service started, no module loaded, no socket
//! connected to; the one program that it runs is QEMU, asked for its version. What cannot be read is
//! reported as unknown with the reason, never as missing, and a check that does not answer within its
//! deadline holds nobody up. It ends with status 0 whenever the report could be made: a host that
//! offers little is a finding and no failure.

mod checks;
mod evidence;
mod finding;
#[cfg(test)]
mod fixture;
mod report;
mod root;
mod summary;
#[cfg(test)]
mod tests;
mod version;

use std::io::{self, ErrorKind, IsTerminal, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use checks::{cgroup, fabric, gpu, host, iommu, kvm, links, memory, qemu, resctrl, slots};
use finding::{Area, Finding, Status};
use root::Root;

/// Longer than any healthy host takes, several version queries included.
const DEADLINE: Duration = Duration::from_secs(15);

/// A check, the area it reports on and the name to report its silence under.
type Check = (Area, &'static str, fn(&Root) -> Vec<Finding>);

const CHECKS: &[Check] = &[
    (Area::Host, "host", host::check),
    (Area::Control, "cgroup", cgroup::check),
    (Area::Cache, "resctrl", resctrl::check),
    (Area::Memory, "numa", memory::check),
    (Area::Vms, "kvm", kvm::check),
    (Area::Vms, "qemu", qemu::check),
    (Area::Devices, "iommu", iommu::check),
    (Area::Devices, "hotplug-slots", slots::check),
    (Area::Fabric, "pcie-links", links::check),
    (Area::Fabric, "switchtec", fabric::check),
    (Area::Gpu, "gpus", gpu::check),
];

/// Say what this machine offers to Halcyon, what is missing and how to enable it. Changes nothing.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Write one JSON object in place of the report.
    #[arg(long)]
    json: bool,
    /// Look at a copy of a host's files below this folder in place of this host.
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

/// Makes the report and writes it to standard output.
///
/// # Errors
/// If `--root` is no folder, or standard output cannot be written to.
pub(crate) fn run(args: &Args) -> anyhow::Result<ExitCode> {
    ensure!(args.root.is_dir(), "--root {}: no such folder", args.root.display());
    let findings = examine(Root::new(&args.root), CHECKS, DEADLINE);
    let report = if args.json {
        report::json(&findings).context("cannot put the report into JSON")?
    } else {
        report::text(&findings, colour_is_wanted())
    };
    match io::stdout().lock().write_all(report.as_bytes()) {
        // Somebody has read enough, as in `halcyon doctor | head`.
        Err(error) if error.kind() == ErrorKind::BrokenPipe => {}
        other => other.context("cannot write the report to standard output")?,
    }
    Ok(ExitCode::SUCCESS)
}

/// On a terminal that is not a dumb one, unless NO_COLOR is set to anything (https://no-color.org).
fn colour_is_wanted() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|value| value == "dumb");
    io::stdout().is_terminal() && !set("NO_COLOR") && !dumb
}

/// Runs all checks beside each other and gives their findings in the order of the list. A check that a
/// sick device holds up inside a read is left behind: its thread ends with the process.
fn examine(root: Root, checks: &[Check], deadline: Duration) -> Vec<Finding> {
    let root = Arc::new(root);
    let until = Instant::now() + deadline;
    let answers: Vec<_> = checks
        .iter()
        .map(|(_, _, check)| {
            let (sender, answer) = mpsc::channel();
            let (root, check) = (Arc::clone(&root), *check);
            // The receiver may have given up waiting, and then the answer is nobody's.
            thread::spawn(move || drop(sender.send(check(&root))));
            answer
        })
        .collect();
    let mut findings = Vec::new();
    for ((area, name, _), answer) in checks.iter().zip(answers) {
        match answer.recv_timeout(until.saturating_duration_since(Instant::now())) {
            Ok(found) => findings.extend(found),
            Err(mpsc::RecvTimeoutError::Timeout) => {
                findings.push(silent(*area, name, &format!("no answer within {} s", deadline.as_secs())));
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => {
                findings.push(silent(
                    *area,
                    name,
                    "the check failed; this is a fault of halcyon, please report it",
                ));
            }
        }
    }
    evidence::doubt(&root, findings)
}

fn silent(area: Area, name: &'static str, why: &str) -> Finding {
    Finding::new(area, name, Status::Unknown, why)
}
