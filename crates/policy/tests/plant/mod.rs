//! A host whose VMs answer as a test says, and random hosts on which any policy has to keep the rules.
#![allow(dead_code)]

#[path = "../../../model/tests/common/mod.rs"]
mod worlds;

use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_model::profile::Profiles;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, DeviceId, Families, Generation, Holding, MilliCpu,
    Objective, ObjectiveSignal, Proposal, Snapshot, SocketId, Topology, VmCounters, VmId, VmSample, VmSpec,
    Weight, World, admit, check, project,
};
use halcyon_policy::{History, Policy, View, by_name};
use proptest::prelude::*;
use worlds::{Host, Tape, config, families, tape};

const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

pub(crate) fn vm(id: u32, objective: Objective) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 16,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(500), limit: MilliCpu::cores(16) },
        memory: Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective,
        application: None,
    }
}

pub(crate) fn critical(id: u32) -> VmSpec {
    vm(id, Objective::Latency { p99: Duration::from_millis(20) })
}

pub(crate) fn batch(id: u32) -> VmSpec {
    vm(id, Objective::Throughput)
}

pub(crate) fn best_effort(id: u32) -> VmSpec {
    vm(id, Objective::BestEffort)
}

/// What a VM does in one second.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Does {
    pub(crate) p99_ms: Option<f64>,
    pub(crate) used_milli: u64,
    pub(crate) waited_milli: u64,
    pub(crate) traffic: u64,
}

/// All VMs are on the first socket, unless they are spread.
pub(crate) struct Plant {
    pub(crate) topology: Topology,
    pub(crate) vms: Vec<VmSpec>,
    pub(crate) snapshot: Snapshot,
    capabilities: Capabilities,
    history: History,
    pub(crate) policy: Box<dyn Policy + Send>,
    profiles: Profiles,
    pub(crate) frozen: Families,
}

impl Plant {
    pub(crate) fn new(policy: Box<dyn Policy + Send>, vms: Vec<VmSpec>) -> Self {
        let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
        let capabilities = Capabilities::free();
        let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
        let mut start = admit(world).expect("they fit");
        start.holdings.iter_mut().for_each(|holding| holding.socket = SocketId(0));
        let sample = |spec: &VmSpec| VmSample {
            vm: spec.id,
            counters: VmCounters {
                cpu_used_us: Some(0),
                cpu_waited_us: Some(0),
                memory_bytes: Some(0),
                ..VmCounters::default()
            },
            ..VmSample::default()
        };
        let samples = vms.iter().map(sample).collect();
        let snapshot = Snapshot { assignment: start, vms: samples, ..Snapshot::default() };
        Self {
            topology,
            vms,
            snapshot,
            capabilities,
            history: History::new(),
            policy,
            profiles: Profiles::default(),
            frozen: Families::NONE,
        }
    }

    /// A second passes in which each VM does what `answer` says of its position and the assignment.
    pub(crate) fn tick(&mut self, answer: impl Fn(usize, &Assignment) -> Does) -> Proposal {
        self.snapshot.at += Duration::from_secs(1);
        self.snapshot.generation = Generation(self.snapshot.generation.0 + 1);
        for (position, sample) in self.snapshot.vms.iter_mut().enumerate() {
            let does = answer(position, &self.snapshot.assignment);
            let add = |counter: &mut Option<u64>, more: u64| *counter = counter.map(|before| before + more);
            add(&mut sample.counters.cpu_used_us, does.used_milli * 1000);
            add(&mut sample.counters.cpu_waited_us, does.waited_milli * 1000);
            add(&mut sample.counters.memory_bytes, does.traffic);
            let signal = |ms: f64| ObjectiveSignal {
                p99: Some(Duration::from_secs_f64(ms / 1000.0)),
                backlog_s: None,
            };
            sample.signal = does.p99_ms.map(signal);
        }
        self.history.record(&self.snapshot);
        let world = World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities };
        let view = View {
            world,
            snapshot: &self.snapshot,
            history: &self.history,
            frozen: self.frozen,
            profiles: &self.profiles,
        };
        let proposal = self.policy.decide(&view);
        finite(&proposal);
        let target = project(world, &self.snapshot.assignment, self.frozen, &proposal);
        check(world, &target).expect("what is projected keeps the rules");
        self.snapshot.assignment = target;
        proposal
    }

    pub(crate) fn run(&mut self, seconds: usize, answer: impl Fn(usize, &Assignment) -> Does) {
        (0..seconds).for_each(|_| drop(self.tick(&answer)));
    }

    pub(crate) fn held(&self, position: usize) -> &Holding {
        &self.snapshot.assignment.holdings[position]
    }

    pub(crate) fn share(&self, position: usize) -> f64 {
        self.held(position).cpu.share.as_f64()
    }

    /// Another VM arrives, or one leaves.
    pub(crate) fn replace(&mut self, vms: Vec<VmSpec>) {
        let world = World { topology: &self.topology, vms: &vms, capabilities: &self.capabilities };
        let mut start = admit(world).expect("they fit");
        start.holdings.iter_mut().for_each(|holding| holding.socket = SocketId(0));
        let known = |vm: VmId| self.snapshot.vms.iter().find(|sample| sample.vm == vm).cloned();
        let samples = vms
            .iter()
            .map(|spec| known(spec.id).unwrap_or(VmSample { vm: spec.id, ..VmSample::default() }))
            .collect();
        (self.snapshot.assignment, self.snapshot.vms, self.vms) = (start, samples, vms);
    }
}

