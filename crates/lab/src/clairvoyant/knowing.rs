//! A controller that knows what will be asked of every VM, and how its program responds.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::{Application, Fit, Profiles};
use halcyon_model::topology::{Device, DeviceClass};
use halcyon_model::{
    DeviceId, DeviceMove, Family, GpuInstance, HostTime, Objective, Proposal, Reason, VmId, VmSpec, VmWish,
    World,
};
use halcyon_policy::{Foresight, Lfoc, Policy, Reactive, Tuning, Ucp, View};
use halcyon_sim::{Outlook, Service, outlook};

use super::slices::{Worth, divide};
use crate::bound::{Bound, LONGEST_BOUND, bound};
use crate::scenario::Scenario;

/// How often GPU slices are looked at.
const GPU_PACE: Duration = Duration::from_secs(30);
/// How far ahead devices are looked at.
const DEVICES_AHEAD: Duration = Duration::from_secs(600);
/// Moments that are looked at in the time that comes, about.
const LOOKS: usize = 150;
/// By how much a VM that waits for devices or a GPU tries to do more than those can feed.
const PROBE: f64 = 1.1;

/// All that will be asked, and of whom.
#[derive(Debug)]
pub(super) struct Future {
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
    pub(super) fn of(scenario: &Scenario) -> Self {
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
            bound: (scenario.duration <= LONGEST_BOUND).then(|| bound(scenario)),
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
}

/// What the hand-made controller asks of the future.
#[derive(Debug)]
struct Known {
    future: Arc<Future>,
    /// Where each VM that is there now stands in the future's lists.
    present: Vec<usize>,
    headroom: f64,
    /// Whether CPU goes first to whom the relaxation gives it.
    ranked: bool,
}

impl Foresight for Known {
    fn follow(&mut self, world: World<'_>) {
        let same = self.present.len() == world.vms.len()
            && self
                .present
                .iter()
                .zip(world.vms)
                .all(|(index, spec)| self.future.specs[*index].id == spec.id);
        if !same {
            self.present = world.vms.iter().filter_map(|spec| self.future.index(spec.id)).collect();
        }
    }

    fn cpu(&self, position: usize, from: HostTime, to: HostTime) -> f64 {
        let Some(index) = self.present.get(position) else { return 0.0 };
        let coming = self.future.between(&self.future.outlooks[*index].arrival, from, to);
        1000.0 * (1.0 + self.headroom) * f64::from(coming.iter().copied().fold(0.0, f32::max))
    }

    fn working_set(&self, position: usize, from: HostTime, to: HostTime) -> f64 {
        let Some(index) = self.present.get(position) else { return 0.0 };
        let coming = self.future.between(&self.future.outlooks[*index].working_set, from, to);
        f64::from(coming.iter().copied().fold(0.0, f32::max))
    }

    fn rank(&self, position: usize, now: HostTime) -> f64 {
        let Some(index) = self.present.get(position).filter(|_| self.ranked) else { return 1.0 };
        let Some(target) = self.future.target(*index, now) else { return 1.0 };
        let coming =
            self.future.between(&self.future.outlooks[*index].arrival, now, now + Duration::from_secs(60));
        #[allow(clippy::cast_precision_loss)]
        let mean = coming.iter().map(|arrival| f64::from(*arrival)).sum::<f64>() / coming.len().max(1) as f64;
        if mean <= 0.0 { 1.0 } else { (target.cpu / mean).clamp(0.05, 1.0) }
    }
}

/// How the cache is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum CacheManner {
    Shared,
    Ucp,
    Lfoc,
}

/// How a knowing controller goes about it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Manner {
    cache: CacheManner,
    dead_band: f64,
    memory_headroom: f64,
    cpu_headroom: f64,
    latency_boost: f64,
    throttles: bool,
    ranked: bool,
    /// How far ahead GPU slices are divided by what they will be worth; as `reactive` does it where not.
    slices_ahead_s: Option<u64>,
    fabric_pace_s: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            cache: CacheManner::Shared,
            dead_band: 0.3,
            memory_headroom: 0.02,
            cpu_headroom: 1.0,
            latency_boost: 4.0,
            throttles: false,
            ranked: false,
            slices_ahead_s: Some(600),
            fabric_pace_s: 60,
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
    pub(super) const STAGES: [&'static [Change]; 6] = [
        &[|_| {}, |manner| manner.latency_boost = 16.0, |manner| manner.latency_boost = 1.5],
        &[|manner| manner.cache = CacheManner::Ucp, |manner| manner.cache = CacheManner::Lfoc],
        &[|manner| manner.ranked = true, |manner| manner.cpu_headroom = 3.0],
        &[|manner| manner.slices_ahead_s = Some(200), |manner| manner.slices_ahead_s = None],
        &[|manner| manner.throttles = true],
        &[|manner| manner.memory_headroom = 0.08, |manner| manner.fabric_pace_s = 20],
    ];

    /// Whether it comes to the same as another on a host without GPUs.
    pub(super) fn differs_in_slices(&self, other: &Self) -> bool {
        self.slices_ahead_s != other.slices_ahead_s
    }
}

