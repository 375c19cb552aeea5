//! Runs whose states are labelled by who knows the future.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_model::{HostTime, Proposal, VmId, VmSpec};
use halcyon_policy::learned::{
    ACTIONS, Anchor, FORECASTS, HORIZONS, OUTPUTS, QUANTITIES, asked, level, seen,
};
use halcyon_policy::{Batch, Features, Network, Planner, PlannerTuning, Policy, Scratch, View};

use crate::clairvoyant::Expert;
use crate::run::{Run, RunError};
use crate::scenario::Scenario;
use crate::still::Still;

/// One host at one moment: what was seen, what who knows would do, and what came.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    /// Features of the VMs, row after row.
    pub features: Vec<f32>,
    /// Features of the host.
    pub host: Vec<f32>,
    /// The socket of each VM.
    pub socket: Vec<usize>,
    /// For each VM, what the one who knows says that it needs.
    pub actions: Vec<[f32; ACTIONS]>,
    /// Which of those count for it.
    pub counts: Vec<[bool; ACTIONS]>,
    /// For each VM, what forecasts of each quantity are told against.
    pub level: Vec<[Option<f32>; QUANTITIES.len()]>,
    /// For each VM, what came: the mean of each quantity until each horizon.
    pub came: Vec<[[Option<f32>; HORIZONS.len()]; QUANTITIES.len()]>,
}

/// Who decides while samples are taken.
#[derive(Debug, Clone)]
pub enum Actor {
    /// The one who knows.
    Expert,
    /// The network.
    Pupil(Arc<Network>),
}

/// Runs `scenario` and takes a sample every `every` cycles.
///
/// # Errors
/// When the scenario cannot run.
pub fn collect(scenario: &Scenario, actor: &Actor, every: u64) -> Result<(Vec<Sample>, f64), RunError> {
    let notes = Arc::new(Mutex::new(Notes::default()));
    let watcher = Watcher {
        expert: Expert::new(scenario),
        actor: actor.clone(),
        planner: Planner::new(PlannerTuning::default()),
        features: Features::default(),
        scratch: Scratch::default(),
        notes: Arc::clone(&notes),
        every,
        cycle: 0,
    };
    let mut run = Run::of(scenario, "watcher", Box::new(watcher), false)?;
    while !run.is_over() {
        run.tick(&Still)?;
    }
    let utility = run.finish().score.utility;
    let mut notes = notes.lock().map(|mut notes| std::mem::take(&mut *notes)).unwrap_or_default();
    notes.look_back();
    Ok((notes.samples, utility))
}

/// Which actions mean anything for each VM.
pub(super) fn counts(view: &View<'_>) -> Vec<[bool; ACTIONS]> {
    let of = |spec: &VmSpec| {
        let (gpu, devices) = (spec.gpu_slices.limit > 0, !spec.devices.is_empty());
        let mut counts = [true; ACTIONS];
        (counts[7], counts[8], counts[9], counts[10]) = (devices, gpu, gpu, gpu || devices);
        counts
    };
    view.world.vms.iter().map(of).collect()
}

/// What was seen of a VM at a moment.
type Seen = (HostTime, [Option<f32>; QUANTITIES.len()]);

/// Samples of one run, and what was seen all along.
#[derive(Default)]
pub(super) struct Notes {
    pub(super) samples: Vec<Sample>,
    /// When each was taken, and of which VMs.
    pub(super) taken: Vec<(HostTime, Vec<VmId>)>,
    /// What was seen of each VM, in order of time.
    series: BTreeMap<VmId, Vec<Seen>>,
}

impl Notes {
    /// Notes what is seen of every VM now; gives what forecasts are told against.
    pub(super) fn look(&mut self, view: &View<'_>) -> Vec<[Option<f32>; QUANTITIES.len()]> {
        for (position, spec) in view.world.vms.iter().enumerate() {
            let values = seen(view, position);
            self.series.entry(spec.id).or_default().push((view.snapshot.at, values));
        }
        (0..view.world.vms.len()).map(|position| level(view, position)).collect()
    }

    /// Takes a sample, of which `came` is filled in later.
    pub(super) fn add(&mut self, view: &View<'_>, sample: Sample) {
        self.samples.push(sample);
        self.taken.push((view.snapshot.at, view.world.vms.iter().map(|spec| spec.id).collect()));
    }

    /// Fills in what came after each sample.
    pub(super) fn look_back(&mut self) {
        for (sample, (at, vms)) in self.samples.iter_mut().zip(&self.taken) {
            sample.came = vms
                .iter()
                .map(|vm| {
                    let series = self.series.get(vm).map_or(&[][..], Vec::as_slice);
                    let from = series.partition_point(|(time, _)| time <= at);
                    std::array::from_fn(|quantity| {
                        std::array::from_fn(|horizon| mean_until(&series[from..], *at, quantity, horizon))
                    })
                })
                .collect();
        }
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
fn mean_until(series: &[Seen], at: HostTime, quantity: usize, horizon: usize) -> Option<f32> {
    let until = at + Duration::from_secs_f64(HORIZONS[horizon]);
    // What lies beyond the end of the run did not come.
    series.last().filter(|(last, _)| *last >= until)?;
    let (mut sum, mut count) = (0.0, 0);
    for (time, values) in series {
        if *time > until {
            break;
        }
        if let Some(value) = values[quantity] {
            sum += f64::from(value);
            count += 1;
        }
    }
    (count > 0).then(|| (sum / f64::from(count)) as f32)
}

/// Decides as the actor would, and takes notes.
struct Watcher {
    expert: Expert,
    actor: Actor,
    planner: Planner,
    features: Features,
    scratch: Scratch,
    notes: Arc<Mutex<Notes>>,
    every: u64,
    cycle: u64,
}

impl Watcher {
    fn note(&self, view: &View<'_>, sampled: bool) {
        let Ok(mut notes) = self.notes.lock() else { return };
        let all = notes.look(view);
        if !sampled {
            return;
        }
        let needs = self.expert.needs(view);
        let actions = needs
            .iter()
            .enumerate()
            .map(|(position, need)| Anchor::of(view, position).actions(need))
            .collect();
        let counts = counts(view);
        let sample = Sample {
            features: self.features.per_vm.clone(),
            host: self.features.host.clone(),
            socket: self.features.socket.clone(),
            actions,
            counts,
            level: all,
            came: Vec::new(),
        };
        notes.add(view, sample);
    }
}

impl Policy for Watcher {
    fn name(&self) -> &'static str {
        "watcher"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let sampled = self.cycle.is_multiple_of(self.every.max(1));
        self.cycle += 1;
        let acts = matches!(self.actor, Actor::Pupil(_));
        if acts || sampled {
            self.features.observe(view);
        }
        self.note(view, sampled);
        match &self.actor {
            Actor::Expert => self.expert.decide(view),
            Actor::Pupil(network) => {
                let batch = Batch {
                    features: &self.features.per_vm,
                    host: &self.features.host,
                    socket: &self.features.socket,
                };
                let outputs = network.forward(&batch, &mut self.scratch);
                let needs: Vec<_> = outputs
                    .unwrap_or_default()
                    .chunks_exact(OUTPUTS)
                    .enumerate()
                    .map(|(position, row)| asked(view, position, &row[FORECASTS..]))
                    .collect();
                self.planner.decide(view, &needs)
            }
        }
    }
}
