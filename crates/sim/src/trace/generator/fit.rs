//! Fitting the generator to real traces: on some of the days, leaving the others to judge it.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use halcyon_model::units::ByteSize;

use super::super::collect::{Series, TraceSet};
use super::facts::{Facts, HOUR, SHORT, mean_over};
use super::parameters::{Parameters, Population, Size, TRAITS, Trait};
use super::quality::{self, Quality};

/// Quantiles in a table.
const POINTS: usize = 33;
const FAST_S: f64 = 1500.0;
/// The mean share of CPU from which a VM counts as busy.
const BUSY: f64 = 0.2;
/// The fewest VMs that make a population of their own.
const LEAST_VMS: usize = 3;
const SLOW_BOUNDS_S: (f64, f64) = (14_400.0, 172_800.0);

/// Traces of one kind of VM.
#[derive(Debug, Clone)]
pub struct Source {
    /// What its population is called.
    pub name: String,
    /// Its traces. Of several, every second is held back; of one, the second half of its time.
    pub sets: Vec<TraceSet>,
}

/// A fitted generator and how close it comes to data that it has not seen.
#[derive(Debug, Clone)]
pub struct Fit {
    /// The fitted parameters, the sources weighted alike.
    pub parameters: Parameters,
    /// Real against generated, on the data held back, per source.
    pub quality: Vec<Quality>,
}

/// Fits one or two populations to each source. The same input gives the same parameters on any machine.
///
/// Nothing is fitted for a source without a VM of at least 100 samples; if none has one, there is no fit.
#[must_use]
pub fn fit(sources: &[Source]) -> Option<Fit> {
    let mut fitted = Vec::new();
    for source in sources {
        let (seen, held) = halves(&source.sets);
        let populations = populations(&source.name, &seen);
        if !populations.is_empty() {
            fitted.push((source, populations, seen, held));
        }
    }
    let interval_s = sources.first()?.sets.first()?.interval.as_secs().max(1);
    let parameters = Parameters {
        schema: 1,
        source: described(sources),
        interval_s,
        sizes: sizes(sources),
        populations: fitted.iter().flat_map(|(_, populations, ..)| populations.clone()).collect(),
    };
    let quality = fitted.iter().map(|(source, populations, seen, held)| {
        let alone = Parameters { populations: populations.clone(), ..parameters.clone() };
        quality::judge(&source.name, &alone, seen, held)
    });
    let quality: Vec<_> = quality.collect();
    (!quality.is_empty()).then_some(Fit { parameters, quality })
}

/// What the populations' values come from, without what is held back.
fn described(sources: &[Source]) -> String {
    let described = sources.iter().map(|source| {
        let (seen, _) = halves(&source.sets);
        let names: Vec<_> = seen.iter().map(|set| set.source.as_str()).collect();
        let part = if source.sets.len() == 1 { "first half of " } else { "" };
        format!("{} ({part}{})", source.name, names.join(", "))
    });
    described.collect::<Vec<_>>().join("; ")
}

/// What is fitted on and what is held back.
fn halves(sets: &[TraceSet]) -> (Vec<TraceSet>, Vec<TraceSet>) {
    if let [only] = sets {
        let middle = only.samples() / 2;
        return (vec![part(only, 0..middle)], vec![part(only, middle..only.samples())]);
    }
    let (seen, held): (Vec<_>, Vec<_>) =
        sets.iter().cloned().enumerate().partition(|(index, _)| index % 2 == 0);
    (seen.into_iter().map(|(_, set)| set).collect(), held.into_iter().map(|(_, set)| set).collect())
}

fn part(set: &TraceSet, range: std::ops::Range<usize>) -> TraceSet {
    let series = set.series.iter().map(|series| Series {
        name: series.name.clone(),
        cores: series.cores,
        memory_capacity: series.memory_capacity,
        cpu: series.cpu.get(range.clone()).unwrap_or_default().to_vec(),
        ..Series::default()
    });
    TraceSet { source: set.source.clone(), series: series.collect(), ..*set }
}

