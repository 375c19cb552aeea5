//! The clairvoyant: it knows all that will be asked, and pays the same costs as everybody.
//!
//! No exact optimum is in reach, so it is the best of many: controllers that know the future, in several
//! tunings and with several ways to divide the cache, and every hand-made policy, are tried ahead on a
//! copy of the very run that is to come. What did best there runs. How far that can be from the optimum
//! at most is what [`bound`](crate::bound()) says.

mod knowing;
mod planned;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_model::Proposal;
use halcyon_policy::{NAMES, Policy, Reactive, View, by_name};

use self::knowing::{Future, Knowing, Manner};
use self::planned::{Planned, Style};
use crate::run::{Run, RunError};
use crate::scenario::Scenario;

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

/// A policy by name, `clairvoyant` included; nothing for a name that is not one.
pub(crate) fn policy_by_name(
    name: &str,
    scenario: &Scenario,
    stop: &AtomicBool,
) -> Option<Box<dyn Policy + Send>> {
    if name == "clairvoyant" { Some(Box::new(Clairvoyant(best(scenario, stop)))) } else { by_name(name) }
}

/// Somebody who could be the best.
#[derive(Clone)]
enum Candidate {
    Knowing(Manner),
    Planned(Style),
    Named(&'static str),
}

fn best(scenario: &Scenario, stop: &AtomicBool) -> Box<dyn Policy + Send> {
    let duration = scenario.duration.min(LONGEST_TRY);
    let copy = Scenario { duration, ..scenario.clone() };
    let future = Arc::new(Future::of(scenario));
    let make = |candidate: &Candidate| -> Option<Box<dyn Policy + Send>> {
        match candidate {
            Candidate::Knowing(manner) => {
                Some(Box::new(Knowing::new(Arc::clone(&future), *manner)) as Box<dyn Policy + Send>)
            }
            Candidate::Planned(style) => {
                Some(Box::new(Planned::new(Arc::clone(&future), *style)) as Box<dyn Policy + Send>)
            }
            Candidate::Named(name) => by_name(name),
        }
    };
    let try_all = |candidates: &[Candidate]| -> Option<(f64, Candidate)> {
        let mut most: Option<(f64, Candidate)> = None;
        for candidate in candidates {
            let Some(policy) = make(candidate) else { continue };
            let utility = try_out(&copy, policy, stop).unwrap_or(f64::NEG_INFINITY);
            if most.as_ref().is_none_or(|(best, _)| utility > *best) {
                most = Some((utility, candidate.clone()));
            }
        }
        most
    };
    let named: Vec<Candidate> = NAMES.into_iter().map(Candidate::Named).collect();
    let mut most = try_all(&named);
    // One thing after another is changed in the manner of the best so far.
    let mut manner = Manner::default();
    for alternatives in Manner::STAGES {
        let tried: Vec<Candidate> =
            alternatives.iter().map(|change| Candidate::Knowing(manner.with(*change))).collect();
        let Some((utility, Candidate::Knowing(found))) = try_all(&tried) else { continue };
        manner = found;
        if most.as_ref().is_none_or(|(best, _)| utility > *best) {
            most = Some((utility, Candidate::Knowing(found)));
        }
    }
    let mut style = Style::default();
    let mut reached = f64::NEG_INFINITY;
    for alternatives in Style::STAGES {
        let tried: Vec<Candidate> =
            alternatives.iter().map(|twist| Candidate::Planned(style.with(*twist))).collect();
        let Some((utility, Candidate::Planned(found))) = try_all(&tried) else { continue };
        if utility > reached {
            (reached, style) = (utility, found);
        }
        if most.as_ref().is_none_or(|(best, _)| utility > *best) {
            most = Some((utility, Candidate::Planned(found)));
        }
    }
    let chosen = most.and_then(|(_, candidate)| make(&candidate));
    chosen.unwrap_or_else(|| Box::new(Reactive::default()))
}

fn try_out(scenario: &Scenario, policy: Box<dyn Policy + Send>, stop: &AtomicBool) -> Result<f64, RunError> {
    let mut run = Run::of(scenario, "try", policy, false)?;
    while !run.is_over() && !stop.load(Ordering::Relaxed) {
        run.tick(&NoTime)?;
    }
    Ok(run.finish().score.utility)
}

/// Decisions in a try are not timed.
struct NoTime;

impl Stopwatch for NoTime {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}
