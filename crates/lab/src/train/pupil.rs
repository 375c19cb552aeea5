//! All that a course has come to so far.

use std::collections::{BTreeMap, VecDeque};
use std::num::NonZeroUsize;
use std::sync::Arc;

use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::{Parameters, Shape};
use halcyon_policy::{Features, Network};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::checkpoint::{Checkpoint, card};
use super::collect::{Actor, Sample};
use super::context::{Context, CourseError};
use super::course::{Course, Stage};
use super::net::{TrainError, Trainer, Tuning};

/// How a round went.
#[derive(Debug, Clone, PartialEq)]
pub struct Progress {
    /// The round that is over, from one.
    pub round: usize,
    /// Losses over the last steps of the round, by name.
    pub losses: Vec<(&'static str, f64)>,
    /// Mean utility of the round's runs.
    pub utility: f64,
    /// VMs of all samples that it learned from.
    pub vms: usize,
}

/// All that a course has come to so far.
pub struct Pupil {
    pub(super) learner: Trainer,
    pub(super) dice: Dice,
    /// Rounds that are over.
    pub(super) rounds: usize,
    /// What is left of the samples that were taken, by round.
    pub(super) window: VecDeque<Taken>,
}

/// What was taken in one round.
pub(super) struct Taken {
    pub(super) round: usize,
    /// Who decided.
    pub(super) actor: Actor,
    pub(super) samples: VecDeque<Sample>,
}

impl Pupil {
    /// At the beginning of a course, who knows nothing.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn new(course: &Course, threads: NonZeroUsize) -> Result<Self, CourseError> {
        let shape =
            Shape { features: Features::PER_VM, host: Features::HOST, width: course.width, outputs: OUTPUTS };
        Ok(Self::with(&Parameters::random(shape, course.seed)?, course, threads))
    }

    /// At the beginning of a course, who can already do what `network` can.
    #[must_use]
    pub fn of(network: &Network, course: &Course, threads: NonZeroUsize) -> Self {
        Self::with(network.parameters(), course, threads)
    }

    fn with(parameters: &Parameters, course: &Course, threads: NonZeroUsize) -> Self {
        Self {
            learner: Trainer::new(parameters, Tuning::default(), threads),
            dice: Dice::new(course.seed, 0),
            rounds: 0,
            window: VecDeque::new(),
        }
    }

    /// Rounds that are over.
    #[must_use]
    pub fn rounds(&self) -> usize {
        self.rounds
    }

    /// Whether the course is over.
    #[must_use]
    pub fn is_done(&self, course: &Course) -> bool {
        self.rounds >= course.rounds()
    }

    /// The network as it is now.
    ///
    /// # Errors
    /// When it came apart.
    pub fn network(&self) -> Result<Network, TrainError> {
        self.learner.export(OUTPUTS, card())
    }

    /// Takes the next round of `course`. After an error the pupil is somewhere in the middle of it, and of
    /// no use.
    ///
    /// # Errors
    /// When the course is over, was interrupted, or the network comes apart.
    pub fn round(&mut self, course: &Course, context: &Context<'_>) -> Result<Progress, CourseError> {
        let round = self.rounds + 1;
        let (stage, inner) = course.at(round).ok_or(CourseError::Round { round })?;
        let progress = match stage {
            Stage::Imitate(imitation) => imitation.round(self, course, inner, context)?,
            Stage::Reinforce(reinforcement) => reinforcement.round(self, course, inner, context)?,
        };
        self.rounds = round;
        Ok(progress)
    }

    /// What is to be written, so that the course goes on from here after a break.
    ///
    /// # Errors
    /// When the network came apart.
    pub fn checkpoint(&self) -> Result<Checkpoint, CourseError> {
        let parameters = Parameters::new(self.learner.shape(), self.learner.values().to_vec())?;
        Ok(Checkpoint {
            note: String::new(),
            networks: BTreeMap::new(),
            rounds: self.rounds,
            dice: self.dice.place(),
            parameters,
            memory: self.learner.memory(),
            window: self.window.iter().map(|taken| (taken.round, taken.actor.clone())).collect(),
        })
    }

    /// Goes on from a checkpoint of the same course. The samples that are still learned from are taken
    /// again, which takes a while.
    ///
    /// # Errors
    /// When the checkpoint is of another course, or somebody said stop.
    pub fn restore(
        checkpoint: &Checkpoint,
        course: &Course,
        context: &Context<'_>,
    ) -> Result<Self, CourseError> {
        let (parameters, memory) = (&checkpoint.parameters, checkpoint.memory.clone());
        let mut pupil = Self {
            learner: Trainer::remembering(parameters, Tuning::default(), memory, context.threads)?,
            dice: Dice::new(checkpoint.dice.0, checkpoint.dice.1),
            rounds: checkpoint.rounds,
            window: VecDeque::new(),
        };
        for (round, actor) in &checkpoint.window {
            let Some((Stage::Imitate(imitation), _)) = course.at(*round) else {
                return Err(CourseError::Round { round: *round });
            };
            let (samples, _) = imitation.take(actor, course.first_number(*round), context)?;
            let taken = Taken { round: *round, actor: actor.clone(), samples: samples.into() };
            pupil.window.push_back(taken);
            imitation.forget(&mut pupil);
        }
        Ok(pupil)
    }

    /// Begins a stage with what was learned, but with an optimiser that remembers nothing of it.
    pub(super) fn begin(&mut self, threads: NonZeroUsize) -> Result<(), TrainError> {
        self.learner = Trainer::new(self.network()?.parameters(), Tuning::default(), threads);
        // What was taken from who knows is of no more use.
        self.window.clear();
        Ok(())
    }

    /// Who decides as the network would now.
    pub(super) fn actor(&self) -> Result<Actor, TrainError> {
        Ok(Actor::Pupil(Arc::new(self.network()?)))
    }
}

/// Random numbers whose place in their order is known.
pub(super) struct Dice {
    seed: u64,
    random: Pcg64Mcg,
    drawn: u64,
}

impl Dice {
    /// Those of a seed, after so many.
    pub(super) fn new(seed: u64, drawn: u64) -> Self {
        let mut random = Pcg64Mcg::new(u128::from(seed) << 1 | 1);
        random.advance(drawn.into());
        Self { seed, random, drawn }
    }

    /// The seed, and how many were drawn.
    pub(super) fn place(&self) -> (u64, u64) {
        (self.seed, self.drawn)
    }

    /// The next one.
    pub(super) fn roll(&mut self) -> u64 {
        self.drawn += 1;
        self.random.next_u64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dice_go_on_where_they_were() {
        let mut dice = Dice::new(7, 0);
        let all: Vec<u64> = (0..40).map(|_| dice.roll()).collect();
        let mut later = Dice::new(7, 25);
        assert_eq!((25..40).map(|_| later.roll()).collect::<Vec<_>>(), all[25..]);
        assert_eq!((later.place(), dice.place()), ((7, 40), (7, 40)));
    }
}
