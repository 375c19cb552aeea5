//! A host on which a policy's wishes come true at once, and random ones on which it has to hold out.
#![allow(dead_code)]

#[path = "../../../model/tests/common/mod.rs"]
pub(crate) mod random;

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::{Application, CacheResponse, Fit, Profiles, Response};
use halcyon_model::topology::{Cache, MemoryKind, MemoryNode, Parts, Socket};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, CacheMask, Capabilities, DeviceHolding, Families, Generation,
    MilliCpu, NodeId, Objective, Proposal, Snapshot, SocketId, Topology, VmCounters, VmId, VmSample, VmSpec,
    Weight, World, admit, check, project,
};
use halcyon_policy::{History, Policy, View};
use proptest::prelude::*;
use random::{Host, Tape};

/// Sockets of 32 cores with 256 GiB each; the last-level cache has 16 ways of 2 MiB and 8 classes.
pub(crate) fn host(sockets: u32) -> Topology {
    host_with_memory(sockets, ByteSize::gib(256))
}

pub(crate) fn host_with_memory(sockets: u32, each: ByteSize) -> Topology {
    let socket = |id: u32| Socket {
        id: SocketId(id),
        name: format!("s{id}"),
        cores: 32,
        threads_per_core: 1,
        host_cpu: MilliCpu::ZERO,
        cache: Some(Cache { size: ByteSize::mib(32), ways: 16, min_ways: 1, classes: 8 }),
    };
    let node = |id: u32| MemoryNode {
        id: NodeId(id),
        name: format!("m{id}"),
        kind: MemoryKind::Dram { socket: SocketId(id) },
        capacity: each,
        host_memory: ByteSize::ZERO,
        bandwidth: Bandwidth::gb_per_s(100),
    };
    let row = |from: u32| (0..sockets).map(|to| if from == to { 10 } else { 21 }).collect();
    Topology::new(Parts {
        name: "host".into(),
        sockets: (0..sockets).map(socket).collect(),
        nodes: (0..sockets).map(node).collect(),
        distances: (0..sockets).map(row).collect(),
        ..Parts::default()
    })
    .expect("a coherent host")
}

