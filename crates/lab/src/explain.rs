//! `halcyon explain`: a run under the learned policy up to a moment, and why its last plan changed what it
//! changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halcyon_control::Outcome;
use halcyon_model::{Generation, HostTime};
use halcyon_policy::{Explanation, Learned};

use crate::run::{Run, RunError};
use crate::scenario::Scenario;
use crate::still::Still;

/// A plan and why it changes what it changes.
#[derive(Debug, Clone, PartialEq)]
pub struct Explained {
    /// When it was made.
    pub at: HostTime,
    /// Its number.
    pub plan: Generation,
    /// Why the heuristic made it instead of the policy, if it did; then no needs are known.
    pub fallback: Option<String>,
    /// Its changes, in order.
    pub changes: Vec<Explanation>,
}

impl Explained {
    /// Explains what the last step of a run came to; nothing where that changes nothing.
    #[must_use]
    pub fn of(run: &Run, outcome: &Outcome) -> Option<Self> {
        let plan = outcome.plan.as_ref().filter(|plan| !plan.changes().is_empty())?;
        Some(Self {
            at: run.host().now(),
            plan: plan.generation(),
            fallback: outcome.fallback.as_ref().map(ToString::to_string),
            changes: run.explain(outcome),
        })
    }
}

/// Runs `scenario` under `learned` until `until` and explains the last plan that changed something by then,
/// for the VM of that name if one is given; nothing where there is none, or `stop` was set.
///
/// # Errors
/// When the scenario cannot run.
pub fn explain(
    scenario: &Scenario,
    learned: Learned,
    until: Duration,
    vm: Option<&str>,
    stop: &AtomicBool,
) -> Result<Option<Explained>, RunError> {
    let mut run = Run::of(scenario, "learned", Box::new(learned), false)?;
    let concerns = |change: &Explanation| vm.is_none() || change.vm.as_deref() == vm;
    let mut last = None;
    while !run.is_over() && run.host().now() < until && !stop.load(Ordering::Relaxed) {
        let outcome = run.tick(&Still)?;
        let explained = Explained::of(&run, &outcome);
        last = explained.filter(|plan| plan.changes.iter().any(concerns)).or(last);
    }
    Ok(last.filter(|_| !stop.load(Ordering::Relaxed)))
}
