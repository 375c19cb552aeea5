//! One step on its way, and what it needs to go on.

use halcyon_model::{Assignment, ByteSize, HostTime, Ledger, Step};

use super::Event;
use super::times::Times;
use crate::host::{Actuate, Progress, Ticket};
use crate::journal::{Entry, Journal, JournalError, OpenStep, StepState};

#[derive(Debug)]
pub(super) struct Task {
    pub(super) index: u32,
    pub(super) step: Step,
    pub(super) state: StepState,
    pub(super) flight: Option<Flight>,
    /// Its place among the steps of its transaction in the order in which they were begun.
    pub(super) begun: Option<usize>,
    /// When it was begun, as far as this executor knows.
    pub(super) started: Option<HostTime>,
    /// What was on the node that memory moves away from: the step itself does not say.
    pub(super) before: Option<ByteSize>,
    /// Given up on without an answer, so that it may still be under way.
    pub(super) unanswered: bool,
    pub(super) tries: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    pub(super) ticket: Ticket,
    pub(super) deadline: HostTime,
}

/// Writes down what becomes of steps.
pub(super) struct Log<'a, J> {
    pub(super) now: HostTime,
    pub(super) journal: &'a mut J,
    pub(super) events: &'a mut Vec<Event>,
    /// How steps ended: nothing waits for that to be on disk, so the next record takes it along.
    pub(super) late: &'a mut Vec<Entry>,
    pub(super) times: &'a mut Times,
}

impl<J: Journal> Log<'_, J> {
    /// Writes what is late, and these.
    pub(super) fn record(&mut self, entries: Vec<Entry>) -> Result<(), JournalError> {
        let before = self.late.len();
        self.late.extend(entries);
        if self.late.is_empty() {
            return Ok(());
        }
        match self.journal.record(self.late) {
            Ok(()) => {
                self.late.clear();
                Ok(())
            }
            Err(error) => {
                // What ended has ended, and is written when it can be; these have not happened.
                self.late.truncate(before);
                Err(error)
            }
        }
    }
}

/// What a step is begun with.
pub(super) struct Site<'a, 'w, J> {
    pub(super) log: Log<'a, J>,
    pub(super) ledger: Ledger<'w>,
    pub(super) held: &'a mut Assignment,
    pub(super) driver: &'a mut dyn Actuate,
}

impl Task {
    pub(super) fn new(index: u32, step: Step) -> Self {
        Self {
            index,
            step,
            state: StepState::Planned,
            flight: None,
            begun: None,
            started: None,
            before: None,
            unanswered: false,
            tries: 0,
        }
    }

    /// A task that another executor left, of which nobody here knows whether it is under way.
    pub(super) fn resume(open: OpenStep) -> Self {
        let OpenStep { index, step, state, begun, before } = open;
        Self { state, begun, before, ..Self::new(index, step) }
    }

    /// Whether it was never begun, or begun without a word in the journal of how it went.
    pub(super) fn can_start(&self) -> bool {
        self.flight.is_none() && matches!(self.state, StepState::Planned | StepState::Started)
    }

    /// Whether it was not begun yet, whatever the journal foresaw.
    pub(super) fn is_waiting(&self) -> bool {
        self.begun.is_none() && matches!(self.state, StepState::Planned | StepState::Started)
    }

    /// Whether the machine is as the step says.
    pub(super) fn is_in_effect(&self, held: &Assignment) -> bool {
        match self.before {
            Some(before) => moved_from(&self.step, held).is_some_and(|now| now < before),
            None => held.matches(&self.step.inverse()),
        }
    }

    /// Whether it can be led back without overdrawing anything. Always so for what is not in effect.
    pub(super) fn has_room_to_undo<J>(&self, site: &Site<'_, '_, J>) -> bool {
        !self.is_in_effect(site.held) || site.ledger.allows(&self.step.inverse())
    }

    /// Whether its VM is no longer there, so that there is nothing to do or to lead back.
    pub(super) fn is_of_nobody(&self, held: &Assignment) -> bool {
        self.step.vm().is_some_and(|vm| held.holding(vm).is_none())
    }

    /// Whether it may land at any time, after everybody gave up on it.
    pub(super) fn is_adrift(&self) -> bool {
        self.state == StepState::Stuck && self.unanswered
    }

    /// How it goes with what is under way; nothing while it takes its time.
    pub(super) fn poll(&mut self, driver: &mut dyn Actuate, now: HostTime) -> Option<Progress> {
        let flight = self.flight?;
        let progress = match driver.poll(flight.ticket) {
            Progress::UnderWay(_) if now <= flight.deadline => return None,
            Progress::UnderWay(_) => {
                self.unanswered = true;
                Progress::Failed { why: "no answer before its deadline".into() }
            }
            progress => progress,
        };
        self.flight = None;
        Some(progress)
    }
}

/// What a step that moves memory leaves behind, before it begins.
pub(super) fn moved_from(step: &Step, held: &Assignment) -> Option<ByteSize> {
    match step {
        Step::MigrateMemory { vm, from, .. } => held.holding(*vm).map(|holding| holding.memory_on(*from)),
        _ => None,
    }
}

impl<J> Site<'_, '_, J> {
    /// What may land at any time counts as under way, in whichever direction it can still go.
    pub(super) fn count_adrift(&mut self, step: &Step) {
        for step in [step, &step.inverse()] {
            if self.held.matches(step) {
                self.ledger.begin(step);
            }
        }
    }

    pub(super) fn begin(&mut self, step: &Step) -> Progress {
        self.driver.begin(step).unwrap_or_else(|error| Progress::Failed { why: error.to_string() })
    }

    pub(super) fn deadline(&self, step: &Step) -> HostTime {
        let patience = self.log.times.patience(step.kind(), self.driver.estimate(step));
        self.log.now.saturating_add(patience)
    }
}
