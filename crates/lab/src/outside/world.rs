//! A policy on a world from outside, cycle by cycle.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halcyon_control::{Config, Cycle, CycleError, Outcome, Stopwatch};
use halcyon_hal::MemoryJournal;
use halcyon_model::{Families, Plan, Step, VmId};
use halcyon_policy::{Policy, Reactive, by_name};
use halcyon_sim::{Score, VmScore};

use super::error::OutsideError;
use super::host::{OutsideHost, Turn};
use super::peer::Limits;
use super::policy::{ExternalPolicy, Fault};
use super::wire;
use crate::limit_cycle::LimitCycles;
use crate::run::{RunError, RunResult};

/// Journal entries that a run keeps.
const JOURNAL: usize = 4096;

/// A command with what is asked of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outside {
    /// What the shell is to run.
    pub command: String,
    /// What is asked of it.
    pub limits: Limits,
    /// The seed that it is given in the environment variable `HALCYON_SEED`.
    pub seed: u64,
}

impl Outside {
    pub(super) fn environment(&self) -> [(&'static str, String); 1] {
        [("HALCYON_SEED", self.seed.to_string())]
    }
}

/// Why a run with a peer ended early.
#[derive(Debug, thiserror::Error)]
pub enum OutsideRunError {
    /// A peer is dead, slow, or says what cannot be.
    #[error(transparent)]
    Peer(#[from] OutsideError),
    /// There is no such policy, or it needs to know the simulator's own future.
    #[error("there is no policy `{name}` for a world from outside; choose one of {}", halcyon_policy::NAMES.join(", "))]
    NoPolicy {
        /// What was asked for.
        name: String,
    },
    /// Two VMs of a scenario have one name.
    #[error("two VMs are called `{name}`, and a policy from outside knows them by name; rename one")]
    SameName {
        /// The name.
        name: String,
    },
    /// A cycle could not be completed.
    #[error("the control cycle stopped")]
    Cycle(#[from] CycleError),
    /// A run on the simulated host could not start or go on.
    #[error(transparent)]
    Run(#[from] RunError),
}

/// A run under way on a world from outside.
pub struct WorldRun {
    policy: String,
    host: OutsideHost,
    cycle: Cycle<MemoryJournal>,
    fault: Option<Fault>,
    reasons: Vec<(Step, String)>,
    cycles: LimitCycles,
    decisions_ns: Vec<u32>,
    fallbacks: u64,
    scores: Option<wire::Scores>,
}

impl WorldRun {
    /// Starts a world, with a policy by name.
    ///
    /// # Errors
    /// When there is no such policy, or the world does not open as it should.
    pub fn new(world: &Outside, policy: &str) -> Result<Self, OutsideRunError> {
        let chosen = by_name(policy).ok_or_else(|| OutsideRunError::NoPolicy { name: policy.into() })?;
        Self::of(world, policy, chosen, None)
    }

    /// Starts a world, with a policy that is at hand, under a name. `fault` is where the policy puts what
    /// stops the run.
    ///
    /// # Errors
    /// When the world does not open as it should.
    pub fn of(
        world: &Outside,
        name: &str,
        policy: Box<dyn Policy + Send>,
        fault: Option<Fault>,
    ) -> Result<Self, OutsideRunError> {
        let host = OutsideHost::start(&world.command, world.limits, &world.environment())?;
        let heuristic = Box::new(Reactive::default());
        Ok(Self {
            policy: name.into(),
            host,
            cycle: Cycle::new(policy, heuristic, MemoryJournal::new(JOURNAL), Config::default()),
            fault,
            reasons: Vec::new(),
            cycles: LimitCycles::default(),
            decisions_ns: Vec::new(),
            fallbacks: 0,
            scores: None,
        })
    }

    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// What people call the host.
    #[must_use]
    pub fn host_name(&self) -> &str {
        self.host.name()
    }

    /// How many VMs there are or were.
    #[must_use]
    pub fn vms(&self) -> usize {
        self.host.ever()
    }

    /// How long the run is to last, in simulated time.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.host.duration()
    }

    /// The cycle.
    #[must_use]
    pub fn cycle(&self) -> &Cycle<MemoryJournal> {
        &self.cycle
    }

    /// Whether the world sent its scores.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.scores.is_some()
    }

    /// Waits for the world and answers it. Nothing came of it when the world sent its scores instead.
    ///
    /// # Errors
    /// When a peer is dead, slow or wrong, or the cycle cannot be completed.
    pub fn tick(&mut self, stopwatch: &dyn Stopwatch) -> Result<Option<Outcome>, OutsideRunError> {
        if self.is_over() {
            return Ok(None);
        }
        if let Turn::Scores(scores) = self.host.receive()? {
            self.scores = Some(scores);
            return Ok(None);
        }
        let now = self.host.now();
        let outcome = self.cycle.tick(&mut self.host, now, stopwatch)?;
        if let Some(error) = self.fault.as_ref().and_then(Fault::take) {
            return Err(error.into());
        }
        self.decisions_ns.push(u32::try_from(outcome.decision.as_nanos()).unwrap_or(u32::MAX));
        self.fallbacks += u64::from(outcome.fallback.is_some());
        if let Some(plan) = &outcome.plan {
            self.cycles.watch(plan, now);
            self.remember(plan);
        }
        let reasons = &self.reasons;
        let reason =
            |step: &Step| reasons.iter().find(|(known, _)| known == step).map(|(_, why)| why.clone());
        self.host.answer(reason)?;
        Ok(Some(outcome))
    }

    /// Keeps the reasons of a plan until one for the same family takes its place.
    fn remember(&mut self, plan: &Plan) {
        let families = plan.changes().iter().map(|change| change.step.family());
        let families = families.fold(Families::NONE, Families::with);
        self.reasons.retain(|(step, _)| !families.contains(step.family()));
        let changes = plan.changes().iter().map(|change| (change.step.clone(), change.reason.to_string()));
        self.reasons.extend(changes);
    }

    /// How the run went, if the world sent its scores.
    #[must_use]
    pub fn finish(mut self) -> Option<RunResult> {
        let scores = self.scores.take()?;
        self.decisions_ns.sort_unstable();
        let hours = self.host.now().as_secs_f64() / 3600.0;
        #[allow(clippy::cast_precision_loss)]
        let changes = self.host.changes() as f64;
        Some(RunResult {
            score: score(&scores, |name| self.host.known(name)),
            policy: self.policy,
            changes_per_hour: if hours > 0.0 { changes / hours } else { 0.0 },
            limit_cycles: self.cycles.found(),
            decisions_ns: self.decisions_ns,
            fallbacks: self.fallbacks,
            record: None,
        })
    }
}

/// Runs policies on a world, one after another, each from its start; `mine` is a policy from outside
/// with its name. Gives the name of the host with a result for each policy, in their order; nothing once
/// `stop` is set.
///
/// # Errors
/// When a peer is dead, slow or wrong, a cycle cannot be completed, or there is no such policy.
pub fn on_world(
    world: &Outside,
    policies: &[String],
    mine: Option<(&str, &Outside)>,
    stopwatch: &dyn Stopwatch,
    stop: &AtomicBool,
) -> Result<Option<(String, Vec<RunResult>)>, OutsideRunError> {
    let (mut host, mut results) = (String::new(), Vec::new());
    for name in policies {
        let mut run = match mine.filter(|(mine, _)| mine == name) {
            Some((_, command)) => {
                let policy = ExternalPolicy::start(command)?;
                let fault = policy.fault();
                WorldRun::of(world, name, Box::new(policy), Some(fault))?
            }
            None => WorldRun::new(world, name)?,
        };
        while !run.is_over() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            run.tick(stopwatch)?;
        }
        host = run.host_name().into();
        results.extend(run.finish());
    }
    Ok(Some((host, results)))
}

/// A world's scores in the form of the simulator's. No utility exceeds 1, so that 1 bounds what a world
/// does not bound itself.
fn score(scores: &wire::Scores, known: impl Fn(&str) -> Option<VmId>) -> Score {
    let vms = scores.vms.iter().filter_map(|vm| {
        Some((known(&vm.vm)?, VmScore { utility: vm.utility, alone: 1.0, windows: 1, ..VmScore::default() }))
    });
    let mut vms: Vec<_> = vms.collect();
    vms.sort_by_key(|(vm, _)| *vm);
    Score {
        utility: scores.utility,
        bound: scores.bound.unwrap_or(1.0),
        violations: scores.violations,
        worst_vm: vms.iter().fold(1.0, |worst, (_, vm)| worst.min(vm.utility)),
        vms,
    }
}