/// The populations of one source: quiet and busy VMs apart where there are enough of both, since a
/// copula would fill the gap between them with VMs that do not exist.
fn populations(name: &str, sets: &[TraceSet]) -> Vec<Population> {
    let mut facts: Vec<Facts> = Vec::new();
    for set in sets {
        let interval_s = set.interval.as_secs_f64();
        facts.extend(set.series.iter().filter_map(|series| Facts::of(&series.cpu, interval_s, 0.0)));
    }
    let Some(interval_s) = sets.first().map(|set| set.interval.as_secs_f64()) else { return Vec::new() };
    let all = facts.len();
    let (quiet, busy): (Vec<_>, Vec<_>) = facts.into_iter().partition(|vm| vm.mean < BUSY);
    let parts = if quiet.len().min(busy.len()) < LEAST_VMS {
        vec![(name.to_owned(), quiet.into_iter().chain(busy).collect())]
    } else {
        vec![(format!("{name}, quiet"), quiet), (format!("{name}, busy"), busy)]
    };
    #[allow(clippy::cast_precision_loss)]
    let fitted = parts.into_iter().filter(|(_, facts): &(String, Vec<Facts>)| !facts.is_empty()).map(
        |(name, facts)| {
            let weight = rounded(facts.len() as f64 / all as f64);
            population(&name, weight, facts, interval_s)
        },
    );
    fitted.collect()
}

fn population(name: &str, weight: f64, mut facts: Vec<Facts>, interval_s: f64) -> Population {
    let slow_s = slow_memory(&facts, interval_s);
    for vm in &mut facts {
        split_drift(vm, interval_s, slow_s);
    }
    let table = |which: Trait| quantiles(facts.iter().map(|vm| vm.traits[which as usize]));
    let bursts: usize = facts.iter().map(|vm| vm.burst_sizes.len()).sum();
    let burst_samples: usize = facts.iter().map(|vm| vm.burst_samples).sum();
    let (peak_h, spread_h, second) = phases(&facts);
    #[allow(clippy::cast_precision_loss)]
    Population {
        name: name.to_owned(),
        weight,
        fast_s: FAST_S,
        slow_s: rounded(slow_s),
        burst_s: rounded(interval_s * burst_samples.max(1) as f64 / bursts.max(1) as f64),
        daily_peak_h: peak_h,
        daily_peak_spread_h: spread_h,
        daily_second: second,
        burst_size: quantiles(facts.iter().flat_map(|vm| vm.burst_sizes.iter().copied())),
        level: table(Trait::Level),
        below: table(Trait::Below),
        above: table(Trait::Above),
        daily: table(Trait::Daily),
        slow: table(Trait::Slow),
        fast: table(Trait::Fast),
        bursts_per_day: table(Trait::BurstsPerDay),
        correlation: correlations(&facts),
    }
}

/// The memory of the slow drift: how far the correlation falls from one hour to six, over the VMs
/// that have a drift at all.
fn slow_memory(facts: &[Facts], interval_s: f64) -> f64 {
    let falls = facts.iter().filter(|vm| vm.drift[1] > 0.2).map(|vm| vm.drift[2].max(0.01) / vm.drift[1]);
    let mut falls: Vec<f64> = falls.collect();
    falls.sort_by(f64::total_cmp);
    let fall = if falls.is_empty() { 0.5 } else { super::draw::quantile(&falls, 0.5) };
    let memory_s = 60.0 * interval_s / -libm::log(fall.clamp(0.01, 0.99));
    memory_s.clamp(SLOW_BOUNDS_S.0, SLOW_BOUNDS_S.1)
}

/// Splits what correlates over minutes and over an hour into a fast and a slow part.
///
/// A correlation measured about the mean of a finite series is too low by what the drift leaves in
/// that mean, so the expected correlations are lowered alike. What noise alone would show is taken off.
fn split_drift(vm: &mut Facts, interval_s: f64, slow_s: f64) {
    let expected = |tau_s: f64, lags: RangeInclusive<usize>| {
        let in_mean = variance_of_mean(tau_s, vm.length * interval_s);
        #[allow(clippy::cast_precision_loss)]
        mean_over(lags, |lag| libm::exp(-(lag as f64) * interval_s / tau_s) - in_mean)
    };
    let (fast_1, fast_12) = (expected(FAST_S, SHORT), expected(FAST_S, HOUR));
    let (slow_1, slow_12) = (expected(slow_s, SHORT), expected(slow_s, HOUR));
    let determinant = slow_1 * fast_12 - slow_12 * fast_1;
    let room = 1.0 - vm.traits[Trait::Daily as usize];
    let slow = ((vm.drift[0] * fast_12 - vm.drift[1] * fast_1) / determinant).clamp(0.0, room);
    let noise = 1.5 / vm.length.sqrt();
    let fast = (vm.drift[0] - slow * slow_1) / fast_1;
    vm.traits[Trait::Slow as usize] = slow;
    vm.traits[Trait::Fast as usize] = if fast < noise { 0.0 } else { fast.min(room - slow) };
}

