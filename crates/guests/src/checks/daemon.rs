//! The daemon itself, carrying out what it decides on two guests that share a CPU and memory: their load
//! changes, and what each holds follows. The same under a policy that changes nothing, for comparison.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use halcyon_api::{Client, Plan, Status, Vm, path};
use halcyon_daemon::{Config, Here, Kind, Site};
use halcyon_host::affinity;
use halcyon_host::cgroup::{NumberList, Tree};
use rustix::process::{Pid, Signal, kill_process};

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
/// How long CPU time may take. Three cycles are promised; the rest is for a machine that is busy.
const CPU_TIME: Duration = Duration::from_secs(2);
/// How long memory may take.
const MEMORY: Duration = Duration::from_secs(12);
/// How long one guest works before the other does.
const ALONE: Duration = Duration::from_secs(2);
/// How long one load is watched.
const WATCHED: Duration = Duration::from_secs(12);
/// What each guest holds at the start, in MiB.
const FIRST_MIB: u64 = 224;
/// Most of the CPU, in thousandths.
const SURE_MILLI: u64 = 650;
/// What a guest with 265 MiB in use needs at least.
const ENOUGH_BYTES: u64 = 300 << 20;

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
///
/// # Errors
/// When a guest did not get what it needs in time from the policy that is to give it, or got it from the one
/// that changes nothing.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    advise(lab, folder)?;
    let mut table = Table::new([
        "policy",
        "b works alone",
        "a works too",
        "sure of it after",
        "b fills 190 MiB, holds 300 MiB after",
    ]);
    let mut got = Vec::new();
    for policy in ["static", "learned"] {
        let folder = folder.join(policy);
        std::fs::create_dir_all(&folder)?;
        let Some(bench) = Bench::start(lab, &folder, policy, "act")? else { return Ok(()) };
        let (result, bench) = bench.measure()?;
        if policy == "learned" {
            bench.lives(lab, &folder)?;
        }
        let part = |part: f64| format!("{:.0} %", part * 100.0);
        let after = |time: Option<Duration>| time.map_or_else(|| "never".into(), seconds);
        let [alone, beside] = [part(result.alone), part(result.beside)];
        table.row([policy.into(), alone, beside, after(result.sure_after), after(result.memory_after)]);
        got.push(result);
    }
    print!("{}", table.text());
    let [before, after] = got.as_slice() else { bail!("a policy got lost") };
    // What is granted counts: what guests make of it also hangs on what else the machine does.
    ensure!(after.granted >= SURE_MILLI, "b worked alone and was sure of {} thousandths", after.granted);
    ensure!(before.granted <= 500, "nothing was to change, and b could use {} thousandths", before.granted);
    ensure!(after.alone > before.alone, "b worked alone and got {:.2} of the CPU", after.alone);
    ensure!((0.55..0.97).contains(&after.beside), "a counts three times and got {:.2}", after.beside);
    ensure!(after.sure_after.is_some_and(|after| after <= CPU_TIME), "a was not sure of its part in time");
    ensure!(after.memory_after.is_some_and(|after| after <= MEMORY), "b did not get memory in time");
    ensure!(before.memory_after.is_none(), "nothing changed, and b got memory");
    Ok(())
}

