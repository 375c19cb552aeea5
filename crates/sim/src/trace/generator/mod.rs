//! Demand out of a statistical model, where no trace is at hand or none is large enough.
//!
//! One VM's CPU use is a stationary Gaussian process pulled through the VM's own distribution:
//!
//! ```text
//!  daily rhythm ─┐
//!  slow drift   ─┼─ z(t), variance 1 ─► level + below·z or above·z ─► bursts ─► inverse logit ─► share
//!  fast drift   ─┤
//!  white noise  ─┘
//! ```
//!
//! Each VM draws its own level, spreads, variance shares and burst rate from the distributions of its
//! population, joined by a Gaussian copula, so that for instance busy VMs are the steadier ones where
//! the data say so. All arithmetic that could differ between machines goes through `libm`.

mod draw;
mod facts;
mod fit;
mod parameters;
mod quality;

use std::time::Duration;

use halcyon_model::units::ByteSize;

pub use fit::{Fit, Source, fit};
pub use parameters::{Parameters, ParametersError, Population, Size, Trait};
pub use quality::{Measure, Quality};

use super::collect::{Series, TraceSet, mix};
use draw::Draw;

const DAY_S: f64 = 86_400.0;
/// The share of CPU at which the logit begins and ends, so that 0 and 1 have one.
const EDGE: f64 = 0.0025;
/// The longest series: ten years of five minutes.
const MAX_SAMPLES: u64 = 1 << 20;

/// A share of CPU on the scale on which the model works.
pub(crate) fn to_logit(share: f64) -> f64 {
    let inner = EDGE + (1.0 - 2.0 * EDGE) * share.clamp(0.0, 1.0);
    libm::log(inner / (1.0 - inner))
}

/// The share of CPU at a point of the model's scale.
pub(crate) fn from_logit(logit: f64) -> f64 {
    let inner = 1.0 / (1.0 + libm::exp(-logit));
    ((inner - EDGE) / (1.0 - 2.0 * EDGE)).clamp(0.0, 1.0)
}

/// Makes VMs: with one set of parameters and one seed always the same ones.
#[derive(Debug, Clone)]
pub struct Generator {
    parameters: Parameters,
    /// Lower-triangular factors of the populations' correlations.
    factors: Vec<draw::Factor>,
    seed: u64,
}

impl Generator {
    /// A generator of the VMs of `parameters`.
    #[must_use]
    pub fn new(parameters: &Parameters, seed: u64) -> Self {
        let factors = parameters.populations.iter().map(|p| draw::factor(&p.correlation)).collect();
        Self { parameters: parameters.clone(), factors, seed }
    }

    /// The demand of VM number `vm_index` from the trace's start on. It does not depend on how many VMs are
    /// made, and a longer series begins as a shorter one. At most 2^20 samples are made.
    #[must_use]
    pub fn series(&self, vm_index: u64, duration: Duration) -> Series {
        let mut draw = Draw::new(mix(self.seed ^ mix(vm_index)));
        let population = self.choose(&mut draw);
        let size = self.parameters.size(draw.uniform());
        let model = Vm::draw(&self.parameters.populations[population], &self.factors[population], &mut draw);
        let samples = self.samples(duration);
        Series {
            name: format!("generated-{vm_index:05}"),
            cores: size.map(|size| size.cores),
            memory_capacity: size.map(|size: &Size| -> ByteSize { size.memory }),
            cpu: model.samples(samples, self.parameters.interval_s, &mut draw),
            ..Series::default()
        }
    }

    /// VMs 0 to `vms`, from the trace's start on.
    #[must_use]
    pub fn trace_set(&self, vms: usize, duration: Duration) -> TraceSet {
        let mut series: Vec<_> = (0..vms as u64).map(|index| self.series(index, duration)).collect();
        series.sort_by(|a, b| a.name.cmp(&b.name));
        TraceSet {
            source: format!("generated from {} with seed {}", self.parameters.source, self.seed),
            interval: Duration::from_secs(self.parameters.interval_s),
            shortfall: Duration::ZERO,
            series,
        }
    }

    fn samples(&self, duration: Duration) -> u64 {
        duration.as_secs().div_ceil(self.parameters.interval_s).min(MAX_SAMPLES)
    }

