//! Memory as a balloon sees it: one size for each VM. Where on the host it lies is settled here.

use std::collections::BTreeSet;

use halcyon_model::fair::divide;
use halcyon_model::{
    ByteSize, ChangeKind, Family, MemoryWish, NodeId, Reason, VmId, VmSample, VmSpec, VmWish,
};

use crate::View;
use crate::common::claim;

/// Less than a page is not worth a word.
const PAGE: f64 = 4096.0;

/// Whether memory can be changed now.
pub(crate) fn memory_moves(view: &View<'_>) -> bool {
    !view.frozen.contains(Family::Memory) && view.world.capabilities.allows(ChangeKind::Memory)
}

/// The memory of a host as its kernel reports it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HostMemory {
    /// `MemTotal`: what is installed, in bytes.
    pub(crate) total: f64,
    /// What VMs hold, in bytes. The rest is free or can be: what is set aside for the host itself is
    /// mostly cache, and how much of it is not is not measured.
    pub(crate) held: f64,
}

impl HostMemory {
    pub(crate) fn of(view: &View<'_>) -> Self {
        let nodes = view.world.topology.nodes();
        let held = view.snapshot.assignment.holdings.iter();
        Self {
            total: nodes.iter().map(|node| node.capacity.as_f64()).sum(),
            held: held.map(|holding| holding.total_memory().as_f64()).sum(),
        }
    }
}

/// What a guest reports as free: what it holds and has not touched lately. Nothing where the working
/// set is not measured.
pub(crate) fn free_in_guest(sample: &VmSample, held: ByteSize) -> Option<f64> {
    Some(held.saturating_sub(sample.working_set?).as_f64())
}

/// The balloons of a host, for one round of changes.
#[derive(Debug)]
pub(crate) struct Balloons<'v, 'a> {
    view: &'v View<'a>,
    free: Vec<f64>,
}

impl<'v, 'a> Balloons<'v, 'a> {
    pub(crate) fn new(view: &'v View<'a>) -> Self {
        let mut free: Vec<f64> =
            view.world.topology.nodes().iter().map(|node| node.available().as_f64()).collect();
        for (node, size) in view.snapshot.assignment.holdings.iter().flat_map(|holding| &holding.memory) {
            free[node.index()] -= size.as_f64();
        }
        Self { view, free }
    }

    /// Brings a VM to `target` bytes: it grows on the nearest nodes with room, as far as there is room
    /// before anybody else gives way, and shrinks on the farthest first. A guest that refused lately is
    /// not asked to shrink. Nothing where nothing changes.
    pub(crate) fn bring(&mut self, position: usize, target: f64, reason: Reason) -> Option<MemoryWish> {
        let holding = &self.view.snapshot.assignment.holdings[position];
        let mut nodes: Vec<(NodeId, f64)> =
            holding.memory.iter().map(|(node, size)| (*node, size.as_f64())).collect();
        let nearest = self.view.world.topology.nearest_nodes(holding.socket);
        let change = target - holding.total_memory().as_f64();
        let left = if change > 0.0 {
            self.grow(nearest, &mut nodes, change)
        } else if self.refuses(position) {
            -change
        } else {
            shrink(nearest, &mut nodes, -change)
        };
        (change.abs() - left >= PAGE).then_some(MemoryWish { nodes, reason })
    }

    /// Returns what found no room.
    fn grow(&mut self, nearest: &[NodeId], nodes: &mut Vec<(NodeId, f64)>, mut more: f64) -> f64 {
        for node in nearest {
            let free = &mut self.free[node.index()];
            let here = more.min(*free);
            if here < PAGE {
                continue;
            }
            *free -= here;
            more -= here;
            match nodes.iter_mut().find(|(held, _)| held == node) {
                Some((_, size)) => *size += here,
                None => nodes.push((*node, here)),
            }
        }
        more
    }

    fn refuses(&self, position: usize) -> bool {
        let until = self.view.snapshot.vms[position].refuses_memory_until;
        until.is_some_and(|until| self.view.snapshot.at < until)
    }
}

/// Returns what could not be taken.
fn shrink(nearest: &[NodeId], nodes: &mut [(NodeId, f64)], mut less: f64) -> f64 {
    for node in nearest.iter().rev() {
        if let Some((_, size)) = nodes.iter_mut().find(|(held, _)| held == node) {
            let here = less.min(*size);
            *size -= here;
            less -= here;
        }
    }
    less
}

/// VMs boot with all their memory, before any balloon: whoever is new gets its weight's share, as far as
/// there is room.
#[derive(Debug, Default)]
pub(crate) struct Newcomers {
    known: BTreeSet<VmId>,
}

impl Newcomers {
    /// Whether anybody was new.
    pub(crate) fn welcome(&mut self, view: &View<'_>, wishes: &mut [VmWish]) -> bool {
        let vms = view.world.vms;
        let anybody = vms.iter().any(|spec| !self.known.contains(&spec.id));
        if anybody {
            let shares = by_weight(view);
            let mut balloons = Balloons::new(view);
            for position in (0..vms.len()).filter(|position| !self.known.contains(&vms[*position].id)) {
                let held = view.snapshot.assignment.holdings[position].total_memory().as_f64();
                let target = shares[position].max(held);
                wishes[position].memory = balloons.bring(position, target, Reason::Entitlement);
            }
        }
        if anybody || self.known.len() != vms.len() {
            self.known = vms.iter().map(|spec| spec.id).collect();
        }
        anybody
    }
}

/// All memory of the host, divided by weight.
fn by_weight(view: &View<'_>) -> Vec<f64> {
    let whole = view.world.topology.nodes().iter().map(|node| node.available().as_f64()).sum();
    let of = |spec: &VmSpec| claim(spec.weight.as_f64(), spec.memory, ByteSize::as_f64);
    let claims: Vec<_> = view.world.vms.iter().map(of).collect();
    let mut shares = Vec::new();
    divide(whole, &claims, &mut shares);
    shares
}

/// Why a VM gets `target`, where it holds `held` and has `used` of it.
pub(crate) fn reason(spec: &VmSpec, held: f64, target: f64, used: f64) -> Reason {
    let expected = used / spec.memory.limit.as_f64().max(1.0);
    if target > held { Reason::Demand { expected } } else { Reason::Idle { expected } }
}
