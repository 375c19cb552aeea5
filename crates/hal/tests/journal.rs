//! The journal on disk: what was written is there again, and whatever is wrong with the file is said and
//! left as it is.

use std::fs;
use std::path::Path;
use std::time::Duration;

use halcyon_hal::{Entry, Journal, JournalError, MemoryJournal, Room, SqliteJournal, StepState, Trouble};
use halcyon_model::{ByteSize, Generation, Grant, MilliCpu, NodeId, SocketId, Step, VmId};
use rusqlite::Connection;

const ROOMY: Room = Room::DEFAULT;

fn entry(plan: u64, index: u32, state: StepState, step: Option<Step>) -> Entry {
    let before = (state == StepState::Started && index == 1).then_some(ByteSize::gib(7));
    let note = (state == StepState::Failed).then(|| "it said „no“".to_string());
    Entry { at: Duration::from_micros(plan * 1000), plan: Generation(plan), index, state, step, before, note }
}

fn cpu(vm: u32) -> Step {
    let grant = |milli| Grant { share: MilliCpu::new(milli), ceiling: MilliCpu::new(2 * milli) };
    Step::SetCpu { vm: VmId(vm), socket: SocketId(0), from: grant(500), to: grant(750) }
}

fn migrate(vm: u32) -> Step {
    Step::MigrateMemory { vm: VmId(vm), from: NodeId(0), to: NodeId(1), size: ByteSize::gib(1) }
}

/// A plan of two families, of which one is finished and one is not.
fn half_done(plan: u64) -> Vec<Entry> {
    use StepState::{Planned, Started, Succeeded};
    vec![
        entry(plan, 0, Planned, Some(cpu(1))),
        entry(plan, 1, Planned, Some(migrate(1))),
        entry(plan, 2, Planned, Some(migrate(2))),
        entry(plan, 0, Started, None),
        entry(plan, 1, Started, None),
        entry(plan, 0, Succeeded, None),
    ]
}

fn finished(plan: u64) -> Vec<Entry> {
    use StepState::{Planned, Started, Succeeded};
    vec![
        entry(plan, 0, Planned, Some(cpu(3))),
        entry(plan, 0, Started, None),
        entry(plan, 0, Succeeded, None),
    ]
}

fn open(path: &Path) -> SqliteJournal {
    SqliteJournal::open(path, ROOMY).expect("it opens").0
}

fn trouble(path: &Path) -> JournalError {
    SqliteJournal::open(path, ROOMY).expect_err("it does not open")
}

#[test]
fn what_was_written_is_there_again_with_what_is_unfinished() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let mut memory = MemoryJournal::new(100);
    let mut journal = open(&path);
    for entries in [half_done(4), vec![entry(4, 1, StepState::Failed, None)]] {
        journal.record(&entries).expect("there is room");
        memory.record(&entries).expect("there is room");
    }
    drop(journal);
    let (journal, unfinished) = SqliteJournal::open(&path, ROOMY).expect("it opens again");
    assert_eq!(journal.newest(100).expect("it is read"), memory.entries().cloned().collect::<Vec<_>>());
    assert_eq!(unfinished, memory.unfinished().expect("it is whole"));
    assert_eq!((unfinished.newest, unfinished.transactions.len()), (Generation(4), 1));
    let steps = &unfinished.transactions[0].steps;
    assert_eq!((steps[0].state, steps[0].before), (StepState::Failed, Some(ByteSize::gib(7))));
    assert_eq!((steps[1].state, &steps[1].step), (StepState::Planned, &migrate(2)));
}

#[test]
fn two_programs_never_have_one_journal() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let first = open(&path);
    let refused = trouble(&path);
    assert_eq!(refused.trouble, Trouble::InUse);
    assert!(refused.to_string().contains("another Halcyon"), "{refused}");
    drop(first);
    open(&path);
}

#[test]
fn finished_plans_go_and_what_is_open_or_stuck_stays() {
    use StepState::{Failed, Planned, Started, Stuck, Succeeded, UndoStarted, Undone};
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let (mut journal, _) = SqliteJournal::open(&path, Room { entries: 60, ..ROOMY }).expect("it opens");
    journal.record(&half_done(1)).expect("there is room");
    let lost = [Planned, Started, Failed, UndoStarted, Stuck];
    let lost = lost.map(|state| entry(2, 0, state, (state == Planned).then(|| cpu(9))));
    journal.record(&lost).expect("there is room");
    for plan in 3..400 {
        journal.record(&finished(plan)).expect("there is room");
        journal.tend().expect("it is in order");
    }
    let kept = journal.newest(10_000).expect("it is read");
    assert!((60..200).contains(&kept.len()), "{} entries", kept.len());
    let of = |plan| kept.iter().filter(|entry| entry.plan == Generation(plan)).count();
    assert_eq!((of(1), of(2), of(3), of(399)), (6, 5, 0, 3));
    drop(journal);
    let (mut journal, unfinished) = SqliteJournal::open(&path, ROOMY).expect("it opens again");
    assert_eq!((unfinished.transactions.len(), unfinished.stuck.len()), (1, 1));
    assert!(unfinished.took.len() <= 20, "times are few: {}", unfinished.took.len());
    journal.record(&[entry(2, 0, Undone, None)]).expect("what is stuck can be released");
    for (index, state) in [(1, Succeeded), (2, Started), (2, Succeeded)] {
        journal.record(&[entry(1, index, state, None)]).expect("there is room");
    }
    drop(journal);
    let (_, unfinished) = SqliteJournal::open(&path, ROOMY).expect("it opens again");
    assert!(unfinished.transactions.is_empty() && unfinished.stuck.is_empty());
}

