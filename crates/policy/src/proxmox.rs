//! Proxmox VE's auto-ballooning.
//!
//! Source: the rule as the Proxmox VE administration guide documents it ("Memory") and as its public
//! source shows it (`PVE/AutoBalloon.pm` and `pvestatd` of pve-manager, AGPL-3.0). Facts were taken from
//! there, namely its constants, its order and its rounds; words and code are Halcyon's own. Every 10 s the
//! host's use is compared with a goal of 80 % of its memory. Outside a dead band of 10 MiB the difference
//! is spread over guests: each gets its minimum and a part, by its shares, of all that is above the
//! minima, with the difference added; no guest moves by more than 100 MiB at once.
//!
//! ```text
//!  desired = min + (Σ(balloon − min) + goal) · shares / Σ shares        moved into min … max
//! ```
//!
//! A guest that is where it should be leaves the round, and the others are asked again, until nobody
//! leaves. Growing, guests under pressure come first; shrinking, those without; all of them where that
//! brings nothing. Under pressure is who has at most a quarter of its minimum free.
//!
//! A known complaint is kept: the goal ignores what guests need. Above 80 % every guest ends at its
//! minimum, pressed or not, and while the guests on the host fill it past the goal it stays there, paging.
//!
//! What its words mean here: a host's use is what VMs hold of the installed memory, a guest's free memory
//! is what it holds and has not touched lately, minimum and maximum are reservation and limit, and 1000
//! shares are the default weight. CPU, bandwidth and devices are as `proportional` has them.
//!
//! Deviations: a VM that is new starts with its weight's share of the host, since limits may exceed the
//! host; guests without a minimum take part; growth ends where no node has room; a guest that refused
//! lately is not asked to shrink until it may be.

use std::time::Duration;

use halcyon_model::{Proposal, VmSpec, VmWish, Weight};

use crate::balloon::{Balloons, HostMemory, Newcomers, free_in_guest, memory_moves, reason};
use crate::turn::{Turn, Unmanaged, tidy};
use crate::{Policy, View};

const MIB: f64 = 1024.0 * 1024.0;

/// The parameters of [`Proxmox`], as it ships them. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct ProxmoxTuning {
    /// How often balloons are looked at.
    pub interval: Duration,
    /// Share of the host's memory that is to be in use.
    pub target: f64,
    /// Difference from that in bytes which is left as it is.
    pub dead_band: f64,
    /// The most that one guest moves at once, in bytes.
    pub step: f64,
    /// A guest with at most this share of its minimum free is under pressure.
    pub pressure: f64,
    /// Shares of a VM of the default weight; a VM of another weight has more or fewer in proportion.
    /// Those with none are left alone.
    pub default_shares: f64,
}

impl Default for ProxmoxTuning {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            target: 0.80,
            dead_band: 10.0 * MIB,
            step: 100.0 * MIB,
            pressure: 0.25,
            default_shares: 1000.0,
        }
    }
}

/// Proxmox VE's auto-ballooning.
#[derive(Debug, Default)]
pub struct Proxmox {
    tuning: ProxmoxTuning,
    rest: Unmanaged,
    newcomers: Newcomers,
    turn: Turn,
}

/// One guest as auto-ballooning sees it; sizes in bytes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ProxmoxGuest {
    /// What it holds.
    pub balloon: f64,
    /// What it holds at least.
    pub least: f64,
    /// What it holds at most.
    pub most: f64,
    /// What it has free, where that is known.
    pub free: Option<f64>,
    /// How much it counts; with 0 it is left alone.
    pub shares: f64,
}

