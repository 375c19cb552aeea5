//! Random hosts and the VMs on them.

use std::time::Duration;

use halcyon_model::topology::{
    Attachment, Cache, Device, Gpu, LanePool, Link, LinkEnd, MemoryKind, MemoryNode, Parts, Port, PortKind,
    SliceProfile, Socket, Switch,
};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, DeviceClass, DeviceId, DeviceWish, GpuId, IommuGroup, Lanes, LinkId,
    LinkSetting, LinkSpeed, MilliCpu, NodeId, Objective, PoolId, PortId, SocketId, SwitchId, Topology, VmId,
    VmSpec, Weight,
};

use super::Tape;

pub(crate) fn topology(tape: &mut Tape) -> Topology {
    let mut parts = Parts { name: "host".into(), ..Parts::default() };
    sockets(tape, &mut parts);
    for port in fabric(tape, &mut parts) {
        if tape.chance(5, 6) {
            plug_device(tape, &mut parts, port);
        }
    }
    divide_devices(tape, &mut parts);
    pools(tape, &mut parts);
    nodes(tape, &mut parts);
    gpus(tape, &mut parts);
    Topology::new(parts).expect("the generator makes coherent hosts")
}

fn sockets(tape: &mut Tape, parts: &mut Parts) {
    let cached = tape.chance(3, 4);
    for index in 0..=tape.below(4) {
        let ways = *tape.pick(&[11, 1, 2, 12, 20, 32]);
        let cache = (cached && !tape.chance(1, 8)).then(|| Cache {
            size: ByteSize::mib(32),
            ways,
            min_ways: 1 + u32::from(ways > 1 && tape.chance(1, 4)),
            classes: 1 + below(tape, 16),
        });
        parts.sockets.push(Socket {
            id: SocketId::at(index),
            name: format!("socket-{index}"),
            cores: 4 + below(tape, 60),
            threads_per_core: 1 + below(tape, 2),
            host_cpu: MilliCpu::new(tape.between(0, 2500)),
            cache,
        });
    }
}

fn below(tape: &mut Tape, end: u32) -> u32 {
    u32::try_from(tape.below(end as usize)).expect("below a u32")
}

fn port(tape: &mut Tape, parts: &mut Parts, kind: PortKind) -> PortId {
    let id = PortId::at(parts.ports.len());
    parts.ports.push(Port {
        id,
        name: format!("port-{}", id.0),
        kind,
        max_width: *tape.pick(&[Lanes::LEGAL[4], Lanes::LEGAL[3], Lanes::LEGAL[2], Lanes::LEGAL[0]]),
        max_speed: *tape.pick(&[LinkSpeed::Gen5, LinkSpeed::Gen4, LinkSpeed::Gen6, LinkSpeed::Gen1]),
        hot_plug: true,
        pool: None,
    });
    id
}

/// Root ports and up to three switches, nested at random. Returns the ports with nothing below them.
fn fabric(tape: &mut Tape, parts: &mut Parts) -> Vec<PortId> {
    let mut open = Vec::new();
    for socket in 0..parts.sockets.len() {
        for _ in 0..1 + tape.below(4) {
            open.push(port(tape, parts, PortKind::Root { socket: SocketId::at(socket) }));
        }
    }
    for index in 0..tape.below(4) {
        let switch = SwitchId::at(index);
        let above = open.swap_remove(tape.below(open.len()));
        let upstream = port(tape, parts, PortKind::Upstream { switch });
        let downstream: Vec<_> =
            (0..1 + tape.below(4)).map(|_| port(tape, parts, PortKind::Downstream { switch })).collect();
        open.extend(&downstream);
        parts.switches.push(Switch { id: switch, name: format!("switch-{index}"), upstream, downstream });
        link(tape, parts, above, LinkEnd::Switch(switch));
    }
    open
}

