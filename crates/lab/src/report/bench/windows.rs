//! When two policies differ most, and which VMs and which of their resources made it.

use crate::record::{Record, Track};
use crate::report::view::View;

/// Moments that are looked at.
const MOST_MOMENTS: usize = 3;
/// VMs of one moment.
const MOST_VMS: usize = 3;
/// A moment with a smaller difference is none.
const LEAST: f64 = 0.002;
/// What a VM adds to the difference, at least, to be named.
const LEAST_PART: f64 = 0.0005;
/// By how much a resource is short, at least, to be named as the reason.
const LEAST_SHORT: f64 = 0.01;

/// A resource that VMs want and get, as it is recorded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Want {
    Cpu,
    Memory,
    Devices,
}

impl Want {
    pub(super) const ALL: [Self; 3] = [Self::Cpu, Self::Memory, Self::Devices];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Cpu => "CPU, cores",
            Self::Memory => "memory, GiB",
            Self::Devices => "devices, MB/s",
        }
    }

    /// What was wanted, and what there was of it.
    pub(super) fn columns(self, track: &Track) -> (&[f32], &[f32]) {
        match self {
            Self::Cpu => (&track.cpu_wanted, &track.cpu_used),
            Self::Memory => (&track.working_set_gib, &track.memory_gib),
            Self::Devices => (&track.io_wanted_mb_s, &track.io_mb_s),
        }
    }

    /// The share of what was wanted that was missing, 0 to 1.
    fn missing(self, track: &Track, from: usize, to: usize) -> f64 {
        let (wanted, got) = self.columns(track);
        let pairs = wanted.iter().zip(got).take(to).skip(from);
        let (wanted, missing) = pairs.fold((0.0, 0.0), |(all, missing), (wanted, got)| {
            let (wanted, got) = (f64::from(*wanted), f64::from(*got));
            (all + wanted, missing + (wanted - got).max(0.0))
        });
        if wanted > 0.0 { missing / wanted } else { 0.0 }
    }
}

/// A VM that made the difference.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Part {
    /// Its position.
    pub(super) vm: usize,
    /// What it adds to the difference of the host's utility.
    pub(super) adds: f64,
    /// Its mean utility, under the base and under the policy.
    pub(super) utility: (f64, f64),
    /// The resource that it had less of where it did worse, if it was one that is recorded.
    pub(super) short_of: Option<Want>,
}

/// A time in which two policies differ.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Moment {
    /// The first window.
    pub(super) from: usize,
    /// The one after the last.
    pub(super) to: usize,
    /// How much more utility the policy has than the base.
    pub(super) gain: f64,
    /// The VMs that made it, those that add most first.
    pub(super) parts: Vec<Part>,
}

#[allow(clippy::cast_precision_loss)]
impl Moment {
    pub(super) fn begins_s(&self, view: &View<'_>) -> f64 {
        view.window_s() * self.from as f64
    }

    pub(super) fn ends_s(&self, view: &View<'_>) -> f64 {
        view.window_s() * self.to as f64
    }
}

/// When the policy that is looked at first and the base differ most, by time.
pub(super) fn moments(view: &View<'_>) -> Vec<Moment> {
    let (Some(base), Some(chosen)) = (view.shown.get(view.base), view.shown.get(view.chosen)) else {
        return Vec::new();
    };
    let length = (view.windows() / 16).max(5).min(view.windows());
    let mut found: Vec<Moment> = apart(&base.record.utility, &chosen.record.utility, length)
        .into_iter()
        .map(|(from, gain)| {
            let to = from + length;
            Moment { from, to, gain, parts: parts(view, base.record, chosen.record, from, to, gain) }
        })
        .collect();
    found.sort_by_key(|moment| moment.from);
    found
}

