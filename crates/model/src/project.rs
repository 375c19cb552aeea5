//! Turns any proposal into what is feasible and as near to it as simple rules allow.
//!
//! Wishes are moved into each VM's bounds; where a socket, node or link is asked for more than it has,
//! what exceeds the reservations is scaled down alike; a discrete wish that cannot be is left out. For
//! any proposal, garbage included, the result keeps every rule of the checker, provided that what is
//! held now keeps them.

use crate::assignment::{Assignment, CacheMask, Grant};
use crate::capability::{ChangeKind, Families, Family};
use crate::ids::{ClassId, DeviceId, NodeId, SocketId, VmId};
use crate::proposal::{DeviceMove, MemoryWish, Proposal, VmWish, Wish};
use crate::topology::LinkSetting;
use crate::units::{Bandwidth, ByteSize, MilliCpu};
use crate::vm::Bounds;
use crate::world::World;

/// Projects a proposal to a feasible assignment.
///
/// `held` must be feasible. The families in `frozen` stay as they are, as does everything that
/// `world.capabilities` cannot change. Costs O(VMs + devices × depth of the fabric).
#[must_use]
pub fn project(world: World<'_>, held: &Assignment, frozen: Families, proposal: &Proposal) -> Assignment {
    let mut target = held.clone();
    let wishes = wishes_by_position(world, proposal);
    if !frozen.contains(Family::Compute) {
        project_compute(world, &wishes, &mut target);
    }
    if !frozen.contains(Family::Memory) && world.capabilities.allows(ChangeKind::Memory) {
        project_memory(world, &wishes, &mut target);
    }
    if !frozen.contains(Family::Fabric) {
        project_devices(world, &proposal.devices, &mut target);
        project_links(world, proposal, &mut target);
        project_device_bandwidth(world, held, proposal, &mut target);
    }
    if !frozen.contains(Family::Cache) && world.capabilities.allows(ChangeKind::CacheMask) {
        project_cache(world, proposal, &wishes, &mut target);
    }
    if !frozen.contains(Family::Gpu) && world.capabilities.allows(ChangeKind::GpuInstance) {
        project_gpus(world, proposal, &mut target);
    }
    target
}

fn wishes_by_position<'p>(world: World<'_>, proposal: &'p Proposal) -> Vec<Option<&'p VmWish>> {
    let mut wishes = vec![None; world.vms.len()];
    for wish in &proposal.vms {
        if let Some(position) = world.position(wish.vm) {
            wishes[position].get_or_insert(wish);
        }
    }
    wishes
}

/// Quantities that a wish can be made for.
trait Quantity: Copy + Ord + Default + std::ops::Add<Output = Self> + std::ops::AddAssign {
    fn from_wish(raw: f64) -> Self;
    fn raw(self) -> u64;
    fn new(raw: u64) -> Self;
}

macro_rules! quantity {
    ($name:ident) => {
        impl Quantity for $name {
            fn from_wish(raw: f64) -> Self {
                Self::from_f64(raw)
            }
            fn raw(self) -> u64 {
                self.get()
            }
            fn new(raw: u64) -> Self {
                $name::new(raw)
            }
        }
    };
}
quantity!(MilliCpu);
quantity!(ByteSize);
quantity!(Bandwidth);

/// A wish within bounds; a wish that is not a number changes nothing.
fn clamp_wish<T: Quantity>(
    wish: Option<&Wish>,
    held: Grant<T>,
    bounds: Bounds<T>,
    granularity: u64,
) -> Grant<T> {
    let Some(wish) = wish.filter(|wish| !wish.share.is_nan() && !wish.ceiling.is_nan()) else { return held };
    let share = bounds.clamp(floor_to(T::from_wish(wish.share), granularity));
    let ceiling = bounds.clamp(T::from_wish(wish.ceiling)).max(share);
    Grant { share, ceiling }
}

