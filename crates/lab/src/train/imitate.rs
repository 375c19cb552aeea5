//! Imitation of one who knows the future, with dataset aggregation (Ross et al. 2011).

use std::sync::Mutex;
use std::time::Duration;

use halcyon_policy::Batch;
use serde::{Deserialize, Serialize};

use super::collect::{Actor, Sample, collect};
use super::context::{Context, CourseError};
use super::course::Course;
use super::net::{TrainError, Trainer};
use super::pupil::{Dice, Progress, Pupil, Taken};
use super::teach::{Loss, imitate};

/// How imitation goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Imitation {
    /// Rounds of taking samples and learning.
    pub rounds: usize,
    /// In so many of them, the first, the one who knows decides; then the network does.
    pub led: usize,
    /// Runs in each round.
    pub runs: u64,
    /// Simulated time of a run.
    pub length: Duration,
    /// Cycles from one sample to the next.
    pub every: u64,
    /// VMs of all samples together that are kept.
    pub kept: usize,
    /// Steps of learning in each round.
    pub steps: usize,
    /// VMs in each step, about.
    pub batch: usize,
    /// The rate at the beginning; it falls to a tenth.
    pub rate: f32,
}

impl Default for Imitation {
    fn default() -> Self {
        Self {
            rounds: 8,
            led: 1,
            runs: 96,
            length: Duration::from_secs(1800),
            every: 10,
            kept: 600_000,
            steps: 400,
            batch: 4096,
            rate: 1e-3,
        }
    }
}

/// Microseconds that a simulated second takes one core, about.
pub(super) const SECOND_US: u64 = 600;
/// Microseconds that a VM in a step takes one core, about.
const VM_US: u64 = 25;

impl Imitation {
    /// How much work a round is, in the unit of [`Stage::work`](super::Stage::work).
    pub(super) fn work(&self) -> u64 {
        let learning = (self.steps as u64).saturating_mul(self.batch as u64).saturating_mul(VM_US);
        self.runs.saturating_mul(self.run_work()).saturating_add(learning)
    }

    fn run_work(&self) -> u64 {
        self.length.as_secs().saturating_mul(SECOND_US)
    }

    /// The round of this stage with the number `inner`, from one.
    pub(super) fn round(
        &self,
        pupil: &mut Pupil,
        course: &Course,
        inner: usize,
        context: &Context<'_>,
    ) -> Result<Progress, CourseError> {
        let round = pupil.rounds + 1;
        let actor = if inner <= self.led { Actor::Expert } else { pupil.actor()? };
        let (samples, utility) = self.take(&actor, course.first_number(round), context)?;
        pupil.window.push_back(Taken { round, actor, samples: samples.into() });
        let vms = self.forget(pupil);
        let samples: Vec<&Sample> = pupil.window.iter().flat_map(|taken| &taken.samples).collect();
        let loss = self.learn(&mut pupil.learner, &samples, &mut pupil.dice, inner, context)?;
        let loss = loss.mean();
        let losses = vec![("actions", loss.actions), ("forecasts", loss.forecasts)];
        Ok(Progress { round, losses, utility, vms })
    }

    /// Drops the oldest samples until no more VMs are left than are to be kept; gives how many are.
    pub(super) fn forget(&self, pupil: &mut Pupil) -> usize {
        let of = |sample: &Sample| sample.socket.len();
        let mut vms: usize = pupil.window.iter().flat_map(|taken| &taken.samples).map(of).sum();
        for taken in &mut pupil.window {
            while vms > self.kept {
                let Some(sample) = taken.samples.pop_front() else { break };
                vms -= of(&sample);
            }
        }
        pupil.window.retain(|taken| !taken.samples.is_empty());
        vms
    }

    /// Runs scenarios and takes samples; in the order of the scenarios, whoever is done first.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn take(
        &self,
        actor: &Actor,
        from: u64,
        context: &Context<'_>,
    ) -> Result<(Vec<Sample>, f64), CourseError> {
        let all = context.each(from..from + self.runs, |number| {
            let scenario = context.lessons.scenario(number, self.length)?;
            let taken = collect(&scenario, actor, self.every)?;
            (context.worked)(self.run_work());
            Ok(taken)
        })?;
        let utility = all.iter().map(|(_, utility)| utility).sum::<f64>() / all.len().max(1) as f64;
        Ok((all.into_iter().flat_map(|(samples, _)| samples).collect(), utility))
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn learn(
        &self,
        learner: &mut Trainer,
        samples: &[&Sample],
        dice: &mut Dice,
        inner: usize,
        context: &Context<'_>,
    ) -> Result<Loss, CourseError> {
        let mut total = Loss::default();
        if samples.is_empty() {
            return Ok(total);
        }
        for step in 0..self.steps {
            context.go_on()?;
            let done = ((inner - 1) * self.steps + step) as f64 / (self.rounds * self.steps) as f64;
            let mut chosen: Vec<&Sample> = Vec::new();
            let mut vms = 0;
            while vms < self.batch {
                let sample = samples[(dice.roll() % samples.len() as u64) as usize];
                vms += sample.socket.len().max(1);
                chosen.push(sample);
            }
            let loss = learn_from(learner, &chosen, vms)?;
            learner.step(f64::from(self.rate) * libm::pow(0.1, done))?;
            if step * 4 >= self.steps * 3 {
                total.add(&loss);
            }
            (context.worked)(self.batch as u64 * VM_US);
        }
        Ok(total)
    }
}

/// Finds the gradient of the mean loss over all VMs.
#[allow(clippy::cast_precision_loss)]
fn learn_from(learner: &mut Trainer, samples: &[&Sample], vms: usize) -> Result<Loss, TrainError> {
    let batches: Vec<Batch<'_>> = samples
        .iter()
        .map(|sample| Batch { features: &sample.features, host: &sample.host, socket: &sample.socket })
        .collect();
    // In the order of the samples, whoever is done first.
    let losses = Mutex::new(vec![Loss::default(); samples.len()]);
    learner.differentiate(&batches, |host, outputs, slopes| {
        let loss = imitate(samples[host], outputs, slopes);
        slopes.iter_mut().for_each(|slope| *slope /= vms as f32);
        if let Ok(mut losses) = losses.lock() {
            losses[host] = loss;
        }
        (loss.actions + loss.forecasts) / vms as f64
    })?;
    let mut total = Loss::default();
    losses.into_inner().unwrap_or_default().iter().for_each(|loss| total.add(loss));
    Ok(total)
}
