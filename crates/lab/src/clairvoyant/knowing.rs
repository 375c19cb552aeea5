//! A controller that knows what will be asked of every VM, and how its program responds.

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::{Application, Fit, Profiles};
use halcyon_model::{HostTime, Objective, Proposal, VmId, VmSpec, World};
use halcyon_policy::{Need, Planner, PlannerTuning, Policy, View, Worth};
use halcyon_sim::{Outlook, Service, outlook};

use crate::bound::{Bound, LONGEST_BOUND, bound};
use crate::scenario::Scenario;

/// How far ahead devices are looked at.
const DEVICES_AHEAD: Duration = Duration::from_secs(600);
/// Moments that are looked at in the time that comes, about.
const LOOKS: usize = 150;
/// By how much a VM that waits for devices or a GPU tries to do more than those can feed.
const PROBE: f64 = 1.1;

/// All that will be asked, and of whom.
#[derive(Debug)]
pub(crate) struct Future {
    /// Every VM that is ever there, by id, labelled with the program that it really runs.
    specs: Vec<VmSpec>,
    applications: Vec<halcyon_sim::Application>,
    outlooks: Vec<Outlook>,
    profiles: Profiles,
    bound: Option<Bound>,
    step: f64,
    /// What the host carries for a VM without devices, in bytes per second.
    paravirtual: f64,
    /// How long somebody waits for an answer, in seconds.
    patience: f64,
}

impl Future {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(crate) fn of(scenario: &Scenario, bounded: bool) -> Self {
        let steps =
            (scenario.duration.as_secs_f64() / scenario.parameters.step.as_secs_f64()).ceil() as usize;
        let guests = &scenario.guests;
        let outlook = |guest| outlook(guest, &scenario.topology, &scenario.parameters, scenario.seed, steps);
        let mut profiles = Profiles::default();
        let label = |guest: &halcyon_sim::Guest| {
            let name = format!("of vm {}", guest.spec.id.0);
            profiles.insert(Application {
                name: name.clone(),
                source: String::new(),
                response: guest.workload.application.response,
                fit: Fit::default(),
            });
            VmSpec { application: Some(name), ..guest.spec.clone() }
        };
        let specs = guests.iter().map(label).collect();
        Self {
            specs,
            applications: guests.iter().map(|guest| guest.workload.application.clone()).collect(),
            outlooks: guests.iter().map(outlook).collect(),
            profiles,
            bound: (bounded && scenario.duration <= LONGEST_BOUND).then(|| bound(scenario)),
            step: scenario.parameters.step.as_secs_f64(),
            paravirtual: scenario.parameters.paravirtual_bytes_s,
            patience: scenario.parameters.patience.as_secs_f64(),
        }
    }

