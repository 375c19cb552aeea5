//! What is done in which round.

use serde::{Deserialize, Serialize};

use super::imitate::Imitation;
use super::reinforce::Reinforcement;

/// All that a network depends on but for its lessons: one course, one network.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Course {
    /// The seed of everything random.
    pub seed: u64,
    /// Columns of the network's hidden layers, where it begins from nothing.
    pub width: usize,
    /// What is done, one after the other.
    pub stages: Vec<Stage>,
}

/// Rounds of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Stage {
    /// To do as one does who knows the future.
    Imitate(Imitation),
    /// To do more of what went better than usual.
    Reinforce(Reinforcement),
}

impl Stage {
    /// Its name, as reports have it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Imitate(_) => "imitate",
            Self::Reinforce(_) => "reinforce",
        }
    }

    /// How many rounds it has.
    #[must_use]
    pub const fn rounds(&self) -> usize {
        match self {
            Self::Imitate(imitation) => imitation.rounds,
            Self::Reinforce(reinforcement) => reinforcement.rounds,
        }
    }

    /// How many scenarios each of its rounds uses up.
    #[must_use]
    pub const fn runs(&self) -> u64 {
        match self {
            Self::Imitate(imitation) => imitation.runs,
            Self::Reinforce(reinforcement) => reinforcement.scenarios,
        }
    }

    /// How much work a round is, about, in microseconds of one core.
    #[must_use]
    pub fn work(&self) -> u64 {
        match self {
            Self::Imitate(imitation) => imitation.work(),
            Self::Reinforce(reinforcement) => reinforcement.work(),
        }
    }
}

impl Course {
    /// How many rounds there are.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.stages.iter().map(Stage::rounds).sum()
    }

    /// The stage of a round, and which of its rounds that is; both rounds from one.
    #[must_use]
    pub fn at(&self, round: usize) -> Option<(&Stage, usize)> {
        let mut left = round.checked_sub(1)?;
        for stage in &self.stages {
            if left < stage.rounds() {
                return Some((stage, left + 1));
            }
            left -= stage.rounds();
        }
        None
    }

    /// The number of the first scenario of a round, from one. No two rounds share a scenario.
    #[must_use]
    pub fn first_number(&self, round: usize) -> u64 {
        let begin = self.seed.wrapping_mul(1_000_003) % 100_000_000;
        (1..round).filter_map(|round| self.at(round)).fold(begin, |number, (stage, _)| number + stage.runs())
    }

    /// How much work all rounds after the first `done` are, in the unit of [`Stage::work`].
    #[must_use]
    pub fn work(&self, done: usize) -> u64 {
        (done + 1..=self.rounds()).filter_map(|round| Some(self.at(round)?.0.work())).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rounds_follow_each_other_and_share_no_scenario() {
        let stage = |rounds, runs| Stage::Imitate(Imitation { rounds, runs, ..Imitation::default() });
        let course = Course { seed: 1, width: 8, stages: vec![stage(2, 10), stage(0, 5), stage(1, 7)] };
        assert_eq!(course.rounds(), 3);
        let at = |round| course.at(round).map(|(stage, inner)| (stage.runs(), inner));
        assert_eq!(
            [at(0), at(1), at(2), at(3), at(4)],
            [None, Some((10, 1)), Some((10, 2)), Some((7, 1)), None]
        );
        let begin = course.first_number(1);
        assert_eq!([course.first_number(2), course.first_number(3)], [begin + 10, begin + 20]);
        assert_eq!(course.work(0), 2 * stage(1, 10).work() + stage(1, 7).work());
    }
}