/// The controller.
pub(super) struct Knowing {
    future: Arc<Future>,
    base: Reactive,
    cache: Option<Box<dyn Policy + Send>>,
    slices_ahead: Option<Duration>,
    slices_at: Option<HostTime>,
    devices_at: Option<HostTime>,
    /// The VMs that are there, labelled.
    labelled: Vec<VmSpec>,
}

impl Knowing {
    pub(super) fn new(future: Arc<Future>, manner: Manner) -> Self {
        let tuning = Tuning {
            dead_band: manner.dead_band,
            memory_headroom: manner.memory_headroom,
            cpu_headroom: manner.cpu_headroom,
            latency_boost: manner.latency_boost,
            bandwidth_high: if manner.throttles { 0.9 } else { f64::INFINITY },
            fabric_pace: Duration::from_secs(manner.fabric_pace_s),
            ..Tuning::default()
        };
        let known =
            Known { future: Arc::clone(&future), present: Vec::new(), headroom: 0.0, ranked: manner.ranked };
        Self {
            base: Reactive::clairvoyant(Box::new(known), tuning),
            cache: match manner.cache {
                CacheManner::Shared => None,
                CacheManner::Ucp => Some(Box::new(Ucp::default())),
                CacheManner::Lfoc => Some(Box::new(Lfoc::default())),
            },
            slices_ahead: manner.slices_ahead_s.map(Duration::from_secs),
            slices_at: None,
            devices_at: None,
            labelled: Vec::new(),
            future,
        }
    }