fn floor_to<T: Quantity>(amount: T, granularity: u64) -> T {
    if granularity <= 1 { amount } else { T::new(amount.raw() - amount.raw() % granularity) }
}

/// Scales what exceeds the reservations so that the shares add up to at most `capacity`.
/// The reservations themselves must fit.
fn fit<T: Quantity>(grants: &mut [(&mut Grant<T>, T)], capacity: T) {
    let sum = |amounts: &mut dyn Iterator<Item = T>| {
        amounts.fold(0_u64, |sum, next| sum.saturating_add(next.raw()))
    };
    let asked = sum(&mut grants.iter().map(|(grant, _)| grant.share));
    if asked <= capacity.raw() {
        return;
    }
    let reserved = sum(&mut grants.iter().map(|(_, reservation)| *reservation));
    let (room, extra) = (capacity.raw().saturating_sub(reserved), asked - reserved);
    for (grant, reservation) in grants {
        let above = u128::from(grant.share.raw() - reservation.raw());
        // Rounded down, so the sum cannot exceed the room.
        let kept = above * u128::from(room) / u128::from(extra);
        grant.share = T::new(reservation.raw() + u64::try_from(kept).unwrap_or(0));
    }
}

fn project_compute(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    if world.capabilities.allows(ChangeKind::Placement) {
        place(world, wishes, target);
    }
    let granularity = |kind| world.capabilities.get(kind).map(|control| control.granularity);
    let cpu_step = granularity(ChangeKind::Cpu);
    let bandwidth_step = granularity(ChangeKind::MemoryBandwidth);
    for ((spec, wish), holding) in world.vms.iter().zip(wishes).zip(&mut target.holdings) {
        if let Some(step) = cpu_step {
            holding.cpu = clamp_wish(wish.and_then(|wish| wish.cpu.as_ref()), holding.cpu, spec.cpu, step);
        }
        if let Some(step) = bandwidth_step {
            let wish = wish.and_then(|wish| wish.memory_bandwidth.as_ref());
            holding.memory_bandwidth =
                clamp_wish(wish, holding.memory_bandwidth, spec.memory_bandwidth, step);
        }
    }
    for socket in world.topology.sockets() {
        let (mut cpu, mut bandwidth) = (Vec::new(), Vec::new());
        for (spec, holding) in world.vms.iter().zip(&mut target.holdings) {
            if holding.socket == socket.id {
                cpu.push((&mut holding.cpu, spec.cpu.reservation));
                bandwidth.push((&mut holding.memory_bandwidth, spec.memory_bandwidth.reservation));
            }
        }
        fit(&mut cpu, socket.cpu());
        fit(&mut bandwidth, world.topology.memory_bandwidth(socket.id));
    }
}

/// Moves VMs to the sockets that they wish for, as long as the reservations there fit.
fn place(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let wishing = |wish: &Option<&VmWish>| wish.and_then(|wish| wish.socket).map(|(socket, _)| socket);
    if wishes
        .iter()
        .zip(&target.holdings)
        .all(|(wish, held)| wishing(wish).is_none_or(|to| to == held.socket))
    {
        return;
    }
    let sockets = world.topology.sockets();
    let mut reserved = vec![(MilliCpu::ZERO, Bandwidth::ZERO); sockets.len()];
    for (spec, holding) in world.vms.iter().zip(&target.holdings) {
        let here = &mut reserved[holding.socket.index()];
        *here = (here.0 + spec.cpu.reservation, here.1 + spec.memory_bandwidth.reservation);
    }
    // What cannot be shrunk on this host has to fit as it is.
    for ((spec, wish), holding) in world.vms.iter().zip(wishes).zip(&mut target.holdings) {
        let Some(to) = wishing(wish).filter(|to| to.index() < sockets.len() && *to != holding.socket) else {
            continue;
        };
        let (cpu, bandwidth) = reserved[to.index()];
        let after = (cpu + spec.cpu.reservation, bandwidth + spec.memory_bandwidth.reservation);
        if after.0 <= sockets[to.index()].cpu() && after.1 <= world.topology.memory_bandwidth(to) {
            let here = &mut reserved[holding.socket.index()];
            *here = (here.0 - spec.cpu.reservation, here.1 - spec.memory_bandwidth.reservation);
            reserved[to.index()] = after;
            holding.socket = to;
        }
    }
}

