//! What a policy wants. It may want too much, but not of what is not there, and not less than nothing.

use halcyon_model::topology::Topology;
use halcyon_model::{
    ClassId, DeviceId, DeviceMove, Generation, GpuId, GpuInstance, LinkId, LinkWish, MemoryWish, NodeId,
    Proposal, Reason, SocketId, VmSpec, VmWish, Wish,
};

use super::{Names, index, link_setting};
use crate::outside::error::{Flaw, ensure};
use crate::outside::wire;

/// More than any machine has of anything, in its smallest unit.
const MOST: f64 = 1e18;

/// A proposal for these VMs.
pub(in crate::outside) fn proposal(
    topology: &Topology,
    vms: &[VmSpec],
    names: &Names,
    based_on: Generation,
    form: &wire::Proposal,
) -> Result<Proposal, Flaw> {
    let mut seen = vec![false; vms.len()];
    let wish = |(at, form): (usize, &wire::VmWish)| {
        let field = || format!("vms[{at}].vm");
        let id = names.find(field, &form.vm)?;
        let place = vms.binary_search_by_key(&id, |spec| spec.id).unwrap_or(usize::MAX);
        let Some(spec) = vms.get(place) else {
            return Err(Flaw::new(field(), format!("`{}` is gone", form.vm)));
        };
        let twice = std::mem::replace(&mut seen[place], true);
        ensure(!twice, field, || format!("`{}` is there twice", form.vm))?;
        vm_wish(at, topology, spec, form)
    };
    Ok(Proposal {
        based_on,
        vms: form.vms.iter().enumerate().map(wish).collect::<Result<_, _>>()?,
        devices: device_moves(topology, names, form)?,
        device_bandwidth: device_bandwidth(topology, form)?,
        links: links(topology, form)?,
        classes: form.classes.clone(),
        gpu_instances: gpu_instances(topology, names, form)?,
    })
}

fn amount(field: impl FnOnce() -> String, amount: f64) -> Result<f64, Flaw> {
    ensure((0.0..=MOST).contains(&amount), field, || format!("is {amount}; it must be from 0 to {MOST:e}"))?;
    Ok(amount)
}

fn wish(field: &str, form: wire::Wish, most: f64, reason: Reason) -> Result<Wish, Flaw> {
    let share = amount(|| format!("{field}.share"), form.share)?;
    let ceiling = form.ceiling.map(|ceiling| amount(|| format!("{field}.ceiling"), ceiling)).transpose()?;
    Ok(Wish { share, ceiling: ceiling.unwrap_or(most), reason })
}

fn vm_wish(at: usize, topology: &Topology, spec: &VmSpec, form: &wire::VmWish) -> Result<VmWish, Flaw> {
    let field = |name: &str| format!("vms[{at}].{name}");
    let why = reason(&field("reason"), form.reason)?;
    let (sockets, nodes) = (topology.sockets().len(), topology.nodes().len());
    let socket =
        form.socket.map(|socket| index(|| field("socket"), socket, sockets, "sockets")).transpose()?;
    let node = |(at, part): (usize, &wire::NodeWish)| {
        let field = |name: &str| format!("{}[{at}].{name}", field("memory"));
        let node = index(|| field("node"), part.node, nodes, "memory nodes")?;
        Ok((NodeId(node), amount(|| field("bytes"), part.bytes)?))
    };
    let memory = form.memory.as_ref().map(|parts| {
        let nodes = parts.iter().enumerate().map(node).collect::<Result<_, Flaw>>()?;
        Ok(MemoryWish { nodes, reason: why })
    });
    let cpu = form.cpu_milli.map(|form| wish(&field("cpu_milli"), form, spec.cpu.limit.as_f64(), why));
    let most = spec.memory_bandwidth.limit.as_f64();
    let name = field("memory_bandwidth_bytes_per_s");
    let bandwidth = form.memory_bandwidth_bytes_per_s.map(|form| wish(&name, form, most, why));
    let classes = topology.cache_classes();
    let class = form.class.map(|class| index(|| field("class"), class, classes, "classes of service"));
    Ok(VmWish {
        vm: spec.id,
        socket: socket.map(|socket| (SocketId(socket), why)),
        cpu: cpu.transpose()?,
        memory_bandwidth: bandwidth.transpose()?,
        memory: memory.transpose()?,
        class: class.transpose()?.map(|class| (ClassId(class), why)),
    })
}

