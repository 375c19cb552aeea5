//! Limits that guests feel, set by Halcyon's drivers as one plan after the other: CPU time through control
//! groups around QEMU's vCPUs, disk traffic through a throttle group inside it. What is measured is work
//! done in the guest, by the host's clock, and how long each plan took.

use std::fs::File;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use halcyon_hal::{Room, SqliteJournal, StepState, Unfinished};
use halcyon_host::affinity;
use halcyon_host::cgroup::{Group, NumberList};
use halcyon_model::{Bandwidth, Grant, MilliCpu, admit};

use crate::adopted::Adopted;
use crate::guest::{Guest, Shape};
use crate::lab::Lab;
use crate::rig::{self, A, B, DRIVE, Rig};
use crate::table::{Table, Times};
use crate::{drivers, interrupt};

const LIMIT: Duration = Duration::from_secs(60);
/// How far a share may be exceeded: of the last period all may be had.
const ABOVE: f64 = 1.25;
/// How far one may fall short of it on a machine that does other things as well.
const BELOW: f64 = 0.35;
/// For how long two guests compete.
const COMPETE: Duration = Duration::from_secs(3);

/// Limits CPU time, weighs two guests against each other, then limits disk traffic.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let disk = folder.join("disk.raw");
    File::create(&disk).and_then(|file| file.set_len(128 << 20)).context("cannot make a disk")?;
    let shape = Shape { disk: Some(disk), ..Shape::default() };
    let [mut a, mut b] = lab.boot(folder, [("a", &shape), ("b", &Shape::default())])?;
    let adopted = match (Adopted::new(a.pid()), Adopted::new(b.pid())) {
        (Ok(a), Ok(b)) => [a, b],
        (Err(error), _) | (_, Err(error)) => {
            println!("  SKIPPED, no control group can be made here: {error:#}");
            return Ok(());
        }
    };
    let vcpus = [vcpus(&mut a)?, vcpus(&mut b)?];
    let groups = [adopted[0].group.split(&vcpus[0])?, adopted[1].group.split(&vcpus[1])?];
    let mut bench = Bench::new(folder, &groups, &a.places.qmp)?;
    quota(&mut bench, &mut a, vcpus[0][0])?;
    weights(&mut bench, [&mut a, &mut b], &vcpus)?;
    throttle(&mut bench, &mut a)?;
    let mut table = Table::of_times();
    table.times("CPU time: decision until it counts", &bench.cpu);
    table.times("disk traffic: decision until it counts", &bench.disk);
    print!("{}", table.text());
    Ok(())
}

/// The threads of a guest's vCPUs.
pub(super) fn vcpus(guest: &mut Guest) -> anyhow::Result<Vec<u32>> {
    let reply = guest.monitor.execute("query-cpus-fast", serde_json::json!({}))?;
    let threads = halcyon_host::qmp::threads(&reply).context("QEMU does not say who runs its vCPUs")?;
    threads.into_iter().map(|thread| u32::try_from(thread).context("that is no thread")).collect()
}

/// A rig, and how long its plans took.
struct Bench {
    rig: Rig<SqliteJournal>,
    cpu: Times,
    disk: Times,
}

impl Bench {
    fn new(folder: &Path, groups: &[Group; 2], socket: &Path) -> anyhow::Result<Self> {
        let inventory = rig::inventory()?;
        let (journal, _) = SqliteJournal::open(&folder.join("journal"), Room::DEFAULT)?;
        let drivers = drivers::of_limits(groups, socket, &inventory)?;
        let mut believed = admit(inventory.world()).context("the lab's VMs do not fit its host")?;
        believed.devices[DRIVE.index()].owner = Some(A);
        let rig = Rig::with(drivers, journal, Unfinished::default(), believed)?;
        Ok(Self { rig, cpu: Times::default(), disk: Times::default() })
    }

    /// Grants both guests CPU time, in thousandths of a CPU: what each is sure of, and its most.
    fn grant(&mut self, [a, b]: [(u64, u64); 2]) -> anyhow::Result<()> {
        let mut target = self.rig.held().clone();
        for (holding, (share, ceiling)) in target.holdings.iter_mut().zip([a, b]) {
            holding.cpu = Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(ceiling) };
        }
        let took = self.carry_out(&target)?;
        self.cpu.push(took);
        Ok(())
    }

    /// Limits what the drive moves.
    fn limit(&mut self, ceiling: Bandwidth) -> anyhow::Result<()> {
        let mut target = self.rig.held().clone();
        target.devices[DRIVE.index()].bandwidth = Grant { share: Bandwidth::ZERO, ceiling };
        let took = self.carry_out(&target)?;
        self.disk.push(took);
        Ok(())
    }

    fn carry_out(&mut self, target: &halcyon_model::Assignment) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let events = self.rig.carry_out(target, LIMIT)?;
        let took = began.elapsed();
        let odd = events.iter().find(|event| event.state != StepState::Succeeded);
        ensure!(odd.is_none(), "not as planned: {odd:?}");
        ensure!(self.rig.held() == target, "the machine holds {:?}", self.rig.held());
        Ok(took)
    }
}

