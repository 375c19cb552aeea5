//! How good a network is on scenarios that it never learned from.
//!
//! ```text
//!  number  0 ──────────── CHOSEN ───────── JUDGED ──────── 10⁹
//!          a course learns │ the best round │ the verdict  │ the bench
//!                          │ is chosen here │ rests on these
//! ```

use std::ops::Range;
use std::time::Duration;

use halcyon_policy::learned::Learned;
use halcyon_policy::{Network, Policy, Reactive};
use serde::{Deserialize, Serialize};

use super::context::{Context, CourseError};
use super::course::{fault_of, fault_of_length};
use crate::compare::Difference;
use crate::run::Run;
use crate::statistics::{half_width, mean};
use crate::still::Still;

/// The best round is chosen by scenarios from here on; no course learns from them.
pub const CHOSEN: u64 = 840_000_000;
/// The verdict rests on scenarios from here on; nothing else does.
pub const JUDGED: u64 = 900_000_000;

/// The most scenarios of an exam.
const MOST: u64 = 10_000;

/// How networks are judged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exam {
    /// Scenarios by which the best round is chosen.
    pub chosen: u64,
    /// Scenarios of the verdict.
    pub judged: u64,
    /// Simulated time of each.
    pub length: Duration,
}

impl Exam {
    /// What is wrong with it, if anything: an exam from a file may say what it likes.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        fault_of("a number of scenarios to choose by", self.chosen, MOST)
            .or_else(|| fault_of("a number of scenarios to judge by", self.judged, MOST))
            .or_else(|| fault_of_length(self.length))
    }

    /// The numbers by which the best round is chosen.
    #[must_use]
    pub fn choice(&self) -> Range<u64> {
        CHOSEN..CHOSEN + self.chosen
    }

    /// The numbers of the verdict.
    #[must_use]
    pub fn verdict(&self) -> Range<u64> {
        JUDGED..JUDGED + self.judged
    }

    /// How much work it is to let one policy run on so many of the scenarios, in the unit of
    /// [`Stage::work`](super::Stage::work).
    #[must_use]
    pub fn work(&self, scenarios: u64) -> u64 {
        scenarios.saturating_mul(run_work(self.length))
    }
}

/// Microseconds that a simulated second takes one core, about.
const SECOND_US: u64 = 400;

fn run_work(length: Duration) -> u64 {
    length.as_secs().saturating_mul(SECOND_US)
}

/// Who is judged.
#[derive(Debug, Clone, Copy)]
pub enum Contender<'a> {
    /// The heuristic.
    Reactive,
    /// A network, as the policy `learned` with all its guards.
    Network(&'a Network),
}

impl Contender<'_> {
    fn policy(self) -> Box<dyn Policy + Send> {
        match self {
            Self::Reactive => Box::new(Reactive::default()),
            Self::Network(network) => Box::new(Learned::new(network.clone())),
        }
    }
}

/// Utility of a policy on each of the scenarios with these numbers, in their order.
///
/// # Errors
/// When a scenario cannot be made or run, or somebody said stop.
pub fn utilities(
    contender: Contender<'_>,
    numbers: Range<u64>,
    length: Duration,
    context: &Context<'_>,
) -> Result<Vec<f64>, CourseError> {
    context.each(numbers, |number| {
        let scenario = context.lessons.scenario(number, length)?;
        let mut run = Run::of(&scenario, "judged", contender.policy(), false)?;
        while !run.is_over() {
            context.go_on()?;
            run.tick(&Still)?;
        }
        (context.worked)(run_work(length));
        Ok(run.finish().score.utility)
    })
}

/// One policy against another on the same scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Verdict {
    /// How many scenarios.
    pub scenarios: usize,
    /// Mean utility of the one.
    pub utility: f64,
    /// Mean utility of the other.
    pub other: f64,
    /// How much better the one is on the same scenarios.
    pub difference: Difference,
}

impl Verdict {
    /// From utilities on the same scenarios, in the same order.
    #[must_use]
    pub fn of(one: &[f64], other: &[f64]) -> Self {
        let differences: Vec<f64> = one.iter().zip(other).map(|(one, other)| one - other).collect();
        let middle = mean(&differences);
        Self {
            scenarios: differences.len(),
            utility: mean(one),
            other: mean(other),
            difference: Difference {
                mean: middle,
                ci95: half_width(&differences).map(|half| [middle - half, middle + half]),
            },
        }
    }

    /// Whether the one is better for certain: the whole interval says so.
    #[must_use]
    pub fn is_better(&self) -> bool {
        self.difference.ci95.is_some_and(|[low, _]| low > 0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn better_is_what_the_whole_interval_says() {
        let verdict = Verdict::of(&[0.9, 0.8, 0.7], &[0.8, 0.7, 0.6]);
        assert!(verdict.is_better() && (verdict.difference.mean - 0.1).abs() < 1e-12);
        assert!(!Verdict::of(&[0.9, 0.8, 0.7], &[0.5, 0.8, 0.7]).is_better(), "one scenario alone says so");
        assert!(!Verdict::of(&[0.9], &[0.5]).is_better(), "one scenario says nothing");
        assert!(!Verdict::of(&[0.5, 0.6], &[0.5, 0.6]).is_better(), "as good is not better");
    }

    #[test]
    fn nothing_is_judged_on_what_was_learned_from() {
        let exam = Exam { chosen: 10_000, judged: 10_000, length: Duration::from_secs(60) };
        assert!(exam.choice().end <= exam.verdict().start && exam.verdict().end < 1_000_000_000);
    }
}
