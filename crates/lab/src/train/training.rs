//! A whole training: a course, a look at the network after each round, the best one, and the verdict.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;

use halcyon_control::Stopwatch;
use halcyon_policy::Network;
use serde::{Deserialize, Serialize};

use super::checkpoint::{Checkpoint, CheckpointError};
use super::context::{Context, CourseError};
use super::course::Course;
use super::judge::{Contender, Exam, Verdict, utilities};
use super::pupil::Pupil;

/// What is done and how it is judged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// The rounds.
    pub course: Course,
    /// The exams.
    pub exam: Exam,
    /// What the scenarios are, so that nobody goes on with others.
    pub lessons: String,
}

/// How it stands after a round.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Row {
    /// The round, from one; zero is the network that was begun with.
    pub round: usize,
    /// What kind of round.
    pub kind: String,
    /// Losses over the last steps of the round, by name.
    pub losses: BTreeMap<String, f64>,
    /// VMs of the samples that it learned from.
    pub vms: usize,
    /// Mean utility of the round's runs; nothing where there were none.
    pub utility: Option<f64>,
    /// Mean utility of the network on scenarios that nobody learns from.
    pub score: f64,
    /// That of `reactive` on the same ones.
    pub reactive: f64,
    /// Half the 95 % interval of the difference; nothing with fewer than two scenarios.
    pub half_width: Option<f64>,
    /// Wall-clock time of the round, in seconds.
    pub seconds: f64,
}

/// How a training ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Verdicts {
    /// Against the heuristic.
    pub reactive: Verdict,
    /// Against the network that was begun with, if there was one.
    pub origin: Option<Verdict>,
}

/// A training under way.
pub struct Training {
    recipe: Recipe,
    pupil: Pupil,
    rows: Vec<Row>,
    best: Option<(usize, Network)>,
    origin: Option<Network>,
    /// What `reactive` comes to on the scenarios by which the best round is chosen.
    yardstick: Vec<f64>,
}

/// What a checkpoint has beside the pupil.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Note {
    recipe: Recipe,
    rows: Vec<Row>,
    best: Option<usize>,
    yardstick: Vec<f64>,
}

