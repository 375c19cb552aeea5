//! Policies by name, and the knowledge of the future that one of them has.

use std::time::Duration;

use halcyon_model::HostTime;
use halcyon_policy::{Foresight, Policy, Reactive, Tuning, by_name};
use halcyon_sim::Demand;

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

/// A policy by name, `clairvoyant` included; nothing for a name that is not one.
#[must_use]
pub fn policy_by_name(name: &str, scenario: &Scenario) -> Option<Box<dyn Policy + Send>> {
    if name != "clairvoyant" {
        return by_name(name);
    }
    let demands = scenario.guests.iter().map(|guest| guest.workload.demand.clone()).collect();
    let known = Known { demands, spread: 1.5 * scenario.parameters.burst_sigma };
    let tuning = Tuning {
        dead_band: 0.05,
        memory_headroom: 0.02,
        fabric_pace: Duration::from_secs(30),
        ..Tuning::default()
    };
    Some(Box::new(Reactive::clairvoyant(Box::new(known), tuning)))
}