fn quota(bench: &mut Bench, guest: &mut Guest, vcpu: u32) -> anyhow::Result<()> {
    let mut table = Table::new(["CPU quota", "work in the guest", "CPU time of its vCPU"]);
    let mut shares = Vec::new();
    for percent in [100, 50, 25, 100] {
        bench.grant([(200, percent * 10), (200, 1000)])?;
        // The better of two: what else the machine does only ever takes away.
        let (first, second) = (work(guest, vcpu)?, work(guest, vcpu)?);
        let (rate, share) = if first.0 > second.0 { first } else { second };
        table.row([format!("{percent} %"), format!("{rate:.1} MB/s"), format!("{:.0} %", share * 100.0)]);
        shares.push((percent, share));
    }
    print!("{}", table.text());
    for (percent, share) in shares {
        #[allow(clippy::cast_precision_loss)]
        let should = percent as f64 / 100.0;
        within(&format!("at {percent} % of a CPU the guest's CPU time"), share, should)?;
    }
    Ok(())
}

/// Megabytes hashed in a second, and the share of a CPU that it took.
fn work(guest: &mut Guest, vcpu: u32) -> anyhow::Result<(f64, f64)> {
    let (began, before) = (Instant::now(), used(vcpu)?);
    guest.succeed("dd if=/dev/zero bs=64k count=192 2>/dev/null | sha256sum", LIMIT)?;
    let (took, used) = (began.elapsed().as_secs_f64(), used(vcpu)?.saturating_sub(before).as_secs_f64());
    Ok((192.0 * 65536.0 / 1e6 / took, used / took))
}

/// Two guests on one CPU divide it as their shares say.
fn weights(bench: &mut Bench, guests: [&mut Guest; 2], vcpus: &[Vec<u32>; 2]) -> anyhow::Result<()> {
    let threads = || vcpus.iter().flatten().copied();
    let all = affinity::pinned(vcpus[0][0])?;
    let one = NumberList(all.0.iter().take(1).copied().collect());
    threads().try_for_each(|thread| affinity::pin(thread, &one))?;
    let mut table = Table::new(["shares", "CPU time of a", "of b"]);
    let [a, b] = guests;
    let work = "timeout 12 sh -c 'while :; do :; done'; true";
    let asked = [a.ask(work, LIMIT)?, b.ask(work, LIMIT)?];
    for (share_a, share_b) in [(500, 500), (750, 250), (200, 800)] {
        bench.grant([(share_a, 1000), (share_b, 1000)])?;
        let before = [used(vcpus[A.index()][0])?, used(vcpus[B.index()][0])?];
        interrupt::sleep(COMPETE)?;
        let after = [used(vcpus[A.index()][0])?, used(vcpus[B.index()][0])?];
        let [of_a, of_b] = [0, 1].map(|guest| after[guest].saturating_sub(before[guest]).as_secs_f64());
        let part = of_a / (of_a + of_b);
        let percent = |part: f64| format!("{:.0} %", part * 100.0);
        table.row([format!("{share_a} : {share_b}"), percent(part), percent(1.0 - part)]);
        #[allow(clippy::cast_precision_loss)]
        let should = share_a as f64 / (share_a + share_b) as f64;
        ensure!((part - should).abs() < 0.15, "of {share_a} : {share_b} the first has {part:.2}");
    }
    print!("{}", table.text());
    a.answer(&asked[0])?;
    b.answer(&asked[1])?;
    threads().try_for_each(|thread| affinity::pin(thread, &all))?;
    bench.grant([(200, 1000), (200, 1000)])
}

/// CPU time of a thread.
pub(super) fn used(thread: u32) -> anyhow::Result<Duration> {
    let path = format!("/proc/{thread}/schedstat");
    let text = std::fs::read_to_string(&path).with_context(|| format!("cannot read {path}"))?;
    let nanoseconds = text.split_whitespace().next().and_then(|word| word.parse().ok());
    Ok(Duration::from_nanos(nanoseconds.with_context(|| format!("{path} is `{}`", text.trim()))?))
}

fn throttle(bench: &mut Bench, guest: &mut Guest) -> anyhow::Result<()> {
    let mut table = Table::new(["disk limit", "read in the guest"]);
    for (mb_per_s, count) in [(0_u32, 256), (20, 160), (5, 40)] {
        if mb_per_s > 0 {
            bench.limit(Bandwidth::mb_per_s(mb_per_s.into()))?;
        }
        let began = Instant::now();
        guest.succeed(
            &format!("dd if=/dev/vda of=/dev/null bs=256k count={count} iflag=direct 2>&1"),
            LIMIT,
        )?;
        let rate = f64::from(count) * 262_144.0 / 1e6 / began.elapsed().as_secs_f64();
        let limit = if mb_per_s == 0 { "none".into() } else { format!("{mb_per_s} MB/s") };
        table.row([limit, format!("{rate:.1} MB/s")]);
        if mb_per_s > 0 {
            within(&format!("at {mb_per_s} MB/s the guest's reading"), rate, f64::from(mb_per_s))?;
        }
    }
    print!("{}", table.text());
    Ok(())
}

fn within(what: &str, is: f64, should: f64) -> anyhow::Result<()> {
    let fits = is <= should * ABOVE && is >= should * BELOW;
    ensure!(fits, "{what} is {is:.2} in place of {should:.2}");
    Ok(())
}