/// Where two series are furthest apart over a length, without overlap: the beginnings and by how much.
fn apart(base: &[f64], other: &[f64], length: usize) -> Vec<(usize, f64)> {
    let differences: Vec<f64> = base.iter().zip(other).map(|(base, other)| other - base).collect();
    #[allow(clippy::cast_precision_loss)]
    let mean = |part: &[f64]| part.iter().sum::<f64>() / part.len().max(1) as f64;
    let means: Vec<f64> = differences.windows(length.max(1)).map(mean).collect();
    let mut found: Vec<(usize, f64)> = Vec::new();
    while found.len() < MOST_MOMENTS {
        let free = |at: usize| found.iter().all(|(taken, _)| at.abs_diff(*taken) >= length);
        let candidates = means.iter().copied().enumerate().filter(|(at, _)| free(*at));
        let most = candidates.max_by(|a, b| a.1.abs().total_cmp(&b.1.abs()).then(b.0.cmp(&a.0)));
        match most {
            Some((at, gain)) if gain.abs() >= LEAST => found.push((at, gain)),
            _ => break,
        }
    }
    found
}

fn parts(view: &View<'_>, base: &Record, other: &Record, from: usize, to: usize, gain: f64) -> Vec<Part> {
    let weights: f64 = view.scenario.guests.iter().map(|guest| guest.spec.weight.as_f64()).sum();
    let part = |vm: usize| {
        let (base, other) = (base.vms.get(vm)?, other.vms.get(vm)?);
        let utility = (mean(&base.utility, from, to), mean(&other.utility, from, to));
        let weight = view.scenario.guests[vm].spec.weight.as_f64();
        let adds = weight * (utility.1 - utility.0) / weights.max(1e-9);
        Some(Part { vm, adds, utility, short_of: short_of(base, other, from, to, adds) })
    };
    // Only those that pull in the direction of the whole.
    let pulls = |part: &Part| part.adds * gain.signum() >= LEAST_PART;
    let mut parts: Vec<Part> = (0..view.scenario.guests.len()).filter_map(part).filter(pulls).collect();
    parts.sort_by(|a, b| b.adds.abs().total_cmp(&a.adds.abs()).then(a.vm.cmp(&b.vm)));
    parts.truncate(MOST_VMS);
    parts
}

/// What the VM missed most where it did worse, against where it did better.
fn short_of(base: &Track, other: &Track, from: usize, to: usize, adds: f64) -> Option<Want> {
    let (worse, better) = if adds > 0.0 { (base, other) } else { (other, base) };
    let more = |want: Want| want.missing(worse, from, to) - want.missing(better, from, to);
    let most = Want::ALL.into_iter().max_by(|a, b| more(*a).total_cmp(&more(*b)))?;
    (more(most) >= LEAST_SHORT).then_some(most)
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn mean(values: &[f32], from: usize, to: usize) -> f64 {
    let part = &values[from.min(values.len())..to.min(values.len())];
    part.iter().map(|value| f64::from(*value)).sum::<f64>() / part.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_times_that_are_furthest_apart_are_found_once_each() {
        let base = vec![0.5; 100];
        let mut other = base.clone();
        other[20..30].fill(0.9);
        other[60..70].fill(0.2);
        let found = apart(&base, &other, 10);
        assert_eq!(found.iter().map(|(at, _)| *at).collect::<Vec<_>>(), [20, 60]);
        assert!((found[0].1 - 0.4).abs() < 1e-9 && (found[1].1 + 0.3).abs() < 1e-9);
        assert!(apart(&base, &base, 10).is_empty());
        assert!(apart(&[], &[], 0).is_empty());
    }

    #[test]
    fn the_reason_is_what_was_missing_where_it_went_worse() {
        let starved = Track {
            cpu_wanted: vec![4.0; 5],
            cpu_used: vec![1.0; 5],
            working_set_gib: vec![8.0; 5],
            memory_gib: vec![7.9; 5],
            ..Track::default()
        };
        let fed = Track { cpu_used: vec![4.0; 5], ..starved.clone() };
        assert_eq!(short_of(&starved, &fed, 0, 5, 0.1), Some(Want::Cpu));
        assert_eq!(short_of(&fed, &starved, 0, 5, -0.1), Some(Want::Cpu));
        assert_eq!(short_of(&fed, &fed, 0, 5, 0.1), None);
    }
}
