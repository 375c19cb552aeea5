//! A journal on disk: one SQLite file, written ahead and synchronised with every record.
//!
//! Whoever has it open has it alone. It is bounded: finished plans go, oldest first, once there are more
//! entries than asked for; what is not finished and what is in quarantine stays however old it is.

use std::path::Path;
use std::time::Duration;

use halcyon_model::{ByteSize, Generation};
use rusqlite::{Connection, ErrorCode, OpenFlags, params};

use super::open::Open;
use super::{Entry, Journal, JournalError, StepState, Trouble, Unfinished, form};

/// "Halc", as SQLite's header has room for a name.
const APPLICATION: i64 = 0x4861_6c63;
const VERSION: i64 = 1;
/// How many entries are written before old ones go and the log of writes is taken into the database. Both
/// take longer than a record.
const BETWEEN_CUTS: usize = 4096;
/// The log's size in pages at which a record itself has to do that, as nobody else did.
const LONGEST_LOG: i64 = 8192;

const SCHEMA: &str = "
    CREATE TABLE entry (
        id INTEGER PRIMARY KEY,
        at_us INTEGER NOT NULL,
        plan INTEGER NOT NULL,
        place INTEGER NOT NULL,
        state INTEGER NOT NULL,
        step TEXT,
        before_bytes INTEGER,
        note TEXT
    ) STRICT;
";

const INSERT: &str = "INSERT INTO entry (at_us, plan, place, state, step, before_bytes, note)
    VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)";

/// How large a journal may grow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// About how many entries are kept of plans that are finished.
    pub entries: usize,
    /// What the file may take on disk. Plans that are finished go early when it fills up.
    pub size: ByteSize,
}

impl Room {
    /// Enough for about a day of changes on a busy host.
    pub const DEFAULT: Self = Self { entries: 500_000, size: ByteSize::mib(256) };
}

/// A journal on disk.
#[derive(Debug)]
pub struct SqliteJournal {
    name: String,
    db: Connection,
    open: Open,
    most: usize,
    written: usize,
}

impl SqliteJournal {
    /// Opens the journal at `path`, or begins one, and says what it left unfinished.
    ///
    /// # Errors
    /// When it cannot be opened or read, or what is in it was not written by Halcyon. Nothing is lost then:
    /// the file stays as it is.
    pub fn open(path: &Path, room: Room) -> Result<(Self, Unfinished), JournalError> {
        let name = path.display().to_string();
        let fail = |error| trouble(&name, error);
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE;
        let db = Connection::open_with_flags(path, flags | OpenFlags::SQLITE_OPEN_NO_MUTEX).map_err(fail)?;
        db.busy_timeout(Duration::ZERO).map_err(fail)?;
        // Alone from the first write to the end, so that two daemons never drive one host.
        db.pragma_update(None, "locking_mode", "exclusive").map_err(fail)?;
        db.pragma_update(None, "journal_mode", "wal").map_err(fail)?;
        db.pragma_update(None, "synchronous", "full").map_err(fail)?;
        db.pragma_update(None, "wal_autocheckpoint", LONGEST_LOG).map_err(fail)?;
        let mut journal = Self { name, db, open: Open::default(), most: room.entries.max(1), written: 0 };
        journal.prepare()?;
        journal.bound(room.size)?;
        journal.replay()?;
        let unfinished = journal.open.unfinished();
        Ok((journal, unfinished))
    }

