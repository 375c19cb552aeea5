//! Losses, each with its slope. Pure functions of numbers; what they are summed over is the caller's.

/// Half of the natural logarithm of 2π.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_8;

/// A value and its derivative.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Slope {
    /// The value.
    pub value: f64,
    /// Its derivative by the argument that the function names.
    pub slope: f64,
}

/// Pinball loss (Koenker and Bassett 1978), least where `prediction` is the `quantile` (0 to 1) of the
/// targets; by the prediction. Its slope at the target is that from above.
#[must_use]
pub fn pinball(prediction: f64, target: f64, quantile: f64) -> Slope {
    let slope = if prediction < target { -quantile } else { 1.0 - quantile };
    Slope { value: slope * (prediction - target), slope }
}

/// Huber loss (Huber 1964): half of the square up to an error of `knee`, straight beyond; by the
/// prediction.
#[must_use]
pub fn huber(prediction: f64, target: f64, knee: f64) -> Slope {
    let error = prediction - target;
    let slope = error.clamp(-knee, knee);
    Slope { value: slope * (error - 0.5 * slope), slope }
}

/// Cross-entropy of a yes or no with the probability `1 / (1 + exp(-logit))`; by the logit. `target` is
/// 0, 1 or the share of yes.
#[must_use]
pub fn logistic(logit: f64, target: f64) -> Slope {
    let small = libm::exp(-logit.abs());
    let probability = if logit >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
    let value = logit.max(0.0) - target * logit + libm::log1p(small);
    Slope { value, slope: probability - target }
}

/// Logarithm of the density of one number under a normal distribution.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Likelihood {
    /// The logarithm.
    pub value: f64,
    /// Its derivative by the mean.
    pub by_mean: f64,
    /// Its derivative by the logarithm of the deviation.
    pub by_log_deviation: f64,
}

/// Logarithm of the density of `action` under a normal distribution with this mean and this natural
/// logarithm of its standard deviation.
#[must_use]
pub fn log_likelihood(action: f64, mean: f64, log_deviation: f64) -> Likelihood {
    let inverse = libm::exp(-log_deviation);
    let error = (action - mean) * inverse;
    Likelihood {
        value: -0.5 * error * error - log_deviation - HALF_LN_TAU,
        by_mean: error * inverse,
        by_log_deviation: error * error - 1.0,
    }
}

/// Entropy of a normal distribution; by the logarithm of its deviation.
#[must_use]
pub fn entropy(log_deviation: f64) -> Slope {
    Slope { value: log_deviation + HALF_LN_TAU + 0.5, slope: 1.0 }
}

/// The clipped surrogate of proximal policy optimisation (Schulman et al. 2017, equation 7), turned into a
/// loss: `-min(r·advantage, clamp(r, 1 - clip, 1 + clip)·advantage)` with the ratio
/// `r = exp(new - old)` of the densities; by `new`, the logarithm of the density of what was done.
///
/// The slope is zero where the ratio already left the range towards what the advantage wants. A ratio
/// beyond e^20 or below e^-20 counts as these, so that no sum becomes infinite.
#[must_use]
pub fn surrogate(new: f64, old: f64, advantage: f64, clip: f64) -> Slope {
    let ratio = libm::exp((new - old).clamp(-20.0, 20.0));
    let (free, clipped) = (ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage);
    if free <= clipped { Slope { value: -free, slope: -free } } else { Slope { value: -clipped, slope: 0.0 } }
}

/// A decision of the past, to be made likelier or less likely.
#[derive(Debug, Clone, Copy)]
pub struct Deed<'a> {
    /// What was done.
    pub actions: &'a [f32],
    /// Logarithm of the density that it had then, over all actions.
    pub log_likelihood: f64,
    /// How much better it went than was expected.
    pub advantage: f64,
}