/// Lets the daemon advise while a guest works, and looks at what it touched meanwhile: nothing.
fn advise(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let folder = folder.join("advise");
    std::fs::create_dir_all(&folder)?;
    let tree = Tree::open(Path::new("/sys/fs/cgroup"), Path::new("/proc"));
    let Some(mut bench) = Bench::start(lab, &folder, "learned", "advise")? else { return Ok(()) };
    let groups = |bench: &Bench| -> anyhow::Result<_> {
        Ok([tree.find(bench.guests[0].pid())?.0, tree.find(bench.guests[1].pid())?.0])
    };
    let (before, held) = (groups(&bench)?, bench.vms()?);
    let asked = bench.guests[1].ask("timeout 4 sh -c 'while :; do :; done'; true", SHORT)?;
    interrupt::sleep(Duration::from_secs(4))?;
    bench.guests[1].answer(&asked)?;
    let plans: Vec<Plan> = bench.client.get(path::PLANS)?;
    ensure!(
        !plans.is_empty() && plans.iter().all(|plan| !plan.carried_out),
        "there was no advice: {plans:?}"
    );
    ensure!(groups(&bench)? == before, "a guest was moved into another group");
    let memory = |vms: [Vm; 2]| vms.map(|vm| vm.memory_bytes);
    ensure!(memory(bench.vms()?) == memory(held), "a guest's memory changed");
    let (advice, traced) = (plans.len(), bench.trace.take());
    drop(bench);
    // strace ends after the daemon.
    interrupt::sleep(Duration::from_millis(300))?;
    let Some(trace) = traced else {
        println!("  strace is not here: which files the daemon wrote to was not watched");
        return Ok(());
    };
    let text = std::fs::read_to_string(&trace).with_context(|| format!("cannot read {}", trace.display()))?;
    ensure!(text.contains("/proc/"), "strace saw nothing");
    let own = folder.to_string_lossy();
    if let Some(line) =
        text.lines().find(|line| writes(line) && !line.contains(&*own) && !line.contains("\"/dev/"))
    {
        bail!("advice changed something: {line}");
    }
    println!(
        "  {advice} plans advised; of {} calls that open or change files none writes",
        text.lines().count()
    );
    Ok(())
}

/// Whether a traced call opens a file to write, or changes a folder.
fn writes(line: &str) -> bool {
    let opens =
        line.contains("open") && ["O_WRONLY", "O_RDWR", "O_CREAT"].iter().any(|flag| line.contains(flag));
    opens
        || ["mkdir", "rename", "unlink", "rmdir", "truncate(", "chmod", "link"]
            .iter()
            .any(|call| line.contains(call))
}

/// What guests got.
#[derive(Debug)]
struct Got {
    /// Of the CPU, by the second guest when it worked alone.
    alone: f64,
    /// What it was sure of meanwhile, or could use at most if that is less, in thousandths of a CPU.
    granted: u64,
    /// Of what both got, by the first guest when both worked.
    beside: f64,
    /// How long after it began to work the first guest was sure of most of that.
    sure_after: Option<Duration>,
    /// How long after it began to use memory the second guest held more.
    memory_after: Option<Duration>,
}

struct Bench {
    guests: [Guest; 2],
    vcpus: [Vec<u32>; 2],
    daemon: Process,
    client: Client,
    /// What strace writes, where it is here and nothing is to be written.
    trace: Option<PathBuf>,
}

