//! Hosts and what can be changed on them.

use std::collections::BTreeMap;

use halcyon_model::topology::{
    Attachment, Cache, Device, DeviceClass, Gpu, LanePool, Link, LinkEnd, MemoryKind, MemoryNode, Parts,
    Port, PortKind, SliceProfile, Socket, Switch, Topology,
};
use halcyon_model::units::{ByteSize, MilliCpu};
use halcyon_model::{
    Capabilities, Control, DeviceId, GpuId, IommuGroup, LinkId, NodeId, PoolId, PortId, SocketId, SwitchId,
};

use super::{check_name, class, index, link_setting, range, rate, size, time};
use crate::outside::encode::KINDS;
use crate::outside::error::{Flaw, ensure};
use crate::outside::wire;

const MOST_SOCKETS: usize = 64;
const MOST_NODES: usize = 1024;
/// Of each kind of part of the fabric. With it the routes, as long as there are links at the most, stay
/// small enough.
const MOST_PARTS: usize = 4096;

/// A coherent host.
pub(in crate::outside) fn host(form: &wire::Host) -> Result<Topology, Flaw> {
    check_name(|| "host.name".into(), &form.name)?;
    check_counts(form)?;
    let wire::Fabric { pools, switches, .. } = &form.fabric;
    let pools = pools.iter().enumerate().map(|(at, pool)| {
        check_name(|| format!("host.fabric.pools[{at}].name"), &pool.name)?;
        Ok(LanePool { id: PoolId::at(at), name: pool.name.clone(), lanes: pool.lanes })
    });
    let switches = switches.iter().enumerate().map(|(at, switch)| {
        check_name(|| format!("host.fabric.switches[{at}].name"), &switch.name)?;
        self::switch(form, at)
    });
    let parts = Parts {
        name: form.name.clone(),
        sockets: each(&form.sockets, socket)?,
        nodes: each(&form.memory, |at, node| self::node(form, at, node))?,
        distances: form.distances.clone().unwrap_or_default(),
        ports: each(&form.fabric.ports, |at, port| self::port(form, at, port))?,
        switches: switches.collect::<Result<_, _>>()?,
        links: each(&form.fabric.links, |at, link| self::link(form, at, link))?,
        pools: pools.collect::<Result<_, _>>()?,
        devices: each(&form.fabric.devices, |at, device| self::device(form, at, device))?,
        gpus: each(&form.gpus, |at, gpu| self::gpu(form, at, gpu))?,
    };
    Topology::new(parts).map_err(|error| Flaw::new("host", error.to_string()))
}

fn each<F, T>(forms: &[F], make: impl Fn(usize, &F) -> Result<T, Flaw>) -> Result<Vec<T>, Flaw> {
    forms.iter().enumerate().map(|(at, form)| make(at, form)).collect()
}

fn check_counts(form: &wire::Host) -> Result<(), Flaw> {
    let fabric = &form.fabric;
    let counts = [
        ("sockets", form.sockets.len(), 1, MOST_SOCKETS),
        ("memory", form.memory.len(), 1, MOST_NODES),
        ("fabric.pools", fabric.pools.len(), 0, MOST_PARTS),
        ("fabric.ports", fabric.ports.len(), 0, MOST_PARTS),
        ("fabric.switches", fabric.switches.len(), 0, MOST_PARTS),
        ("fabric.links", fabric.links.len(), 0, MOST_PARTS),
        ("fabric.devices", fabric.devices.len(), 0, MOST_PARTS),
        ("gpus", form.gpus.len(), 0, MOST_PARTS),
    ];
    counts.into_iter().try_for_each(|(what, there, least, most)| {
        ensure(
            (least..=most).contains(&there),
            || format!("host.{what}"),
            || format!("has {there} entries; it must have from {least} to {most}"),
        )
    })
}

fn socket(at: usize, form: &wire::Socket) -> Result<Socket, Flaw> {
    let field = |name: &str| format!("host.sockets[{at}].{name}");
    check_name(|| field("name"), &form.name)?;
    let cores = range(|| field("cores"), form.cores, 1, 4096)?;
    let threads_per_core = range(|| field("threads_per_core"), form.threads_per_core, 1, 8)?;
    let cache = form.cache.as_ref().map(|cache| {
        Ok(Cache {
            size: size(|| field("cache.bytes"), cache.bytes)?,
            ways: range(|| field("cache.ways"), cache.ways, 1, 32)?,
            min_ways: range(|| field("cache.min_ways"), cache.min_ways, 1, cache.ways)?,
            classes: range(|| field("cache.classes"), cache.classes, 1, 256)?,
        })
    });
    Ok(Socket {
        id: SocketId::at(at),
        name: form.name.clone(),
        cores,
        threads_per_core,
        host_cpu: MilliCpu::new(form.host_cpu_milli),
        cache: cache.transpose()?,
    })
}

