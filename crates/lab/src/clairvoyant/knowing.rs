//! A controller that knows what will be asked of every VM, and how its program responds.

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::{Application, Fit, Profiles};
use halcyon_model::topology::{Device, DeviceClass};
use halcyon_model::{DeviceMove, Family, HostTime, Objective, Proposal, Reason, VmId, VmSpec, VmWish, World};
use halcyon_policy::{Foresight, Lfoc, Policy, Reactive, Tuning, Ucp, View, divide_slices};
use halcyon_sim::{Outlook, Service, outlook};

use crate::bound::{Bound, LONGEST_BOUND, bound};
use crate::scenario::Scenario;

/// How often GPU slices are looked at, and how far ahead.
const GPU_PACE: Duration = Duration::from_secs(300);
const GPU_AHEAD: Duration = Duration::from_secs(900);

/// All that will be asked, and of whom.
#[derive(Debug)]
pub(super) struct Future {
    /// Every VM that is ever there, by id, labelled with the program that it really runs.
    pub(super) specs: Vec<VmSpec>,
    pub(super) applications: Vec<halcyon_sim::Application>,
    pub(super) outlooks: Vec<Outlook>,
    pub(super) profiles: Profiles,
    bound: Option<Bound>,
    step: f64,
    /// What the host carries for a VM without devices, in bytes per second.
    paravirtual: f64,
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
        }
    }

    pub(super) fn index(&self, vm: VmId) -> Option<usize> {
        self.specs.binary_search_by_key(&vm, |spec| spec.id).ok()
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn between<'a>(&self, series: &'a [f32], from: HostTime, to: HostTime) -> &'a [f32] {
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

    /// How many devices of a class a VM will need in the time that comes, and what they are worth to it.
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    fn devices_needed(
        &self,
        spec: &VmSpec,
        class: DeviceClass,
        world: World<'_>,
        now: HostTime,
    ) -> (usize, f64) {
        let (Some(index), Some(wish)) = (self.index(spec.id), spec.wish(class)) else { return (0, 0.0) };
        let mut coming = self.between(&self.outlooks[index].arrival, now, now + GPU_AHEAD).to_vec();
        coming.sort_by(f32::total_cmp);
        let high = coming.get(coming.len() * 9 / 10).copied().unwrap_or(0.0);
        let cores = spec.cpu.limit.as_f64() / 1000.0;
        let traffic = f64::from(high).min(cores) * self.applications[index].io_bytes;
        let missing = (traffic - 0.9 * self.paravirtual).max(0.0);
        let fabric = world.topology.fabric();
        let fastest =
            fabric.devices.iter().filter(|device| device.class == class).map(|device| device.bandwidth).max();
        let each = fastest.unwrap_or_default().min(wish.bandwidth.limit).as_f64().max(1.0);
        let count = ((missing / each).ceil() as usize).min(wish.count.limit as usize);
        let worth = spec.weight.as_f64() * missing / traffic.max(1.0);
        (count.max(wish.count.reservation as usize), worth)
    }

    /// What so many slices are worth to a VM in the time that comes, in utility times weight.
    pub(super) fn worth_of_slices(&self, index: usize, slices: u32, now: HostTime) -> f64 {
        let (spec, application) = (&self.specs[index], &self.applications[index]);
        let Some(gpu) = application.response.gpu.filter(|_| application.gpu_seconds > 0.0) else {
            return 0.0;
        };
        let speed = gpu.speed(slices.min(gpu.whole));
        let cores = spec.cpu.limit.as_f64() / 1000.0;
        let request = application.request.as_secs_f64();
        let served = |arrival: f64| {
            let fed = (speed / (arrival * application.gpu_seconds)).min(1.0);
            match spec.objective {
                Objective::Latency { p99 } => {
                    let elsewhere = application.gpu_seconds / speed.max(1e-6) * request;
                    let capacity = cores * fed;
                    let service =
                        Service { arrival, capacity, cores, speed: fed, backlog: 0.0, request, elsewhere };
                    arrival * service.in_time(p99.as_secs_f64())
                }
                Objective::Throughput | Objective::BestEffort => arrival * fed,
            }
        };
        let coming = self.between(&self.outlooks[index].arrival, now, now + GPU_AHEAD);
        let coming: Vec<f64> = coming
            .iter()
            .step_by(5)
            .map(|arrival| f64::from(*arrival))
            .filter(|arrival| *arrival > 0.0)
            .collect();
        let all: f64 = coming.iter().sum();
        if all <= 0.0 {
            return 0.0;
        }
        spec.weight.as_f64() * coming.into_iter().map(served).sum::<f64>() / all
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
    slices: bool,
    fabric_pace_s: u64,
}

