//! Imitation of one who knows the future, with dataset aggregation (Ross et al. 2011).

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::{Layers, Shape};
use halcyon_policy::{Features, Network, NetworkError};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::collect::{Actor, Sample, collect};
use super::losses::{Loss, imitate};
use super::net::{Hosts, Learner, Pass};
use crate::bench::training;

/// Parts of a batch; each is worked on by one thread, whatever the number of cores.
const SHARDS: usize = 4;

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
    pub threads: usize,
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
            threads: 2,
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
    pub fn run(&self, mut tell: impl FnMut(&Progress, &Network)) -> Result<Network, NetworkError> {
        let shape =
            Shape { features: Features::PER_VM, host: Features::HOST, width: self.width, outputs: OUTPUTS };
        let mut learner = Learner::new(&Network::random(shape, self.seed)?);
        let mut samples: VecDeque<Sample> = VecDeque::new();
        let mut random = Pcg64Mcg::new(u128::from(self.seed) << 1 | 1);
        let mut number = self.seed.wrapping_mul(1_000_003) % 100_000_000;
        for round in 1..=self.rounds {
            let actor = if round == 1 { Actor::Expert } else { Actor::Pupil(Arc::new(learner.network()?)) };
            let (fresh, utility) = self.take(&actor, number);
            number += self.runs;
            samples.extend(fresh);
            let count = |samples: &VecDeque<Sample>| samples.iter().map(|sample| sample.socket.len()).sum::<usize>();
            let mut vms = count(&samples);
            while vms > self.kept {
                vms -= samples.pop_front().map_or(vms, |sample| sample.socket.len());
            }
            let loss = self.learn(&mut learner, &samples, &mut random, round);
            tell(&Progress { round, loss: loss.mean(), utility, vms }, &learner.network()?);
        }
        learner.network()
    }

    /// Runs scenarios and takes samples; in the order of the scenarios, whoever is done first.
    #[allow(clippy::cast_precision_loss)]
    fn take(&self, actor: &Actor, from: u64) -> (Vec<Sample>, f64) {
        let threads = self.threads.max(1) as u64;
        let one = |number: u64| -> Option<(Vec<Sample>, f64)> {
            let scenario = training(number).lasting(self.length).scenario().ok()?;
            collect(&scenario, actor, self.every).ok()
        };
        let mut all: Vec<(u64, (Vec<Sample>, f64))> = std::thread::scope(|scope| {
            let part = |thread: u64| {
                let mine = (from..from + self.runs).filter(move |number| number % threads == thread);
                scope.spawn(move || mine.filter_map(|number| Some((number, one(number)?))).collect::<Vec<_>>())
            };
            let handles: Vec<_> = (0..threads).map(part).collect();
            handles.into_iter().filter_map(|handle| handle.join().ok()).flatten().collect()
        });
        all.sort_by_key(|(number, _)| *number);
        let utility = all.iter().map(|(_, (_, utility))| utility).sum::<f64>() / all.len().max(1) as f64;
        (all.into_iter().flat_map(|(_, (samples, _))| samples).collect(), utility)
    }

    #[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation)]
    fn learn(
        &self,
        learner: &mut Learner,
        samples: &VecDeque<Sample>,
        random: &mut Pcg64Mcg,
        round: usize,
    ) -> Loss {
        let mut total = Loss::default();
        if samples.is_empty() {
            return total;
        }
        for step in 0..self.steps {
            let done = (round - 1) as f32 + step as f32 / self.steps as f32;
            let rate = self.rate * libm::powf(0.1, done / self.rounds as f32);
            let mut shards: Vec<Vec<&Sample>> = vec![Vec::new(); SHARDS];
            let (mut vms, mut place) = (0, 0);
            while vms < self.batch {
                let lot = (random.next_u64() % samples.len() as u64) as usize;
                vms += samples[lot].socket.len().max(1);
                shards[place % SHARDS].push(&samples[lot]);
                place += 1;
            }
            let (gradient, loss) = gradient(learner, &shards, self.threads, 1.0 / vms as f32);
            learner.step(&gradient, rate, 1e-4);
            if step * 4 >= self.steps * 3 {
                total.add(&loss);
            }
        }
        total
    }
}

/// The gradient over all shards, added up in their order.
fn gradient(learner: &Learner, shards: &[Vec<&Sample>], threads: usize, scale: f32) -> (Layers, Loss) {
    let each = shards.len().div_ceil(threads.max(1));
    let parts: Vec<(Layers, Loss)> = std::thread::scope(|scope| {
        let work = |shards: &'_ [Vec<&Sample>]| -> Vec<(Layers, Loss)> {
            shards.iter().map(|shard| shard_gradient(learner, shard, scale)).collect()
        };
        let handles: Vec<_> = shards.chunks(each).map(|part| scope.spawn(move || work(part))).collect();
        handles.into_iter().filter_map(|handle| handle.join().ok()).flatten().collect()
    });
    let (mut sum, mut loss) = (learner.zeros(), Loss::default());
    for (part, of_part) in parts {
        loss.add(&of_part);
        for (sum, part) in sum.iter_mut().zip(part) {
            sum.weights.iter_mut().zip(part.weights).for_each(|(sum, part)| *sum += part);
            sum.bias.iter_mut().zip(part.bias).for_each(|(sum, part)| *sum += part);
        }
    }
    (sum, loss)
}

fn shard_gradient(learner: &Learner, shard: &[&Sample], scale: f32) -> (Layers, Loss) {
    let (mut hosts, mut pass) = (Hosts::default(), Pass::default());
    for sample in shard {
        hosts.push(&sample.features, &sample.host, &sample.socket, Features::HOST);
    }
    learner.forward(&hosts, &mut pass);
    let mut slope = vec![0.0; pass.outputs.len()];
    let mut loss = Loss::default();
    let mut from = 0;
    for sample in shard {
        let to = from + sample.socket.len() * OUTPUTS;
        loss.add(&imitate(sample, &pass.outputs[from..to], &mut slope[from..to]));
        from = to;
    }
    slope.iter_mut().for_each(|value| *value *= scale);
    let mut gradient = learner.zeros();
    learner.backward(&hosts, &mut pass, &slope, &mut gradient);
    (gradient, loss)
}