fn node(host: &wire::Host, at: usize, form: &wire::Node) -> Result<MemoryNode, Flaw> {
    let field = |name: &str| format!("host.memory[{at}].{name}");
    check_name(|| field("name"), &form.name)?;
    let kind = match form.on {
        wire::MemoryOn::Socket(socket) => {
            let socket = index(|| field("on.socket"), socket, host.sockets.len(), "sockets")?;
            MemoryKind::Dram { socket: SocketId(socket) }
        }
        wire::MemoryOn::Device(device) => {
            let devices = &host.fabric.devices;
            let device = index(|| field("on.device"), device, devices.len(), "devices")?;
            let found = &devices[device as usize];
            let fits = found.class == wire::DeviceClass::CxlMemory && found.host_owned;
            ensure(
                fits,
                || field("on.device"),
                || format!("`{}` must be of class cxl_memory and have \"host_owned\": true", found.name),
            )?;
            MemoryKind::Cxl { device: DeviceId(device) }
        }
    };
    Ok(MemoryNode {
        id: NodeId::at(at),
        name: form.name.clone(),
        kind,
        capacity: size(|| field("bytes"), form.bytes)?,
        host_memory: size(|| field("host_bytes"), form.host_bytes)?,
        bandwidth: rate(|| field("bandwidth_bytes_per_s"), form.bandwidth_bytes_per_s)?,
    })
}

fn port(host: &wire::Host, at: usize, form: &wire::Port) -> Result<Port, Flaw> {
    let field = |name: &str| format!("host.fabric.ports[{at}].{name}");
    check_name(|| field("name"), &form.name)?;
    let switches = host.fabric.switches.len();
    let kind = match form.at {
        wire::PortAt::Socket(socket) => {
            let socket = index(|| field("at.socket"), socket, host.sockets.len(), "sockets")?;
            PortKind::Root { socket: SocketId(socket) }
        }
        wire::PortAt::Upstream(switch) => {
            let switch = index(|| field("at.upstream"), switch, switches, "switches")?;
            PortKind::Upstream { switch: SwitchId(switch) }
        }
        wire::PortAt::Downstream(switch) => {
            let switch = index(|| field("at.downstream"), switch, switches, "switches")?;
            PortKind::Downstream { switch: SwitchId(switch) }
        }
    };
    let pools = host.fabric.pools.len();
    let pool = form.pool.map(|pool| index(|| field("pool"), pool, pools, "lane pools").map(PoolId));
    let most = link_setting(&field("most"), form.most)?;
    Ok(Port {
        id: PortId::at(at),
        name: form.name.clone(),
        kind,
        max_width: most.width,
        max_speed: most.speed,
        hot_plug: form.hot_plug,
        pool: pool.transpose()?,
    })
}

/// A switch with the ports that name it.
fn switch(host: &wire::Host, at: usize) -> Result<Switch, Flaw> {
    let id = SwitchId::at(at);
    let ports_at = |place: wire::PortAt| {
        let ports = host.fabric.ports.iter().enumerate();
        ports.filter(move |(_, port)| port.at == place).map(|(at, _)| PortId::at(at))
    };
    let mut upstream = ports_at(wire::PortAt::Upstream(id.0));
    let (Some(only), None) = (upstream.next(), upstream.next()) else {
        let problem = "needs exactly one port with \"at\": {\"upstream\": this switch}";
        return Err(Flaw::new(format!("host.fabric.switches[{at}]"), problem));
    };
    let downstream = ports_at(wire::PortAt::Downstream(id.0)).collect();
    Ok(Switch { id, name: host.fabric.switches[at].name.clone(), upstream: only, downstream })
}

fn link(host: &wire::Host, at: usize, form: &wire::Link) -> Result<Link, Flaw> {
    let field = |name: &str| format!("host.fabric.links[{at}].{name}");
    let fabric = &host.fabric;
    let lower = match form.below {
        wire::LinkEnd::Switch(switch) => {
            let switch = index(|| field("below.switch"), switch, fabric.switches.len(), "switches")?;
            LinkEnd::Switch(SwitchId(switch))
        }
        wire::LinkEnd::Device(device) => {
            let device = index(|| field("below.device"), device, fabric.devices.len(), "devices")?;
            LinkEnd::Device(DeviceId(device))
        }
    };
    let capable = link_setting(&field("most"), form.most)?;
    let initial = form.initial.map(|initial| link_setting(&field("initial"), initial)).transpose()?;
    Ok(Link {
        id: LinkId::at(at),
        upper: PortId(index(|| field("port"), form.port, fabric.ports.len(), "ports")?),
        lower,
        capable,
        initial: initial.unwrap_or(capable),
    })
}

