//! CPU time, memory bandwidth and the sockets that they come from.

use super::{clamp_wish, fit};
use crate::assignment::{Assignment, Holding};
use crate::capability::ChangeKind;
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
    let needs: Vec<_> =
        world.vms.iter().zip(&target.holdings).map(|(spec, held)| least(world, spec, held)).collect();
    let mut taken = vec![(MilliCpu::ZERO, Bandwidth::ZERO); sockets.len()];
    for (need, holding) in needs.iter().zip(&target.holdings) {
        let here = &mut taken[holding.socket.index()];
        *here = (here.0 + need.0, here.1 + need.1);
    }
    for ((need, wish), holding) in needs.iter().zip(wishes).zip(&mut target.holdings) {
        let Some(to) = wishing(wish).filter(|to| to.index() < sockets.len() && *to != holding.socket) else {
            continue;
        };
        let after = (taken[to.index()].0 + need.0, taken[to.index()].1 + need.1);
        if after.0 <= sockets[to.index()].cpu() && after.1 <= world.topology.memory_bandwidth(to) {
            let here = &mut taken[holding.socket.index()];
            *here = (here.0.saturating_sub(need.0), here.1.saturating_sub(need.1));
            taken[to.index()] = after;
            holding.socket = to;
        }
    }
}

/// The least that a VM can be brought down to: what cannot be changed on this host has to fit as it is.
fn least(world: World<'_>, spec: &VmSpec, held: &Holding) -> (MilliCpu, Bandwidth) {
    let cpu = if world.capabilities.allows(ChangeKind::Cpu) { spec.cpu.reservation } else { held.cpu.share };
    let changeable = world.capabilities.allows(ChangeKind::MemoryBandwidth);
    let bandwidth = if changeable { spec.memory_bandwidth.reservation } else { held.memory_bandwidth.share };
    (cpu, bandwidth)
}