    fn divide_gpus(&self, view: &View<'_>, ahead: Duration) -> Option<Vec<GpuInstance>> {
        let (future, vms, now) = (&self.future, view.world.vms, view.snapshot.at);
        let speed = |position: usize, slices: u32| {
            let index = future.index(vms[position].id);
            let response = index.and_then(|index| future.applications[index].response.gpu);
            response.map_or(0.0, |response| response.speed(slices))
        };
        let value = |position: usize, speed: f64| {
            let index = future.index(vms[position].id);
            index.map_or(0.0, |index| future.worth_of_gpu(index, speed, now, ahead))
        };
        let worth = Worth { speed: &speed, value: &value, ahead_s: ahead.as_secs_f64() };
        divide(view.world, &view.snapshot.assignment, &worth)
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

/// Seconds of a VM's utility that a device must be worth to its taker beyond what its owner loses.
const WORTH_A_MOVE: f64 = 5.0;
/// Devices of a class that change hands at once, at most.
const MOST_MOVES: usize = 8;

/// Devices go to who will make most of them.
fn hand_over(future: &Future, view: &View<'_>) -> Vec<DeviceMove> {
    DeviceClass::ALL.into_iter().flat_map(|(class, _)| hand_over_class(future, view, class)).collect()
}

#[allow(clippy::cast_precision_loss)]
fn hand_over_class(future: &Future, view: &View<'_>, class: DeviceClass) -> Vec<DeviceMove> {
    let (world, held, now) = (view.world, &view.snapshot.assignment, view.snapshot.at);
    let fabric = world.topology.fabric();
    let each = |spec: &VmSpec, class: DeviceClass| {
        let of_class = fabric.devices.iter().filter(|device| device.class == class);
        let fastest = of_class.map(|device| device.bandwidth).max().unwrap_or_default();
        spec.wish(class).map_or(0.0, |wish| wish.bandwidth.limit.min(fastest).as_f64())
    };
    let mut owners: Vec<Option<usize>> =
        held.devices.iter().map(|holding| holding.owner.and_then(|vm| world.position(vm))).collect();
    let movable = |device: &Device| {
        device.class == class
            && device.hot_plug
            && fabric.is_assignable(device.id)
            && fabric.companions(device.id).len() == 1
    };
    let mut known: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut worth = |position: usize, count: usize| {
        *known.entry((position, count)).or_insert_with(|| {
            let spec = &world.vms[position];
            let of_others = fabric.devices.iter().zip(&held.devices);
            let of_others =
                of_others.filter(|(device, holding)| device.class != class && holding.owner == Some(spec.id));
            let others: f64 = of_others.map(|(device, _)| each(spec, device.class)).sum();
            let carried = others + count as f64 * each(spec, class);
            future.index(spec.id).map_or(0.0, |index| future.worth_of_devices(index, carried, now))
        })
    };
    let count = |owners: &[Option<usize>], position: usize| {
        let of_class = fabric.devices.iter().zip(owners).filter(|(device, _)| device.class == class);
        of_class.filter(|(_, owner)| **owner == Some(position)).count()
    };
    let mut moves: Vec<DeviceMove> = Vec::new();
    while moves.len() < MOST_MOVES {
        let mut best: Option<(f64, usize, DeviceId)> = None;
        for (taker, spec) in world.vms.iter().enumerate() {
            let has = count(&owners, taker);
            if spec.wish(class).is_none_or(|wish| has >= wish.count.limit as usize) {
                continue;
            }
            let gain = worth(taker, has + 1) - worth(taker, has);
            if gain <= 0.0 || best.as_ref().is_some_and(|(most, ..)| gain <= *most) {
                continue;
            }
            for device in fabric.devices.iter().filter(|device| movable(device)) {
                let owner = owners[device.id.index()];
                let moved = moves.iter().any(|made| made.device == device.id);
                if moved || owner == Some(taker) {
                    continue;
                }
                let mut net = gain;
                if let Some(owner) = owner {
                    let spec = &world.vms[owner];
                    let has = count(&owners, owner);
                    if spec.wish(class).is_some_and(|wish| has <= wish.count.reservation as usize) {
                        continue;
                    }
                    let cost = (spec.weight.as_f64() + world.vms[taker].weight.as_f64()) * WORTH_A_MOVE;
                    net -= worth(owner, has) - worth(owner, has - 1);
                    net -= cost / DEVICES_AHEAD.as_secs_f64();
                } else {
                    // Nobody loses anything.
                    net -= 1e-9;
                }
                if fabric.socket(device.id) != Some(held.holdings[taker].socket) {
                    net -= 1e-9;
                }
                if net > 0.0 && best.as_ref().is_none_or(|(most, ..)| net > *most) {
                    best = Some((net, taker, device.id));
                }
            }
        }
        let Some((_, taker, device)) = best else { break };
        owners[device.index()] = Some(taker);
        moves.push(DeviceMove { device, to: Some(world.vms[taker].id), reason: Reason::Fit });
    }
    moves
}

impl Policy for Knowing {
    fn name(&self) -> &'static str {
        "clairvoyant"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.label(view.world);
        let world = World { vms: &self.labelled, ..view.world };
        let view = &View { world, profiles: &self.future.profiles, ..*view };
        let mut proposal = self.base.decide(view);
        if let Some(cache) = &mut self.cache {
            let cached = cache.decide(view);
            proposal.classes = cached.classes;
            for wish in cached.vms.into_iter().filter(|wish| wish.class.is_some()) {
                match proposal.vms.iter_mut().find(|known| known.vm == wish.vm) {
                    Some(known) => known.class = wish.class,
                    None => {
                        proposal.vms.push(VmWish { vm: wish.vm, class: wish.class, ..VmWish::default() });
                    }
                }
            }
        }
        let now = view.snapshot.at;
        let pace = Duration::from_secs(60);
        if self.devices_at.is_none_or(|last| now >= last + pace) && !view.frozen.contains(Family::Fabric) {
            self.devices_at = Some(now);
            let moves = hand_over(&self.future, view);
            if !moves.is_empty() {
                proposal.devices = moves;
            }
        } else {
            proposal.devices.clear();
        }
        if let Some(ahead) = self.slices_ahead.filter(|_| !view.world.topology.gpus().is_empty()) {
            proposal.gpu_instances = None;
            let due = self.slices_at.is_none_or(|last| now >= last + GPU_PACE);
            if due && !view.frozen.contains(Family::Gpu) {
                self.slices_at = Some(now);
                proposal.gpu_instances = self.divide_gpus(view, ahead).map(|made| (made, Reason::Fit));
            }
        }
        proposal
    }
}
