//! One step on its way: begun, asked after, led back.

use std::time::Duration;

use halcyon_model::{Assignment, ByteSize, Generation, HostTime, Ledger, Step};

use super::Event;
use crate::host::{Actuate, Progress, Ticket};
use crate::journal::{Entry, Journal, JournalError, StepState};

/// How often an undo is tried before the step counts as stuck.
const UNDO_TRIES: u32 = 3;

#[derive(Debug)]
pub(super) struct Task {
    pub(super) index: u32,
    pub(super) step: Step,
    pub(super) state: StepState,
    pub(super) flight: Option<Flight>,
    /// Its place among the steps of its transaction in the order in which they were begun.
    pub(super) begun: Option<usize>,
    /// What was on the node that memory moves away from: the step itself does not say.
    pub(super) before: Option<ByteSize>,
    /// Given up on without an answer, so that it may still be under way.
    pub(super) unanswered: bool,
    /// Done, and left so although its transaction is undone.
    pub(super) kept: bool,
    pub(super) tries: u32,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Flight {
    ticket: Ticket,
    deadline: HostTime,
}

/// Writes down what becomes of steps.
pub(super) struct Log<'a, J> {
    pub(super) now: HostTime,
    pub(super) journal: &'a mut J,
    pub(super) events: &'a mut Vec<Event>,
}

/// What a step is begun with.
pub(super) struct Site<'a, 'w, J> {
    pub(super) log: Log<'a, J>,
    pub(super) ledger: Ledger<'w>,
    pub(super) held: &'a mut Assignment,
    pub(super) driver: &'a mut dyn Actuate,
}

impl Task {
    pub(super) fn become_state<J: Journal>(
        &mut self,
        state: StepState,
        plan: Generation,
        note: Option<String>,
        log: &mut Log<'_, J>,
    ) -> Result<(), JournalError> {
        debug_assert!(self.state.may_become(state), "{:?} became {state:?}", self.state);
        log.journal.record(Entry {
            at: log.now,
            plan,
            index: self.index,
            state,
            step: None,
            note: note.clone(),
        })?;
        self.state = state;
        if state != StepState::Started && state != StepState::UndoStarted {
            let (step, at) = (self.step.clone(), log.now);
            log.events.push(Event { at, plan, step, state, note, refused: false });
        }
        Ok(())
    }

    /// Whether it was never begun, or begun without a word in the journal of how it went.
    pub(super) fn can_start(&self) -> bool {
        self.flight.is_none() && matches!(self.state, StepState::Planned | StepState::Started)
    }

