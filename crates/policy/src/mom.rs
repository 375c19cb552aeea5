//! The memory overcommitment manager of oVirt (MoM) with its default rules.
//!
//! Source: oVirt MoM, `doc/balloon.rules` and its example configuration. Once in an interval it looks at
//! the mean of the last samples. Where the host's free part f is below a threshold, every guest shrinks,
//! by at most 5 %, but not below what it uses and a share of what it holds; else every guest grows by 5 %,
//! or to what it uses and that share. Changes of less than a quarter of a percent are not made.
//!
//! ```text
//!  f < 0.20   target = max(0.95 · cur, used + p · cur, min)      p = f, below f = 0.05: f − 0.05
//!  else       target = min(max(1.05 · cur, used + 0.20 · cur, min), max)
//! ```
//!
//! The threshold has no dead band, so the host swings around it for ever; that is kept.
//!
//! What its words mean here: `MemTotal` is the installed memory of all nodes; what no VM holds is free,
//! cache, or the host's own, and counts as f; a guest's unused memory is what it holds and has not touched
//! lately; balloon minimum and maximum are reservation and limit. CPU quota and I/O maxima are static caps
//! from what the user set, which are the limits here; they and all other resources are as
//! `proportional` has them.
//!
//! Deviations: a VM that is new starts with its weight's share of the host, since limits may exceed the
//! host and no plan overcommits it; growth ends where no node has room; a guest that refused lately is
//! not asked again until it may be; guests whose working set is not measured are left alone. A sample is
//! taken every second, not every five: with five the swings are wider (0.08 to 0.31 of a host with four
//! guests, instead of 0.16 to 0.24).

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use halcyon_model::{HostTime, Proposal, VmId, VmSpec, VmWish};

use crate::balloon::{Balloons, HostMemory, Newcomers, free_in_guest, memory_moves, reason};
use crate::turn::{Clock, Turn, Unmanaged, tidy};
use crate::{Policy, View};

/// The parameters of [`Mom`], as oVirt ships them. Shares are between 0 and 1.
#[derive(Debug, Clone, PartialEq)]
pub struct MomTuning {
    /// How often the rules are applied.
    pub interval: Duration,
    /// How often samples are taken.
    pub sample_interval: Duration,
    /// How many samples a mean is of.
    pub samples: usize,
    /// Free share of the host below which guests shrink.
    pub free_threshold: f64,
    /// Free share below which they have to give up what they use.
    pub free_critical: f64,
    /// How much a guest shrinks or grows at once, as a share of what it holds.
    pub step: f64,
    /// What a guest has unused at least while there is no pressure, as a share of what it holds.
    pub guest_free: f64,
    /// Changes of less than this share of what is held are not made.
    pub least_change: f64,
}

impl Default for MomTuning {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            sample_interval: Duration::from_secs(1),
            samples: 10,
            free_threshold: 0.20,
            free_critical: 0.05,
            step: 0.05,
            guest_free: 0.20,
            least_change: 0.0025,
        }
    }
}

/// oVirt's MoM.
#[derive(Debug, Default)]
pub struct Mom {
    tuning: MomTuning,
    rest: Unmanaged,
    newcomers: Newcomers,
    samples: Clock,
    turn: Turn,
    /// Free share of the host.
    host: Means<1>,
    /// Held and unused memory of each guest, in bytes.
    guests: BTreeMap<VmId, Means<2>>,
}

/// Samples of some quantities.
#[derive(Debug)]
struct Means<const N: usize> {
    samples: VecDeque<[f64; N]>,
}

impl<const N: usize> Default for Means<N> {
    fn default() -> Self {
        Self { samples: VecDeque::new() }
    }
}

impl<const N: usize> Means<N> {
    fn push(&mut self, sample: [f64; N], most: usize) {
        self.samples.push_back(sample);
        while self.samples.len() > most.max(1) {
            self.samples.pop_front();
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn mean(&self) -> Option<[f64; N]> {
        let count = self.samples.len();
        let sum = |quantity: usize| self.samples.iter().map(|sample| sample[quantity]).sum::<f64>();
        (count > 0).then(|| std::array::from_fn(|quantity| sum(quantity) / count as f64))
    }
}

impl Mom {
    /// MoM with other parameters.
    #[must_use]
    pub fn new(tuning: MomTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn sample(&mut self, view: &View<'_>) {
        let most = self.tuning.samples;
        let host = HostMemory::of(view);
        self.host.push([1.0 - host.held / host.total.max(1.0)], most);
        for (sample, holding) in view.snapshot.vms.iter().zip(&view.snapshot.assignment.holdings) {
            let held = holding.total_memory();
            if let Some(unused) = free_in_guest(sample, held) {
                self.guests.entry(holding.vm).or_default().push([held.as_f64(), unused], most);
            }
        }
        if self.guests.len() > view.world.vms.len() {
            self.guests.retain(|vm, _| view.world.position(*vm).is_some());
        }
    }

    fn balloon(&self, view: &View<'_>, free: f64, wishes: &mut [VmWish]) {
        let mut balloons = Balloons::new(view);
        for (position, spec) in view.world.vms.iter().enumerate() {
            let Some([held, unused]) = self.guests.get(&spec.id).and_then(Means::mean) else { continue };
            let used = held - unused;
            let now = view.snapshot.assignment.holdings[position].total_memory().as_f64();
            if let Some(target) = self.target(spec, free, now, used) {
                wishes[position].memory = balloons.bring(position, target, reason(spec, now, target, used));
            }
        }
    }

    /// Where the rules bring a guest that holds `now` bytes; nothing where they leave it.
    fn target(&self, spec: &VmSpec, free: f64, now: f64, used: f64) -> Option<f64> {
        let tuning = &self.tuning;
        let (least, most) = (spec.memory.reservation.as_f64(), spec.memory.limit.as_f64());
        let shrinks = free < tuning.free_threshold;
        let target = if shrinks {
            let kept = if free > tuning.free_critical {
                tuning.guest_free * (free / tuning.free_threshold)
            } else {
                free - tuning.free_critical
            };
            ((1.0 - tuning.step) * now).max(used + kept * now).max(least)
        } else {
            ((1.0 + tuning.step) * now).max(used + tuning.guest_free * now).max(least).min(most)
        };
        let right_way = if shrinks { target <= now } else { target >= now };
        (right_way && (target - now).abs() > tuning.least_change * now).then_some(target)
    }

    fn is_due(&mut self, now: HostTime) -> bool {
        self.samples.has_come_round(now, self.tuning.sample_interval)
    }
}

impl Policy for Mom {
    fn name(&self) -> &'static str {
        "mom"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.rest.propose_without_memory(view);
        if self.is_due(view.snapshot.at) {
            self.sample(view);
        }
        if memory_moves(view) && !self.newcomers.welcome(view, &mut proposal.vms) {
            let due = self.turn.has_come(view, self.tuning.interval);
            if let Some([free]) = self.host.mean().filter(|_| due) {
                self.balloon(view, free, &mut proposal.vms);
            }
        }
        tidy(proposal)
    }
}