fn device(host: &wire::Host, at: usize, form: &wire::Device) -> Result<Device, Flaw> {
    let field = |name: &str| format!("host.fabric.devices[{at}].{name}");
    check_name(|| field("name"), &form.name)?;
    let fabric = &host.fabric;
    let attachment = match form.at {
        wire::Attachment::Link(link) => {
            Attachment::Link(LinkId(index(|| field("at.link"), link, fabric.links.len(), "links")?))
        }
        wire::Attachment::PartOf(whole) => {
            let whole = index(|| field("at.part_of"), whole, fabric.devices.len(), "devices")?;
            Attachment::PartOf(DeviceId(whole))
        }
    };
    Ok(Device {
        id: DeviceId::at(at),
        name: form.name.clone(),
        address: None,
        class: class(form.class),
        attachment,
        bandwidth: rate(|| field("bandwidth_bytes_per_s"), form.bandwidth_bytes_per_s)?,
        iommu_group: IommuGroup(form.iommu_group),
        hot_plug: form.hot_plug,
        host_owned: form.host_owned,
    })
}

fn gpu(host: &wire::Host, at: usize, form: &wire::Gpu) -> Result<Gpu, Flaw> {
    let field = |name: &str| format!("host.gpus[{at}].{name}");
    let devices = &host.fabric.devices;
    let device = index(|| field("device"), form.device, devices.len(), "devices")?;
    let fits = class(devices[device as usize].class) == DeviceClass::Gpu;
    ensure(fits, || field("device"), || "must be a device of class gpu".into())?;
    let slices = range(|| field("slices"), form.slices, 1, 64)?;
    let count = form.profiles.len();
    ensure(
        (1..=64).contains(&count),
        || field("profiles"),
        || format!("has {count} entries; it must have from 1 to 64"),
    )?;
    let profile = |(at, form): (usize, &wire::Profile)| {
        let field = |name: &str| format!("{}[{at}].{name}", field("profiles"));
        check_name(|| field("name"), &form.name)?;
        let span = range(|| field("span"), form.span, 1, slices)?;
        let fits = !form.starts.is_empty() && form.starts.iter().all(|start| *start <= slices - span);
        ensure(
            fits && form.starts.len() <= 64,
            || field("starts"),
            || format!("must be one or more slices from 0 to {}", slices - span),
        )?;
        let compute = range(|| field("compute"), form.compute, 1, 64)?;
        Ok(SliceProfile { name: form.name.clone(), compute, span, starts: form.starts.clone() })
    };
    Ok(Gpu {
        id: GpuId::at(at),
        device: DeviceId(device),
        slices,
        memory: size(|| field("bytes"), form.bytes).and_then(|memory| {
            ensure(memory > ByteSize::ZERO, || field("bytes"), || "is 0".into()).map(|()| memory)
        })?,
        profiles: form.profiles.iter().enumerate().map(profile).collect::<Result<_, _>>()?,
    })
}

/// What can be changed.
pub(in crate::outside) fn capabilities(
    form: &BTreeMap<wire::ChangeKind, wire::Change>,
) -> Result<Capabilities, Flaw> {
    KINDS.iter().try_fold(Capabilities::none(), |all, (kind, wire)| {
        let Some(change) = form.get(wire) else { return Ok(all) };
        let field = |name: &str| format!("changes.{}.{name}", kind.name().replace('-', "_"));
        ensure(
            (0.0..=86_400.0).contains(&change.cost_s),
            || field("cost_s"),
            || format!("is {}; it must be from 0 to 86400", change.cost_s),
        )?;
        ensure(
            (1..=1 << 40).contains(&change.granularity),
            || field("granularity"),
            || format!("is {}; it must be from 1 to 2^40", change.granularity),
        )?;
        let control = Control {
            pace: time(|| field("pace_s"), change.pace_s)?,
            latency: time(|| field("latency_s"), change.latency_s)?,
            interruption: time(|| field("interruption_s"), change.interruption_s)?,
            cost_s: change.cost_s,
            granularity: change.granularity,
        };
        Ok(all.with(*kind, Some(control)))
    })
}
