//! The simulated host: its state, its step, and what can be seen of it.

use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::{Inventory, Observe, ObserveError};
use halcyon_model::profile::Profiles;
use halcyon_model::{
    Assignment, ByteSize, Capabilities, DeviceId, HostTime, Objective, Snapshot, Topology, Violations, VmId,
    VmSample, VmSpec, check,
};

use crate::actuate::Flights;
use crate::cache::{Caches, fill_evenly};
use crate::compute::Compute;
use crate::fabric::Fabric;
use crate::gpu::Slices;
use crate::load::{Burst, Workload};
use crate::parameters::Parameters;
use crate::score::{Score, VmScore};
use crate::vm::{Alone, Vm};

/// A VM with what it is asked to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Guest {
    /// The VM.
    pub spec: VmSpec,
    /// Its program and demand.
    pub workload: Workload,
    /// When it starts.
    pub arrives: Duration,
    /// When it stops, if it does.
    pub leaves: Option<Duration>,
    /// Whether its response times are measured, and so seen by the policy.
    pub signal: bool,
}

impl Guest {
    /// A VM that is there from the start and stays, and whose response times nobody measures.
    #[must_use]
    pub const fn new(spec: VmSpec, workload: Workload) -> Self {
        Self { spec, workload, arrives: Duration::ZERO, leaves: None, signal: false }
    }
}

/// What a VM is doing in the present step, for people to look at.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct VmState {
    /// The VM.
    pub vm: VmId,
    /// Work that arrives, in cores.
    pub arrival: f64,
    /// CPU time used, in cores.
    pub cpu: f64,
    /// CPU time that it could use, in cores.
    pub cpu_wanted: f64,
    /// Work that waits, in seconds of one core.
    pub backlog: f64,
    /// Working set, in bytes.
    pub working_set: f64,
    /// Device traffic, in bytes per second.
    pub io: f64,
    /// Device traffic that it could use, in bytes per second.
    pub io_wanted: f64,
    /// Memory traffic, in bytes per second.
    pub memory_traffic: f64,
    /// Last-level cache that it fills, in bytes.
    pub cache: f64,
    /// Speed that it has with that, 0 to 1.
    pub cache_speed: f64,
    /// GPU time that it could use, in whole GPUs.
    pub gpu_wanted: f64,
    /// Speed of its slices, in whole GPUs.
    pub gpu: f64,
    /// Its utility in the present step, 0 to 1; nothing if nothing is asked of it.
    pub utility: Option<f64>,
}

/// A simulated host with VMs on it.
#[derive(Debug)]
pub struct SimHost {
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) parameters: Parameters,
    pub(crate) assignment: Assignment,
    pub(crate) vms: Vec<Vm>,
    pub(crate) compute: Compute,
    pub(crate) fabric: Fabric,
    pub(crate) caches: Caches,
    pub(crate) slices: Slices,
    /// VMs that are still to start, the next one last.
    pub(crate) coming: Vec<Guest>,
    /// VMs that are due and do not fit, in the order in which they came.
    pub(crate) outside: Vec<(VmSpec, Vm)>,
    /// What became of VMs that are gone: weight and score.
    pub(crate) gone: Vec<(VmId, f64, VmScore)>,
    pub(crate) seed: u64,
    pub(crate) flights: Flights,
    pub(crate) noise: Burst,
    pub(crate) now: HostTime,
    window_end: HostTime,
    /// Cost of changes so far, in seconds of utility times weight.
    pub(crate) charged: f64,
    pub(crate) changes: u64,
}

