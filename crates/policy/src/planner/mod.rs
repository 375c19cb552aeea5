//! From what every VM is expected to need to who gets what.
//!
//! Whoever knows or predicts needs — a forecast, a trained network, a clairvoyant — hands them over as
//! [`Need`]s; how scarce resources are then divided is the same for all of them. CPU shares, sockets and
//! links are those of the hand-made controller; memory, devices and GPU slices are divided here, at the
//! pace at which they can move.

mod devices;
mod memory;
mod slices;

use std::time::Duration;

use halcyon_model::{Family, Proposal, Reason};

use crate::View;
use crate::cache::{Geometry, Occupant, classes_move, divide_among, regroup};
use crate::reactive::{Known, Reactive, Tuning, gpu_speed};
use crate::turn::{Clock, Turn, tidy};

/// What one VM is expected to need until its resources can change again, and how much it counts.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Need {
    /// CPU time that it should be able to have, in thousandths of a core.
    pub cpu: f64,
    /// How much it counts where CPU time is short, as a factor of its weight.
    pub cpu_rank: f64,
    /// A change of its CPU share that is smaller, as a share of what it holds, is not worth making.
    pub cpu_band: f64,
    /// What it costs that it is slowed down by as much again for want of cache, against others.
    pub cache: f64,
    /// Memory with which it loses nothing, in bytes.
    pub memory: f64,
    /// Memory with which it still does what it is asked, in bytes; at most `memory`.
    pub memory_enough: f64,
    /// How much each byte up to that counts where memory is short, against others' bytes.
    pub memory_rank: f64,
    /// What it would move through devices, in bytes per second.
    pub traffic: f64,
    /// Speed of a GPU that it can use, in whole GPUs.
    pub gpu: f64,
    /// How much a speed above zero and below that counts: its utility with a part of that is taken as the
    /// part to this power.
    pub gpu_bend: f64,
    /// How much it counts where devices and slices are short, as a factor of its weight.
    pub device_rank: f64,
}

impl Need {
    /// Of a VM of which nothing is known: what it holds.
    #[must_use]
    pub fn as_held(view: &View<'_>, position: usize) -> Self {
        let holding = &view.snapshot.assignment.holdings[position];
        let memory = holding.total_memory().as_f64();
        Self {
            cpu: holding.cpu.share.as_f64(),
            cpu_rank: 1.0,
            cpu_band: 0.3,
            cache: view.world.vms[position].weight.as_f64(),
            memory,
            memory_enough: memory,
            memory_rank: 1.0,
            traffic: 0.0,
            gpu: 0.0,
            gpu_bend: 1.0,
            device_rank: 1.0,
        }
    }
}

/// The pace of a [`Planner`], and what it leaves alone.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannerTuning {
    /// Of the part that it shares with the hand-made controller.
    pub base: Tuning,
    /// How often memory is divided anew.
    pub memory_pace: Duration,
    /// How often the cache is.
    pub cache_pace: Duration,
    /// The share of the loss that dividing the cache anew must save.
    pub cache_gain: f64,
    /// How often devices are.
    pub device_pace: Duration,
    /// How often GPU slices are.
    pub slice_pace: Duration,
    /// What a VM without devices can move through the host, in bytes per second.
    pub paravirtual: f64,
    /// How far ahead slices are divided by what they will be worth.
    pub slices_ahead: Duration,
}

impl Default for PlannerTuning {
    fn default() -> Self {
        Self {
            base: Tuning {
                dead_band: 0.3,
                cpu_headroom: 0.0,
                latency_boost: 4.0,
                bandwidth_high: f64::INFINITY,
                ..Tuning::default()
            },
            memory_pace: Duration::from_secs(5),
            cache_pace: Duration::from_secs(10),
            cache_gain: 0.05,
            device_pace: Duration::from_secs(60),
            slice_pace: Duration::from_secs(30),
            paravirtual: 150.0e6,
            slices_ahead: Duration::from_secs(600),
        }
    }
}

/// Divides a host by needs.
#[derive(Debug)]
pub struct Planner {
    tuning: PlannerTuning,
    base: Reactive,
    memory: Clock,
    cache: Turn,
    devices: Clock,
    slices: Clock,
}

impl Default for Planner {
    fn default() -> Self {
        Self::new(PlannerTuning::default())
    }
}

