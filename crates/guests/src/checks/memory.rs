//! Memory follows what guests use: from one that is idle to one that works, and back; and a guest that
//! cannot give what is asked of it keeps what it has.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use halcyon_hal::{Event, Journal, Room, SqliteJournal, StepState, Unfinished};
use serde_json::json;

use super::drive::Drive;
use crate::guest::{Guest, Shape};
use crate::lab::Lab;
use crate::rig::{self, Rig};
use crate::table::{Table, seconds};
use crate::{drivers, interrupt};

const SHORT: Duration = Duration::from_secs(30);
/// How long a change of memory may take, a refusal included.
const CHANGE: Duration = Duration::from_secs(60);
/// What both guests share, and the least that each holds, in MiB, as in `rig/host.toml` and `rig/vms.toml`.
const ALL_MIB: u64 = 640;
const LEAST_MIB: u64 = 192;

/// Moves memory there and back, and asks for what cannot be given.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let plain = Shape { memory_mib: 512, ..Shape::default() };
    let growing = Shape { virtio_mem_mib: Some(256), ..plain.clone() };
    let [mut a, mut b] = lab.boot(folder, [("a", &plain), ("b", &growing)])?;
    let drive = Drive::make(folder)?;
    set_by_hand(&mut a, 384)?;
    set_by_hand(&mut b, 256)?;
    let (journal, _) = SqliteJournal::open(&folder.join("journal"), Room::DEFAULT)?;
    let drivers = drivers::of([&a.places.qmp, &b.places.qmp], &drive.file)?;
    let mut rig = Rig::new(drivers, journal, Unfinished::default())?;
    let mut table = Table::new(["", "a uses", "b uses", "a holds", "b holds", "took"]);
    fill(&mut b, 90)?;
    follow(&mut rig, [&mut a, &mut b], "b works", &mut table)?;
    let held = sizes(&rig);
    ensure!(held[1] > held[0], "the memory did not go to the guest that uses it: {held:?}");
    fill(&mut b, 130)?;
    empty(&mut b)?;
    fill(&mut a, 80)?;
    follow(&mut rig, [&mut a, &mut b], "a works, b is done", &mut table)?;
    let held = sizes(&rig);
    ensure!(held[0] > held[1], "the memory did not come back: {held:?}");
    fill(&mut a, 120)?;
    refuse(&mut rig, &mut a, &mut b, &mut table)?;
    print!("{}", table.text());
    virtio_mem(&mut b)
}

/// Gives each guest what it uses and half of what is left.
fn follow<J: Journal>(
    rig: &mut Rig<J>,
    guests: [&mut Guest; 2],
    what: &str,
    table: &mut Table,
) -> anyhow::Result<()> {
    rig.refresh()?;
    let held = sizes(rig);
    let mut used = [0; 2];
    for ((used, guest), held) in used.iter_mut().zip(guests).zip(held) {
        *used = held.saturating_sub(available_mib(guest)?);
    }
    let left = ALL_MIB.saturating_sub(used[0] + used[1]) / 2;
    let first = (used[0] + left).clamp(LEAST_MIB, 512.min(ALL_MIB - LEAST_MIB));
    let target = rig::with_memory(rig.held(), [first, (ALL_MIB - first).min(512)]);
    let began = Instant::now();
    let events = rig.carry_out(&target, CHANGE)?;
    let took = began.elapsed();
    let odd = events.iter().find(|event| event.state != StepState::Succeeded);
    ensure!(odd.is_none(), "{what}: not as planned: {odd:?}");
    ensure!(rig.held() == &target, "{what}: the machine holds {:?}", sizes(rig));
    let [a, b] = sizes(rig);
    let mib = |size: u64| format!("{size} MiB");
    table.row([what.into(), mib(used[0]), mib(used[1]), mib(a), mib(b), seconds(took)]);
    Ok(())
}

