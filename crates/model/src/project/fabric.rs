//! Devices, links and what moves along them.

use super::{clamp_wish, fit};
use crate::assignment::{Assignment, DeviceHolding, Grant};
use crate::capability::ChangeKind;
use crate::ids::{DeviceId, LinkId, VmId};
use crate::proposal::{DeviceMove, Proposal, Wish};
use crate::topology::DeviceClass;
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
    let mut decided = vec![false; fabric.devices.len()];
    let mut books = Books::new(world, target);
    for wish in moves.iter().filter(|wish| fabric.is_assignable(wish.device)) {
        let known = wish.to.is_none_or(|vm| world.position(vm).is_some());
        if !known || decided[wish.device.index()] {
            continue;
        }
        let members = fabric.companions(wish.device);
        members.iter().for_each(|member| decided[member.index()] = true);
        let movable = members.iter().all(|member| fabric.devices[member.index()].hot_plug);
        if movable && target.devices[wish.device.index()].owner != wish.to {
            books.hand_over(members, wish.to, target);
        }
    }
}

/// What is reserved on each link, and how many devices of each class each VM owns.
struct Books<'a> {
    world: World<'a>,
    reserved: Vec<Bandwidth>,
    counts: Vec<[u32; DeviceClass::ALL.len()]>,
}

impl<'a> Books<'a> {
    fn new(world: World<'a>, target: &Assignment) -> Self {
        let mut counts = vec![[0; DeviceClass::ALL.len()]; world.vms.len()];
        for (device, held) in world.topology.fabric().devices.iter().zip(&target.devices) {
            if let Some(position) = held.owner.and_then(|owner| world.position(owner)) {
                counts[position][device.class as usize] += 1;
            }
        }
        Self { world, reserved: reserved_below(world, target), counts }
    }

    /// Hands a group to a new owner, or leaves everything as it was where a rule would not hold.
    fn hand_over(&mut self, members: &[DeviceId], to: Option<VmId>, target: &mut Assignment) {
        for member in members {
            let held = target.devices[member.index()];
            self.post(*member, held.owner, least(self.world, *member, &held), false);
            self.post(*member, to, device_bounds(self.world, *member, to).reservation, true);
        }
        let holds = members
            .iter()
            .all(|member| self.holds(*member, target.devices[member.index()].owner, to, target));
        for member in members {
            let held = &mut target.devices[member.index()];
            let reservation = device_bounds(self.world, *member, to).reservation;
            if holds {
                *held = DeviceHolding { owner: to, bandwidth: Grant::fixed(reservation) };
            } else {
                self.post(*member, to, reservation, false);
                self.post(*member, held.owner, least(self.world, *member, held), true);
            }
        }
    }

    fn post(&mut self, device: DeviceId, owner: Option<VmId>, reserved: Bandwidth, taken: bool) {
        let fabric = self.world.topology.fabric();
        let Some(owner) = owner else { return };
        for link in fabric.route(device) {
            let sum = &mut self.reserved[link.index()];
            *sum = if taken { *sum + reserved } else { sum.saturating_sub(reserved) };
        }
        if let Some(position) = self.world.position(owner) {
            let count = &mut self.counts[position][fabric.devices[device.index()].class as usize];
            *count = if taken { *count + 1 } else { *count - 1 };
        }
    }

    /// Whether both sides of a hand-over are within their counts, and all reservations within the links.
    fn holds(&self, device: DeviceId, from: Option<VmId>, to: Option<VmId>, target: &Assignment) -> bool {
        let fabric = self.world.topology.fabric();
        let class = fabric.devices[device.index()].class;
        let counts =
            [from, to].into_iter().flatten().filter_map(|vm| self.world.position(vm)).all(|position| {
                let wish = self.world.vms[position].wish(class);
                let bounds = wish.map_or_else(Bounds::default, |found| found.count);
                bounds.contains(self.counts[position][class as usize])
            });
        let fits = |link: &LinkId| self.reserved[link.index()] <= target.link(*link).bandwidth();
        counts && fabric.route(device).iter().all(fits)
    }
}

/// The least that a device can be brought down to: what cannot be changed on this host has to fit as it
/// is.
fn least(world: World<'_>, device: DeviceId, held: &DeviceHolding) -> Bandwidth {
    if world.capabilities.allows(ChangeKind::DeviceBandwidth) {
        device_bounds(world, device, held.owner).reservation
    } else {
        held.bandwidth.share
    }
}

fn reserved_below(world: World<'_>, target: &Assignment) -> Vec<Bandwidth> {
    let fabric = world.topology.fabric();
    let mut reserved = vec![Bandwidth::ZERO; fabric.links.len()];
    for (index, held) in target.devices.iter().enumerate().filter(|(_, held)| held.owner.is_some()) {
        let device = DeviceId::at(index);
        for link in fabric.route(device) {
            reserved[link.index()] += least(world, device, held);
        }
    }
    reserved
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
        if fresh || granularity.is_some() {
            place.bandwidth = clamp_wish(wishes[index], start, bounds, granularity.unwrap_or(1));
        }
        changed |= place.bandwidth != held.bandwidth;
    }
    if changed {
        fit_links(world, held, target);
    }
}

fn fit_links(world: World<'_>, held: &Assignment, target: &mut Assignment) {
    let fabric = world.topology.fabric();
    let step = world.capabilities.get(ChangeKind::DeviceBandwidth).map_or(1, |control| control.granularity);
    let owned = |(index, held): (usize, &DeviceHolding)| held.owner.map(|_| DeviceId::at(index));
    let mut below: Vec<Vec<DeviceId>> = vec![Vec::new(); fabric.links.len()];
    for device in target.devices.iter().enumerate().filter_map(owned) {
        fabric.route(device).iter().for_each(|link| below[link.index()].push(device));
    }
    for (setting, below) in target.links.iter().zip(below) {
        let mut grants: Vec<_> =
            below.iter().map(|device| target.devices[device.index()].bandwidth).collect();
        let least = below.iter().map(|device| {
            // A device that changes hands can be given any share.
            let (before, after) = (&held.devices[device.index()], &target.devices[device.index()]);
            let fresh = before.owner != after.owner;
            if fresh {
                device_bounds(world, *device, after.owner).reservation
            } else {
                least(world, *device, after)
            }
        });
        let mut parts: Vec<_> = grants.iter_mut().zip(least).collect();
        fit(&mut parts, setting.bandwidth(), step);
        for (device, grant) in below.iter().zip(grants) {
            target.devices[device.index()].bandwidth = grant;
        }
    }
}
