//! Ends swings: what is asked to and fro rests, and rests longer when it comes to that again.
//!
//! Whoever divides what is scarce by needs that are noisy can end in a circle: a grant is asked to a value,
//! away from it and back, again and again. Often nothing comes of it, as when a guest refuses what it is asked
//! to give up and what others were to get of that is dropped; so it is plans that are counted here, whoever made
//! them, and not what is held. A grant that swung [`ENOUGH`] times in a row is promised to its VM as it is: for
//! a while nothing lowers it, neither a wish nor the lack of others.
//!
//! ```text
//!        ┌──────────────── the rest is over ───────────────┐
//!        ▼                                                 │
//!      free ── swings four times, each soon after ──► rests 2 min,
//!              the last                               then 4, then 8
//! ```
//!
//! A rest counts from the last swing, and what rests can only rise: as long as bounds stay, time does not go
//! back and there is room for what was promised, no grant swings more than five times in a row. Only two raises
//! that both come to nothing could go on taking turns.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{
    Bounds, ChangeKind, Grant, Holding, HostTime, MemoryWish, NodeId, Plan, Proposal, Step, VmId, VmSpec,
};

use crate::View;

/// A swing is a change of more than this share, back to where the grant was two changes ago.
const SWING: f64 = 0.10;
/// How near "back" is, as a share.
const BACK: f64 = 0.05;
/// What comes later after the last change is no swing.
const SOON: Duration = Duration::from_secs(120);
/// So many swings in a row make a grant rest.
const ENOUGH: u32 = 4;
/// How long it rests at first; no shorter than [`SOON`], so that the next change after it is no swing.
const LEAST: Duration = SOON;
/// How long it rests at most.
const MOST: Duration = Duration::from_secs(480);
/// So long after a rest the next one is twice as long.
const REMEMBERED: Duration = Duration::from_secs(600);

/// A VM's CPU time, memory bandwidth, socket, or memory on one node.
type Part = (VmId, ChangeKind, Option<NodeId>);

/// Watches the plans of a host. Remembers one entry for each grant of the VMs that are there.
#[derive(Debug, Default)]
pub(crate) struct Fence {
    grants: BTreeMap<Part, Swing>,
}

impl Fence {
    /// A plan is being carried out since `now`, whatever comes of it.
    pub(crate) fn note(&mut self, plan: &Plan, now: HostTime) {
        self.grants.retain(|(vm, ..), _| plan.target().holding(*vm).is_some());
        for change in plan.changes() {
            if let Some((part, to)) = read(&change.step) {
                self.grants.entry(part).or_default().change(to, now);
            }
        }
    }

    /// The VMs, to which what rests is promised as it is held, and the proposal without wishes that would
    /// move it all the same. Nothing while nothing rests.
    pub(crate) fn hold(
        &self,
        view: &View<'_>,
        proposal: &Proposal,
        now: HostTime,
    ) -> Option<(Vec<VmSpec>, Proposal)> {
        let mut resting = self.grants.iter().filter(|(_, swing)| swing.rests(now)).peekable();
        resting.peek()?;
        let (mut vms, mut proposal) = (view.world.vms.to_vec(), proposal.clone());
        for ((vm, kind, _), _) in resting {
            let Some(position) = view.world.position(*vm) else { continue };
            let (spec, held) = (&mut vms[position], &view.snapshot.assignment.holdings[position]);
            let wishes = proposal.vms.iter_mut().filter(|wish| wish.vm == *vm);
            match kind {
                ChangeKind::Cpu => promise(&mut spec.cpu, held.cpu.share),
                ChangeKind::MemoryBandwidth => {
                    let Grant { share, ceiling } = held.memory_bandwidth;
                    promise(&mut spec.memory_bandwidth, share);
                    let wishes = wishes.filter_map(|wish| wish.memory_bandwidth.as_mut());
                    wishes.for_each(|wish| wish.ceiling = wish.ceiling.max(ceiling.as_f64()));
                }
                ChangeKind::Memory => {
                    promise(&mut spec.memory, held.total_memory());
                    wishes
                        .for_each(|wish| wish.memory = wish.memory.take().filter(|wish| raises(wish, held)));
                }
                _ => wishes.for_each(|wish| wish.socket = None),
            }
        }
        Some((vms, proposal))
    }
}

