//! What a person would notice of the policies where GPUs are divided, and where the host does not do as
//! they say.

use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_model::profile::{Application, Fit, GpuResponse, Profiles, Response};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, Families, Generation, GpuInstance, MilliCpu,
    NodeId, Objective, Proposal, Reason, Snapshot, Topology, VmCounters, VmId, VmSample, VmSpec, Weight,
    World, admit, check, diff, project,
};
use halcyon_policy::{History, Policy, View, by_name};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");
const FIXED: [&str; 3] = ["static", "reservation", "proportional"];

/// A host with one GPU of seven slices, whose VMs keep as many slices busy as they want.
struct Bench {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
    snapshot: Snapshot,
    history: History,
    policy: Box<dyn Policy + Send>,
    profiles: Profiles,
}

fn vm(id: u32, weight: u32, slices: Bounds<u32>) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 4,
        weight: Weight::new(weight).expect("in range"),
        cpu: Bounds { reservation: MilliCpu::new(500), limit: MilliCpu::cores(4) },
        memory: Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(50) },
        devices: Vec::new(),
        gpu_slices: slices,
        objective: Objective::Throughput,
        application: None,
    }
}

fn slices(reservation: u32, limit: u32) -> Bounds<u32> {
    Bounds { reservation, limit }
}

impl Bench {
    fn new(policy: &str, vms: Vec<VmSpec>) -> Self {
        let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
        let capabilities = Capabilities::free();
        let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
        let start = admit(world).expect("they fit");
        let counters = VmCounters { cpu_used_us: Some(0), gpu_busy_us: Some(0), ..VmCounters::default() };
        let sample =
            |spec: &VmSpec| VmSample { vm: spec.id, counters: counters.clone(), ..VmSample::default() };
        let samples = vms.iter().map(sample).collect();
        Self {
            snapshot: Snapshot { assignment: start, vms: samples, ..Snapshot::default() },
            topology,
            vms,
            capabilities,
            history: History::new(),
            policy: by_name(policy).expect("there is such a policy"),
            profiles: Profiles::default(),
        }
    }

    fn sizes(&self, assignment: &Assignment) -> Vec<u32> {
        let profiles = &self.topology.gpus()[0].profiles;
        let compute = |held: &GpuInstance| profiles[held.profile as usize].compute;
        let of = |spec: &VmSpec| {
            let owned = assignment.gpu_instances.iter().filter(|held| held.owner == spec.id);
            owned.map(compute).sum()
        };
        self.vms.iter().map(of).collect()
    }

    fn held(&self) -> Vec<u32> {
        self.sizes(&self.snapshot.assignment)
    }

