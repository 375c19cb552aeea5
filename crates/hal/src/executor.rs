//! Makes a plan physical: releases before grants, and back again when something goes wrong.
//!
//! Each family of changes has a lane with at most one open transaction, so that a device that takes
//! seconds to move does not hold up CPU shares. A step begins when the machine is where the step starts
//! from and the [`Ledger`] has room for it, counting all that is under way. When a step fails, the lane
//! lets what is under way end and then undoes, last begun first, what its transaction had done. A refusal
//! is no failure: the guest keeps its share, and what was to be made of it is dropped for a later plan.
//! What cannot be undone is stuck; what was given up for it is not taken back, as it is still in use.
//!
//! When the journal cannot be written, nothing begins. Once it can be again, steps of which it does not
//! know the end are begun anew, which does no harm where they were done.

use std::collections::BTreeSet;
use std::time::Duration;

use halcyon_model::{
    Assignment, ByteSize, Families, Family, Generation, HostTime, Ledger, Plan, Step, VmId, World,
};

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
    /// Its place among the steps of its transaction in the order in which they were begun.
    begun: Option<usize>,
    /// What was on the node that memory moves away from: the step itself does not say.
    before: Option<ByteSize>,
    /// Given up on without an answer, so that it may still be under way.
    unanswered: bool,
    /// Done, and left so although its transaction is undone.
    kept: bool,
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
    /// Those of them that may still be under way, as the machine never answered.
    adrift: Vec<Step>,
    /// What nobody was told yet.
    events: Vec<Event>,
}

/// Writes down what becomes of steps.
struct Log<'a, J> {
    now: HostTime,
    journal: &'a mut J,
    events: &'a mut Vec<Event>,
}

/// What a step is begun with.
struct Site<'a, 'w, J> {
    log: Log<'a, J>,
    ledger: Ledger<'w>,
    held: &'a mut Assignment,
    driver: &'a mut dyn Actuate,
}

impl<J: Journal> Executor<J> {
    /// An executor with nothing to do.
    pub fn new(journal: J) -> Self {
        Self { journal, lanes: Default::default(), stuck: Vec::new(), adrift: Vec::new(), events: Vec::new() }
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
                begun: None,
                before: None,
                unanswered: false,
                kept: false,
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

    /// Asks after what is under way. To be called before the machine is read, so that what is read
    /// contains what is reported as done.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn settle(&mut self, now: HostTime, driver: &mut dyn Actuate) -> Result<Vec<Event>, JournalError> {
        let mut log = Log { now, journal: &mut self.journal, events: &mut self.events };
        for transaction in self.lanes.iter_mut().flatten() {
            for task in transaction.tasks.iter_mut().filter(|task| task.flight.is_some()) {
                transaction.undoing |= task.poll(transaction.plan, driver, &mut log)?;
            }
        }
        self.close_lanes();
        Ok(std::mem::take(&mut self.events))
    }

    /// Begins what can begin. `held` is what the machine was read to hold, and is kept up with what is
    /// done at once.
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
        for task in
            self.lanes.iter().flatten().flat_map(|lane| &lane.tasks).filter(|task| task.flight.is_some())
        {
            match task.state {
                StepState::UndoStarted => ledger.begin(&task.step.inverse()),
                _ => ledger.begin(&task.step),
            }
        }
        let log = Log { now, journal: &mut self.journal, events: &mut self.events };
        let mut site = Site { log, ledger, held, driver };
        let adrift = self.lanes.iter().flatten().flat_map(|lane| &lane.tasks).filter(|task| task.is_adrift());
        adrift.map(|task| &task.step).chain(&self.adrift).for_each(|step| site.count_adrift(step));
        for transaction in self.lanes.iter_mut().flatten() {
            transaction.advance(&mut site)?;
        }
        self.close_lanes();
        Ok(std::mem::take(&mut self.events))
    }

    fn close_lanes(&mut self) {
        for lane in &mut self.lanes {
            if let Some(transaction) = lane.take_if(|transaction| transaction.is_over()) {
                for task in transaction.tasks.into_iter().filter(|task| task.state == StepState::Stuck) {
                    self.adrift.extend(task.is_adrift().then(|| task.step.clone()));
                    self.stuck.push(task.step);
                }
            }
        }
    }
}

