//! `kill -9` of the process that carries plans out, at random points of many plans: whoever comes after it
//! finds the machine and the journal, and leads both to the old plan or to the new one.
//!
//! Old or new holds for each family of changes by itself, as each is a transaction of its own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use halcyon_hal::{Room, SqliteJournal};
use halcyon_model::{Assignment, VmId};

use super::drive::{APPEARS, Drive, UNPLUG};
use crate::guest::{Process, Shape};
use crate::lab::Lab;
use crate::rig::{self, A, B, Rig};
use crate::table::{Table, Times};
use crate::{drivers, interrupt};

/// How many reconfigurations are killed.
const KILLS: u32 = 30;
/// The latest moment of a kill, about when an undisturbed plan ends.
const LATEST_MS: u64 = 400;
const END: Duration = Duration::from_secs(60);
const BEGUN: &str = "begun";

/// One plan to be carried out by a process of its own.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Execute {
    /// The journal.
    #[arg(long)]
    journal: PathBuf,
    /// The monitor of each guest.
    #[arg(long, num_args = 2)]
    sockets: Vec<PathBuf>,
    /// The drive.
    #[arg(long)]
    drive: PathBuf,
    /// Who is to have the drive, and the sizes of memory in MiB; nothing for recovery alone.
    #[arg(long, num_args = 3)]
    plan: Vec<u64>,
}

/// Recovers what the journal left open, then carries out the plan.
///
/// # Errors
/// When either does not come to its end.
pub(crate) fn execute(order: &Execute) -> anyhow::Result<()> {
    let (journal, open) = SqliteJournal::open(&order.journal, Room::DEFAULT)?;
    let [a, b] = order.sockets.as_slice() else { anyhow::bail!("two sockets are needed") };
    let mut rig = Rig::new(drivers::of([a, b], &order.drive)?, journal, open)?;
    rig.settle(END)?;
    if let [owner, first, second] = order.plan.as_slice() {
        let owner = VmId(u32::try_from(*owner).context("no such guest")?);
        let target = rig::with_memory(&rig::with_drive(rig.held(), Some(owner)), [*first, *second]);
        let plan = rig.plan(&target)?;
        println!("{BEGUN}");
        rig.submit(&plan);
        rig.settle(END)?;
    }
    Ok(())
}

/// Kills it again and again.
pub(crate) fn run(lab: &Lab, folder: &Path) -> anyhow::Result<()> {
    let shape = Shape { memory_mib: 320, ..Shape::default() };
    let [mut a, mut b] = lab.boot(folder, [("a", &shape), ("b", &shape)])?;
    let drive = Drive::make(folder)?;
    drive.plug(&mut a.monitor, "rp0")?;
    let name = a.succeed(APPEARS, UNPLUG)?;
    drive.leave_word(&mut a, &name, "mine")?;
    let order = Execute {
        journal: folder.join("journal"),
        sockets: vec![a.places.qmp.clone(), b.places.qmp.clone()],
        drive: drive.file.clone(),
        plan: Vec::new(),
    };
    let (mut forward, mut back, mut recoveries) = (0, 0, Times::default());
    let mut held = look(&order)?;
    let mut state = 0x853c_49e6_748f_ea9b_u64;
    for round in 0..KILLS {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let owner = if held.devices[0].owner == Some(A) { B } else { A };
        let sizes = if round % 2 == 0 { [224, 320] } else { [320, 224] };
        let wanted = rig::with_memory(&rig::with_drive(&held, Some(owner)), sizes);
        let after = Duration::from_millis((state >> 33) % LATEST_MS);
        let order = Execute { plan: vec![u64::from(owner.0), sizes[0], sizes[1]], ..order.clone() };
        kill_after(&order, folder, after)?;
        let began = Instant::now();
        let now = look(&order)?;
        recoveries.push(began.elapsed());
        let families = one_of_both(&held, &wanted, &now);
        let (devices, memory) = families.with_context(|| {
            format!("round {round}, killed after {after:?}: a mixture: from {held:?} to {wanted:?}, and it is {now:?}")
        })?;
        forward += u32::from(devices) + u32::from(memory);
        back += u32::from(!devices) + u32::from(!memory);
        held = now;
    }
    let (owner, other) = if held.devices[0].owner == Some(A) { (&mut a, &mut b) } else { (&mut b, &mut a) };
    let name = owner.succeed(APPEARS, UNPLUG)?;
    drive.look(owner, &name, "mine")?;
    ensure!(other.succeed("echo alive", UNPLUG)? == "alive", "a guest was harmed");
    println!(
        "  {KILLS} plans killed; of their {} transactions {forward} went forward, {back} back",
        forward + back
    );
    let mut table = Table::of_times();
    table.times("recovery: from the start of the process to its end", &recoveries);
    print!("{}", table.text());
    Ok(())
}

