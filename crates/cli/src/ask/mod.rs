//! `halcyon status`, `vms`, `plan`, `explain` and `history`: what a running daemon tells.

mod text;

use std::io::IsTerminal;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::Result;
use halcyon_api::{Client, ClientError, Plan, Status, Trail, Vm, path};
use serde::Serialize;

use crate::bench::output;
use crate::demo::{print, stop_on_interrupt};

/// The variable that names a daemon's socket.
pub(crate) const SOCKET: &str = "HALCYON_SOCKET";
/// Between two answers that are watched.
const PACE: Duration = Duration::from_secs(1);

/// Which daemon, and how its answer is shown.
#[derive(Debug, clap::Args)]
pub(crate) struct Asking {
    /// The daemon's socket; /run/halcyon/halcyon.sock if left out
    #[arg(long, value_name = "PATH", env = SOCKET)]
    socket: Option<PathBuf>,
    /// Write the answer as JSON; with --watch, one answer a line
    #[arg(long)]
    json: bool,
    /// Ask again every second, until Ctrl-C
    #[arg(long)]
    watch: bool,
}

/// Say how the running daemon is
#[derive(Debug, clap::Args)]
pub(crate) struct StatusArgs {
    #[command(flatten)]
    asking: Asking,
}

/// List the VMs that the running daemon watches, with what they hold and use
#[derive(Debug, clap::Args)]
pub(crate) struct VmsArgs {
    #[command(flatten)]
    asking: Asking,
}

/// Show the running daemon's newest plan, and what became of it
#[derive(Debug, clap::Args)]
pub(crate) struct PlanArgs {
    #[command(flatten)]
    asking: Asking,
}

/// Show what VMs held and used over time, as the running daemon saw it
#[derive(Debug, clap::Args)]
pub(crate) struct HistoryArgs {
    /// Only this VM
    #[arg(long, value_name = "NAME")]
    vm: Option<String>,
    /// Seconds between two points: 1 (ten minutes back), 10 (two hours) or 60 (a day)
    #[arg(long, value_name = "SECONDS", default_value_t = 10)]
    every: u32,
    #[command(flatten)]
    asking: Asking,
}

pub(crate) fn status(args: &StatusArgs) -> Result<ExitCode> {
    args.asking.show(|client| client.get::<Status>(path::STATUS), text::status)
}

pub(crate) fn vms(args: &VmsArgs) -> Result<ExitCode> {
    args.asking.show(|client| client.get::<Vec<Vm>>(path::VMS), |vms| text::vms(vms))
}

pub(crate) fn plan(args: &PlanArgs) -> Result<ExitCode> {
    args.asking.show(|client| client.get::<Option<Plan>>(path::PLAN), |plan| text::plan(plan.as_ref()))
}

/// Why the newest plan is as it is; of one VM where one is named.
pub(crate) fn explain(
    socket: Option<PathBuf>,
    vm: Option<&str>,
    json: Option<&Path>,
    watch: bool,
) -> Result<ExitCode> {
    let ask = |client: &Client| {
        let mut plan = client.get::<Option<Plan>>(path::PLAN)?;
        if let (Some(plan), Some(vm)) = (&mut plan, vm) {
            plan.changes.retain(|change| change.vm.as_deref() == Some(vm));
        }
        Ok::<_, ClientError>(plan)
    };
    if let Some(file) = json.filter(|file| file.as_os_str() != "-") {
        let plan = ask(&Client::new(&halcyon_api::socket_or_default(socket)))?;
        output::json(Some(file), &plan)?;
        return Ok(ExitCode::SUCCESS);
    }
    let asking = Asking { socket, json: json.is_some(), watch };
    asking.show(ask, |plan| text::explain(plan.as_ref(), vm))
}

pub(crate) fn history(args: &HistoryArgs) -> Result<ExitCode> {
    let vm = args.vm.as_deref().map_or_else(String::new, |vm| format!("&vm={}", escaped(vm)));
    let path = format!("{}?every={}{vm}", path::HISTORY, args.every);
    args.asking.show(|client| client.get::<Vec<Trail>>(&path), |trails| text::history(trails))
}

/// Text as a part of a query.
fn escaped(text: &str) -> String {
    let one = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' => char::from(byte).to_string(),
        byte => format!("%{byte:02X}"),
    };
    text.bytes().map(one).collect()
}

impl Asking {
    fn show<T: Serialize>(
        &self,
        ask: impl Fn(&Client) -> Result<T, ClientError>,
        text: impl Fn(&T) -> String,
    ) -> Result<ExitCode> {
        let client = Client::new(&halcyon_api::socket_or_default(self.socket.clone()));
        if !self.watch {
            let answer = ask(&client)?;
            print(&self.form(&answer, &text, true)?)?;
            return Ok(ExitCode::SUCCESS);
        }
        let stop = stop_on_interrupt()?;
        let clear = !self.json && std::io::stdout().is_terminal();
        while !stop.load(Ordering::Relaxed) {
            let began = Instant::now();
            let shown = self.form(&ask(&client)?, &text, false)?;
            print(&if clear { format!("\x1b[H\x1b[2J{shown}") } else { shown })?;
            while began.elapsed() < PACE && !stop.load(Ordering::Relaxed) {
                std::thread::sleep(Duration::from_millis(20));
            }
        }
        Ok(ExitCode::SUCCESS)
    }

    fn form<T: Serialize>(&self, answer: &T, text: impl Fn(&T) -> String, pretty: bool) -> Result<String> {
        let json = |answer| {
            if pretty { serde_json::to_string_pretty(answer) } else { serde_json::to_string(answer) }
        };
        Ok(if self.json { json(answer)? + "\n" } else { text(answer) })
    }
}
