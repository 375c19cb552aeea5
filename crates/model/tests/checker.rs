//! For each rule, assignments that break this rule and no other, found with the name of the thing.

use std::time::Duration;

use halcyon_model::topology::{
    Attachment, Cache, Device, Gpu, LanePool, Link, LinkEnd, MemoryKind, MemoryNode, Parts, Port, PortKind,
    SliceProfile, Socket, Switch,
};
use halcyon_model::*;

/// Two sockets with a cache and a node each. Socket 0 has a switch with two slots below a pooled root port:
/// a network card in two functions of one IOMMU group, and an NVMe drive. Socket 1 has a GPU in instances.
fn topology() -> Topology {
    let gen4 = |width| LinkSetting { width, speed: LinkSpeed::Gen4 };
    let [x4, x8, x16] = [Lanes::LEGAL[2], Lanes::LEGAL[3], Lanes::LEGAL[4]];
    let port = |id, name: &str, kind, max_width, pool| Port {
        id: PortId(id),
        name: name.into(),
        kind,
        max_width,
        max_speed: LinkSpeed::Gen4,
        hot_plug: true,
        pool,
    };
    let link = |id, upper, lower, width| Link {
        id: LinkId(id),
        upper: PortId(upper),
        lower,
        capable: gen4(width),
        initial: gen4(width),
    };
    let device = |id: u32, name: &str, class, attachment, group, hot_plug, host_owned| Device {
        id: DeviceId(id),
        name: name.into(),
        address: None,
        class,
        attachment,
        bandwidth: Bandwidth::gb_per_s(7),
        iommu_group: IommuGroup(group),
        hot_plug,
        host_owned,
    };
    let socket = |id: u32| Socket {
        id: SocketId(id),
        name: format!("cpu-{id}"),
        cores: 8,
        threads_per_core: 1,
        host_cpu: MilliCpu::ZERO,
        cache: Some(Cache { size: ByteSize::mib(32), ways: 11, min_ways: 2, classes: 4 }),
    };
    let node = |id: u32| MemoryNode {
        id: NodeId(id),
        name: format!("dram-{id}"),
        kind: MemoryKind::Dram { socket: SocketId(id) },
        capacity: ByteSize::gib(64),
        host_memory: ByteSize::ZERO,
        bandwidth: Bandwidth::gb_per_s(100),
    };
    let (root, down) =
        (|socket| PortKind::Root { socket: SocketId(socket) }, PortKind::Downstream { switch: SwitchId(0) });
    let (nic, nvme, gpu) = (DeviceClass::Nic, DeviceClass::Nvme, DeviceClass::Gpu);
    let slot = |link| Attachment::Link(LinkId(link));
    Topology::new(Parts {
        name: "bench".into(),
        sockets: vec![socket(0), socket(1)],
        nodes: vec![node(0), node(1)],
        ports: vec![
            port(0, "root-a", root(0), x8, Some(PoolId(0))),
            port(1, "up", PortKind::Upstream { switch: SwitchId(0) }, x8, None),
            port(2, "slot-1", down, x4, None),
            port(3, "slot-2", down, x4, None),
            port(4, "root-b", root(1), x16, Some(PoolId(0))),
        ],
        switches: vec![Switch {
            id: SwitchId(0),
            name: "switch".into(),
            upstream: PortId(1),
            downstream: vec![PortId(2), PortId(3)],
        }],
        links: vec![
            link(0, 0, LinkEnd::Switch(SwitchId(0)), x8),
            link(1, 2, LinkEnd::Device(DeviceId(0)), x4),
            link(2, 3, LinkEnd::Device(DeviceId(3)), x4),
            Link { initial: gen4(x8), ..link(3, 4, LinkEnd::Device(DeviceId(4)), x16) },
        ],
        pools: vec![LanePool { id: PoolId(0), name: "bifurcation".into(), lanes: 16 }],
        devices: vec![
            device(0, "nic", nic, slot(1), 5, true, false),
            device(1, "nic-vf0", nic, Attachment::PartOf(DeviceId(0)), 7, true, false),
            device(2, "nic-vf1", nic, Attachment::PartOf(DeviceId(0)), 7, true, false),
            device(3, "drive", nvme, slot(2), 8, false, false),
            device(4, "a100", gpu, slot(3), 9, true, true),
        ],
        gpus: vec![Gpu {
            id: GpuId(0),
            device: DeviceId(4),
            slices: 8,
            memory: ByteSize::gib(40),
            profiles: vec![
                SliceProfile { name: "1g".into(), compute: 1, span: 1, starts: (0..7).collect() },
                SliceProfile { name: "3g".into(), compute: 3, span: 4, starts: vec![0, 4] },
            ],
        }],
        ..Parts::default()
    })
    .expect("a coherent host")
}

