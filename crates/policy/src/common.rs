//! What several policies share: dividing by weight, and giving devices to those who wish for them.

use std::collections::BTreeMap;

use halcyon_model::fair::{Claim, divide};
use halcyon_model::topology::Device;
use halcyon_model::{
    Assignment, Bounds, DeviceClass, DeviceId, DeviceMove, Holding, MemoryWish, NodeId, Reason, SocketId,
    VmId, VmSpec, World,
};

/// Divides each socket's capacity among the VMs on it; `claim` gives weight and bounds.
pub(crate) fn divide_by_socket(
    world: World<'_>,
    held: &Assignment,
    capacity: impl Fn(SocketId) -> f64,
    claim: impl Fn(usize, &VmSpec) -> Claim,
) -> Vec<f64> {
    let mut divided = vec![0.0; world.vms.len()];
    let (mut claims, mut members, mut parts) = (Vec::new(), Vec::new(), Vec::new());
    for socket in world.topology.sockets() {
        claims.clear();
        members.clear();
        for (position, (spec, _)) in on_socket(world, held, socket.id) {
            claims.push(claim(position, spec));
            members.push(position);
        }
        divide(capacity(socket.id), &claims, &mut parts);
        members.iter().zip(&parts).for_each(|(position, part)| divided[*position] = *part);
    }
    divided
}

pub(crate) fn on_socket<'a>(
    world: World<'a>,
    held: &'a Assignment,
    socket: SocketId,
) -> impl Iterator<Item = (usize, (&'a VmSpec, &'a Holding))> {
    world.vms.iter().zip(&held.holdings).enumerate().filter(move |(_, (_, holding))| holding.socket == socket)
}

/// Divides all memory of the host among its VMs by the claims, then lays each VM's part on the nodes
/// nearest to its socket that still have room. Reservations come first, so that they stay near.
pub(crate) fn lay_out_memory(
    world: World<'_>,
    held: &Assignment,
    claims: &[Claim],
    reason: impl Fn(usize) -> Reason,
) -> Vec<MemoryWish> {
    let nodes = world.topology.nodes();
    let mut free: Vec<f64> = nodes.iter().map(|node| node.available().as_f64()).collect();
    let mut sizes = Vec::new();
    divide(free.iter().sum(), claims, &mut sizes);
    let mut wishes: Vec<MemoryWish> = (0..world.vms.len())
        .map(|position| MemoryWish { nodes: Vec::new(), reason: reason(position) })
        .collect();
    let firsts: Vec<f64> = claims.iter().zip(&sizes).map(|(claim, size)| claim.least.min(*size)).collect();
    let rests: Vec<f64> = firsts.iter().zip(&sizes).map(|(first, size)| size - first).collect();
    for parts in [firsts, rests] {
        for ((wish, holding), part) in wishes.iter_mut().zip(&held.holdings).zip(parts) {
            lay_out(world.topology.nearest_nodes(holding.socket), part, &mut free, &mut wish.nodes);
        }
    }
    wishes
}

fn lay_out(nearest: &[NodeId], mut part: f64, free: &mut [f64], nodes: &mut Vec<(NodeId, f64)>) {
    for node in nearest {
        let here = part.min(free[node.index()]);
        if here >= 1.0 {
            free[node.index()] -= here;
            part -= here;
            match nodes.iter_mut().find(|(held, _)| held == node) {
                Some((_, size)) => *size += here,
                None => nodes.push((*node, here)),
            }
        }
    }
}

/// Bounds as floats.
pub(crate) fn claim<T: Copy>(weight: f64, bounds: Bounds<T>, raw: impl Fn(T) -> f64) -> Claim {
    Claim { weight, least: raw(bounds.reservation), most: raw(bounds.limit) }
}

/// Gives devices that nobody owns to VMs that wish for them, the heaviest VM first, one each in turn.
pub(crate) fn hand_out_devices(world: World<'_>, held: &Assignment) -> Vec<DeviceMove> {
    let fabric = world.topology.fabric();
    let mut counts = count_devices(world, held);
    let can_move = |device: &&Device| {
        held.devices[device.id.index()].owner.is_none()
            && fabric.is_assignable(device.id)
            && device.hot_plug
            && fabric.companions(device.id).len() == 1
    };
    let mut free: Vec<&Device> = fabric.devices.iter().filter(can_move).collect();
    let mut moves = Vec::new();
    let mut order: Vec<usize> =
        (0..world.vms.len()).filter(|place| !world.vms[*place].devices.is_empty()).collect();
    order.sort_by_key(|position| std::cmp::Reverse(world.vms[*position].weight));
    let mut given = !free.is_empty();
    while given {
        given = false;
        for position in &order {
            let (spec, socket) = (&world.vms[*position], held.holdings[*position].socket);
            let count = |class| counts.get(&(spec.id, class)).copied().unwrap_or(0);
            let wanted = |device: &Device| {
                spec.wish(device.class).is_some_and(|wish| count(device.class) < wish.count.limit as usize)
            };
            let nearest = (0..free.len())
                .filter(|place| wanted(free[*place]))
                .min_by_key(|place| (fabric.socket(free[*place].id) != Some(socket), free[*place].id));
            if let Some(place) = nearest {
                let device = free.remove(place);
                *counts.entry((spec.id, device.class)).or_default() += 1;
                moves.push(DeviceMove { device: device.id, to: Some(spec.id), reason: Reason::Entitlement });
                given = true;
            }
        }
    }
    moves
}

/// How many devices of each class each VM owns.
pub(crate) fn count_devices(world: World<'_>, held: &Assignment) -> BTreeMap<(VmId, DeviceClass), usize> {
    let mut counts = BTreeMap::new();
    for (device, holding) in world.topology.fabric().devices.iter().zip(&held.devices) {
        if let Some(owner) = holding.owner {
            *counts.entry((owner, device.class)).or_default() += 1;
        }
    }
    counts
}

/// How much a device may move for its owner: the least and the most.
pub(crate) fn device_bounds(world: World<'_>, device: DeviceId, owner: VmId) -> Option<(f64, f64)> {
    let found = &world.topology.fabric().devices[device.index()];
    let wish = world.vm(owner)?.wish(found.class)?;
    let most = found.bandwidth;
    Some((wish.bandwidth.reservation.min(most).as_f64(), wish.bandwidth.limit.min(most).as_f64()))
}
