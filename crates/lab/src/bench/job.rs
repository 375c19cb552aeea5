//! One policy on one scenario, from its start to the few figures that are kept of it.

use std::sync::atomic::{AtomicBool, Ordering};

use halcyon_control::Stopwatch;
use halcyon_policy::{Learned, NAMES, Network, Policy};

use super::run::BenchError;
use crate::clairvoyant::policy_by_name;
use crate::digest::Digest;
use crate::run::{Run, RunError, RunResult};
use crate::scenario::Scenario;

/// Why a scenario or a policy could not be made.
pub type Refusal = Box<dyn std::error::Error + Send + Sync>;

/// A policy that is at hand.
pub struct Chosen {
    /// The policy.
    pub policy: Box<dyn Policy + Send>,
    /// Asked after every cycle, if there is anything to ask: what it answers stops the bench.
    pub fault: Option<Box<dyn Fn() -> Option<Refusal> + Send>>,
}

impl From<Box<dyn Policy + Send>> for Chosen {
    fn from(policy: Box<dyn Policy + Send>) -> Self {
        Self { policy, fault: None }
    }
}

/// Makes policies by name.
pub trait Policies: Sync {
    /// A policy for a run of a scenario. Once `stop` is set the answer does not matter any more.
    ///
    /// # Errors
    /// When there is no such policy, or it cannot be started.
    fn make(&self, name: &str, scenario: &Scenario, stop: &AtomicBool) -> Result<Chosen, Refusal>;

    /// Whether it is the same in every run of the same program, so that results may be kept for later.
    fn is_fixed(&self, name: &str) -> bool;
}

/// The names of the policies that come with Halcyon, in the order of reports.
#[must_use]
pub fn policies() -> Vec<&'static str> {
    NAMES.into_iter().chain([LEARNED, "clairvoyant"]).collect()
}

/// The policies that come with Halcyon.
#[derive(Debug, Clone, Copy)]
pub struct BuiltIn;

impl Policies for BuiltIn {
    fn make(&self, name: &str, scenario: &Scenario, stop: &AtomicBool) -> Result<Chosen, Refusal> {
        let made = policy_by_name(name, scenario, stop);
        let unknown = || Box::new(RunError::NoPolicy { name: name.into() }) as Refusal;
        Ok(made.ok_or_else(unknown)?.into())
    }

    fn is_fixed(&self, _: &str) -> bool {
        true
    }
}

/// Other weights for the policy `learned`; all else is as the rest have it.
pub struct WithModel<'a> {
    /// The weights.
    pub network: Network,
    /// Who makes the others.
    pub rest: &'a dyn Policies,
}

/// The name of the policy that has weights.
const LEARNED: &str = "learned";

impl Policies for WithModel<'_> {
    fn make(&self, name: &str, scenario: &Scenario, stop: &AtomicBool) -> Result<Chosen, Refusal> {
        if name != LEARNED {
            return self.rest.make(name, scenario, stop);
        }
        let learned: Box<dyn Policy + Send> = Box::new(Learned::new(self.network.clone()));
        Ok(learned.into())
    }

    /// Results that are kept do not say of which weights they are.
    fn is_fixed(&self, name: &str) -> bool {
        name != LEARNED && self.rest.is_fixed(name)
    }
}

/// Steps between two looks at the stop flag.
const STRIDE: u64 = 256;

/// What a run needs from outside.
pub(super) struct Setting<'a> {
    pub(super) policies: &'a dyn Policies,
    pub(super) stopwatch: &'a (dyn Stopwatch + Sync),
    pub(super) stop: &'a AtomicBool,
}

impl Setting<'_> {
    pub(super) fn is_stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    /// Runs a policy to the end; nothing if it was stopped on the way. `advanced` hears of simulated
    /// seconds.
    pub(super) fn run(
        &self,
        scenario: &Scenario,
        policy: &str,
        record: bool,
        advanced: &dyn Fn(u64),
    ) -> Result<Option<RunResult>, BenchError> {
        let chosen = self.policies.make(policy, scenario, self.stop);
        let chosen = chosen.map_err(|source| BenchError::Policy { name: policy.into(), source })?;
        // Who tried things out beforehand and was stopped is not what it would have been.
        if self.is_stopped() {
            return Ok(None);
        }
        let failed = |source: RunError| BenchError::Run { policy: policy.into(), source };
        let mut run = Run::of(scenario, policy, chosen.policy, record).map_err(failed)?;
        let (mut steps, mut told) = (0, 0);
        while !run.is_over() {
            run.tick(self.stopwatch).map_err(failed)?;
            if let Some(source) = chosen.fault.as_ref().and_then(|fault| fault()) {
                return Err(BenchError::Policy { name: policy.into(), source });
            }
            steps += 1;
            if steps % STRIDE == 0 {
                if self.is_stopped() {
                    return Ok(None);
                }
                let seconds = run.host().now().as_secs();
                advanced(seconds - told);
                told = seconds;
            }
        }
        advanced(run.host().now().as_secs().saturating_sub(told));
        Ok(Some(run.finish()))
    }

    pub(super) fn digest(
        &self,
        scenario: &Scenario,
        policy: &str,
        advanced: &dyn Fn(u64),
    ) -> Result<Option<Digest>, BenchError> {
        Ok(self.run(scenario, policy, false, advanced)?.as_ref().map(Digest::from))
    }
}
