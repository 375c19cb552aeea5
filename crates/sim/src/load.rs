//! What VMs are asked to do: work that arrives, and what each unit of it needs.

use std::time::Duration;

use halcyon_model::profile::Response;
use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;

/// What a program needs for its work. Work is counted in seconds of one core at full speed.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// What people call it.
    pub name: String,
    /// Work of one request.
    pub request: Duration,
    /// Device traffic per unit of work, in bytes.
    pub io_bytes: f64,
    /// GPU time per unit of work, in seconds of a whole GPU.
    pub gpu_seconds: f64,
    /// How it responds to what it holds; memory traffic follows from the cache.
    pub response: Response,
}

/// Demand over time, as means over intervals of equal length. It repeats from the start when it ends.
#[derive(Debug, Clone, PartialEq)]
pub struct Demand {
    /// The length of an interval.
    pub interval: Duration,
    /// Work that arrives, in cores.
    pub work: Vec<f32>,
    /// Working set, in bytes.
    pub working_set: Vec<f32>,
}

/// A VM's program and what is asked of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Workload {
    /// The program.
    pub application: Application,
    /// What is asked of it.
    pub demand: Demand,
}

/// Reads a series of means as a line through the middles of its intervals.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn interpolate(series: &[f32], intervals: f64) -> f64 {
    if series.is_empty() {
        return 0.0;
    }
    let before = (intervals - 0.5).max(0.0);
    let (index, part) = (before as usize, before - before.floor());
    let at = |index: usize| f64::from(series[index % series.len()]);
    at(index) + (at(index + 1) - at(index)) * part
}

impl Demand {
    /// Work that arrives at a moment, without the spread inside the interval, in cores.
    #[must_use]
    pub fn work_at(&self, seconds: f64) -> f64 {
        interpolate(&self.work, seconds / self.interval.as_secs_f64())
    }

    /// The working set at a moment, in bytes.
    #[must_use]
    pub fn working_set_at(&self, seconds: f64) -> f64 {
        interpolate(&self.working_set, seconds / self.interval.as_secs_f64())
    }

    /// The most work that arrives between two moments, without the spread inside the interval.
    #[must_use]
    pub fn most_work(&self, from_s: f64, to_s: f64) -> f64 {
        self.most(from_s, to_s, Self::work_at)
    }

    /// The largest working set between two moments.
    #[must_use]
    pub fn most_working_set(&self, from_s: f64, to_s: f64) -> f64 {
        self.most(from_s, to_s, Self::working_set_at)
    }

    fn most(&self, from_s: f64, to_s: f64, at: impl Fn(&Self, f64) -> f64) -> f64 {
        // The line bends at the middles of the intervals only.
        let interval = self.interval.as_secs_f64();
        let mut most = at(self, from_s).max(at(self, to_s));
        let mut middle = ((from_s / interval - 0.5).ceil() + 0.5) * interval;
        while middle < to_s {
            most = most.max(at(self, middle));
            middle += interval;
        }
        most
    }
}

/// A random series around one, whose neighbours are alike: what a VM's demand does inside an interval.
#[derive(Debug, Clone)]
pub(crate) struct Burst {
    random: Pcg32,
    value: f64,
}

impl Burst {
    pub(crate) fn new(seed: u64, stream: u64) -> Self {
        let mut bytes = [0; 16];
        bytes[..8].copy_from_slice(&seed.to_le_bytes());
        // The generator takes no notice of the lowest bit of its stream.
        bytes[8..].copy_from_slice(&(stream << 1).to_le_bytes());
        Self { random: Pcg32::from_seed(bytes), value: 0.0 }
    }

    /// The next factor; its mean over time is one, but for what is cut off at zero.
    pub(crate) fn next_factor(&mut self, sigma: f64, rho: f64) -> f64 {
        self.value = rho * self.value + (1.0 - rho * rho).sqrt() * self.normal();
        (1.0 + sigma * self.value).max(0.0)
    }

    /// Nearly normal, from the sum of the four bytes of one draw: exact arithmetic, alike everywhere.
    pub(crate) fn normal(&mut self) -> f64 {
        let sum: u32 = self.random.next_u32().to_le_bytes().iter().map(|byte| u32::from(*byte)).sum();
        // Four uniform bytes have mean 510 and variance 4 · (256² − 1) / 12.
        (f64::from(sum) - 510.0) / 147.800_992_4
    }

    pub(crate) fn chance(&mut self, probability: f64) -> bool {
        f64::from(self.random.next_u32()) < probability * f64::from(u32::MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn demand_runs_through_the_middles_and_repeats() {
        let demand =
            Demand { interval: Duration::from_secs(10), work: vec![1.0, 3.0], working_set: vec![5.0, 5.0] };
        assert!((demand.work_at(5.0) - 1.0).abs() < 1e-9);
        assert!((demand.work_at(10.0) - 2.0).abs() < 1e-9);
        assert!((demand.work_at(20.0) - 2.0).abs() < 1e-9, "from the last value to the first");
        assert!((demand.most_work(0.0, 20.0) - 3.0).abs() < 1e-9);
        assert!((demand.most_working_set(0.0, 99.0) - 5.0).abs() < 1e-9);
    }

    #[test]
    fn neighbours_burst_each_in_its_own_way() {
        let first = |stream| {
            let mut burst = Burst::new(7, stream);
            [(); 8].map(|()| burst.next_factor(0.2, 0.9).to_bits())
        };
        for stream in 0..64 {
            assert_ne!(first(stream), first(stream + 1), "{stream}");
        }
    }

    #[test]
    fn bursts_have_mean_one_and_the_spread_asked_for() {
        let mut burst = Burst::new(7, 1);
        let factors: Vec<f64> = (0..200_000).map(|_| burst.next_factor(0.2, 0.9)).collect();
        let mean = factors.iter().sum::<f64>() / 200_000.0;
        let spread = (factors.iter().map(|f| (f - mean) * (f - mean)).sum::<f64>() / 200_000.0).sqrt();
        assert!((mean - 1.0).abs() < 0.01 && (spread - 0.2).abs() < 0.01, "{mean} {spread}");
    }
}