fn vm(id: u32, name: &str) -> VmSpec {
    let wish = |class| DeviceWish {
        class,
        count: Bounds { reservation: 0, limit: 2 },
        bandwidth: Bounds { reservation: Bandwidth::gb_per_s(1), limit: Bandwidth::gb_per_s(6) },
    };
    VmSpec {
        id: VmId(id),
        name: name.into(),
        vcpus: 4,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::cores(2), limit: MilliCpu::cores(7) },
        memory: Bounds { reservation: ByteSize::gib(8), limit: ByteSize::gib(48) },
        memory_bandwidth: Bounds { reservation: Bandwidth::gb_per_s(10), limit: Bandwidth::gb_per_s(80) },
        devices: vec![wish(DeviceClass::Nic), wish(DeviceClass::Nvme)],
        gpu_slices: Bounds { reservation: 0, limit: 3 },
        objective: Objective::Latency { p99: Duration::from_millis(5) },
        application: None,
    }
}

/// Both VMs on socket 0; `web` has the functions, `db` the drive; one GPU instance each.
fn assignment(world: World<'_>) -> Assignment {
    let mut held = admit(world).expect("room for both");
    let grant = Grant { share: Bandwidth::gb_per_s(2), ceiling: Bandwidth::gb_per_s(6) };
    for holding in &mut held.holdings {
        (holding.socket, holding.memory) = (SocketId(0), vec![(NodeId(0), ByteSize::gib(8))]);
    }
    for (device, owner) in [(1, 0), (2, 0), (3, 1)] {
        held.devices[device] = DeviceHolding { owner: Some(VmId(owner)), bandwidth: grant };
    }
    held.gpu_instances = vec![instance(0, 1, 0), instance(4, 0, 1)];
    held
}

fn instance(start: u32, profile: u32, owner: u32) -> GpuInstance {
    GpuInstance { gpu: GpuId(0), start, profile, owner: VmId(owner) }
}

/// What the checker says once `spoil` has changed a feasible assignment.
fn findings(spoil: impl FnOnce(&mut Assignment)) -> Vec<Violation> {
    let (topology, vms, capabilities) = (topology(), [vm(0, "web"), vm(1, "db")], Capabilities::free());
    let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
    let mut held = assignment(world);
    check(world, &held).expect("feasible at first");
    spoil(&mut held);
    check(world, &held).err().map_or_else(Vec::new, |broken| broken.0)
}

#[track_caller]
fn breaks(rule: Rule, named: &str, spoil: impl FnOnce(&mut Assignment)) {
    let found = findings(spoil);
    assert!(!found.is_empty(), "nothing was found, not {rule} about {named}");
    assert!(found.iter().all(|violation| violation.rule == rule), "not only {rule}: {found:#?}");
    assert!(found.iter().any(|violation| violation.detail.contains(named)), "{named} is not in {found:#?}");
}

const GIB: fn(u64) -> ByteSize = ByteSize::gib;
const GB: fn(u64) -> Bandwidth = Bandwidth::gb_per_s;

#[test]
fn everything_is_there_once() {
    let rule = Rule::Complete;
    breaks(rule, "the host has 2", |held| held.holdings.truncate(1));
    breaks(rule, "order differs", |held| held.holdings.reverse());
    breaks(rule, "4 devices instead of 5", |held| held.devices.truncate(4));
    breaks(rule, "3 links instead of 4", |held| held.links.truncate(3));
    breaks(rule, "5 classes of service instead of 4", |held| held.classes.push(None));
    breaks(rule, "vm1", |held| held.holdings[1].socket = SocketId(2));
    breaks(rule, "vm0", |held| held.holdings[0].memory[0].0 = NodeId(9));
    breaks(rule, "vm0", |held| held.holdings[0].memory.push((NodeId(0), GIB(1))));
    breaks(rule, "vm1", |held| held.holdings[1].memory.push((NodeId(1), ByteSize::ZERO)));
    breaks(rule, "gpu3", |held| held.gpu_instances[1].gpu = GpuId(3));
}

#[test]
fn no_more_is_granted_than_there_is() {
    let rule = Rule::Capacity;
    breaks(rule, "cpu-0", |held| {
        held.holdings.iter_mut().for_each(|holding| holding.cpu = Grant::fixed(MilliCpu::new(4001)));
    });
    breaks(rule, "cpu-0", |held| {
        held.holdings.iter_mut().for_each(|holding| holding.memory_bandwidth = Grant::fixed(GB(51)));
    });
    breaks(rule, "dram-1", |held| {
        held.holdings.iter_mut().for_each(|holding| holding.memory = vec![(NodeId(1), GIB(33))]);
    });
    // Each function could move this alone, but they share the card's slot.
    breaks(rule, "slot-1", |held| {
        held.devices[1].bandwidth = Grant::fixed(GB(4));
        held.devices[2].bandwidth = Grant::fixed(GB(4));
    });
    // Each slot carries its own, but both share the way up.
    breaks(rule, "root-a", |held| {
        held.links[0].speed = LinkSpeed::Gen2;
        held.links[0].width = Lanes::LEGAL[3];
    });
}

