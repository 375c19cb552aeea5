//! What projection makes of particular wishes, where the answer is known.

use halcyon_model::topology::{Cache, MemoryKind, MemoryNode, Parts, Socket};
use halcyon_model::*;

const WHY: Reason = Reason::AsAsked;

/// One socket of eight cores with two nodes of 64 GiB.
fn topology() -> Topology {
    let node = |id: u32| MemoryNode {
        id: NodeId(id),
        name: format!("node-{id}"),
        kind: MemoryKind::Dram { socket: SocketId(0) },
        capacity: ByteSize::gib(64),
        host_memory: ByteSize::ZERO,
        bandwidth: Bandwidth::gb_per_s(50),
    };
    let socket = Socket {
        id: SocketId(0),
        name: "socket-0".into(),
        cores: 8,
        threads_per_core: 1,
        host_cpu: MilliCpu::ZERO,
        cache: Some(Cache { size: ByteSize::mib(16), ways: 8, min_ways: 1, classes: 4 }),
    };
    Topology::new(Parts { sockets: vec![socket], nodes: vec![node(0), node(1)], ..Parts::default() })
        .expect("a coherent host")
}

fn vm(id: u32, memory: u64) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 4,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::cores(1), limit: MilliCpu::MAX },
        memory: Bounds { reservation: ByteSize::gib(memory), limit: ByteSize::MAX },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::MAX },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

struct Case {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
}

impl Case {
    fn of(vms: Vec<VmSpec>) -> Self {
        Self { topology: topology(), vms, capabilities: Capabilities::free() }
    }

    fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    fn project(&self, held: &Assignment, proposal: &Proposal) -> Assignment {
        let target = project(self.world(), held, Families::NONE, proposal);
        check(self.world(), &target).expect("feasible");
        target
    }
}

fn wishes<T>(vms: impl IntoIterator<Item = T>, wish: impl Fn(T) -> VmWish) -> Proposal {
    Proposal { vms: vms.into_iter().map(wish).collect(), ..Proposal::default() }
}

#[test]
fn vms_without_a_limit_that_want_everything_share_it() {
    let case = Case::of(vec![vm(0, 1), vm(1, 1), vm(2, 1)]);
    let held = admit(case.world()).unwrap();
    let wish = Wish { share: f64::INFINITY, ceiling: f64::INFINITY, reason: WHY };
    let target = case.project(
        &held,
        &wishes(0..3, |id| VmWish {
            vm: VmId(id),
            cpu: Some(wish),
            memory_bandwidth: Some(wish),
            ..VmWish::default()
        }),
    );
    for holding in &target.holdings {
        assert_eq!(holding.cpu, Grant { share: MilliCpu::new(2666), ceiling: MilliCpu::MAX });
        assert_eq!(holding.memory_bandwidth.share, Bandwidth::new(33_333_333_333));
    }
}

#[test]
fn what_is_scaled_down_keeps_its_granularity() {
    let mut case = Case::of(vec![vm(0, 1), vm(1, 1), vm(2, 1)]);
    let coarse = |granularity| Some(Control { granularity, ..Control::FREE });
    case.capabilities = Capabilities::free()
        .with(ChangeKind::Cpu, coarse(500))
        .with(ChangeKind::Memory, coarse(ByteSize::mib(2).get()));
    let held = admit(case.world()).unwrap();
    let wish = Wish { share: 7777.0, ceiling: 8000.0, reason: WHY };
    let size = ByteSize::gib(30).as_f64() + 77.0;
    let memory = MemoryWish { nodes: vec![(NodeId(1), size)], reason: WHY };
    let target = case.project(
        &held,
        &wishes(0..3, |id| VmWish {
            vm: VmId(id),
            cpu: Some(wish),
            memory: Some(memory.clone()),
            ..VmWish::default()
        }),
    );
    for holding in &target.holdings {
        assert_eq!(holding.cpu.share, MilliCpu::new(2500));
        let size = holding.memory_on(NodeId(1));
        assert!(size > ByteSize::gib(21) && size.get() % ByteSize::mib(2).get() == 0, "{size}");
    }
}

/// Guest 1 cannot be on node 1 whole, next to guest 2; guest 0's wish has nothing to do with that.
#[test]
fn a_wish_for_memory_that_cannot_be_does_not_stop_the_others() {
    let case = Case::of(vec![vm(0, 8), vm(1, 40), vm(2, 30)]);
    let mut held = admit(case.world()).unwrap();
    for (holding, (node, size)) in held.holdings.iter_mut().zip([(0, 8), (0, 40), (1, 30)]) {
        holding.memory = vec![(NodeId(node), ByteSize::gib(size))];
    }
    let on = |node: u32, gib: u64| {
        Some(MemoryWish { nodes: vec![(NodeId(node), ByteSize::gib(gib).as_f64())], reason: WHY })
    };
    let wish = |(vm, memory)| VmWish { vm: VmId(vm), memory, ..VmWish::default() };
    let target = case.project(&held, &wishes([(0, on(1, 20)), (1, on(1, 40))], wish));
    assert_eq!(target.holdings[0].memory, [(NodeId(1), ByteSize::gib(20))]);
    assert_eq!(target.holdings[1].memory, held.holdings[1].memory);
}