impl Planner {
    /// A planner with other parameters.
    #[must_use]
    pub fn new(tuning: PlannerTuning) -> Self {
        let base = Reactive::new(tuning.base.clone());
        Self {
            tuning,
            base,
            memory: Clock::default(),
            cache: Turn::default(),
            devices: Clock::default(),
            slices: Clock::default(),
        }
    }

    /// What to do for VMs with these needs, one for each VM in its order.
    pub fn decide(&mut self, view: &View<'_>, needs: &[Need]) -> Proposal {
        let worth = ByNeed { view: *view, needs, paravirtual: self.tuning.paravirtual };
        self.decide_by(view, needs, &worth)
    }

    /// The same, where what devices and slices are worth is known better than the needs say.
    pub fn decide_by(&mut self, view: &View<'_>, needs: &[Need], worth: &dyn Worth) -> Proposal {
        let mut proposal = self.base.decide_by(view, &Given(needs));
        if needs.len() != view.world.vms.len() {
            return tidy(proposal);
        }
        let (now, frozen, tuning) = (view.snapshot.at, view.frozen, &self.tuning);
        if !frozen.contains(Family::Memory) && self.memory.has_come_round(now, tuning.memory_pace) {
            memory::divide(view, needs, &mut proposal.vms);
        }
        if classes_move(view) && self.cache.has_come(view, tuning.cache_pace) {
            let into = |occupants: &[Occupant], geometry: &Geometry| {
                divide_among(occupants, geometry, geometry.ways, geometry.classes, Occupant::loss)
            };
            let value = |position: usize| needs[position].cache;
            regroup(view, Occupant::loss, &value, tuning.cache_gain, into, &mut proposal);
        }
        if !frozen.contains(Family::Fabric) && self.devices.has_come_round(now, tuning.device_pace) {
            proposal.devices = devices::hand_over(view, worth);
        }
        let gpus = !view.world.topology.gpus().is_empty();
        if gpus && !frozen.contains(Family::Gpu) && self.slices.has_come_round(now, tuning.slice_pace) {
            let instances = slices::divide(view.world, &view.snapshot.assignment, worth, tuning.slices_ahead);
            proposal.gpu_instances = instances.map(|instances| (instances, Reason::Fit));
        }
        tidy(proposal)
    }
}

/// What devices and GPU slices are worth, in utility times weight, to the VM at a position.
pub trait Worth {
    /// Of devices that together carry so many bytes per second.
    fn devices(&self, position: usize, carried: f64) -> f64;

    /// The speed that an instance of so many compute slices gives, in whole GPUs.
    fn gpu_speed(&self, position: usize, slices: u32) -> f64;

    /// Of such a speed.
    fn gpu(&self, position: usize, speed: f64) -> f64;
}

/// As far as needs say.
struct ByNeed<'a> {
    view: View<'a>,
    needs: &'a [Need],
    paravirtual: f64,
}

impl ByNeed<'_> {
    fn weight(&self, position: usize) -> f64 {
        self.view.world.vms[position].weight.as_f64() * self.needs[position].device_rank
    }
}

impl Worth for ByNeed<'_> {
    fn devices(&self, position: usize, carried: f64) -> f64 {
        let traffic = self.needs[position].traffic;
        if traffic <= 0.9 * self.paravirtual {
            return 0.0;
        }
        self.weight(position) * ((self.paravirtual + carried) / traffic).min(1.0)
    }

    fn gpu_speed(&self, position: usize, slices: u32) -> f64 {
        gpu_speed(&self.view, position, slices)
    }

    fn gpu(&self, position: usize, speed: f64) -> f64 {
        let need = &self.needs[position];
        if need.gpu <= 0.0 {
            return 0.0;
        }
        self.weight(position) * libm::pow((speed / need.gpu).min(1.0), need.gpu_bend)
    }
}

/// Needs, as the hand-made controller asks for them.
struct Given<'a>(&'a [Need]);

impl Known for Given<'_> {
    fn cpu(&self, position: usize) -> Option<f64> {
        Some(self.0.get(position)?.cpu)
    }

    fn rank(&self, position: usize) -> f64 {
        self.0.get(position).map_or(1.0, |need| need.cpu_rank)
    }

    fn band(&self, position: usize) -> Option<f64> {
        Some(self.0.get(position)?.cpu_band)
    }
}
