//! `halcyon explain`: a run under the learned policy up to a moment, and why its last plan changed what it
//! changed.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halcyon_control::{Fallback, Outcome, Stopwatch};
use halcyon_model::{Families, Generation, HostTime, Plan, Proposal, Snapshot, VmSpec, World};
use halcyon_policy::explain::{Known, explain as without_needs};
use halcyon_policy::{Doubt, Explanation, Learned, Policy, View};

use crate::run::{Run, RunError};
use crate::scenario::Scenario;

/// A plan and why it changes what it changes.
#[derive(Debug, Clone)]
pub struct Explained {
    /// When it was made.
    pub at: HostTime,
    /// Its number.
    pub plan: Generation,
    /// Why the heuristic made it instead of the learned policy, if it did; then no needs are known.
    pub fallback: Option<String>,
    /// Its changes, in order.
    pub changes: Vec<Explanation>,
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
    let witness =
        Witness(Arc::new(Mutex::new(Seen { learned, snapshot: Snapshot::default(), vms: Vec::new() })));
    let seen = Arc::clone(&witness.0);
    let mut run = Run::of(scenario, "learned", Box::new(witness), false)?;
    let mut last = None;
    while !run.is_over() && run.host().now() < until && !stop.load(Ordering::Relaxed) {
        let outcome = run.tick(&Still)?;
        let Some(plan) = outcome.plan.as_ref().filter(|plan| !plan.changes().is_empty()) else { continue };
        let explained =
            seen.lock().unwrap_or_else(PoisonError::into_inner).explain(scenario, &run, &outcome, plan);
        let concerns = |change: &Explanation| vm.is_none() || change.vm.as_deref() == vm;
        if explained.changes.iter().any(concerns) {
            last = Some(explained);
        }
    }
    Ok(last.filter(|_| !stop.load(Ordering::Relaxed)))
}

/// The learned policy, and what it decided on last.
struct Seen {
    learned: Learned,
    snapshot: Snapshot,
    vms: Vec<VmSpec>,
}

impl Seen {
    /// The history is that of the decision until the next cycle begins.
    fn explain(&self, scenario: &Scenario, run: &Run, outcome: &Outcome, plan: &Plan) -> Explained {
        let world =
            World { topology: &scenario.topology, vms: &self.vms, capabilities: &scenario.capabilities };
        let view = View {
            world,
            snapshot: &self.snapshot,
            history: run.cycle().history(),
            frozen: Families::NONE,
            profiles: &scenario.profiles,
        };
        let changes = match &outcome.fallback {
            None => self.learned.explain(&view, plan),
            Some(_) => without_needs(&view, plan, Known { needs: &[], outputs: &[] }),
        };
        Explained {
            at: self.snapshot.at,
            plan: plan.generation(),
            fallback: outcome.fallback.as_ref().map(in_words),
            changes,
        }
    }
}

fn in_words(fallback: &Fallback) -> String {
    match fallback {
        Fallback::Late { took } => format!("the decision took {:.1} ms", took.as_secs_f64() * 1e3),
        Fallback::NotFinite => "the proposal holds figures that are not numbers".into(),
        Fallback::Refused(violations) => format!("the checker refused the plan: {violations}"),
        Fallback::Doubt(doubt) => doubt.to_string(),
    }
}

/// Decides as the learned policy does and remembers on what.
struct Witness(Arc<Mutex<Seen>>);

impl Witness {
    fn with<T>(&self, act: impl FnOnce(&mut Seen) -> T) -> T {
        act(&mut self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Policy for Witness {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.with(|seen| {
            seen.snapshot.clone_from(view.snapshot);
            seen.vms.clear();
            seen.vms.extend_from_slice(view.world.vms);
            seen.learned.decide(view)
        })
    }

    fn doubt(&self) -> Option<Doubt> {
        self.with(|seen| seen.learned.doubt())
    }
}

/// Time that is not measured.
struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}
