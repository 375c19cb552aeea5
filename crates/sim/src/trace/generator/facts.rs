//! What one VM's series says about its traits. All of it comes from ranks and quantiles, which the
//! coarse steps of real data (whole percentages) and their outliers disturb least.

use std::ops::RangeInclusive;

use super::parameters::{TRAITS, Trait};
use super::{DAY_S, from_logit, to_logit};

/// Fewer samples than these say nothing about a VM.
const LEAST_SAMPLES: usize = 100;
/// Rhythm cannot be told from drift in less.
const LEAST_DAYS_FOR_RHYTHM: f64 = 4.0;
/// A burst rises by this share of CPU at least.
const BURST_RISE: f64 = 0.1;

/// Lags in samples, averaged because one lag of one day is mostly noise.
pub(super) const SHORT: RangeInclusive<usize> = 1..=2;
pub(super) const HOUR: RangeInclusive<usize> = 9..=15;
pub(super) const HOURS: RangeInclusive<usize> = 66..=78;

/// The mean of `value` over `lags`.
#[allow(clippy::cast_precision_loss)]
pub(super) fn mean_over(lags: RangeInclusive<usize>, value: impl Fn(usize) -> f64) -> f64 {
    let count = lags.clone().count().max(1) as f64;
    lags.map(value).sum::<f64>() / count
}

/// The traits of one VM and what the population pools.
pub(super) struct Facts {
    pub(super) traits: [f64; TRAITS],
    /// Rank correlations without the rhythm, each the mean over the lags of [`SHORT`], [`HOUR`] and
    /// [`HOURS`].
    pub(super) drift: [f64; 3],
    /// The mean share of CPU.
    pub(super) mean: f64,
    /// Samples in the series.
    pub(super) length: f64,
    /// How far each burst rises above the level, on the logit scale.
    pub(super) burst_sizes: Vec<f64>,
    /// Samples in bursts.
    pub(super) burst_samples: usize,
    /// Amplitudes of the rhythm's two waves (cosine and sine of each).
    pub(super) waves: [f64; 4],
}

impl Facts {
    /// The facts of a series; `start_s` is its first sample's second of the day.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn of(cpu: &[Option<f32>], interval_s: f64, start_s: f64) -> Option<Self> {
        let known: Vec<f64> = cpu.iter().flatten().map(|share| to_logit(f64::from(*share))).collect();
        if known.len() < LEAST_SAMPLES {
            return None;
        }
        let mut sorted = known.clone();
        sorted.sort_by(f64::total_cmp);
        let at = |rank: f64| super::draw::quantile(&sorted, rank);
        let (level, below, above) = (at(0.5), at(0.5) - at(0.1587), at(0.8413) - at(0.5));
        let scores = scores(cpu, &sorted);
        let days = known.len() as f64 * interval_s / DAY_S;
        let (daily, waves) =
            if days < LEAST_DAYS_FOR_RHYTHM { (0.0, [0.0; 4]) } else { rhythm(&scores, interval_s, start_s) };
        let per_day = std::f64::consts::TAU * interval_s / DAY_S;
        let drift = [SHORT, HOUR, HOURS].map(|lags| {
            mean_over(lags, |lag| {
                let ranks = correlation(&scores, lag);
                let gaussian = 2.0 * libm::sin(std::f64::consts::PI / 6.0 * ranks);
                gaussian - daily * libm::cos(per_day * lag as f64)
            })
        });
        let threshold = (level + 3.0 * above).max(to_logit(from_logit(level) + BURST_RISE));
        let (burst_sizes, burst_samples) = bursts(cpu, level, threshold);
        let mut traits = [0.0; TRAITS];
        traits[Trait::Level as usize] = level;
        traits[Trait::Below as usize] = below;
        traits[Trait::Above as usize] = above;
        traits[Trait::Daily as usize] = daily;
        traits[Trait::BurstsPerDay as usize] = burst_sizes.len() as f64 / days;
        let mean = known.iter().map(|logit| from_logit(*logit)).sum::<f64>() / known.len() as f64;
        Some(Self { traits, mean, drift, length: cpu.len() as f64, burst_sizes, burst_samples, waves })
    }
}