#[test]
fn a_class_that_cannot_go_keeps_its_ways() {
    let mut case = Case::of(vec![vm(0, 1), vm(1, 1)]);
    case.capabilities = Capabilities::free().with(ChangeKind::CacheClass, None);
    let mut held = admit(case.world()).unwrap();
    held.classes[1] = Some(vec![CacheMask(0b1100)]);
    held.holdings[1].class = ClassId(1);
    let target = case.project(&held, &Proposal { classes: Some(vec![vec![0b11]]), ..Proposal::default() });
    assert_eq!(target.classes[..2], [Some(vec![CacheMask(0b11)]), Some(vec![CacheMask(0b1100)])]);

    // The other way round, VMs change between classes whose ways are fixed.
    case.capabilities = Capabilities::free().with(ChangeKind::CacheMask, None);
    let wish = |vm| VmWish { vm, class: Some((ClassId(1), WHY)), ..VmWish::default() };
    let target = case.project(&held, &wishes([VmId(0)], wish));
    assert_eq!(target.holdings[0].class, ClassId(1));
}

#[test]
fn a_step_has_the_reason_of_the_wish_that_counted() {
    let case = Case::of(vec![vm(0, 1)]);
    let held = admit(case.world()).unwrap();
    let cpu = |share, reason| Some(Wish { share, ceiling: 8000.0, reason });
    let wish = |cpu| VmWish { vm: VmId(0), cpu, ..VmWish::default() };
    let later = (0..4).map(|_| cpu(3000.0, Reason::Neighbour));
    let proposal = wishes([cpu(2000.0, Reason::Locality)].into_iter().chain(later), wish);
    let target = case.project(&held, &proposal);
    let standing = Standing { snapshot: Generation(0), plan: Generation(0) };
    let plan = approve(case.world(), standing, &proposal, &held, diff(case.world(), &held, &target)).unwrap();
    assert_eq!(plan.target().holdings[0].cpu.share, MilliCpu::cores(2));
    assert_eq!(plan.changes()[0].reason, Reason::Locality);
}

/// Two sockets like the one of the other cases.
fn two_sockets() -> Topology {
    let one = topology();
    let mut parts = Parts { nodes: one.nodes().to_vec(), ..Parts::default() };
    parts.nodes[1].kind = MemoryKind::Dram { socket: SocketId(1) };
    let second = Socket { id: SocketId(1), name: "socket-1".into(), ..one.sockets()[0].clone() };
    parts.sockets = vec![one.sockets()[0].clone(), second];
    Topology::new(parts).expect("a coherent host")
}

#[test]
fn who_was_promised_more_than_its_socket_has_left_moves() {
    let mut case = Case::of(vec![vm(0, 8), vm(1, 8), vm(2, 8)]);
    case.topology = two_sockets();
    let mut held = admit(case.world()).unwrap();
    for holding in &mut held.holdings {
        (holding.socket, holding.memory) = (SocketId(0), vec![(NodeId(0), ByteSize::gib(8))]);
    }
    case.vms[1].cpu.reservation = MilliCpu::cores(7);
    let target = case.project(&held, &Proposal::default());
    let sockets: Vec<_> = target.holdings.iter().map(|holding| holding.socket.0).collect();
    // The least that makes room enough.
    assert_eq!(sockets, [1, 0, 0]);
    // Where nobody can move, nothing is made worse.
    case.capabilities = Capabilities::free().with(ChangeKind::Placement, None);
    let target = project(case.world(), &held, Families::NONE, &Proposal::default());
    assert!(target.holdings.iter().all(|holding| holding.socket == SocketId(0)));
}

#[test]
fn memory_that_is_promised_later_comes_from_those_who_have_more_than_their_own() {
    let mut case = Case::of(vec![vm(0, 8), vm(1, 8), vm(2, 8)]);
    let mut held = admit(case.world()).unwrap();
    for (holding, sizes) in held.holdings.iter_mut().zip([[56, 0], [8, 16], [0, 48]]) {
        let nodes = [NodeId(0), NodeId(1)].into_iter().zip(sizes.map(ByteSize::gib));
        holding.memory = nodes.filter(|(_, size)| !size.is_zero()).collect();
    }
    // The host is full; one is promised more, one may have less.
    case.vms[1].memory.reservation = ByteSize::gib(60);
    case.vms[2].memory.limit = ByteSize::gib(32);
    let target = case.project(&held, &Proposal::default());
    let totals: Vec<_> = target.holdings.iter().map(|holding| holding.total_memory()).collect();
    assert_eq!(totals, [ByteSize::gib(36), ByteSize::gib(60), ByteSize::gib(32)]);
}