/// Asks a guest for memory that it uses, on behalf of the other.
fn refuse<J: Journal>(
    rig: &mut Rig<J>,
    a: &mut Guest,
    b: &mut Guest,
    table: &mut Table,
) -> anyhow::Result<()> {
    let sum = "sha256sum /tmp/fill*";
    rig.refresh()?;
    let (before, sum_before) = (rig.held().clone(), a.succeed(sum, SHORT)?);
    let target = rig::with_memory(&before, [LEAST_MIB, ALL_MIB - LEAST_MIB]);
    let began = Instant::now();
    let events = rig.carry_out(&target, CHANGE)?;
    let took = began.elapsed();
    let became = |state: StepState| events.iter().filter(|event| event.state == state).count();
    let said = events.iter().find_map(|event: &Event| event.note.clone()).unwrap_or_default();
    ensure!(became(StepState::Refused) == 1, "the guest was not seen to refuse: {events:?}");
    ensure!(became(StepState::Succeeded) == 0, "something was granted that nobody gave up: {events:?}");
    ensure!(rig.executor().stuck().is_empty(), "a refusal left something stuck");
    let deadline = Instant::now() + SHORT;
    while rig.held() != &before {
        ensure!(Instant::now() < deadline, "the guest that refused was left with {:?}", sizes(rig));
        interrupt::sleep(Duration::from_millis(100))?;
        rig.refresh()?;
    }
    ensure!(a.succeed(sum, SHORT)? == sum_before, "what the guest that refused keeps was changed");
    ensure!(b.succeed("echo alive", SHORT)? == "alive", "the other guest was harmed");
    let [held_a, held_b] = sizes(rig).map(|size| format!("{size} MiB"));
    table.row(["a is asked for what it uses".into(), "–".into(), "–".into(), held_a, held_b, seconds(took)]);
    println!("  a refused: {said}");
    Ok(())
}

/// Grows and shrinks a guest by the device made for that, by hand.
fn virtio_mem(guest: &mut Guest) -> anyhow::Result<()> {
    const DEVICE: &str = "/machine/peripheral/mem0";
    let mut table = Table::new(["virtio-mem, by hand", "took"]);
    for mib in [128_u64, 0] {
        let began = Instant::now();
        let size = json!({ "path": DEVICE, "property": "requested-size", "value": mib << 20 });
        guest.monitor.execute("qom-set", size)?;
        while guest.monitor.property(DEVICE, "size")?.as_u64() != Some(mib << 20) {
            ensure!(began.elapsed() < SHORT, "virtio-mem did not come to {mib} MiB");
            interrupt::sleep(Duration::from_millis(5))?;
        }
        table.row([format!("to {mib} MiB"), seconds(began.elapsed())]);
    }
    print!("{}", table.text());
    Ok(())
}

fn sizes<J: Journal>(rig: &Rig<J>) -> [u64; 2] {
    [0, 1].map(|vm| rig.held().holdings.get(vm).map_or(0, |holding| holding.total_memory().get() >> 20))
}

pub(super) fn set_by_hand(guest: &mut Guest, mib: u64) -> anyhow::Result<()> {
    guest.monitor.execute("balloon", json!({ "value": mib << 20 }))?;
    let began = Instant::now();
    while guest.monitor.execute("query-balloon", json!({}))?["actual"].as_u64() != Some(mib << 20) {
        ensure!(began.elapsed() < SHORT, "{} does not come to {mib} MiB", guest.name);
        interrupt::sleep(Duration::from_millis(10))?;
    }
    Ok(())
}

/// What a guest could still use, as its balloon reports it: a report that is newer than now.
fn available_mib(guest: &mut Guest) -> anyhow::Result<u64> {
    const BALLOON: &str = "/machine/peripheral/balloon0";
    let first = guest.monitor.property(BALLOON, "guest-stats")?["last-update"].clone();
    let began = Instant::now();
    loop {
        let stats = guest.monitor.property(BALLOON, "guest-stats")?;
        if stats["last-update"] != first {
            let bytes = stats["stats"]["stat-available-memory"].as_u64();
            return Ok(bytes.context("the balloon does not report what is available")? >> 20);
        }
        if began.elapsed() > SHORT {
            bail!("the balloon of {} does not report", guest.name);
        }
        interrupt::sleep(Duration::from_millis(50))?;
    }
}

/// Has a guest put something into memory that it cannot drop.
pub(super) fn fill(guest: &mut Guest, mib: u64) -> anyhow::Result<()> {
    let write =
        format!("dd if=/dev/zero of=/tmp/fill-{mib} bs=1M count={mib} 2>&1 && echo kept >>/tmp/fill-{mib}");
    guest.succeed(&write, SHORT)?;
    Ok(())
}

fn empty(guest: &mut Guest) -> anyhow::Result<()> {
    guest.succeed("rm /tmp/fill-*", SHORT)?;
    Ok(())
}