    fn prepare(&mut self) -> Result<(), JournalError> {
        let name = self.name.clone();
        let fail = |error| trouble(&name, error);
        let wrong = |trouble| JournalError { journal: name.clone(), trouble, source: None };
        let change = self.db.transaction().map_err(fail)?;
        let number = |name| change.pragma_query_value(None, name, |row| row.get::<_, i64>(0)).map_err(fail);
        let (application, version) = (number("application_id")?, number("user_version")?);
        let tables: i64 =
            change.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0)).map_err(fail)?;
        match (application, version, tables) {
            (0, 0, 0) => {
                change.execute_batch(SCHEMA).map_err(fail)?;
                change.pragma_update(None, "application_id", APPLICATION).map_err(fail)?;
                change.pragma_update(None, "user_version", VERSION).map_err(fail)?;
            }
            (APPLICATION, VERSION, _) => {}
            (APPLICATION, version, _) if version > VERSION => {
                return Err(wrong(Trouble::Newer { version }));
            }
            _ => return Err(wrong(Trouble::Damaged { what: "it is a database of another program".into() })),
        }
        // Writing something claims the file, so that a second opener is told at once.
        change.pragma_update(None, "user_version", VERSION).map_err(fail)?;
        change.commit().map_err(fail)
    }

    fn bound(&self, size: ByteSize) -> Result<(), JournalError> {
        let fail = |error| trouble(&self.name, error);
        let page: i64 = self.db.pragma_query_value(None, "page_size", |row| row.get(0)).map_err(fail)?;
        let pages = i64::try_from(size.get()).unwrap_or(i64::MAX) / page.max(1);
        let set = |_: &rusqlite::Row<'_>| Ok(());
        self.db.pragma_update_and_check(None, "max_page_count", pages.max(8), set).map_err(fail)
    }

    fn replay(&mut self) -> Result<(), JournalError> {
        let checked: String = self
            .db
            .pragma_query_value(None, "quick_check", |row| row.get(0))
            .map_err(|error| trouble(&self.name, error))?;
        if checked != "ok" {
            return Err(self.damaged(checked.lines().next().unwrap_or_default().into()));
        }
        let mut open = Open::default();
        self.each("ORDER BY id", |entry| open.take(&entry))?;
        self.open = open;
        Ok(())
    }

    /// The newest entries, at most `most`, oldest first.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn newest(&self, most: usize) -> Result<Vec<Entry>, JournalError> {
        let mut entries = Vec::new();
        self.each(&format!("ORDER BY id DESC LIMIT {most}"), |entry| {
            entries.push(entry);
            Ok(())
        })?;
        entries.reverse();
        Ok(entries)
    }

    fn each(
        &self,
        order: &str,
        mut take: impl FnMut(Entry) -> Result<(), String>,
    ) -> Result<(), JournalError> {
        let fail = |error| trouble(&self.name, error);
        let columns = "SELECT id, at_us, plan, place, state, step, before_bytes, note FROM entry";
        let mut statement = self.db.prepare(&format!("{columns} {order}")).map_err(fail)?;
        let mut rows = statement.query([]).map_err(fail)?;
        while let Some(row) = rows.next().map_err(fail)? {
            let id: i64 = row.get(0).map_err(fail)?;
            let entry = entry(row).and_then(&mut take);
            entry.map_err(|what| self.damaged(format!("entry {id}: {what}")))?;
        }
        Ok(())
    }

    /// Lets finished plans go, so that about `most` entries stay.
    fn cut(&mut self, most: usize) -> Result<(), JournalError> {
        let fail = |error| trouble(&self.name, error);
        let most = i64::try_from(most).unwrap_or(i64::MAX);
        let oldest: Option<i64> = self
            .db
            .query_row("SELECT plan FROM entry ORDER BY id DESC LIMIT 1 OFFSET ?1", [most], |row| row.get(0))
            .map(Some)
            .or_else(|error| match error {
                rusqlite::Error::QueryReturnedNoRows => Ok(None),
                error => Err(error),
            })
            .map_err(fail)?;
        let Some(oldest) = oldest else { return Ok(()) };
        let needed: Vec<String> = self.open.needed().map(|plan| plan.0.to_string()).collect();
        let cut = format!("DELETE FROM entry WHERE plan < ?1 AND plan NOT IN ({})", needed.join(","));
        self.db.execute(&cut, [oldest]).map_err(fail)?;
        Ok(())
    }

    fn write(&mut self, entries: &[Entry]) -> Result<(), rusqlite::Error> {
        let change = self.db.transaction()?;
        {
            let mut insert = change.prepare_cached(INSERT)?;
            for entry in entries {
                insert.execute(params![
                    i64::try_from(entry.at.as_micros()).unwrap_or(i64::MAX),
                    i64::try_from(entry.plan.0).unwrap_or(i64::MAX),
                    entry.index,
                    code(entry.state),
                    entry.step.as_ref().map(form::write),
                    entry.before.map(|size| i64::try_from(size.get()).unwrap_or(i64::MAX)),
                    entry.note,
                ])?;
            }
        }
        change.commit()
    }

    fn damaged(&self, what: String) -> JournalError {
        JournalError { journal: self.name.clone(), trouble: Trouble::Damaged { what }, source: None }
    }
}

