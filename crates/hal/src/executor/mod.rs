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

mod task;

use std::collections::BTreeSet;

use halcyon_model::{Assignment, Families, Family, Generation, HostTime, Ledger, Plan, Step, VmId, World};

use self::task::{Log, Site, Task};
use crate::host::Actuate;
use crate::journal::{Entry, Journal, JournalError, StepState};

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

impl Event {
    /// What became of the step, in one word that follows its description.
    #[must_use]
    pub const fn became(&self) -> &'static str {
        match self.state {
            _ if self.refused => "refused",
            StepState::Planned => "planned",
            StepState::Started => "begun",
            StepState::Succeeded => "done",
            StepState::Failed => "failed",
            StepState::UndoStarted => "taken back",
            StepState::Undone => "undone",
            StepState::Stuck => "stuck",
            StepState::Dropped => "dropped",
        }
    }
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