/// The share of a drift's variance that the mean over `length_s` seconds keeps.
fn variance_of_mean(tau_s: f64, length_s: f64) -> f64 {
    let ratio = tau_s / length_s.max(1.0);
    2.0 * ratio * (1.0 - ratio * (1.0 - libm::exp(-1.0 / ratio)))
}

/// The peak hour of the day's wave, its spread over the VMs, and the share of the second harmonic,
/// each VM weighted by how strong its rhythm is.
fn phases(facts: &[Facts]) -> (f64, f64, f64) {
    let (mut x, mut y, mut weight, mut first, mut second) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for vm in facts {
        let [cos1, sin1, cos2, sin2] = vm.waves;
        let power = cos1 * cos1 + sin1 * sin1;
        if power > 0.0 {
            let amplitude = power.sqrt();
            x += cos1 / amplitude * power;
            y += sin1 / amplitude * power;
            weight += power;
        }
        first += power;
        second += cos2 * cos2 + sin2 * sin2;
    }
    if weight <= 0.0 {
        return (0.0, 6.0, 0.0);
    }
    let per_hour = std::f64::consts::TAU / 24.0;
    let peak = libm::atan2(y, x) / per_hour;
    let concentration = ((x * x + y * y).sqrt() / weight).clamp(1e-3, 1.0 - 1e-9);
    let spread = (-2.0 * libm::log(concentration)).sqrt() / per_hour;
    let peak = rounded(if peak < 0.0 { peak + 24.0 } else { peak });
    (peak.min(24.0), rounded(spread.min(12.0)), rounded(second / (first + second)))
}

/// Correlations of the traits' normal scores, from those of their ranks.
#[allow(clippy::cast_precision_loss)]
fn correlations(facts: &[Facts]) -> [[f64; TRAITS]; TRAITS] {
    let ranks: Vec<Vec<f64>> = super::draw::ALL
        .iter()
        .map(|which| {
            let values: Vec<f64> = facts.iter().map(|vm| vm.traits[*which as usize]).collect();
            let mut sorted = values.clone();
            sorted.sort_by(f64::total_cmp);
            let rank = |value: &f64| {
                let first = sorted.partition_point(|other| other < value);
                (first + sorted.partition_point(|other| other <= value)) as f64 / sorted.len() as f64 - 1.0
            };
            values.iter().map(rank).collect()
        })
        .collect();
    std::array::from_fn(|a| {
        std::array::from_fn(|b| {
            let product =
                |a: usize, b: usize| ranks[a].iter().zip(&ranks[b]).map(|(x, y)| x * y).sum::<f64>();
            let norm = (product(a, a) * product(b, b)).sqrt();
            match (a == b, norm > 1e-9) {
                (true, _) => 1.0,
                (_, true) => rounded(2.0 * libm::sin(std::f64::consts::PI / 6.0 * product(a, b) / norm)),
                _ => 0.0,
            }
        })
    })
}

#[allow(clippy::cast_precision_loss)]
fn quantiles(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    if values.is_empty() {
        return vec![0.0];
    }
    values.sort_by(f64::total_cmp);
    let points = (0..POINTS).map(|point| point as f64 / (POINTS - 1) as f64);
    let table: Vec<f64> = points.map(|rank| rounded(super::draw::quantile(&values, rank))).collect();
    if table.iter().all(|value| *value == table[0]) { vec![table[0]] } else { table }
}

/// Four decimals: more would pretend a precision that the data do not have.
fn rounded(value: f64) -> f64 {
    libm::round(value * 1e4) / 1e4
}

/// How common which size is, over all sources that know it.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn sizes(sources: &[Source]) -> Vec<Size> {
    let mut counts: BTreeMap<(u64, u64), u64> = BTreeMap::new();
    let all = sources.iter().flat_map(|source| &source.sets).flat_map(|set| &set.series);
    for series in all {
        if let (Some(cores), Some(memory)) = (series.cores, series.memory_capacity)
            && (1.0..=4096.0).contains(&cores)
        {
            // Provisioned sizes differ by some MiB of firmware; quarters of a GiB bring them together.
            let quarters = memory.get().div_ceil(1 << 28).max(1);
            *counts.entry((libm::round(cores) as u64, quarters)).or_default() += 1;
        }
    }
    let size = |((cores, quarters), count): ((u64, u64), u64)| Size {
        cores: cores as f64,
        memory: ByteSize::mib(quarters * 256),
        weight: count as f64,
    };
    counts.into_iter().take(1024).map(size).collect()
}
