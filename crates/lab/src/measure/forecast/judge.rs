//! Forecasts against what came.

use std::collections::VecDeque;

use halcyon_model::VmId;
use halcyon_policy::learned::{HORIZONS, QUANTILES, QUANTITIES};

use super::rival::{Errors, weighted_means};
use super::watch::{Course, VmCourse};
use crate::train::losses::pinball;

/// Weights of the newest value that are tried for exponentially weighted means.
pub(super) const ALPHAS: [f32; 7] = [0.01, 0.03, 0.1, 0.2, 0.4, 0.7, 1.0];
/// Seconds of a day.
const DAY_S: f64 = 86_400.0;
/// Origins in so many seconds from the start of a run on do not count: rivals have no errors of late yet.
pub(super) const WARM_UP_S: f64 = 600.0;

/// Who foresees.
pub(super) const METHODS: [&str; 4] = ["network", "last", "seasonal", "ewma"];

/// Sums over forecasts.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Sums {
    pub(super) count: u64,
    pinball: f64,
    covered: u64,
    /// Of them made without what the method rests on.
    pub(super) without: u64,
}

impl Sums {
    fn add(&mut self, told: [f32; QUANTILES.len()], came: f32, without: bool) {
        let loss = |(quantile, told): (&f32, &f32)| {
            pinball(f64::from(*told), f64::from(came), f64::from(*quantile)).value
        };
        #[allow(clippy::cast_precision_loss)]
        let mean = QUANTILES.iter().zip(&told).map(loss).sum::<f64>() / QUANTILES.len() as f64;
        self.count += 1;
        self.pinball += mean;
        self.covered += u64::from(told[0] <= came && came <= told[2]);
        self.without += u64::from(without);
    }

    pub(super) fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.pinball += other.pinball;
        self.covered += other.covered;
        self.without += other.without;
    }

    /// Mean pinball loss over forecasts and quantiles; nothing without forecasts.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn loss(&self) -> Option<f64> {
        (self.count > 0).then(|| self.pinball / self.count as f64)
    }

    /// The share of what came that lay from the lowest to the highest quantile.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn coverage(&self) -> Option<f64> {
        (self.count > 0).then(|| self.covered as f64 / self.count as f64)
    }
}

/// By quantity, then horizon.
pub(super) type Grid<T> = [[T; HORIZONS.len()]; QUANTITIES.len()];

/// Judges all methods on one run; `alphas` are those of the weighted means.
pub(super) fn judge(course: &Course, step_s: f64, alphas: &Grid<f32>) -> Grid<[Sums; METHODS.len()]> {
    each(course, step_s, |bench, horizon, quantity| {
        let alpha = alphas[quantity][horizon];
        let figures = |vm: &Track<'_>, at: usize| {
            let last = vm.value(at);
            let day = vm.day_ago(at, bench.day, bench.ahead);
            [(last, false), (day.or(last), day.is_none()), (vm.means(alpha, at), false)]
        };
        let found = bench.run(quantity, horizon, &[alpha], figures);
        let mut sums = [Sums::default(); METHODS.len()];
        sums.iter_mut().zip(found).for_each(|(sums, found)| *sums = found);
        sums
    })
}

/// Judges weighted means with each of [`ALPHAS`].
pub(super) fn judge_alphas(course: &Course, step_s: f64) -> Grid<[Sums; ALPHAS.len()]> {
    each(course, step_s, |bench, horizon, quantity| {
        let figures = |vm: &Track<'_>, at: usize| ALPHAS.map(|alpha| (vm.means(alpha, at), false));
        let found = bench.run(quantity, horizon, &ALPHAS, figures);
        std::array::from_fn(|place| found[place + 1])
    })
}