#[test]
fn a_file_that_may_not_grow_lets_finished_plans_go_and_then_says_that_it_is_full() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let small = Room { size: ByteSize::new(128 * 1024), ..ROOMY };
    let (mut journal, _) = SqliteJournal::open(&path, small).expect("it opens");
    (1..3000).for_each(|plan| journal.record(&finished(plan)).expect("finished plans make room"));
    assert!(fs::metadata(&path).expect("it is there").len() <= 128 * 1024);
    let mut full = None;
    for plan in 3000..9000 {
        if let Err(error) = journal.record(&half_done(plan)) {
            full = Some((plan, error));
            break;
        }
    }
    let (plan, error) = full.expect("plans that are not finished fill it");
    assert_eq!(error.trouble, Trouble::Full);
    assert!(error.to_string().contains("free some space"), "{error}");
    drop(journal);
    let (journal, unfinished) = SqliteJournal::open(&path, ROOMY).expect("it opens again");
    assert_eq!(unfinished.newest, Generation(plan - 1), "all or nothing of a record");
    assert_eq!(journal.newest(6).expect("it is read"), half_done(plan - 1));
}

#[test]
fn what_is_no_journal_is_named_and_left_alone() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    for bytes in [b"no database at all, but long enough".repeat(40), vec![0x55; 4096]] {
        fs::write(&path, &bytes).expect("it is written");
        let error = trouble(&path);
        assert!(matches!(error.trouble, Trouble::Damaged { .. }), "{error}");
        assert!(error.to_string().contains("journal.db") && error.to_string().contains("move the file away"));
        assert_eq!(fs::read(&path).expect("it is there"), bytes, "not a byte was changed");
    }
    let other = folder.path().join("other.db");
    Connection::open(&other).and_then(|db| db.execute_batch("CREATE TABLE t (x)")).expect("it is made");
    assert!(trouble(&other).to_string().contains("another program"));
    let newer = folder.path().join("newer.db");
    drop(open(&newer));
    Connection::open(&newer).and_then(|db| db.pragma_update(None, "user_version", 7)).expect("it is changed");
    assert_eq!(trouble(&newer).trouble, Trouble::Newer { version: 7 });
    let nowhere = trouble(&folder.path().join("no/such/folder.db"));
    assert!(nowhere.to_string().contains("no/such/folder.db"), "{nowhere}");
}

#[test]
fn entries_that_no_executor_wrote_are_named() {
    let changes = [
        "UPDATE entry SET state = 99 WHERE id = 4",
        "UPDATE entry SET state = 8 WHERE id = 4",
        "UPDATE entry SET at_us = -1 WHERE id = 4",
        "UPDATE entry SET place = 77 WHERE id = 4",
        "UPDATE entry SET step = '{' WHERE id = 1",
        "DELETE FROM entry WHERE id = 1",
    ];
    for change in changes {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("journal.db");
        open(&path).record(&half_done(1)).expect("there is room");
        Connection::open(&path).and_then(|db| db.execute(change, [])).expect("it is changed");
        let error = trouble(&path);
        assert!(
            matches!(&error.trouble, Trouble::Damaged { what } if what.contains("entry ")),
            "{change}: {error}"
        );
    }
}

/// A disk that loses its last writes, or a file cut short: never a panic, and never entries that were not
/// written.
#[test]
fn a_file_cut_short_anywhere_opens_with_what_is_whole_or_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("journal.db");
    let mut journal = open(&path);
    (1..120).for_each(|plan| journal.record(&finished(plan)).expect("there is room"));
    let written = journal.newest(10_000).expect("it is read");
    drop(journal);
    let whole = fs::read(&path).expect("it is there");
    let (mut opened, mut refused) = (0, 0);
    for length in (0..whole.len()).step_by(997) {
        let cut = folder.path().join(format!("cut-{length}.db"));
        fs::write(&cut, &whole[..length]).expect("it is written");
        match SqliteJournal::open(&cut, ROOMY) {
            Ok((journal, _)) => {
                opened += 1;
                let kept = journal.newest(10_000).expect("it is read");
                assert!(written.starts_with(&kept) || kept.iter().all(|entry| written.contains(entry)));
            }
            Err(error) => {
                refused += 1;
                assert!(!error.to_string().is_empty());
            }
        }
    }
    assert!(opened > 0 && refused > 3, "{opened} opened, {refused} refused");
}