fn project_memory(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let before: Vec<_> = target.holdings.iter().map(|holding| holding.memory.clone()).collect();
    for ((spec, wish), holding) in world.vms.iter().zip(wishes).zip(&mut target.holdings) {
        if let Some(wish) = wish.and_then(|wish| wish.memory.as_ref()) {
            if let Some(nodes) = clamp_memory(world, wish, spec.memory, holding.socket) {
                holding.memory = nodes;
            }
        }
    }
    if !trim_memory(world, target) {
        for (holding, memory) in target.holdings.iter_mut().zip(before) {
            holding.memory = memory;
        }
    }
}

/// The wished-for memory within bounds, or nothing where the wish makes no sense.
fn clamp_memory(
    world: World<'_>,
    wish: &MemoryWish,
    bounds: Bounds<ByteSize>,
    socket: SocketId,
) -> Option<Vec<(NodeId, ByteSize)>> {
    let sane = |(node, size): &(NodeId, f64)| node.index() < world.topology.nodes().len() && !size.is_nan();
    if wish.nodes.is_empty() || !wish.nodes.iter().all(sane) {
        return None;
    }
    let step = world.capabilities.get(ChangeKind::Memory).map_or(1, |control| control.granularity);
    let mut nodes: Vec<(NodeId, ByteSize)> = Vec::with_capacity(wish.nodes.len());
    for (node, size) in &wish.nodes {
        let available = world.topology.nodes()[node.index()].available();
        nodes.push((*node, floor_to(ByteSize::from_f64(*size).min(available), step)));
    }
    nodes.sort_by_key(|(node, _)| *node);
    nodes.dedup_by_key(|(node, _)| *node);
    let total: ByteSize = nodes.iter().map(|(_, size)| *size).sum();
    if total > bounds.limit {
        let mut excess = total - bounds.limit;
        for (_, size) in nodes.iter_mut().rev() {
            let cut = excess.min(*size);
            *size -= cut;
            excess -= cut;
        }
    } else if total < bounds.reservation {
        let missing = bounds.reservation - total;
        let home =
            nodes.iter().map(|(node, _)| *node).min_by_key(|node| world.topology.distance(socket, *node))?;
        let entry = nodes.iter_mut().find(|(node, _)| *node == home)?;
        entry.1 += missing;
    }
    nodes.retain(|(_, size)| !size.is_zero());
    Some(nodes)
}

/// Cuts what exceeds a node's memory from those above their reservations, each in proportion to what it
/// has to spare there. False where the reservations alone do not fit.
fn trim_memory(world: World<'_>, target: &mut Assignment) -> bool {
    let mut held = vec![ByteSize::ZERO; world.topology.nodes().len()];
    for (node, size) in target.holdings.iter().flat_map(|holding| &holding.memory) {
        held[node.index()] += *size;
    }
    world.topology.nodes().iter().zip(held).all(|(node, held)| {
        let excess = held.saturating_sub(node.available());
        excess.is_zero() || trim_node(world, target, node.id, excess)
    })
}

