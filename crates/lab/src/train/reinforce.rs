//! Reinforcement learning: proximal policy optimisation (Schulman et al. 2017) of what the network asks
//! for, by the utility that came of it.
//!
//! The network was taught what needs are; here it learns which of them are worth asking for. Each round
//! plays every scenario several times with the same demand; each time it tries something else with every
//! VM ([`explore`](super::explore)), and what went better than the other times becomes likelier
//! ([`credit`](super::credit)). Forecasts are learned along, so that they stay true where it goes.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_policy::learned::{ACTIONS, FORECASTS};
use halcyon_policy::{Batch, Network};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use super::collect::Sample;
use super::credit::credit;
use super::explore::{DEVIATIONS, Episode, PACES, explore};
use super::imitate::{ImitationError, network};
use super::losses::{Deed, log_likelihood, surrogate_of_normal};
use super::net::{TrainError, Trainer};
use super::teach::forecasts;
use crate::bench::training;

/// How reinforcement goes.
#[derive(Debug, Clone, PartialEq)]
pub struct Reinforcement {
    /// The seed.
    pub seed: u64,
    /// Rounds of trying and learning.
    pub rounds: usize,
    /// Scenarios in each round.
    pub scenarios: u64,
    /// Times that each is played in a round.
    pub turns: u64,
    /// Simulated time of a run.
    pub length: Duration,
    /// Times that all that was tried is gone through in a round.
    pub epochs: usize,
    /// VMs in each step, about.
    pub batch: usize,
    /// The rate at the beginning; it falls to a tenth.
    pub rate: f32,
    /// How far the likelihood of what was done may go in a round, as a share.
    pub clip: f64,
    /// How much what other VMs gain or lose counts against a VM's own gain, 0 to 1.
    pub others: f64,
    /// Threads.
    pub threads: NonZeroUsize,
}

impl Default for Reinforcement {
    fn default() -> Self {
        Self {
            seed: 1,
            rounds: 12,
            scenarios: 24,
            turns: 4,
            length: Duration::from_secs(1800),
            epochs: 2,
            batch: 8192,
            rate: 2e-4,
            clip: 0.2,
            others: 1.0,
            threads: NonZeroUsize::MIN,
        }
    }
}

/// How far reinforcement is.
#[derive(Debug, Clone, Copy)]
pub struct Reinforced {
    /// The round that is over, from one.
    pub round: usize,
    /// Mean utility of the runs in which it tried.
    pub utility: f64,
    /// The surrogate loss of the last epoch, of one VM: below zero as far as it learned.
    pub surrogate: f64,
    /// Pinball loss of its forecasts, of one VM.
    pub forecasts: f64,
    /// Decisions about one VM that were learned from.
    pub decisions: usize,
}

/// One sample with what it is worth.
struct Lesson {
    sample: Sample,
    /// By VM and pace: logarithm of the density of what was done, and its credit.
    deeds: Vec<[(f64, f64); PACES.len()]>,
}

impl Reinforcement {
    /// Goes on with a network that learned by imitation.
    ///
    /// # Errors
    /// When the network comes apart.
    pub fn run(
        &self,
        learner: &mut Trainer,
        mut tell: impl FnMut(&Reinforced, &Network),
    ) -> Result<Network, ImitationError> {
        let mut random = Pcg64Mcg::new(u128::from(self.seed) << 1 | 1);
        for round in 1..=self.rounds {
            let told = self.round(learner, &mut random, round)?;
            tell(&told, &network(learner)?);
        }
        Ok(network(learner)?)
    }

    /// One round, from one.
    ///
    /// # Errors
    /// When the network comes apart.
    pub fn round(
        &self,
        learner: &mut Trainer,
        random: &mut Pcg64Mcg,
        round: usize,
    ) -> Result<Reinforced, ImitationError> {
        let (lessons, utility) = self.play(&Arc::new(network(learner)?), round);
        let mut told = self.learn(learner, &lessons, random, round)?;
        told.utility = utility;
        Ok(told)
    }

