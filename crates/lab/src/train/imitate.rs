//! Imitation of one who knows the future, with dataset aggregation (Ross et al. 2011).

use std::collections::VecDeque;
use std::num::NonZeroUsize;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::Parameters;
use halcyon_policy::{Batch, Card, Features, Network, NetworkError, Shape};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::collect::{Actor, Sample, collect};
use super::net::{TrainError, Trainer, Tuning};
use super::teach::{Loss, imitate};
use crate::bench::training;

/// Why there is no network.
#[derive(Debug, thiserror::Error)]
pub enum ImitationError {
    /// It cannot be made.
    #[error("there is no such network")]
    Network(#[from] NetworkError),
    /// It came apart.
    #[error("the network does not learn")]
    Train(#[from] TrainError),
}

/// How imitation goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Imitation {
    /// The seed.
    pub seed: u64,
    /// Rounds of taking samples and learning.
    pub rounds: usize,
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
    /// Width of the network.
    pub width: usize,
    /// Threads.
    pub threads: NonZeroUsize,
}

impl Default for Imitation {
    fn default() -> Self {
        Self {
            seed: 1,
            rounds: 12,
            runs: 24,
            length: Duration::from_secs(1800),
            every: 10,
            kept: 600_000,
            steps: 300,
            batch: 2048,
            rate: 1e-3,
            width: 128,
            threads: NonZeroUsize::MIN,
        }
    }
}

/// How far it is.
#[derive(Debug, Clone, Copy)]
pub struct Progress {
    /// The round that is over, from one.
    pub round: usize,
    /// The loss over the last steps of the round.
    pub loss: Loss,
    /// Mean utility of the runs in which samples were taken.
    pub utility: f64,
    /// VMs of all samples.
    pub vms: usize,
}

impl Imitation {
    /// Trains a network from scratch.
    ///
    /// # Errors
    /// When the network comes apart.
    pub fn run(&self, mut tell: impl FnMut(&Progress, &Network)) -> Result<Network, ImitationError> {
        let shape =
            Shape { features: Features::PER_VM, host: Features::HOST, width: self.width, outputs: OUTPUTS };
        let parameters = Parameters::random(shape, self.seed)?;
        let mut learner = Trainer::new(&parameters, Tuning::default(), self.threads);
        let mut samples: VecDeque<Sample> = VecDeque::new();
        let mut random = Pcg64Mcg::new(u128::from(self.seed) << 1 | 1);
        let mut number = self.seed.wrapping_mul(1_000_003) % 100_000_000;
        for round in 1..=self.rounds {
            let actor = if round == 1 { Actor::Expert } else { Actor::Pupil(Arc::new(network(&learner)?)) };
            let (fresh, utility) = self.take(&actor, number);
            number += self.runs;
            samples.extend(fresh);
            let count =
                |samples: &VecDeque<Sample>| samples.iter().map(|sample| sample.socket.len()).sum::<usize>();
            let mut vms = count(&samples);
            while vms > self.kept {
                vms -= samples.pop_front().map_or(vms, |sample| sample.socket.len());
            }
            let loss = self.learn(&mut learner, &samples, &mut random, round)?;
            tell(&Progress { round, loss: loss.mean(), utility, vms }, &network(&learner)?);
        }
        Ok(network(&learner)?)
    }

    /// Runs scenarios and takes samples; in the order of the scenarios, whoever is done first.
    #[allow(clippy::cast_precision_loss)]
    fn take(&self, actor: &Actor, from: u64) -> (Vec<Sample>, f64) {
        let threads = self.threads.get() as u64;
        let one = |number: u64| -> Option<(Vec<Sample>, f64)> {
            let scenario = training(number).lasting(self.length).scenario().ok()?;
            collect(&scenario, actor, self.every).ok()
        };
        let mut all: Vec<(u64, (Vec<Sample>, f64))> = std::thread::scope(|scope| {
            let part = |thread: u64| {
                let mine = (from..from + self.runs).filter(move |number| number % threads == thread);
                scope
                    .spawn(move || mine.filter_map(|number| Some((number, one(number)?))).collect::<Vec<_>>())
            };
            let handles: Vec<_> = (0..threads).map(part).collect();
            handles.into_iter().filter_map(|handle| handle.join().ok()).flatten().collect()
        });
        all.sort_by_key(|(number, _)| *number);
        let utility = all.iter().map(|(_, (_, utility))| utility).sum::<f64>() / all.len().max(1) as f64;
        (all.into_iter().flat_map(|(_, (samples, _))| samples).collect(), utility)
    }

    #[allow(clippy::cast_precision_loss)]
    fn learn(
        &self,
        learner: &mut Trainer,
        samples: &VecDeque<Sample>,
        random: &mut Pcg64Mcg,
        round: usize,
    ) -> Result<Loss, TrainError> {
        let mut total = Loss::default();
        if samples.is_empty() {
            return Ok(total);
        }
        for step in 0..self.steps {
            let done = ((round - 1) * self.steps + step) as f64 / (self.rounds * self.steps) as f64;
            let mut chosen: Vec<&Sample> = Vec::new();
            let mut vms = 0;
            while vms < self.batch {
                #[allow(clippy::cast_possible_truncation)]
                let sample = &samples[(random.next_u64() % samples.len() as u64) as usize];
                vms += sample.socket.len().max(1);
                chosen.push(sample);
            }
            let loss = learn_from(learner, &chosen, vms)?;
            learner.step(f64::from(self.rate) * libm::pow(0.1, done))?;
            if step * 4 >= self.steps * 3 {
                total.add(&loss);
            }
        }
        Ok(total)
    }
}

/// The network that `learner` has come to.
pub(super) fn network(learner: &Trainer) -> Result<Network, TrainError> {
    learner.export(OUTPUTS, Card { model: "halcyon".into(), features: Features::digest() })
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
