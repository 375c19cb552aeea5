//! Runs in which the network tries a little more or less of everything, and what came of it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_model::{HostTime, Objective, Proposal, VmId};
use halcyon_policy::learned::{ACTIONS, FORECASTS, OUTPUTS, asked};
use halcyon_policy::{Batch, Features, Network, Planner, PlannerTuning, Policy, Scratch, View};
use halcyon_sim::Guest;
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::collect::{Notes, Sample, counts};
use crate::run::{Run, RunError};
use crate::scenario::Scenario;
use crate::still::Still;

/// What is tried is kept up for so long, so that it can be told by what came.
pub(super) const SPAN: Duration = Duration::from_secs(30);

/// Actions that bite equally fast.
pub(super) struct Pace {
    /// Which they are.
    pub(super) actions: Range<usize>,
    /// For how many spans the same is tried.
    pub(super) held: u64,
    /// How much the next span counts against the one before, when what came of it is added up.
    pub(super) discount: f64,
    /// How many spans are looked at.
    pub(super) ahead: usize,
}

/// CPU and cache at once; memory, devices and GPU slices over minutes.
pub(super) const PACES: [Pace; 2] = [
    Pace { actions: 0..4, held: 1, discount: 0.6, ahead: 4 },
    Pace { actions: 4..ACTIONS, held: 6, discount: 0.85, ahead: 16 },
];

/// Standard deviation of what is tried for each action. Choices: a step that a host feels.
pub(super) const DEVIATIONS: [f64; ACTIONS] = [0.25, 0.4, 0.4, 0.4, 0.3, 0.5, 0.4, 0.4, 0.3, 0.3, 0.4];

/// The share of what was asked that has to be in time for an objective to be kept.
const IN_TIME: f64 = 0.99;

/// What a VM got over a span.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Served {
    /// What was asked, in seconds of one core.
    pub(super) asked: f64,
    /// How much of it counts.
    pub(super) good: f64,
}

/// What came of one span.
#[derive(Debug, Clone, Default)]
pub(super) struct Outcome {
    /// Of each VM that was due, at the door or inside.
    pub(super) served: BTreeMap<VmId, Served>,
    /// Charged for changes, in seconds of utility times weight.
    pub(super) charged: f64,
}

/// One run.
#[derive(Debug, Clone, Default)]
pub(super) struct Episode {
    /// A sample at the beginning of each span; `actions` are what was done.
    pub(super) samples: Vec<Sample>,
    /// The VMs of each sample.
    pub(super) vms: Vec<Vec<VmId>>,
    /// What the network asked for when each sample was taken.
    pub(super) means: Vec<Vec<[f32; ACTIONS]>>,
    /// What came of each span.
    pub(super) outcomes: Vec<Outcome>,
    /// Utility of the run.
    pub(super) utility: f64,
}

/// Runs `scenario` with the network, which tries what `turn` and `seed` say. A span in which a VM's
/// objective of response time was kept counts `kept` more, as a share of what was asked.
///
/// # Errors
/// When the scenario cannot run.
pub(super) fn explore(
    scenario: &Scenario,
    network: &Arc<Network>,
    seed: u64,
    turn: u64,
    kept: f64,
) -> Result<Episode, RunError> {
    let trail = Arc::new(Mutex::new(Trail::default()));
    let explorer = Explorer {
        network: Arc::clone(network),
        planner: Planner::new(PlannerTuning::default()),
        features: Features::default(),
        scratch: Scratch::default(),
        trail: Arc::clone(&trail),
        draws: Draws { seed, turn, span: u64::MAX, drawn: BTreeMap::new() },
    };
    let mut run = Run::of(scenario, "explorer", Box::new(explorer), false)?;
    let mut outcomes: Vec<Outcome> = Vec::new();
    let mut charged = 0.0;
    while !run.is_over() {
        // A span is as long as its decisions bite: from the step after the first of them.
        let span = span_of(run.host().now());
        run.tick(&Still)?;
        outcomes.resize_with(outcomes.len().max(span + 1), Outcome::default);
        let outcome = &mut outcomes[span];
        for state in run.host().states() {
            let served = outcome.served.entry(state.vm).or_default();
            served.asked += state.arrival;
            served.good += state.arrival * state.utility.unwrap_or(0.0);
        }
        outcome.charged += run.host().charged() - charged;
        charged = run.host().charged();
    }
    let utility = run.finish().score.utility;
    for guest in scenario.guests.iter().filter(|guest| is_critical(guest)) {
        for served in outcomes.iter_mut().filter_map(|outcome| outcome.served.get_mut(&guest.spec.id)) {
            served.good += if served.good >= IN_TIME * served.asked { kept * served.asked } else { 0.0 };
        }
    }
    let mut trail = trail.lock().map(|mut trail| std::mem::take(&mut *trail)).unwrap_or_default();
    trail.notes.look_back();
    let vms = trail.notes.taken.into_iter().map(|(_, vms)| vms).collect();
    Ok(Episode { samples: trail.notes.samples, vms, means: trail.means, outcomes, utility })
}