fn link(tape: &mut Tape, parts: &mut Parts, upper: PortId, lower: LinkEnd) -> LinkId {
    let id = LinkId::at(parts.links.len());
    let above = &parts.ports[upper.index()];
    let below = match lower {
        LinkEnd::Switch(switch) => &parts.ports[parts.switches[switch.index()].upstream.index()],
        LinkEnd::Device(_) => above,
    };
    let capable = LinkSetting {
        width: above.max_width.min(below.max_width),
        speed: above.max_speed.min(below.max_speed),
    };
    let initial = if tape.chance(1, 3) { narrower(tape, capable) } else { capable };
    parts.links.push(Link { id, upper, lower, capable, initial });
    id
}

pub(crate) fn narrower(tape: &mut Tape, capable: LinkSetting) -> LinkSetting {
    let widths: Vec<_> = Lanes::LEGAL.into_iter().rev().filter(|width| *width <= capable.width).collect();
    let speeds: Vec<_> = LinkSpeed::ALL.into_iter().rev().filter(|speed| *speed <= capable.speed).collect();
    LinkSetting { width: *tape.pick(&widths), speed: *tape.pick(&speeds[..speeds.len().min(3)]) }
}

fn plug_device(tape: &mut Tape, parts: &mut Parts, port: PortId) {
    let id = DeviceId::at(parts.devices.len());
    let link = link(tape, parts, port, LinkEnd::Device(id));
    let class = DeviceClass::ALL[tape.below(DeviceClass::ALL.len())].0;
    push_device(tape, parts, class, Attachment::Link(link));
}

fn push_device(tape: &mut Tape, parts: &mut Parts, class: DeviceClass, attachment: Attachment) {
    let id = DeviceId::at(parts.devices.len());
    let own = IommuGroup(1000 - id.0);
    let host_owned = tape.chance(1, 10);
    let shared = parts.devices.iter().rev().find(|other| other.host_owned == host_owned);
    let iommu_group = shared.filter(|_| tape.chance(1, 6)).map_or(own, |other| other.iommu_group);
    let bandwidth = if tape.chance(1, 20) { Bandwidth::MAX } else { rate(tape, 1, 20_000) };
    let hot_plug = !tape.chance(1, 8);
    parts.devices.push(Device {
        id,
        name: format!("{class}-{}", id.0),
        address: None,
        class,
        attachment,
        bandwidth,
        iommu_group,
        hot_plug,
        host_owned,
    });
}

fn rate(tape: &mut Tape, least_mb: u64, most_mb: u64) -> Bandwidth {
    Bandwidth::mb_per_s(tape.between(least_mb, most_mb))
}

fn divide_devices(tape: &mut Tape, parts: &mut Parts) {
    for whole in 0..parts.devices.len() {
        let class = parts.devices[whole].class;
        if tape.chance(1, 4) {
            for _ in 0..1 + tape.below(4) {
                push_device(tape, parts, class, Attachment::PartOf(DeviceId::at(whole)));
            }
        }
    }
}

fn pools(tape: &mut Tape, parts: &mut Parts) {
    for index in 0..tape.below(3) {
        let mut lanes = u32::try_from(tape.below(17)).expect("small");
        for link in &parts.links {
            let port = &mut parts.ports[link.upper.index()];
            if port.pool.is_none() && tape.chance(1, 2) {
                port.pool = Some(PoolId::at(index));
                lanes += u32::from(link.initial.width.get());
            }
        }
        parts.pools.push(LanePool { id: PoolId::at(index), name: format!("pool-{index}"), lanes });
    }
}

fn nodes(tape: &mut Tape, parts: &mut Parts) {
    let mut kinds: Vec<_> =
        (0..parts.sockets.len()).map(|socket| MemoryKind::Dram { socket: SocketId::at(socket) }).collect();
    for _ in 0..tape.below(6 - kinds.len()) {
        let dram = MemoryKind::Dram { socket: SocketId::at(tape.below(parts.sockets.len())) };
        let cxl = || MemoryKind::Cxl { device: DeviceId(0) };
        kinds.push(if parts.devices.is_empty() || tape.chance(1, 3) { dram } else { cxl() });
    }
    for (index, kind) in kinds.into_iter().enumerate() {
        let capacity = ByteSize::mib(tape.between(4096, 262_144));
        parts.nodes.push(MemoryNode {
            id: NodeId::at(index),
            name: format!("node-{index}"),
            kind,
            capacity,
            host_memory: ByteSize::mib(tape.between(0, 2048)),
            bandwidth: rate(tape, 1000, 300_000),
        });
    }
}

