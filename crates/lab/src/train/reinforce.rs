//! Reinforcement learning: proximal policy optimisation (Schulman et al. 2017) of what the network asks
//! for, by the utility that came of it.
//!
//! The network was taught what needs are; here it learns which of them are worth asking for. Each round
//! plays every scenario several times with the same demand; each time it tries something else with every
//! VM ([`explore`](super::explore)), and what went better than the other times becomes likelier
//! ([`credit`](super::credit)). Forecasts are learned along, so that they stay true where it goes.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_policy::learned::{ACTIONS, FORECASTS};
use halcyon_policy::{Batch, Network};
use serde::{Deserialize, Serialize};

use super::collect::Sample;
use super::context::{Context, CourseError};
use super::course::Course;
use super::credit::{Credit, credit};
use super::explore::{DEVIATIONS, Episode, PACES, SPAN, explore};
use super::imitate::SECOND_US;
use super::losses::{Deed, log_likelihood, surrogate_of_normal};
use super::net::{TrainError, Trainer};
use super::pupil::{Dice, Progress, Pupil};
use super::teach::{Loss, forecasts};

/// How reinforcement goes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Reinforcement {
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
    /// How much it counts that an objective of response time was kept for half a minute, as a share of the
    /// utility of that time.
    pub kept: f64,
}

impl Default for Reinforcement {
    fn default() -> Self {
        Self {
            rounds: 66,
            scenarios: 30,
            turns: 4,
            length: Duration::from_secs(1800),
            epochs: 1,
            batch: 16384,
            rate: 3e-4,
            clip: 0.2,
            others: 1.0,
            kept: 0.15,
        }
    }
}

/// Microseconds that a VM in a step takes one core, about.
const VM_US: u64 = 25;
/// VMs of a scenario, about.
const VMS: u64 = 33;

/// One sample with what it is worth.
struct Lesson {
    sample: Sample,
    /// By VM and pace: logarithm of the density of what was done, and its credit.
    deeds: Vec<[(f64, f64); PACES.len()]>,
}

impl Reinforcement {
    /// How much work a round is, in the unit of [`Stage::work`](super::Stage::work).
    pub(super) fn work(&self) -> u64 {
        let spans = self.length.as_secs() / SPAN.as_secs();
        let decisions = self.scenarios.saturating_mul(self.turns).saturating_mul(spans).saturating_mul(VMS);
        let learning = decisions.saturating_mul(self.epochs as u64).saturating_mul(VM_US);
        self.scenarios.saturating_mul(self.scenario_work()).saturating_add(learning)
    }

    fn scenario_work(&self) -> u64 {
        self.turns.saturating_mul(self.length.as_secs()).saturating_mul(SECOND_US)
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
        if inner == 1 {
            pupil.begin(context.threads)?;
        }
        let network = Arc::new(pupil.network()?);
        let (lessons, utility) = self.play(&network, course.first_number(round), context)?;
        let mut dice = Dice::new(course.seed.wrapping_add(round as u64), 0);
        let loss = self.learn(&mut pupil.learner, &lessons, &mut dice, inner, context)?;
        let loss = loss.mean();
        let losses = vec![("surrogate", loss.actions), ("forecasts", loss.forecasts)];
        Ok(Progress { round, losses, utility, vms: loss.vms })
    }

    /// Plays all scenarios of a round; the same whoever is done first.
    #[allow(clippy::cast_precision_loss)]
    fn play(
        &self,
        network: &Arc<Network>,
        from: u64,
        context: &Context<'_>,
    ) -> Result<(Vec<Lesson>, f64), CourseError> {
        let all = context.each(from..from + self.scenarios, |number| {
            let scenario = context.lessons.scenario(number, self.length)?;
            let turn = |turn| explore(&scenario, network, number, turn, self.kept);
            let turns: Vec<Episode> = (0..self.turns).map(turn).collect::<Result<_, _>>()?;
            (context.worked)(self.scenario_work());
            let guests = scenario.guests.iter().map(|guest| &guest.spec);
            let weights = guests.map(|spec| (spec.id, spec.weight.as_f64())).collect();
            let credits = credit(&turns, &weights, self.others);
            let utility = turns.iter().map(|turn| turn.utility).sum::<f64>() / turns.len().max(1) as f64;
            Ok((lessons(turns, credits), utility))
        })?;
        let utility = all.iter().map(|(_, utility)| utility).sum::<f64>() / all.len().max(1) as f64;
        Ok((all.into_iter().flat_map(|(lessons, _)| lessons).collect(), utility))
    }