    /// Begins the step if it can begin, as the `turn`th of its transaction. True when it failed.
    pub(super) fn start<J: Journal>(
        &mut self,
        plan: Generation,
        turn: usize,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        let again = self.state == StepState::Started;
        let done = again && self.is_in_effect(site.held);
        if !done && (!site.held.matches(&self.step) || !site.ledger.allows(&self.step)) {
            // Begun once, and now there is no telling any more: the machine decides.
            return if again { self.end(lost(), plan, &mut site.log) } else { Ok(false) };
        }
        if !again {
            self.become_state(StepState::Started, plan, None, &mut site.log)?;
            self.begun = Some(turn);
            self.before = moved_from(&self.step, site.held);
        }
        if done {
            return self.end(Progress::Done, plan, &mut site.log);
        }
        site.ledger.begin(&self.step);
        match site.begin(&self.step) {
            Progress::UnderWay(ticket) => {
                self.flight = Some(Flight { ticket, deadline: site.deadline(&self.step) });
                Ok(false)
            }
            progress => {
                if progress == Progress::Done {
                    site.ledger.finish(&self.step);
                    let _ = site.held.apply(&self.step);
                } else {
                    site.ledger.cancel(&self.step);
                }
                self.end(progress, plan, &mut site.log)
            }
        }
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

    /// Looks after a step that is under way. True when it failed.
    pub(super) fn poll<J: Journal>(
        &mut self,
        plan: Generation,
        driver: &mut dyn Actuate,
        log: &mut Log<'_, J>,
    ) -> Result<bool, JournalError> {
        let Some(flight) = self.flight else { return Ok(false) };
        let progress = match driver.poll(flight.ticket) {
            Progress::UnderWay(_) if log.now <= flight.deadline => return Ok(false),
            Progress::UnderWay(_) => {
                self.unanswered = true;
                Progress::Failed { why: "no answer before its deadline".into() }
            }
            progress => progress,
        };
        self.flight = None;
        if self.state == StepState::UndoStarted {
            return self.end_undo(progress, plan, log).map(|()| false);
        }
        self.end(progress, plan, log)
    }

    /// Notes how the step ended. True when it failed.
    pub(super) fn end<J: Journal>(
        &mut self,
        progress: Progress,
        plan: Generation,
        log: &mut Log<'_, J>,
    ) -> Result<bool, JournalError> {
        match progress {
            Progress::UnderWay(_) => Ok(false),
            Progress::Done => self.become_state(StepState::Succeeded, plan, None, log).map(|()| false),
            Progress::Refused { why } => {
                self.become_state(StepState::Failed, plan, Some(why), log)?;
                if let Some(event) = log.events.last_mut() {
                    event.refused = true;
                }
                self.become_state(StepState::UndoStarted, plan, None, log)?;
                self.become_state(StepState::Undone, plan, None, log).map(|()| false)
            }
            Progress::Failed { why } => {
                self.become_state(StepState::Failed, plan, Some(why), log).map(|()| true)
            }
        }
    }

    /// Leads the step back if it has to be. True when there is nothing more to do for it.
    pub(super) fn undo<J: Journal>(
        &mut self,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        if self.state == StepState::Started {
            self.end(lost(), plan, &mut site.log)?;
        }
        if !matches!(self.state, StepState::Succeeded | StepState::Failed | StepState::UndoStarted) {
            return Ok(true);
        }
        if self.state != StepState::UndoStarted {
            self.become_state(StepState::UndoStarted, plan, None, &mut site.log)?;
        }
        let inverse = self.step.inverse();
        self.tries += 1;
        let in_effect = self.is_in_effect(site.held);
        if self.before.is_some() && !in_effect && !self.unanswered {
            return self.end_undo(Progress::Done, plan, &mut site.log).map(|()| true);
        }
        if !self.has_room_to_undo(site) {
            self.tries = UNDO_TRIES;
            let why = "there is no room to lead it back".into();
            self.end_undo(Progress::Failed { why }, plan, &mut site.log)?;
            return Ok(true);
        }
        match site.begin(&inverse) {
            Progress::UnderWay(ticket) => {
                self.flight = Some(Flight { ticket, deadline: site.deadline(&inverse) });
            }
            progress => {
                // A step that failed may have left nothing to lead back.
                if progress == Progress::Done && in_effect && site.held.apply(&inverse).is_ok() {
                    site.ledger.begin(&inverse);
                    site.ledger.finish(&inverse);
                }
                self.end_undo(progress, plan, &mut site.log)?;
            }
        }
        if self.is_adrift() {
            site.count_adrift(&self.step);
        }
        Ok(self.state.is_settled())
    }

    pub(super) fn is_adrift(&self) -> bool {
        self.state == StepState::Stuck && self.unanswered
    }

    pub(super) fn end_undo<J: Journal>(
        &mut self,
        progress: Progress,
        plan: Generation,
        log: &mut Log<'_, J>,
    ) -> Result<(), JournalError> {
        match progress {
            Progress::Done => self.become_state(StepState::Undone, plan, None, log),
            Progress::Refused { why } | Progress::Failed { why } if self.tries >= UNDO_TRIES => {
                self.become_state(StepState::Stuck, plan, Some(why), log)
            }
            // It is tried again in the next cycle.
            Progress::UnderWay(_) | Progress::Refused { .. } | Progress::Failed { .. } => Ok(()),
        }
    }
}

fn moved_from(step: &Step, held: &Assignment) -> Option<ByteSize> {
    match step {
        Step::MigrateMemory { vm, from, .. } => held.holding(*vm).map(|holding| holding.memory_on(*from)),
        _ => None,
    }
}

fn lost() -> Progress {
    Progress::Failed { why: "the journal does not know how it ended".into() }
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

    /// Generous: a slow change is not a failed one.
    pub(super) fn deadline(&self, step: &Step) -> HostTime {
        self.log.now.saturating_add(
            self.driver.estimate(step).saturating_mul(3).saturating_add(Duration::from_secs(10)),
        )
    }
}
