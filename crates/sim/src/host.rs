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
use crate::compute::Compute;
use crate::fabric::Fabric;
use crate::load::{Burst, Workload};
use crate::parameters::Parameters;
use crate::queue::Service;
use crate::score::{Score, VmScore, Window};

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
    /// Its utility in the present step, 0 to 1; nothing if nothing is asked of it.
    pub utility: Option<f64>,
}

/// What the simulator knows of one VM.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) workload: Workload,
    burst: Burst,
    /// Work that arrives, in cores.
    pub(crate) arrival: f64,
    pub(crate) working_set: f64,
    /// Memory that it can use now, in bytes.
    pub(crate) memory: f64,
    /// Work per second of one core, 0 to 1: distance and paging.
    pub(crate) efficiency: f64,
    paging: f64,
    /// Memory traffic per unit of work, in bytes.
    pub(crate) traffic: f64,
    pub(crate) cpu_wanted: f64,
    pub(crate) cpu: f64,
    /// CPU time that it could have had, in cores.
    pub(crate) cpu_within_reach: f64,
    pub(crate) memory_traffic: f64,
    /// Share of its memory traffic that it got.
    pub(crate) memory_factor: f64,
    pub(crate) io_wanted: f64,
    pub(crate) io: f64,
    /// Time that it has still to stand still.
    pub(crate) stall_s: f64,
    backlog: f64,
    backlog_alone: f64,
    /// Work that it could do alone on the host, in cores.
    alone: f64,
    counters: Counters,
    published: Counters,
    window: Window,
    window_alone: Window,
    utility: Option<f64>,
    score: VmScore,
    pub(crate) refuses_until: Option<HostTime>,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counters {
    cpu_used_us: f64,
    cpu_waited_us: f64,
    memory_stalled_us: f64,
    io_stalled_us: f64,
    memory_bytes: f64,
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
    pub(crate) flights: Flights,
    pub(crate) noise: Burst,
    steps: u64,
    pub(crate) now: HostTime,
    window_end: HostTime,
    /// Cost of changes so far, in seconds of utility times weight.
    pub(crate) charged: f64,
    pub(crate) changes: u64,
}