#[test]
fn everyone_has_its_reservation_and_no_more_than_its_limit() {
    let rule = Rule::Bounds;
    breaks(rule, "web cpu", |held| held.holdings[0].cpu.share = MilliCpu::new(1999));
    breaks(rule, "db cpu", |held| held.holdings[1].cpu.ceiling = MilliCpu::new(7001));
    breaks(rule, "db cpu", |held| held.holdings[1].cpu.ceiling = MilliCpu::new(1));
    breaks(rule, "web memory bandwidth", |held| held.holdings[0].memory_bandwidth.share = GB(9));
    breaks(rule, "web memory", |held| held.holdings[0].memory[0].1 = GIB(7));
    breaks(rule, "db memory", |held| held.holdings[1].memory.push((NodeId(1), GIB(41))));
    breaks(rule, "drive of db", |held| held.devices[3].bandwidth = Grant::fixed(Bandwidth::new(1)));
    breaks(rule, "drive of db", |held| held.devices[3].bandwidth.ceiling = GB(7));
    breaks(rule, "web has 4 GPU slices", |held| held.gpu_instances[1].owner = VmId(0));
    let (topology, mut vms) = (topology(), [vm(0, "web"), vm(1, "db")]);
    let capabilities = Capabilities::free();
    let held = assignment(World { topology: &topology, vms: &vms, capabilities: &capabilities });
    vms[0].devices[0].count.limit = 1;
    let broken = check(World { topology: &topology, vms: &vms, capabilities: &capabilities }, &held);
    assert!(broken.unwrap_err().to_string().contains("bounds: web has 2 nic devices, not 0 to 1"));
}

#[test]
fn a_device_has_one_owner_that_may_own_it() {
    let rule = Rule::OneOwner;
    breaks(rule, "drive has a grant but no owner", |held| held.devices[3].owner = None);
    breaks(rule, "drive is owned by vm9", |held| held.devices[3].owner = Some(VmId(9)));
    // The card as a whole is divided; counting it as a third one would also be above the limit.
    let found = findings(|held| held.devices[0] = held.devices[3]);
    let card =
        |violation: &Violation| violation.rule == rule && violation.detail.contains("nic cannot be owned");
    assert!(found.iter().any(card), "{found:#?}");
    let found = findings(|held| held.devices[4] = held.devices[3]);
    let gpu = |violation: &Violation| violation.rule == rule && violation.detail.contains("a100");
    assert!(found.iter().any(gpu), "{found:#?}");
    breaks(rule, "gpu0 is owned by vm9", |held| held.gpu_instances[0].owner = VmId(9));
}

#[test]
fn an_iommu_group_has_one_owner() {
    breaks(Rule::IommuGroupWhole, "iommu7", |held| held.devices[2].owner = Some(VmId(1)));
    breaks(Rule::IommuGroupWhole, "iommu7", |held| held.devices[1] = DeviceHolding::default());
}

#[test]
fn links_are_as_wide_as_ports_and_pools_allow() {
    let rule = Rule::LaneWidth;
    breaks(rule, "root-b cannot train at x3", |held| held.links[3].width = Lanes::unchecked(3));
    breaks(rule, "slot-2 is set to x8", |held| held.links[2].width = Lanes::LEGAL[3]);
    breaks(rule, "slot-2 is set to x4 32GT/s", |held| held.links[2].speed = LinkSpeed::Gen5);
    breaks(rule, "24 lanes in use of bifurcation", |held| held.links[3].width = Lanes::LEGAL[4]);
}

#[test]
fn cache_masks_are_runs_of_ways_that_are_there() {
    let rule = Rule::CacheMask;
    for mask in [0, 0b1, 0b101, 0b1000_0000_0011, 0b1100_0000_0000, u32::MAX] {
        let named = format!("class 2 has mask {mask:x} on cpu-1");
        breaks(rule, &named, |held| held.classes[2] = Some(vec![CacheMask(0b11), CacheMask(mask)]));
    }
    breaks(rule, "class 3 needs a mask for each socket", |held| held.classes[3] = Some(vec![]));
}

#[test]
fn every_vm_is_in_a_class_in_use() {
    breaks(Rule::ClassCount, "vm1 is in clos2", |held| held.holdings[1].class = ClassId(2));
    breaks(Rule::ClassCount, "the hardware has 4", |held| held.holdings[1].class = ClassId(4));
    breaks(Rule::ClassCount, "vm0 is in clos0", |held| held.classes[0] = None);
}

