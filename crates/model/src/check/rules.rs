//! The rules, each from first principles.

use super::{Findings, Rule};
use crate::assignment::{Assignment, Grant};
use crate::ids::{DeviceId, SocketId};
use crate::topology::{DeviceClass, LinkEnd};
use crate::units::{Bandwidth, ByteSize, MilliCpu};
use crate::vm::Bounds;
use crate::world::World;

pub(super) fn complete(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let World { topology, vms, .. } = world;
    let same = vms.len() == assignment.holdings.len()
        && vms.iter().zip(&assignment.holdings).all(|(spec, holding)| spec.id == holding.vm);
    findings.require(same, Rule::Complete, || {
        format!(
            "{} VMs hold something, the host has {}, or their order differs",
            assignment.holdings.len(),
            vms.len()
        )
    });
    let ordered = vms.windows(2).all(|pair| pair[0].id < pair[1].id);
    findings.require(ordered, Rule::Complete, || "a VM is described twice".into());
    let fabric = topology.fabric();
    let counts = [
        ("devices", assignment.devices.len(), fabric.devices.len()),
        ("links", assignment.links.len(), fabric.links.len()),
        ("classes of service", assignment.classes.len(), topology.cache_classes()),
    ];
    for (what, held, there) in counts {
        findings.require(held == there, Rule::Complete, || format!("{held} {what} instead of {there}"));
    }
    for holding in &assignment.holdings {
        let known = holding.socket.index() < topology.sockets().len()
            && holding.memory.iter().all(|(node, _)| node.index() < topology.nodes().len());
        findings.require(known, Rule::Complete, || {
            format!("{} is on a socket or node that is not there", holding.vm)
        });
        let ordered = holding.memory.windows(2).all(|pair| pair[0].0 < pair[1].0)
            && holding.memory.iter().all(|(_, size)| !size.is_zero());
        findings.require(ordered, Rule::Complete, || {
            format!("{} holds memory of one node twice, out of order, or none of it", holding.vm)
        });
    }
    for instance in &assignment.gpu_instances {
        let known = instance.gpu.index() < topology.gpus().len();
        findings.require(known, Rule::Complete, || format!("{} is not there", instance.gpu));
    }
}

fn within<T: Copy + Ord + std::fmt::Display>(
    findings: &mut Findings,
    grant: Grant<T>,
    bounds: Bounds<T>,
    whose: impl Fn() -> String,
) {
    findings.require(grant.share >= bounds.reservation, Rule::Bounds, || {
        format!("{} {} is below its reservation {}", whose(), grant.share, bounds.reservation)
    });
    findings.require(grant.ceiling <= bounds.limit, Rule::Bounds, || {
        format!("{} {} is above its limit {}", whose(), grant.ceiling, bounds.limit)
    });
    findings.require(grant.share <= grant.ceiling, Rule::Bounds, || {
        format!("{} share {} is above its ceiling {}", whose(), grant.share, grant.ceiling)
    });
}

pub(super) fn compute(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let World { topology, vms, .. } = world;
    let mut cpu = vec![MilliCpu::ZERO; topology.sockets().len()];
    let mut bandwidth = vec![Bandwidth::ZERO; topology.sockets().len()];
    for (spec, holding) in vms.iter().zip(&assignment.holdings) {
        cpu[holding.socket.index()] += holding.cpu.share;
        bandwidth[holding.socket.index()] += holding.memory_bandwidth.share;
        within(findings, holding.cpu, spec.cpu, || format!("{} cpu", spec.name));
        let whose = || format!("{} memory bandwidth", spec.name);
        within(findings, holding.memory_bandwidth, spec.memory_bandwidth, whose);
    }
    for (index, socket) in topology.sockets().iter().enumerate() {
        let (granted, there) = (cpu[index], socket.cpu());
        findings.require(granted <= there, Rule::Capacity, || {
            format!("{granted} CPUs granted on {}, which has {there}", socket.name)
        });
        let (granted, there) = (bandwidth[index], topology.memory_bandwidth(SocketId::at(index)));
        findings.require(granted <= there, Rule::Capacity, || {
            format!("{granted} of memory bandwidth granted on {}, which has {there}", socket.name)
        });
    }
}

