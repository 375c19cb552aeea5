//! An unplug that takes its time: pciehp waits five seconds for somebody to press the button again, and
//! whoever takes that for a failure would give the drive away twice.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::ensure;
use halcyon_hal::{Room, SqliteJournal, StepState, Unfinished};

use super::drive::{APPEARS, Drive, UNPLUG};
use crate::drivers;
use crate::guest::{HotPlug, Shape};
use crate::lab::Lab;
use crate::rig::{self, A, Rig};
use crate::table::{Table, seconds};

/// What the button alone takes.
const BUTTON: Duration = Duration::from_secs(5);

/// Takes the drive from a guest that is slow to give it, and puts it back.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let shape = Shape { hot_plug: HotPlug::Native, ..Shape::default() };
    let [mut a, b] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
    let drive = Drive::make(folder)?;
    drive.plug(&mut a.monitor, "rp0")?;
    let name = a.succeed(APPEARS, UNPLUG)?;
    drive.leave_word(&mut a, &name, "slow")?;
    let (journal, _) = SqliteJournal::open(&folder.join("journal"), Room::DEFAULT)?;
    let drivers = drivers::of([&a.places.qmp, &b.places.qmp], &drive.file)?;
    let mut rig = Rig::new(drivers, journal, Unfinished::default())?;
    let mut table = Table::new(["", "took"]);
    for (what, owner) in [("given back", None), ("given again", Some(A))] {
        let began = Instant::now();
        let target = rig::with_drive(rig.held(), owner);
        let events = rig.carry_out(&target, UNPLUG)?;
        let took = began.elapsed();
        table.row([what.into(), seconds(took)]);
        let states: Vec<StepState> = events.iter().map(|event| event.state).collect();
        ensure!(states == [StepState::Succeeded], "{what}: {events:?}");
        ensure!(owner.is_some() || took >= BUTTON, "this guest does not wait for the button: {took:?}");
        ensure!(rig.held() == &target, "the machine is not as planned: {:?}", rig.held().devices);
    }
    let name = a.succeed(APPEARS, UNPLUG)?;
    drive.look(&mut a, &name, "slow")?;
    print!("{}", table.text());
    Ok(())
}
