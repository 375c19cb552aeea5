//! A good hand-made controller: a percentile of recent demand with headroom, and hysteresis against
//! changes that are not worth making.
//!
//! Each resource has its own file and its own pace. Latency-critical VMs come before the others where
//! something is short.

mod compute;
mod fabric;
mod gpu;
pub(crate) mod memory;

pub(crate) use gpu::speed as gpu_speed;

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{DeviceId, HostTime, Objective, Proposal, VmId, VmSpec, VmWish};

use crate::common::hand_out_devices;
use crate::turn::has_passed;
use crate::{Policy, View};

/// The parameters of [`Reactive`], with defaults that were tuned on scenarios of training.
#[derive(Debug, Clone, PartialEq)]
pub struct Tuning {
    /// Which percentile of recent demand counts as expected, 0 to 1.
    pub percentile: f64,
    /// What is added to expected CPU demand, as a share of it.
    pub cpu_headroom: f64,
    /// What is added to the expected working set, as a share of it.
    pub memory_headroom: f64,
    /// A change smaller than this share of what is held is not made.
    pub dead_band: f64,
    /// How much more a latency-critical VM counts where something is short.
    pub latency_boost: f64,
    /// Load of a socket's memory channels above which neighbours are throttled.
    pub bandwidth_high: f64,
    /// Load below which they are let go again.
    pub bandwidth_low: f64,
    /// How often memory is looked at.
    pub memory_pace: Duration,
    /// How often a VM may move to another socket.
    pub placement_pace: Duration,
    /// How often a device may move, or lanes.
    pub fabric_pace: Duration,
    /// How often GPU slices are looked at.
    pub gpu_pace: Duration,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            percentile: 0.95,
            cpu_headroom: 0.30,
            memory_headroom: 0.03,
            dead_band: 0.10,
            latency_boost: 8.0,
            bandwidth_high: 0.90,
            bandwidth_low: 0.70,
            memory_pace: Duration::from_secs(5),
            placement_pace: Duration::from_secs(30),
            fabric_pace: Duration::from_secs(60),
            gpu_pace: Duration::from_secs(60),
        }
    }
}

/// What is known of the VMs that are there, for [`Reactive::decide_by`].
pub(crate) trait Known {
    /// CPU time that the VM at a position should be able to have, in thousandths.
    fn cpu(&self, position: usize) -> Option<f64>;

    /// How much it counts where CPU time is short, as a factor of its weight.
    fn rank(&self, position: usize) -> f64;

    /// A change of its share that is smaller, as a share of what is held, is not made.
    fn band(&self, position: usize) -> Option<f64>;
}

/// The hand-made controller.
#[derive(Debug, Default)]
pub struct Reactive {
    tuning: Tuning,
    memory_at: Option<HostTime>,
    placement_at: Option<HostTime>,
    fabric_at: Option<HostTime>,
    gpu_at: Option<HostTime>,
    /// Whether the VMs of each socket are throttled for its memory channels.
    throttled: Vec<bool>,
    /// When each device last moved.
    moved_at: Vec<Option<HostTime>>,
    /// When the GPU slices of a VM last changed, as long as that matters.
    resliced_at: BTreeMap<VmId, HostTime>,
}

impl Reactive {
    /// The controller with other parameters.
    #[must_use]
    pub fn new(tuning: Tuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// What the VM at `position` is expected to use of its CPUs, in thousandths, without headroom.
    fn expected_cpu(&self, view: &View<'_>, position: usize) -> Option<f64> {
        let limit = view.world.vms[position].cpu.limit.as_f64();
        let known = &view.history.estimate(position)?.cpu;
        // What is used twice in a row is no spike, however new it is.
        let new = known.sustained(2).unwrap_or(0.0);
        Some(known.percentile(self.tuning.percentile)?.max(new).min(limit))
    }

    /// CPU time, bandwidth, sockets and links for VMs of which more is known; memory, devices and GPU
    /// slices are left out.
    pub(crate) fn decide_by(&mut self, view: &View<'_>, known: &dyn Known) -> Proposal {
        let mut proposal = Proposal { based_on: view.snapshot.generation, ..Proposal::default() };
        proposal.vms =
            view.world.vms.iter().map(|spec| VmWish { vm: spec.id, ..VmWish::default() }).collect();
        let now = view.snapshot.at;
        let expected: Vec<_> = (0..view.world.vms.len()).map(|position| known.cpu(position)).collect();
        self.divide_cpu(view, &expected, Some(known), &mut proposal.vms);
        self.divide_memory_bandwidth(view, &mut proposal.vms);
        if is_due(&mut self.placement_at, now, self.tuning.placement_pace) {
            self.balance_sockets(view, &expected, &mut proposal.vms);
        }
        if is_due(&mut self.fabric_at, now, self.tuning.fabric_pace) {
            proposal.device_bandwidth = crate::fixed::open_devices(view, halcyon_model::Reason::Fit);
            self.move_lanes(view, &mut proposal.links);
        }
        proposal
    }

    fn weight(&self, spec: &VmSpec) -> f64 {
        let boost = match spec.objective {
            Objective::Latency { .. } => self.tuning.latency_boost,
            Objective::Throughput => 1.0,
            Objective::BestEffort => 0.25,
        };
        spec.weight.as_f64() * boost
    }
}

impl Policy for Reactive {
    fn name(&self) -> &'static str {
        "reactive"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = Proposal { based_on: view.snapshot.generation, ..Proposal::default() };
        proposal.vms =
            view.world.vms.iter().map(|spec| VmWish { vm: spec.id, ..VmWish::default() }).collect();
        let now = view.snapshot.at;
        let expected: Vec<_> =
            (0..view.world.vms.len()).map(|position| self.expected_cpu(view, position)).collect();
        self.divide_cpu(view, &expected, None, &mut proposal.vms);
        self.divide_memory_bandwidth(view, &mut proposal.vms);
        if is_due(&mut self.placement_at, now, self.tuning.placement_pace) {
            self.balance_sockets(view, &expected, &mut proposal.vms);
        }
        if is_due(&mut self.memory_at, now, self.tuning.memory_pace) {
            self.move_memory(view, &mut proposal.vms);
        }
        if is_due(&mut self.fabric_at, now, self.tuning.fabric_pace) {
            proposal.devices = hand_out_devices(view.world, &view.snapshot.assignment);
            self.move_device(view, &mut proposal.devices);
            proposal.device_bandwidth = crate::fixed::open_devices(view, halcyon_model::Reason::Fit);
            self.move_lanes(view, &mut proposal.links);
        }
        if self.slices_are_due(view) {
            self.move_slices(view, &mut proposal);
        }
        proposal.vms.retain(|wish| *wish != VmWish { vm: wish.vm, ..VmWish::default() });
        proposal
    }
}

/// Whether `pace` has passed since the last time; if so, now is the last time.
fn is_due(last: &mut Option<HostTime>, now: HostTime, pace: Duration) -> bool {
    let due = last.is_none_or(|last| has_passed(last, pace, now));
    if due {
        *last = Some(now);
    }
    due
}

impl Reactive {
    fn moved_lately(&self, device: DeviceId, now: HostTime) -> bool {
        let last = self.moved_at.get(device.index()).copied().flatten();
        last.is_some_and(|last| !has_passed(last, self.tuning.fabric_pace * 5, now))
    }

    fn note_move(&mut self, device: DeviceId, now: HostTime) {
        if self.moved_at.len() <= device.index() {
            self.moved_at.resize(device.index() + 1, None);
        }
        self.moved_at[device.index()] = Some(now);
    }
}
