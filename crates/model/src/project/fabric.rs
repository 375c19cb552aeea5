//! Devices, links and what moves along them.

use super::{clamp_wish, fit};
use crate::assignment::{Assignment, DeviceHolding, Grant};
use crate::capability::ChangeKind;
use crate::ids::{DeviceId, VmId};
use crate::proposal::{DeviceMove, Proposal, Wish};
use crate::units::Bandwidth;
use crate::vm::Bounds;
use crate::world::World;

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
pub(super) fn project_devices(world: World<'_>, moves: &[DeviceMove], target: &mut Assignment) {
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
fn devices_hold(world: World<'_>, target: &Assignment, before: &[DeviceHolding], wish: &DeviceMove) -> bool {
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
    let changeable = world.capabilities.allows(ChangeKind::DeviceBandwidth);
    let mut reserved = vec![Bandwidth::ZERO; fabric.links.len()];
    for (index, held) in target.devices.iter().enumerate().filter(|(_, held)| held.owner.is_some()) {
        let device = DeviceId::at(index);
        let least = if changeable {
            device_bounds(world, device, held.owner).reservation
        } else {
            held.bandwidth.share
        };
        for link in fabric.route(device) {
            reserved[link.index()] += least;
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
pub(super) fn project_links(world: World<'_>, proposal: &Proposal, target: &mut Assignment) {
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
            target.links[index] = wish.to;
        }
    }
}

/// Sets what devices may move, then scales shares down along every link that is asked for too much.
pub(super) fn project_device_bandwidth(
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
