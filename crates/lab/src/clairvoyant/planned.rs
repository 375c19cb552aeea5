//! A controller that divides the host by needs that it knows.

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::{HostTime, Objective, Proposal, VmSpec, World};
use halcyon_policy::{Need, Planner, PlannerTuning, Policy, View};

use super::knowing::Future;

/// How it goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Style {
    /// Added to what will be asked of the CPUs, as a share of it.
    cpu_headroom: f64,
    /// Added to the working set, as a share of it.
    memory_headroom: f64,
    /// The share of its CPUs up to which a VM may be kept busy by paging.
    paging: f64,
    /// How much more a VM with a latency objective counts where memory is short.
    boost: f64,
    /// To which power CPU goes rather to who needs little.
    density: f64,
    /// How much a VM without a latency objective counts where the cache is divided.
    cache: f64,
    /// What dividing the cache anew must save.
    cache_gain: f64,
}

impl Default for Style {
    fn default() -> Self {
        Self {
            cpu_headroom: 0.6,
            memory_headroom: 0.02,
            paging: 0.6,
            boost: 2.0,
            density: 0.0,
            cache: 0.5,
            cache_gain: 0.05,
        }
    }
}

/// One thing that is done differently.
pub(super) type Twist = fn(&mut Style);

impl Style {
    /// The same, but for one thing.
    pub(super) fn with(mut self, twist: Twist) -> Self {
        twist(&mut self);
        self
    }

    /// Alternatives, one group after another.
    pub(super) const STAGES: [&'static [Twist]; 4] = [
        &[|_| {}, |style| style.cpu_headroom = 1.5],
        &[|style| style.cache_gain = f64::INFINITY, |style| style.cache = 2.0],
        &[|style| style.density = 0.5],
        &[|style| style.memory_headroom = 0.06, |style| style.paging = 0.3],
    ];
}

/// The controller.
pub(super) struct Planned {
    future: Arc<Future>,
    planner: Planner,
    style: Style,
    /// The VMs that are there, labelled.
    labelled: Vec<VmSpec>,
    needs: Vec<Need>,
}

impl Planned {
    pub(super) fn new(future: Arc<Future>, style: Style) -> Self {
        let tuning = PlannerTuning { cache_gain: style.cache_gain, ..PlannerTuning::default() };
        Self { future, planner: Planner::new(tuning), style, labelled: Vec::new(), needs: Vec::new() }
    }

    fn need(&self, view: &View<'_>, position: usize, now: HostTime) -> Need {
        let spec = &view.world.vms[position];
        let future = &self.future;
        let Some(index) = future.index(spec.id) else { return still(view, position) };
        let outlook = &future.outlooks[index];
        let application = &future.applications[index];
        let highest = |series: &[f32], seconds: u64| {
            let coming = future.between(series, now, now + Duration::from_secs(seconds));
            f64::from(coming.iter().copied().fold(0.0, f32::max))
        };
        let limit = spec.cpu.limit.as_f64();
        let waiting = view.history.estimate(position).and_then(|known| known.cpu.last()).unwrap_or(0.0);
        let cpu = (1000.0 * highest(&outlook.arrival, 5)).max(waiting).min(limit);
        let set = highest(&outlook.working_set, 120);
        let memory = set * (1.0 + self.style.memory_headroom) + 128.0 * 1024.0 * 1024.0;
        let load = (1000.0 * highest(&outlook.arrival, 120) / limit).clamp(0.01, 1.0);
        let may_miss = ((self.style.paging / load - 1.0) / 20.0).clamp(0.0, 0.6);
        let enough = (memory * (1.0 - may_miss)).min(memory);
        let critical = matches!(spec.objective, Objective::Latency { .. });
        let boost = if critical { self.style.boost } else { 1.0 };
        let density = (enough - spec.memory.reservation.as_f64()).max(64.0 * 1024.0 * 1024.0);
        let mean = {
            let coming = future.between(&outlook.arrival, now, now + Duration::from_secs(60));
            coming.iter().map(|x| f64::from(*x)).sum::<f64>() / coming.len().max(1) as f64
        };
        let coming = future.between(&outlook.arrival, now, now + Duration::from_secs(900));
        let mut coming = coming.to_vec();
        coming.sort_by(f32::total_cmp);
        let high = f64::from(coming.get(coming.len() * 9 / 10).copied().unwrap_or(0.0)).min(limit / 1000.0);
        Need {
            cpu: cpu * (1.0 + self.style.cpu_headroom),
            cpu_rank: if self.style.density > 0.0 {
                libm::pow(1000.0 / (1000.0 * mean).max(50.0), self.style.density)
            } else {
                1.0
            },
            cpu_band: 0.3,
            cache: spec.weight.as_f64() * if critical { 1.0 } else { self.style.cache * load },
            memory,
            memory_enough: enough,
            memory_rank: spec.weight.as_f64() * boost / density,
            traffic: high * application.io_bytes,
            gpu: high * application.gpu_seconds,
            gpu_bend: 1.0,
            device_rank: 1.0,
        }
    }
}

fn still(view: &View<'_>, position: usize) -> Need {
    let holding = &view.snapshot.assignment.holdings[position];
    let memory = holding.total_memory().as_f64();
    Need {
        cpu: holding.cpu.share.as_f64(),
        cpu_rank: 1.0,
        cpu_band: 0.3,
        cache: 1.0,
        memory,
        memory_enough: memory,
        memory_rank: 1.0,
        traffic: 0.0,
        gpu: 0.0,
        gpu_bend: 1.0,
        device_rank: 1.0,
    }
}

impl Policy for Planned {
    fn name(&self) -> &'static str {
        "clairvoyant"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let same = self.labelled.len() == view.world.vms.len()
            && self.labelled.iter().zip(view.world.vms).all(|(labelled, spec)| labelled.id == spec.id);
        if !same {
            let labelled = |spec: &VmSpec| {
                self.future
                    .index(spec.id)
                    .map_or_else(|| spec.clone(), |index| self.future.specs[index].clone())
            };
            self.labelled = view.world.vms.iter().map(labelled).collect();
        }
        let now = view.snapshot.at;
        let mut needs = std::mem::take(&mut self.needs);
        needs.clear();
        needs.extend((0..view.world.vms.len()).map(|position| self.need(view, position, now)));
        let world = World { vms: &self.labelled, ..view.world };
        let view = &View { world, profiles: &self.future.profiles, ..*view };
        let future = &self.future;
        let value = |position: usize, slices: u32| {
            let index = future.index(view.world.vms[position].id);
            index.map_or(0.0, |index| future.worth_of_slices(index, slices, now))
        };
        let proposal = self.planner.decide_valued(view, &needs, Some(&value));
        self.needs = needs;
        proposal
    }
}