    /// A second passes in which each VM could keep so many slices busy. What the policy says comes true
    /// as far as steps lead there, but for what `refuse` takes back.
    fn tick(&mut self, wanted: &[f64], refuse: impl Fn(&Assignment, &mut Assignment)) -> Proposal {
        self.snapshot.at += Duration::from_secs(1);
        self.snapshot.generation = Generation(self.snapshot.generation.0 + 1);
        let held = self.held();
        for ((sample, wanted), held) in self.snapshot.vms.iter_mut().zip(wanted).zip(held) {
            let busy = if held == 0 { 0.0 } else { (wanted / f64::from(held)).min(1.0) };
            let counters = &mut sample.counters;
            counters.cpu_used_us = counters.cpu_used_us.map(|before| before + 700_000);
            counters.gpu_busy_us = counters.gpu_busy_us.map(|before| before + (1e6 * busy) as u64);
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
        let before = self.snapshot.assignment.clone();
        let target = project(world, &before, Families::NONE, &proposal);
        let mut reached = diff(world, &before, &target).reached;
        refuse(&before, &mut reached);
        check(world, &reached).expect("feasible");
        self.snapshot.assignment = reached;
        proposal
    }

    fn run(&mut self, seconds: u32, wanted: &[f64]) -> usize {
        let before = |bench: &Self| bench.snapshot.assignment.gpu_instances.clone();
        let mut changes = 0;
        for _ in 0..seconds {
            let was = before(self);
            self.tick(wanted, |_, _| {});
            changes += usize::from(was != before(self));
        }
        changes
    }
}

#[test]
fn policies_that_look_at_descriptions_leave_no_slice_idle() {
    for policy in FIXED {
        let vms = [(100, 0, 7), (300, 0, 7), (100, 1, 2), (100, 0, 0)];
        let vms =
            vms.iter().zip(0..).map(|((weight, least, most), id)| vm(id, *weight, slices(*least, *most)));
        let mut bench = Bench::new(policy, vms.collect());
        let changes = bench.run(300, &[0.0; 4]);
        let sizes = bench.held();
        assert!(changes == 1 && sizes.iter().sum::<u32>() >= 6, "{policy}: {sizes:?}");
        assert!(sizes[1] > sizes[0] && sizes[0] > 0 && sizes[2] > 0 && sizes[3] == 0, "{policy}: {sizes:?}");
    }
}

#[test]
fn slices_go_where_they_are_used() {
    let wish = |id| vm(id, 100, slices(0, 7));
    let mut bench = Bench::new("reactive", (0..3).map(wish).collect());
    bench.run(10, &[0.0; 3]);
    let first = bench.held();
    assert!(first.iter().all(|slices| *slices > 0) && first.iter().sum::<u32>() >= 6, "{first:?}");
    // One of them is busy, the others hardly.
    bench.run(900, &[0.1, 6.0, 0.1]);
    let second = bench.held();
    assert!(second[1] >= 4 && second[0] > 0 && second[2] > 0, "{second:?}");
    // And then another.
    bench.run(1200, &[6.0, 0.1, 0.1]);
    let third = bench.held();
    assert!(third[0] >= 4 && third[1] > 0 && third[2] > 0, "{third:?}");
    assert_eq!(bench.run(1800, &[6.0, 0.1, 0.1]), 0, "it is restless");
}

#[test]
fn no_vm_loses_its_slices_twice_in_five_minutes() {
    let mut bench = Bench::new("reactive", (0..4).map(|id| vm(id, 100, slices(0, 7))).collect());
    let mut changed_at = [0_u32; 4];
    for second in 0..7200_u32 {
        // Whoever wants slices is another one every two minutes.
        let busy = (second / 120 % 4) as usize;
        let wanted: Vec<f64> = (0..4).map(|vm| if vm == busy { 7.0 } else { 0.1 }).collect();
        let before = bench.snapshot.assignment.gpu_instances.clone();
        bench.tick(&wanted, |_, _| {});
        let after = &bench.snapshot.assignment.gpu_instances;
        for owner in before.iter().filter(|held| !after.contains(held)).map(|held| held.owner.index()) {
            assert!(second - changed_at[owner] >= 300, "vm{owner} at {second}");
            changed_at[owner] = second;
        }
    }
    assert!(changed_at.iter().any(|at| *at > 600), "nothing ever moved");
}

#[test]
fn a_latency_critical_vm_comes_first() {
    let mut vms: Vec<VmSpec> = (0..3).map(|id| vm(id, 100, slices(1, 7))).collect();
    vms[2].objective = Objective::Latency { p99: Duration::from_millis(50) };
    let mut bench = Bench::new("reactive", vms);
    bench.run(1800, &[7.0; 3]);
    let sizes = bench.held();
    assert!(sizes[2] >= 3 && sizes[2] > sizes[0] && sizes[2] > sizes[1], "{sizes:?}");
}

/// A program that hardly gains from more slices leaves them to one that does.
#[test]
fn a_known_response_decides_who_gains() {
    let mut vms: Vec<VmSpec> = (0..2).map(|id| vm(id, 100, slices(0, 4))).collect();
    vms[0].application = Some("flat".into());
    let mut bench = Bench::new("reactive", vms);
    let gpu = GpuResponse { whole: 7, fixed: 0.97, bandwidth: 0.0, memory: ByteSize::gib(5) };
    let response = Response { gpu: Some(gpu), ..Response::flat(1e9) };
    bench.profiles.insert(Application {
        name: "flat".into(),
        source: "test".into(),
        response,
        fit: Fit::default(),
    });
    bench.run(1800, &[7.0, 7.0]);
    let sizes = bench.held();
    assert!(sizes[1] == 4 && sizes[0] < 4, "{sizes:?}");
}

/// The memory of the first VM never shrinks below what it holds, as if its guest refused.
fn refuse(before: &Assignment, after: &mut Assignment) {
    if after.holdings[0].total_memory() < before.holdings[0].total_memory() {
        after
            .holdings
            .iter_mut()
            .zip(&before.holdings)
            .for_each(|(after, before)| after.memory.clone_from(&before.memory));
    }
}

#[test]
fn what_was_refused_is_asked_for_again_and_not_for_ever() {
    for policy in FIXED {
        let vms: Vec<VmSpec> = (0..2).map(|id| vm(id, 100, slices(0, 0))).collect();
        let mut bench = Bench::new(policy, vms);
        bench.vms.iter_mut().for_each(|spec| spec.memory.limit = ByteSize::gib(100_000));
        // The first one has nearly all of the host.
        let nodes = bench.topology.nodes().iter();
        let most = nodes.map(|node| (node.id, node.available().saturating_sub(ByteSize::gib(3)))).collect();
        bench.snapshot.assignment.holdings[0].memory = most;
        bench.snapshot.assignment.holdings[1].memory = vec![(NodeId(0), ByteSize::gib(2))];
        let asks = |proposal: &Proposal| proposal.vms.iter().any(|wish| wish.memory.is_some());
        let mut asked = 0;
        for _ in 0..120 {
            asked += u32::from(asks(&bench.tick(&[0.0; 2], refuse)));
        }
        assert!((3..=4).contains(&asked), "{policy}: {asked} times in two minutes");
        for _ in 0..3 * 3600 {
            asked += u32::from(asks(&bench.tick(&[0.0; 2], refuse)));
        }
        assert!((10..=14).contains(&asked), "{policy}: {asked} times in three hours");
        // Once the guest gives in, it comes true without anybody's doing.
        let before = bench.snapshot.assignment.holdings[1].total_memory();
        (0..3600).for_each(|_| drop(bench.tick(&[0.0; 2], |_, _| {})));
        assert!(bench.snapshot.assignment.holdings[1].total_memory() > before, "{policy}");
        (0..3600)
            .for_each(|_| assert!(!asks(&bench.tick(&[0.0; 2], |_, _| {})), "{policy} asks for what is"));
    }
}

#[test]
fn bounds_that_change_are_answered_within_a_minute() {
    for policy in FIXED {
        let mut bench = Bench::new(policy, (0..3).map(|id| vm(id, 100, slices(0, 7))).collect());
        bench.run(300, &[0.0; 3]);
        bench.vms[1].cpu = Bounds { reservation: MilliCpu::cores(3), limit: MilliCpu::cores(6) };
        bench.vms[2].gpu_slices.limit = 1;
        bench.snapshot.assignment.gpu_instances.retain(|held| held.owner != VmId(2));
        bench.run(61, &[0.0; 3]);
        let held = bench.snapshot.assignment.holdings[1].cpu;
        assert!(held.share >= MilliCpu::cores(3) && held.ceiling > MilliCpu::cores(4), "{policy}: {held}");
        assert!(bench.held().iter().all(|slices| *slices > 0), "{policy}: {:?}", bench.held());
    }
}

#[test]
fn a_change_of_slices_says_why() {
    let mut bench = Bench::new("reactive", (0..3).map(|id| vm(id, 100, slices(0, 7))).collect());
    let mut reasons = Vec::new();
    for second in 0..1200 {
        let wanted = if second < 600 { [0.1, 0.1, 0.1] } else { [0.1, 6.0, 0.1] };
        reasons.extend(bench.tick(&wanted, |_, _| {}).gpu_instances.map(|(_, reason)| reason));
    }
    assert!(matches!(reasons[..], [Reason::Demand { .. }, Reason::BetterUse { .. }]), "{reasons:?}");
}
