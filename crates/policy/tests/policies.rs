//! What a person would notice of the policies: their names, that they settle, and how fast they follow.

use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_model::profile::Profiles;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, Families, Generation, MilliCpu, Objective,
    Proposal, Snapshot, Topology, VmCounters, VmId, VmSample, VmSpec, Weight, World, admit, project,
};
use halcyon_policy::{History, NAMES, Policy, View, by_name};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

/// A host whose VMs use what they are told to, as far as their ceilings go.
struct Bench {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
    snapshot: Snapshot,
    history: History,
    policy: Box<dyn Policy + Send>,
    profiles: Profiles,
}

fn vm(id: u32, weight: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::new(weight).expect("in range"),
        cpu: Bounds { reservation: MilliCpu::new(200), limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(32) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Latency { p99: Duration::from_millis(20) },
        application: None,
    }
}

impl Bench {
    fn new(policy: &str, weights: &[u32]) -> Self {
        let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
        let vms: Vec<VmSpec> = weights.iter().zip(0..).map(|(weight, id)| vm(id, *weight)).collect();
        let capabilities = Capabilities::free();
        let start: Assignment =
            admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).expect("they fit");
        let sample = |spec: &VmSpec| VmSample {
            vm: spec.id,
            counters: VmCounters {
                cpu_used_us: Some(0),
                cpu_waited_us: Some(0),
                memory_bytes: Some(0),
                memory_stalled_us: Some(0),
                ..VmCounters::default()
            },
            ..VmSample::default()
        };
        let samples = vms.iter().map(sample).collect();
        let snapshot = Snapshot { assignment: start, vms: samples, ..Snapshot::default() };
        let policy = by_name(policy).expect("there is such a policy");
        Self {
            topology,
            vms,
            capabilities,
            snapshot,
            history: History::new(),
            policy,
            profiles: Profiles::default(),
        }
    }

    /// A second passes in which each VM uses so many thousandths of a core; what the policy then says.
    fn tick(&mut self, used_milli: &[u64]) -> Proposal {
        self.snapshot.at += Duration::from_secs(1);
        self.snapshot.generation = Generation(self.snapshot.generation.0 + 1);
        for (sample, used) in self.snapshot.vms.iter_mut().zip(used_milli) {
            let counters = &mut sample.counters;
            counters.cpu_used_us = counters.cpu_used_us.map(|before| before + used * 1000);
            counters.memory_bytes = counters.memory_bytes.map(|before| before + used * 1_000_000);
            sample.working_set = Some(ByteSize::mib(1024 + used));
        }
        self.history.record(&self.snapshot);
        let world = World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities };
        let view = View {
            world,
            snapshot: &self.snapshot,
            history: &self.history,
            frozen: Families::NONE,
            profiles: &self.profiles,
        };
        let proposal = self.policy.decide(&view);
        assert_eq!(proposal.based_on, self.snapshot.generation);
        self.snapshot.assignment = project(world, &self.snapshot.assignment, Families::NONE, &proposal);
        proposal
    }
}

#[test]
fn every_policy_goes_by_its_name() {
    for name in NAMES {
        assert_eq!(by_name(name).expect("there is such a policy").name(), name);
    }
    assert!(by_name("no such policy").is_none());
}

#[test]
fn on_steady_demand_every_policy_comes_to_rest() {
    for name in NAMES {
        let mut bench = Bench::new(name, &[100, 200, 100, 400, 100, 100]);
        let used = [500, 6000, 100, 3000, 7900, 0];
        (0..300).for_each(|_| drop(bench.tick(&used)));
        let rested = bench.snapshot.assignment.clone();
        for _ in 0..200 {
            bench.tick(&used);
            assert!(bench.snapshot.assignment == rested, "{name} is restless");
        }
    }
}

#[test]
fn a_dead_band_keeps_small_swings_from_changing_anything() {
    let mut bench = Bench::new("reactive", &[100; 8]);
    (0..100).for_each(|at| drop(bench.tick(&[2000 + 40 * (at % 3); 8])));
    let rested = bench.snapshot.assignment.clone();
    (0..300).for_each(|at| drop(bench.tick(&[2000 + 40 * (at % 3); 8])));
    assert!(bench.snapshot.assignment == rested);
}

#[test]
fn a_load_step_is_followed_within_three_cycles() {
    let mut bench = Bench::new("reactive", &[100; 12]);
    let calm = [1000; 12];
    (0..100).for_each(|_| drop(bench.tick(&calm)));
    let before = bench.snapshot.assignment.holdings[3].cpu.share;
    let mut busy = calm;
    busy[3] = 6000;
    (0..3).for_each(|_| drop(bench.tick(&busy)));
    let after = bench.snapshot.assignment.holdings[3].cpu.share;
    assert!(before < MilliCpu::cores(2) && after >= MilliCpu::cores(6), "{before} → {after}");
}

/// Who is named first means nothing for what is divided.
#[test]
fn vms_in_another_order_get_the_same() {
    let weights = [100, 250, 120, 400, 180, 90, 310, 70];
    let used = [500, 6000, 100, 3000, 7900, 40, 2200, 5100];
    let reversed = |list: &[u64]| list.iter().rev().copied().collect::<Vec<u64>>();
    for name in NAMES {
        let mut one = Bench::new(name, &weights);
        let mut other = Bench::new(name, &weights.iter().rev().copied().collect::<Vec<u32>>());
        // The same VMs on the same sockets.
        for (mine, theirs) in
            one.snapshot.assignment.holdings.iter().zip(other.snapshot.assignment.holdings.iter_mut().rev())
        {
            (theirs.socket, theirs.memory) = (mine.socket, mine.memory.clone());
        }
        for _ in 0..20 {
            one.tick(&used);
            other.tick(&reversed(&used));
        }
        let holdings = one.snapshot.assignment.holdings.iter();
        for (mine, theirs) in holdings.zip(other.snapshot.assignment.holdings.iter().rev()) {
            let near = |a: u64, b: u64| a.abs_diff(b) <= 2;
            assert!(near(mine.cpu.share.get(), theirs.cpu.share.get()), "{name}: {mine:?} {theirs:?}");
            assert_eq!(mine.socket, theirs.socket, "{name}");
            let memory = |holding: &halcyon_model::Holding| holding.total_memory().get() >> 20;
            assert!(near(memory(mine), memory(theirs)), "{name}: {mine:?} {theirs:?}");
        }
    }
}