#[test]
fn gpu_instances_fit_side_by_side() {
    let rule = Rule::GpuPartition;
    breaks(rule, "gpu0 overlap at 3", |held| held.gpu_instances[1].start = 3);
    breaks(rule, "gpu0 has no such instance starting at 7", |held| held.gpu_instances[1].start = 7);
    breaks(rule, "gpu0 has no such instance", |held| held.gpu_instances[1].profile = 2);
    breaks(rule, "out of order", |held| held.gpu_instances.reverse());
}

/// The two rules of plans, not of states.
#[test]
fn a_plan_is_fresh_and_changes_what_can_be_changed() {
    let (topology, vms) = (topology(), [vm(0, "web"), vm(1, "db")]);
    let fixed = Capabilities::free().with(ChangeKind::Cpu, None);
    let world = World { topology: &topology, vms: &vms, capabilities: &fixed };
    let held = assignment(world);
    let standing = Standing { snapshot: Generation(3), plan: Generation(8) };
    let fresh = Proposal { based_on: Generation(3), ..Proposal::default() };
    let judge = |proposal: &Proposal, change: fn(&mut Assignment)| {
        let mut target = held.clone();
        change(&mut target);
        approve(world, standing, proposal, &held, diff(world, &held, &target))
    };
    let only = |result: Result<Plan, Violations>| {
        let [violation] = <[Violation; 1]>::try_from(result.unwrap_err().0).unwrap();
        (violation.rule, violation.detail)
    };

    let plan = judge(&fresh, |target| target.holdings[0].memory[0].1 = GIB(9)).unwrap();
    assert_eq!((plan.generation(), plan.based_on()), (Generation(9), Generation(3)));
    for stale in [2, 4] {
        let (rule, detail) = only(judge(&Proposal { based_on: Generation(stale), ..fresh.clone() }, |_| {}));
        assert_eq!(rule, Rule::Generation);
        assert!(detail.contains(&format!("#{stale}")) && detail.contains("#3"), "{detail}");
    }
    let (rule, detail) = only(judge(&fresh, |target| target.holdings[0].cpu.share = MilliCpu::cores(3)));
    assert_eq!(rule, Rule::Capability);
    assert!(detail.contains("vm0 cpu"), "{detail}");
    let (rule, detail) = only(judge(&fresh, |target| target.devices[3] = DeviceHolding::default()));
    assert_eq!(rule, Rule::Capability);
    assert!(detail.contains("drive cannot be hot-plugged"), "{detail}");
}

#[test]
fn admission_names_the_vm_and_what_is_short() {
    let topology = topology();
    let refusal = |change: fn(&mut VmSpec)| {
        let mut vms = [vm(0, "web"), vm(1, "db")];
        change(&mut vms[1]);
        let capabilities = Capabilities::free();
        admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).unwrap_err().to_string()
    };
    let limit = |spec: &mut VmSpec| spec.cpu.limit = MilliCpu::cores(1);
    assert!(refusal(limit).starts_with("`db` asks for 2 of CPU time within its own limit, and 1 is left"));
    let memory = |spec: &mut VmSpec| spec.memory = Bounds { reservation: GIB(129), limit: GIB(129) };
    assert!(refusal(memory).starts_with("`db` asks for 129GiB of memory, and 128GiB is left"));
    // The GPU is divided, and so cannot be had whole.
    let gpu = |spec: &mut VmSpec| {
        let count = Bounds { reservation: 1, limit: 1 };
        spec.devices.push(DeviceWish { class: DeviceClass::Gpu, count, bandwidth: Bounds::default() });
    };
    assert!(refusal(gpu).starts_with("`db` asks for gpu of devices of a class that it must have"));
}

#[test]
fn a_vm_described_twice_and_a_link_wider_than_its_switch_are_found() {
    let (topology, vms, capabilities) = (topology(), [vm(0, "web"), vm(0, "web")], Capabilities::free());
    let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
    let held = Assignment { holdings: Vec::new(), ..Assignment::default() };
    let broken = check(world, &held).unwrap_err();
    assert!(broken.0.iter().any(|violation| violation.detail.contains("described twice")), "{broken}");

    let mut parts = Parts { sockets: topology.sockets().to_vec(), ..Parts::default() };
    parts.nodes = topology.nodes().to_vec();
    let fabric = topology.fabric().clone();
    (parts.ports, parts.switches, parts.links) = (fabric.ports, fabric.switches, fabric.links);
    (parts.pools, parts.devices) = (fabric.pools, fabric.devices);
    parts.ports[1].max_width = Lanes::LEGAL[2];
    let error = Topology::new(parts).unwrap_err().to_string();
    assert!(error.contains("root-a: cannot carry a link of x8"), "{error}");
}