/// The clipped surrogate of one decision with a normal distribution for each action. Adds `scale` times
/// the gradient by the means to `by_mean` and by the logarithms of the deviations to `by_log_deviation`
/// (which may be empty where they are fixed); gives the loss, not scaled. All slices are as long as
/// `deed.actions`.
#[allow(clippy::cast_possible_truncation)]
pub fn surrogate_of_normal(
    deed: &Deed<'_>,
    (means, log_deviations): (&[f32], &[f32]),
    clip: f64,
    scale: f64,
    by_mean: &mut [f32],
    by_log_deviation: &mut [f32],
) -> f64 {
    let each =
        |at: usize| log_likelihood(deed.actions[at].into(), means[at].into(), log_deviations[at].into());
    let new = (0..deed.actions.len()).map(|at| each(at).value).sum();
    let loss = surrogate(new, deed.log_likelihood, deed.advantage, clip);
    let slope = scale * loss.slope;
    if slope != 0.0 {
        for (at, gradient) in by_mean.iter_mut().enumerate() {
            *gradient += (slope * each(at).by_mean) as f32;
        }
        for (at, gradient) in by_log_deviation.iter_mut().enumerate() {
            *gradient += (slope * each(at).by_log_deviation) as f32;
        }
    }
    loss.value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Central difference.
    fn difference(of: impl Fn(f64) -> f64, at: f64) -> f64 {
        let step = 1e-5;
        (of(at + step) - of(at - step)) / (2.0 * step)
    }

    fn close(slope: f64, difference: f64) -> bool {
        (slope - difference).abs() <= 1e-6 * (1.0 + slope.abs())
    }

    proptest! {
        #[test]
        fn slopes_are_those_of_differences(at in -5.0_f64..5.0, other in -5.0_f64..5.0, share in 0.01_f64..0.99) {
            prop_assume!((at - other).abs() > 1e-3 && ((at - other).abs() - share).abs() > 1e-3);
            prop_assert!(close(pinball(at, other, share).slope, difference(|x| pinball(x, other, share).value, at)));
            prop_assert!(close(huber(at, other, share).slope, difference(|x| huber(x, other, share).value, at)));
            prop_assert!(close(logistic(at, share).slope, difference(|x| logistic(x, share).value, at)));
            prop_assert!(close(entropy(at).slope, difference(|x| entropy(x).value, at)));
        }

        #[test]
        fn the_likelihood_has_its_slopes(action in -3.0_f64..3.0, mean in -3.0_f64..3.0, deviation in -1.5_f64..1.5) {
            let found = log_likelihood(action, mean, deviation);
            let by_mean = difference(|mean| log_likelihood(action, mean, deviation).value, mean);
            let by_deviation = difference(|deviation| log_likelihood(action, mean, deviation).value, deviation);
            prop_assert!(close(found.by_mean, by_mean), "{} {by_mean}", found.by_mean);
            prop_assert!(close(found.by_log_deviation, by_deviation));
        }

        #[test]
        fn the_surrogate_has_its_slope(new in -1.0_f64..1.0, advantage in -2.0_f64..2.0, clip in 0.05_f64..0.4) {
            let ratio = libm::exp(new);
            prop_assume!((ratio - 1.0 - clip).abs() > 1e-3 && (ratio - 1.0 + clip).abs() > 1e-3);
            let by_new = difference(|new| surrogate(new, 0.0, advantage, clip).value, new);
            prop_assert!(close(surrogate(new, 0.0, advantage, clip).slope, by_new));
        }
    }

    #[test]
    fn the_quantile_is_where_pinball_is_least() {
        let total = |at: f64| (0..100).map(|target| pinball(at, f64::from(target), 0.895).value).sum::<f64>();
        let best = (0..100).map(f64::from).min_by(|a, b| total(*a).total_cmp(&total(*b)));
        assert_eq!(best, Some(89.0));
    }

    #[test]
    fn densities_integrate_to_one_and_agree_with_the_entropy() {
        let (mean, deviation, step) = (0.7, -0.4, 1e-3);
        let points = (-8000..8000).map(|i| f64::from(i) * step + mean);
        let logs: Vec<f64> = points.map(|x| log_likelihood(x, mean, deviation).value).collect();
        let mass: f64 = logs.iter().map(|log| libm::exp(*log) * step).sum();
        let surprise: f64 = logs.iter().map(|log| -log * libm::exp(*log) * step).sum();
        assert!((mass - 1.0).abs() < 1e-9, "{mass}");
        assert!((surprise - entropy(deviation).value).abs() < 1e-9, "{surprise}");
    }

    #[test]
    fn a_surrogate_pushes_no_further_than_its_clip() {
        assert_eq!(surrogate(0.5, 0.0, 1.0, 0.2), Slope { value: -1.2, slope: 0.0 });
        assert!(surrogate(0.5, 0.0, -1.0, 0.2).slope > 0.0, "a mistake that became likelier is undone");
        assert_eq!(surrogate(-0.5, 0.0, -1.0, 0.2).slope, 0.0);
        assert!(surrogate(1e6, -1e6, -3.0, 0.2).value.is_finite());
        assert!(logistic(-1e6, 1.0).value.is_finite() && logistic(1e6, 1.0).value.abs() < 1e-9);
    }

    #[test]
    fn the_gradient_of_a_decision_is_that_of_differences() {
        let (actions, means, deviations) = ([0.3_f32, -0.2, 0.9], [0.1_f32, 0.0, 1.1], [-0.5_f32, 0.1, 0.3]);
        let each =
            |at: usize| log_likelihood(actions[at].into(), means[at].into(), deviations[at].into()).value;
        // What was done is a tenth likelier than it was then.
        let then = (0..3).map(each).sum::<f64>() - 0.1;
        let deed = Deed { actions: &actions, log_likelihood: then, advantage: 0.8 };
        let loss = |means: &[f32], deviations: &[f32]| {
            surrogate_of_normal(&deed, (means, deviations), 0.5, 1.0, &mut [], &mut [])
        };
        let (mut by_mean, mut by_deviation) = ([0.0; 3], [0.0; 3]);
        surrogate_of_normal(&deed, (&means, &deviations), 0.5, 2.0, &mut by_mean, &mut by_deviation);
        assert!(by_mean[0] != 0.0, "the case lies inside of the clip");
        for at in 0..3 {
            let shifted =
                |of: [f32; 3], by: f32| std::array::from_fn(|i| of[i] + if i == at { by } else { 0.0 });
            let step = 1.0 / 256.0;
            let mean: [[f32; 3]; 2] = [shifted(means, step), shifted(means, -step)];
            let deviation: [[f32; 3]; 2] = [shifted(deviations, step), shifted(deviations, -step)];
            let rise = |high: f64, low: f64| 2.0 * (high - low) / f64::from(2.0 * step);
            let of_mean = rise(loss(&mean[0], &deviations), loss(&mean[1], &deviations));
            let of_deviation = rise(loss(&means, &deviation[0]), loss(&means, &deviation[1]));
            assert!((f64::from(by_mean[at]) - of_mean).abs() < 1e-4, "{by_mean:?} {of_mean}");
            assert!(
                (f64::from(by_deviation[at]) - of_deviation).abs() < 1e-4,
                "{by_deviation:?} {of_deviation}"
            );
        }
    }
}