/// For devices and for memory, whether they are as the new plan says, or else as the old one did.
fn one_of_both(old: &Assignment, new: &Assignment, now: &Assignment) -> Option<(bool, bool)> {
    let which = |is_new: bool, is_old: bool| (is_new || is_old).then_some(is_new);
    let devices = which(now.devices == new.devices, now.devices == old.devices)?;
    let memory = which(now.holdings == new.holdings, now.holdings == old.holdings)?;
    Some((devices, memory))
}

/// Starts a plan in a process of its own and kills that some time after it began.
fn kill_after(order: &Execute, folder: &Path, after: Duration) -> anyhow::Result<()> {
    let log = folder.join("execute.log");
    let mut process = start(order, &log)?;
    let deadline = Instant::now() + END;
    while !process.said().contains(BEGUN) {
        interrupt::check()?;
        let ended = process.ended();
        ensure!(ended.is_none_or(|status| status.success()), "the plan did not begin: {}", process.said());
        ensure!(ended.is_none() && Instant::now() < deadline, "the plan did not begin: {}", process.said());
        std::thread::sleep(Duration::from_millis(1));
    }
    std::thread::sleep(after);
    process.kill();
    Ok(())
}

/// Recovers in a process of its own, then reads the machine and the journal.
fn look(order: &Execute) -> anyhow::Result<Assignment> {
    let order = Execute { plan: Vec::new(), ..order.clone() };
    let log = order.journal.with_extension("log");
    let mut process = start(&order, &log)?;
    let deadline = Instant::now() + END;
    let status = loop {
        interrupt::check()?;
        if let Some(status) = process.ended() {
            break status;
        }
        ensure!(Instant::now() < deadline, "recovery does not end: {}", process.said());
        std::thread::sleep(Duration::from_millis(2));
    };
    ensure!(status.success(), "recovery failed: {}", process.said());
    let (journal, open) = SqliteJournal::open(&order.journal, Room::DEFAULT)?;
    ensure!(open.transactions.is_empty(), "recovery left the journal open: {:?}", open.transactions);
    let tail = || {
        journal.newest(16).map(|entries| {
            let text = entries.iter().map(|entry| {
                let (step, note) = (entry.step.as_ref(), entry.note.as_deref());
                let step = step.map(ToString::to_string).unwrap_or_default();
                format!(
                    "\n    {}.{} {:?} {step} {}",
                    entry.plan,
                    entry.index,
                    entry.state,
                    note.unwrap_or_default()
                )
            });
            text.collect::<String>()
        })
    };
    ensure!(
        open.stuck.is_empty(),
        "recovery left something stuck: {:?}; the journal ends {}",
        open.stuck,
        tail()?
    );
    let [a, b] = order.sockets.as_slice() else { anyhow::bail!("two sockets are needed") };
    let rig = Rig::new(drivers::of([a, b], &order.drive)?, journal, open)?;
    Ok(rig.held().clone())
}

fn start(order: &Execute, log: &Path) -> anyhow::Result<Process> {
    let program = std::env::current_exe().context("cannot find this program")?;
    let program = program.to_str().context("this program's path is no text")?;
    let mut arguments: Vec<OsString> =
        vec!["execute".into(), "--journal".into(), order.journal.clone().into()];
    arguments.push("--sockets".into());
    arguments.extend(order.sockets.iter().map(OsString::from));
    arguments.extend(["--drive".into(), order.drive.clone().into()]);
    if !order.plan.is_empty() {
        arguments.push("--plan".into());
        arguments.extend(order.plan.iter().map(|value| OsString::from(value.to_string())));
    }
    Process::start(program, &arguments, log)
}
