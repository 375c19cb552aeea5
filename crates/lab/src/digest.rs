//! What is kept of one run: a few figures that stand for it in comparisons, in files and between threads.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::run::RunResult;

/// How long decisions took, counted in buckets less than 1.6 % wide. Counts of several runs add up, so
/// that a percentile over many runs is one of all their decisions.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timings(BTreeMap<u32, u64>);

/// Leading bits of a time that its bucket keeps.
const KEPT_BITS: u32 = 7;

const fn shift(ns: u32) -> u32 {
    (u32::BITS - ns.leading_zeros()).saturating_sub(KEPT_BITS)
}

impl Timings {
    /// Counts times in nanoseconds.
    #[must_use]
    pub fn of(times_ns: &[u32]) -> Self {
        let mut counts = BTreeMap::new();
        for ns in times_ns {
            *counts.entry(ns >> shift(*ns) << shift(*ns)).or_default() += 1;
        }
        Self(counts)
    }

    /// Adds those of another run.
    pub fn add(&mut self, other: &Self) {
        for (bucket, count) in &other.0 {
            *self.0.entry(*bucket).or_default() += count;
        }
    }

    /// The time in microseconds that a share of all decisions did not exceed; 0 without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub fn at_share(&self, share: f64) -> f64 {
        let all: u64 = self.0.values().sum();
        let rank = (share * all.saturating_sub(1) as f64).round() as u64;
        let mut seen = 0;
        for (bucket, count) in &self.0 {
            seen += count;
            if seen > rank {
                let half = f64::from((1_u32 << shift(*bucket)) - 1) / 2.0;
                return (f64::from(*bucket) + half) / 1000.0;
            }
        }
        0.0
    }
}

/// What is kept of one run.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// The policy.
    pub policy: String,
    /// Mean utility weighted by VM weight, less the charged cost of changes.
    pub utility: f64,
    /// What no assignment can exceed.
    pub bound: f64,
    /// Share of judged windows that missed their objective.
    pub violations: f64,
    /// The lowest mean utility of any VM.
    pub worst_vm: f64,
    /// Changes begun per simulated hour.
    pub changes_per_hour: f64,
    /// Grants found swinging to and fro.
    pub limit_cycles: u64,
    /// Decisions that the heuristic made instead of the policy.
    pub fallbacks: u64,
    /// How long decisions took.
    pub timings: Timings,
}

impl From<&RunResult> for Digest {
    fn from(run: &RunResult) -> Self {
        Self {
            policy: run.policy.clone(),
            utility: run.score.utility,
            bound: run.score.bound,
            violations: run.score.violations,
            worst_vm: run.score.worst_vm,
            changes_per_hour: run.changes_per_hour,
            limit_cycles: run.limit_cycles,
            fallbacks: run.fallbacks,
            timings: Timings::of(&run.decisions_ns),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_within_a_hundredth_and_add_up() {
        let times: Vec<u32> = (1..=10_000).map(|step| step * 37).collect();
        let (low, high) = times.split_at(5000);
        let mut both = Timings::of(low);
        both.add(&Timings::of(high));
        assert_eq!(both, Timings::of(&times));
        for (share, exact) in [(0.5, 185.0), (0.99, 366.3)] {
            assert!((both.at_share(share) / exact - 1.0).abs() < 0.01, "{}", both.at_share(share));
        }
        assert!((Timings::default().at_share(0.5) - 0.0).abs() < 1e-9);
        assert!(Timings::of(&[u32::MAX]).at_share(0.5) > 4_200_000.0);
    }

    #[test]
    fn what_is_written_is_read_back_to_the_bit() {
        let digest = Digest {
            policy: "static".into(),
            utility: 0.1 + 0.2,
            bound: 1.0 / 3.0,
            violations: f64::MIN_POSITIVE,
            worst_vm: -1e-17,
            changes_per_hour: 1e22 / 7.0,
            limit_cycles: 1,
            fallbacks: 2,
            timings: Timings::of(&[1, 1000, 70_000]),
        };
        let text = serde_json::to_string(&digest).unwrap();
        assert_eq!(serde_json::from_str::<Digest>(&text).unwrap(), digest);
    }
}
