//! Planning stays cheap on the largest hosts. The bounds are loose, since other work may share the machine:
//! they catch a step that became quadratic, not one that became slower.
#![allow(clippy::print_stdout)]

mod common;

use std::time::{Duration, Instant};

use common::{Host, Tape, wishes};
use halcyon_model::topology::{
    Attachment, Cache, Device, Link, LinkEnd, MemoryKind, MemoryNode, Parts, Port, PortKind, Socket, Switch,
};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, Capabilities, DeviceClass, DeviceId, DeviceWish, Families, Generation,
    IommuGroup, Lanes, LinkId, LinkSetting, LinkSpeed, MilliCpu, NodeId, Objective, PortId, SocketId,
    Standing, SwitchId, Topology, VmId, VmSpec, Weight, admit, approve, check, diff, project,
};

const SOCKETS: u32 = 4;
const SETTING: LinkSetting = LinkSetting { width: Lanes::LEGAL[4], speed: LinkSpeed::Gen5 };

fn id<T>(make: fn(u32) -> T, index: usize) -> T {
    make(u32::try_from(index).expect("few"))
}

fn port(parts: &mut Parts, kind: PortKind) -> PortId {
    let port = PortId::at(parts.ports.len());
    let (max_width, max_speed) = (SETTING.width, SETTING.speed);
    let name = format!("{port}");
    parts.ports.push(Port { id: port, name, kind, max_width, max_speed, hot_plug: true, pool: None });
    port
}

fn link(parts: &mut Parts, upper: PortId, lower: LinkEnd) -> LinkId {
    let link = LinkId::at(parts.links.len());
    parts.links.push(Link { id: link, upper, lower, capable: SETTING, initial: SETTING });
    link
}

/// Devices in switches of 32 slots, eight to a switch above them.
fn topology(devices: usize) -> Topology {
    let mut parts = Parts { name: "large".into(), ..Parts::default() };
    for index in 0..SOCKETS {
        let cache = Cache { size: ByteSize::mib(64), ways: 16, min_ways: 1, classes: 15 };
        parts.sockets.push(Socket {
            id: SocketId(index),
            name: format!("socket-{index}"),
            cores: 512,
            threads_per_core: 2,
            host_cpu: MilliCpu::ZERO,
            cache: Some(cache),
        });
        parts.nodes.push(MemoryNode {
            id: NodeId(index),
            name: format!("node-{index}"),
            kind: MemoryKind::Dram { socket: SocketId(index) },
            capacity: ByteSize::gib(4096),
            host_memory: ByteSize::ZERO,
            bandwidth: Bandwidth::gb_per_s(2000),
        });
    }
    let mut open = Vec::new();
    while open.len() < devices {
        let socket = SocketId(id(|index| index % SOCKETS, open.len() / 256));
        let root = port(&mut parts, PortKind::Root { socket });
        for upper in switch(&mut parts, root, 8) {
            open.extend(switch(&mut parts, upper, 32));
        }
    }
    for (index, slot) in open.into_iter().take(devices).enumerate() {
        let device = DeviceId::at(index);
        let link = link(&mut parts, slot, LinkEnd::Device(device));
        parts.devices.push(Device {
            id: device,
            name: format!("{device}"),
            address: None,
            class: DeviceClass::ALL[index % 2].0,
            attachment: Attachment::Link(link),
            bandwidth: Bandwidth::gb_per_s(10),
            iommu_group: IommuGroup(device.0),
            hot_plug: true,
            host_owned: false,
        });
    }
    Topology::new(parts).expect("a coherent host")
}

fn switch(parts: &mut Parts, above: PortId, slots: usize) -> Vec<PortId> {
    let switch = SwitchId::at(parts.switches.len());
    let upstream = port(parts, PortKind::Upstream { switch });
    let downstream: Vec<_> = (0..slots).map(|_| port(parts, PortKind::Downstream { switch })).collect();
    let name = format!("{switch}");
    parts.switches.push(Switch { id: switch, name, upstream, downstream: downstream.clone() });
    link(parts, above, LinkEnd::Switch(switch));
    downstream
}

fn vm(index: usize) -> VmSpec {
    let wish = |class| DeviceWish {
        class,
        count: Bounds { reservation: 1, limit: 4 },
        bandwidth: Bounds { reservation: Bandwidth::mb_per_s(10), limit: Bandwidth::gb_per_s(10) },
    };
    VmSpec {
        id: id(VmId, index),
        name: format!("guest-{index}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::cores(1), limit: MilliCpu::cores(16) },
        memory: Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::gb_per_s(1), limit: Bandwidth::gb_per_s(50) },
        devices: vec![wish(DeviceClass::Nvme), wish(DeviceClass::Nic)],
        gpu_slices: Bounds::default(),
        objective: Objective::BestEffort,
        application: None,
    }
}

fn timed<T>(what: &str, work: impl FnOnce() -> T) -> T {
    let start = Instant::now();
    let result = work();
    let taken = start.elapsed();
    println!("{what}: {taken:?}");
    assert!(taken < Duration::from_secs(2), "{what} took {taken:?}");
    result
}

#[test]
fn a_thousand_vms_with_four_thousand_devices_are_planned_at_once() {
    let (topology, capabilities) = (topology(4096), Capabilities::free());
    let host = Host { topology, vms: (0..1024).map(vm).collect(), capabilities };
    let world = host.world();
    let held = timed("admission", || admit(world)).expect("room for all");
    let mut tape = Tape::new((0..400_000_u32).map(|index| index.wrapping_mul(2_654_435_761) >> 3).collect());
    let proposal = wishes::plausible(&mut tape, world, &held);
    let target = timed("projection", || project(world, &held, Families::NONE, &proposal));
    let diff = timed("difference", || diff(world, &held, &target));
    println!("{} steps, {} deferred", diff.steps.len(), diff.deferred.len());
    assert!(diff.steps.len() > 4000, "{}", diff.steps.len());
    timed("check", || check(world, &target)).expect("feasible");
    let standing = Standing { snapshot: Generation(0), plan: Generation(0) };
    timed("approval", || approve(world, standing, &proposal, &held, diff)).expect("a plan");
}
