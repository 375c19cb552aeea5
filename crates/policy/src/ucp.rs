//! Utility-based cache partitioning (UCP).
//!
//! Source: Qureshi and Patt, "Utility-based cache partitioning: a low-overhead, high-performance, runtime
//! mechanism to partition shared caches", MICRO 2006. Each program's misses as a function of ways are
//! known; the lookahead algorithm gives each a number of ways of its own, so that together they miss
//! least. Partitions do not overlap.
//!
//! What a utility monitor counts there is read off the program's profile here, times the CPU that it
//! uses. Deviations:
//!
//! - VMs whose curves are alike may share a partition (k-means over what they lose with each number of
//!   ways, where KPart clusters hierarchically): of 2, 8, 32, … partitions, up to one for each VM or what
//!   the hardware has, the number that misses least is taken. Hosts have more VMs than caches have ways
//!   or classes of service. Within a partition, cache goes to whoever misses most.
//! - A program without a profile is taken to gain nothing from cache.
//! - The paper decides anew every 5 million cycles; here every 5 s, and a partition is changed only
//!   where that is to save 2 % of the misses, against what is held now, be it shared or not.
//!
//! All other resources are as `proportional` has them.

use std::time::Duration;

use halcyon_model::Proposal;

use crate::cache::{Geometry, Occupant, classes_move, divide_among, regroup};
use crate::turn::{Turn, Unmanaged, tidy};
use crate::{Policy, View};

/// The parameters of [`Ucp`].
#[derive(Debug, Clone, PartialEq)]
pub struct UcpTuning {
    /// How often the cache is divided anew.
    pub interval: Duration,
    /// Share of the misses that has to be saved for it.
    pub least_gain: f64,
}

impl Default for UcpTuning {
    fn default() -> Self {
        Self { interval: Duration::from_secs(5), least_gain: 0.02 }
    }
}

/// Utility-based cache partitioning.
#[derive(Debug, Default)]
pub struct Ucp {
    tuning: UcpTuning,
    rest: Unmanaged,
    turn: Turn,
}

impl Ucp {
    /// Utility-based cache partitioning with other parameters.
    #[must_use]
    pub fn new(tuning: UcpTuning) -> Self {
        Self { tuning, ..Self::default() }
    }
}

impl Policy for Ucp {
    fn name(&self) -> &'static str {
        "ucp"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.rest.propose(view);
        if classes_move(view) && self.turn.has_come(view, self.tuning.interval) {
            let into = |occupants: &[Occupant], geometry: &Geometry| {
                divide_among(occupants, geometry, geometry.ways, geometry.classes, Occupant::misses)
            };
            regroup(view, Occupant::misses, &|_| 1.0, self.tuning.least_gain, into, &mut proposal);
        }
        tidy(proposal)
    }
}
