//! The steps of one plan in one family: forwards together, backwards one by one.

use std::collections::BTreeSet;
use std::time::Duration;

use halcyon_model::{ByteSize, Family, Generation, Step, VmId};

use super::Event;
use super::task::{Flight, Log, Site, Task, moved_from};
use crate::host::{Actuate, Progress};
use crate::journal::{Entry, Journal, JournalError, OpenTransaction, StepState, is_over};

/// How often an undo is tried before the step counts as stuck.
const UNDO_TRIES: u32 = 3;
/// Changes that are likely to take no longer are likely to be done when they were begun.
const AT_ONCE: Duration = Duration::from_millis(10);

#[derive(Debug)]
pub(super) struct Transaction {
    pub(super) plan: Generation,
    pub(super) tasks: Vec<Task>,
    undoing: bool,
}

/// What becomes of one task.
struct Turn {
    task: usize,
    state: StepState,
    before: Option<ByteSize>,
    note: Option<String>,
}

impl Turn {
    fn of(task: usize, state: StepState) -> Self {
        Self { task, state, before: None, note: None }
    }

    fn because(task: usize, state: StepState, note: String) -> Self {
        Self { note: Some(note), ..Self::of(task, state) }
    }

    fn end(task: usize, progress: Progress) -> Option<Self> {
        match progress {
            Progress::UnderWay(_) => None,
            Progress::Done => Some(Self::of(task, StepState::Succeeded)),
            Progress::Refused { why } => Some(Self::because(task, StepState::Refused, why)),
            Progress::Failed { why } => Some(Self::because(task, StepState::Failed, why)),
        }
    }
}

impl Transaction {
    pub(super) fn new(plan: Generation) -> Self {
        Self { plan, tasks: Vec::new(), undoing: false }
    }

    pub(super) fn resume(open: OpenTransaction) -> Self {
        let tasks: Vec<Task> = open.steps.into_iter().map(Task::resume).collect();
        let mut transaction = Self { plan: open.plan, tasks, undoing: false };
        transaction.look();
        transaction
    }

    pub(super) fn is_over(&self) -> bool {
        is_over(self.tasks.iter().map(|task| task.state))
    }

    /// What is to be remembered of a transaction that is over: what is stuck, and what was done and not
    /// changed again by a later step.
    pub(super) fn last_words(mut self) -> Vec<Task> {
        let mut last: Vec<Task> = Vec::new();
        self.tasks.sort_by_key(|task| task.begun);
        for task in self.tasks {
            // Whether a class is there shows in no single step: others are put into it.
            let shows = task.step.family() != Family::Cache;
            if shows && matches!(task.state, StepState::Succeeded | StepState::Kept) {
                last.retain(|other| other.state == StepState::Stuck || !other.step.touches_same(&task.step));
                last.push(task);
            } else if task.state == StepState::Stuck {
                last.push(task);
            }
        }
        last
    }

    fn look(&mut self) {
        use StepState::{Failed, Stuck, UndoStarted, Undone};
        let failed = |task: &Task| matches!(task.state, Failed | UndoStarted | Undone | Stuck);
        self.undoing |= self.tasks.iter().any(failed);
    }

    /// Writes down what becomes of tasks, all of it or nothing, and lets it be so.
    fn note<J: Journal>(&mut self, turns: Vec<Turn>, log: &mut Log<'_, J>) -> Result<(), JournalError> {
        if turns.is_empty() {
            return Ok(());
        }
        let entry = |turn: &Turn| Entry {
            at: log.now,
            plan: self.plan,
            index: self.tasks[turn.task].index,
            state: turn.state,
            step: None,
            before: turn.before,
            note: turn.note.clone(),
        };
        let entries: Vec<Entry> = turns.iter().map(entry).collect();
        let begins = |turn: &Turn| matches!(turn.state, StepState::Started | StepState::UndoStarted);
        if turns.iter().any(begins) {
            log.record(entries)?;
        } else {
            log.late.extend(entries);
        }
        for turn in turns {
            self.turn(turn, log);
        }
        self.look();
        Ok(())
    }

    fn turn<J>(&mut self, turn: Turn, log: &mut Log<'_, J>) {
        let task = &mut self.tasks[turn.task];
        debug_assert!(task.state.may_become(turn.state), "{:?} became {:?}", task.state, turn.state);
        task.state = turn.state;
        if matches!(turn.state, StepState::Started | StepState::UndoStarted) {
            return;
        }
        if let (StepState::Succeeded, Some(started)) = (turn.state, task.started) {
            log.times.took(task.step.kind(), log.now.saturating_sub(started));
        }
        let (at, plan, step) = (log.now, self.plan, task.step.clone());
        log.events.push(Event { at, plan, step, state: turn.state, note: turn.note });
    }