fn trim_node(world: World<'_>, target: &mut Assignment, node: NodeId, excess: ByteSize) -> bool {
    let spare = |position: usize, target: &Assignment| {
        let holding = &target.holdings[position];
        let above = holding.total_memory().saturating_sub(world.vms[position].memory.reservation);
        above.min(holding.memory_on(node))
    };
    let spares: Vec<ByteSize> = (0..world.vms.len()).map(|position| spare(position, target)).collect();
    let total: ByteSize = spares.iter().copied().sum();
    if total < excess {
        return false;
    }
    let mut rest = excess;
    for (position, spare) in spares.into_iter().enumerate().filter(|(_, spare)| !spare.is_zero()) {
        let part = u128::from(spare.get()) * u128::from(excess.get());
        let cut = u64::try_from(part.div_ceil(u128::from(total.get()))).unwrap_or(u64::MAX);
        let cut = ByteSize::new(cut).min(spare).min(rest);
        rest -= cut;
        let holding = &mut target.holdings[position];
        holding.set_memory(node, holding.memory_on(node) - cut);
    }
    rest.is_zero()
}

/// The bandwidth bounds that an owner's wish puts on a device.
fn device_bounds(world: World<'_>, device: DeviceId, owner: Option<VmId>) -> Bounds<Bandwidth> {
    let found = &world.topology.fabric().devices[device.index()];
    let wish = owner.and_then(|owner| world.vm(owner)).and_then(|spec| spec.wish(found.class));
    wish.map_or_else(Bounds::default, |wish| Bounds {
        reservation: wish.bandwidth.reservation.min(found.bandwidth),
        limit: wish.bandwidth.limit.min(found.bandwidth),
    })
}

/// Hands groups over one by one, each only if the rules hold after it.
fn project_devices(world: World<'_>, moves: &[DeviceMove], target: &mut Assignment) {
    if moves.is_empty() || !world.capabilities.allows(ChangeKind::Device) {
        return;
    }
    let fabric = world.topology.fabric();
    let mut moved = vec![false; fabric.devices.len()];
    for wish in moves.iter().filter(|wish| fabric.is_assignable(wish.device)) {
        let known = wish.to.is_none_or(|vm| world.position(vm).is_some());
        if !known || std::mem::replace(&mut moved[wish.device.index()], true) {
            continue;
        }
        let before = target.devices.clone();
        for member in fabric.companions(wish.device) {
            moved[member.index()] = true;
            let held = &mut target.devices[member.index()];
            held.owner = wish.to;
            held.bandwidth = Grant::fixed(device_bounds(world, *member, wish.to).reservation);
        }
        if !devices_hold(world, target, &before, wish) {
            target.devices = before;
        }
    }
}

/// Whether both sides of a hand-over stay within their counts, and all reservations within the links.
fn devices_hold(
    world: World<'_>,
    target: &Assignment,
    before: &[crate::assignment::DeviceHolding],
    wish: &DeviceMove,
) -> bool {
    let fabric = world.topology.fabric();
    let members = fabric.companions(wish.device);
    let unplugged = members
        .iter()
        .all(|member| fabric.devices[member.index()].hot_plug || before[member.index()].owner == wish.to);
    let sides = [wish.to, before[wish.device.index()].owner];
    let counts_hold = sides.into_iter().flatten().all(|vm| {
        members.iter().all(|member| {
            let class = fabric.devices[member.index()].class;
            let count = target
                .devices_of(vm)
                .filter(|(device, _)| fabric.devices[device.index()].class == class)
                .count();
            let bounds = world
                .vm(vm)
                .and_then(|spec| spec.wish(class))
                .map_or_else(Bounds::default, |found| found.count);
            u32::try_from(count).is_ok_and(|count| bounds.contains(count))
        })
    });
    unplugged && counts_hold && reservations_fit(world, target)
}

fn reserved_below(world: World<'_>, target: &Assignment) -> Vec<Bandwidth> {
    let fabric = world.topology.fabric();
    let mut reserved = vec![Bandwidth::ZERO; fabric.links.len()];
    for (index, held) in target.devices.iter().enumerate().filter(|(_, held)| held.owner.is_some()) {
        let device = DeviceId::at(index);
        for link in fabric.route(device) {
            reserved[link.index()] += device_bounds(world, device, held.owner).reservation;
        }
    }
    reserved
}