impl SimHost {
    /// A host on which `guests`, ordered by id, hold `start`.
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
        let (specs, workloads): (Vec<_>, Vec<_>) =
            guests.into_iter().map(|guest| (guest.spec, guest.workload)).unzip();
        let inventory = Inventory { topology, vms: specs, capabilities, profiles: Arc::default() };
        check(inventory.world(), &start)?;
        let vms = inventory.vms.iter().zip(workloads).zip(&start.holdings);
        let vms = vms.map(|((spec, workload), holding)| {
            let alone = alone(&inventory.topology, spec, &workload, &parameters);
            Vm::new(workload, seed, spec.id, holding.total_memory().as_f64(), alone)
        });
        Ok(Self {
            vms: vms.collect(),
            compute: Compute::new(&inventory.topology, &start),
            fabric: Fabric::new(&inventory.topology, &start, inventory.world()),
            flights: Flights::default(),
            noise: Burst::new(seed, u64::MAX),
            steps: 0,
            now: Duration::ZERO,
            window_end: parameters.window,
            charged: 0.0,
            changes: 0,
            assignment: start,
            parameters,
            inventory: Arc::new(inventory),
        })
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
            utility: vm.utility,
        })
    }

    /// How the host did so far; windows that are still open do not count.
    #[must_use]
    pub fn score(&self) -> Score {
        let vms = self.inventory.vms.iter().zip(&self.vms);
        let vms = vms.map(|(spec, vm)| (spec.id, spec.weight.as_f64(), vm.score));
        Score::new(vms, self.charged, self.now.as_secs_f64())
    }

    /// Lets one step of time pass.
    pub fn step(&mut self) {
        self.land_flights();
        self.arrive();
        self.share_cpu();
        self.share_memory_bandwidth();
        self.share_fabric();
        let seconds = self.parameters.step.as_secs_f64();
        for (vm, spec) in self.vms.iter_mut().zip(&self.inventory.vms) {
            vm.work(spec, &self.parameters, seconds);
        }
        self.steps += 1;
        self.now += self.parameters.step;
        if self.now >= self.window_end {
            self.window_end += self.parameters.window;
            for (vm, spec) in self.vms.iter_mut().zip(&self.inventory.vms) {
                vm.score.alone += vm.window_alone.take().unwrap_or(0.0);
                vm.window.close(spec.objective, &mut vm.score);
            }
        }
    }

    /// Demand of this step, and how well each VM can work with the memory that it has.
    fn arrive(&mut self) {
        let seconds = self.now.as_secs_f64() + self.parameters.step.as_secs_f64() / 2.0;
        let (sigma, rho) = (self.parameters.burst_sigma, self.parameters.burst_rho);
        let topology = &self.inventory.topology;
        for (vm, holding) in self.vms.iter_mut().zip(&self.assignment.holdings) {
            vm.arrival = vm.workload.demand.work_at(seconds) * vm.burst.next_factor(sigma, rho);
            vm.working_set = vm.workload.demand.working_set_at(seconds);
            let missing = ((vm.working_set - vm.memory) / vm.working_set.max(1.0)).max(0.0);
            vm.paging = 1.0 / (1.0 + self.parameters.paging_slowdown * missing);
            let total = holding.total_memory().as_f64().max(1.0);
            let hops: f64 = holding
                .memory
                .iter()
                .map(|(node, size)| {
                    let distance = f64::from(topology.distance(holding.socket, *node));
                    size.as_f64() / total * (distance - 10.0).max(0.0) / 11.0
                })
                .sum();
            vm.efficiency = vm.paging / (1.0 + self.parameters.remote_slowdown * hops);
        }
    }
}

/// What a VM could do with all its limits and the host to itself.
fn alone(topology: &Topology, spec: &VmSpec, workload: &Workload, parameters: &Parameters) -> f64 {
    let application = &workload.application;
    let per = |rate: f64, need: f64| if need > 0.0 { rate / need } else { f64::INFINITY };
    let devices: f64 = spec
        .devices
        .iter()
        .map(|wish| {
            let of_class = topology.fabric().devices.iter().filter(|device| device.class == wish.class);
            let fastest = of_class.map(|device| device.bandwidth).max().unwrap_or_default();
            f64::from(wish.count.limit) * wish.bandwidth.limit.min(fastest).as_f64()
        })
        .sum();
    let cpu = spec.cpu.limit.as_f64() / 1000.0;
    let memory =
        per(spec.memory_bandwidth.limit.as_f64(), application.response.cache.effect(f64::MAX).traffic);
    let io = per(parameters.paravirtual_bytes_s + devices, application.io_bytes);
    cpu.min(memory).min(io)
}

impl Vm {
    fn new(workload: Workload, seed: u64, id: VmId, memory: f64, alone: f64) -> Self {
        Self {
            traffic: workload.application.response.cache.effect(f64::MAX).traffic,
            workload,
            burst: Burst::new(seed, u64::from(id.0)),
            arrival: 0.0,
            working_set: 0.0,
            memory,
            efficiency: 1.0,
            paging: 1.0,
            cpu_wanted: 0.0,
            cpu: 0.0,
            cpu_within_reach: 0.0,
            memory_traffic: 0.0,
            memory_factor: 1.0,
            io_wanted: 0.0,
            io: 0.0,
            stall_s: 0.0,
            backlog: 0.0,
            backlog_alone: 0.0,
            alone,
            counters: Counters::default(),
            published: Counters::default(),
            window: Window::default(),
            window_alone: Window::default(),
            utility: None,
            score: VmScore::default(),
            refuses_until: None,
        }
    }

    /// CPU time that it could use in a step of `seconds`, in cores, before any limit but its vCPUs.
    pub(crate) fn wants(&self, seconds: f64) -> f64 {
        (self.arrival + self.backlog / seconds) / self.efficiency.max(1e-6)
    }