impl ProxmoxTuning {
    /// Where guests are brought when `goal` bytes are to be added to what they hold together, or taken
    /// where it is negative.
    #[must_use]
    pub fn spread(&self, guests: &[ProxmoxGuest], goal: f64) -> Vec<f64> {
        let mut targets: Vec<f64> = guests.iter().map(|guest| guest.balloon).collect();
        if goal.abs() <= self.dead_band {
            return targets;
        }
        let all: Vec<usize> = (0..guests.len()).filter(|place| guests[*place].shares > 0.0).collect();
        let pressed = |place: &usize| {
            let guest = &guests[*place];
            let at_ease = guest.free.is_some_and(|free| free > self.pressure * guest.least);
            !(at_ease && guest.balloon >= guest.least)
        };
        let first = all.iter().copied().filter(|place| pressed(place) == (goal > 0.0)).collect();
        let gained = self.spread_among(first, guests, goal, &mut targets);
        let progress = if goal > 0.0 { gained > 0.0 } else { gained < 0.0 };
        if !progress {
            self.spread_among(all, guests, goal - gained, &mut targets);
        }
        targets
    }

    /// Moves the `open` guests and says by how much together.
    fn spread_among(
        &self,
        mut open: Vec<usize>,
        guests: &[ProxmoxGuest],
        goal: f64,
        targets: &mut [f64],
    ) -> f64 {
        let shrinks_only = goal < 0.0;
        loop {
            let above: f64 = open.iter().map(|place| guests[*place].balloon - guests[*place].least).sum();
            let shares: f64 = open.iter().map(|place| guests[*place].shares).sum();
            let before = open.len();
            let desired = |place: usize| {
                let guest = &guests[place];
                let part = (above + goal) * guest.shares / shares;
                (guest.least + part).min(guest.most).max(guest.least) - guest.balloon
            };
            let moves: Vec<f64> = open.iter().map(|place| desired(*place)).collect();
            let mut change = moves.iter();
            open.retain(|_| {
                let change = *change.next().unwrap_or(&0.0);
                change.abs() >= 1.0 && !(shrinks_only && change > 0.0)
            });
            if open.len() == before {
                for (place, change) in open.iter().zip(&moves) {
                    targets[*place] = guests[*place].balloon + change.clamp(-self.step, self.step);
                }
                break;
            }
        }
        open.iter().map(|place| targets[*place] - guests[*place].balloon).sum()
    }
}

impl Proxmox {
    /// Auto-ballooning with other parameters.
    #[must_use]
    pub fn new(tuning: ProxmoxTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn guest(&self, view: &View<'_>, position: usize, spec: &VmSpec) -> ProxmoxGuest {
        let held = view.snapshot.assignment.holdings[position].total_memory();
        ProxmoxGuest {
            balloon: held.as_f64(),
            least: spec.memory.reservation.as_f64(),
            most: spec.memory.limit.as_f64(),
            free: free_in_guest(&view.snapshot.vms[position], held),
            shares: self.tuning.default_shares * spec.weight.as_f64() / Weight::DEFAULT.as_f64(),
        }
    }

    fn balloon(&self, view: &View<'_>, wishes: &mut [VmWish]) {
        let host = HostMemory::of(view);
        let vms = view.world.vms.iter().enumerate();
        let guests: Vec<ProxmoxGuest> =
            vms.map(|(position, spec)| self.guest(view, position, spec)).collect();
        let targets = self.tuning.spread(&guests, self.tuning.target * host.total - host.held);
        let mut balloons = Balloons::new(view);
        for (position, (guest, target)) in guests.iter().zip(targets).enumerate() {
            let used = guest.balloon - guest.free.unwrap_or(0.0);
            let why = reason(&view.world.vms[position], guest.balloon, target, used);
            wishes[position].memory = balloons.bring(position, target, why);
        }
    }
}

impl Policy for Proxmox {
    fn name(&self) -> &'static str {
        "proxmox"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.rest.propose_without_memory(view);
        if memory_moves(view)
            && !self.newcomers.welcome(view, &mut proposal.vms)
            && self.turn.has_come(view, self.tuning.interval)
        {
            self.balloon(view, &mut proposal.vms);
        }
        tidy(proposal)
    }
}
