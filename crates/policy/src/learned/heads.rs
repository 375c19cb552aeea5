//! What the outputs of the network mean.
//!
//! The first outputs of a VM are forecasts, the others say what it needs. Needs are told against what was
//! seen last, as logarithms, so that an untrained network asks for what is used now.

use crate::planner::Need;
use crate::trend::Span;
use crate::{Estimate, View};

/// Quantities that are foreseen.
pub const QUANTITIES: [&str; 4] = ["cpu", "working-set", "memory-bandwidth", "gpu"];
/// How far ahead, in seconds. What is foreseen is the mean until then.
pub const HORIZONS: [f64; 4] = [1.0, 10.0, 60.0, 300.0];
/// Which quantiles of it.
pub const QUANTILES: [f32; 3] = [0.1, 0.5, 0.9];
/// Outputs of one VM that are forecasts, by quantity, then horizon, then quantile.
pub const FORECASTS: usize = QUANTITIES.len() * HORIZONS.len() * QUANTILES.len();
/// Outputs of one VM that say what it needs.
pub const ACTIONS: usize = ACTION_NAMES.len();
/// All outputs of one VM.
pub const OUTPUTS: usize = FORECASTS + ACTIONS;

/// What they say.
pub const ACTION_NAMES: [&str; 11] = [
    "cpu",
    "cpu-rank",
    "cpu-band",
    "cache",
    "memory",
    "memory-enough",
    "memory-rank",
    "traffic",
    "gpu",
    "gpu-bend",
    "device-rank",
];

/// Traffic against which device traffic is told, in bytes per second.
const TRAFFIC: f64 = 150.0e6;
/// Shares of the limit below which CPU use is told as this.
const LEAST_CPU: f64 = 0.02;
const MIB: f64 = 1024.0 * 1024.0;
/// What counts as the least use of memory.
const LEAST_MEMORY: f64 = 64.0 * MIB;
/// The band that is told as zero.
const BAND: f64 = 0.3;
/// The part of the memory that is told as zero, and the step of one.
const ENOUGH: (f64, f64) = (0.8, 0.1);
/// How many times a logarithm of memory is told, so that one is a step that matters.
const MEMORY_SCALE: f64 = 4.0;

/// What needs of a VM are told against.
#[derive(Debug, Clone, Copy)]
pub struct Anchor {
    cpu: f64,
    memory: f64,
    limit: f64,
    memory_bounds: (f64, f64),
    weight: f64,
}

impl Anchor {
    /// Of the VM at a position.
    #[must_use]
    pub fn of(view: &View<'_>, position: usize) -> Self {
        let spec = &view.world.vms[position];
        let held = &view.snapshot.assignment.holdings[position];
        let known = view.history.estimate(position);
        let limit = spec.cpu.limit.as_f64().max(1.0);
        let cpu = known.and_then(|known| known.cpu.last()).unwrap_or(held.cpu.share.as_f64());
        let working_set = known.and_then(|known| known.working_set.last());
        let memory = working_set.unwrap_or(held.total_memory().as_f64());
        Self {
            cpu: cpu.clamp(LEAST_CPU * limit, limit),
            memory: memory.max(LEAST_MEMORY),
            limit,
            memory_bounds: (spec.memory.reservation.as_f64(), spec.memory.limit.as_f64()),
            weight: spec.weight.as_f64(),
        }
    }

    /// The need that actions tell.
    #[must_use]
    pub fn need(&self, actions: &[f32]) -> Need {
        let at = |index: usize| f64::from(actions.get(index).copied().unwrap_or(0.0));
        let factor = |index: usize, most: f64| libm::exp(at(index).clamp(-most, most));
        let (least, most) = self.memory_bounds;
        let memory = self.memory * libm::exp(at(4).clamp(-6.0, 6.0) / MEMORY_SCALE) + 128.0 * MIB;
        let memory = memory.clamp(least.min(most), most.max(least));
        let enough = memory * (ENOUGH.0 + ENOUGH.1 * at(5)).clamp(0.2, 1.0);
        Need {
            cpu: (self.cpu * factor(0, 4.0)).min(2.5 * self.limit),
            cpu_rank: factor(1, 3.0),
            cpu_band: BAND * factor(2, 2.0),
            cache: self.weight * factor(3, 4.0),
            memory,
            memory_enough: enough,
            memory_rank: self.weight * factor(6, 4.0) / (enough - least).max(LEAST_MEMORY),
            traffic: TRAFFIC * factor(7, 5.0),
            gpu: factor(8, 4.0),
            gpu_bend: factor(9, 2.5),
            device_rank: factor(10, 3.0),
        }
    }