pub(super) fn memory(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let mut nodes = vec![ByteSize::ZERO; world.topology.nodes().len()];
    for (spec, holding) in world.vms.iter().zip(&assignment.holdings) {
        let mut total = ByteSize::ZERO;
        for (node, size) in &holding.memory {
            nodes[node.index()] += *size;
            total += *size;
        }
        within(findings, Grant::fixed(total), spec.memory, || format!("{} memory", spec.name));
    }
    for (node, granted) in world.topology.nodes().iter().zip(nodes) {
        let there = node.available();
        findings.require(granted <= there, Rule::Capacity, || {
            format!("{granted} granted on {}, which has {there}", node.name)
        });
    }
}

pub(super) fn owners(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let fabric = world.topology.fabric();
    for (device, held) in fabric.devices.iter().zip(&assignment.devices) {
        let Some(owner) = held.owner else {
            let idle = held.bandwidth == Grant::default();
            findings.require(idle, Rule::OneOwner, || format!("{} has a grant but no owner", device.name));
            continue;
        };
        let known = world.vm(owner).is_some();
        findings.require(known, Rule::OneOwner, || {
            format!("{} is owned by {owner}, which is not there", device.name)
        });
        let assignable = fabric.is_assignable(device.id);
        findings.require(assignable, Rule::OneOwner, || {
            format!("{} cannot be owned: it is the host's own, or divided", device.name)
        });
    }
    for (group, members) in fabric.groups() {
        let owner = |device: &DeviceId| assignment.devices[device.index()].owner;
        let together = members.windows(2).all(|pair| owner(&pair[0]) == owner(&pair[1]));
        findings.require(together, Rule::IommuGroupWhole, || format!("{group} has more than one owner"));
    }
}

pub(super) fn device_bounds(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let fabric = world.topology.fabric();
    let mut counts = vec![[0_u32; DeviceClass::ALL.len()]; world.vms.len()];
    for (device, held) in fabric.devices.iter().zip(&assignment.devices) {
        let Some(position) = held.owner.and_then(|owner| world.position(owner)) else { continue };
        let spec = &world.vms[position];
        counts[position][device.class as usize] += 1;
        if let Some(wish) = spec.wish(device.class) {
            let bounds = Bounds {
                reservation: wish.bandwidth.reservation.min(device.bandwidth),
                limit: wish.bandwidth.limit.min(device.bandwidth),
            };
            within(findings, held.bandwidth, bounds, || format!("{} of {}", device.name, spec.name));
        }
    }
    for (spec, counts) in world.vms.iter().zip(counts) {
        for (class, name) in DeviceClass::ALL {
            let bounds = spec.wish(class).map_or_else(Bounds::default, |wish| wish.count);
            let count = counts[class as usize];
            findings.require(bounds.contains(count), Rule::Bounds, || {
                format!(
                    "{} has {count} {name} devices, not {} to {}",
                    spec.name, bounds.reservation, bounds.limit
                )
            });
        }
    }
}

