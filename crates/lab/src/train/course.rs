//! What is done in which round.

use std::time::Duration;

use halcyon_policy::network::MOST_WIDTH;
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

/// The most rounds of a stage, and the most scenarios of a round; what comes of them stays far below the
/// numbers of scenarios that networks are judged by.
const MOST: u64 = 10_000;
/// The most stages.
const MOST_STAGES: usize = 4;
/// The longest run.
const LONGEST: Duration = Duration::from_secs(31 * 86_400);

/// What is wrong with the length of a run, if anything.
pub(super) fn fault_of_length(length: Duration) -> Option<String> {
    let fits = length >= Duration::from_secs(1) && length <= LONGEST;
    (!fits).then(|| format!("a run of {} s; from 1 s to 31 days are possible", length.as_secs()))
}

/// What is wrong with a number, if anything.
pub(super) fn fault_of(name: &str, value: u64, most: u64) -> Option<String> {
    (!(1..=most).contains(&value)).then(|| format!("{name} of {value}; from 1 to {most} are possible"))
}

impl Stage {
    /// What is wrong with it, if anything.
    fn fault(&self) -> Option<String> {
        let (length, steps, batch, rate) = match self {
            Self::Imitate(it) => (it.length, it.steps.max(it.every as usize), it.batch, it.rate),
            Self::Reinforce(it) => (it.length, it.epochs.max(it.turns as usize), it.batch, it.rate),
        };
        fault_of("a number of rounds", self.rounds() as u64, MOST)
            .or_else(|| fault_of("a number of scenarios", self.runs(), MOST))
            .or_else(|| fault_of("a number of steps", steps as u64, 100_000))
            .or_else(|| fault_of("a batch", batch as u64, 1_000_000))
            .or_else(|| fault_of_length(length))
            .or_else(|| {
                (!(rate > 0.0 && rate <= 1.0))
                    .then(|| format!("a rate of {rate}; it is above 0, and at most 1"))
            })
    }
}

impl Course {
    /// What is wrong with it, if anything: a course from a file may say what it likes.
    #[must_use]
    pub fn fault(&self) -> Option<String> {
        (self.stages.len() > MOST_STAGES)
            .then(|| format!("{} stages; {MOST_STAGES} are possible", self.stages.len()))
            .or_else(|| fault_of("a width", self.width as u64, MOST_WIDTH as u64))
            .or_else(|| self.stages.iter().find_map(Stage::fault))
    }

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
    fn a_course_from_a_file_is_looked_at() {
        let course = |change: fn(&mut Imitation)| {
            let mut imitation = Imitation::default();
            change(&mut imitation);
            Course { seed: 1, width: 8, stages: vec![Stage::Imitate(imitation)] }.fault()
        };
        assert_eq!(course(|_| ()), None);
        let wrong: [fn(&mut Imitation); 6] = [
            |it| it.rounds = usize::MAX,
            |it| it.runs = 0,
            |it| it.batch = 0,
            |it| it.rate = f32::NAN,
            |it| it.length = Duration::MAX,
            |it| it.length = Duration::ZERO,
        ];
        for change in wrong {
            assert!(
                course(change).is_some_and(|fault| fault.contains("possible") || fault.contains("at most"))
            );
        }
    }

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