impl Default for Manner {
    fn default() -> Self {
        Self {
            cache: CacheManner::Shared,
            dead_band: 0.3,
            memory_headroom: 0.02,
            cpu_headroom: 0.3,
            latency_boost: 4.0,
            throttles: false,
            ranked: false,
            slices: true,
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
    pub(super) const STAGES: [&'static [Change]; 5] = [
        &[|_| {}, |manner| manner.latency_boost = 16.0, |manner| manner.latency_boost = 1.5],
        &[|_| {}, |manner| manner.cache = CacheManner::Ucp, |manner| manner.cache = CacheManner::Lfoc],
        &[|_| {}, |manner| manner.ranked = true, |manner| manner.cpu_headroom = 1.0],
        &[|_| {}, |manner| manner.throttles = true, |manner| manner.slices = false],
        &[|_| {}, |manner| manner.memory_headroom = 0.08, |manner| manner.fabric_pace_s = 20],
    ];
}

/// The controller.
pub(super) struct Knowing {
    future: Arc<Future>,
    base: Reactive,
    cache: Option<Box<dyn Policy + Send>>,
    slices: bool,
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
            slices: manner.slices,
            slices_at: None,
            devices_at: None,
            labelled: Vec::new(),
            future,
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

/// Devices that somebody wants and does not need go to who will need them, with most worth first.
fn hand_over(future: &Future, view: &View<'_>) -> Vec<DeviceMove> {
    let (world, held, now) = (view.world, &view.snapshot.assignment, view.snapshot.at);
    let fabric = world.topology.fabric();
    let mut moves = Vec::new();
    for (class, _) in DeviceClass::ALL {
        let movable = |device: &&Device| {
            device.class == class
                && device.hot_plug
                && fabric.is_assignable(device.id)
                && fabric.companions(device.id).len() == 1
        };
        let devices: Vec<&Device> = fabric.devices.iter().filter(movable).collect();
        let needs: Vec<(usize, f64)> =
            world.vms.iter().map(|spec| future.devices_needed(spec, class, world, now)).collect();
        let owner = |device: &Device| held.devices[device.id.index()].owner;
        let mut counts: Vec<usize> = world
            .vms
            .iter()
            .map(|spec| {
                fabric.devices.iter().filter(|d| d.class == class && owner(d) == Some(spec.id)).count()
            })
            .collect();
        let mut order: Vec<usize> = (0..needs.len()).filter(|at| counts[*at] < needs[*at].0).collect();
        order.sort_by(|a, b| needs[*b].1.total_cmp(&needs[*a].1).then(a.cmp(b)));
        let mut given = vec![false; devices.len()];
        for taker in order {
            while counts[taker] < needs[taker].0 {
                let socket = held.holdings[taker].socket;
                let spare = |at: &usize| {
                    !given[*at]
                        && owner(devices[*at]).is_none_or(|vm| {
                            world
                                .position(vm)
                                .is_none_or(|owner| owner != taker && counts[owner] > needs[owner].0)
                        })
                };
                let near = |at: &usize| {
                    let device = devices[*at];
                    (owner(device).is_some(), fabric.socket(device.id) != Some(socket), device.id)
                };
                let Some(found) = (0..devices.len()).filter(spare).min_by_key(near) else { break };
                given[found] = true;
                if let Some(position) = owner(devices[found]).and_then(|vm| world.position(vm)) {
                    counts[position] -= 1;
                }
                counts[taker] += 1;
                let to = Some(world.vms[taker].id);
                moves.push(DeviceMove { device: devices[found].id, to, reason: Reason::Fit });
            }
        }
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
        if self.slices && !view.world.topology.gpus().is_empty() {
            proposal.gpu_instances = None;
            let due = self.slices_at.is_none_or(|last| now >= last + GPU_PACE);
            if due && !view.frozen.contains(Family::Gpu) {
                self.slices_at = Some(now);
                let future = &self.future;
                let value = |position: usize, slices: u32| {
                    let index = future.index(view.world.vms[position].id);
                    index.map_or(0.0, |index| future.worth_of_slices(index, slices, now))
                };
                let instances = divide_slices(world, &view.snapshot.assignment, value);
                proposal.gpu_instances = Some((instances, Reason::Fit));
            }
        }
        proposal
    }
}