/// Why a training cannot go on.
#[derive(Debug, thiserror::Error)]
pub enum ResumeError {
    /// The checkpoint cannot be used.
    #[error("the checkpoint cannot be used")]
    Checkpoint(#[from] CheckpointError),
    /// It is of another training.
    #[error("the checkpoint is of another training: {what}")]
    Other {
        /// What is different.
        what: String,
    },
    /// Its samples cannot be taken again.
    #[error(transparent)]
    Course(#[from] CourseError),
}

/// The name of the best network in a checkpoint, and of the one that was begun with.
const BEST: &str = "best";
const ORIGIN: &str = "origin";

impl Training {
    /// At the beginning; `origin` is the network to begin with, if not from nothing.
    ///
    /// # Errors
    /// When there is no such network.
    pub fn begin(
        recipe: Recipe,
        origin: Option<Network>,
        threads: NonZeroUsize,
    ) -> Result<Self, CourseError> {
        let pupil = match &origin {
            Some(network) => Pupil::of(network, &recipe.course, threads),
            None => Pupil::new(&recipe.course, threads)?,
        };
        Ok(Self { recipe, pupil, rows: Vec::new(), best: None, origin, yardstick: Vec::new() })
    }

    /// The recipe that a checkpoint is of.
    ///
    /// # Errors
    /// When it is no checkpoint of a training.
    pub fn recipe_of(checkpoint: &Checkpoint) -> Result<Recipe, ResumeError> {
        Ok(note(checkpoint)?.recipe)
    }

    /// Goes on from a checkpoint.
    ///
    /// # Errors
    /// When the checkpoint is not whole, or somebody said stop.
    pub fn resume(checkpoint: &Checkpoint, context: &Context<'_>) -> Result<Self, ResumeError> {
        let note = note(checkpoint)?;
        let network = |name: &str| checkpoint.networks.get(name).cloned();
        let best = match note.best {
            Some(round) => Some((round, network(BEST).ok_or_else(|| other("its best network is missing"))?)),
            None => None,
        };
        let pupil = Pupil::restore(checkpoint, &note.recipe.course, context)?;
        let Note { recipe, rows, yardstick, .. } = note;
        Ok(Self { recipe, pupil, rows, best, origin: network(ORIGIN), yardstick })
    }

    /// The file to go on from.
    ///
    /// # Errors
    /// When it would be too large, or the network came apart.
    pub fn checkpoint(&self) -> Result<Vec<u8>, ResumeError> {
        let mut checkpoint = self.pupil.checkpoint()?;
        let note = Note {
            recipe: self.recipe.clone(),
            rows: self.rows.clone(),
            best: self.best.as_ref().map(|(round, _)| *round),
            yardstick: self.yardstick.clone(),
        };
        checkpoint.note = serde_json::to_string(&note).map_err(|error| other(&error.to_string()))?;
        let best = self.best.iter().map(|(_, network)| (BEST, network));
        let kept = best.chain(self.origin.iter().map(|network| (ORIGIN, network)));
        checkpoint.networks = kept.map(|(name, network)| (name.to_owned(), network.clone())).collect();
        Ok(checkpoint.write()?)
    }

    /// What is done.
    #[must_use]
    pub fn recipe(&self) -> &Recipe {
        &self.recipe
    }

    /// How it stood after each round so far.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The best network so far, and its round.
    #[must_use]
    pub fn best(&self) -> Option<(usize, &Network)> {
        self.best.as_ref().map(|(round, network)| (*round, network))
    }

    /// Whether it did not begin from nothing.
    #[must_use]
    pub fn has_origin(&self) -> bool {
        self.origin.is_some()
    }

    /// Whether the course is over.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.pupil.is_done(&self.recipe.course)
    }

    /// How much work is left, the verdict included, in the unit of [`Stage::work`](super::Stage::work).
    #[must_use]
    pub fn work_left(&self) -> u64 {
        let Recipe { course, exam, .. } = &self.recipe;
        let done = self.pupil.rounds();
        let looks = (course.rounds() - done.min(course.rounds())) as u64
            + u64::from(self.yardstick.is_empty())
            + u64::from(self.rows.is_empty() && self.has_origin());
        let judged = 2 + u64::from(self.has_origin());
        course.work(done) + looks * exam.work(exam.chosen) + judged * exam.work(exam.judged)
    }

    /// One round further, with a look at what came of it. After an error the training is of no use; go on
    /// from its last checkpoint.
    ///
    /// # Errors
    /// When somebody said stop, the course is over, or the network came apart.
    pub fn round(&mut self, context: &Context<'_>, clock: &dyn Stopwatch) -> Result<&Row, CourseError> {
        self.look_at_the_beginning(context, clock)?;
        let began = clock.elapsed();
        let progress = self.pupil.round(&self.recipe.course, context)?;
        let stage = self.recipe.course.at(progress.round);
        let row = Row {
            round: progress.round,
            kind: stage.map_or("", |(stage, _)| stage.name()).to_owned(),
            losses: progress.losses.into_iter().map(|(name, loss)| (name.to_owned(), loss)).collect(),
            vms: progress.vms,
            utility: Some(progress.utility),
            ..self.look(&self.pupil.network()?, context)?
        };
        self.keep(row, self.pupil.network()?, (clock.elapsed() - began).as_secs_f64());
        self.rows.last().ok_or(CourseError::Round { round: progress.round })
    }

    /// What there is to compare with: the heuristic, and the network that was begun with.
    fn look_at_the_beginning(
        &mut self,
        context: &Context<'_>,
        clock: &dyn Stopwatch,
    ) -> Result<(), CourseError> {
        let exam = self.recipe.exam;
        if self.yardstick.is_empty() {
            self.yardstick = utilities(Contender::Reactive, exam.choice(), exam.length, context)?;
        }
        if let (true, Some(origin)) = (self.rows.is_empty(), self.origin.clone()) {
            let began = clock.elapsed();
            let row = self.look(&origin, context)?;
            self.keep(row, origin, (clock.elapsed() - began).as_secs_f64());
        }
        Ok(())
    }

    /// How good a network is on the scenarios by which the best is chosen.
    fn look(&self, network: &Network, context: &Context<'_>) -> Result<Row, CourseError> {
        let exam = self.recipe.exam;
        let found = utilities(Contender::Network(network), exam.choice(), exam.length, context)?;
        let verdict = Verdict::of(&found, &self.yardstick);
        Ok(Row {
            round: 0,
            kind: "begin".into(),
            losses: BTreeMap::new(),
            vms: 0,
            utility: None,
            score: verdict.utility,
            reactive: verdict.other,
            half_width: verdict.difference.ci95.map(|[_, high]| high - verdict.difference.mean),
            seconds: 0.0,
        })
    }

    fn keep(&mut self, row: Row, network: Network, seconds: f64) {
        let best = self.rows.iter().map(|row| row.score).fold(f64::NEG_INFINITY, f64::max);
        if row.score > best || self.best.is_none() {
            self.best = Some((row.round, network));
        }
        self.rows.push(Row { seconds, ..row });
    }

    /// The best network on scenarios that nothing rests on but this.
    ///
    /// # Errors
    /// When somebody said stop, or there was no round yet.
    pub fn verdicts(&self, context: &Context<'_>) -> Result<Verdicts, CourseError> {
        let exam = self.recipe.exam;
        let (_, best) = self.best.as_ref().ok_or(CourseError::Round { round: 1 })?;
        let of = |contender| utilities(contender, exam.verdict(), exam.length, context);
        let best = of(Contender::Network(best))?;
        let reactive = Verdict::of(&best, &of(Contender::Reactive)?);
        let origin = match &self.origin {
            Some(origin) => Some(Verdict::of(&best, &of(Contender::Network(origin))?)),
            None => None,
        };
        Ok(Verdicts { reactive, origin })
    }
}

fn note(checkpoint: &Checkpoint) -> Result<Note, ResumeError> {
    let note: Note = serde_json::from_str(&checkpoint.note).map_err(|error| other(&error.to_string()))?;
    match note.recipe.course.fault().or_else(|| note.recipe.exam.fault()) {
        Some(fault) => Err(other(&format!("it has {fault}"))),
        None => Ok(note),
    }
}

fn other(what: &str) -> ResumeError {
    ResumeError::Other { what: what.to_owned() }
}
