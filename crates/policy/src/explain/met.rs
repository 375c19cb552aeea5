//! How far what a VM holds meets what it is said to need.

use halcyon_model::{Assignment, ChangeKind};

use super::{Told, Unit};
use crate::View;
use crate::planner::{Need, PlannerTuning};
use crate::reactive::gpu_speed;

/// Needs, and what they are measured against.
pub(super) struct Met<'a> {
    view: View<'a>,
    needs: &'a [Need],
    mean_weight: f64,
    paravirtual: f64,
}

impl<'a> Met<'a> {
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn new(view: View<'a>, needs: &'a [Need]) -> Self {
        let vms = view.world.vms;
        let sum: f64 = vms.iter().map(|spec| spec.weight.as_f64()).sum();
        let mean_weight = (sum / vms.len().max(1) as f64).max(1e-9);
        Self { view, needs, mean_weight, paravirtual: PlannerTuning::default().paravirtual }
    }

    /// The weight of a VM, against the mean.
    pub(super) fn weight(&self, position: usize) -> f64 {
        self.view.world.vms[position].weight.as_f64() / self.mean_weight
    }

    /// What a VM is said to need of what a kind of change gives, as far as it can ever have it.
    pub(super) fn told(&self, kind: ChangeKind, position: usize) -> Option<Told> {
        let (need, spec) = (self.needs.get(position)?, &self.view.world.vms[position]);
        let told = |amount: f64, unit: Unit| Some(Told { amount, unit });
        match kind {
            ChangeKind::Cpu | ChangeKind::Placement => {
                told(need.cpu.min(spec.cpu.limit.as_f64()) / 1000.0, Unit::Cores)
            }
            ChangeKind::Memory => told(need.memory, Unit::Bytes),
            ChangeKind::Device | ChangeKind::DeviceBandwidth if !spec.devices.is_empty() => {
                told(need.traffic, Unit::BytesPerSecond)
            }
            ChangeKind::GpuInstance if spec.gpu_slices.limit > 0 => {
                told(need.gpu.min(gpu_speed(&self.view, position, spec.gpu_slices.limit)), Unit::Gpus)
            }
            // What cache is worth is told as a rank, not as an amount.
            _ => None,
        }
    }

    /// What a VM holds of what a kind of change gives, in the unit of [`Met::told`]; none where that tells
    /// nothing.
    pub(super) fn holds(&self, kind: ChangeKind, position: usize, held: &Assignment) -> Option<f64> {
        self.told(kind, position)?;
        let holding = held.holdings.get(position)?;
        Some(match kind {
            ChangeKind::Memory => holding.total_memory().as_f64(),
            ChangeKind::Device | ChangeKind::DeviceBandwidth => {
                let owned = held.devices_of(holding.vm);
                let carried: f64 = owned.map(|(_, device)| device.bandwidth.ceiling.as_f64()).sum();
                self.paravirtual + carried
            }
            ChangeKind::GpuInstance => gpu_speed(&self.view, position, self.slices(held, holding.vm)),
            _ => holding.cpu.share.as_f64() / 1000.0,
        })
    }

    /// The share of its need that a VM has of what a kind of change gives, 0 to 1; none where the needs
    /// do not tell.
    pub(super) fn share(&self, kind: ChangeKind, position: usize, held: &Assignment) -> Option<f64> {
        let (needed, need) = (self.told(kind, position)?.amount, &self.needs[position]);
        let has = self.holds(kind, position, held)?;
        let of = |needed: f64| if needed > 0.0 { (has / needed).clamp(0.0, 1.0) } else { 1.0 };
        let share = match kind {
            // Half of it counts up to where the VM does its work, half up to where it loses nothing.
            ChangeKind::Memory => f64::midpoint(of(need.memory_enough), of(needed)),
            ChangeKind::GpuInstance => libm::pow(of(needed), need.gpu_bend),
            _ => of(needed),
        };
        share.is_finite().then_some(share)
    }

    fn slices(&self, held: &Assignment, vm: halcyon_model::VmId) -> u32 {
        let gpus = self.view.world.topology.gpus();
        let owned = held.gpu_instances.iter().filter(|instance| instance.owner == vm);
        let profile = |instance: &halcyon_model::GpuInstance| {
            gpus.get(instance.gpu.index())?.profiles.get(instance.profile as usize)
        };
        owned.filter_map(profile).map(|profile| profile.compute).sum()
    }
}
