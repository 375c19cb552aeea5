//! The clairvoyant: it knows all that will be asked, and pays the same costs as everybody.
//!
//! No exact optimum is in reach, so it is the best of many: controllers that know the future, in several
//! tunings and with several ways to divide the cache, and every hand-made policy, are tried ahead on a
//! copy of the very run that is to come. What did best there runs. How far that can be from the optimum
//! at most is what [`bound`](crate::bound()) says.

mod careful;
mod knowing;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halcyon_model::{Proposal, VmId};
use halcyon_policy::{NAMES, Need, Policy, Reactive, View, by_name};
use halcyon_sim::VmScore;

use self::careful::Careful;
use self::knowing::{Future, Knowing, Manner};
use crate::run::{Run, RunError};
use crate::scenario::Scenario;
use crate::still::Still;

/// Tries of the future are at most this long; whoever runs longer is assumed to go on as it began.
const LONGEST_TRY: Duration = Duration::from_secs(2 * 3600);

/// The policy that was chosen.
struct Clairvoyant(Box<dyn Policy + Send>);

impl Policy for Clairvoyant {
    fn name(&self) -> &'static str {
        "clairvoyant"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.0.decide(view)
    }
}

/// One who knows the future and has one manner, from whom others learn.
pub(crate) struct Expert(Knowing);

impl Expert {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self(Knowing::new(Arc::new(Future::of(scenario, false)), Manner::default()))
    }

    /// What each VM that is there will need.
    pub(crate) fn needs(&self, view: &View<'_>) -> Vec<Need> {
        self.0.needs(view)
    }
}

impl Policy for Expert {
    fn name(&self) -> &'static str {
        "expert"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.0.decide(view)
    }
}

/// A policy by name, `clairvoyant` included; nothing for a name that is not one.
pub(crate) fn policy_by_name(
    name: &str,
    scenario: &Scenario,
    stop: &AtomicBool,
) -> Option<Box<dyn Policy + Send>> {
    if name == "clairvoyant" { Some(Box::new(Clairvoyant(best(scenario, stop)))) } else { by_name(name) }
}

/// How much dearer than is typical the learned policy is made to believe changes are.
const CARE: [u32; 2] = [1, 4];

/// Somebody who could be the best.
#[derive(Clone, Copy)]
enum Candidate {
    Knowing(Manner),
    Named(&'static str),
    /// With costs of at least so many times what is typical.
    Careful(u32),
}

/// Tries candidates, and remembers the best of them.
struct Trials<'a> {
    scenario: Scenario,
    future: Arc<Future>,
    stop: &'a AtomicBool,
    best: Option<(f64, Candidate)>,
}

fn best(scenario: &Scenario, stop: &AtomicBool) -> Box<dyn Policy + Send> {
    let duration = scenario.duration.min(LONGEST_TRY);
    let mut trials = Trials {
        scenario: Scenario { duration, ..scenario.clone() },
        future: Arc::new(Future::of(scenario, true)),
        stop,
        best: None,
    };
    let gpus = !scenario.topology.gpus().is_empty();
    // One thing after another is changed in the manner of the best so far.
    let mut manner = Manner::default();
    for alternatives in Manner::STAGES {
        let from = manner;
        for tried in alternatives.iter().map(|change| from.with(*change)) {
            let same = !gpus && tried.differs_in_slices(&from);
            if !same && trials.attempt(Candidate::Knowing(tried)) {
                manner = tried;
            }
        }
    }
    for name in NAMES.into_iter().chain(["learned"]) {
        trials.attempt(Candidate::Named(name));
    }
    for times in CARE.into_iter().filter(|times| Careful::differs(&scenario.capabilities, *times)) {
        trials.attempt(Candidate::Careful(times));
    }
    let chosen = trials.best.as_ref().and_then(|(_, candidate)| trials.make(*candidate));
    chosen.unwrap_or_else(|| Box::new(Reactive::default()))
}

impl Trials<'_> {
    fn make(&self, candidate: Candidate) -> Option<Box<dyn Policy + Send>> {
        match candidate {
            Candidate::Knowing(manner) => {
                Some(Box::new(Knowing::new(Arc::clone(&self.future), manner)) as Box<dyn Policy + Send>)
            }
            Candidate::Named(name) => by_name(name),
            Candidate::Careful(times) => {
                let careful = |learned| Box::new(Careful::new(learned, &self.scenario.capabilities, times));
                by_name("learned").map(|learned| careful(learned) as Box<dyn Policy + Send>)
            }
        }
    }

    /// Whether a candidate does better than the best so far, and then it is the best.
    fn attempt(&mut self, candidate: Candidate) -> bool {
        let Some(policy) = self.make(candidate) else { return false };
        let most = self.best.as_ref().map_or(f64::NEG_INFINITY, |(most, _)| *most);
        let reached = self.utility(policy, most).ok().flatten().filter(|utility| *utility > most);
        if let Some(utility) = reached {
            self.best = Some((utility, candidate));
        }
        reached.is_some()
    }

    /// What a policy reaches; nothing if that is clearly less than `most`, which is found out as soon as it
    /// has lost more than whoever reaches that loses in all.
    fn utility(&self, policy: Box<dyn Policy + Send>, most: f64) -> Result<Option<f64>, RunError> {
        let mut run = Run::of(&self.scenario, "try", policy, false)?;
        let mut next = LOOK;
        while !run.is_over() && !self.stop.load(Ordering::Relaxed) {
            run.tick(&Still)?;
            if run.host().now() >= next {
                next += LOOK;
                if 1.0 - self.lost(&run) < most {
                    return Ok(None);
                }
            }
        }
        Ok(Some(run.finish().score.utility))
    }

    /// The least that a run will have lost when it is over. A VM that was asked for something in each
    /// window of the run has as many windows as there are; no VM has more.
    #[allow(clippy::cast_precision_loss)]
    fn lost(&self, run: &Run) -> f64 {
        let scenario = &self.scenario;
        let windows =
            (scenario.duration.as_secs_f64() / scenario.parameters.window.as_secs_f64()).ceil() + 1.0;
        let weight = |vm| {
            let guest = scenario.guests.iter().find(|guest| guest.spec.id == vm);
            guest.map_or(0.0, |guest| guest.spec.weight.as_f64())
        };
        let all: f64 = scenario.guests.iter().map(|guest| guest.spec.weight.as_f64()).sum();
        let of_vm = |(vm, score): &(VmId, VmScore)| {
            weight(*vm) * (score.windows as f64 - score.utility).max(0.0) / windows
        };
        run.host().score().vms.iter().map(of_vm).sum::<f64>() / all.max(1e-9)
    }
}

/// How often it is looked at how a try does.
const LOOK: Duration = Duration::from_secs(120);
