//! Memory by node.

use super::{floor_to, round_wish};
use crate::assignment::{Assignment, Holding};
use crate::capability::ChangeKind;
use crate::ids::NodeId;
use crate::proposal::{MemoryWish, VmWish};
use crate::units::ByteSize;
use crate::vm::{Bounds, VmSpec};
use crate::world::World;

type Memory = Vec<(NodeId, ByteSize)>;

pub(super) fn project_memory(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    let before: Vec<Memory> = target.holdings.iter().map(|holding| holding.memory.clone()).collect();
    let clamped = |((spec, wish), holding): ((&VmSpec, &Option<&VmWish>), &Holding)| {
        clamp_memory(world, wish.as_ref()?.memory.as_ref()?, spec.memory, holding)
    };
    let mut wished: Vec<Option<Memory>> =
        world.vms.iter().zip(wishes).zip(&target.holdings).map(clamped).collect();
    let nodes = world.topology.nodes().len();
    for attempt in 0.. {
        for ((holding, before), wished) in target.holdings.iter_mut().zip(&before).zip(&wished) {
            holding.memory.clone_from(wished.as_ref().unwrap_or(before));
        }
        let Some(full) = trim_memory(world, target) else { return };
        // A node that no more than held before is asked of is never full again: after as many rounds as
        // there are nodes, all that would take more of the full one stay as they are, and so this ends.
        let mut dropped = false;
        for (position, before) in before.iter().enumerate() {
            let asked = if attempt < nodes {
                firm(world, target, position, full)
            } else {
                wished[position].as_deref().map_or(ByteSize::ZERO, |wish| on(wish, full))
            };
            if wished[position].is_some() && asked > on(before, full) {
                wished[position] = None;
                dropped = true;
            }
        }
        if !dropped {
            // Only where what was held did not fit itself.
            for (holding, before) in target.holdings.iter_mut().zip(before) {
                holding.memory = before;
            }
            return;
        }
    }
}

fn on(memory: &[(NodeId, ByteSize)], node: NodeId) -> ByteSize {
    memory.iter().find(|(held, _)| *held == node).map_or(ByteSize::ZERO, |(_, size)| *size)
}

/// What a VM could give up on a node without falling below its reservation.
fn spare(world: World<'_>, target: &Assignment, position: usize, node: NodeId) -> ByteSize {
    let holding = &target.holdings[position];
    let above = holding.total_memory().saturating_sub(world.vms[position].memory.reservation);
    above.min(holding.memory_on(node))
}

/// What it could not.
fn firm(world: World<'_>, target: &Assignment, position: usize, node: NodeId) -> ByteSize {
    target.holdings[position].memory_on(node).saturating_sub(spare(world, target, position, node))
}

/// The wished-for memory within bounds, or nothing where the wish makes no sense.
fn clamp_memory(
    world: World<'_>,
    wish: &MemoryWish,
    bounds: Bounds<ByteSize>,
    holding: &Holding,
) -> Option<Memory> {
    let sane = |(node, size): &(NodeId, f64)| node.index() < world.topology.nodes().len() && !size.is_nan();
    if wish.nodes.is_empty() || !wish.nodes.iter().all(sane) {
        return None;
    }
    let step = granularity(world);
    let mut nodes: Memory = Vec::with_capacity(wish.nodes.len());
    for (node, size) in &wish.nodes {
        let available = world.topology.nodes()[node.index()].available();
        nodes.push((*node, round_wish(*size, holding.memory_on(*node), step).min(available)));
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
        let home = nodes.iter_mut().min_by_key(|(node, _)| world.topology.distance(holding.socket, *node))?;
        home.1 += missing;
    }
    nodes.retain(|(_, size)| !size.is_zero());
    Some(nodes)
}

fn granularity(world: World<'_>) -> u64 {
    world.capabilities.get(ChangeKind::Memory).map_or(1, |control| control.granularity)
}

/// Cuts what exceeds a node's memory from those above their reservations, each in proportion to what it
/// has to spare there. Returns the first node where the reservations alone do not fit.
fn trim_memory(world: World<'_>, target: &mut Assignment) -> Option<NodeId> {
    let mut held = vec![ByteSize::ZERO; world.topology.nodes().len()];
    for (node, size) in target.holdings.iter().flat_map(|holding| &holding.memory) {
        held[node.index()] += *size;
    }
    let excess = |index: usize| held[index].saturating_sub(world.topology.nodes()[index].available());
    (0..held.len())
        .map(|index| (NodeId::at(index), excess(index)))
        .find(|(node, excess)| !excess.is_zero() && !trim_node(world, target, *node, *excess))
        .map(|(node, _)| node)
}

/// Says whether there was enough to spare.
fn trim_node(world: World<'_>, target: &mut Assignment, node: NodeId, excess: ByteSize) -> bool {
    let spares: Vec<ByteSize> =
        (0..world.vms.len()).map(|position| spare(world, target, position, node)).collect();
    let total: ByteSize = spares.iter().copied().sum();
    if total < excess {
        return false;
    }
    let step = granularity(world);
    let mut rest = excess;
    for (position, spare) in spares.into_iter().enumerate().filter(|(_, spare)| !spare.is_zero()) {
        let part = u128::from(spare.get()) * u128::from(excess.get());
        let cut = u64::try_from(part.div_ceil(u128::from(total.get()))).unwrap_or(u64::MAX);
        let holding = &mut target.holdings[position];
        let held = holding.memory_on(node);
        let least = held - spare;
        let left = floor_to(held.saturating_sub(ByteSize::new(cut).min(rest)), step).max(least);
        rest = rest.saturating_sub(held - left);
        holding.set_memory(node, left);
    }
    rest.is_zero()
}