fn reservations_fit(world: World<'_>, target: &Assignment) -> bool {
    reserved_below(world, target)
        .iter()
        .zip(&target.links)
        .all(|(reserved, link)| *reserved <= link.bandwidth())
}

/// Retrains links: the narrowing ones first, since they free lanes of their pools.
fn project_links(world: World<'_>, proposal: &Proposal, target: &mut Assignment) {
    if proposal.links.is_empty() || !world.capabilities.allows(ChangeKind::Link) {
        return;
    }
    let fabric = world.topology.fabric();
    let reserved = reserved_below(world, target);
    let mut lanes = vec![0_u32; fabric.pools.len()];
    let pool = |link: usize| fabric.ports[fabric.links[link].upper.index()].pool;
    for (index, setting) in target.links.iter().enumerate() {
        if let Some(pool) = pool(index) {
            lanes[pool.index()] += u32::from(setting.width.get());
        }
    }
    let mut seen = vec![false; fabric.links.len()];
    let known = proposal.links.iter().filter(|wish| wish.link.index() < fabric.links.len());
    let mut wishes: Vec<_> =
        known.filter(|wish| !std::mem::replace(&mut seen[wish.link.index()], true)).collect();
    wishes.sort_by_key(|wish| wish.to.width > target.links[wish.link.index()].width);
    for wish in wishes {
        let index = wish.link.index();
        let held = target.links[index];
        let capable = fabric.links[index].capable;
        let legal =
            wish.to.width.is_legal() && wish.to.width <= capable.width && wish.to.speed <= capable.speed;
        let room = pool(index).is_none_or(|pool| {
            let others = lanes[pool.index()] - u32::from(held.width.get());
            others + u32::from(wish.to.width.get()) <= fabric.pools[pool.index()].lanes
        });
        if legal && room && reserved[index] <= wish.to.bandwidth() {
            if let Some(pool) = pool(index) {
                lanes[pool.index()] -= u32::from(held.width.get());
                lanes[pool.index()] += u32::from(wish.to.width.get());
            }
            target.links[index] = LinkSetting { ..wish.to };
        }
    }
}

/// Sets what devices may move, then scales shares down along every link that is asked for too much.
fn project_device_bandwidth(
    world: World<'_>,
    held: &Assignment,
    proposal: &Proposal,
    target: &mut Assignment,
) {
    let fabric = world.topology.fabric();
    let granularity = world.capabilities.get(ChangeKind::DeviceBandwidth).map(|control| control.granularity);
    let mut wishes: Vec<Option<&Wish>> = vec![None; fabric.devices.len()];
    for (device, wish) in &proposal.device_bandwidth {
        if let Some(place) = wishes.get_mut(device.index()) {
            place.get_or_insert(wish);
        }
    }
    let mut changed = target.links != held.links;
    for (index, held) in held.devices.iter().enumerate() {
        let place = &mut target.devices[index];
        let Some(owner) = place.owner else {
            place.bandwidth = Grant::default();
            continue;
        };
        let bounds = device_bounds(world, DeviceId::at(index), Some(owner));
        let fresh = held.owner != place.owner;
        // A device that changes hands starts at its new owner's reservation, free to use what is idle.
        let start =
            if fresh { Grant { share: bounds.reservation, ceiling: bounds.limit } } else { held.bandwidth };
        let wish = wishes[index].filter(|_| fresh || granularity.is_some());
        place.bandwidth = clamp_wish(wish, start, bounds, granularity.unwrap_or(1));
        changed |= place.bandwidth != held.bandwidth;
    }
    if changed {
        fit_links(world, target);
    }
}

