//! Scenarios to learn from, and to be judged by.

use std::time::Duration;

use super::judge::CHOSEN;
use super::vary::varied;
use crate::bench::{BenchError, training};
use crate::scenario::Scenario;

/// Scenarios by number. One number is always the same scenario; which numbers are for what,
/// [`CHOSEN`](super::CHOSEN) and [`JUDGED`](super::JUDGED) say.
pub trait Lessons: Send + Sync {
    /// The scenario with a number, for a length of time.
    ///
    /// # Errors
    /// When it cannot be made.
    fn scenario(&self, number: u64, length: Duration) -> Result<Scenario, BenchError>;
}

/// The scenarios of [`training`]: every host shape and load in turn. Those that are learned from are varied:
/// most have other noise, failures, and changes that take and cost more or less.
#[derive(Debug, Clone, Copy, Default)]
pub struct Standard;

impl Lessons for Standard {
    fn scenario(&self, number: u64, length: Duration) -> Result<Scenario, BenchError> {
        let scenario = training(number).lasting(length).scenario()?;
        Ok(if number < CHOSEN { varied(scenario, number) } else { scenario })
    }
}

/// Those of them that are on the smallest host.
#[derive(Debug, Clone, Copy, Default)]
pub struct Small;

/// Of so many scenarios of training in a row, the first is on the smallest host.
const SHAPES: u64 = 6;
/// Numbers are spread from the beginning of such a block, so that those for one end stay apart from those
/// for another.
const BLOCK: u64 = 60_000_000;

impl Lessons for Small {
    fn scenario(&self, number: u64, length: Duration) -> Result<Scenario, BenchError> {
        let inside = number % BLOCK;
        training(number - inside + SHAPES * inside).lasting(length).scenario()
    }
}

#[cfg(test)]
mod tests {
    use super::super::{CHOSEN, JUDGED};
    use super::*;

    #[test]
    fn small_scenarios_are_all_on_the_smallest_host_and_none_serves_twice() {
        let length = Duration::from_secs(60);
        let mut seeds = Vec::new();
        for number in [1_000_003, 1_000_004, CHOSEN, CHOSEN + 1, JUDGED, JUDGED + 1] {
            let scenario = Small.scenario(number, length).unwrap();
            assert_eq!((scenario.topology.name(), scenario.duration), ("small", length));
            seeds.push(scenario.seed);
        }
        assert!(seeds.is_sorted_by(|a, b| a < b), "{seeds:?}");
        // The last number that a course can reach, and the last but one of each range.
        assert!(seeds[1] < CHOSEN && 199_999_999 % BLOCK * SHAPES + 180_000_000 < CHOSEN);
        assert!(seeds[3] < JUDGED);
    }
}
