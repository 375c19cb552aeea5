//! Makes a plan physical: releases before grants, and back again when something goes wrong.
//!
//! Each family of changes has a lane with at most one open transaction, so that a device that takes
//! seconds to move does not hold up CPU shares. A step begins when the machine is where the step starts
//! from and the [`Ledger`] has room for it, counting all that is under way. When a step fails, the lane
//! lets what is under way end and then undoes, last first, what its transaction had done. A refusal is
//! no failure: the guest keeps its share, and what was to be made of it is dropped for a later plan.

use std::time::Duration;

use halcyon_model::{Assignment, Families, Family, Generation, HostTime, Ledger, Plan, Step, World};

use crate::host::{Actuate, Progress, Ticket};
use crate::journal::{Entry, Journal, JournalError, StepState};

/// How often an undo is tried before the step counts as stuck.
const UNDO_TRIES: u32 = 3;

/// What happened to steps, for whoever keeps history.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Event {
    /// When.
    pub at: HostTime,
    /// The plan that the step belongs to.
    pub plan: Generation,
    /// The step.
    pub step: Step,
    /// What became of it.
    pub state: StepState,
    /// What the machine said, where it did.
    pub note: Option<String>,
    /// Whether the guest refused, rather than something going wrong.
    pub refused: bool,
}

#[derive(Debug)]
struct Task {
    index: u32,
    step: Step,
    state: StepState,
    flight: Option<Flight>,
    tries: u32,
}

#[derive(Debug, Clone, Copy)]
struct Flight {
    ticket: Ticket,
    deadline: HostTime,
}

#[derive(Debug)]
struct Transaction {
    plan: Generation,
    tasks: Vec<Task>,
    undoing: bool,
}

/// Executes plans on a machine.
#[derive(Debug)]
pub struct Executor<J> {
    journal: J,
    lanes: [Option<Transaction>; Family::ALL.len()],
    stuck: Vec<Step>,
}

/// What a step is carried out with.
struct Site<'a, 'w, J> {
    now: HostTime,
    world: World<'w>,
    ledger: Ledger<'w>,
    held: &'a mut Assignment,
    driver: &'a mut dyn Actuate,
    journal: &'a mut J,
    events: Vec<Event>,
}

impl<J: Journal> Executor<J> {
    /// An executor with nothing to do.
    pub fn new(journal: J) -> Self {
        Self { journal, lanes: Default::default(), stuck: Vec::new() }
    }

    /// The journal.
    pub fn journal(&self) -> &J {
        &self.journal
    }

    /// Families with a transaction open; a new plan must leave them as they are.
    #[must_use]
    pub fn busy(&self) -> Families {
        let open = Family::ALL.into_iter().filter(|family| self.lanes[*family as usize].is_some());
        open.fold(Families::NONE, Families::with)
    }

    /// Steps that could be neither done nor undone. What they touch is in quarantine.
    #[must_use]
    pub fn stuck(&self) -> &[Step] {
        &self.stuck
    }

    /// Takes a plan on. Steps of families that are busy, and steps that touch what is in quarantine, are
    /// left out; a later plan will ask again.
    ///
    /// # Errors
    /// When the journal cannot take the plan; then nothing of it will happen.
    pub fn submit(&mut self, plan: &Plan, now: HostTime) -> Result<(), JournalError> {
        let busy = self.busy();
        let accepted = |step: &Step| !busy.contains(step.family()) && !self.touches_stuck(step);
        let mut tasks = Vec::new();
        for (change, index) in plan.changes().iter().zip(0_u32..).filter(|(change, _)| accepted(&change.step))
        {
            tasks.push(Task {
                index,
                step: change.step.clone(),
                state: StepState::Planned,
                flight: None,
                tries: 0,
            });
        }
        for task in &tasks {
            self.journal.record(Entry {
                at: now,
                plan: plan.generation(),
                index: task.index,
                state: StepState::Planned,
                step: Some(task.step.clone()),
                note: None,
            })?;
        }
        for task in tasks {
            let lane = &mut self.lanes[task.step.family() as usize];
            lane.get_or_insert_with(|| Transaction {
                plan: plan.generation(),
                tasks: Vec::new(),
                undoing: false,
            })
            .tasks
            .push(task);
        }
        Ok(())
    }

