//! One cycle after another, on whatever host and clock it is handed.
//!
//! ```text
//!  settle ─► observe ─► record ─► decide ─► project ─► diff ─► approve ─► submit ─► advance
//!  (what was under way)            │  late, not finite, refused?              (begin steps)
//!                                  └──────► the heuristic decides instead
//! ```

use std::time::Duration;

use halcyon_hal::{Event, Executor, Host, Inventory, Journal, JournalError, ObserveError};
use halcyon_model::{Families, Generation, HostTime, Plan, Snapshot};
use halcyon_policy::{Allowance, Decider, Explanation, Fallback, History, Policy, View};

/// What a cycle may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mode {
    /// Measure only.
    Observe,
    /// Decide, and begin nothing. What was begun before is led to its end.
    Advise,
    /// Decide, and carry it out.
    #[default]
    Act,
}

/// How a cycle behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    /// What it may do.
    pub mode: Mode,
    /// A decision that takes longer is replaced by the heuristic's; without it, none is late.
    pub deadline: Option<Duration>,
}

/// Measures how long decisions take. The simulator runs on virtual time, but its decisions do not.
pub trait Stopwatch {
    /// Time since any fixed moment.
    fn elapsed(&self) -> Duration;
}

/// What one cycle did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The plan, if anything is to change; where a cycle only advises, what would.
    pub plan: Option<Plan>,
    /// What became of steps, of this plan and of earlier ones.
    pub events: Vec<Event>,
    /// How long the decision took: features, policy, projection, ordering and check.
    pub decision: Duration,
    /// Why the heuristic decided, if it did.
    pub fallback: Option<Fallback>,
}