    fn choose(&self, draw: &mut Draw) -> usize {
        let mut left = draw.uniform() * self.parameters.populations.iter().map(|p| p.weight).sum::<f64>();
        for (index, population) in self.parameters.populations.iter().enumerate() {
            left -= population.weight;
            if left < 0.0 {
                return index;
            }
        }
        0
    }
}

/// One VM's own constants.
struct Vm<'a> {
    population: &'a Population,
    level: f64,
    below: f64,
    above: f64,
    /// Amplitudes of rhythm, slow drift, fast drift and white noise; their squares sum to 1.
    daily: f64,
    slow: f64,
    fast: f64,
    white: f64,
    bursts_per_day: f64,
    phases: [f64; 2],
}

impl<'a> Vm<'a> {
    fn draw(population: &'a Population, factor: &draw::Factor, draw: &mut Draw) -> Self {
        let ranks = draw::ranks(factor, draw);
        let value = |which: Trait| draw::quantile(population.table(which), ranks[which as usize]);
        let shares = [Trait::Daily, Trait::Slow, Trait::Fast].map(|which| value(which).clamp(0.0, 1.0));
        let sum = shares.iter().sum::<f64>().max(1.0);
        let [daily, slow, fast] = shares.map(|share| share / sum);
        let hours = population.daily_peak_h + population.daily_peak_spread_h * draw.normal();
        Self {
            population,
            level: value(Trait::Level),
            below: value(Trait::Below).max(0.0),
            above: value(Trait::Above).max(0.0),
            daily: daily.sqrt(),
            slow: slow.sqrt(),
            fast: fast.sqrt(),
            white: (1.0 - daily - slow - fast).max(0.0).sqrt(),
            bursts_per_day: value(Trait::BurstsPerDay).max(0.0),
            phases: [hours / 24.0, draw.uniform()],
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn samples(&self, samples: u64, interval_s: u64, draw: &mut Draw) -> Vec<Option<f32>> {
        let step_s = interval_s as f64;
        let keep = |tau_s: f64| libm::exp(-step_s / tau_s);
        let (keep_slow, keep_fast) = (keep(self.population.slow_s), keep(self.population.fast_s));
        let (mut slow, mut fast) = (draw.normal(), draw.normal());
        let mut burst: Option<f64> = None;
        let mut made = Vec::new();
        for index in 0..samples {
            let z = self.daily * self.rhythm(index as f64 * step_s / DAY_S)
                + self.slow * slow
                + self.fast * fast
                + self.white * draw.normal();
            burst = self.next_burst(burst, step_s, draw);
            let body = self.level + z * if z < 0.0 { self.below } else { self.above };
            let logit = burst.map_or(body, |size| body.max(self.level + size));
            made.push(Some(from_logit(logit) as f32));
            slow = keep_slow * slow + (1.0 - keep_slow * keep_slow).sqrt() * draw.normal();
            fast = keep_fast * fast + (1.0 - keep_fast * keep_fast).sqrt() * draw.normal();
        }
        made
    }

    /// The day's rhythm of mean 0 and variance 1: one wave a day and a weaker one of twice its pace.
    fn rhythm(&self, days: f64) -> f64 {
        let wave = |cycles: f64| libm::cos(std::f64::consts::TAU * cycles);
        let second = self.population.daily_second.clamp(0.0, 1.0);
        let first = wave(days - self.phases[0]) * (1.0 - second).sqrt();
        std::f64::consts::SQRT_2 * (first + wave(2.0 * days - self.phases[1]) * second.sqrt())
    }

    /// Whether a burst goes on or begins. The number of draws is the same in every branch, so that
    /// one sample never shifts the random numbers of the next.
    fn next_burst(&self, burst: Option<f64>, step_s: f64, draw: &mut Draw) -> Option<f64> {
        let (chance, size) = (draw.uniform(), draw.uniform());
        match burst {
            Some(size) if chance >= step_s / self.population.burst_s.max(step_s) => Some(size),
            Some(_) => None,
            None => {
                let begins = chance < self.bursts_per_day * step_s / DAY_S;
                begins.then(|| draw::quantile(&self.population.burst_size, size))
            }
        }
    }
}