    /// Plays all scenarios of a round; the same whoever is done first.
    #[allow(clippy::cast_precision_loss)]
    fn play(&self, network: &Arc<Network>, round: usize) -> (Vec<Lesson>, f64) {
        // Far from the scenarios of imitation.
        let first =
            400_000_000 + self.seed.wrapping_mul(1_000_003) % 100_000_000 + round as u64 * self.scenarios;
        let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
        let total = usize::try_from(self.scenarios).unwrap_or(usize::MAX);
        std::thread::scope(|scope| {
            for _ in 0..self.threads.get() {
                scope.spawn(|| {
                    loop {
                        let number = next.fetch_add(1, Ordering::Relaxed);
                        if number >= total {
                            return;
                        }
                        let lessons = self.scenario(first + number as u64, network);
                        if let Ok(mut done) = done.lock() {
                            done.insert(number, lessons);
                        }
                    }
                });
            }
        });
        let done = done.into_inner().unwrap_or_default();
        let (mut lessons, mut utilities) = (Vec::new(), Vec::new());
        for (more, utility) in done.into_values().flatten() {
            lessons.extend(more);
            utilities.push(utility);
        }
        let utility = utilities.iter().sum::<f64>() / utilities.len().max(1) as f64;
        (lessons, utility)
    }

    #[allow(clippy::cast_precision_loss)]
    fn scenario(&self, number: u64, network: &Arc<Network>) -> Option<(Vec<Lesson>, f64)> {
        let scenario = training(number).lasting(self.length).scenario().ok()?;
        let turns: Vec<Episode> = (0..self.turns)
            .map(|turn| explore(&scenario, network, number, turn).ok())
            .collect::<Option<_>>()?;
        let weights =
            scenario.guests.iter().map(|guest| (guest.spec.id, guest.spec.weight.as_f64())).collect();
        let credits = credit(&turns, &weights, self.others);
        let utility = turns.iter().map(|turn| turn.utility).sum::<f64>() / turns.len().max(1) as f64;
        let mut lessons = Vec::new();
        for (turn, credits) in turns.into_iter().zip(credits) {
            let all = turn.samples.into_iter().zip(turn.means).zip(credits);
            // What was tried at the very end has come to nothing yet.
            for ((sample, means), credit) in all.take(turn.outcomes.len().saturating_sub(1)) {
                let deeds = (0..sample.actions.len()).map(|vm| deeds(&sample, vm, &means[vm], &credit[vm]));
                let deeds = deeds.collect();
                lessons.push(Lesson { sample, deeds });
            }
        }
        Some((lessons, utility))
    }

    #[allow(clippy::cast_precision_loss)]
    fn learn(
        &self,
        learner: &mut Trainer,
        lessons: &[Lesson],
        random: &mut Pcg64Mcg,
        round: usize,
    ) -> Result<Reinforced, TrainError> {
        let decisions: usize = lessons.iter().map(|lesson| lesson.deeds.len()).sum();
        let mut told = Reinforced { round, utility: 0.0, surrogate: 0.0, forecasts: 0.0, decisions };
        let mut order: Vec<usize> = (0..lessons.len()).collect();
        for epoch in 0..self.epochs {
            shuffle(&mut order, random);
            let done = ((round - 1) * self.epochs + epoch) as f64 / (self.rounds * self.epochs).max(1) as f64;
            let rate = f64::from(self.rate) * libm::pow(0.1, done);
            let (mut surrogate, mut pinball) = (0.0, 0.0);
            let mut rest = order.as_slice();
            while !rest.is_empty() {
                let (mut vms, mut count) = (0, 0);
                while vms < self.batch && count < rest.len() {
                    vms += lessons[rest[count]].deeds.len();
                    count += 1;
                }
                let (chosen, later) = rest.split_at(count);
                rest = later;
                let losses = self.step(learner, lessons, chosen, vms.max(1))?;
                learner.step(rate)?;
                surrogate += losses.0;
                pinball += losses.1;
            }
            let count = decisions.max(1) as f64;
            (told.surrogate, told.forecasts) = (surrogate / count, pinball / count);
        }
        Ok(told)
    }