impl SimHost {
    /// A host on which those of `guests`, ordered by id, that are there from the beginning hold `start`.
    ///
    /// # Errors
    /// What is wrong with `start`.
    pub fn new(
        topology: Topology,
        capabilities: Capabilities,
        guests: Vec<Guest>,
        start: Assignment,
        parameters: Parameters,
        seed: u64,
    ) -> Result<Self, Violations> {
        let (mut present, mut coming): (Vec<_>, Vec<_>) =
            guests.into_iter().partition(|guest| guest.arrives.is_zero());
        coming.sort_by_key(|guest| std::cmp::Reverse((guest.arrives, guest.spec.id)));
        let vms = present.iter().map(|guest| guest.spec.clone()).collect();
        let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
        check(inventory.world(), &start)?;
        let vms = present.drain(..).zip(&start.holdings).map(|(guest, holding)| {
            let memory = holding.total_memory().as_f64();
            boot(guest, &inventory.topology, &parameters, seed, memory).1
        });
        let mut vms: Vec<Vm> = vms.collect();
        let compute = Compute::new(&inventory.topology, &start);
        fill_evenly(&inventory.topology, &compute.on_socket, &mut vms);
        let mut host = Self {
            vms,
            compute,
            fabric: Fabric::new(&inventory.topology, &start, inventory.world()),
            caches: Caches::default(),
            slices: Slices::default(),
            coming,
            outside: Vec::new(),
            gone: Vec::new(),
            seed,
            flights: Flights::default(),
            noise: Burst::new(seed, u64::MAX),
            now: Duration::ZERO,
            window_end: parameters.window,
            charged: 0.0,
            changes: 0,
            assignment: start,
            parameters,
            inventory: Arc::new(inventory),
        };
        host.follow_instances();
        Ok(host)
    }

    /// The same host, where it is known how programs respond.
    #[must_use]
    pub fn with_profiles(mut self, profiles: Arc<Profiles>) -> Self {
        let inventory = Inventory { profiles, ..Inventory::clone(&self.inventory) };
        self.inventory = Arc::new(inventory);
        self
    }

    /// Simulated time since the start.
    #[must_use]
    pub fn now(&self) -> HostTime {
        self.now
    }

    /// Who holds what, as the machine really is.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// What it is made of.
    #[must_use]
    pub fn topology(&self) -> &Topology {
        &self.inventory.topology
    }

    /// Bytes that a device moved so far.
    ///
    /// # Panics
    /// When the host has no such device.
    #[must_use]
    pub fn device_bytes(&self, device: DeviceId) -> f64 {
        self.fabric.moved(device)
    }

    /// Changes begun so far.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.changes
    }

    /// What is asked of a VM, now and in the future: for those who may know it.
    #[must_use]
    pub fn workload(&self, position: usize) -> &Workload {
        &self.vms[position].workload
    }

    /// What every VM is doing.
    pub fn states(&self) -> impl Iterator<Item = VmState> {
        self.inventory.vms.iter().zip(&self.vms).map(|(spec, vm)| VmState {
            vm: spec.id,
            arrival: vm.arrival,
            cpu: vm.cpu,
            cpu_wanted: vm.cpu_wanted,
            backlog: vm.backlog,
            working_set: vm.working_set,
            io: vm.io,
            io_wanted: vm.io_wanted,
            memory_traffic: vm.memory_traffic,
            cache: vm.cache,
            cache_speed: vm.effect.speed,
            gpu_wanted: vm.gpu_wanted,
            gpu: vm.gpu,
            utility: vm.utility,
        })
    }

    /// VMs that are due and wait at the door for room, and their utility in the present step: none at all,
    /// or nothing if nothing is asked of them.
    pub fn at_the_door(&self) -> impl Iterator<Item = (VmId, Option<f64>)> {
        self.outside.iter().map(|(spec, vm)| (spec.id, vm.utility))
    }

    /// What changes were charged so far, in seconds of utility, each times the weight of its VM.
    #[must_use]
    pub fn charged(&self) -> f64 {
        self.charged
    }

    /// How the host did so far, with every VM that was due, ordered by id; windows that are still open do
    /// not count.
    #[must_use]
    pub fn score(&self) -> Score {
        let here = self.inventory.vms.iter().zip(&self.vms);
        let outside = self.outside.iter().map(|(spec, vm)| (spec, vm));
        let known = here.chain(outside).map(|(spec, vm)| (spec.id, spec.weight.as_f64(), vm.score));
        let mut vms: Vec<_> = known.chain(self.gone.iter().copied()).collect();
        vms.sort_by_key(|(vm, ..)| *vm);
        Score::new(vms.into_iter(), self.charged, self.now.as_secs_f64())
    }

    /// Lets one step of time pass.
    pub fn step(&mut self) {
        self.land_flights();
        self.come_and_go();
        self.share_cache();
        self.arrive();
        self.share_cpu();
        self.share_memory_bandwidth();
        self.share_gpus();
        self.share_fabric();
        let seconds = self.parameters.step.as_secs_f64();
        for (vm, spec) in self.vms.iter_mut().zip(&self.inventory.vms) {
            vm.work(spec, &self.parameters, seconds);
        }
        for (spec, vm) in &mut self.outside {
            vm.wait(spec, &self.parameters, self.now.as_secs_f64() + seconds / 2.0);
        }
        self.now += self.parameters.step;
        if self.now >= self.window_end {
            self.window_end += self.parameters.window;
            self.close_windows();
        }
    }

    fn close_windows(&mut self) {
        for (vm, spec) in self.vms.iter_mut().zip(&self.inventory.vms) {
            vm.close_window(spec.objective);
        }
        for (spec, vm) in &mut self.outside {
            vm.close_window(spec.objective);
        }
    }

    /// Demand of this step, and how well each VM can work with the memory and cache that it has.
    fn arrive(&mut self) {
        let at_s = self.now.as_secs_f64() + self.parameters.step.as_secs_f64() / 2.0;
        let Inventory { topology, vms: specs, .. } = &*self.inventory;
        for ((vm, spec), holding) in self.vms.iter_mut().zip(specs).zip(&self.assignment.holdings) {
            vm.arrive(at_s, matches!(spec.objective, Objective::Latency { .. }), &self.parameters);
            let missing = ((vm.working_set - vm.memory) / vm.working_set.max(1.0)).max(0.0);
            let slowdown = vm.workload.application.response.paging.unwrap_or(self.parameters.paging_slowdown);
            vm.paging = 1.0 / (1.0 + slowdown * missing);
            let total = holding.total_memory().as_f64().max(1.0);
            let hops: f64 = holding
                .memory
                .iter()
                .map(|(node, size)| {
                    let distance = f64::from(topology.distance(holding.socket, *node));
                    size.as_f64() / total * (distance - 10.0).max(0.0) / 11.0
                })
                .sum();
            vm.efficiency = vm.effect.speed * vm.paging / (1.0 + self.parameters.remote_slowdown * hops);
        }
    }
}

