//! Which transactions a journal leaves open: the one place that knows when a transaction is over.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{Assignment, ByteSize, ChangeKind, Family, Generation, HostTime, Step};

use super::{Entry, StepState};

/// How many times of one kind of change are remembered.
const TIMES: usize = 16;

/// A step as the journal left it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenStep {
    /// Its place in the plan.
    pub index: u32,
    /// The step.
    pub step: Step,
    /// What became of it so far.
    pub state: StepState,
    /// Its place among the steps of its transaction in the order in which they were begun.
    pub begun: Option<usize>,
    /// What was on the node that memory moves away from.
    pub before: Option<ByteSize>,
}

/// A transaction that is not over.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OpenTransaction {
    /// The plan that it belongs to.
    pub plan: Generation,
    /// Its family.
    pub family: Family,
    /// All its steps, in the order of the plan.
    pub steps: Vec<OpenStep>,
}

/// What a journal knows of an executor that is no more.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Unfinished {
    /// The newest plan; later ones have higher numbers.
    pub newest: Generation,
    /// Transactions that are not over, at most one of a family.
    pub transactions: Vec<OpenTransaction>,
    /// What is in quarantine.
    pub stuck: Vec<(Generation, u32, Step)>,
    /// How long changes took lately.
    pub took: Vec<(ChangeKind, Duration)>,
}

impl Unfinished {
    /// What a machine holds, read with what was left unfinished in mind: of CPU time and bandwidth machines
    /// show only roughly how much it is, so each open step says what it may be, after it and before it.
    /// `read` reads the machine with what is believed.
    ///
    /// # Errors
    /// When `read` fails.
    pub fn reread<E>(
        &self,
        base: &Assignment,
        mut read: impl FnMut(Assignment) -> Result<Assignment, E>,
    ) -> Result<Assignment, E> {
        let steps =
            || self.transactions.iter().flat_map(|transaction| &transaction.steps).map(|open| &open.step);
        let mut after = base.clone();
        steps().for_each(|step| after.suppose(step));
        let after = read(after)?;
        // The first step of several that change the same starts from what was there at first.
        let mut before = base.clone();
        let in_order: Vec<&Step> = steps().collect();
        in_order.iter().rev().for_each(|step| before.suppose(&step.inverse()));
        let mut held = read(before)?;
        let done = in_order.into_iter().filter(|step| after.matches(&step.inverse()));
        done.for_each(|step| held.suppose(step));
        Ok(held)
    }
}

#[derive(Debug, Clone)]
struct Line {
    step: OpenStep,
    started: Option<HostTime>,
}

/// Follows a journal entry by entry.
#[derive(Debug, Clone, Default)]
pub(super) struct Open {
    newest: Generation,
    transactions: BTreeMap<(Generation, usize), BTreeMap<u32, Line>>,
    families: BTreeMap<(Generation, u32), Family>,
    stuck: BTreeMap<(Generation, u32), Step>,
    took: BTreeMap<ChangeKind, Vec<Duration>>,
}

impl Open {
    /// Takes the next entry; the text says why it cannot be the next.
    pub(super) fn take(&mut self, entry: &Entry) -> Result<(), String> {
        self.newest = self.newest.max(entry.plan);
        let key = (entry.plan, entry.index);
        if let (StepState::Planned, Some(step)) = (entry.state, &entry.step) {
            return self.plan(entry, step);
        }
        let odd = |what: &str| format!("step {} of plan {} {what}", entry.index, entry.plan);
        if entry.state == StepState::Undone && self.stuck.remove(&key).is_some() {
            return Ok(());
        }
        let Some(family) = self.families.get(&key).copied() else {
            return Err(odd("was never planned"));
        };
        let transaction = (entry.plan, family as usize);
        let lines = self.transactions.get_mut(&transaction).ok_or_else(|| odd("belongs to nothing"))?;
        let begun = lines.values().filter(|line| line.step.begun.is_some()).count();
        let line = lines.get_mut(&entry.index).ok_or_else(|| odd("belongs to nothing"))?;
        if !line.step.state.may_become(entry.state) {
            return Err(odd(&format!("was {:?} and became {:?}", line.step.state, entry.state)));
        }
        line.step.state = entry.state;
        match entry.state {
            StepState::Started => {
                line.step.begun = Some(begun);
                line.step.before = entry.before;
                line.started = Some(entry.at);
            }
            StepState::Succeeded => {
                // The clock begins anew with each run, so a step that two runs saw says nothing.
                if let Some(time) = line.started.and_then(|started| entry.at.checked_sub(started)) {
                    let times = self.took.entry(line.step.step.kind()).or_default();
                    times.push(time);
                    times.drain(..times.len().saturating_sub(TIMES));
                }
            }
            _ => {}
        }
        if is_over(lines.values().map(|line| line.step.state)) {
            self.close(transaction);
        }
        Ok(())
    }

    fn plan(&mut self, entry: &Entry, step: &Step) -> Result<(), String> {
        let family = step.family();
        let lines = self.transactions.entry((entry.plan, family as usize)).or_default();
        let line = OpenStep {
            index: entry.index,
            step: step.clone(),
            state: StepState::Planned,
            begun: None,
            before: None,
        };
        if lines.insert(entry.index, Line { step: line, started: None }).is_some() {
            return Err(format!("step {} of plan {} was planned twice", entry.index, entry.plan));
        }
        self.families.insert((entry.plan, entry.index), family);
        Ok(())
    }

    fn close(&mut self, transaction: (Generation, usize)) {
        for (index, line) in self.transactions.remove(&transaction).into_iter().flatten() {
            self.families.remove(&(transaction.0, index));
            if line.step.state == StepState::Stuck {
                self.stuck.insert((transaction.0, index), line.step.step);
            }
        }
    }

    /// Plans of which entries are still needed.
    pub(super) fn needed(&self) -> impl Iterator<Item = Generation> {
        self.transactions.keys().map(|(plan, _)| *plan).chain(self.stuck.keys().map(|(plan, _)| *plan))
    }

    pub(super) fn unfinished(&self) -> Unfinished {
        let transactions = self.transactions.iter().map(|((plan, family), lines)| OpenTransaction {
            plan: *plan,
            family: Family::ALL[*family],
            steps: lines.values().map(|line| line.step.clone()).collect(),
        });
        let took = self.took.iter().flat_map(|(kind, times)| times.iter().map(|time| (*kind, *time)));
        Unfinished {
            newest: self.newest,
            transactions: transactions.collect(),
            stuck: self.stuck.iter().map(|((plan, index), step)| (*plan, *index, step.clone())).collect(),
            took: took.collect(),
        }
    }
}

/// Whether a transaction with steps in these states is over: all have come to rest, and unless nothing
/// went wrong, none is left as if nothing had.
pub(crate) fn is_over(states: impl Iterator<Item = StepState> + Clone) -> bool {
    let undoing = states.clone().any(|state| matches!(state, StepState::Undone | StepState::Stuck));
    states.into_iter().all(|state| state.is_settled() && !(undoing && state == StepState::Succeeded))
}
