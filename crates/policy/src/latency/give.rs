//! Giving and taking: memory by node, ways as masks, targets that have become too much, and resources
//! that a published controller does not manage.

use halcyon_model::topology::Cache;
use halcyon_model::{CacheMask, ChangeKind, NodeId, Proposal, VmWish};

use crate::fixed::Proportional;
use crate::{Policy, View};

/// What goes by weight, as [`Proportional`] has it. It answers once for each set of VMs, and again when a
/// VM that refused a change may be asked again.
#[derive(Debug, Default)]
pub(crate) struct Rest {
    base: Proportional,
    refused: bool,
}

impl Rest {
    /// One wish for each VM, in order; empty ones once all is settled.
    pub(crate) fn decide(&mut self, view: &View<'_>) -> Proposal {
        let refuses = view
            .snapshot
            .vms
            .iter()
            .any(|sample| sample.refuses_memory_until.is_some_and(|until| view.snapshot.at < until));
        if self.refused && !refuses {
            self.base = Proportional::default();
        }
        self.refused = refuses;
        let mut proposal = self.base.decide(view);
        if proposal.vms.len() != view.world.vms.len() {
            let empty = view.world.vms.iter().map(|spec| VmWish { vm: spec.id, ..VmWish::default() });
            proposal.vms = empty.collect();
        }
        proposal
    }
}

/// Leaves out the wishes that wish for nothing.
pub(crate) fn tidy(mut proposal: Proposal) -> Proposal {
    proposal.vms.retain(|wish| *wish != VmWish { vm: wish.vm, ..VmWish::default() });
    proposal
}

/// Whether classes of service can be given ways and VMs.
pub(crate) fn changes_cache(view: &View<'_>) -> bool {
    let can = view.world.capabilities;
    view.world.topology.cache_classes() > 0
        && can.allows(ChangeKind::CacheMask)
        && can.allows(ChangeKind::CacheClass)
}

/// Runs of ways, one after the other from the lowest. A part that is too small, or for which no ways are
/// left, may use all of them.
pub(crate) fn masks(cache: Option<&Cache>, parts: &[u32]) -> Vec<u32> {
    let Some(cache) = cache else { return vec![1; parts.len()] };
    let mut start = 0;
    let mask = |ways: &u32| {
        let end = start + *ways;
        if *ways < cache.min_ways.max(1) || end > cache.ways {
            return CacheMask::full(cache.ways).0;
        }
        let run = CacheMask::full(end).0 & !CacheMask::full(start).0;
        start = end;
        run
    };
    parts.iter().map(mask).collect()
}

/// Brings targets down alike, by what each exceeds its least, so that they add up to at most `capacity`.
pub(crate) fn squeeze(capacity: f64, targets: &mut [(&mut f64, f64)]) {
    let total: f64 = targets.iter().map(|(target, _)| **target).sum();
    if total <= capacity {
        return;
    }
    let least: f64 = targets.iter().map(|(target, least)| target.min(*least)).sum();
    let kept = ((capacity - least) / (total - least).max(1e-9)).clamp(0.0, 1.0);
    for (target, least) in targets {
        **target = target.min(*least) + (**target - *least).max(0.0) * kept;
    }
}

/// Free memory by node, as changes are planned.
#[derive(Debug)]
pub(crate) struct Nodes {
    free: Vec<f64>,
}

impl Nodes {
    pub(crate) fn of(view: &View<'_>) -> Self {
        let nodes = view.world.topology.nodes();
        let mut free: Vec<f64> = nodes.iter().map(|node| node.available().as_f64()).collect();
        for (node, size) in view.snapshot.assignment.holdings.iter().flat_map(|holding| &holding.memory) {
            free[node.index()] -= size.as_f64();
        }
        Self { free }
    }

    /// What a VM holds, grown on the nearest nodes with room or shrunk on the farthest, to `target` bytes
    /// or as near to it as there is room.
    pub(crate) fn resize(&mut self, view: &View<'_>, position: usize, target: f64) -> Vec<(NodeId, f64)> {
        let holding = &view.snapshot.assignment.holdings[position];
        let mut nodes: Vec<(NodeId, f64)> =
            holding.memory.iter().map(|(node, size)| (*node, size.as_f64())).collect();
        let nearest = view.world.topology.nearest_nodes(holding.socket);
        let change = target - holding.total_memory().as_f64();
        let (mut more, mut less) = (change.max(0.0), (-change).max(0.0));
        for node in nearest {
            let here = more.min(self.free[node.index()].max(0.0));
            if here >= 1.0 {
                match nodes.iter_mut().find(|(held, _)| held == node) {
                    Some((_, size)) => *size += here,
                    None => nodes.push((*node, here)),
                }
                self.free[node.index()] -= here;
                more -= here;
            }
        }
        for node in nearest.iter().rev() {
            if let Some((_, size)) = nodes.iter_mut().find(|(held, _)| held == node) {
                // What is released is there for others once it is, and not before.
                let here = size.min(less);
                *size -= here;
                less -= here;
            }
        }
        nodes
    }
}

#[cfg(test)]
mod tests {
    use halcyon_model::ByteSize;

    use super::*;

    #[test]
    fn ways_are_runs_side_by_side_and_never_empty() {
        let cache = Cache { size: ByteSize::mib(32), ways: 11, min_ways: 2, classes: 8 };
        assert_eq!(masks(Some(&cache), &[2, 3, 6]), [0b11, 0b11100, 0b111_1110_0000]);
        assert_eq!(masks(Some(&cache), &[1, 11, 4]), [0x7ff, 0x7ff, 0x7ff]);
        assert_eq!(masks(None, &[5, 5]), [1, 1]);
    }

    #[test]
    fn too_much_is_brought_down_above_the_least() {
        let (mut one, mut other) = (6.0, 4.0);
        squeeze(8.0, &mut [(&mut one, 2.0), (&mut other, 4.0)]);
        assert_eq!((one, other), (4.0, 4.0));
        squeeze(1.0, &mut [(&mut one, 2.0), (&mut other, 4.0)]);
        assert_eq!((one, other), (2.0, 4.0), "never below the least");
    }
}