fn promise<T: Copy + Ord>(bounds: &mut Bounds<T>, held: T) {
    bounds.reservation = bounds.reservation.max(held.min(bounds.limit));
}

/// Whether a wish takes memory from no node.
fn raises(wish: &MemoryWish, held: &Holding) -> bool {
    let wished = |node| wish.nodes.iter().find(|(wished, _)| *wished == node).map_or(0.0, |(_, size)| *size);
    held.memory.iter().all(|(node, size)| wished(*node) >= size.as_f64())
}

/// The grant that a step changes, and to what.
fn read(step: &Step) -> Option<(Part, f64)> {
    let kind = step.kind();
    Some(match step {
        Step::SetCpu { vm, to, .. } => ((*vm, kind, None), to.share.as_f64()),
        Step::SetMemoryBandwidth { vm, to, .. } => ((*vm, kind, None), to.ceiling.as_f64()),
        Step::SetMemory { vm, node, to, .. } => ((*vm, kind, Some(*node)), to.as_f64()),
        Step::Place { vm, to, .. } => ((*vm, kind, None), f64::from(to.socket.0) + 1.0),
        _ => return None,
    })
}

/// How a grant was asked to change of late.
#[derive(Debug, Clone, Copy, Default)]
struct Swing {
    last: f64,
    before: f64,
    at: HostTime,
    /// Swings in a row.
    count: u32,
    /// How long it rests, or rested last, since the swing at `since`; zero if it never did.
    rest: Duration,
    since: HostTime,
}

impl Swing {
    fn change(&mut self, to: f64, now: HostTime) {
        let back = self.before > 0.0 && near(to, self.before, BACK) && !near(to, self.last, SWING);
        self.count = if back && is_within(self.at, SOON, now) { self.count.saturating_add(1) } else { 0 };
        (self.before, self.last, self.at) = (self.last, to, now);
        if self.count == ENOUGH {
            let again = !self.rest.is_zero() && is_within(self.since, self.rest + REMEMBERED, now);
            self.rest = if again { MOST.min(self.rest * 2) } else { LEAST };
        }
        if self.count >= ENOUGH {
            self.since = now;
        }
    }

    fn rests(&self, now: HostTime) -> bool {
        !self.rest.is_zero() && is_within(self.since, self.rest, now)
    }
}

/// Whether no more than `span` has passed since `then`; a clock that went back does not tell.
fn is_within(then: HostTime, span: Duration, now: HostTime) -> bool {
    then <= now && now - then <= span
}

fn near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * a.abs().max(b.abs())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn a_clock_that_went_back_leaves_nothing_at_rest() {
        let mut swing = Swing::default();
        for (time, to) in (100..).zip([1000.0, 2000.0, 1000.0, 2000.0, 1000.0, 2000.0]) {
            swing.change(to, SECOND * time);
        }
        assert!(swing.rests(SECOND * 106));
        assert!(!swing.rests(SECOND));
    }

    proptest! {
        /// By the lab's own rule, counted here once more.
        #[test]
        fn no_wishes_make_six_swings_in_a_row(
            wishes in proptest::collection::vec((0_usize..6, 1_u32..150), 0..300),
        ) {
            const VALUES: [f64; 6] = [0.0, 1000.0, 1030.0, 1500.0, 2000.0, 2080.0];
            let (mut swing, mut held, mut now) = (Swing::default(), 500.0_f64, Duration::ZERO);
            let (mut last, mut before, mut count, mut at) = (0.0, 0.0, 0, Duration::ZERO);
            for (wish, wait) in wishes {
                now += SECOND * wait;
                let to = if swing.rests(now) { held.max(VALUES[wish]) } else { VALUES[wish] };
                if to.to_bits() == held.to_bits() {
                    continue;
                }
                swing.change(to, now);
                let back = before > 0.0 && near(to, before, BACK) && !near(to, last, SWING);
                count = if back && now <= at + SOON { count + 1 } else { 0 };
                prop_assert!(count < 6);
                (before, last, at, held) = (last, to, now, to);
            }
        }
    }
}
