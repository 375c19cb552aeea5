//! A drive moves back and forth between two running guests while its owner reads from it: by hand over
//! plain QMP, and by Halcyon, in turns, so that the load of the machine falls on both alike.

use std::path::Path;
use std::time::{Duration, SystemTime};

use anyhow::{Context, ensure};
use halcyon_hal::{Journal, Room, SqliteJournal, StepState};
use halcyon_model::VmId;

use super::drive::{APPEARS, DEVICE, Drive, UNPLUG};
use crate::guest::{Guest, HotPlug, Shape};
use crate::lab::Lab;
use crate::rig::{self, A, B, Rig};
use crate::table::{Table, Times, overhead_percent};
use crate::{drivers, interrupt};

/// How much longer a move by Halcyon may take than one by hand. The check fails when it surely takes more: how
/// fast a guest answers differs from move to move by more than this.
const MOST_OVERHEAD_PERCENT: f64 = 10.0;

/// What one way of moving took.
#[derive(Default)]
struct Took {
    given_back: Times,
    there: Times,
}

/// By ACPI.
pub(crate) fn acpi(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    run(lab, folder, HotPlug::Acpi, 40)
}

/// By the ports themselves.
pub(crate) fn native(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    run(lab, folder, HotPlug::Native, 8)
}

fn run(lab: &Lab, folder: &Path, hot_plug: HotPlug, moves: usize) -> anyhow::Result<()> {
    let shape = Shape { hot_plug, ..Shape::default() };
    let [mut from, mut to] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
    let drive = Drive::make(folder)?;
    let (journal, open) = SqliteJournal::open(&folder.join("journal"), Room::DEFAULT)?;
    let mut rig = Rig::new(drivers::of([&from.places.qmp, &to.places.qmp], &drive.file)?, journal, open)?;
    drive.plug(&mut from.monitor, "rp0")?;
    let mut name = from.succeed(APPEARS, UNPLUG)?;
    let mut word = "begin".to_owned();
    drive.leave_word(&mut from, &name, &word)?;
    let (mut by_hand, mut by_halcyon) = (Took::default(), Took::default());
    let mut owners = [A, B];
    for number in 0..moves {
        drive.look(&mut from, &name, &word)?;
        word = format!("move-{number}");
        drive.leave_word(&mut from, &name, &word)?;
        drive.put_under_load(&mut from, &name)?;
        interrupt::sleep(Duration::from_millis(100))?;
        // There and back by hand, there and back by Halcyon: either way both guests give and take alike.
        name = if number / 2 % 2 == 0 {
            move_once(&mut from, &mut to, &mut by_hand, |from, to| by_hand_once(&drive, from, to))?
        } else {
            rig.refresh()?;
            move_once(&mut from, &mut to, &mut by_halcyon, |from, _| {
                by_halcyon_once(&mut rig, owners[1], from)
            })?
        };
        drive.reader_was_told(&mut from)?;
        std::mem::swap(&mut from, &mut to);
        owners.swap(0, 1);
    }
    drive.look(&mut from, &name, &word)?;
    report(&by_hand, &by_halcyon)
}

fn by_hand_once(drive: &Drive, from: &mut Guest, to: &mut Guest) -> anyhow::Result<SystemTime> {
    let at = drive.unplug(&mut from.monitor)?;
    drive.plug(&mut to.monitor, "rp0")?;
    Ok(at)
}

fn by_halcyon_once<J: Journal>(rig: &mut Rig<J>, to: VmId, from: &mut Guest) -> anyhow::Result<SystemTime> {
    let target = rig::with_drive(rig.held(), Some(to));
    let events = rig.carry_out(&target, UNPLUG * 2)?;
    let odd = events.iter().find(|event| event.state != StepState::Succeeded);
    ensure!(odd.is_none(), "the move did not go as planned: {odd:?}");
    ensure!(rig.held() == &target, "the machine is not as planned: {:?}", rig.held().devices);
    from.monitor.deleted(DEVICE, Duration::ZERO)
}

fn report(by_hand: &Took, by_halcyon: &Took) -> anyhow::Result<()> {
    let mut table = Table::of_times();
    for (who, took) in [("by hand", by_hand), ("by Halcyon", by_halcyon)] {
        table.times(&format!("{who}: decision to DEVICE_DELETED"), &took.given_back);
        table.times(&format!("{who}: decision to there in the other guest"), &took.there);
    }
    print!("{}", table.text());
    let overhead = overhead_percent(&by_hand.there, &by_halcyon.there);
    let (seen, certain) = overhead.context("nothing was moved")?;
    // Said and not asserted: what else the machine does is in every time.
    let verdict = match (seen <= MOST_OVERHEAD_PERCENT, certain <= MOST_OVERHEAD_PERCENT) {
        (true, _) => "within",
        (false, true) => "perhaps above",
        (false, false) => "above",
    };
    println!(
        "  a move by Halcyon takes {seen:+.1} % longer than by hand (medians; at least {certain:+.1} % at 95 %): {verdict} the {MOST_OVERHEAD_PERCENT} % promised"
    );
    Ok(())
}

/// Moves the drive once, and gives what it is called in its new guest.
fn move_once(
    from: &mut Guest,
    to: &mut Guest,
    took: &mut Took,
    make: impl FnOnce(&mut Guest, &mut Guest) -> anyhow::Result<SystemTime>,
) -> anyhow::Result<String> {
    let asked = to.ask(APPEARS, UNPLUG)?;
    let decided = SystemTime::now();
    let deleted = make(from, to)?;
    let outcome = to.answer(&asked)?;
    let appeared = decided.elapsed().context("the clock went backwards")?;
    ensure!(outcome.status == 0, "the drive did not appear in {}", to.name);
    took.given_back.push(deleted.duration_since(decided).context("the clock went backwards")?);
    took.there.push(appeared);
    Ok(outcome.output.trim().to_owned())
}
