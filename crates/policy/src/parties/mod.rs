//! PARTIES: one state machine for each latency-critical VM, which gives or takes one unit of one resource
//! at a time until its slack is small but positive (Chen, Delimitrou, Martínez, "PARTIES: QoS-Aware
//! Resource Partitioning for Multiple Interactive Services", ASPLOS 2019).
//!
//! As published: a decision every 500 ms; upsize below 5 % slack, downsize above 20 %; a unit is a core, a
//! cache way, a tenth of bandwidth, a gibibyte; a wheel of resources that turns when a unit did not help;
//! a downsize that hurts is taken back and another resource is tried; whoever is not latency-critical has
//! what is left. The thresholds and the interval are from memory of the paper. It knows no model of a
//! program. Where no response time is measured, slack is a proxy (see [`crate::latency`]).
//!
//! Otherwise than published:
//! - The paper has up to six services on a machine and moves one unit of one of them in each interval.
//!   With dozens of VMs that would take minutes for one round, so each machine moves by itself; where
//!   the last free unit is asked for by several, the least slack comes first.
//! - The paper moves a service to another machine when nothing helps. Here a VM that was short for a minute
//!   goes back to its weight's part and asks for nothing for 30 s, twice as long each time. And a VM below
//!   its weight's part may take from one above, slack or not: with dozens of VMs, some of them never at
//!   ease, those would otherwise end up with everything.
//! - Cores are CPU shares, with ceilings at the limits: what a VM leaves idle the kernel gives to others. As
//!   with whole cores, no VM gives up its last one.
//! - Hardware has fewer classes of service than there are VMs: those of one socket are clustered by how
//!   tight their objective is. A cluster moves one way at a time, and down only if none of it is short.
//! - Memory bandwidth is a cap on the VMs that are not latency-critical, in tenths of their socket's, and is
//!   tried only where the channels are busy.
//! - There is no clock frequency to set. Placement, links and GPU slices stay as they are; devices are
//!   handed out as `proportional` does it.
//! - A resource rests after a downsize that hurt, twice as long each time, so that there is no limit
//!   cycle on steady load.

mod ground;
mod machine;
mod round;

use std::time::Duration;

use halcyon_model::{Family, HostTime, Proposal};

use crate::latency::{Meter, Rest, is_due, tidy};
use crate::{Policy, View};
use ground::Ground;

/// The parameters of [`Parties`].
#[derive(Debug, Clone, PartialEq)]
pub struct PartiesTuning {
    /// Time between two decisions.
    pub period: Duration,
    /// Slack below which a VM gets more.
    pub upsize_below: f64,
    /// Slack above which it gives something up.
    pub downsize_above: f64,
    /// By how much slack has to rise for an upsize to count as a help.
    pub progress: f64,
    /// For how long a shortage is blamed on the last downsize.
    pub blame: Duration,
    /// How long a resource is left alone after taking from it hurt for the first time.
    pub rest: Duration,
    /// And at most.
    pub longest_rest: Duration,
    /// How long a VM may be short before it gives up.
    pub give_up: Duration,
    /// Load of the memory channels below which a cap on the others is not tried.
    pub channels_busy: f64,
    /// Load below which it is loosened.
    pub channels_idle: f64,
    /// What a VM does not go below when it gives CPU time up, in thousandths of a core, if that is less than
    /// its limit.
    pub least_cpu: f64,
    /// Unit of CPU time, in thousandths of a core; a small VM's unit is an eighth of its limit.
    pub cpu_unit: f64,
    /// Unit of memory, in bytes; a small VM's unit is a sixteenth of its limit.
    pub memory_unit: f64,
    /// How much of the working set, where it is known, memory is not taken below.
    pub memory_floor: f64,
    /// Most clusters of latency-critical VMs on a socket.
    pub clusters: usize,
}

impl Default for PartiesTuning {
    fn default() -> Self {
        Self {
            period: Duration::from_millis(500),
            upsize_below: 0.05,
            downsize_above: 0.20,
            progress: 0.01,
            blame: Duration::from_secs(20),
            rest: Duration::from_secs(30),
            longest_rest: Duration::from_secs(960),
            give_up: Duration::from_secs(60),
            channels_busy: 0.80,
            channels_idle: 0.40,
            least_cpu: 1000.0,
            cpu_unit: 1000.0,
            memory_unit: 1024.0 * 1024.0 * 1024.0,
            memory_floor: 1.30,
            clusters: 6,
        }
    }
}

/// The controller.
#[derive(Debug, Default)]
pub struct Parties {
    tuning: PartiesTuning,
    meter: Meter,
    rest: Rest,
    ground: Ground,
    decided_at: Option<HostTime>,
}

impl Parties {
    /// The controller with other parameters.
    #[must_use]
    pub fn new(tuning: PartiesTuning) -> Self {
        Self { tuning, ..Self::default() }
    }
}

impl Policy for Parties {
    fn name(&self) -> &'static str {
        "parties"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.meter.watch(view);
        let mut proposal = self.rest.decide(view);
        for wish in &mut proposal.vms {
            (wish.cpu, wish.memory_bandwidth, wish.memory) = (None, None, None);
        }
        proposal.device_bandwidth.clear();
        // Without CPU shares to move, nothing that is measured is the answer to anything.
        let due = is_due(&mut self.decided_at, view.snapshot.at, self.tuning.period);
        if due && !view.frozen.contains(Family::Compute) {
            let readings = self.meter.read(view);
            self.ground.follow(view, &self.tuning);
            round::decide(view, &self.tuning, &readings, &mut self.ground);
            self.ground.propose(view, &self.tuning, &mut proposal);
        }
        tidy(proposal)
    }
}