impl Transaction {
    fn advance<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        // A refusal that the journal could not take in full counts as a failure.
        let failed = |task: &Task| matches!(task.state, StepState::Failed | StepState::UndoStarted);
        self.undoing |= self.tasks.iter().any(failed);
        let seen_failed = self.undoing;
        let mut begun = self.tasks.iter().filter(|task| task.begun.is_some()).count();
        let mut turns = Turns::default();
        for index in 0..self.tasks.len() {
            let task = &self.tasks[index];
            if !self.undoing && task.can_start() && turns.has_come(&self.tasks, &task.step) {
                let task = &mut self.tasks[index];
                self.undoing |= task.start(self.plan, begun, site)?;
                begun += usize::from(task.begun == Some(begun));
            }
            if !self.tasks[index].state.is_settled() {
                turns.wait_for(index, &self.tasks[index].step);
            }
        }
        let under_way = self.tasks.iter().any(|task| task.flight.is_some());
        if under_way {
            return Ok(());
        }
        // Nothing can make room any more for what still waits.
        for task in self.tasks.iter_mut().filter(|task| task.state == StepState::Planned) {
            task.become_state(StepState::Dropped, self.plan, None, &mut site.log)?;
        }
        // What a failure left behind is known only once the machine was read again.
        if seen_failed { self.undo(site) } else { Ok(()) }
    }

    /// Leads back one step at a time, the one that was begun last first: whatever a step made room for was
    /// begun after it.
    fn undo<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        let mut order: Vec<usize> = (0..self.tasks.len()).collect();
        order.sort_by_key(|index| std::cmp::Reverse(self.tasks[*index].begun));
        for index in order {
            let task = &self.tasks[index];
            let held_up = || {
                let stuck = |other: &Task| other.state == StepState::Stuck;
                self.tasks.iter().any(|other| stuck(other) && other.step.touches_same(&task.step))
            };
            let kept = task.state == StepState::Succeeded && (!task.has_room_to_undo(site) || held_up());
            let task = &mut self.tasks[index];
            task.kept |= kept;
            if !task.kept && !task.undo(self.plan, site)? {
                return Ok(());
            }
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.tasks.iter().all(|task| match task.state {
            StepState::Succeeded => !self.undoing || task.kept,
            state => state.is_settled(),
        })
    }
}

/// Who has to wait for whom inside a transaction.
#[derive(Default)]
struct Turns {
    vms: BTreeSet<VmId>,
    others: Vec<usize>,
}

impl Turns {
    fn wait_for(&mut self, index: usize, step: &Step) {
        match (step.family(), step.vm()) {
            (Family::Compute | Family::Memory, Some(vm)) => {
                self.vms.insert(vm);
            }
            _ => self.others.push(index),
        }
    }

    /// The steps of the cache depend on each other in ways that no account shows; and of the steps that
    /// change the same thing, each starts from where the last one ended.
    fn has_come(&self, tasks: &[Task], step: &Step) -> bool {
        match step.family() {
            Family::Cache => self.others.is_empty(),
            Family::Compute | Family::Memory => step.vm().is_none_or(|vm| !self.vms.contains(&vm)),
            _ => !self.others.iter().any(|other| tasks[*other].step.touches_same(step)),
        }
    }
}

impl Task {
    fn become_state<J: Journal>(
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
    fn can_start(&self) -> bool {
        self.flight.is_none() && matches!(self.state, StepState::Planned | StepState::Started)
    }

    /// Begins the step if it can begin, as the `turn`th of its transaction. True when it failed.
    fn start<J: Journal>(
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
    fn is_in_effect(&self, held: &Assignment) -> bool {
        match self.before {
            Some(before) => moved_from(&self.step, held).is_some_and(|now| now < before),
            None => held.matches(&self.step.inverse()),
        }
    }

    /// Whether it can be led back without overdrawing anything. Always so for what is not in effect.
    fn has_room_to_undo<J>(&self, site: &Site<'_, '_, J>) -> bool {
        !self.is_in_effect(site.held) || site.ledger.allows(&self.step.inverse())
    }

    /// Looks after a step that is under way. True when it failed.
    fn poll<J: Journal>(
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
    fn end<J: Journal>(
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
    fn undo<J: Journal>(
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

    fn is_adrift(&self) -> bool {
        self.state == StepState::Stuck && self.unanswered
    }

    fn end_undo<J: Journal>(
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
    fn count_adrift(&mut self, step: &Step) {
        for step in [step, &step.inverse()] {
            if self.held.matches(step) {
                self.ledger.begin(step);
            }
        }
    }

    fn begin(&mut self, step: &Step) -> Progress {
        self.driver.begin(step).unwrap_or_else(|error| Progress::Failed { why: error.to_string() })
    }

    /// Generous: a slow change is not a failed one.
    fn deadline(&self, step: &Step) -> HostTime {
        self.log.now.saturating_add(self.driver.estimate(step).saturating_mul(3) + Duration::from_secs(10))
    }
}
