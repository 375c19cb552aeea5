//! One cycle after another, on whatever host and clock it is handed.
//!
//! ```text
//!  settle ─► observe ─► record ─► decide ─► project ─► diff ─► approve ─► submit ─► advance
//!  (what was under way)            │  late, not finite, refused?              (begin steps)
//!                                  └──────► the heuristic decides instead
//! ```

use std::fmt;
use std::time::Duration;

use halcyon_hal::{Event, Executor, Host, Inventory, Journal, JournalError, ObserveError};
use halcyon_model::{
    Capabilities, ChangeKind, Families, Family, Generation, HostTime, Plan, Proposal, Snapshot, Standing,
    Violations, World, approve, diff, project,
};
use halcyon_policy::{Doubt, Explanation, History, Policy, View};

/// How a cycle behaves.
#[derive(Debug, Clone, Copy, Default)]
pub struct Config {
    /// A decision that takes longer is replaced by the heuristic's; without it, none is late.
    pub deadline: Option<Duration>,
}

/// Measures how long decisions take. The simulator runs on virtual time, but its decisions do not.
pub trait Stopwatch {
    /// Time since any fixed moment.
    fn elapsed(&self) -> Duration;
}

/// Why the heuristic decided instead of the policy.
#[derive(Debug, Clone, PartialEq)]
pub enum Fallback {
    /// The decision came too late.
    Late {
        /// How long it took.
        took: Duration,
    },
    /// The proposal holds figures that are not numbers.
    NotFinite,
    /// The checker refused the plan.
    Refused(Violations),
    /// The policy itself says that its answer is not to be trusted.
    Doubt(Doubt),
}

impl fmt::Display for Fallback {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late { took } => write!(f, "the decision took {:.1} ms", took.as_secs_f64() * 1e3),
            Self::NotFinite => f.write_str("the proposal holds figures that are not numbers"),
            Self::Refused(violations) => write!(f, "the checker refused the plan: {violations}"),
            Self::Doubt(doubt) => doubt.fmt(f),
        }
    }
}

