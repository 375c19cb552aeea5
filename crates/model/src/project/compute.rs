//! CPU time, memory bandwidth and the sockets that they come from.

use super::{clamp_wish, fit};
use crate::assignment::{Assignment, Holding};
use crate::capability::ChangeKind;
use crate::ids::SocketId;
use crate::proposal::VmWish;
use crate::units::{Bandwidth, MilliCpu};
use crate::vm::VmSpec;
use crate::world::World;

pub(super) fn project_compute(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
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
        if let Some(step) = cpu_step {
            fit(&mut cpu, socket.cpu(), step);
        }
        if let Some(step) = bandwidth_step {
            fit(&mut bandwidth, world.topology.memory_bandwidth(socket.id), step);
        }
    }
}

/// What is firmly taken of a socket: CPU time and memory bandwidth.
type Firm = (MilliCpu, Bandwidth);

/// Moves VMs to the sockets that they wish for, as long as the reservations there fit. Where they do not
/// fit any more, because they changed, VMs move without a wish.
fn place(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let sockets = world.topology.sockets();
    let needs: Vec<Firm> =
        world.vms.iter().zip(&target.holdings).map(|(spec, held)| least(world, spec, held)).collect();
    let mut taken = vec![(MilliCpu::ZERO, Bandwidth::ZERO); sockets.len()];
    for (need, holding) in needs.iter().zip(&target.holdings) {
        let here = &mut taken[holding.socket.index()];
        *here = (here.0 + need.0, here.1 + need.1);
    }
    for ((need, wish), holding) in needs.iter().zip(wishes).zip(&mut target.holdings) {
        let wished = wish.and_then(|wish| wish.socket).map(|(socket, _)| socket);
        let Some(to) = wished.filter(|to| to.index() < sockets.len() && *to != holding.socket) else {
            continue;
        };
        if fits(world, to, taken[to.index()], *need) {
            change_sockets(&mut taken, holding, to, *need);
        }
    }
    for socket in sockets {
        while !fits(world, socket.id, taken[socket.id.index()], Firm::default()) {
            let Some((position, to)) = leaves(world, target, &needs, &taken, socket.id) else { break };
            change_sockets(&mut taken, &mut target.holdings[position], to, needs[position]);
        }
    }
}

fn fits(world: World<'_>, socket: SocketId, taken: Firm, need: Firm) -> bool {
    taken.0 + need.0 <= world.topology.sockets()[socket.index()].cpu()
        && taken.1 + need.1 <= world.topology.memory_bandwidth(socket)
}

fn change_sockets(taken: &mut [Firm], holding: &mut Holding, to: SocketId, need: Firm) {
    let here = &mut taken[holding.socket.index()];
    *here = (here.0.saturating_sub(need.0), here.1.saturating_sub(need.1));
    let there = &mut taken[to.index()];
    *there = (there.0 + need.0, there.1 + need.1);
    holding.socket = to;
}

/// Who moves from a socket whose reservations do not fit, and where to: the least of those that make room
/// enough, else the largest that another socket has room for.
fn leaves(
    world: World<'_>,
    target: &Assignment,
    needs: &[Firm],
    taken: &[Firm],
    socket: SocketId,
) -> Option<(usize, SocketId)> {
    let here = taken[socket.index()];
    let enough = |need: Firm| {
        let left = (here.0.saturating_sub(need.0), here.1.saturating_sub(need.1));
        fits(world, socket, left, Firm::default())
    };
    let others = |need: Firm| {
        let all = (0..taken.len()).map(SocketId::at).filter(move |to| *to != socket);
        all.filter(move |to| fits(world, *to, taken[to.index()], need))
            .min_by_key(|to| (taken[to.index()].0, to.index()))
    };
    let members = (0..needs.len()).filter(|position| target.holdings[*position].socket == socket);
    let mut can: Vec<(usize, SocketId)> = members
        .filter(|position| needs[*position] != Firm::default())
        .filter_map(|position| Some((position, others(needs[position])?)))
        .collect();
    can.sort_by_key(|(position, _)| (needs[*position], *position));
    can.iter().find(|(position, _)| enough(needs[*position])).or(can.last()).copied()
}

/// The least that a VM can be brought down to: what cannot be changed on this host has to fit as it is.
fn least(world: World<'_>, spec: &VmSpec, held: &Holding) -> Firm {
    let cpu = if world.capabilities.allows(ChangeKind::Cpu) { spec.cpu.reservation } else { held.cpu.share };
    let changeable = world.capabilities.allows(ChangeKind::MemoryBandwidth);
    let bandwidth = if changeable { spec.memory_bandwidth.reservation } else { held.memory_bandwidth.share };
    (cpu, bandwidth)
}
