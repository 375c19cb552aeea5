//! The daemon itself, carrying out what it decides on two guests that share a CPU and memory: their load
//! changes, and what each holds follows. The same under a policy that changes nothing, for comparison.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use halcyon_api::{Client, Status, Vm, path};
use halcyon_daemon::{Config, Here, Kind, Site};
use halcyon_host::affinity;
use halcyon_host::cgroup::NumberList;

use super::limits::{used, vcpus};
use super::memory::{fill, set_by_hand};
use crate::guest::process::Process;
use crate::guest::{Guest, Shape};
use crate::interrupt;
use crate::lab::Lab;
use crate::table::{Table, seconds};

const SHORT: Duration = Duration::from_secs(60);
/// Between two looks at what the daemon tells.
const LOOK: Duration = Duration::from_millis(10);
/// How long one load is watched.
const WATCHED: Duration = Duration::from_secs(6);
/// What each guest holds at the start, in MiB.
const FIRST_MIB: u64 = 320;

const HOST: &str = include_str!("daemon/host.toml");
const VMS: &str = include_str!("daemon/vms.toml");

/// A daemon, from a configuration.
#[derive(Debug, clap::Args)]
pub(crate) struct Drive {
    /// The configuration.
    #[arg(long)]
    config: PathBuf,
    /// Where to answer.
    #[arg(long)]
    socket: PathBuf,
}

/// Runs the daemon until it is told to end.
///
/// # Errors
/// When it cannot start.
pub(crate) fn run_daemon(order: &Drive) -> anyhow::Result<()> {
    let config = Config::read(&order.config)?;
    let Kind::Linux(linux) = &config.kind else { bail!("the lab drives its own host") };
    let acts = config.mode == halcyon_api::Mode::Act;
    let Here { machine, executor, newest } = halcyon_daemon::here(linux, std::sync::Arc::default(), acts)?;
    let socket = order.socket.clone();
    Ok(halcyon_daemon::run(Site { config, machine, executor, newest, socket }, |_| {})?)
}

/// Changes the guests' load under each policy, and compares what they got.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let mut table = Table::new(["policy", "load", "needs", "got", "held after"]);
    let mut got = Vec::new();
    for policy in ["static", "learned"] {
        let folder = folder.join(policy);
        std::fs::create_dir_all(&folder)?;
        let Some(result) = Bench::start(lab, &folder, policy)? else { return Ok(()) };
        got.push(result.measure(&mut table)?);
    }
    print!("{}", table.text());
    let [before, after] = got.as_slice() else { bail!("a policy got lost") };
    println!("{before:?} {after:?}");
    Ok(())
}

/// What the guest that works more got.
#[derive(Debug)]
struct Got {
    /// Its part of the CPU while both work.
    cpu: f64,
    /// How long until it was sure of what it needs, if ever.
    cpu_after: Option<Duration>,
    memory_after: Option<Duration>,
}

struct Bench {
    guests: [Guest; 2],
    vcpus: [Vec<u32>; 2],
    daemon: Process,
    client: Client,
    policy: &'static str,
}

impl Bench {
    fn start(lab: &Lab, folder: &Path, policy: &'static str) -> anyhow::Result<Option<Self>> {
        let shape = Shape { memory_mib: 512, ..Shape::default() };
        let [mut a, mut b] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
        set_by_hand(&mut a, FIRST_MIB)?;
        set_by_hand(&mut b, FIRST_MIB)?;
        let vcpus = [vcpus(&mut a)?, vcpus(&mut b)?];
        let all = affinity::pinned(vcpus[0][0])?;
        let one = NumberList(all.0.iter().take(1).copied().collect());
        vcpus.iter().flatten().try_for_each(|thread| affinity::pin(*thread, &one))?;
        let sockets = [&a, &b].map(|guest| format!("{:?}", guest.places.qmp));
        let config = format!(
            "[host]\nkind = \"linux\"\ndescribe = \"host.toml\"\nvms = \"vms.toml\"\nstate = \"state\"\n\
             sockets = [{}]\n[control]\nmode = \"act\"\npolicy = \"{policy}\"\n",
            sockets.join(", ")
        );
        for (name, text) in [("halcyon.toml", config.as_str()), ("host.toml", HOST), ("vms.toml", VMS)] {
            std::fs::write(folder.join(name), text).with_context(|| format!("cannot write {name}"))?;
        }
        let socket = folder.join("halcyon.sock");
        let program = std::env::current_exe().context("cannot find this program")?;
        let program = program.to_str().context("this program's path is no text")?;
        let arguments: [OsString; 5] = [
            "drive".into(),
            "--config".into(),
            folder.join("halcyon.toml").into(),
            "--socket".into(),
            socket.clone().into(),
        ];
        let daemon = Process::start(program, &arguments, &folder.join("daemon.log"))?;
        let client = Client::new(&socket);
        let mut bench = Self { guests: [a, b], vcpus, daemon, client, policy };
        let status = bench.until(|bench| {
            let status: Status = bench.client.get(path::STATUS).ok()?;
            (status.vms == 2 && status.cycle.count > 20 || !status.notices.is_empty()).then_some(status)
        })?;
        if let Some(notice) = status.notices.iter().find(|notice| notice.contains("group")) {
            println!("  SKIPPED, no control group can be made here: {notice}");
            return Ok(None);
        }
        ensure!(status.notices.is_empty(), "{:?}", status.notices);
        Ok(Some(bench))
    }

