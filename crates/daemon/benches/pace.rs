//! Whether the daemon keeps its pace, and what it takes: many guests that speak QMP, each with a process and a
//! control group of its own, under a daemon that acts. With `--soak`, guests come and go, hang and lie all
//! the time, and what the daemon's memory does is told minute by minute.
//!
//! ```text
//! cargo bench -p halcyon-daemon --bench pace -- --vms 256 --seconds 60
//! cargo bench -p halcyon-daemon --bench pace -- --vms 50 --seconds 3600 --soak
//! ```
#![expect(clippy::print_stdout, reason = "what was measured is the output")]

use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::time::{Duration, Instant};

use halcyon_api::{Client, Status, path};
use halcyon_daemon::{Config, Here, Kind, Site, here, run};
use halcyon_host::qmp::fake::{FakeQemu, Guest, Trouble};
use serde_json::json;

type Outcome<T> = Result<T, Box<dyn Error>>;

/// Between two things that happen to guests in a soak.
const EVENT: Duration = Duration::from_millis(500);
/// Figures of the first while are those of a program that warms up.
const WARM_UP: Duration = Duration::from_secs(10);
const SEED: u64 = 7;

#[derive(Debug, Clone)]
struct Options {
    vms: usize,
    seconds: u64,
    soak: bool,
}

fn main() -> Outcome<()> {
    let args: Vec<String> = std::env::args().collect();
    if let Some(place) = args.iter().position(|arg| arg == "--daemon") {
        return daemon(Path::new(args.get(place + 1).ok_or("--daemon needs a folder")?));
    }
    let number = |name: &str, default: u64| -> Outcome<u64> {
        let given = args.iter().position(|arg| arg == name).and_then(|place| args.get(place + 1));
        Ok(given.map(|text| text.parse()).transpose()?.unwrap_or(default))
    };
    let options = Options {
        vms: usize::try_from(number("--vms", 64)?)?,
        seconds: number("--seconds", 20)?,
        soak: args.iter().any(|arg| arg == "--soak"),
    };
    measure(&options)
}

/// The daemon, as another process, so that its memory is its own.
fn daemon(folder: &Path) -> Outcome<()> {
    let config = Config::read(&folder.join("halcyon.toml"))?;
    let Kind::Linux(linux) = &config.kind else { return Err("it drives a Linux host".into()) };
    let Here { machine, executor, newest } = here(linux, std::sync::Arc::default(), true)?;
    let socket = folder.join("halcyon.sock");
    Ok(run(Site { config, machine, executor, newest, socket }, |_| {})?)
}

/// A guest: a peer that speaks QMP, and a process that stands for its QEMU.
struct Vm {
    name: String,
    peer: Option<FakeQemu>,
    process: Option<Child>,
}

impl Vm {
    fn new(index: usize) -> Self {
        Self { name: format!("vm{index}"), peer: None, process: None }
    }

    fn start(&mut self, folder: &Path) -> Outcome<()> {
        let process = Command::new("sleep").arg("infinity").spawn()?;
        let size: u64 = 256 << 20;
        let guest =
            Guest { memory: size, needs: size / 4, pause: Duration::from_millis(50), ..Guest::default() };
        let peer = FakeQemu::start(&folder.join(format!("{}.qmp", self.name)), guest)?;
        {
            let answers = &mut peer.machine().answers;
            let cpus = json!([{ "cpu-index": 0, "thread-id": process.id() }]);
            answers.insert("query-cpus-fast".into(), cpus);
            answers.insert("query-name".into(), json!({ "name": self.name }));
            answers.insert("query-memory-size-summary".into(), json!({ "base-memory": size }));
        }
        (self.peer, self.process) = (Some(peer), Some(process));
        Ok(())
    }

