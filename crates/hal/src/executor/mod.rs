//! Makes a plan physical: releases before grants, and back again when something goes wrong.
//!
//! Each family of changes has a lane with at most one open transaction, so that a device that takes
//! seconds to move does not hold up CPU shares. A step begins when the machine is where the step starts
//! from and the [`Ledger`] has room for it, counting all that is under way. Whatever can begin at one
//! moment is written down together and then begun. When a step fails, the lane lets what is under way end
//! and then undoes, last begun first, what its transaction had done. A refusal is no failure: the guest
//! keeps its share, and what was to be made of it is dropped for a later plan. What cannot be undone is
//! stuck; what was given up for it is not taken back, as it is still in use.
//!
//! One record comes before an effect: it takes along the plan, and how earlier steps ended. When the
//! journal cannot be written, nothing begins. Once it can be again, steps of which it does not know the
//! end are begun anew, which does no harm where they were done. So it is after a crash:
//! [`Executor::resume`] takes up what the journal left open, and the machine decides how far each step got.

mod task;
mod times;
mod transaction;

use std::collections::BTreeSet;

use halcyon_model::{Assignment, Families, Family, Generation, HostTime, Ledger, Plan, Step, World};

use self::task::{Log, Site, Task};
use self::times::Times;
use self::transaction::Transaction;
use crate::host::Actuate;
use crate::journal::{Entry, Journal, JournalError, StepState, Unfinished};

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
}

impl Event {
    /// What became of the step, in one word that follows its description.
    #[must_use]
    pub const fn became(&self) -> &'static str {
        match self.state {
            StepState::Planned => "planned",
            StepState::Started => "begun",
            StepState::Succeeded => "done",
            StepState::Refused => "refused",
            StepState::Failed => "failed",
            StepState::UndoStarted => "taken back",
            StepState::Undone => "undone",
            StepState::Stuck => "stuck",
            StepState::Dropped => "dropped",
            StepState::Kept => "kept",
        }
    }
}

/// What could be neither done nor undone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stuck {
    /// The plan that the step belongs to.
    pub plan: Generation,
    /// Its place in the plan.
    pub index: u32,
    /// The step. What it touches is in quarantine.
    pub step: Step,
    /// Whether it may still be under way, as the machine never answered.
    adrift: bool,
}

/// Executes plans on a machine.
#[derive(Debug)]
pub struct Executor<J> {
    journal: J,
    lanes: [Option<Transaction>; Family::ALL.len()],
    stuck: Vec<Stuck>,
    times: Times,
    /// What was reported as done since the machine was read last.
    unseen: Vec<Unseen>,
    /// What the journal is to be told with the next record.
    late: Vec<Entry>,
    /// What nobody was told yet.
    events: Vec<Event>,
}

/// A step of a transaction that is over, which the next reading has to show.
#[derive(Debug)]
struct Unseen {
    plan: Generation,
    task: Task,
}

impl<J: Journal> Executor<J> {
    /// An executor with nothing to do.
    pub fn new(journal: J) -> Self {
        Self {
            journal,
            lanes: Default::default(),
            stuck: Vec::new(),
            times: Times::default(),
            unseen: Vec::new(),
            late: Vec::new(),
            events: Vec::new(),
        }
    }

    /// An executor that takes up what another left unfinished, as its journal tells. Every transaction is
    /// led to its end, forwards where the machine lets it and otherwise back; what was in quarantine
    /// stays there.
    pub fn resume(journal: J, unfinished: Unfinished) -> Self {
        let mut executor = Self::new(journal);
        for transaction in unfinished.transactions {
            let family = transaction.family;
            executor.lanes[family as usize] = Some(Transaction::resume(transaction));
        }
        let stuck = unfinished.stuck.into_iter();
        executor.stuck = stuck.map(|(plan, index, step)| Stuck { plan, index, step, adrift: true }).collect();
        unfinished.took.into_iter().for_each(|(kind, time)| executor.times.took(kind, time));
        executor
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
    pub fn stuck(&self) -> &[Stuck] {
        &self.stuck
    }

    /// Ends the quarantine of what a step touches, once somebody has looked after the machine.
    ///
    /// # Errors
    /// When the journal cannot be written; the quarantine goes on then.
    pub fn release(&mut self, plan: Generation, index: u32, now: HostTime) -> Result<bool, JournalError> {
        let found = self.stuck.iter().position(|stuck| stuck.plan == plan && stuck.index == index);
        let Some(found) = found else { return Ok(false) };
        let note = Some("released by hand".to_string());
        let state = StepState::Undone;
        let entry = Entry { at: now, plan, index, state, step: None, before: None, note: note.clone() };
        self.log(now).record(vec![entry])?;
        let step = self.stuck.remove(found).step;
        self.events.push(Event { at: now, plan, step, state, note });
        Ok(true)
    }

    /// Takes a plan on, to be written down with what begins of it first. Steps of families that are busy,
    /// and steps that touch what is in quarantine, are left out; a later plan will ask again.
    pub fn submit(&mut self, plan: &Plan, now: HostTime) {
        let busy = self.busy();
        let accepted = |step: &Step| !busy.contains(step.family()) && !self.touches_stuck(step);
        let steps = plan.changes().iter().zip(0_u32..).filter(|(change, _)| accepted(&change.step));
        let tasks: Vec<Task> = steps.map(|(change, index)| Task::new(index, change.step.clone())).collect();
        for task in tasks {
            self.late.push(Entry {
                at: now,
                plan: plan.generation(),
                index: task.index,
                state: StepState::Planned,
                step: Some(task.step.clone()),
                before: None,
                note: None,
            });
            let lane = &mut self.lanes[task.step.family() as usize];
            lane.get_or_insert_with(|| Transaction::new(plan.generation())).tasks.push(task);
        }
    }

    /// Writes down all that the journal was not told yet. Nothing depends on it; a crash before it only
    /// makes whoever comes next ask the machine.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn write_down(&mut self, now: HostTime) -> Result<(), JournalError> {
        self.log(now).record(Vec::new())
    }

