//! Memory follows the working set. It is taken from a VM only when another is short, since giving it
//! back takes time.

use halcyon_model::{Holding, MemoryWish, NodeId, Reason, VmSpec, VmWish};

use super::Reactive;
use crate::View;

/// Smaller changes are not worth a balloon.
pub(crate) const LEAST_CHANGE: f64 = 128.0 * 1024.0 * 1024.0;

#[derive(Debug, Clone, Copy)]
struct Need {
    held: f64,
    wanted: f64,
    /// What it can give up without touching what it uses.
    spare: f64,
}

impl Reactive {
    pub(super) fn move_memory(&self, view: &View<'_>, wishes: &mut [VmWish]) {
        let held = &view.snapshot.assignment.holdings;
        let needs: Vec<Need> = view
            .world
            .vms
            .iter()
            .zip(held)
            .enumerate()
            .map(|(position, (spec, holding))| self.need(view, position, spec, holding))
            .collect();
        let mut free: Vec<f64> =
            view.world.topology.nodes().iter().map(|node| node.available().as_f64()).collect();
        for (node, size) in held.iter().flat_map(|holding| &holding.memory) {
            free[node.index()] -= size.as_f64();
        }
        let missing: f64 = needs.iter().map(|need| (need.wanted - need.held).max(0.0)).sum();
        let short = (missing - free.iter().sum::<f64>()).max(0.0);
        let spare: f64 = needs.iter().map(|need| need.spare).sum();
        let given_up = if spare > 0.0 { (short / spare).min(1.0) } else { 0.0 };
        for (position, need) in needs.iter().enumerate() {
            let spec = &view.world.vms[position];
            let target =
                if need.wanted > need.held { need.wanted } else { need.held - need.spare * given_up };
            let change = target - need.held;
            let least = LEAST_CHANGE.max(0.02 * need.held);
            let expected = need.wanted / spec.memory.limit.as_f64().max(1.0);
            if change >= least {
                let nodes = grow(view, &held[position], change, &mut free);
                wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Demand { expected } });
            } else if -change >= least {
                let nodes = shrink(view, &held[position], -change);
                wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Idle { expected } });
            }
        }
        self.bring_home(view, &needs, &free, wishes);
    }

    fn need(&self, view: &View<'_>, position: usize, spec: &VmSpec, holding: &Holding) -> Need {
        let held = holding.total_memory().as_f64();
        let known = view.history.estimate(position);
        let working_set = known.and_then(|known| known.working_set.percentile(self.tuning.percentile));
        let Some(working_set) = working_set else { return Need { held, wanted: held, spare: 0.0 } };
        let stalled = known.and_then(|known| known.memory_stalled.percentile(0.75)).unwrap_or(0.0);
        let pressure = if stalled > 0.01 { 1.15 } else { 1.0 };
        let (least, most) = (spec.memory.reservation.as_f64(), spec.memory.limit.as_f64());
        let wanted =
            (working_set * (1.0 + self.tuning.memory_headroom) * pressure + LEAST_CHANGE).clamp(least, most);
        let refuses =
            view.snapshot.vms[position].refuses_memory_until.is_some_and(|until| view.snapshot.at < until);
        let spare = if refuses { 0.0 } else { (held - wanted.max(least)).max(0.0) };
        Need { held, wanted, spare }
    }

    /// One VM at a time gets its memory moved to its own socket, if there is room.
    fn bring_home(&self, view: &View<'_>, needs: &[Need], free: &[f64], wishes: &mut [VmWish]) {
        for (position, holding) in view.snapshot.assignment.holdings.iter().enumerate() {
            let home = view.world.topology.nearest_nodes(holding.socket)[0];
            let away = needs[position].held - holding.memory_on(home).as_f64();
            let worth_it = away > LEAST_CHANGE.max(0.1 * needs[position].held);
            if wishes[position].memory.is_none() && worth_it && free[home.index()] > away {
                let nodes = vec![(home, needs[position].held)];
                wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Locality });
                return;
            }
        }
    }
}

fn as_wish(holding: &Holding) -> Vec<(NodeId, f64)> {
    holding.memory.iter().map(|(node, size)| (*node, size.as_f64())).collect()
}

/// Adds memory on the nearest nodes with room; the last of them may be asked for more than it has free,
/// for what others are about to give up.
pub(crate) fn grow(
    view: &View<'_>,
    holding: &Holding,
    mut more: f64,
    free: &mut [f64],
) -> Vec<(NodeId, f64)> {
    let mut nodes = as_wish(holding);
    let nearest = view.world.topology.nearest_nodes(holding.socket);
    let add = |nodes: &mut Vec<(NodeId, f64)>, node: NodeId, size: f64| match nodes
        .iter_mut()
        .find(|(held, _)| *held == node)
    {
        Some((_, held)) => *held += size,
        None => nodes.push((node, size)),
    };
    for node in nearest {
        let here = more.min(free[node.index()].max(0.0));
        if here > 0.0 {
            free[node.index()] -= here;
            more -= here;
            add(&mut nodes, *node, here);
        }
    }
    if more > 0.0 {
        add(&mut nodes, nearest[0], more);
    }
    nodes
}

/// Takes memory from the farthest nodes first.
pub(crate) fn shrink(view: &View<'_>, holding: &Holding, mut less: f64) -> Vec<(NodeId, f64)> {
    let mut nodes = as_wish(holding);
    for node in view.world.topology.nearest_nodes(holding.socket).iter().rev() {
        if let Some((_, held)) = nodes.iter_mut().find(|(held, _)| held == node) {
            let here = less.min(*held);
            *held -= here;
            less -= here;
        }
    }
    nodes
}
