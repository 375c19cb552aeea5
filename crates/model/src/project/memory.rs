//! Memory by node.

use super::{floor_to, round_wish};
use crate::assignment::{Assignment, Holding};
use crate::capability::ChangeKind;
use crate::ids::NodeId;
use crate::proposal::{MemoryWish, VmWish};
use crate::topology::MemoryNode;
use crate::units::ByteSize;
use crate::vm::{Bounds, VmSpec};
use crate::world::World;

type Memory = Vec<(NodeId, ByteSize)>;

pub(super) fn project_memory(world: World<'_>, wishes: &[Option<&VmWish>], target: &mut Assignment) {
    settle(world, target);
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
        // A node of which nobody asks for more than it held is never full again, so this ends.
        let dropped = if attempt < nodes {
            largest_growth(world, target, &before, &wished, full)
        } else {
            (0..wished.len()).filter(|position| grows(&before, &wished, *position, full)).collect()
        };
        if dropped.is_empty() {
            // Only where what was held did not fit itself.
            for (holding, before) in target.holdings.iter_mut().zip(before) {
                holding.memory = before;
            }
            return;
        }
        dropped.into_iter().for_each(|position| wished[position] = None);
    }
}

/// Moves what is held into bounds that changed: what is too much is given up, the farthest first; what is
/// missing comes from what is free, then from those who hold more than their reservations.
fn settle(world: World<'_>, target: &mut Assignment) {
    let all = || world.vms.iter().map(|spec| spec.memory);
    if all().zip(&target.holdings).all(|(bounds, holding)| bounds.contains(holding.total_memory())) {
        return;
    }
    for (bounds, holding) in all().zip(&mut target.holdings) {
        let mut excess = holding.total_memory().saturating_sub(bounds.limit.max(bounds.reservation));
        for node in world.topology.nearest_nodes(holding.socket).iter().rev() {
            let held = holding.memory_on(*node);
            let cut = excess.min(held);
            holding.put_memory(*node, held.saturating_sub(cut));
            excess = excess.saturating_sub(cut);
        }
    }
    let mut free: Vec<ByteSize> = world.topology.nodes().iter().map(MemoryNode::available).collect();
    for (node, size) in target.holdings.iter().flat_map(|holding| &holding.memory) {
        free[node.index()] = free[node.index()].saturating_sub(*size);
    }
    for (position, bounds) in all().enumerate() {
        let missing = bounds.reservation.saturating_sub(target.holdings[position].total_memory());
        if !missing.is_zero() {
            make_up(world, target, &mut free, position, missing);
        }
    }
}

/// Gives a VM the memory that it is to have at least.
fn make_up(
    world: World<'_>,
    target: &mut Assignment,
    free: &mut [ByteSize],
    position: usize,
    mut missing: ByteSize,
) {
    let nearest = world.topology.nearest_nodes(target.holdings[position].socket);
    for node in nearest {
        let part = missing.min(free[node.index()]);
        free[node.index()] = free[node.index()].saturating_sub(part);
        missing = missing.saturating_sub(part);
        let holding = &mut target.holdings[position];
        holding.put_memory(*node, holding.memory_on(*node) + part);
    }
    for node in nearest {
        if missing.is_zero() {
            return;
        }
        let mut givers: Vec<(usize, ByteSize)> = (0..world.vms.len())
            .map(|giver| (giver, spare(world, target, giver, *node)))
            .filter(|(giver, spare)| *giver != position && !spare.is_zero())
            .collect();
        givers.sort_by_key(|(giver, spare)| (std::cmp::Reverse(*spare), *giver));
        for (giver, spare) in givers {
            let part = missing.min(spare);
            missing = missing.saturating_sub(part);
            for (position, more) in [(giver, false), (position, true)] {
                let holding = &mut target.holdings[position];
                let held = holding.memory_on(*node);
                holding.put_memory(*node, if more { held + part } else { held.saturating_sub(part) });
            }
        }
    }
}

fn grows(before: &[Memory], wished: &[Option<Memory>], position: usize, node: NodeId) -> bool {
    wished[position].as_ref().is_some_and(|wish| on(wish, node) > on(&before[position], node))
}

/// The VMs whose reservations would lie on a full node with most more than they held there: just so many
/// that the rest fits.
fn largest_growth(
    world: World<'_>,
    target: &Assignment,
    before: &[Memory],
    wished: &[Option<Memory>],
    node: NodeId,
) -> Vec<usize> {
    let firm: Vec<_> = (0..before.len()).map(|position| firm(world, target, position, node)).collect();
    let available = world.topology.nodes()[node.index()].available();
    let mut missing = firm.iter().copied().sum::<ByteSize>().saturating_sub(available);
    let growth = |position: usize| firm[position].saturating_sub(on(&before[position], node));
    let mut growing: Vec<usize> = (0..before.len())
        .filter(|position| grows(before, wished, *position, node) && !growth(*position).is_zero())
        .collect();
    growing.sort_by_key(|position| std::cmp::Reverse(growth(*position)));
    growing.retain(|position| {
        let needed = !missing.is_zero();
        missing = missing.saturating_sub(growth(*position));
        needed
    });
    growing
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
        holding.put_memory(node, left);
    }
    rest.is_zero()
}