/// What one cycle did.
#[derive(Debug, Default)]
pub struct Outcome {
    /// The plan, if anything is to change.
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
    policy: Box<dyn Policy + Send>,
    heuristic: Box<dyn Policy + Send>,
    executor: Executor<J>,
    config: Config,
    history: History,
    snapshot: Snapshot,
    plan: Generation,
    changed_at: [Option<HostTime>; ChangeKind::ALL.len()],
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
        Self {
            policy,
            heuristic,
            executor: Executor::new(journal),
            config,
            history: History::new(),
            snapshot: Snapshot::default(),
            plan: Generation::default(),
            changed_at: Default::default(),
            events: Vec::new(),
        }
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
        let decided = if outcome.fallback.is_some() { &self.heuristic } else { &self.policy };
        decided.explain(&view, plan)
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
        let plan = self.decide(&inventory, now, started, stopwatch, &mut outcome);
        outcome.decision = stopwatch.elapsed().saturating_sub(started);
        if let Some(plan) = plan {
            // A plan that the journal has in part keeps its number to itself.
            self.plan = plan.generation();
            self.executor.submit(&plan, now)?;
            for change in plan.changes() {
                self.changed_at[change.step.kind() as usize] = Some(now);
            }
            outcome.plan = Some(plan);
        }
        let held = &mut self.snapshot.assignment;
        let advanced = self.executor.advance(now, inventory.world(), held, host)?;
        outcome.events = std::mem::take(&mut self.events);
        outcome.events.extend(advanced);
        Ok(outcome)
    }

    /// Families with changes under way, and those that changed a shorter while ago than the least pace of
    /// their kinds.
    fn frozen(&self, inventory: &Inventory, now: HostTime) -> Families {
        Family::ALL.into_iter().fold(self.snapshot.busy, |frozen, family| {
            let kinds = || ChangeKind::ALL.into_iter().filter(|kind| kind.family() == family);
            let pace =
                kinds().filter_map(|kind| inventory.capabilities.get(kind)).map(|control| control.pace).min();
            let changed_at = kinds().filter_map(|kind| self.changed_at[kind as usize]).max();
            let resting = match (changed_at, pace) {
                (Some(last), Some(pace)) => is_resting(last, pace, now),
                // What cannot be changed is not waited for.
                _ => false,
            };
            if resting { frozen.with(family) } else { frozen }
        })
    }

    /// What can be changed, less the kinds of change that were made too short a while ago. Memory
    /// migrates in the course of a change of memory, and has no pace of its own.
    fn rested(&self, capabilities: &Capabilities, now: HostTime) -> Capabilities {
        let kinds = ChangeKind::ALL.into_iter().filter(|kind| kind.family() != Family::Memory);
        kinds.fold(capabilities.clone(), |rested, kind| {
            let pace = capabilities.get(kind).map_or(Duration::ZERO, |control| control.pace);
            let resting = self.changed_at[kind as usize].is_some_and(|last| is_resting(last, pace, now));
            if resting { rested.with(kind, None) } else { rested }
        })
    }

    fn decide(
        &mut self,
        inventory: &Inventory,
        now: HostTime,
        started: Duration,
        stopwatch: &dyn Stopwatch,
        outcome: &mut Outcome,
    ) -> Option<Plan> {
        let capabilities = self.rested(&inventory.capabilities, now);
        let world = World { capabilities: &capabilities, ..inventory.world() };
        let standing = Standing { snapshot: self.snapshot.generation, plan: self.plan };
        let frozen = self.frozen(inventory, now);
        let view = View {
            world,
            snapshot: &self.snapshot,
            history: &self.history,
            frozen,
            profiles: &inventory.profiles,
        };
        let proposal = self.policy.decide(&view);
        let took = stopwatch.elapsed().saturating_sub(started);
        let fault = if self.config.deadline.is_some_and(|deadline| took > deadline) {
            Fallback::Late { took }
        } else if !is_finite(&proposal) {
            Fallback::NotFinite
        } else if let Some(doubt) = self.policy.doubt() {
            Fallback::Doubt(doubt)
        } else {
            match plan(&view, standing, &proposal) {
                Ok(plan) => return plan,
                Err(violations) => Fallback::Refused(violations),
            }
        };
        outcome.fallback = Some(fault);
        let proposal = self.heuristic.decide(&view);
        // If even the heuristic is refused, nothing changes.
        plan(&view, standing, &proposal).unwrap_or(None)
    }
}

/// Whether `pace` has not passed since `last`; a clock that went back is not waited for.
fn is_resting(last: HostTime, pace: Duration, now: HostTime) -> bool {
    last <= now && now - last < pace
}

/// Makes a plan of a proposal; none if nothing would change.
fn plan(view: &View<'_>, standing: Standing, proposal: &Proposal) -> Result<Option<Plan>, Violations> {
    let held = &view.snapshot.assignment;
    let target = project(view.world, held, view.frozen, proposal);
    if target == *held {
        return Ok(None);
    }
    let difference = diff(view.world, held, &target);
    let plan = approve(view.world, standing, proposal, held, difference)?;
    Ok((!plan.changes().is_empty() || !plan.deferred().is_empty()).then_some(plan))
}

/// Whether what was read is of the VMs that the inventory knows, in the same order.
fn in_step(inventory: &Inventory, snapshot: &Snapshot) -> bool {
    let known = || inventory.vms.iter().map(|spec| spec.id);
    known().eq(snapshot.vms.iter().map(|sample| sample.vm))
        && known().eq(snapshot.assignment.holdings.iter().map(|holding| holding.vm))
}

fn is_finite(proposal: &Proposal) -> bool {
    let wish = |wish: &halcyon_model::Wish| wish.share.is_finite() && wish.ceiling.is_finite();
    let memory = |wish: &halcyon_model::MemoryWish| wish.nodes.iter().all(|(_, size)| size.is_finite());
    proposal.vms.iter().all(|vm| {
        vm.cpu.as_ref().is_none_or(wish)
            && vm.memory_bandwidth.as_ref().is_none_or(wish)
            && vm.memory.as_ref().is_none_or(memory)
    }) && proposal.device_bandwidth.iter().all(|(_, bandwidth)| wish(bandwidth))
}