    fn log(&mut self, now: HostTime) -> Log<'_, J> {
        let (events, late, times) = (&mut self.events, &mut self.late, &mut self.times);
        Log { now, journal: &mut self.journal, events, late, times }
    }

    /// Gives up plans that the journal never took: nothing of them has begun.
    fn forget_unwritten(&mut self) {
        let planned = self.late.iter().filter(|entry| entry.state == StepState::Planned);
        let plans: BTreeSet<Generation> = planned.map(|entry| entry.plan).collect();
        self.late.retain(|entry| !plans.contains(&entry.plan));
        for lane in &mut self.lanes {
            lane.take_if(|transaction| plans.contains(&transaction.plan));
        }
    }

    fn touches_stuck(&self, step: &Step) -> bool {
        self.stuck.iter().any(|stuck| stuck.step.touches_same(step))
    }

    /// Asks after what is under way, and lets the journal put itself in order. To be called before the machine is read, so that what is read
    /// contains what is reported as done.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn settle(&mut self, now: HostTime, driver: &mut dyn Actuate) -> Result<Vec<Event>, JournalError> {
        let (events, late, times) = (&mut self.events, &mut self.late, &mut self.times);
        let mut log = Log { now, journal: &mut self.journal, events, late, times };
        for transaction in self.lanes.iter_mut().flatten() {
            transaction.poll(driver, &mut log)?;
        }
        self.close_lanes();
        self.journal.tend()?;
        Ok(std::mem::take(&mut self.events))
    }

    /// Begins what can begin. `held` is what the machine was read to hold, and is kept up with what is
    /// done at once. How that ended is written down with the next record, or in the next cycle.
    ///
    /// # Errors
    /// When the journal cannot be written; nothing is begun then that is not in it, and a plan of which it
    /// has nothing is given up.
    pub fn advance(
        &mut self,
        now: HostTime,
        world: World<'_>,
        held: &mut Assignment,
        driver: &mut dyn Actuate,
    ) -> Result<Vec<Event>, JournalError> {
        self.look(now, held);
        if self.busy() != Families::NONE {
            let begun = self.begin(now, world, held, driver);
            begun.inspect_err(|_| self.forget_unwritten())?;
        }
        if self.late.first().is_some_and(|entry| entry.at < now) {
            self.write_down(now)?;
        }
        Ok(std::mem::take(&mut self.events))
    }

    fn begin(
        &mut self,
        now: HostTime,
        world: World<'_>,
        held: &mut Assignment,
        driver: &mut dyn Actuate,
    ) -> Result<(), JournalError> {
        let mut ledger = Ledger::new(world, held);
        for task in
            self.lanes.iter().flatten().flat_map(|lane| &lane.tasks).filter(|task| task.flight.is_some())
        {
            match task.state {
                StepState::UndoStarted => ledger.begin(&task.step.inverse()),
                _ => ledger.begin(&task.step),
            }
        }
        let (events, late, times) = (&mut self.events, &mut self.late, &mut self.times);
        let log = Log { now, journal: &mut self.journal, events, late, times };
        let mut site = Site { log, ledger, held, driver };
        let lanes = self.lanes.iter().flatten().flat_map(|lane| &lane.tasks);
        let adrift = lanes.filter(|task| task.is_adrift()).map(|task| &task.step);
        let quarantined = self.stuck.iter().filter(|stuck| stuck.adrift).map(|stuck| &stuck.step);
        adrift.chain(quarantined).for_each(|step| site.count_adrift(step));
        for transaction in self.lanes.iter_mut().flatten() {
            transaction.advance(&mut site)?;
        }
        self.close_lanes();
        Ok(())
    }

    /// Says so when a driver reported as done what the machine does not show. What is neither as before
    /// nor as the step says was changed by somebody else since.
    fn look(&mut self, now: HostTime, held: &Assignment) {
        let unseen = std::mem::take(&mut self.unseen);
        let missing = |unseen: &Unseen| !unseen.task.is_in_effect(held) && held.matches(&unseen.task.step);
        for Unseen { plan, task } in unseen.into_iter().filter(missing) {
            let note = Some("it was reported as done, and the machine is not so".to_string());
            self.events.push(Event { at: now, plan, step: task.step, state: StepState::Failed, note });
        }
    }

    fn close_lanes(&mut self) {
        for lane in &mut self.lanes {
            let Some(transaction) = lane.take_if(|transaction| transaction.is_over()) else { continue };
            let plan = transaction.plan;
            for task in transaction.last_words() {
                if task.state == StepState::Stuck {
                    let adrift = task.is_adrift();
                    self.stuck.push(Stuck { plan, index: task.index, step: task.step, adrift });
                } else {
                    self.unseen.push(Unseen { plan, task });
                }
            }
        }
    }
}