    /// Finds the gradient of some lessons; gives the sums of their surrogate and forecast losses.
    #[allow(clippy::cast_precision_loss)]
    fn step(
        &self,
        learner: &mut Trainer,
        lessons: &[Lesson],
        chosen: &[usize],
        vms: usize,
    ) -> Result<(f64, f64), TrainError> {
        let batches: Vec<Batch<'_>> = chosen
            .iter()
            .map(|at| &lessons[*at].sample)
            .map(|sample| Batch { features: &sample.features, host: &sample.host, socket: &sample.socket })
            .collect();
        let losses = Mutex::new(vec![(0.0, 0.0); chosen.len()]);
        learner.differentiate(&batches, |at, outputs, slopes| {
            let loss = self.lesson(&lessons[chosen[at]], outputs, slopes);
            slopes.iter_mut().for_each(|slope| *slope /= vms as f32);
            if let Ok(mut losses) = losses.lock() {
                losses[at] = loss;
            }
            (loss.0 + loss.1) / vms as f64
        })?;
        let losses = losses.into_inner().unwrap_or_default();
        Ok(losses.iter().fold((0.0, 0.0), |sum, loss| (sum.0 + loss.0, sum.1 + loss.1)))
    }

    fn lesson(&self, lesson: &Lesson, outputs: &[f32], slopes: &mut [f32]) -> (f64, f64) {
        let width = FORECASTS + ACTIONS;
        let (mut surrogate, mut pinball) = (0.0, 0.0);
        let rows = outputs.chunks_exact(width).zip(slopes.chunks_exact_mut(width));
        for (vm, (row, slope)) in rows.enumerate() {
            let (foreseen, asked) = slope.split_at_mut(FORECASTS);
            pinball += forecasts(&lesson.sample, vm, &row[..FORECASTS], foreseen);
            for (pace, (old, credit)) in PACES.iter().zip(&lesson.deeds[vm]) {
                let counted: Vec<usize> =
                    pace.actions.clone().filter(|action| lesson.sample.counts[vm][*action]).collect();
                let pick = |of: &dyn Fn(usize) -> f32| counted.iter().map(|at| of(*at)).collect::<Vec<_>>();
                let done = pick(&|at| lesson.sample.actions[vm][at]);
                let means = pick(&|at| row[FORECASTS + at]);
                let deviations = pick(&log_deviation);
                let mut by_mean = vec![0.0; counted.len()];
                let deed = Deed { actions: &done, log_likelihood: *old, advantage: *credit };
                surrogate +=
                    surrogate_of_normal(&deed, (&means, &deviations), self.clip, 1.0, &mut by_mean, &mut []);
                for (at, slope) in counted.iter().zip(by_mean) {
                    asked[*at] += slope;
                }
            }
        }
        (surrogate, pinball)
    }
}

/// Natural logarithm of the deviation with which an action is tried.
#[allow(clippy::cast_possible_truncation)]
fn log_deviation(action: usize) -> f32 {
    libm::log(DEVIATIONS[action]) as f32
}

/// What was done with a VM, by pace.
fn deeds(
    sample: &Sample,
    vm: usize,
    means: &[f32; ACTIONS],
    credit: &[f64; PACES.len()],
) -> [(f64, f64); PACES.len()] {
    std::array::from_fn(|pace| {
        let counted = PACES[pace].actions.clone().filter(|action| sample.counts[vm][*action]);
        let log = |at: usize| {
            log_likelihood(sample.actions[vm][at].into(), means[at].into(), log_deviation(at).into()).value
        };
        (counted.map(log).sum(), credit[pace])
    })
}

/// Fisher and Yates's.
#[allow(clippy::cast_possible_truncation)]
fn shuffle(order: &mut [usize], random: &mut Pcg64Mcg) {
    for last in (1..order.len()).rev() {
        order.swap(last, (random.next_u64() % (last as u64 + 1)) as usize);
    }
}