    #[allow(clippy::cast_precision_loss)]
    fn learn(
        &self,
        learner: &mut Trainer,
        lessons: &[Lesson],
        dice: &mut Dice,
        inner: usize,
        context: &Context<'_>,
    ) -> Result<Loss, CourseError> {
        let decisions: usize = lessons.iter().map(|lesson| lesson.deeds.len()).sum();
        let mut told = Loss::default();
        let mut order: Vec<usize> = (0..lessons.len()).collect();
        for epoch in 0..self.epochs {
            shuffle(&mut order, dice);
            let done = ((inner - 1) * self.epochs + epoch) as f64 / (self.rounds * self.epochs).max(1) as f64;
            let rate = f64::from(self.rate) * libm::pow(0.1, done);
            told = Loss::default();
            let (mut rest, mut begun) = (order.as_slice(), 0);
            while !rest.is_empty() {
                context.go_on()?;
                let (mut vms, mut count) = (0, 0);
                while vms < self.batch && count < rest.len() {
                    vms += lessons[rest[count]].deeds.len();
                    count += 1;
                }
                let (chosen, later) = rest.split_at(count);
                rest = later;
                told.add(&self.step(learner, lessons, chosen, vms.max(1))?);
                // A fresh optimiser would take its first steps as if every slope were certain.
                begun += vms;
                let first = inner == 1 && epoch == 0;
                let warm = if first { begun as f64 / decisions.max(1) as f64 } else { 1.0 };
                learner.step(rate * warm)?;
                (context.worked)(vms as u64 * VM_US);
            }
        }
        Ok(told)
    }

    /// Finds the gradient of some lessons; gives the sums of their losses.
    #[allow(clippy::cast_precision_loss)]
    fn step(
        &self,
        learner: &mut Trainer,
        lessons: &[Lesson],
        chosen: &[usize],
        vms: usize,
    ) -> Result<Loss, TrainError> {
        let batches: Vec<Batch<'_>> = chosen
            .iter()
            .map(|at| &lessons[*at].sample)
            .map(|sample| Batch { features: &sample.features, host: &sample.host, socket: &sample.socket })
            .collect();
        let losses = Mutex::new(vec![Loss::default(); chosen.len()]);
        learner.differentiate(&batches, |at, outputs, slopes| {
            let loss = self.lesson(&lessons[chosen[at]], outputs, slopes);
            slopes.iter_mut().for_each(|slope| *slope /= vms as f32);
            if let Ok(mut losses) = losses.lock() {
                losses[at] = loss;
            }
            (loss.actions + loss.forecasts) / vms as f64
        })?;
        let mut total = Loss::default();
        losses.into_inner().unwrap_or_default().iter().for_each(|loss| total.add(loss));
        Ok(total)
    }

    fn lesson(&self, lesson: &Lesson, outputs: &[f32], slopes: &mut [f32]) -> Loss {
        let width = FORECASTS + ACTIONS;
        let mut loss = Loss { vms: lesson.deeds.len(), ..Loss::default() };
        let rows = outputs.chunks_exact(width).zip(slopes.chunks_exact_mut(width));
        for (vm, (row, slope)) in rows.enumerate() {
            let (foreseen, asked) = slope.split_at_mut(FORECASTS);
            loss.forecasts += forecasts(&lesson.sample, vm, &row[..FORECASTS], foreseen);
            for (pace, (old, credit)) in PACES.iter().zip(&lesson.deeds[vm]) {
                let counted: Vec<usize> =
                    pace.actions.clone().filter(|action| lesson.sample.counts[vm][*action]).collect();
                let pick = |of: &dyn Fn(usize) -> f32| counted.iter().map(|at| of(*at)).collect::<Vec<_>>();
                let done = pick(&|at| lesson.sample.actions[vm][at]);
                let means = pick(&|at| row[FORECASTS + at]);
                let deviations = pick(&log_deviation);
                let mut by_mean = vec![0.0; counted.len()];
                let deed = Deed { actions: &done, log_likelihood: *old, advantage: *credit };
                loss.actions +=
                    surrogate_of_normal(&deed, (&means, &deviations), self.clip, 1.0, &mut by_mean, &mut []);
                for (at, slope) in counted.iter().zip(by_mean) {
                    asked[*at] += slope;
                }
            }
        }
        loss
    }
}

/// Natural logarithm of the deviation with which an action is tried.
#[allow(clippy::cast_possible_truncation)]
fn log_deviation(action: usize) -> f32 {
    libm::log(DEVIATIONS[action]) as f32
}

/// What is to be learned from the turns of one scenario.
fn lessons(turns: Vec<Episode>, credits: Vec<Credit>) -> Vec<Lesson> {
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
    lessons
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
fn shuffle(order: &mut [usize], dice: &mut Dice) {
    for last in (1..order.len()).rev() {
        order.swap(last, (dice.roll() % (last as u64 + 1)) as usize);
    }
}
