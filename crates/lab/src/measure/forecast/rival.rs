//! Simple forecasters to be better than. Each tells one figure; its quantiles are that figure plus those of
//! its own errors of late, so that all are judged by the same loss.

use std::collections::{BTreeMap, VecDeque};

use halcyon_model::VmId;
use halcyon_policy::learned::QUANTILES;

/// Errors that are remembered of one VM, and of all together.
const KEPT: usize = 64;
const KEPT_OF_ALL: usize = 512;
/// Errors of its own from which on a VM is judged by these alone.
const ENOUGH: usize = 16;

/// Turns figures into quantiles.
#[derive(Debug, Default)]
pub(super) struct Errors {
    own: BTreeMap<VmId, VecDeque<f32>>,
    all: VecDeque<f32>,
}

impl Errors {
    /// Takes note of an error: what came less the figure that was told.
    pub(super) fn add(&mut self, vm: VmId, error: f32) {
        push(self.own.entry(vm).or_default(), error, KEPT);
        push(&mut self.all, error, KEPT_OF_ALL);
    }

    /// Quantiles about a figure; nothing before there was any error.
    pub(super) fn about(&self, vm: VmId, figure: f32) -> Option<[f32; QUANTILES.len()]> {
        let own = self.own.get(&vm).filter(|own| own.len() >= ENOUGH);
        let mut errors: Vec<f32> = own.unwrap_or(&self.all).iter().copied().collect();
        if errors.is_empty() {
            return None;
        }
        errors.sort_by(f32::total_cmp);
        Some(QUANTILES.map(|share| (figure + at(&errors, share)).max(0.0)))
    }
}

fn push(kept: &mut VecDeque<f32>, error: f32, most: usize) {
    if kept.len() == most {
        kept.pop_front();
    }
    kept.push_back(error);
}

/// The value at a share of the order, between its neighbours.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
fn at(sorted: &[f32], share: f32) -> f32 {
    let place = share * (sorted.len() - 1) as f32;
    let (low, part) = (place.floor() as usize, place.fract());
    let high = (low + 1).min(sorted.len() - 1);
    sorted[low] + part * (sorted[high] - sorted[low])
}

/// Exponentially weighted means over a course, at each of its steps; what is missing is passed over.
pub(super) fn weighted_means(values: &[f32], alpha: f32) -> Vec<f32> {
    let mut level = f32::NAN;
    let mut follow = |value: &f32| {
        if !value.is_nan() {
            level = if level.is_nan() { *value } else { level + alpha * (value - level) };
        }
        level
    };
    values.iter().map(&mut follow).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_those_of_errors_of_late() {
        let mut errors = Errors::default();
        assert_eq!(errors.about(VmId(1), 1.0), None);
        errors.add(VmId(2), 0.5);
        assert_eq!(errors.about(VmId(1), 1.0), Some([1.5; 3]), "of others, where it has none");
        (0..200).for_each(|_| errors.add(VmId(1), 9.0));
        (0..KEPT).for_each(|index| errors.add(VmId(1), index as f32 / (KEPT - 1) as f32));
        let [low, middle, high] = errors.about(VmId(1), 1.0).expect("it has errors");
        assert!((low - 1.1).abs() < 1e-5 && (middle - 1.5).abs() < 1e-5 && (high - 1.9).abs() < 1e-5);
        errors.add(VmId(3), -7.0);
        assert!(errors.about(VmId(3), 1.0).expect("of all")[0] >= 0.0, "no use is below none");
    }

    #[test]
    fn weighted_means_pass_over_what_is_missing() {
        let means = weighted_means(&[f32::NAN, 2.0, f32::NAN, 4.0], 0.5);
        assert!(means[0].is_nan());
        assert_eq!(means[1..], [2.0, 2.0, 3.0]);
    }
}