/// Profiles in the manner of NVIDIA's A100 (its Multi-Instance GPU user guide).
fn gpus(tape: &mut Tape, parts: &mut Parts) {
    let profile = |name: &str, compute, span, starts: &[u32]| SliceProfile {
        name: name.into(),
        compute,
        span,
        starts: starts.to_vec(),
    };
    for index in 0..tape.below(4).min(parts.devices.len()) {
        parts.gpus.push(Gpu {
            id: GpuId::at(index),
            device: DeviceId::at(index),
            slices: 8,
            memory: ByteSize::gib(40),
            profiles: vec![
                profile("1g.5gb", 1, 1, &[0, 1, 2, 3, 4, 5, 6]),
                profile("2g.10gb", 2, 2, &[0, 2, 4]),
                profile("3g.20gb", 3, 4, &[0, 4]),
                profile("7g.40gb", 7, 8, &[0]),
            ],
        });
    }
}

pub(crate) fn vms(tape: &mut Tape, topology: &Topology) -> Vec<VmSpec> {
    let count = tape.below(25);
    // Three times as much as there is: those that are admitted fill the host to the brim.
    let full = tape.chance(1, 3);
    let parts = if full { count.div_ceil(3) } else { count } as u64;
    let mut id = 0;
    let mut vms = Vec::new();
    for _ in 0..count {
        id += u32::from(tape.chance(1, 6));
        vms.push(vm(tape, topology, VmId(id), parts));
        id += 1;
    }
    vms
}

fn vm(tape: &mut Tape, topology: &Topology, id: VmId, parts: u64) -> VmSpec {
    let cpu: MilliCpu = topology.sockets().iter().map(Socket::cpu).sum();
    let memory: ByteSize = topology.nodes().iter().map(MemoryNode::available).sum();
    let bandwidth: Bandwidth =
        topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).sum();
    let mut bounds = |whole: u64| {
        // A VM's even part of the host, and now and then far more.
        let part = whole / parts * if tape.chance(1, 12) { 8 } else { 1 };
        let reservation = tape.between(0, part);
        let limit = if tape.chance(1, 12) {
            u64::MAX
        } else if tape.chance(1, 40) {
            reservation / 2
        } else {
            reservation.saturating_add(tape.between(0, whole / 2))
        };
        (reservation, limit)
    };
    let (cpu, memory, bandwidth) = (bounds(cpu.get()), bounds(memory.get()), bounds(bandwidth.get()));
    VmSpec {
        id,
        name: format!("guest-{}", id.0),
        vcpus: 1 + below(tape, 16),
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(cpu.0), limit: MilliCpu::new(cpu.1) },
        memory: Bounds { reservation: ByteSize::new(memory.0), limit: ByteSize::new(memory.1) },
        memory_bandwidth: Bounds {
            reservation: Bandwidth::new(bandwidth.0),
            limit: Bandwidth::new(bandwidth.1),
        },
        devices: device_wishes(tape),
        gpu_slices: gpu_slices(tape, topology),
        objective: Objective::Latency { p99: Duration::from_millis(10) },
        application: None,
    }
}

fn gpu_slices(tape: &mut Tape, topology: &Topology) -> Bounds<u32> {
    let reservation = if topology.gpus().is_empty() || !tape.chance(1, 4) { 0 } else { 1 + below(tape, 3) };
    Bounds { reservation, limit: reservation + below(tape, 8) }
}

fn device_wishes(tape: &mut Tape) -> Vec<DeviceWish> {
    let mut wishes = Vec::new();
    for (class, _) in DeviceClass::ALL {
        if tape.chance(1, 2) {
            let must = u32::from(tape.chance(1, 8));
            let reservation = rate(tape, 0, 400);
            let limit = if tape.chance(1, 8) { Bandwidth::MAX } else { reservation + rate(tape, 0, 30_000) };
            let count = Bounds { reservation: must, limit: must + below(tape, 4) };
            wishes.push(DeviceWish { class, count, bandwidth: Bounds { reservation, limit } });
        }
    }
    wishes
}
