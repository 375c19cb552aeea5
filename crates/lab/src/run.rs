//! One policy on one scenario, step by step: the very cycle that a daemon runs, on a simulated host.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_control::{Config, Cycle, CycleError, Outcome, Stopwatch};
use halcyon_hal::{MemoryJournal, Observe};
use halcyon_model::{Names, Violations, VmSpec};
use halcyon_policy::{Explanation, Policy, Reactive};
use halcyon_sim::{Score, SimHost};

use crate::bound::{LONGEST_BOUND, bound};
use crate::clairvoyant::policy_by_name;
use crate::limit_cycle::LimitCycles;
use crate::record::Record;
use crate::scenario::Scenario;

/// Journal entries that a run keeps.
const JOURNAL: usize = 4096;

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// There is no such policy.
    #[error("there is no policy `{name}`; choose one of {}", crate::bench::policies().join(", "))]
    NoPolicy {
        /// What was asked for.
        name: String,
    },
    /// The scenario cannot start.
    #[error("the scenario's start is not feasible")]
    Start(#[from] Violations),
    /// A cycle could not be completed.
    #[error("the control cycle stopped")]
    Cycle(#[from] CycleError),
}

/// A run under way.
pub struct Run {
    policy: String,
    host: SimHost,
    cycle: Cycle<MemoryJournal>,
    specs: Vec<VmSpec>,
    names: Names,
    duration: Duration,
    window: Duration,
    cycles: LimitCycles,
    decisions_ns: Vec<u32>,
    fallbacks: u64,
    record: Option<Record>,
    /// What no policy can exceed, as far as it was worked out.
    certified: Option<f64>,
}

/// How a run ended.
#[derive(Debug, Clone)]
pub struct RunResult {
    /// The policy.
    pub policy: String,
    /// How the host did.
    pub score: Score,
    /// Changes begun per simulated hour.
    pub changes_per_hour: f64,
    /// Grants found swinging to and fro.
    pub limit_cycles: u64,
    /// How long decisions took, in nanoseconds, in ascending order.
    pub decisions_ns: Vec<u32>,
    /// Decisions that the heuristic made instead of the policy.
    pub fallbacks: u64,
    /// What happened, if it was recorded.
    pub record: Option<Record>,
}

impl Run {
    /// Starts a policy on a scenario; `record` keeps what happens for a report.
    ///
    /// # Errors
    /// When there is no such policy, or the start is not feasible.
    pub fn new(scenario: &Scenario, policy: &str, record: bool) -> Result<Self, RunError> {
        Self::stoppable(scenario, policy, record, &AtomicBool::new(false))
    }

    /// The same, for who may want to stop: the clairvoyant tries things out before it starts, which
    /// takes several runs. Once `stop` is set it starts without having tried all.
    ///
    /// # Errors
    /// When there is no such policy, or the start is not feasible.
    pub fn stoppable(
        scenario: &Scenario,
        policy: &str,
        record: bool,
        stop: &AtomicBool,
    ) -> Result<Self, RunError> {
        let chosen = policy_by_name(policy, scenario, stop);
        let chosen = chosen.ok_or_else(|| RunError::NoPolicy { name: policy.into() })?;
        Self::of(scenario, policy, chosen, record)
    }

    /// Starts a policy that is at hand, under a name.
    ///
    /// # Errors
    /// When the start is not feasible.
    pub fn of(
        scenario: &Scenario,
        policy: &str,
        chosen: Box<dyn Policy + Send>,
        record: bool,
    ) -> Result<Self, RunError> {
        let heuristic = Box::new(Reactive::default());
        let host = scenario.host()?;
        let specs: Vec<VmSpec> = scenario.guests.iter().map(|guest| guest.spec.clone()).collect();
        Ok(Self {
            policy: policy.into(),
            host,
            cycle: Cycle::new(chosen, heuristic, MemoryJournal::new(JOURNAL), Config::default()),
            record: record.then(|| Record::new(&specs, scenario.parameters.window)),
            names: Names::new(&scenario.topology, &specs),
            specs,
            duration: scenario.duration,
            window: scenario.parameters.window,
            cycles: LimitCycles::default(),
            decisions_ns: Vec::new(),
            fallbacks: 0,
            certified: (policy == "clairvoyant" && scenario.duration <= LONGEST_BOUND)
                .then(|| bound(scenario).utility),
        })
    }

    /// The policy's name.
    #[must_use]
    pub fn policy(&self) -> &str {
        &self.policy
    }

    /// The host.
    #[must_use]
    pub fn host(&self) -> &SimHost {
        &self.host
    }

    /// The cycle.
    #[must_use]
    pub fn cycle(&self) -> &Cycle<MemoryJournal> {
        &self.cycle
    }

    /// The VMs.
    #[must_use]
    pub fn specs(&self) -> &[VmSpec] {
        &self.specs
    }

    /// Steps as people read them, with names instead of numbers.
    #[must_use]
    pub fn with_names(&self, text: &str) -> String {
        self.names.replace(text)
    }

    /// Whether the scenario's time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.host.now() >= self.duration
    }

    /// Lets one step of time pass and runs one cycle.
    ///
    /// # Errors
    /// When the cycle cannot be completed.
    pub fn tick(&mut self, stopwatch: &dyn Stopwatch) -> Result<Outcome, RunError> {
        self.host.step();
        let now = self.host.now();
        let outcome = self.cycle.tick(&mut self.host, now, stopwatch)?;
        self.decisions_ns.push(u32::try_from(outcome.decision.as_nanos()).unwrap_or(u32::MAX));
        self.fallbacks += u64::from(outcome.fallback.is_some());
        if let Some(plan) = &outcome.plan {
            self.cycles.watch(plan, now);
        }
        if let Some(record) = &mut self.record {
            record.step(&self.host, &self.specs, self.window);
            let names = &self.names;
            record.plan(now, outcome.plan.as_ref(), &outcome.events, &|text| names.replace(text));
        }
        Ok(outcome)
    }

    /// Why the plan of the last step's outcome changes what it changes.
    #[must_use]
    pub fn explain(&self, outcome: &Outcome) -> Vec<Explanation> {
        self.cycle.explain(&self.host.inventory(), outcome)
    }

    /// How the run did so far.
    #[must_use]
    pub fn finish(mut self) -> RunResult {
        self.decisions_ns.sort_unstable();
        if let Some(record) = &mut self.record {
            record.end = self.host.assignment().clone();
        }
        let hours = self.host.now().as_secs_f64() / 3600.0;
        #[allow(clippy::cast_precision_loss)]
        let changes = self.host.changes() as f64;
        let mut score = self.host.score();
        score.bound = self.certified.map_or(score.bound, |certified| certified.min(score.bound));
        RunResult {
            policy: self.policy,
            score,
            changes_per_hour: if hours > 0.0 { changes / hours } else { 0.0 },
            limit_cycles: self.cycles.found(),
            decisions_ns: self.decisions_ns,
            fallbacks: self.fallbacks,
            record: self.record,
        }
    }
}