    /// The actions that tell a need, as far as they can; the inverse of [`Anchor::need`].
    #[must_use]
    #[allow(clippy::cast_possible_truncation)]
    pub fn actions(&self, need: &Need) -> [f32; ACTIONS] {
        let log = |value: f64, most: f64| libm::log(value.max(1e-9)).clamp(-most, most);
        let least = self.memory_bounds.0;
        let memory = MEMORY_SCALE * libm::log((need.memory - 128.0 * MIB).max(MIB) / self.memory);
        let part = need.memory_enough / need.memory.max(1.0);
        let rank = need.memory_rank * (need.memory_enough - least).max(LEAST_MEMORY) / self.weight;
        [
            log(need.cpu / self.cpu, 4.0),
            log(need.cpu_rank, 3.0),
            log(need.cpu_band / BAND, 2.0),
            log(need.cache / self.weight, 4.0),
            memory.clamp(-6.0, 6.0),
            ((part - ENOUGH.0) / ENOUGH.1).clamp(-6.0, 2.0),
            log(rank, 4.0),
            log(need.traffic / TRAFFIC, 5.0),
            log(need.gpu, 4.0),
            log(need.gpu_bend, 2.5),
            log(need.device_rank, 3.0),
        ]
        .map(|action| action as f32)
    }
}

/// What a VM needs by its actions, and by what no action can tell.
#[must_use]
pub fn asked(view: &View<'_>, position: usize, actions: &[f32]) -> Need {
    let mut need = Anchor::of(view, position).need(actions);
    // Of a VM that has just come nothing is known. It may have all it can use; what it leaves, the others
    // have anyway, and what it lacks makes its requests wait from the start.
    if view.history.estimate(position).is_none_or(|known| known.cpu.last().is_none()) {
        need.cpu = need.cpu.max(view.world.vms[position].cpu.limit.as_f64());
    }
    need
}

/// What was seen last of each quantity, as a share of the most that there can be. Nothing where it is not
/// measured.
#[must_use]
pub fn seen(view: &View<'_>, position: usize) -> [Option<f32>; QUANTITIES.len()] {
    let Some(known) = view.history.estimate(position) else { return [None; QUANTITIES.len()] };
    shares(view, position, known, known.working_set.last())
}

/// What forecasts are told against: what was seen last, but of the working set its mean over four seconds.
/// It moves by less in that time than its readings are off.
#[must_use]
pub fn level(view: &View<'_>, position: usize) -> [Option<f32>; QUANTITIES.len()] {
    let Some(known) = view.history.estimate(position) else { return [None; QUANTITIES.len()] };
    let last = known.working_set.last();
    let mean = last.and(known.trends.working_set.mean(Span::Seconds4));
    shares(view, position, known, mean.or(last))
}

#[allow(clippy::cast_possible_truncation)]
fn shares(
    view: &View<'_>,
    position: usize,
    known: &Estimate,
    working_set: Option<f64>,
) -> [Option<f32>; QUANTITIES.len()] {
    let spec = &view.world.vms[position];
    let socket = view.snapshot.assignment.holdings[position].socket;
    let share = |value: Option<f64>, most: f64| {
        let share = value? / most.max(1.0);
        Some(share.clamp(0.0, 4.0) as f32)
    };
    let Estimate { cpu, memory_bandwidth, gpu, .. } = known;
    [
        share(cpu.last(), spec.cpu.limit.as_f64()),
        share(working_set, spec.memory.limit.as_f64()),
        share(memory_bandwidth.last(), view.world.topology.memory_bandwidth(socket).as_f64()),
        gpu.last().map(|busy| busy.clamp(0.0, 1.0) as f32),
    ]
}

/// A forecast of one quantity at one horizon, told against [`level`]: its quantiles in order, never crossing.
#[must_use]
pub fn forecast(outputs: &[f32], level: f32, quantity: usize, horizon: usize) -> [f32; QUANTILES.len()] {
    let from = (quantity * HORIZONS.len() + horizon) * QUANTILES.len();
    let mut quantiles = [level; QUANTILES.len()];
    for (value, output) in quantiles.iter_mut().zip(&outputs[from..]) {
        *value = (level + output).max(0.0);
    }
    quantiles.sort_by(f32::total_cmp);
    quantiles
}