    fn index(&self, vm: VmId) -> Option<usize> {
        self.specs.binary_search_by_key(&vm, |spec| spec.id).ok()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn between<'a>(&self, series: &'a [f32], from: HostTime, to: HostTime) -> &'a [f32] {
        let at = |time: HostTime| ((time.as_secs_f64() / self.step) as usize).min(series.len());
        &series[at(from)..at(to)]
    }

    /// What the relaxation gives to a VM now.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn target(&self, index: usize, now: HostTime) -> Option<crate::bound::Target> {
        let bound = self.bound.as_ref()?;
        let stretch = (now.as_secs_f64() / bound.stretch.as_secs_f64().max(1e-9)) as usize;
        bound.targets.get(stretch)?.get(index).copied()
    }

    /// The mean utility of a VM in the time that comes, times its weight, if no more than `feed` of its
    /// work, in cores, can be fed by devices or a GPU, where each request spends `elsewhere` seconds.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    fn worth(&self, index: usize, (feed, elsewhere): (f64, f64), now: HostTime, ahead: Duration) -> f64 {
        let (spec, application) = (&self.specs[index], &self.applications[index]);
        let coming = self.between(&self.outlooks[index].arrival, now, now + ahead);
        let stride = (coming.len() / LOOKS).max(1);
        let seconds = stride as f64 * self.step;
        let cores = spec.cpu.limit.as_f64() / 1000.0;
        let request = application.request.as_secs_f64();
        let patience = self.patience * cores;
        let (mut backlog, mut alone, mut good, mut all) = (0.0, 0.0, 0.0, 0.0);
        for arrival in coming.iter().step_by(stride).map(|arrival| f64::from(*arrival)) {
            let done = feed.min(cores).min(arrival + backlog / seconds);
            let waiting = backlog;
            backlog += (arrival - done) * seconds;
            if let Objective::Latency { p99 } = spec.objective {
                let capacity = cores.min(PROBE * feed).max(1e-9);
                let backlog = f64::midpoint(waiting, backlog);
                let service = Service { arrival, capacity, cores, speed: 1.0, backlog, request, elsewhere };
                good += arrival * service.in_time(p99.as_secs_f64());
                all += arrival;
            } else {
                let most = cores.min(arrival + alone / seconds);
                alone += (arrival - most) * seconds;
                good += done.min(most);
                all += most;
            }
            backlog = backlog.min(patience);
        }
        if all > 0.0 { spec.weight.as_f64() * good / all } else { 0.0 }
    }

    /// What a speed of its GPU instances, in whole GPUs, is worth to a VM.
    fn worth_of_gpu(&self, index: usize, speed: f64, now: HostTime, ahead: Duration) -> f64 {
        let application = &self.applications[index];
        if application.gpu_seconds <= 0.0 {
            return 0.0;
        }
        let elsewhere = application.gpu_seconds / speed.max(1e-6) * application.request.as_secs_f64();
        self.worth(index, (speed / application.gpu_seconds, elsewhere), now, ahead)
    }

    /// What is worth what a VM's devices can carry together, in bytes per second; nothing for a VM whose
    /// traffic the host carries anyway.
    fn worth_of_devices(&self, index: usize, devices: f64, now: HostTime) -> f64 {
        let bytes = self.applications[index].io_bytes;
        let coming = self.between(&self.outlooks[index].arrival, now, now + DEVICES_AHEAD);
        let most = f64::from(coming.iter().copied().fold(0.0, f32::max));
        if bytes <= 0.0 || most * bytes <= 0.9 * self.paravirtual {
            return 0.0;
        }
        self.worth(index, ((self.paravirtual + devices) / bytes, 0.0), now, DEVICES_AHEAD)
    }

    /// The work that arrives in nine of ten steps at most, in cores.
    fn high(&self, index: usize, now: HostTime, ahead: Duration) -> f64 {
        let mut coming = self.between(&self.outlooks[index].arrival, now, now + ahead).to_vec();
        coming.sort_by(f32::total_cmp);
        f64::from(coming.get(coming.len() * 9 / 10).copied().unwrap_or(0.0))
    }

    /// The speed of a GPU with which a VM that is asked for so much does about all it can, in whole GPUs,
    /// and how steeply its worth falls below.
    fn gpu_need(&self, index: usize, spec: &VmSpec, high: f64, now: HostTime) -> (f64, f64) {
        let application = &self.applications[index];
        let Some(response) = application.response.gpu.filter(|_| spec.gpu_slices.limit > 0) else {
            return (0.0, 1.0);
        };
        let Objective::Latency { .. } = spec.objective else { return (high * application.gpu_seconds, 1.0) };
        let ahead = Duration::from_secs(600);
        let speeds: Vec<f64> =
            (1..=spec.gpu_slices.limit.min(64)).map(|slices| response.speed(slices)).collect();
        let worth: Vec<f64> =
            speeds.iter().map(|speed| self.worth_of_gpu(index, *speed, now, ahead)).collect();
        let most = worth.iter().copied().fold(0.0, f64::max);
        let enough = speeds.iter().zip(&worth).find(|(_, worth)| **worth >= 0.97 * most);
        (enough.map_or(0.0, |(speed, _)| *speed), 6.0)
    }
}

/// How a knowing controller goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Manner {
    /// Added to what will be asked of the CPUs, as a share of it.
    cpu_headroom: f64,
    /// To which power CPU goes rather to who needs little.
    density: f64,
    /// How much more a VM with a latency objective counts where CPU time is short.
    latency_boost: f64,
    /// Whether CPU goes first to whom the relaxation gives it.
    ranked: bool,
    /// Whether VMs that fill the memory channels are throttled.
    throttles: bool,
    /// How much a VM without a latency objective counts where the cache is divided.
    cache: f64,
    /// What dividing the cache anew must save.
    cache_gain: f64,
    /// Added to the working set, as a share of it.
    memory_headroom: f64,
    /// The share of its CPUs up to which a VM may be kept busy by paging.
    paging: f64,
    /// How much more a VM with a latency objective counts where memory is short.
    memory_boost: f64,
    /// How far ahead GPU slices are divided by what they will be worth.
    slices_ahead_s: u64,
    device_pace_s: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            cpu_headroom: 1.0,
            density: 0.0,
            latency_boost: 4.0,
            ranked: false,
            throttles: false,
            cache: 0.5,
            cache_gain: 0.05,
            memory_headroom: 0.02,
            paging: 0.6,
            memory_boost: 2.0,
            slices_ahead_s: 600,
            device_pace_s: 60,
        }
    }
}