impl Bench {
    fn start(lab: &Lab, folder: &Path, policy: &str, mode: &str) -> anyhow::Result<Option<Self>> {
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
             sockets = [{}]\n[control]\nmode = \"{mode}\"\npolicy = \"{policy}\"\n",
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
        let log = folder.join("daemon.log");
        let trace = (mode == "advise" && has_strace()).then(|| folder.join("trace"));
        let daemon = match &trace {
            None => Process::start(program, &arguments, &log)?,
            Some(trace) => {
                let mut traced: Vec<OsString> =
                    ["-D", "-f", "-qq", "-e", "trace=%file", "-o"].map(OsString::from).into();
                traced.extend([trace.into(), program.into()]);
                traced.extend(arguments);
                Process::start("strace", &traced, &log)?
            }
        };
        let client = Client::new(&socket);
        let mut bench = Self { guests: [a, b], vcpus, daemon, client, trace };
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

    fn measure(mut self) -> anyhow::Result<(Got, Self)> {
        let work = "timeout 15 sh -c 'while :; do :; done'; true";
        let first = self.guests[1].ask(work, SHORT)?;
        // It is seen to work and gets what it needs before it is measured.
        interrupt::sleep(Duration::from_secs(1))?;
        let alone = part(self.vcpus[1][0], || interrupt::sleep(ALONE))?;
        let [_, vm] = self.vms()?;
        let granted = vm.cpu_share_milli.min(vm.cpu_ceiling_milli);
        let began = Instant::now();
        let second = self.guests[0].ask(work, SHORT)?;
        let [before_a, before_b] = [used(self.vcpus[0][0])?, used(self.vcpus[1][0])?];
        let sure_after = self.watch(began, |[a, _]| a.cpu_share_milli >= SURE_MILLI)?;
        let used_a = used(self.vcpus[0][0])?.saturating_sub(before_a).as_secs_f64();
        let used_b = used(self.vcpus[1][0])?.saturating_sub(before_b).as_secs_f64();
        // Of what both got: what else the machine does takes from both.
        let beside = used_a / (used_a + used_b).max(f64::EPSILON);
        let [a, b] = &mut self.guests;
        a.answer(&second)?;
        b.answer(&first)?;
        let began = Instant::now();
        fill(&mut self.guests[1], 190)?;
        let memory_after = self.watch(began, |[_, b]| b.memory_bytes >= ENOUGH_BYTES)?;
        let status: Status = self.client.get(path::STATUS)?;
        ensure!(status.trouble.is_none() && status.stuck.is_empty(), "{status:?}");
        Ok((Got { alone, granted, beside, sure_after, memory_after }, self))
    }

    /// The first guest is paused, hangs, is killed and is replaced; the daemon says so, goes on, and the other
    /// guest does not notice.
    fn lives(mut self, lab: &Lab, folder: &Path) -> anyhow::Result<()> {
        let number = self.vms()?[0].id;
        let mut table = Table::new(["what happens to a", "the daemon knows after"]);
        let mut happens = |what: &str, state: Option<&str>, bench: &mut Self| -> anyhow::Result<()> {
            let began = Instant::now();
            let known = |vms: &[Vm]| match state {
                Some(state) => vms.iter().any(|vm| vm.id == number && vm.state.as_deref() == Some(state)),
                None => vms.iter().all(|vm| vm.id != number),
            };
            while !known(&bench.client.get::<Vec<Vm>>(path::VMS)?) {
                ensure!(
                    began.elapsed() < SHORT,
                    "{what} was never seen: {:?}",
                    bench.client.get::<Vec<Vm>>(path::VMS)
                );
                interrupt::sleep(LOOK)?;
            }
            table.row([what.into(), seconds(began.elapsed())]);
            Ok(())
        };
        let pid = Pid::from_raw(i32::try_from(self.guests[0].pid())?).context("a process")?;
        self.guests[0].monitor.execute("stop", serde_json::json!({}))?;
        happens("it is paused", Some("paused"), &mut self)?;
        self.guests[0].monitor.execute("cont", serde_json::json!({}))?;
        happens("it goes on", Some("running"), &mut self)?;
        kill_process(pid, Signal::STOP)?;
        happens("QEMU stops answering", Some("silent"), &mut self)?;
        kill_process(pid, Signal::CONT)?;
        happens("QEMU answers again", Some("running"), &mut self)?;
        self.guests[0].kill();
        happens("it is killed", None, &mut self)?;
        let shape = Shape { memory_mib: 512, ..Shape::default() };
        std::fs::remove_dir_all(folder.join("a"))?;
        let [again] = lab.boot(folder, [("a", &shape)])?;
        self.guests[0] = again;
        happens("another one has its name", Some("running"), &mut self)?;
        print!("{}", table.text());
        ensure!(self.guests[1].succeed("echo alive", SHORT)? == "alive", "the other guest was harmed");
        let status: Status = self.client.get(path::STATUS)?;
        ensure!(
            status.trouble.is_none() && status.stuck.is_empty() && status.cycle.failed == 0,
            "{status:?}"
        );
        Ok(())
    }

    /// How long it took until something was seen, in the time that a load is watched.
    fn watch(&self, began: Instant, wanted: impl Fn(&[Vm; 2]) -> bool) -> anyhow::Result<Option<Duration>> {
        let mut after = None;
        while began.elapsed() < WATCHED {
            if after.is_none() && wanted(&self.vms()?) {
                after = Some(began.elapsed());
            }
            interrupt::sleep(LOOK)?;
        }
        Ok(after)
    }
}

fn has_strace() -> bool {
    let tried = std::process::Command::new("strace").arg("-V").stdout(std::process::Stdio::null()).status();
    tried.is_ok_and(|status| status.success())
}

/// The part of a CPU that a thread used meanwhile.
fn part(thread: u32, meanwhile: impl FnOnce() -> anyhow::Result<()>) -> anyhow::Result<f64> {
    let (began, before) = (Instant::now(), used(thread)?);
    meanwhile()?;
    let used = used(thread)?.saturating_sub(before);
    Ok(used.as_secs_f64() / began.elapsed().as_secs_f64())
}