    /// Turns what it got into work done, requests answered and counters.
    fn work(&mut self, spec: &VmSpec, parameters: &Parameters, seconds: f64) {
        self.published = self.counters;
        let stalled = self.stall_s.min(seconds);
        self.stall_s -= stalled;
        let awake = 1.0 - stalled / seconds;
        let io_factor = if self.io_wanted > 0.0 { (self.io / self.io_wanted).min(1.0) } else { 1.0 };
        let speed = self.efficiency * self.memory_factor * io_factor * awake;
        let (arrived, waiting) = (self.arrival * seconds, self.backlog);
        let done = (self.cpu * speed * seconds).min(waiting + arrived);
        self.backlog = waiting + arrived - done;
        self.judge(spec, parameters, seconds, speed, waiting, done);
        self.count(seconds, io_factor, awake);
    }

    fn judge(
        &mut self,
        spec: &VmSpec,
        parameters: &Parameters,
        seconds: f64,
        speed: f64,
        waiting: f64,
        done: f64,
    ) {
        let arrived = self.arrival * seconds;
        let waiting_alone = self.backlog_alone;
        let alone = (self.alone * seconds).min(waiting_alone + arrived);
        self.backlog_alone = waiting_alone + arrived - alone;
        let (good, all, best) = match spec.objective {
            Objective::Latency { p99 } => {
                let request = self.workload.application.request.as_secs_f64();
                let in_time = |cores: f64, speed: f64, backlog: f64| {
                    let capacity = cores * speed;
                    let service = Service { arrival: self.arrival, capacity, cores, speed, backlog, request };
                    service.in_time(p99.as_secs_f64())
                };
                let here = in_time(self.cpu_within_reach, speed, (waiting + self.backlog) / 2.0);
                let limit = spec.cpu.limit.as_f64() / 1000.0;
                let best = in_time(limit, 1.0, (waiting_alone + self.backlog_alone) / 2.0);
                // Whoever waits longer than this has gone away.
                let patience = parameters.patience.as_secs_f64() * limit;
                self.backlog = self.backlog.min(patience);
                self.backlog_alone = self.backlog_alone.min(patience);
                (arrived * here, arrived, arrived * best)
            }
            Objective::Throughput | Objective::BestEffort => (done, alone, alone),
        };
        self.utility = (all > 0.0).then(|| (good / all).clamp(0.0, 1.0));
        self.window.add(good, all);
        self.window_alone.add(best, all);
    }

    fn count(&mut self, seconds: f64, io_factor: f64, awake: f64) {
        let us = seconds * 1e6;
        // A VM that waits for a device leaves its CPU alone.
        self.cpu *= io_factor * awake;
        self.memory_traffic *= io_factor * awake;
        let busy = if self.cpu_wanted > 1e-9 { 1.0 } else { 0.0 };
        self.counters.cpu_used_us += self.cpu * us;
        self.counters.cpu_waited_us += (self.cpu_wanted - self.cpu_within_reach).max(0.0) * us;
        self.counters.memory_stalled_us += (1.0 - self.paging) * busy * us;
        self.counters.io_stalled_us += (1.0 - io_factor * awake) * busy * us;
        self.counters.memory_bytes += self.memory_traffic * seconds;
    }
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
            read.device_bytes.clear();
            for device in self.fabric.owned(spec.id) {
                read.device_bytes.push((*device, as_counter(self.fabric.moved(*device))));
            }
            // A guest cannot use more than it has, so it cannot be seen to need more either.
            let seen = vm.working_set.min(vm.memory) * (1.0 + self.parameters.counter_noise * error);
            sample.working_set = Some(ByteSize::from_f64(seen));
            sample.signal = None;
            sample.refuses_memory_until = vm.refuses_until;
        }
        Ok(())
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn as_counter(value: f64) -> u64 {
    value as u64
}