/// One thing that is done differently.
pub(super) type Change = fn(&mut Manner);

impl Manner {
    /// The same, but for one thing.
    pub(super) fn with(mut self, change: Change) -> Self {
        change(&mut self);
        self
    }

    /// Alternatives, one group after another.
    pub(super) const STAGES: [&'static [Change]; 9] = [
        &[|_| {}, |manner| manner.latency_boost = 16.0, |manner| manner.latency_boost = 1.5],
        &[|manner| manner.cache_gain = f64::INFINITY, |manner| manner.cache = 2.0],
        &[|manner| manner.cpu_headroom = 3.0, |manner| manner.ranked = true],
        &[|manner| manner.density = 0.5, |manner| manner.density = 0.25],
        &[|manner| manner.slices_ahead_s = 200, |manner| manner.slices_ahead_s = 1200],
        &[|manner| manner.throttles = true],
        &[|manner| manner.memory_headroom = 0.06, |manner| manner.memory_headroom = 0.0],
        &[|manner| manner.paging = 0.3, |manner| manner.paging = 0.9],
        &[|manner| manner.memory_boost = 6.0, |manner| manner.device_pace_s = 20],
    ];

    /// Whether it comes to the same as another on a host without GPUs.
    pub(super) fn differs_in_slices(&self, other: &Self) -> bool {
        self.slices_ahead_s != other.slices_ahead_s
    }
}

/// The controller.
pub(crate) struct Knowing {
    future: Arc<Future>,
    planner: Planner,
    manner: Manner,
    /// The VMs that are there, labelled.
    labelled: Vec<VmSpec>,
    needs: Vec<Need>,
}

/// The time for which CPU time is divided.
const CPU_AHEAD: Duration = Duration::from_secs(5);
/// And memory, which takes its time.
const MEMORY_AHEAD: Duration = Duration::from_secs(120);
/// And devices.
const TRAFFIC_AHEAD: Duration = Duration::from_secs(900);
/// What memory is rounded up by, and reservations down, in bytes.
const MARGIN: f64 = 128.0 * 1024.0 * 1024.0;
/// The most of its memory that a VM may miss, where it has time to page.
const MOST_MISSED: f64 = 0.6;
/// Slow-down by paging, for each share of the working set that is missing; see the simulator.
const PAGING: f64 = 20.0;

impl Knowing {
    pub(crate) fn new(future: Arc<Future>, manner: Manner) -> Self {
        let mut tuning = PlannerTuning {
            cache_gain: manner.cache_gain,
            device_pace: Duration::from_secs(manner.device_pace_s),
            slices_ahead: Duration::from_secs(manner.slices_ahead_s),
            paravirtual: future.paravirtual,
            ..PlannerTuning::default()
        };
        tuning.base.latency_boost = manner.latency_boost;
        if manner.throttles {
            tuning.base.bandwidth_high = 0.9;
        }
        Self { future, planner: Planner::new(tuning), manner, labelled: Vec::new(), needs: Vec::new() }
    }

    /// What each VM that is there will need, of devices and GPUs as well.
    pub(crate) fn needs(&self, view: &View<'_>) -> Vec<Need> {
        let need = |position: usize| {
            let need = self.need(view, position);
            let (spec, now) = (&view.world.vms[position], view.snapshot.at);
            let Some(index) = self.future.index(spec.id) else { return need };
            let limit = spec.cpu.limit.as_f64() / 1000.0;
            let high = self.future.high(index, now, TRAFFIC_AHEAD).min(limit);
            let (gpu, gpu_bend) = self.future.gpu_need(index, spec, high, now);
            Need { traffic: high * self.future.applications[index].io_bytes, gpu, gpu_bend, ..need }
        };
        (0..view.world.vms.len()).map(need).collect()
    }

