//! What became of each step, in the order in which it became so.
//!
//! ```text
//!  planned ──► started ──► succeeded ──┬─► undo-started ──► undone
//!     │           │            │       │        │
//!     │           ├──────► failed ─────┘        └─────────► stuck
//!     │           ├──────► refused
//!     └───────────┴──────► dropped     succeeded ──► kept
//! ```

mod form;
mod open;
mod sqlite;

pub use open::{OpenStep, OpenTransaction, Unfinished};
pub use sqlite::{Room, SqliteJournal};

use std::collections::VecDeque;
use std::fmt;

use halcyon_model::{ByteSize, Generation, HostTime, Step};

use self::open::Open;
pub(crate) use self::open::is_over;

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Part of a plan, not begun.
    Planned,
    /// About to begin, or begun.
    Started,
    /// The machine is as the step says.
    Succeeded,
    /// The guest would not have it; the machine is as before, and nobody was harmed.
    Refused,
    /// It went wrong.
    Failed,
    /// Being led back.
    UndoStarted,
    /// The machine is as before the step.
    Undone,
    /// Neither done nor undone: a person has to look.
    Stuck,
    /// Never begun, because what it waited for was not given up or went wrong.
    Dropped,
    /// Done, and left so although its transaction is undone: what it gave up is in use.
    Kept,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 10] = [
        Self::Planned,
        Self::Started,
        Self::Succeeded,
        Self::Refused,
        Self::Failed,
        Self::UndoStarted,
        Self::Undone,
        Self::Stuck,
        Self::Dropped,
        Self::Kept,
    ];

    /// Whether `next` may follow. What is stuck becomes undone once a person has looked.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use StepState::{
            Dropped, Failed, Kept, Planned, Refused, Started, Stuck, Succeeded, UndoStarted, Undone,
        };
        matches!(
            (self, next),
            (Planned, Started | Dropped)
                | (Started, Succeeded | Refused | Failed | Dropped)
                | (Succeeded | Failed, UndoStarted)
                | (Succeeded, Kept)
                | (UndoStarted, Undone | Stuck)
                | (Stuck, Undone)
        )
    }

    /// Whether nothing follows unless its transaction is undone.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        use StepState::{Dropped, Kept, Refused, Stuck, Succeeded, Undone};
        matches!(self, Succeeded | Refused | Undone | Stuck | Dropped | Kept)
    }
}

/// One line of the journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// When.
    pub at: HostTime,
    /// The plan that the step belongs to.
    pub plan: Generation,
    /// Its place in the plan.
    pub index: u32,
    /// What became of it.
    pub state: StepState,
    /// The step itself, when it is first written down.
    pub step: Option<Step>,
    /// What was on the node that memory moves away from, when such a step begins: the step itself does
    /// not say, and without it nobody could tell later whether it was done.
    pub before: Option<ByteSize>,
    /// What the machine said, where that matters.
    pub note: Option<String>,
}

/// Where entries go. A step is begun only after the journal has it.
pub trait Journal {
    /// Writes entries, all of them or none, so that they outlive a crash, as far as this journal promises
    /// that.
    ///
    /// # Errors
    /// When the entries are not safe; whatever depends on them must not happen.
    fn record(&mut self, entries: &[Entry]) -> Result<(), JournalError>;

    /// Puts itself in order, at a moment when nothing waits for a record.
    ///
    /// # Errors
    /// When it cannot be read or written. What was recorded is safe all the same.
    fn tend(&mut self) -> Result<(), JournalError> {
        Ok(())
    }
}

/// Why a journal was not opened, read or written. Nothing is changed on the host meanwhile.
#[derive(Debug, thiserror::Error)]
#[error("the journal {journal} {trouble}")]
pub struct JournalError {
    /// Which journal.
    pub journal: String,
    /// What is wrong with it.
    pub trouble: Trouble,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
}

/// What can be wrong with a journal.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Trouble {
    /// There is no room for it.
    Full,
    /// It may only be read.
    ReadOnly,
    /// Somebody else has it open.
    InUse,
    /// It cannot be reached, or its disk fails.
    Unreachable,
    /// What is in it cannot be what was written.
    Damaged {
        /// What was found.
        what: String,
    },
    /// It was written by a program that is newer.
    Newer {
        /// Its version.
        version: i64,
    },
}

impl fmt::Display for Trouble {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => {
                f.write_str("is full: free some space on its file system; nothing is changed until then")
            }
            Self::ReadOnly => f.write_str("may only be read: make its file and folder writable"),
            Self::InUse => f.write_str("is in use: another Halcyon seems to drive this host"),
            Self::Unreachable => f.write_str("cannot be reached or written"),
            Self::Damaged { what } => write!(
                f,
                "is damaged ({what}): move the file away; a new one is begun from what the machine says"
            ),
            Self::Newer { version } => {
                write!(f, "has form {version}, which this Halcyon does not know: use the newer one")
            }
        }
    }
}

/// A journal that keeps the newest entries in memory: for the simulated host and for tests.
#[derive(Debug, Clone)]
pub struct MemoryJournal {
    entries: VecDeque<Entry>,
    most: usize,
}

impl MemoryJournal {
    /// A journal of at most `most` entries; the oldest go first.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { entries: VecDeque::new(), most: most.max(1) }
    }

    /// The entries, oldest first.
    pub fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter()
    }

    /// What the entries say was not finished.
    ///
    /// # Errors
    /// When they cannot be what an executor wrote.
    pub fn unfinished(&self) -> Result<Unfinished, JournalError> {
        let mut open = Open::default();
        for entry in &self.entries {
            open.take(entry).map_err(|what| JournalError {
                journal: "in memory".into(),
                trouble: Trouble::Damaged { what },
                source: None,
            })?;
        }
        Ok(open.unfinished())
    }
}

impl Journal for MemoryJournal {
    fn record(&mut self, entries: &[Entry]) -> Result<(), JournalError> {
        for entry in entries {
            if self.entries.len() == self.most {
                self.entries.pop_front();
            }
            self.entries.push_back(entry.clone());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_the_last_ones_leads_on_and_all_are_reached() {
        use StepState::{Dropped, Kept, Planned, Refused, Undone};
        for state in StepState::ALL {
            let leads_on = StepState::ALL.into_iter().any(|next| state.may_become(next));
            assert_eq!(leads_on, !matches!(state, Undone | Refused | Dropped | Kept), "{state:?}");
            let reached = StepState::ALL.into_iter().any(|before| before.may_become(state));
            assert_eq!(reached, state != Planned, "{state:?}");
        }
    }
}