pub(crate) fn vm(id: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 4,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(4) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(16) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

/// A program of which `most` misses fall to `least` around `half` MiB of cache.
pub(crate) fn program(name: &str, least: f64, most: f64, half_mib: f64, steepness: f64) -> Application {
    let cache = CacheResponse {
        limit_misses: least,
        least_misses: least,
        most_misses: most,
        half: half_mib * 1024.0 * 1024.0,
        steepness,
        cycles: 0.8,
        cycles_per_miss: 60.0,
        bytes_per_miss: 64.0,
        clock: 2.5e9,
        footprint: None,
    };
    let response = Response { cache, ..Response::flat(0.0) };
    Application { name: name.into(), source: "made up".into(), response, fit: Fit::default() }
}

/// A VM that runs one of the programs of a bench.
pub(crate) fn vm_with(id: u32, application: &str) -> VmSpec {
    VmSpec { application: Some(application.into()), ..vm(id) }
}

/// A host whose VMs use what they are told to.
#[derive(Debug)]
pub(crate) struct Bench {
    pub(crate) topology: Topology,
    pub(crate) vms: Vec<VmSpec>,
    pub(crate) capabilities: Capabilities,
    pub(crate) snapshot: Snapshot,
    pub(crate) history: History,
    pub(crate) profiles: Arc<Profiles>,
    pub(crate) frozen: Families,
    /// Bytes that VMs move for each microsecond of CPU time.
    pub(crate) traffic: u64,
}

impl Bench {
    pub(crate) fn new(topology: Topology, vms: Vec<VmSpec>) -> Self {
        let capabilities = Capabilities::free();
        let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
        let assignment = admit(world).expect("they fit");
        Self::of(topology, vms, capabilities, assignment)
    }

    pub(crate) fn of(
        topology: Topology,
        vms: Vec<VmSpec>,
        capabilities: Capabilities,
        assignment: Assignment,
    ) -> Self {
        let samples = vms.iter().map(|spec| VmSample { vm: spec.id, ..VmSample::default() }).collect();
        Self {
            snapshot: Snapshot { assignment, vms: samples, ..Snapshot::default() },
            topology,
            vms,
            capabilities,
            history: History::new(),
            profiles: Arc::default(),
            frozen: Families::NONE,
            traffic: 1,
        }
    }

    pub(crate) fn with_programs(mut self, programs: impl IntoIterator<Item = Application>) -> Self {
        let mut profiles = Profiles::default();
        programs.into_iter().for_each(|program| profiles.insert(program));
        self.profiles = Arc::new(profiles);
        self
    }

    pub(crate) fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    /// Each VM uses so many cores from now on, for `seconds`, and touches so much of its memory.
    pub(crate) fn pass(&mut self, seconds: u64, use_of: impl Fn(usize) -> (f64, ByteSize)) {
        self.snapshot.at += Duration::from_secs(seconds);
        self.snapshot.generation = Generation(self.snapshot.generation.0 + 1);
        for (position, sample) in self.snapshot.vms.iter_mut().enumerate() {
            let (cores, working_set) = use_of(position);
            #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            let used = (cores * seconds as f64 * 1e6) as u64;
            let counters = &mut sample.counters;
            counters.cpu_used_us = Some(counters.cpu_used_us.unwrap_or(0) + used);
            counters.memory_bytes = Some(counters.memory_bytes.unwrap_or(0) + used * self.traffic);
            let held = self.snapshot.assignment.holdings[position].total_memory();
            sample.working_set = Some(working_set.min(held));
        }
        self.history.record(&self.snapshot);
    }

    pub(crate) fn decide(&self, policy: &mut dyn Policy) -> Proposal {
        let view = View {
            world: self.world(),
            snapshot: &self.snapshot,
            history: &self.history,
            frozen: self.frozen,
            profiles: &self.profiles,
        };
        let proposal = policy.decide(&view);
        assert_eq!(proposal.based_on, self.snapshot.generation);
        proposal
    }

    /// What would be held if the proposal came true; it has to be feasible.
    pub(crate) fn target(&self, proposal: &Proposal) -> Assignment {
        let target = project(self.world(), &self.snapshot.assignment, self.frozen, proposal);
        check(self.world(), &target).expect("feasible");
        target
    }

    /// One second, one decision, and it comes true.
    pub(crate) fn tick(&mut self, policy: &mut dyn Policy, use_of: impl Fn(usize) -> (f64, ByteSize)) {
        self.pass(1, use_of);
        let proposal = self.decide(policy);
        self.snapshot.assignment = self.target(&proposal);
    }

    pub(crate) fn held(&self, position: usize) -> ByteSize {
        self.snapshot.assignment.holdings[position].total_memory()
    }

    /// The ways that a VM may fill.
    pub(crate) fn mask(&self, position: usize) -> CacheMask {
        let holding = &self.snapshot.assignment.holdings[position];
        let masks = self.snapshot.assignment.classes[holding.class.index()].as_ref();
        masks.expect("its class is in use")[holding.socket.index()]
    }

    /// How many classes have VMs in them.
    pub(crate) fn classes_used(&self) -> usize {
        let holdings = self.snapshot.assignment.holdings.iter();
        holdings.map(|holding| holding.class).collect::<std::collections::BTreeSet<_>>().len()
    }

    /// Asserts that the VMs of a socket that do not share a class share no way, and that every way is
    /// somebody's.
    pub(crate) fn assert_partitioned(&self, socket: u32) {
        let mut taken = std::collections::BTreeMap::new();
        for (position, holding) in self.snapshot.assignment.holdings.iter().enumerate() {
            if holding.socket == SocketId(socket) {
                taken.insert(holding.class, self.mask(position));
            }
        }
        let (mut all, mut count) = (0_u32, 0);
        for mask in taken.values() {
            assert!(mask.is_contiguous());
            all |= mask.0;
            count += mask.ways();
        }
        let ways = self.topology.sockets()[socket as usize].cache.as_ref().expect("it has a cache").ways;
        assert_eq!((all.count_ones(), count), (ways, ways), "{taken:?}");
    }

    /// Share of the installed memory that no VM holds.
    pub(crate) fn free_share(&self) -> f64 {
        let total: ByteSize = self.topology.nodes().iter().map(|node| node.capacity).sum();
        let held: ByteSize = (0..self.vms.len()).map(|position| self.held(position)).sum();
        1.0 - held.as_f64() / total.as_f64()
    }

    /// A VM is gone, with all that it held.
    pub(crate) fn remove(&mut self, position: usize) {
        let gone = self.vms.remove(position).id;
        self.snapshot.vms.remove(position);
        let assignment = &mut self.snapshot.assignment;
        assignment.holdings.remove(position);
        assignment.gpu_instances.retain(|instance| instance.owner != gone);
        for device in assignment.devices.iter_mut().filter(|device| device.owner == Some(gone)) {
            *device = DeviceHolding::default();
        }
    }
}

/// On a random host, with random use, missing counters, frozen families, refusals, and VMs that leave,
/// every proposal is finite and what comes of it is feasible.
pub(crate) fn hold_out(tape: &mut Tape, policy: &mut dyn Policy) -> Result<(), TestCaseError> {
    let (Host { topology, mut vms, capabilities }, assignment) = Host::admitted(tape);
    let programs: Vec<Application> = (0..5).map(|index| random_program(tape, index)).collect();
    for spec in &mut vms {
        let known = tape.chance(4, 5);
        spec.application = known.then(|| format!("program-{}", tape.below(6)));
        spec.objective = *tape.pick(&[Objective::Throughput, Objective::BestEffort, spec.objective]);
        spec.weight = Weight::new(1 + u32::try_from(tape.below(10_000)).expect("small")).expect("in range");
    }
    let mut bench = Bench::of(topology, vms, capabilities, assignment).with_programs(programs);
    for _ in 0..20 {
        bench.frozen = random::families(tape);
        random_use(tape, &mut bench);
        let proposal = bench.decide(policy);
        assert_finite(&proposal)?;
        let target = project(bench.world(), &bench.snapshot.assignment, bench.frozen, &proposal);
        check(bench.world(), &target).map_err(|broken| TestCaseError::fail(format!("{broken:#?}")))?;
        if tape.chance(4, 5) {
            bench.snapshot.assignment = target;
        }
        if tape.chance(1, 8) && !bench.vms.is_empty() {
            bench.remove(tape.below(bench.vms.len()));
        }
    }
    Ok(())
}

fn random_program(tape: &mut Tape, index: usize) -> Application {
    let least = 50.0 * tape.share() * tape.share();
    let most = least + 50.0 * tape.share();
    program(&format!("program-{index}"), least, most, 0.1 + 40.0 * tape.share(), 0.3 + 4.0 * tape.share())
}

fn random_use(tape: &mut Tape, bench: &mut Bench) {
    let seconds = *tape.pick(&[1, 1, 10, 400]);
    let uses: Vec<(f64, ByteSize)> = bench
        .vms
        .iter()
        .map(|spec| (64.0 * tape.share(), ByteSize::from_f64(spec.memory.limit.as_f64() * tape.share())))
        .collect();
    bench.pass(seconds, |position| uses[position]);
    let now = bench.snapshot.at;
    for sample in &mut bench.snapshot.vms {
        match tape.below(8) {
            1 => sample.counters = VmCounters::default(),
            2 => sample.working_set = None,
            3 => sample.refuses_memory_until = Some(now + Duration::from_secs(30)),
            4 => sample.counters.memory_stalled_us = Some(0),
            _ => {}
        }
    }
}

fn assert_finite(proposal: &Proposal) -> Result<(), TestCaseError> {
    let wish = |wish: &halcyon_model::Wish| wish.share.is_finite() && wish.ceiling.is_finite();
    for vm in &proposal.vms {
        prop_assert!(vm.cpu.as_ref().is_none_or(wish) && vm.memory_bandwidth.as_ref().is_none_or(wish));
        let sane = |(_, size): &(NodeId, f64)| size.is_finite() && *size >= 0.0;
        prop_assert!(vm.memory.as_ref().is_none_or(|memory| memory.nodes.iter().all(sane)), "{vm:?}");
    }
    prop_assert!(proposal.device_bandwidth.iter().all(|(_, bandwidth)| wish(bandwidth)));
    Ok(())
}