/// A VM as it is before its first step.
pub(crate) fn boot(
    guest: Guest,
    topology: &Topology,
    parameters: &Parameters,
    seed: u64,
    memory: f64,
) -> (VmSpec, Vm) {
    let Guest { spec, workload, leaves, signal, .. } = guest;
    let alone = Alone::new(topology, &spec, &workload, parameters);
    let burst = Burst::new(seed, u64::from(spec.id.0));
    let vm = Vm::new(workload, burst, memory, alone, (leaves, signal));
    (spec, vm)
}

impl Observe for SimHost {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        snapshot.at = self.now;
        snapshot.assignment.clone_from(&self.assignment);
        snapshot.vms.resize_with(self.vms.len(), VmSample::default);
        let step_us = self.parameters.step.as_secs_f64() * 1e6 * self.parameters.counter_noise;
        for ((sample, vm), spec) in snapshot.vms.iter_mut().zip(&self.vms).zip(&self.inventory.vms) {
            let counters = if self.parameters.counter_lag { &vm.published } else { &vm.counters };
            sample.vm = spec.id;
            let error = self.noise.normal();
            let read = &mut sample.counters;
            // The error of one step, not of the sum: a counter is read a little early or late.
            read.cpu_used_us = Some(as_counter(counters.cpu_used_us + step_us * vm.cpu * error));
            read.cpu_waited_us = Some(as_counter(counters.cpu_waited_us));
            read.memory_stalled_us = Some(as_counter(counters.memory_stalled_us));
            read.io_stalled_us = Some(as_counter(counters.io_stalled_us));
            read.memory_bytes = Some(as_counter(counters.memory_bytes));
            let uses_gpu = vm.workload.application.gpu_seconds > 0.0;
            read.gpu_busy_us = uses_gpu.then(|| as_counter(counters.gpu_busy_us));
            read.device_bytes.clear();
            for device in self.fabric.owned(spec.id) {
                read.device_bytes.push((*device, as_counter(self.fabric.moved(*device))));
            }
            // A guest cannot use more than it has, so it cannot be seen to need more either.
            let seen = vm.working_set.min(vm.memory) * (1.0 + self.parameters.counter_noise * error);
            sample.working_set = Some(ByteSize::from_f64(seen));
            sample.cache = Some(ByteSize::from_f64(vm.cache));
            sample.signal = vm.signal(spec);
            sample.refuses_memory_until = vm.refuses_until;
        }
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn as_counter(value: f64) -> u64 {
    value as u64
}
