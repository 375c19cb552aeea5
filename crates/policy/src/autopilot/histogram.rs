//! Usage that is forgotten slowly.

use std::collections::VecDeque;

use halcyon_model::HostTime;

/// Each bucket is this much wider than the one before it.
const GROWTH: f64 = 1.05;
const BUCKETS: usize = 256;
/// Above this the weights are brought back to where they started.
const HEAVY: f64 = 1e100;

/// A histogram in which old entries count less and less: instead of making the old ones lighter, every
/// new one is heavier.
#[derive(Debug, Clone)]
pub(super) struct Decayed {
    /// Upper edge of the first bucket; the last one's is 250,000 times that.
    first: f64,
    buckets: Vec<f64>,
    /// What a new entry weighs.
    weight: f64,
    /// Sum of the weights, and of the weighed values.
    sums: (f64, f64),
    highest: f64,
}

impl Decayed {
    pub(super) fn new(first: f64) -> Self {
        Self { first, buckets: vec![0.0; BUCKETS], weight: 1.0, sums: (0.0, 0.0), highest: 0.0 }
    }

    /// Lets so many half-lives pass.
    pub(super) fn age(&mut self, half_lives: f64) {
        let factor = libm::exp2(half_lives.clamp(0.0, 300.0));
        self.weight *= factor;
        if self.weight > HEAVY {
            self.buckets.iter_mut().for_each(|bucket| *bucket /= self.weight);
            self.sums = (self.sums.0 / self.weight, self.sums.1 / self.weight);
            self.weight = 1.0;
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn add(&mut self, value: f64) {
        let above = libm::ceil(libm::log(value / self.first) / libm::log(GROWTH));
        // A float cast saturates and sends NaN to zero.
        let bucket = (above as usize).min(BUCKETS - 1);
        self.buckets[bucket] += self.weight;
        self.sums.0 += self.weight;
        self.sums.1 += self.weight * value;
        self.highest = self.highest.max(value);
    }

    pub(super) fn mean(&self) -> Option<f64> {
        (self.sums.0 > 0.0).then(|| self.sums.1 / self.sums.0)
    }

    /// The value up to which a `share` of the entries lies, or of the load where each entry counts as
    /// much as it is large.
    pub(super) fn percentile(&self, share: f64, by_load: bool) -> Option<f64> {
        let weighed = || {
            let edges = std::iter::successors(Some(self.first), |edge| Some(edge * GROWTH));
            self.buckets.iter().zip(edges).map(move |(weight, edge)| {
                let counted = if by_load { weight * edge } else { *weight };
                (edge, counted)
            })
        };
        let whole: f64 = weighed().map(|(_, counted)| counted).sum();
        let mut below = 0.0;
        let found = weighed().filter(|(_, counted)| *counted > 0.0).find(|(_, counted)| {
            below += counted;
            below >= share * whole * (1.0 - 1e-12)
        });
        found.map(|(edge, _)| edge.min(self.highest))
    }
}

/// The largest of recent values.
#[derive(Debug, Clone, Default)]
pub(super) struct RecentMax {
    /// Falling values; what is smaller than a later one can never be the largest again.
    values: VecDeque<(HostTime, f64)>,
}

impl RecentMax {
    /// Adds a value and forgets those from before `oldest`.
    pub(super) fn push(&mut self, at: HostTime, value: f64, oldest: HostTime) {
        while self.values.back().is_some_and(|(_, last)| *last <= value) {
            self.values.pop_back();
        }
        self.values.push_back((at, value));
        while self.values.front().is_some_and(|(then, _)| *then < oldest) {
            self.values.pop_front();
        }
    }

    pub(super) fn max(&self) -> Option<f64> {
        self.values.front().map(|(_, value)| *value)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn percentiles_are_of_entries_or_of_load() {
        let mut histogram = Decayed::new(10.0);
        assert!(histogram.percentile(0.5, false).is_none() && histogram.mean().is_none());
        (0..90).for_each(|_| histogram.add(100.0));
        (0..10).for_each(|_| histogram.add(4000.0));
        let near = |found: Option<f64>, value: f64| {
            let found = found.expect("there are entries");
            assert!(found >= value && found <= value * GROWTH, "{found} for {value}");
        };
        near(histogram.percentile(0.89, false), 100.0);
        near(histogram.percentile(0.95, false), 4000.0);
        // The few busy moments are four fifths of the load.
        near(histogram.percentile(0.5, true), 4000.0);
        near(histogram.mean(), 490.0);
    }

    #[test]
    fn what_is_old_counts_less() {
        let mut histogram = Decayed::new(10.0);
        (0..100).for_each(|_| histogram.add(4000.0));
        for _ in 0..20_000 {
            histogram.age(0.1);
            histogram.add(100.0);
        }
        let found = histogram.percentile(0.999, false).expect("there are entries");
        assert!(found < 106.0, "{found}");
        histogram.age(1e9);
        histogram.add(0.0);
        assert_eq!(histogram.percentile(0.5, false), Some(10.0));
    }

    #[test]
    fn any_value_has_a_bucket() {
        let mut histogram = Decayed::new(10.0);
        [0.0, -3.0, 1e300, f64::MIN_POSITIVE].into_iter().for_each(|value| histogram.add(value));
        assert!(histogram.percentile(1.0, true).is_some_and(f64::is_finite));
    }

    #[test]
    fn the_largest_of_recent_values_is_forgotten_in_time() {
        let mut recent = RecentMax::default();
        let second = Duration::from_secs;
        for (at, value) in [(0, 5.0), (1, 9.0), (2, 3.0), (3, 4.0)] {
            recent.push(second(at), value, second(at.saturating_sub(2)));
        }
        assert_eq!(recent.max(), Some(9.0));
        recent.push(second(4), 1.0, second(2));
        assert_eq!(recent.max(), Some(4.0));
    }
}