    fn touches_stuck(&self, step: &Step) -> bool {
        self.stuck.iter().any(|stuck| stuck.touches_same(step))
    }

    /// Polls what is under way and begins what can begin. `held` is what the machine was read to hold,
    /// and is kept up with what gets done.
    ///
    /// # Errors
    /// When the journal cannot be written; nothing is begun then that is not in it.
    pub fn advance(
        &mut self,
        now: HostTime,
        world: World<'_>,
        held: &mut Assignment,
        driver: &mut dyn Actuate,
    ) -> Result<Vec<Event>, JournalError> {
        if self.busy() == Families::NONE {
            return Ok(Vec::new());
        }
        let mut ledger = Ledger::new(world, held);
        for task in self.lanes.iter().flatten().flat_map(|lane| &lane.tasks) {
            match task.state {
                StepState::Started => ledger.begin(&task.step),
                StepState::UndoStarted if task.flight.is_some() => ledger.begin(&task.step.inverse()),
                _ => {}
            }
        }
        let Self { journal, lanes, stuck } = self;
        let mut site = Site { now, world, ledger, held, driver, journal, events: Vec::new() };
        for lane in lanes.iter_mut() {
            if let Some(transaction) = lane {
                transaction.advance(&mut site)?;
                if transaction.is_over() {
                    let lost = transaction.tasks.iter().filter(|task| task.state == StepState::Stuck);
                    stuck.extend(lost.map(|task| task.step.clone()));
                    *lane = None;
                }
            }
        }
        Ok(site.events)
    }
}

impl Transaction {
    fn advance<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        let plan = self.plan;
        for task in self.tasks.iter_mut().filter(|task| task.flight.is_some()) {
            self.undoing |= task.poll(plan, site)?;
        }
        if self.undoing {
            return self.undo(site);
        }
        let mut waiting = false;
        for task in &mut self.tasks {
            // The steps of the cache depend on each other in ways that no account shows.
            if task.state == StepState::Planned && !(waiting && task.step.family() == Family::Cache) {
                self.undoing |= task.start(plan, site)?;
            }
            waiting |= !task.state.is_settled();
        }
        if self.undoing {
            return self.undo(site);
        }
        let under_way = self.tasks.iter().any(|task| task.flight.is_some());
        if waiting && !under_way {
            self.drop_waiting(site)?;
        }
        Ok(())
    }

    /// Nothing is under way that could make room any more.
    fn drop_waiting<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        for task in self.tasks.iter_mut().filter(|task| task.state == StepState::Planned) {
            task.become_state(StepState::Dropped, self.plan, None, site)?;
        }
        Ok(())
    }

    /// Leads back, last first, one step at a time, once nothing is under way.
    fn undo<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        self.drop_waiting(site)?;
        if self.tasks.iter().any(|task| task.flight.is_some()) {
            return Ok(());
        }
        for task in self.tasks.iter_mut().rev() {
            if !task.undo(self.plan, site)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        let last = |task: &Task| match task.state {
            StepState::Succeeded => !self.undoing,
            state => state.is_settled(),
        };
        self.tasks.iter().all(last)
    }
}

impl Task {
    fn become_state<J: Journal>(
        &mut self,
        state: StepState,
        plan: Generation,
        note: Option<String>,
        site: &mut Site<'_, '_, J>,
    ) -> Result<(), JournalError> {
        debug_assert!(self.state.may_become(state), "{:?} became {state:?}", self.state);
        site.journal.record(Entry {
            at: site.now,
            plan,
            index: self.index,
            state,
            step: None,
            note: note.clone(),
        })?;
        self.state = state;
        if state != StepState::Started && state != StepState::UndoStarted {
            let (step, at) = (self.step.clone(), site.now);
            site.events.push(Event { at, plan, step, state, note, refused: false });
        }
        Ok(())
    }