    fn stop(&mut self) {
        self.peer = None;
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

impl Drop for Vm {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A daemon that ends with this value.
struct Daemon(Child);

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(pid) = i32::try_from(self.0.id()).ok().and_then(rustix::process::Pid::from_raw) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

fn measure(options: &Options) -> Outcome<()> {
    let folder = tempfile::tempdir()?;
    let guests = folder.path().join("vms");
    std::fs::create_dir(&guests)?;
    let mut vms: Vec<Vm> = (0..options.vms).map(Vm::new).collect();
    vms.iter_mut().try_for_each(|vm| vm.start(&guests))?;
    let (cores, gib) = (options.vms.div_ceil(4).max(1), options.vms.max(1));
    let host = format!(
        "name = \"bench\"\n[[socket]]\nname = \"s0\"\ncores = {cores}\n[[memory]]\nname = \"m0\"\nsocket = \"s0\"\n\
         capacity = \"{gib}GiB\"\nbandwidth = \"20GB/s\"\n"
    );
    std::fs::write(folder.path().join("host.toml"), host)?;
    let config = "[host]\nkind = \"linux\"\ndescribe = \"host.toml\"\nsockets = [\"vms\"]\nstate = \"state\"\n\
                  [control]\nmode = \"act\"\n";
    std::fs::write(folder.path().join("halcyon.toml"), config)?;
    let child = Command::new(std::env::current_exe()?).arg("--daemon").arg(folder.path()).spawn()?;
    let pid = child.id();
    let _daemon = Daemon(child);
    let client = Client::new(&folder.path().join("halcyon.sock"));
    let status = until(&client, |status| status.vms == options.vms)?;
    println!("{} VMs known after {:.1} s", status.vms, status.uptime_s);
    std::thread::sleep(WARM_UP);
    let first = Figures::of(&client, pid)?;
    first.tell("after warming up");
    let began = Instant::now();
    let mut chance = Chance(SEED);
    let (mut told, mut next) = (Instant::now(), Instant::now());
    while began.elapsed() < Duration::from_secs(options.seconds) {
        std::thread::sleep(Duration::from_millis(100));
        if options.soak && next.elapsed() >= EVENT {
            next = Instant::now();
            let place = chance.below(vms.len());
            happen(&mut vms[place], &mut chance, &guests)?;
        }
        if told.elapsed() >= Duration::from_secs(60) {
            told = Instant::now();
            Figures::of(&client, pid)?.tell(&format!("after {} s", began.elapsed().as_secs()));
        }
    }
    if options.soak {
        for vm in &mut vms {
            vm.stop();
            vm.start(&guests)?;
        }
        until(&client, |status| status.vms == options.vms)?;
        std::thread::sleep(WARM_UP);
    }
    let last = Figures::of(&client, pid)?;
    last.tell("at the end");
    let spent = last.cpu.saturating_sub(first.cpu).as_secs_f64() / began.elapsed().as_secs_f64();
    vms.iter_mut().for_each(Vm::stop);
    until(&client, |status| status.vms == 0)?;
    println!("daemon: {:.1} % of a core; memory {:+.1} %", spent * 100.0, last.growth(&first) * 100.0);
    Ok(())
}

/// Something happens to a guest.
fn happen(vm: &mut Vm, chance: &mut Chance, folder: &Path) -> Outcome<()> {
    let Some(peer) = &vm.peer else { return vm.start(folder) };
    match chance.below(8) {
        0 | 1 => vm.stop(),
        2 => peer.misbehave(Trouble::Silent),
        3 => peer.misbehave(Trouble::NoGreeting),
        4 => peer.misbehave(Trouble::Garbage),
        5 => peer.misbehave(Trouble::Repeats),
        6 => peer.misbehave(Trouble::DiesInReply),
        _ => peer.misbehave(Trouble::None),
    }
    Ok(())
}

fn until(client: &Client, good: impl Fn(&Status) -> bool) -> Outcome<Status> {
    let began = Instant::now();
    loop {
        match client.get::<Status>(path::STATUS) {
            Ok(status) if good(&status) => return Ok(status),
            answer if began.elapsed() > Duration::from_secs(120) => {
                return Err(format!("the daemon is not as it should be: {answer:?}").into());
            }
            _ => std::thread::sleep(Duration::from_millis(100)),
        }
    }
}

/// How a daemon is.
struct Figures {
    status: Status,
    resident_kib: u64,
    cpu: Duration,
}

impl Figures {
    fn of(client: &Client, pid: u32) -> Outcome<Self> {
        let process = PathBuf::from(format!("/proc/{pid}"));
        let text = std::fs::read_to_string(process.join("status"))?;
        let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        let resident_kib = line.trim().trim_end_matches("kB").trim().parse()?;
        let stat = std::fs::read_to_string(process.join("stat"))?;
        let fields: Vec<&str> = stat.rsplit_once(')').ok_or("no name")?.1.split_whitespace().collect();
        let ticks: u64 = fields[11].parse::<u64>()? + fields[12].parse::<u64>()?;
        let cpu = Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second());
        Ok(Self { status: client.get(path::STATUS)?, resident_kib, cpu })
    }

    fn tell(&self, when: &str) {
        let (cycle, changes) = (&self.status.cycle, &self.status.changes);
        let ms = |us: Option<f64>| us.unwrap_or(f64::NAN) / 1e3;
        println!(
            "{when}: {} VMs, {} cycles ({} left out, {} failed), late by {:.2} ms (median) {:.2} (p99) {:.2} (most), \
             took {:.2} and {:.2} ms, {:.1} MB resident, {} changes done, {} refused, {} failed, {} stuck",
            self.status.vms,
            cycle.count,
            cycle.missed,
            cycle.failed,
            ms(cycle.late_us.p50),
            ms(cycle.late_us.p99),
            ms(cycle.late_us.most),
            ms(cycle.took_us.p50),
            ms(cycle.took_us.p99),
            self.megabytes(),
            changes.done,
            changes.refused,
            changes.failed,
            self.status.stuck.len()
        );
    }

    #[expect(clippy::cast_precision_loss, reason = "a figure to look at")]
    fn megabytes(&self) -> f64 {
        self.resident_kib as f64 * 1024.0 / 1e6
    }

    fn growth(&self, before: &Self) -> f64 {
        self.megabytes() / before.megabytes() - 1.0
    }
}

/// A small generator: the same events in every run.
struct Chance(u64);

impl Chance {
    fn below(&mut self, most: usize) -> usize {
        // Knuth's constants for 64 bits; the upper half is the better one.
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap_or(0) % most.max(1)
    }
}