/// Response time of a queue that wants `cores` and has so many: 2 ms and what waiting adds.
pub(crate) fn response_ms(wanted: f64, held: f64) -> f64 {
    if held <= wanted * 1.01 { 200.0 } else { (2.0 + 2.0 * wanted / (held - wanted)).min(200.0) }
}

/// Ways of the class that a VM is in, on the first socket.
pub(crate) fn ways(assignment: &Assignment, position: usize) -> u32 {
    let class = assignment.holdings[position].class.index();
    assignment.classes[class].as_ref().map_or(0, |masks| masks[0].ways())
}

fn finite(proposal: &Proposal) {
    let wish = |wish: &halcyon_model::Wish| {
        assert!(wish.share.is_finite() && wish.share >= 0.0, "{wish:?}");
        assert!(wish.ceiling.is_finite() && wish.ceiling >= 0.0, "{wish:?}");
    };
    for vm in &proposal.vms {
        vm.cpu.iter().chain(&vm.memory_bandwidth).for_each(wish);
        for (_, size) in vm.memory.iter().flat_map(|memory| &memory.nodes) {
            assert!(size.is_finite() && *size >= 0.0, "{size}");
        }
    }
    proposal.device_bandwidth.iter().for_each(|(_, bandwidth)| wish(bandwidth));
}

fn grow(tape: &mut Tape, counter: &mut Option<u64>, most: u64) {
    *counter = match (tape.below(8), *counter) {
        (0, _) => None,
        (1, _) => Some(0),
        (_, before) => Some(before.unwrap_or(0).saturating_add(tape.between(0, most))),
    };
}

fn stir(tape: &mut Tape, snapshot: &mut Snapshot, devices: usize) {
    for sample in &mut snapshot.vms {
        let counters = &mut sample.counters;
        grow(tape, &mut counters.cpu_used_us, 20_000_000);
        grow(tape, &mut counters.cpu_waited_us, 5_000_000);
        grow(tape, &mut counters.memory_bytes, 90_000_000_000);
        grow(tape, &mut counters.memory_stalled_us, 300_000);
        grow(tape, &mut counters.io_stalled_us, 300_000);
        counters.device_bytes =
            (0..devices.min(3)).map(|index| (DeviceId::at(index), tape.between(0, u64::MAX))).collect();
        sample.working_set = tape.chance(1, 2).then(|| ByteSize::new(tape.between(0, 1 << 38)));
        let p99 = tape.chance(2, 3).then(|| Duration::from_micros(tape.between(0, 60_000)));
        let backlog_s = tape.chance(1, 4).then(|| *tape.pick(&[0.0, f64::NAN, f64::INFINITY, 1e300, -1.0]));
        sample.signal = tape.chance(2, 3).then_some(ObjectiveSignal { p99, backlog_s });
        let until = snapshot.at + Duration::from_secs(3);
        sample.refuses_memory_until = tape.chance(1, 8).then_some(until);
    }
}

/// On random hosts with random readings, what is proposed is finite and becomes a feasible assignment,
/// while VMs come and go and families are frozen.
pub(crate) fn keeps_every_rule(name: &str) {
    proptest!(config(48), |(mut tape in tape(4000))| {
        let (mut host, mut held) = Host::admitted(&mut tape);
        for spec in &mut host.vms {
            spec.objective = *tape.pick(&[
                spec.objective, Objective::Throughput, Objective::BestEffort,
                Objective::Latency { p99: Duration::ZERO },
            ]);
        }
        let mut policy = by_name(name).expect("there is such a policy");
        let (mut history, profiles) = (History::new(), Profiles::default());
        let samples = host.vms.iter().map(|spec| VmSample { vm: spec.id, ..VmSample::default() });
        let mut snapshot = Snapshot { vms: samples.collect(), ..Snapshot::default() };
        for round in 0..24 {
            if round == 12 && host.vms.len() > 2 {
                let gone = host.vms.remove(tape.below(host.vms.len())).id;
                held.holdings.retain(|holding| holding.vm != gone);
                snapshot.vms.retain(|sample| sample.vm != gone);
                for device in held.devices.iter_mut().filter(|device| device.owner == Some(gone)) {
                    *device = halcyon_model::DeviceHolding::default();
                }
                held.gpu_instances.retain(|instance| instance.owner != gone);
            }
            snapshot.generation = Generation(round);
            snapshot.at += Duration::from_millis(*tape.pick(&[1000, 0, 100, 30_000]));
            snapshot.assignment = held.clone();
            stir(&mut tape, &mut snapshot, host.topology.fabric().devices.len());
            history.record(&snapshot);
            let frozen = families(&mut tape);
            let world = host.world();
            let view = View { world, snapshot: &snapshot, history: &history, frozen, profiles: &profiles };
            let proposal = policy.decide(&view);
            finite(&proposal);
            held = project(world, &held, frozen, &proposal);
            host.assert_feasible(&held, name)?;
        }
    });
}
