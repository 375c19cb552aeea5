//! A guest whose QEMU is killed in the middle of a change: once the one that was to receive, once the one
//! that was to give. Native hot-plug is slow enough to be sure of the middle.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use halcyon_hal::{Event, Journal, Room, SqliteJournal, Unfinished};

use super::drive::{APPEARS, Drive, UNPLUG};
use crate::guest::{Guest, HotPlug, Shape};
use crate::lab::Lab;
use crate::rig::{self, A, B, Rig};
use crate::table::{Table, seconds};
use crate::{drivers, interrupt};

const SHORT: Duration = Duration::from_secs(10);
/// When the guest is killed: while the other still waits for its button.
const MIDDLE: Duration = Duration::from_secs(2);
/// How long it may take until the rest of the host is rid of the change.
const END: Duration = Duration::from_secs(90);

/// Kills the receiver, then the giver.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let shape = Shape { hot_plug: HotPlug::Native, ..Shape::default() };
    let [mut a, mut b] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
    let drive = Drive::make(folder)?;
    drive.plug(&mut a.monitor, "rp0")?;
    let name = a.succeed(APPEARS, UNPLUG)?;
    drive.leave_word(&mut a, &name, "mine")?;
    let mut table = Table::new(["killed", "until the change was over", "it ended with"]);

    let mut rig = rig_of(folder, "receiver", &drive, [&a, &b])?;
    let events = kill_in_the_middle(&mut rig, &mut b, "the receiver", &mut table)?;
    ensure!(a.runs() && a.succeed("echo alive", SHORT)? == "alive", "the giver was harmed: {events:?}");
    ensure!(rig.held().devices[0].owner == Some(A), "the drive was not led back: {events:?}");
    let name = a.succeed(APPEARS, UNPLUG)?;
    drive.look(&mut a, &name, "mine")?;
    drop(rig);

    let [mut c] = lab.boot(folder, [("c", &shape)])?;
    let mut rig = rig_of(folder, "giver", &drive, [&a, &c])?;
    let events = kill_in_the_middle(&mut rig, &mut a, "the giver", &mut table)?;
    ensure!(c.runs() && c.succeed("echo alive", SHORT)? == "alive", "the receiver was harmed: {events:?}");
    let target = rig::with_memory(rig.held(), [256, 224]);
    let events = rig.carry_out(&target, END)?;
    let holds = rig.held().holding(B).map(|holding| holding.total_memory().get() >> 20);
    ensure!(holds == Some(224), "the guest that is left takes no change any more: {holds:?} {events:?}");
    print!("{}", table.text());
    Ok(())
}

fn rig_of(
    folder: &Path,
    name: &str,
    drive: &Drive,
    guests: [&Guest; 2],
) -> anyhow::Result<Rig<SqliteJournal>> {
    let (journal, _) = SqliteJournal::open(&folder.join(name), Room::DEFAULT)?;
    let drivers = drivers::of(guests.map(|guest| guest.places.qmp.as_path()), &drive.file)?;
    Rig::new(drivers, journal, Unfinished::default())
}

fn kill_in_the_middle<J: Journal>(
    rig: &mut Rig<J>,
    victim: &mut Guest,
    what: &str,
    table: &mut Table,
) -> anyhow::Result<Vec<Event>> {
    let plan = rig.plan(&rig::with_drive(rig.held(), Some(B)))?;
    rig.submit(&plan);
    let began = Instant::now();
    let mut events = Vec::new();
    while began.elapsed() < MIDDLE {
        events.extend(rig.turn()?);
        interrupt::sleep(Duration::from_millis(10))?;
    }
    ensure!(!rig.is_idle(), "the change was over before its middle: {events:?}");
    victim.kill();
    let killed = Instant::now();
    events.extend(rig.settle(END)?);
    let states: Vec<&str> = events.iter().map(Event::became).collect();
    table.row([what.into(), seconds(killed.elapsed()), states.join(", ")]);
    Ok(events)
}