    /// What a VM will need of all but devices and GPUs, of which it is known what they are worth.
    #[allow(clippy::cast_precision_loss)]
    fn need(&self, view: &View<'_>, position: usize) -> Need {
        let (spec, now, future) = (&view.world.vms[position], view.snapshot.at, &self.future);
        let Some(index) = future.index(spec.id) else { return Need::as_held(view, position) };
        let outlook = &future.outlooks[index];
        let highest = |series: &[f32], ahead: Duration| {
            f64::from(future.between(series, now, now + ahead).iter().copied().fold(0.0, f32::max))
        };
        let limit = spec.cpu.limit.as_f64().max(1.0);
        // What waits already has to be worked off as well.
        let waiting = view.history.estimate(position).and_then(|known| known.cpu.last()).unwrap_or(0.0);
        let cpu = (1000.0 * highest(&outlook.arrival, CPU_AHEAD)).max(waiting).min(limit);
        let memory =
            highest(&outlook.working_set, MEMORY_AHEAD) * (1.0 + self.manner.memory_headroom) + MARGIN;
        let load = (1000.0 * highest(&outlook.arrival, MEMORY_AHEAD) / limit).clamp(0.01, 1.0);
        let may_miss = ((self.manner.paging / load - 1.0) / PAGING).clamp(0.0, MOST_MISSED);
        let enough = memory * (1.0 - may_miss);
        let critical = matches!(spec.objective, Objective::Latency { .. });
        let dear = (enough - spec.memory.reservation.as_f64()).max(MARGIN / 2.0);
        let coming = future.between(&outlook.arrival, now, now + Duration::from_secs(60));
        let mean = coming.iter().map(|work| f64::from(*work)).sum::<f64>() / coming.len().max(1) as f64;
        let boost = if critical { self.manner.memory_boost } else { 1.0 };
        let target = future.target(index, now).filter(|_| self.manner.ranked && mean > 0.0);
        Need {
            cpu: cpu * (1.0 + self.manner.cpu_headroom),
            cpu_rank: target.map_or(1.0, |target| (target.cpu / mean).clamp(0.05, 1.0))
                * libm::pow(1.0 / mean.max(0.05), self.manner.density),
            cpu_band: 0.3,
            cache: spec.weight.as_f64() * if critical { 1.0 } else { self.manner.cache * load },
            memory,
            memory_enough: enough,
            memory_rank: spec.weight.as_f64() * boost / dear,
            traffic: 0.0,
            gpu: 0.0,
            gpu_bend: 1.0,
            device_rank: 1.0,
        }
    }

    fn label(&mut self, world: World<'_>) {
        let same = self.labelled.len() == world.vms.len()
            && self.labelled.iter().zip(world.vms).all(|(labelled, spec)| labelled.id == spec.id);
        if !same {
            let labelled = |spec: &VmSpec| {
                self.future
                    .index(spec.id)
                    .map_or_else(|| spec.clone(), |index| self.future.specs[index].clone())
            };
            self.labelled = world.vms.iter().map(labelled).collect();
        }
    }
}

/// What devices and slices will be worth.
struct Coming<'a> {
    future: &'a Future,
    vms: &'a [VmSpec],
    now: HostTime,
    slices_ahead: Duration,
}

impl Worth for Coming<'_> {
    fn devices(&self, position: usize, carried: f64) -> f64 {
        let index = self.future.index(self.vms[position].id);
        index.map_or(0.0, |index| self.future.worth_of_devices(index, carried, self.now))
    }

    fn gpu_speed(&self, position: usize, slices: u32) -> f64 {
        let index = self.future.index(self.vms[position].id);
        let response = index.and_then(|index| self.future.applications[index].response.gpu);
        response.map_or(0.0, |response| response.speed(slices))
    }

    fn gpu(&self, position: usize, speed: f64) -> f64 {
        let index = self.future.index(self.vms[position].id);
        index.map_or(0.0, |index| self.future.worth_of_gpu(index, speed, self.now, self.slices_ahead))
    }
}

impl Policy for Knowing {
    fn name(&self) -> &'static str {
        "clairvoyant"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.label(view.world);
        let mut needs = std::mem::take(&mut self.needs);
        needs.clear();
        needs.extend((0..view.world.vms.len()).map(|position| self.need(view, position)));
        let world = World { vms: &self.labelled, ..view.world };
        let view = &View { world, profiles: &self.future.profiles, ..*view };
        let slices_ahead = Duration::from_secs(self.manner.slices_ahead_s);
        let coming =
            Coming { future: &self.future, vms: &self.labelled, now: view.snapshot.at, slices_ahead };
        let proposal = self.planner.decide_by(view, &needs, &coming);
        self.needs = needs;
        proposal
    }
}