    /// Begins the step if it can begin. True when it failed.
    fn start<J: Journal>(
        &mut self,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        if !site.held.matches(&self.step) || !site.ledger.allows(&self.step) {
            return Ok(false);
        }
        self.become_state(StepState::Started, plan, None, site)?;
        site.ledger.begin(&self.step);
        let progress = site.driver.begin(&self.step);
        let progress = progress.unwrap_or_else(|error| Progress::Failed { why: error.to_string() });
        self.take(progress, plan, site)
    }

    /// Looks after a step that is under way. True when it failed.
    fn poll<J: Journal>(
        &mut self,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        let Some(flight) = self.flight else { return Ok(false) };
        let progress = match site.driver.poll(flight.ticket) {
            Progress::UnderWay(_) if site.now > flight.deadline => {
                Progress::Failed { why: "no answer before its deadline".into() }
            }
            progress => progress,
        };
        self.flight = None;
        if self.state == StepState::UndoStarted {
            self.take_undo(progress, plan, site)?;
            return Ok(false);
        }
        self.take(progress, plan, site)
    }

    fn take<J: Journal>(
        &mut self,
        progress: Progress,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        match progress {
            Progress::UnderWay(ticket) => {
                self.flight = Some(Flight { ticket, deadline: site.deadline(&self.step) });
                Ok(false)
            }
            Progress::Done => {
                site.ledger.finish(&self.step);
                if site.held.apply(&self.step).is_err() {
                    let note = Some("done, but the machine was not where the step started from".into());
                    self.become_state(StepState::Failed, plan, note, site)?;
                    return Ok(true);
                }
                self.become_state(StepState::Succeeded, plan, None, site)?;
                Ok(false)
            }
            Progress::Refused { why } => {
                site.ledger.cancel(&self.step);
                self.become_state(StepState::Failed, plan, Some(why), site)?;
                if let Some(event) = site.events.last_mut() {
                    event.refused = true;
                }
                self.become_state(StepState::UndoStarted, plan, None, site)?;
                self.become_state(StepState::Undone, plan, None, site)?;
                Ok(false)
            }
            Progress::Failed { why } => {
                site.ledger.cancel(&self.step);
                self.become_state(StepState::Failed, plan, Some(why), site)?;
                Ok(true)
            }
        }
    }

    /// Leads the step back if it has to be. True when there is nothing more to do for it.
    fn undo<J: Journal>(
        &mut self,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        if !matches!(self.state, StepState::Succeeded | StepState::Failed | StepState::UndoStarted) {
            return Ok(true);
        }
        if self.state != StepState::UndoStarted {
            self.become_state(StepState::UndoStarted, plan, None, site)?;
        }
        let inverse = self.step.inverse();
        self.tries += 1;
        site.ledger.begin(&inverse);
        let progress = site.driver.begin(&inverse);
        let progress = progress.unwrap_or_else(|error| Progress::Failed { why: error.to_string() });
        self.take_undo(progress, plan, site)?;
        Ok(self.state.is_settled())
    }

    fn take_undo<J: Journal>(
        &mut self,
        progress: Progress,
        plan: Generation,
        site: &mut Site<'_, '_, J>,
    ) -> Result<(), JournalError> {
        let inverse = self.step.inverse();
        match progress {
            Progress::UnderWay(ticket) => {
                self.flight = Some(Flight { ticket, deadline: site.deadline(&inverse) });
                Ok(())
            }
            Progress::Done => {
                site.ledger.finish(&inverse);
                // A step that failed may have left nothing to lead back.
                let _ = site.held.apply(&inverse);
                self.become_state(StepState::Undone, plan, None, site)
            }
            Progress::Refused { why } | Progress::Failed { why } => {
                site.ledger.cancel(&inverse);
                if self.tries < UNDO_TRIES {
                    return Ok(());
                }
                self.become_state(StepState::Stuck, plan, Some(why), site)
            }
        }
    }
}

impl<J> Site<'_, '_, J> {
    /// Generous: a slow change is not a failed one.
    fn deadline(&self, step: &Step) -> HostTime {
        let usual =
            self.world.capabilities.get(step.kind()).map_or(Duration::ZERO, |control| control.latency);
        self.now + usual * 20 + Duration::from_secs(10)
    }
}
