//! What became of each step, in the order in which it became so.
//!
//! ```text
//!  planned ──► started ──► succeeded ──┐
//!     │           │                    ├──► undo-started ──► undone
//!     │           └──────► failed ─────┘         │
//!     └──► dropped                               └─────────► stuck
//! ```

use std::collections::VecDeque;

use halcyon_model::{Generation, HostTime, Step};

/// Where a step stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StepState {
    /// Part of a plan, not begun.
    Planned,
    /// Begun.
    Started,
    /// The machine is as the step says.
    Succeeded,
    /// Refused or gone wrong.
    Failed,
    /// Being led back.
    UndoStarted,
    /// The machine is as before the step.
    Undone,
    /// Neither done nor undone: a person has to look.
    Stuck,
    /// Never begun, because what it waited for was not given up.
    Dropped,
}

impl StepState {
    /// Every state.
    pub const ALL: [Self; 8] = [
        Self::Planned,
        Self::Started,
        Self::Succeeded,
        Self::Failed,
        Self::UndoStarted,
        Self::Undone,
        Self::Stuck,
        Self::Dropped,
    ];

    /// Whether `next` may follow.
    #[must_use]
    pub const fn may_become(self, next: Self) -> bool {
        use StepState::{Dropped, Failed, Planned, Started, Stuck, Succeeded, UndoStarted, Undone};
        matches!(
            (self, next),
            (Planned, Started | Dropped)
                | (Started, Succeeded | Failed)
                | (Succeeded | Failed, UndoStarted)
                | (UndoStarted, Undone | Stuck)
        )
    }

    /// Whether nothing follows unless its transaction is undone.
    #[must_use]
    pub const fn is_settled(self) -> bool {
        matches!(self, Self::Succeeded | Self::Undone | Self::Stuck | Self::Dropped)
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
    /// What the machine said, where that matters.
    pub note: Option<String>,
}

/// Where entries go. A step is begun only after the journal has it.
pub trait Journal {
    /// Writes an entry so that it outlives a crash, as far as this journal promises that.
    ///
    /// # Errors
    /// When the entry is not safe; whatever depends on it must not happen.
    fn record(&mut self, entry: Entry) -> Result<(), JournalError>;
}

/// Why an entry was not written.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the journal {journal}")]
pub struct JournalError {
    /// Which journal.
    pub journal: String,
    /// The cause.
    #[source]
    pub source: Option<Box<dyn std::error::Error + Send + Sync>>,
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
}

impl Journal for MemoryJournal {
    fn record(&mut self, entry: Entry) -> Result<(), JournalError> {
        if self.entries.len() == self.most {
            self.entries.pop_front();
        }
        self.entries.push_back(entry);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_but_the_last_ones_leads_on_and_all_are_reached() {
        for state in StepState::ALL {
            let leads_on = StepState::ALL.into_iter().any(|next| state.may_become(next));
            let last = matches!(state, StepState::Undone | StepState::Stuck | StepState::Dropped);
            assert_eq!(leads_on, !last, "{state:?}");
            let reached = StepState::ALL.into_iter().any(|before| before.may_become(state));
            assert_eq!(reached, state != StepState::Planned, "{state:?}");
        }
    }
}
