//! How close generated VMs come to real ones that the fit has not seen.
//!
//! Both are compared at a resolution of one percent, which is what PlanetLab was recorded with.

use std::time::Duration;

use super::super::collect::TraceSet;
use super::facts::{correlation, rhythm};
use super::parameters::Parameters;
use super::{DAY_S, Generator};

/// Another seed than any that a person is likely to try, so that no report shows the same VMs.
const SEED: u64 = 0x6a75_6467_6521;
const IDLE: f64 = 0.05;
const BURST_RISE: f64 = 0.2;
/// Of a source with few VMs, more are generated, so that only the real ones' chance is left.
const LEAST_MADE: usize = 600;

/// One comparison.
#[derive(Debug, Clone, PartialEq)]
pub struct Measure {
    /// What is compared.
    pub name: &'static str,
    /// Of the real data held back. For a distance between distributions: of the real data that were
    /// fitted to from those held back, as a scale: days differ from one another by this much.
    pub real: f64,
    /// Of generated data. For a distance: of these from the real data held back.
    pub generated: f64,
}

impl Measure {
    /// Generated less real.
    #[must_use]
    pub fn difference(&self) -> f64 {
        self.generated - self.real
    }
}

/// All comparisons of one source.
#[derive(Debug, Clone, PartialEq)]
pub struct Quality {
    /// The name of the source.
    pub source: String,
    /// VMs held back, each day counted.
    pub vms: usize,
    /// The comparisons.
    pub measures: Vec<Measure>,
}

/// Compares generated VMs with those held back, each as long as these.
pub(super) fn judge(name: &str, parameters: &Parameters, seen: &[TraceSet], held: &[TraceSet]) -> Quality {
    let generator = Generator::new(parameters, SEED);
    let mut made = Vec::new();
    let vms: usize = held.iter().map(|set| set.series.len()).sum();
    let times = LEAST_MADE.div_ceil(vms.max(1));
    for (index, set) in held.iter().enumerate() {
        let duration = set.interval * u32::try_from(set.samples()).unwrap_or(u32::MAX);
        let first = (index * 1_000_000) as u64;
        let series =
            (0..(set.series.len() * times) as u64).map(|vm| generator.series(first + vm, duration)).collect();
        let interval = Duration::from_secs(parameters.interval_s);
        made.push(TraceSet { source: String::new(), interval, shortfall: Duration::ZERO, series });
    }
    let (fitted, real, generated) = (Summary::of(seen), Summary::of(held), Summary::of(&made));
    let distance = |name, pick: fn(&Summary) -> &Vec<f64>| Measure {
        name,
        real: kolmogorov_smirnov(pick(&fitted), pick(&real)),
        generated: kolmogorov_smirnov(pick(&generated), pick(&real)),
    };
    let compare =
        |name, pick: fn(&Summary) -> f64| Measure { name, real: pick(&real), generated: pick(&generated) };
    Quality {
        source: name.to_owned(),
        vms: real.means.len(),
        measures: vec![
            distance("KS distance of VM means", |summary| &summary.means),
            distance("KS distance of samples", |summary| &summary.samples),
            compare("mean CPU", |summary| mean(&summary.samples)),
            compare("autocorrelation, 5 min, median", |summary| median(&summary.lag_1)),
            compare("autocorrelation, 5 min, mean", |summary| mean(&summary.lag_1)),
            compare("autocorrelation, 1 h, median", |summary| median(&summary.lag_12)),
            compare("autocorrelation, 1 h, mean", |summary| mean(&summary.lag_12)),
            compare("idle share (below 5 %)", |summary| {
                summary.samples.iter().map(|share| f64::from(u8::from(*share < IDLE))).sum::<f64>()
                    / count(&summary.samples)
            }),
            compare("daily rhythm, median R2", |summary| median(&summary.daily)),
            compare("bursts per day (20 points up)", |summary| mean(&summary.bursts)),
            compare("p95 / mean, median", |summary| median(&summary.peak_to_mean)),
        ],
    }
}

/// What is compared, one value per VM or per sample.
#[derive(Default)]
struct Summary {
    means: Vec<f64>,
    samples: Vec<f64>,
    lag_1: Vec<f64>,
    lag_12: Vec<f64>,
    daily: Vec<f64>,
    bursts: Vec<f64>,
    peak_to_mean: Vec<f64>,
}

impl Summary {
    fn of(sets: &[TraceSet]) -> Self {
        let mut summary = Self::default();
        for set in sets {
            for series in &set.series {
                summary.add(&series.cpu, set.interval.as_secs_f64());
            }
        }
        summary.means.sort_by(f64::total_cmp);
        summary.samples.sort_by(f64::total_cmp);
        summary
    }

    fn add(&mut self, cpu: &[Option<f32>], interval_s: f64) {
        let percent = |share: &Option<f32>| share.map(|share| libm::round(f64::from(share) * 100.0) / 100.0);
        let cpu: Vec<Option<f64>> = cpu.iter().map(percent).collect();
        let mut known: Vec<f64> = cpu.iter().flatten().copied().collect();
        if known.len() < 100 {
            return;
        }
        known.sort_by(f64::total_cmp);
        let vm_mean = mean(&known);
        self.means.push(vm_mean);
        self.lag_1.push(correlation(&cpu, 1));
        self.lag_12.push(correlation(&cpu, 12));
        self.daily.push(rhythm(&cpu, interval_s, 0.0).0);
        self.bursts.push(rises(&cpu, median(&known) + BURST_RISE) / (count(&known) * interval_s / DAY_S));
        if vm_mean > 0.0 {
            self.peak_to_mean.push(super::draw::quantile(&known, 0.95) / vm_mean);
        }
        self.samples.append(&mut known);
    }
}

/// How often the values rise above `threshold`.
fn rises(cpu: &[Option<f64>], threshold: f64) -> f64 {
    let above: Vec<bool> = cpu.iter().map(|share| share.is_some_and(|share| share > threshold)).collect();
    above.windows(2).map(|pair| f64::from(u8::from(!pair[0] && pair[1]))).sum()
}

/// The largest difference of two sorted samples' distribution functions.
#[allow(clippy::cast_precision_loss)]
fn kolmogorov_smirnov(a: &[f64], b: &[f64]) -> f64 {
    let below =
        |sorted: &[f64], value: f64| sorted.partition_point(|other| *other <= value) as f64 / count(sorted);
    a.iter().chain(b).map(|value| (below(a, *value) - below(b, *value)).abs()).fold(0.0, f64::max)
}

#[allow(clippy::cast_precision_loss)]
fn count(values: &[f64]) -> f64 {
    values.len().max(1) as f64
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / count(values)
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    super::draw::quantile(&sorted, 0.5)
}
