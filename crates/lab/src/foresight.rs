//! Policies by name, and the knowledge of the future that one of them has.

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_model::{HostTime, Proposal};
use halcyon_policy::{Foresight, NAMES, Policy, Reactive, Tuning, View, by_name};
use halcyon_sim::Demand;

use crate::run::{Run, RunError};
use crate::scenario::Scenario;

/// The demand of every VM, as the scenario has it.
#[derive(Debug)]
struct Known {
    demands: Vec<Demand>,
    /// Room for the spread inside the trace's interval, as a share of demand.
    spread: f64,
}

impl Foresight for Known {
    fn cpu(&self, position: usize, from: HostTime, to: HostTime) -> f64 {
        1000.0 * self.demands[position].most_work(from.as_secs_f64(), to.as_secs_f64()) * (1.0 + self.spread)
    }

    fn working_set(&self, position: usize, from: HostTime, to: HostTime) -> f64 {
        self.demands[position].most_working_set(from.as_secs_f64(), to.as_secs_f64())
    }
}

/// Tries of the future are at most this long; whoever runs longer is assumed to go on as it began.
const LONGEST_TRY: Duration = Duration::from_secs(24 * 3600);

/// What did best when it was tried on a copy of the very future that is to come. In the run itself it
/// goes through the same cycle as all others and pays the same costs.
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

fn best(scenario: &Scenario, stop: &AtomicBool) -> Box<dyn Policy + Send> {
    let duration = scenario.duration.min(LONGEST_TRY);
    let copy = Scenario { duration, ..scenario.clone() };
    let utilities: Vec<f64> = std::thread::scope(|scope| {
        let copy = &copy;
        let tries: Vec<_> = candidates(scenario)
            .into_iter()
            .map(|candidate| scope.spawn(move || try_out(copy, candidate, stop).unwrap_or(f64::NEG_INFINITY)))
            .collect();
        tries.into_iter().map(|tried| tried.join().unwrap_or(f64::NEG_INFINITY)).collect()
    });
    let mut best: Option<(f64, Box<dyn Policy + Send>)> = None;
    for (utility, candidate) in utilities.into_iter().zip(candidates(scenario)) {
        if best.as_ref().is_none_or(|(most, _)| utility > *most) {
            best = Some((utility, candidate));
        }
    }
    best.map_or_else(|| Box::new(Reactive::default()) as Box<dyn Policy + Send>, |(_, policy)| policy)
}

/// The controller that knows, in several tunings, and what does not look ahead: at times no change is
/// the best one.
fn candidates(scenario: &Scenario) -> Vec<Box<dyn Policy + Send>> {
    let spread = 1.5 * scenario.parameters.burst_sigma;
    let eager = Tuning {
        dead_band: 0.05,
        memory_headroom: 0.02,
        fabric_pace: Duration::from_secs(30),
        ..Tuning::default()
    };
    let even = Tuning { latency_boost: 1.5, ..Tuning::default() };
    let knowing = [eager, Tuning::default(), even].into_iter().map(|tuning| {
        let demands = scenario.guests.iter().map(|guest| guest.workload.demand.clone()).collect();
        let known = Known { demands, spread };
        Box::new(Reactive::clairvoyant(Box::new(known), tuning)) as Box<dyn Policy + Send>
    });
    knowing.chain(NAMES.iter().filter_map(|name| by_name(name))).collect()
}

fn try_out(scenario: &Scenario, policy: Box<dyn Policy + Send>, stop: &AtomicBool) -> Result<f64, RunError> {
    let mut run = Run::of(scenario, "clairvoyant", policy, false)?;
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