fn reason(field: &str, form: wire::Reason) -> Result<Reason, Flaw> {
    let share = |expected: f64| {
        let problem = || format!("is {expected}; a share of the limit is from 0 to 1");
        ensure((0.0..=1.0).contains(&expected), || field.into(), problem).map(|()| expected)
    };
    Ok(match form {
        wire::Reason::Fit => Reason::Fit,
        wire::Reason::Entitlement => Reason::Entitlement,
        wire::Reason::Demand(expected) => Reason::Demand { expected: share(expected)? },
        wire::Reason::Idle(expected) => Reason::Idle { expected: share(expected)? },
        wire::Reason::Locality => Reason::Locality,
        wire::Reason::Neighbour => Reason::Neighbour,
    })
}

fn device_moves(topology: &Topology, names: &Names, form: &wire::Proposal) -> Result<Vec<DeviceMove>, Flaw> {
    let there = topology.fabric().devices.len();
    let one = |(at, form): (usize, &wire::DeviceMove)| {
        let field = |name: &str| format!("devices[{at}].{name}");
        Ok(DeviceMove {
            device: DeviceId(index(|| field("device"), form.device, there, "devices")?),
            to: form.to.as_ref().map(|name| names.find(|| field("to"), name)).transpose()?,
            reason: reason(&field("reason"), form.reason)?,
        })
    };
    form.devices.iter().enumerate().map(one).collect()
}

fn device_bandwidth(topology: &Topology, form: &wire::Proposal) -> Result<Vec<(DeviceId, Wish)>, Flaw> {
    let devices = &topology.fabric().devices;
    let one = |(at, form): (usize, &wire::DeviceBandwidthWish)| {
        let field = |name: &str| format!("device_bandwidth[{at}].{name}");
        let device = index(|| field("device"), form.device, devices.len(), "devices")?;
        let most = devices[device as usize].bandwidth.as_f64();
        let why = reason(&field("reason"), form.reason)?;
        Ok((DeviceId(device), wish(&field("bytes_per_s"), form.bytes_per_s, most, why)?))
    };
    form.device_bandwidth.iter().enumerate().map(one).collect()
}

fn links(topology: &Topology, form: &wire::Proposal) -> Result<Vec<LinkWish>, Flaw> {
    let there = topology.fabric().links.len();
    let one = |(at, form): (usize, &wire::LinkWish)| {
        let field = |name: &str| format!("links[{at}].{name}");
        Ok(LinkWish {
            link: LinkId(index(|| field("link"), form.link, there, "links")?),
            to: link_setting(&field("to"), form.to)?,
            reason: reason(&field("reason"), form.reason)?,
        })
    };
    form.links.iter().enumerate().map(one).collect()
}

fn gpu_instances(
    topology: &Topology,
    names: &Names,
    form: &wire::Proposal,
) -> Result<Option<(Vec<GpuInstance>, Reason)>, Flaw> {
    let Some(forms) = &form.gpu_instances else { return Ok(None) };
    let gpus = topology.gpus();
    let one = |(at, form): (usize, &wire::GpuInstance)| {
        let field = |name: &str| format!("gpu_instances[{at}].{name}");
        let gpu = index(|| field("gpu"), form.gpu, gpus.len(), "GPUs that can be divided")?;
        let profiles = gpus[gpu as usize].profiles.len();
        let profile = index(|| field("profile"), form.profile, profiles, "profiles of this GPU")?;
        let owner = names.find(|| field("owner"), &form.owner)?;
        Ok(GpuInstance { gpu: GpuId(gpu), start: form.start, profile, owner })
    };
    let instances = forms.iter().enumerate().map(one).collect::<Result<_, Flaw>>()?;
    Ok(Some((instances, Reason::Fit)))
}