fn fit_links(world: World<'_>, target: &mut Assignment) {
    let fabric = world.topology.fabric();
    let mut asked = vec![Bandwidth::ZERO; fabric.links.len()];
    for (index, held) in target.devices.iter().enumerate() {
        fabric.route(DeviceId::at(index)).iter().for_each(|link| asked[link.index()] += held.bandwidth.share);
    }
    for link in &fabric.links {
        let capacity = target.links[link.id.index()].bandwidth();
        if asked[link.id.index()] <= capacity {
            continue;
        }
        let mut below = Vec::new();
        for (index, held) in target.devices.iter_mut().enumerate().filter(|(_, held)| held.owner.is_some()) {
            let device = DeviceId::at(index);
            if fabric.route(device).contains(&link.id) {
                let reservation = device_bounds(world, device, held.owner).reservation;
                below.push((&mut held.bandwidth, reservation));
            }
        }
        fit(&mut below, capacity);
    }
}

fn project_cache(world: World<'_>, proposal: &Proposal, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let sockets = world.topology.sockets();
    if let Some(classes) = &proposal.classes {
        for (index, place) in target.classes.iter_mut().enumerate() {
            let legal = |(socket, mask): (&crate::topology::Socket, &u32)| match &socket.cache {
                Some(cache) => {
                    let mask = CacheMask(*mask);
                    let within = mask.0 & !CacheMask::full(cache.ways).0 == 0;
                    within && mask.is_contiguous() && mask.ways() >= cache.min_ways
                }
                None => true,
            };
            match classes.get(index) {
                Some(masks) if masks.len() == sockets.len() && sockets.iter().zip(masks).all(legal) => {
                    *place = Some(masks.iter().map(|mask| CacheMask(*mask)).collect());
                }
                // An illegal class keeps its masks; one that is left out goes once nobody is in it.
                Some(_) => {}
                None => *place = None,
            }
        }
    }
    for (wish, holding) in wishes.iter().zip(&mut target.holdings) {
        if let Some((class, _)) = wish.and_then(|wish| wish.class) {
            let used = target.classes.get(class.index()).is_some_and(Option::is_some);
            if used && world.capabilities.allows(ChangeKind::CacheClass) {
                holding.class = class;
            }
        }
    }
    restore_used_classes(world, target);
}

/// A class that still has VMs in it stays in use, with every way if nothing better is known.
fn restore_used_classes(world: World<'_>, target: &mut Assignment) {
    let used: Vec<ClassId> = target.holdings.iter().map(|holding| holding.class).collect();
    for class in used {
        if let Some(place @ None) = target.classes.get_mut(class.index()) {
            let full = |socket: &crate::topology::Socket| {
                socket.cache.as_ref().map_or(CacheMask(1), |cache| CacheMask::full(cache.ways))
            };
            *place = Some(world.topology.sockets().iter().map(full).collect());
        }
    }
}

fn project_gpus(world: World<'_>, proposal: &Proposal, target: &mut Assignment) {
    let Some((instances, _)) = &proposal.gpu_instances else { return };
    let mut wanted = instances.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut accepted: Vec<crate::assignment::GpuInstance> = Vec::new();
    let mut slices = vec![0_u32; world.vms.len()];
    for instance in wanted {
        let Some(gpu) = world.topology.gpus().get(instance.gpu.index()) else { continue };
        let Some(profile) = gpu.profiles.get(instance.profile as usize) else { continue };
        let Some(position) = world.position(instance.owner) else { continue };
        let end =
            |other: &crate::assignment::GpuInstance| other.start + gpu.profiles[other.profile as usize].span;
        let clear =
            accepted.last().is_none_or(|last| last.gpu != instance.gpu || end(last) <= instance.start);
        let after = slices[position] + profile.compute;
        if clear && profile.starts.contains(&instance.start) && after <= world.vms[position].gpu_slices.limit
        {
            slices[position] = after;
            accepted.push(instance);
        }
    }
    if world.vms.iter().zip(slices).all(|(spec, held)| spec.gpu_slices.contains(held)) {
        target.gpu_instances = accepted;
    }
}