    /// Asks after what is under way.
    pub(super) fn poll<J: Journal>(
        &mut self,
        driver: &mut dyn Actuate,
        log: &mut Log<'_, J>,
    ) -> Result<(), JournalError> {
        let mut turns = Vec::new();
        for (index, task) in self.tasks.iter_mut().enumerate() {
            let Some(progress) = task.poll(driver, log.now) else { continue };
            turns.extend(match task.state {
                StepState::UndoStarted => task.end_undo(index, progress),
                _ => Turn::end(index, progress),
            });
        }
        self.note(turns, log)
    }

    pub(super) fn advance<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        let seen_failed = self.undoing;
        if !self.undoing {
            let turns = self.foresee(site);
            self.note(turns, &mut site.log)?;
            self.begin_what_can(site)?;
        }
        if self.tasks.iter().any(|task| task.flight.is_some()) {
            return Ok(());
        }
        // Nothing can make room any more for what still waits.
        let waiting = self.tasks.iter().enumerate().filter(|(_, task)| task.is_waiting());
        let turns = waiting.map(|(index, _)| Turn::of(index, StepState::Dropped)).collect();
        self.note(turns, &mut site.log)?;
        // What a failure left behind is known only once the machine was read again.
        if seen_failed { self.undo(site) } else { Ok(()) }
    }

    /// What will begin now if all goes well, so that one record serves for all of it. What comes otherwise
    /// is written down when it comes.
    fn foresee<J>(&self, site: &Site<'_, '_, J>) -> Vec<Turn> {
        let mut ledger = site.ledger.clone();
        let (mut order, mut chained, mut turns) = (Order::default(), BTreeSet::new(), Vec::new());
        for (index, task) in self.tasks.iter().enumerate() {
            let step = &task.step;
            let follows = step.vm().is_some_and(|vm| chained.contains(&vm));
            let can = task.state == StepState::Planned
                && order.has_come(&self.tasks, step)
                && (follows || site.held.matches(step))
                && ledger.allows(step);
            let mut settled = task.state.is_settled();
            if can {
                ledger.begin(step);
                if site.driver.estimate(step) <= AT_ONCE {
                    ledger.finish(step);
                    settled = true;
                    if matches!(step.family(), Family::Compute | Family::Memory) {
                        chained.extend(step.vm());
                    }
                }
                // Where memory comes from is known only when it is about to move.
                if !matches!(step, Step::MigrateMemory { .. }) {
                    turns.push(Turn::of(index, StepState::Started));
                }
            }
            if !settled {
                order.wait_for(index, step);
            }
        }
        turns
    }

    /// Begins what can begin, in the order of the plan.
    fn begin_what_can<J: Journal>(&mut self, site: &mut Site<'_, '_, J>) -> Result<(), JournalError> {
        let mut begun = self.tasks.iter().filter(|task| task.begun.is_some()).count();
        let mut order = Order::default();
        let mut failed = false;
        let mut ends = Vec::new();
        for index in 0..self.tasks.len() {
            let task = &self.tasks[index];
            let mut settled = task.state.is_settled();
            if !failed && task.can_start() && order.has_come(&self.tasks, &task.step) {
                // What the journal could not take ends the pass, but not what was done before.
                let end = match self.start(index, begun, site) {
                    Ok(end) => end,
                    Err(error) => {
                        self.note(ends, &mut site.log)?;
                        return Err(error);
                    }
                };
                begun += usize::from(self.tasks[index].begun == Some(begun));
                if let Some(end) = end {
                    failed = end.state == StepState::Failed;
                    settled = !failed;
                    ends.push(end);
                }
            }
            if !settled {
                order.wait_for(index, &self.tasks[index].step);
            }
        }
        self.note(ends, &mut site.log)
    }

    /// Begins one step if it can begin, as the `turn`th of its transaction, and says how it ended if it
    /// did at once.
    fn start<J: Journal>(
        &mut self,
        index: usize,
        turn: usize,
        site: &mut Site<'_, '_, J>,
    ) -> Result<Option<Turn>, JournalError> {
        let task = &self.tasks[index];
        let again = task.begun.is_some();
        if again && task.is_in_effect(site.held) {
            return Ok(Some(Turn::of(index, StepState::Succeeded)));
        }
        if !site.held.matches(&task.step) {
            // Begun once, and now there is no telling any more.
            return Ok(again.then(|| task.lost(index, site)));
        }
        if !site.ledger.allows(&task.step) {
            return Ok(None);
        }
        let before = moved_from(&task.step, site.held);
        if task.state == StepState::Planned {
            self.note(vec![Turn { before, ..Turn::of(index, StepState::Started) }], &mut site.log)?;
        }
        let task = &mut self.tasks[index];
        if !again {
            (task.begun, task.before, task.started) = (Some(turn), before, Some(site.log.now));
        }
        let step = task.step.clone();
        site.ledger.begin(&step);
        let progress = site.begin(&step);
        match &progress {
            Progress::UnderWay(ticket) => {
                let deadline = site.deadline(&step);
                self.tasks[index].flight = Some(Flight { ticket: *ticket, deadline });
            }
            Progress::Done => {
                site.ledger.finish(&step);
                let _ = site.held.apply(&step);
            }
            Progress::Refused { .. } | Progress::Failed { .. } => site.ledger.cancel(&step),
        }
        Ok(Turn::end(index, progress))
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
            if task.state == StepState::Succeeded && (!task.has_room_to_undo(site) || held_up()) {
                self.note(vec![Turn::of(index, StepState::Kept)], &mut site.log)?;
            } else if !self.undo_task(index, site)? {
                return Ok(());
            }
        }
        Ok(())
    }

    /// Leads one step back if it has to be. True when there is nothing more to do for it.
    fn undo_task<J: Journal>(
        &mut self,
        index: usize,
        site: &mut Site<'_, '_, J>,
    ) -> Result<bool, JournalError> {
        let task = &self.tasks[index];
        let begins = match task.state {
            StepState::Started => vec![task.lost(index, site), Turn::of(index, StepState::UndoStarted)],
            StepState::Succeeded | StepState::Failed => vec![Turn::of(index, StepState::UndoStarted)],
            StepState::UndoStarted => Vec::new(),
            _ => return Ok(true),
        };
        if begins.first().is_some_and(|turn| turn.state == StepState::Refused) {
            self.note(begins.into_iter().take(1).collect(), &mut site.log)?;
            return Ok(true);
        }
        self.note(begins, &mut site.log)?;
        let task = &mut self.tasks[index];
        task.tries += 1;
        let in_effect = task.is_in_effect(site.held);
        let never_moved = task.before.is_some() && !in_effect && !task.unanswered;
        if never_moved || task.is_of_nobody(site.held) {
            self.note(vec![Turn::of(index, StepState::Undone)], &mut site.log)?;
            return Ok(true);
        }
        if !task.has_room_to_undo(site) {
            let why = "there is no room to lead it back".into();
            self.note(vec![Turn::because(index, StepState::Stuck, why)], &mut site.log)?;
            return Ok(true);
        }
        self.begin_undo(index, in_effect, site)?;
        let task = &self.tasks[index];
        if task.is_adrift() {
            site.count_adrift(&task.step);
        }
        Ok(task.state.is_settled())
    }

    fn begin_undo<J: Journal>(
        &mut self,
        index: usize,
        in_effect: bool,
        site: &mut Site<'_, '_, J>,
    ) -> Result<(), JournalError> {
        let inverse = self.tasks[index].step.inverse();
        let progress = site.begin(&inverse);
        if let Progress::UnderWay(ticket) = progress {
            let deadline = site.deadline(&inverse);
            self.tasks[index].flight = Some(Flight { ticket, deadline });
            return Ok(());
        }
        // A step that failed may have left nothing to lead back.
        if progress == Progress::Done && in_effect && site.held.apply(&inverse).is_ok() {
            site.ledger.begin(&inverse);
            site.ledger.finish(&inverse);
        }
        let turns = self.tasks[index].end_undo(index, progress).into_iter().collect();
        self.note(turns, &mut site.log)
    }
}

impl Task {
    /// How an undo ended; nothing when it is to be tried again in the next cycle.
    fn end_undo(&self, index: usize, progress: Progress) -> Option<Turn> {
        match progress {
            Progress::Done => Some(Turn::of(index, StepState::Undone)),
            Progress::Refused { why } | Progress::Failed { why } if self.tries >= UNDO_TRIES => {
                Some(Turn::because(index, StepState::Stuck, why))
            }
            Progress::UnderWay(_) | Progress::Refused { .. } | Progress::Failed { .. } => None,
        }
    }

    /// What becomes of a step that was begun when there is no telling any more how it went.
    fn lost<J>(&self, index: usize, site: &Site<'_, '_, J>) -> Turn {
        if self.is_of_nobody(site.held) {
            return Turn::because(index, StepState::Refused, "the VM is gone".into());
        }
        Turn::because(index, StepState::Failed, "the journal does not know how it ended".into())
    }
}

/// Who has to wait for whom inside a transaction.
#[derive(Default)]
struct Order {
    vms: BTreeSet<VmId>,
    others: Vec<usize>,
}

impl Order {
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