pub(super) fn links(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let fabric = world.topology.fabric();
    let mut carried = vec![Bandwidth::ZERO; fabric.links.len()];
    for (index, held) in assignment.devices.iter().enumerate() {
        for link in fabric.route(DeviceId::at(index)) {
            carried[link.index()] += held.bandwidth.share;
        }
    }
    let mut lanes = vec![0_u32; fabric.pools.len()];
    for (link, setting) in fabric.links.iter().zip(&assignment.links) {
        let port = &fabric.ports[link.upper.index()];
        let whole = carried[link.id.index()];
        findings.require(whole <= setting.bandwidth(), Rule::Capacity, || {
            format!("{whole} granted below {}, whose link carries {}", port.name, setting.bandwidth())
        });
        findings.require(setting.width.is_legal(), Rule::LaneWidth, || {
            format!("{} cannot train at {}", port.name, setting.width)
        });
        let end = match link.lower {
            LinkEnd::Switch(switch) => &fabric.ports[fabric.switches[switch.index()].upstream.index()],
            LinkEnd::Device(_) => port,
        };
        let widest = port.max_width.min(end.max_width).min(link.capable.width);
        let fastest = port.max_speed.min(end.max_speed).min(link.capable.speed);
        findings.require(setting.width <= widest && setting.speed <= fastest, Rule::LaneWidth, || {
            format!("{} is set to {setting}, but reaches {widest} {fastest}", port.name)
        });
        if let Some(pool) = port.pool {
            lanes[pool.index()] += u32::from(setting.width.get());
        }
    }
    for (pool, lanes) in fabric.pools.iter().zip(lanes) {
        findings.require(lanes <= pool.lanes, Rule::LaneWidth, || {
            format!("{lanes} lanes in use of {}, which has {}", pool.name, pool.lanes)
        });
    }
}

pub(super) fn cache(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let sockets = world.topology.sockets();
    for (index, masks) in assignment.classes.iter().enumerate() {
        let Some(masks) = masks else { continue };
        let shaped = masks.len() == sockets.len();
        findings.require(shaped, Rule::CacheMask, || format!("class {index} needs a mask for each socket"));
        for (socket, mask) in sockets.iter().zip(masks) {
            let Some(cache) = &socket.cache else { continue };
            let legal = mask.is_contiguous()
                && mask.ways() >= cache.min_ways
                && u64::from(mask.0) < 1_u64 << cache.ways;
            findings.require(legal, Rule::CacheMask, || {
                format!("class {index} has mask {mask} on {}, which has {} ways", socket.name, cache.ways)
            });
        }
    }
    let hardware = world.topology.cache_classes();
    for holding in &assignment.holdings {
        let used = hardware == 0
            || assignment.classes.get(holding.class.index()).is_some_and(std::option::Option::is_some);
        findings.require(used, Rule::ClassCount, || {
            format!(
                "{} is in {}, which is not in use; the hardware has {hardware}",
                holding.vm, holding.class
            )
        });
    }
}

pub(super) fn gpus(world: World<'_>, assignment: &Assignment, findings: &mut Findings) {
    let mut slices = vec![0_u32; world.vms.len()];
    let mut end = (crate::ids::GpuId(0), 0);
    for instance in &assignment.gpu_instances {
        let gpu = &world.topology.gpus()[instance.gpu.index()];
        let profile = gpu.profiles.get(instance.profile as usize);
        let placed = profile.is_some_and(|profile| profile.starts.contains(&instance.start));
        findings.require(placed, Rule::GpuPartition, || {
            format!("{} has no such instance starting at {}", instance.gpu, instance.start)
        });
        let clear = end.0 < instance.gpu || end.0 == instance.gpu && end.1 <= instance.start;
        findings.require(clear, Rule::GpuPartition, || {
            format!("two instances of {} overlap at {}, or are out of order", instance.gpu, instance.start)
        });
        end = (instance.gpu, instance.start.saturating_add(profile.map_or(1, |profile| profile.span)));
        match world.position(instance.owner) {
            Some(position) => {
                let compute = profile.map_or(0, |profile| profile.compute);
                slices[position] = slices[position].saturating_add(compute);
            }
            None => findings.require(false, Rule::OneOwner, || {
                format!("an instance of {} is owned by {}, which is not there", instance.gpu, instance.owner)
            }),
        }
    }
    for (spec, held) in world.vms.iter().zip(slices) {
        findings.require(spec.gpu_slices.contains(held), Rule::Bounds, || {
            let Bounds { reservation, limit } = spec.gpu_slices;
            format!("{} has {held} GPU slices, not {reservation} to {limit}", spec.name)
        });
    }
}
