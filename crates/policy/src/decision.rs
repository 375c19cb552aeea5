//! A policy under guard: what it proposes becomes a plan only if it is finite, in time, not doubted by the
//! policy itself and approved by the checker. Else the heuristic decides, and the reason is told.
//!
//! The control cycle and [`allocate`](crate::allocate) decide by this, so that whoever asks the library gets
//! what the daemon would do.

use std::fmt;
use std::time::Duration;

use halcyon_model::{
    Capabilities, ChangeKind, Families, Family, Generation, HostTime, Plan, Proposal, Standing, Violations,
    VmSpec, World, approve, diff, project,
};

use crate::fence::Fence;
use crate::{Doubt, Explanation, Policy, View};

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

/// The time that a decision may take, and how long it has taken.
#[derive(Clone, Copy)]
pub struct Allowance<'a> {
    /// A decision that takes longer is replaced by the heuristic's; without it, none is late.
    pub deadline: Option<Duration>,
    /// Time since the decision began.
    pub took: &'a dyn Fn() -> Duration,
}

impl Allowance<'_> {
    /// As long as it takes.
    pub const ANY: Self = Self { deadline: None, took: &|| Duration::ZERO };
}

/// What was decided.
#[derive(Debug, Default)]
pub struct Decision {
    /// The plan, if anything is to change.
    pub plan: Option<Plan>,
    /// Why the heuristic decided, if it did.
    pub fallback: Option<Fallback>,
}

/// A policy with the heuristic behind it, and what both have to be held to.
pub struct Decider {
    policy: Box<dyn Policy + Send>,
    heuristic: Box<dyn Policy + Send>,
    plan: Generation,
    changed_at: [Option<HostTime>; ChangeKind::ALL.len()],
    fence: Fence,
}

impl Decider {
    /// Lets `policy` decide, and `heuristic` where `policy` cannot be used.
    #[must_use]
    pub fn new(policy: Box<dyn Policy + Send>, heuristic: Box<dyn Policy + Send>) -> Self {
        let plan = Generation::default();
        Self { policy, heuristic, plan, changed_at: Default::default(), fence: Fence::default() }
    }

    /// Lets another policy decide from now on; what rests goes on resting.
    pub fn replace_policy(&mut self, policy: Box<dyn Policy + Send>) {
        self.policy = policy;
    }

    /// Decides on what `view` shows. What its host can change, less what was changed too short a while
    /// before `now`, is what may change; what the view has as frozen stays.
    pub fn decide(&mut self, view: &View<'_>, now: HostTime, allowance: Allowance<'_>) -> Decision {
        let capabilities = self.rested(view.world.capabilities, now);
        let frozen = self.frozen(view, now);
        let view = View { world: World { capabilities: &capabilities, ..view.world }, frozen, ..*view };
        let standing = Standing { snapshot: view.snapshot.generation, plan: self.plan };
        let proposal = self.policy.decide(&view);
        let took = (allowance.took)();
        let fault = if allowance.deadline.is_some_and(|deadline| took > deadline) {
            Fallback::Late { took }
        } else if !is_finite(&proposal) {
            Fallback::NotFinite
        } else if let Some(doubt) = self.policy.doubt() {
            Fallback::Doubt(doubt)
        } else {
            match self.plan(&view, standing, &proposal, now) {
                Ok(plan) => return Decision { plan, fallback: None },
                Err(violations) => Fallback::Refused(violations),
            }
        };
        let proposal = self.heuristic.decide(&view);
        // If even the heuristic is refused, nothing changes.
        Decision { plan: self.plan(&view, standing, &proposal, now).unwrap_or(None), fallback: Some(fault) }
    }

    /// Makes a plan of a proposal in which what rests stays; where that leaves no room for what was promised by
    /// the operator, it does not.
    fn plan(
        &self,
        view: &View<'_>,
        standing: Standing,
        proposal: &Proposal,
        now: HostTime,
    ) -> Result<Option<Plan>, Violations> {
        let calm = self.fence.hold(view, proposal, now);
        let calm = calm.and_then(|(promised, proposal)| plan(view, &promised, standing, &proposal).ok());
        calm.map_or_else(|| plan(view, view.world.vms, standing, proposal), Ok)
    }

    /// Plans up to this number were made by others; the next one has a higher one.
    pub fn count_from(&mut self, newest: Generation) {
        self.plan = self.plan.max(newest);
    }

    /// The number of a plan is taken, whatever becomes of it.
    pub fn number(&mut self, plan: &Plan) {
        self.plan = plan.generation();
    }

    /// A plan is being carried out since `now`; what it changes rests for a while.
    pub fn begin(&mut self, plan: &Plan, now: HostTime) {
        for change in plan.changes() {
            self.changed_at[change.step.kind() as usize] = Some(now);
        }
        self.fence.note(plan, now);
    }

    /// Why a plan of the last decision changes what it changes, by whoever made it.
    #[must_use]
    pub fn explain(&self, view: &View<'_>, plan: &Plan, fallback: Option<&Fallback>) -> Vec<Explanation> {
        let decided = if fallback.is_some() { &self.heuristic } else { &self.policy };
        decided.explain(view, plan)
    }

    /// Families that the view has as frozen, and those that changed a shorter while ago than the least
    /// pace of their kinds.
    fn frozen(&self, view: &View<'_>, now: HostTime) -> Families {
        Family::ALL.into_iter().fold(view.frozen, |frozen, family| {
            let kinds = || ChangeKind::ALL.into_iter().filter(|kind| kind.family() == family);
            let pace = kinds()
                .filter_map(|kind| view.world.capabilities.get(kind))
                .map(|control| control.pace)
                .min();
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
}

/// Whether `pace` has not passed since `last`; a clock that went back is not waited for.
fn is_resting(last: HostTime, pace: Duration, now: HostTime) -> bool {
    last <= now && now - last < pace
}

/// Makes a plan of a proposal, with so much promised to each VM; none if nothing would change. The checker holds
/// the plan to what the operator promised.
fn plan(
    view: &View<'_>,
    promised: &[VmSpec],
    standing: Standing,
    proposal: &Proposal,
) -> Result<Option<Plan>, Violations> {
    let held = &view.snapshot.assignment;
    let target = project(World { vms: promised, ..view.world }, held, view.frozen, proposal);
    if target == *held {
        return Ok(None);
    }
    let difference = diff(view.world, held, &target);
    let plan = approve(view.world, standing, proposal, held, difference)?;
    Ok((!plan.changes().is_empty() || !plan.deferred().is_empty()).then_some(plan))
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
