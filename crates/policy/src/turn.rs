//! When a controller acts, and what it leaves to the kernel.
//!
//! Controllers from the literature act at intervals of their own, between which the host's cycle goes on.
//! They manage some resources and know nothing of the others; those are as
//! [`Proportional`](crate::Proportional) has them, which is what the kernel does by itself.

use std::time::Duration;

use halcyon_model::{Families, HostTime, Proposal, SocketId, VmId, VmWish};

use crate::{Policy, Proportional, View};

/// Whether `pace` has passed since `last`. A clock that went back says nothing of how long ago that was;
/// whoever waited for it to catch up would wait as long as it went back.
pub(crate) fn has_passed(last: HostTime, pace: Duration, now: HostTime) -> bool {
    now < last || now - last >= pace
}

/// Comes round once in an interval.
#[derive(Debug, Default)]
pub(crate) struct Clock {
    last: Option<HostTime>,
}

impl Clock {
    /// Whether `interval` has passed since this was true last.
    pub(crate) fn has_come_round(&mut self, now: HostTime, interval: Duration) -> bool {
        let due = self.last.is_none_or(|last| has_passed(last, interval, now));
        if due {
            self.last = Some(now);
        }
        due
    }
}

/// Comes once in an interval, and at once when VMs came, went or changed sockets.
///
/// Whoever asks while its resources are frozen would lose its turn; it is for the asker not to.
#[derive(Debug, Default)]
pub(crate) struct Turn {
    clock: Clock,
    seats: Vec<(VmId, SocketId)>,
}

impl Turn {
    /// Whether it is time to act.
    pub(crate) fn has_come(&mut self, view: &View<'_>, interval: Duration) -> bool {
        let holdings = &view.snapshot.assignment.holdings;
        let seats = || holdings.iter().map(|holding| (holding.vm, holding.socket));
        if !self.seats.iter().copied().eq(seats()) {
            self.seats = seats().collect();
            self.clock = Clock::default();
        }
        self.clock.has_come_round(view.snapshot.at, interval)
    }
}

/// How often the kernel's part is asked for again: what was refused, or lost to changes under way, is
/// then made up for. Where nothing was, nothing changes.
const AGAIN: Duration = Duration::from_secs(10);

/// What is not managed.
#[derive(Debug, Default)]
pub(crate) struct Unmanaged {
    turn: Turn,
}

impl Unmanaged {
    /// A proposal with one wish for each VM, in order, to which the controller adds its own.
    pub(crate) fn propose(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = if self.turn.has_come(view, AGAIN) {
            // A new one answers always, and wishes for what is frozen are ignored.
            Proportional::default().decide(&View { frozen: Families::NONE, ..*view })
        } else {
            Proposal { based_on: view.snapshot.generation, ..Proposal::default() }
        };
        if proposal.vms.is_empty() {
            let vms = view.world.vms.iter();
            proposal.vms = vms.map(|spec| VmWish { vm: spec.id, ..VmWish::default() }).collect();
        }
        proposal
    }

    /// The same for a controller that manages memory.
    pub(crate) fn propose_without_memory(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.propose(view);
        proposal.vms.iter_mut().for_each(|wish| wish.memory = None);
        proposal
    }
}

/// The proposal without the wishes that say nothing.
pub(crate) fn tidy(mut proposal: Proposal) -> Proposal {
    proposal.vms.retain(|wish| *wish != VmWish { vm: wish.vm, ..VmWish::default() });
    proposal
}