impl Journal for SqliteJournal {
    fn record(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        let full = |error: &rusqlite::Error| error.sqlite_error_code() == Some(ErrorCode::DiskFull);
        let written = match self.write(entries) {
            Err(error) if full(&error) => {
                let kept: i64 = self
                    .db
                    .query_row("SELECT count(*) FROM entry", [], |row| row.get(0))
                    .map_err(|error| trouble(&self.name, error))?;
                self.cut(usize::try_from(kept / 2).unwrap_or_default())?;
                self.write(entries)
            }
            written => written,
        };
        written.map_err(|error| trouble(&self.name, error))?;
        for entry in entries {
            // Only an executor writes, and its states follow one another.
            let odd = self.open.take(entry).err();
            debug_assert_eq!(odd, None, "{entry:?}");
        }
        self.written += entries.len();
        Ok(())
    }

    fn tend(&mut self) -> Result<(), JournalError> {
        if self.written < BETWEEN_CUTS.min(self.most) {
            return Ok(());
        }
        self.written = 0;
        match self.cut(self.most) {
            // A file that stays too large is seen when there is no room for other entries.
            Err(error) if error.trouble == Trouble::Full => return Ok(()),
            cut => cut?,
        }
        self.db
            .query_row("PRAGMA wal_checkpoint(PASSIVE)", [], |_| Ok(()))
            .map_err(|error| trouble(&self.name, error))
    }
}

fn entry(row: &rusqlite::Row<'_>) -> Result<Entry, String> {
    let text = |error: rusqlite::Error| error.to_string();
    let natural = |column: usize, name: &str| {
        let raw: i64 = row.get(column).map_err(text)?;
        u64::try_from(raw).map_err(|_| format!("{name} is {raw}"))
    };
    let state: i64 = row.get(4).map_err(text)?;
    let state = StepState::ALL.into_iter().find(|known| code(*known) == state);
    let step: Option<String> = row.get(5).map_err(text)?;
    let before: Option<i64> = row.get(6).map_err(text)?;
    Ok(Entry {
        at: Duration::from_micros(natural(1, "at_us")?),
        plan: Generation(natural(2, "plan")?),
        index: u32::try_from(natural(3, "place")?).map_err(|error| error.to_string())?,
        state: state.ok_or("its state is none")?,
        step: step.map(|text| form::read(&text)).transpose()?,
        before: before.and_then(|bytes| u64::try_from(bytes).ok()).map(ByteSize::new),
        note: row.get(7).map_err(text)?,
    })
}

/// The number of a state on disk, for ever.
const fn code(state: StepState) -> i64 {
    match state {
        StepState::Planned => 1,
        StepState::Started => 2,
        StepState::Succeeded => 3,
        StepState::Refused => 4,
        StepState::Failed => 5,
        StepState::UndoStarted => 6,
        StepState::Undone => 7,
        StepState::Stuck => 8,
        StepState::Dropped => 9,
        StepState::Kept => 10,
    }
}

fn trouble(journal: &str, error: rusqlite::Error) -> JournalError {
    let trouble = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Trouble::Full,
        Some(ErrorCode::ReadOnly | ErrorCode::PermissionDenied) => Trouble::ReadOnly,
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => Trouble::InUse,
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Trouble::Damaged { what: "it is no whole SQLite database".into() }
        }
        Some(_) => Trouble::Unreachable,
        None => Trouble::Damaged { what: error.to_string() },
    };
    JournalError { journal: journal.into(), trouble, source: Some(Box::new(error)) }
}