/// Why a cycle could not be completed. VMs stay as they are.
#[derive(Debug, thiserror::Error)]
pub enum CycleError {
    /// The host could not be read.
    #[error("the host cannot be observed")]
    Observe(#[from] ObserveError),
    /// VMs came or went while the host was read; the next cycle will see.
    #[error("VMs came or went while the host was read")]
    OutOfStep,
    /// The journal could not be written.
    #[error("the journal cannot be kept")]
    Journal(#[from] JournalError),
}

/// The control cycle.
pub struct Cycle<J> {
    decider: Decider,
    executor: Executor<J>,
    config: Config,
    history: History,
    snapshot: Snapshot,
    /// What became of steps in cycles that could not be completed.
    events: Vec<Event>,
}

impl<J: Journal> Cycle<J> {
    /// A cycle that lets `policy` decide, and `heuristic` where `policy` cannot be used.
    pub fn new(
        policy: Box<dyn Policy + Send>,
        heuristic: Box<dyn Policy + Send>,
        journal: J,
        config: Config,
    ) -> Self {
        Self::over(Executor::new(journal), policy, heuristic, config)
    }

    /// The same over an executor that is there already, as one that took up what another left.
    pub fn over(
        executor: Executor<J>,
        policy: Box<dyn Policy + Send>,
        heuristic: Box<dyn Policy + Send>,
        config: Config,
    ) -> Self {
        Self {
            decider: Decider::new(policy, heuristic),
            executor,
            config,
            history: History::new(),
            snapshot: Snapshot::default(),
            events: Vec::new(),
        }
    }

    /// Numbers plans from after this one, the newest that a journal knows.
    #[must_use]
    pub fn counting_from(mut self, newest: Generation) -> Self {
        self.decider.count_from(newest);
        self
    }

    /// Goes on in another way from the next cycle.
    pub fn reconfigure(&mut self, config: Config) {
        self.config = config;
    }

    /// Lets another policy decide from the next cycle; what was seen stays.
    pub fn replace_policy(&mut self, policy: Box<dyn Policy + Send>) {
        self.decider.replace_policy(policy);
    }

    /// Writes down all that the journal was not told yet, before a clean end.
    ///
    /// # Errors
    /// When the journal cannot be written.
    pub fn write_down(&mut self, now: HostTime) -> Result<(), JournalError> {
        self.executor.write_down(now)
    }

    /// What was seen last, kept up with what was done since.
    #[must_use]
    pub fn snapshot(&self) -> &Snapshot {
        &self.snapshot
    }

    /// What was seen before.
    #[must_use]
    pub fn history(&self) -> &History {
        &self.history
    }

    /// The executor, for its journal and what is stuck.
    #[must_use]
    pub fn executor(&self) -> &Executor<J> {
        &self.executor
    }

    /// Why the plan of an outcome changes what it changes, change by change, by whoever made it; nothing
    /// without a plan. The outcome has to be that of the last cycle, and `inventory` the one that it had.
    #[must_use]
    pub fn explain(&self, inventory: &Inventory, outcome: &Outcome) -> Vec<Explanation> {
        let Some(plan) = &outcome.plan else { return Vec::new() };
        // Of what was decided on, only what is held has been kept up with what was done since.
        let snapshot = Snapshot { assignment: plan.start(), ..self.snapshot.clone() };
        let view = View {
            world: inventory.world(),
            snapshot: &snapshot,
            history: &self.history,
            frozen: Families::NONE,
            profiles: &inventory.profiles,
        };
        self.decider.explain(&view, plan, outcome.fallback.as_ref())
    }

    /// Runs one cycle at `now`.
    ///
    /// # Errors
    /// When the host cannot be read or the journal cannot be written.
    pub fn tick(
        &mut self,
        host: &mut dyn Host,
        now: HostTime,
        stopwatch: &dyn Stopwatch,
    ) -> Result<Outcome, CycleError> {
        let settled = self.executor.settle(now, host)?;
        self.events.extend(settled);
        let inventory = host.inventory();
        host.observe(&mut self.snapshot)?;
        if !in_step(&inventory, &self.snapshot) {
            return Err(CycleError::OutOfStep);
        }
        self.snapshot.generation = self.snapshot.generation.next();
        self.snapshot.busy = self.executor.busy();
        let mut outcome = Outcome::default();
        let started = stopwatch.elapsed();
        self.history.record(&self.snapshot);
        if self.config.mode != Mode::Observe {
            outcome.plan = self.decide(&inventory, now, started, stopwatch, &mut outcome);
        }
        outcome.decision = stopwatch.elapsed().saturating_sub(started);
        if let Some(plan) = &outcome.plan {
            // A plan that the journal has in part keeps its number to itself.
            self.decider.number(plan);
            if self.config.mode == Mode::Act {
                self.executor.submit(plan, now);
                self.decider.begin(plan, now);
            }
        }
        let held = &mut self.snapshot.assignment;
        let advanced = self.executor.advance(now, inventory.world(), held, host)?;
        outcome.events = std::mem::take(&mut self.events);
        outcome.events.extend(advanced);
        Ok(outcome)
    }

    fn decide(
        &mut self,
        inventory: &Inventory,
        now: HostTime,
        started: Duration,
        stopwatch: &dyn Stopwatch,
        outcome: &mut Outcome,
    ) -> Option<Plan> {
        let view = View {
            world: inventory.world(),
            snapshot: &self.snapshot,
            history: &self.history,
            frozen: self.snapshot.busy,
            profiles: &inventory.profiles,
        };
        let took = || stopwatch.elapsed().saturating_sub(started);
        let allowance = Allowance { deadline: self.config.deadline, took: &took };
        let decision = self.decider.decide(&view, now, allowance);
        outcome.fallback = decision.fallback;
        decision.plan
    }
}

/// Whether what was read is of the VMs that the inventory knows, in the same order.
fn in_step(inventory: &Inventory, snapshot: &Snapshot) -> bool {
    let known = || inventory.vms.iter().map(|spec| spec.id);
    known().eq(snapshot.vms.iter().map(|sample| sample.vm))
        && known().eq(snapshot.assignment.holdings.iter().map(|holding| holding.vm))
}