    fn until<T>(&mut self, found: impl Fn(&Self) -> Option<T>) -> anyhow::Result<T> {
        let began = Instant::now();
        loop {
            if let Some(found) = found(self) {
                return Ok(found);
            }
            if self.daemon.ended().is_some() || began.elapsed() > SHORT {
                bail!("the daemon did not come up: {}", self.daemon.said());
            }
            interrupt::sleep(LOOK)?;
        }
    }

    fn vms(&self) -> anyhow::Result<[Vm; 2]> {
        let mut vms: Vec<Vm> = self.client.get(path::VMS)?;
        vms.sort_by(|one, other| one.name.cmp(&other.name));
        vms.try_into().ok().context("the daemon does not know both guests")
    }

    fn measure(mut self, table: &mut Table) -> anyhow::Result<Got> {
        let work = "timeout 14 sh -c 'while :; do :; done'; true";
        let hold = |vm: &Vm| format!("{} of {}, {} MiB", vm.cpu_share_milli, vm.cpu_ceiling_milli, vm.memory_bytes >> 20);
        let [a, b] = &mut self.guests;
        let first = b.ask(work, SHORT)?;
        interrupt::sleep(Duration::from_secs(3))?;
        let began = Instant::now();
        let second = a.ask(work, SHORT)?;
        let before = used(self.vcpus[0][0])?;
        let mut cpu_after = None;
        while began.elapsed() < WATCHED {
            let [a, _] = self.vms()?;
            if cpu_after.is_none() && a.cpu_share_milli >= 650 {
                cpu_after = Some(began.elapsed());
            }
            interrupt::sleep(LOOK)?;
        }
        let part = used(self.vcpus[0][0])?.saturating_sub(before).as_secs_f64() / began.elapsed().as_secs_f64();
        let [one, other] = self.vms()?;
        table.row([
            self.policy.into(),
            "both work, a counts three times".into(),
            "75 %".into(),
            format!("{:.0} %", part * 100.0),
            format!("a {}; b {}; {cpu_after:?}", hold(&one), hold(&other)),
        ]);
        let [a, b] = &mut self.guests;
        a.answer(&second)?;
        b.answer(&first)?;
        let began = Instant::now();
        fill(&mut self.guests[0], 150)?;
        let filled = began.elapsed();
        let mut memory_after = None;
        while began.elapsed() < 2 * WATCHED {
            let [a, _] = self.vms()?;
            if memory_after.is_none() && a.memory_bytes >= 400 << 20 {
                memory_after = Some(began.elapsed());
            }
            interrupt::sleep(LOOK)?;
        }
        let [one, other] = self.vms()?;
        table.row([
            self.policy.into(),
            format!("a fills 150 MiB in {}", seconds(filled)),
            "400 MiB".into(),
            memory_after.map_or_else(|| "never".into(), seconds),
            format!("a {} {:?}; b {} {:?}", hold(&one), one.working_set_bytes, hold(&other), other.working_set_bytes),
        ]);
        let plans: Vec<halcyon_api::Plan> = self.client.get(path::PLANS)?;
        for plan in plans.iter().rev().take(6) {
            println!("{} {:?} {:?}", plan.at_s, plan.changes.iter().map(|c| &c.headline).collect::<Vec<_>>(), plan.events.iter().map(|e| (&e.became, &e.note)).collect::<Vec<_>>());
        }
        let status: Status = self.client.get(path::STATUS)?;
        println!("{status:?}");
        Ok(Got { cpu: part, cpu_after, memory_after })
    }
}
