//! Who holds what, as a peer says it; whether that can be is the checker's to say.

use halcyon_model::topology::Topology;
use halcyon_model::{
    Assignment, Bandwidth, CacheMask, ClassId, DeviceHolding, GpuId, GpuInstance, Grant, Holding,
    LinkSetting, MilliCpu, NodeId, SocketId, VmSpec,
};

use super::{Names, index, link_setting};
use crate::outside::error::{Flaw, ensure};
use crate::outside::wire;

/// An assignment in the order of `vms`.
pub(in crate::outside) fn held(
    topology: &Topology,
    vms: &[VmSpec],
    names: &Names,
    form: &wire::Held,
) -> Result<Assignment, Flaw> {
    let mut holdings: Vec<Option<Holding>> = vec![None; vms.len()];
    for (at, held) in form.vms.iter().enumerate() {
        let field = |name: &str| format!("held.vms[{at}].{name}");
        let id = names.find(|| field("vm"), &held.vm)?;
        let place = vms.binary_search_by_key(&id, |spec| spec.id);
        let Some((place, spec)) = place.ok().and_then(|place| Some((place, vms.get(place)?))) else {
            continue;
        };
        let holding = self::holding(at, spec, held, topology)?;
        let twice = holdings[place].replace(holding).is_some();
        ensure(!twice, || field("vm"), || format!("`{}` is there twice", spec.name))?;
    }
    let missing = holdings.iter().position(Option::is_none);
    if let Some(missing) = missing {
        let problem = format!("nothing is said of VM `{}`", vms[missing].name);
        return Err(Flaw::new("held.vms", problem));
    }
    Ok(Assignment {
        holdings: holdings.into_iter().flatten().collect(),
        devices: devices(topology, names, form)?,
        links: links(topology, form)?,
        classes: classes(topology, form)?,
        gpu_instances: gpu_instances(topology, names, form)?,
    })
}

fn grant<T>(form: wire::Grant, unit: impl Fn(u64) -> T) -> Grant<T> {
    Grant { share: unit(form.share), ceiling: unit(form.ceiling) }
}

fn holding(at: usize, spec: &VmSpec, form: &wire::VmHeld, topology: &Topology) -> Result<Holding, Flaw> {
    let field = |name: &str| format!("held.vms[{at}].{name}");
    let (sockets, nodes) = (topology.sockets().len(), topology.nodes().len());
    let mut memory = Vec::with_capacity(form.memory.len().min(nodes));
    for (at, part) in form.memory.iter().enumerate() {
        let field = || format!("{}[{at}].node", field("memory"));
        let node = NodeId(index(field, part.node, nodes, "memory nodes")?);
        let twice = memory.iter().any(|(held, _)| *held == node);
        ensure(!twice, field, || "is there twice".into())?;
        memory.push((node, super::size(|| format!("held.vms[{at}].memory"), part.bytes)?));
    }
    memory.retain(|(_, size)| !size.is_zero());
    memory.sort_unstable_by_key(|(node, _)| *node);
    let bounds = spec.memory_bandwidth;
    let least = Grant { share: bounds.reservation, ceiling: bounds.limit };
    let said = form.memory_bandwidth_bytes_per_s;
    Ok(Holding {
        vm: spec.id,
        socket: SocketId(index(|| field("socket"), form.socket, sockets, "sockets")?),
        cpu: grant(form.cpu_milli, MilliCpu::new),
        memory_bandwidth: said.map_or(least, |said| grant(said, Bandwidth::new)),
        memory,
        class: ClassId(form.class),
    })
}

fn devices(topology: &Topology, names: &Names, form: &wire::Held) -> Result<Vec<DeviceHolding>, Flaw> {
    let mut devices = vec![DeviceHolding::default(); topology.fabric().devices.len()];
    for (at, held) in form.devices.iter().enumerate() {
        let field = |name: &str| format!("held.devices[{at}].{name}");
        let there = devices.len();
        let device = &mut devices[index(|| field("device"), held.device, there, "devices")? as usize];
        ensure(device.owner.is_none(), || field("device"), || "is owned twice".into())?;
        let owner = Some(names.find(|| field("owner"), &held.owner)?);
        *device = DeviceHolding { owner, bandwidth: grant(held.bandwidth_bytes_per_s, Bandwidth::new) };
    }
    Ok(devices)
}

fn links(topology: &Topology, form: &wire::Held) -> Result<Vec<LinkSetting>, Flaw> {
    let Some(links) = &form.links else { return Ok(topology.fabric().default_links()) };
    let setting = |(at, link): (usize, &wire::LinkSetting)| link_setting(&format!("held.links[{at}]"), *link);
    links.iter().enumerate().map(setting).collect()
}

fn classes(topology: &Topology, form: &wire::Held) -> Result<Vec<Option<Vec<CacheMask>>>, Flaw> {
    let all = topology.cache_classes();
    if let Some(classes) = &form.classes {
        let masks = |masks: &Vec<u32>| masks.iter().copied().map(CacheMask).collect();
        return Ok(classes.iter().map(|class| class.as_ref().map(masks)).collect());
    }
    let full = |socket: &halcyon_model::topology::Socket| {
        socket.cache.as_ref().map_or(CacheMask(1), |cache| CacheMask::full(cache.ways))
    };
    let whole = || topology.sockets().iter().map(full).collect();
    Ok((0..all).map(|class| (class == 0).then(whole)).collect())
}

fn gpu_instances(topology: &Topology, names: &Names, form: &wire::Held) -> Result<Vec<GpuInstance>, Flaw> {
    let there = topology.gpus().len();
    let instance = |(at, form): (usize, &wire::GpuInstance)| {
        let field = |name: &str| format!("held.gpu_instances[{at}].{name}");
        let gpu = GpuId(index(|| field("gpu"), form.gpu, there, "GPUs that can be divided")?);
        let owner = names.find(|| field("owner"), &form.owner)?;
        Ok(GpuInstance { gpu, start: form.start, profile: form.profile, owner })
    };
    let mut instances =
        form.gpu_instances.iter().enumerate().map(instance).collect::<Result<Vec<_>, Flaw>>()?;
    instances.sort_unstable();
    Ok(instances)
}