fn is_critical(guest: &Guest) -> bool {
    matches!(guest.spec.objective, Objective::Latency { .. })
}

fn span_of(now: HostTime) -> usize {
    usize::try_from(now.as_secs() / SPAN.as_secs()).unwrap_or(usize::MAX)
}

#[derive(Default)]
struct Trail {
    notes: Notes,
    means: Vec<Vec<[f32; ACTIONS]>>,
}

/// What is tried with each VM. It depends on the VM, the time and the turn alone.
struct Draws {
    seed: u64,
    turn: u64,
    span: u64,
    drawn: BTreeMap<VmId, [f32; ACTIONS]>,
}

impl Draws {
    fn of(&mut self, vm: VmId, span: u64) -> [f32; ACTIONS] {
        if span != self.span {
            self.drawn.clear();
            self.span = span;
        }
        let (seed, turn) = (self.seed, self.turn);
        *self.drawn.entry(vm).or_insert_with(|| draw(seed, turn, vm, span))
    }
}

#[allow(clippy::cast_possible_truncation)]
fn draw(seed: u64, turn: u64, vm: VmId, span: u64) -> [f32; ACTIONS] {
    let mut tried = [0.0; ACTIONS];
    for (number, pace) in PACES.iter().enumerate() {
        let parts = [seed, turn, u64::from(vm.0), span / pace.held, number as u64];
        let key = parts.iter().fold(0x9e37_79b9_u128, |key, part| {
            (key ^ u128::from(*part)).wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).rotate_left(47)
        });
        let mut random = Pcg64Mcg::new(key | 1);
        for action in pace.actions.clone() {
            tried[action] = (normal(&mut random) * DEVIATIONS[action]) as f32;
        }
    }
    tried
}

/// Box and Muller's transform.
#[allow(clippy::cast_precision_loss)]
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let mut uniform = || ((random.next_u64() >> 11) as f64 + 0.5) / (1_u64 << 53) as f64;
    let (radius, turn) = (libm::sqrt(-2.0 * libm::log(uniform())), uniform());
    radius * libm::cos(std::f64::consts::TAU * turn)
}

/// Decides as the network says, give or take what is tried.
struct Explorer {
    network: Arc<Network>,
    planner: Planner,
    features: Features,
    scratch: Scratch,
    trail: Arc<Mutex<Trail>>,
    draws: Draws,
}

impl Policy for Explorer {
    fn name(&self) -> &'static str {
        "explorer"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.features.observe(view);
        let Features { per_vm, host, socket, .. } = &self.features;
        let batch = Batch { features: per_vm, host, socket };
        let outputs = self.network.forward(&batch, &mut self.scratch).unwrap_or_default();
        let span = span_of(view.snapshot.at) as u64;
        let first = span != self.draws.span;
        let (mut means, mut actions, mut needs) = (Vec::new(), Vec::new(), Vec::new());
        for ((position, spec), row) in view.world.vms.iter().enumerate().zip(outputs.chunks_exact(OUTPUTS)) {
            let tried = self.draws.of(spec.id, span);
            let mean: [f32; ACTIONS] = std::array::from_fn(|action| row[FORECASTS + action]);
            let done: [f32; ACTIONS] = std::array::from_fn(|action| mean[action] + tried[action]);
            needs.push(asked(view, position, &done));
            means.push(mean);
            actions.push(done);
        }
        if let Ok(mut trail) = self.trail.lock() {
            let level = trail.notes.look(view);
            if first {
                let sample = Sample {
                    features: per_vm.clone(),
                    host: host.clone(),
                    socket: socket.clone(),
                    actions,
                    counts: counts(view),
                    level,
                    came: Vec::new(),
                };
                trail.notes.add(view, sample);
                trail.means.push(means);
            }
        }
        self.planner.decide(view, &needs)
    }
}