/// Ranks of the samples from -1 to 1, the mean rank for equal ones.
#[allow(clippy::cast_precision_loss)]
fn scores(cpu: &[Option<f32>], sorted: &[f64]) -> Vec<Option<f64>> {
    let score = |share: &f32| {
        let logit = to_logit(f64::from(*share));
        let first = sorted.partition_point(|other| *other < logit);
        let past = sorted.partition_point(|other| *other <= logit);
        (first + past) as f64 / sorted.len() as f64 - 1.0
    };
    cpu.iter().map(|share| share.as_ref().map(score)).collect()
}

/// The autocorrelation at `lag` over the pairs that are known; 0 for a constant.
#[allow(clippy::cast_precision_loss)]
pub(super) fn correlation(values: &[Option<f64>], lag: usize) -> f64 {
    let known = values.iter().flatten();
    let count = known.clone().count().max(1) as f64;
    let mean = known.clone().sum::<f64>() / count;
    let variance = known.map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let pairs = values.iter().zip(values.iter().skip(lag)).filter_map(|(a, b)| Some(((*a)?, (*b)?)));
    let (sum, pairs) = pairs.fold((0.0, 0.0), |(sum, n), (a, b)| (sum + (a - mean) * (b - mean), n + 1.0));
    if variance > 1e-12 && pairs > 0.0 { sum / pairs / variance } else { 0.0 }
}

/// The share of variance that a day's wave and its double explain, and their amplitudes: the
/// projection on the waves, which over whole days are orthogonal.
#[allow(clippy::cast_precision_loss)]
pub(super) fn rhythm(values: &[Option<f64>], interval_s: f64, start_s: f64) -> (f64, [f64; 4]) {
    let per_day = libm::round(DAY_S / interval_s).max(1.0);
    let whole = (values.len() as f64 / per_day).floor() * per_day;
    let known = || values.iter().enumerate().filter(|(index, _)| (*index as f64) < whole);
    let count = known().filter(|(_, value)| value.is_some()).count().max(1) as f64;
    let mean = known().filter_map(|(_, value)| *value).sum::<f64>() / count;
    let (mut waves, mut variance) = ([0.0; 4], 0.0);
    for (index, value) in known() {
        let Some(value) = value.map(|value| value - mean) else { continue };
        variance += value * value / count;
        let angle = std::f64::consts::TAU * (start_s + index as f64 * interval_s) / DAY_S;
        let basis = [libm::cos(angle), libm::sin(angle), libm::cos(2.0 * angle), libm::sin(2.0 * angle)];
        for (wave, basis) in waves.iter_mut().zip(basis) {
            *wave += 2.0 * value * basis / count;
        }
    }
    let explained: f64 = waves.iter().map(|wave| wave * wave / 2.0).sum();
    if variance > 1e-12 { ((explained / variance).min(1.0), waves) } else { (0.0, waves) }
}

/// The sizes of the runs above `threshold`, and how many samples they have together.
fn bursts(cpu: &[Option<f32>], level: f64, threshold: f64) -> (Vec<f64>, usize) {
    let (mut sizes, mut samples, mut top): (Vec<f64>, _, Option<f64>) = (Vec::new(), 0, None);
    for share in cpu {
        let logit = share.map(|share| to_logit(f64::from(share)));
        match logit.filter(|logit| *logit > threshold) {
            Some(logit) => {
                samples += 1;
                top = Some(top.unwrap_or(logit).max(logit));
            }
            None => sizes.extend(top.take().map(|top| top - level)),
        }
    }
    sizes.extend(top.map(|top| top - level));
    (sizes, samples)
}