fn each<T>(course: &Course, step_s: f64, judge: impl Fn(&Bench<'_>, usize, usize) -> T) -> Grid<T> {
    std::array::from_fn(|quantity| {
        std::array::from_fn(|horizon| {
            let bench = Bench {
                course,
                ahead: steps(HORIZONS[horizon], step_s).max(1),
                day: steps(DAY_S, step_s),
                warm_up: steps(WARM_UP_S, step_s),
            };
            judge(&bench, horizon, quantity)
        })
    })
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn steps(seconds: f64, step_s: f64) -> usize {
    (seconds / step_s).round() as usize
}

/// One quantity of one VM.
struct Track<'a> {
    vm: VmId,
    course: &'a VmCourse,
    values: &'a [f32],
    /// Sums of the values before each step, and how many there are.
    sums: Vec<(f64, u32)>,
    means: Vec<(f32, Vec<f32>)>,
}

impl<'a> Track<'a> {
    fn new(vm: VmId, course: &'a VmCourse, quantity: usize, alphas: &[f32]) -> Self {
        let values = course.values[quantity].as_slice();
        let mut sums = vec![(0.0, 0)];
        let (mut sum, mut count) = (0.0, 0);
        for value in values.iter().copied() {
            if !value.is_nan() {
                sum += f64::from(value);
                count += 1;
            }
            sums.push((sum, count));
        }
        let means = alphas.iter().map(|alpha| (*alpha, weighted_means(values, *alpha))).collect();
        Self { vm, course, values, sums, means }
    }

    /// What was seen in a step.
    fn value(&self, at: usize) -> Option<f32> {
        let value = self.values.get(at.checked_sub(self.course.first)?).copied()?;
        (!value.is_nan()).then_some(value)
    }

    fn means(&self, alpha: f32, at: usize) -> Option<f32> {
        let (_, means) = self.means.iter().find(|(known, _)| known.to_bits() == alpha.to_bits())?;
        let mean = means.get(at.checked_sub(self.course.first)?).copied()?;
        (!mean.is_nan()).then_some(mean)
    }

    /// The mean of the `ahead` steps after one, if the VM was there through all of them.
    #[allow(clippy::cast_possible_truncation)]
    fn after(&self, at: usize, ahead: usize) -> Option<f32> {
        let from = at.checked_sub(self.course.first)? + 1;
        let (before, before_count) = *self.sums.get(from)?;
        let (sum, count) = *self.sums.get(from + ahead)?;
        (count > before_count).then(|| ((sum - before) / f64::from(count - before_count)) as f32)
    }

    fn day_ago(&self, at: usize, day: usize, ahead: usize) -> Option<f32> {
        self.after(at.checked_sub(day)?, ahead)
    }
}

struct Bench<'a> {
    course: &'a Course,
    ahead: usize,
    day: usize,
    warm_up: usize,
}

/// Forecasts that wait for their time: when, and by which figure each method is off.
type Open<const N: usize> = VecDeque<(usize, VmId, [Option<f32>; N])>;

impl Bench<'_> {
    /// Sums of the network, then of each of `N` rivals whose `figures` are given. All are judged on the
    /// same moments: those in which every one of them told something.
    fn run<const N: usize>(
        &self,
        quantity: usize,
        horizon: usize,
        alphas: &[f32],
        figures: impl Fn(&Track<'_>, usize) -> [(Option<f32>, bool); N],
    ) -> Vec<Sums> {
        let tracks: Vec<Track<'_>> =
            self.course.vms.iter().map(|(vm, course)| Track::new(*vm, course, quantity, alphas)).collect();
        let mut sums = vec![Sums::default(); N + 1];
        let mut errors: [Errors; N] = std::array::from_fn(|_| Errors::default());
        let mut open: Open<N> = VecDeque::new();
        for at in self.course.origins.iter().copied() {
            while let Some((_, vm, off)) = open.pop_front_if(|(from, ..)| *from + self.ahead <= at) {
                let known = errors.iter_mut().zip(off).filter_map(|(errors, off)| Some((errors, off?)));
                known.for_each(|(errors, off)| errors.add(vm, off));
            }
            for track in &tracks {
                let told = track.course.told.get(&at).and_then(|told| told[quantity]);
                let (Some(told), Some(came)) = (told, track.after(at, self.ahead)) else { continue };
                let figures = figures(track, at);
                let quantiles: Vec<_> = errors
                    .iter()
                    .zip(&figures)
                    .filter_map(|(errors, (figure, without))| {
                        Some((errors.about(track.vm, (*figure)?)?, *without))
                    })
                    .collect();
                if at >= self.warm_up && quantiles.len() == N {
                    let all = std::iter::once((told[horizon], false)).chain(quantiles);
                    sums.iter_mut()
                        .zip(all)
                        .for_each(|(sums, (told, without))| sums.add(told, came, without));
                }
                open.push_back((at, track.vm, figures.map(|(figure, _)| Some(came - figure?))));
            }
        }
        sums
    }
}
