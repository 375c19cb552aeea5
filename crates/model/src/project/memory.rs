//! Memory by node.

use super::floor_to;
use crate::assignment::Assignment;
use crate::capability::ChangeKind;
use crate::ids::{NodeId, SocketId};
use crate::proposal::{MemoryWish, VmWish};
use crate::units::ByteSize;
use crate::vm::Bounds;
use crate::world::World;

pub(super) fn project_memory(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let before: Vec<_> = target.holdings.iter().map(|holding| holding.memory.clone()).collect();
    for ((spec, wish), holding) in world.vms.iter().zip(wishes).zip(&mut target.holdings) {
        if let Some(wish) = wish.and_then(|wish| wish.memory.as_ref())
            && let Some(nodes) = clamp_memory(world, wish, spec.memory, holding.socket)
        {
            holding.memory = nodes;
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
