//! Adam with decoupled weight decay (Kingma and Ba 2015; Loshchilov and Hutter 2019), and a bound on the
//! length of the gradient.

use halcyon_policy::network::{MOST_WEIGHT, Shape, Tensor};

/// How parameters follow gradients.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Tuning {
    /// What the mean of the gradients keeps of itself at a step.
    pub mean_kept: f64,
    /// What the mean of their squares keeps.
    pub square_kept: f64,
    /// Added to the root of the squares.
    pub epsilon: f64,
    /// Share of itself that a weight loses at a step of rate 1; biases keep theirs.
    pub decay: f64,
    /// A longer gradient is shortened to this length.
    pub most_norm: f64,
}

impl Default for Tuning {
    fn default() -> Self {
        Self { mean_kept: 0.9, square_kept: 0.999, epsilon: 1e-8, decay: 0.0, most_norm: 0.5 }
    }
}

/// What the optimiser remembers between steps, to go on another day as if there had been no break.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Memory {
    /// Steps that were taken.
    pub steps: u64,
    /// Running means of the gradients, in the order of the parameters.
    pub means: Vec<f32>,
    /// Running means of their squares.
    pub squares: Vec<f32>,
    /// What of the first zeros is still in the means, 0 to 1.
    pub mean_left: f64,
    /// What of them is still in the squares, 0 to 1.
    pub square_left: f64,
}

/// The memory of the optimiser.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Adam {
    tuning: Tuning,
    means: Vec<f32>,
    squares: Vec<f32>,
    /// What of the first zeros is still in the means.
    mean_left: f64,
    square_left: f64,
}

impl Adam {
    pub(super) fn new(tuning: Tuning, parameters: usize) -> Self {
        let zeros = vec![0.0; parameters];
        Self { tuning, means: zeros.clone(), squares: zeros, mean_left: 1.0, square_left: 1.0 }
    }

    pub(super) fn memory(&self, steps: u64) -> Memory {
        Memory {
            steps,
            means: self.means.clone(),
            squares: self.squares.clone(),
            mean_left: self.mean_left,
            square_left: self.square_left,
        }
    }

    /// Goes on from `memory`; nothing when that is not of so many parameters, or is of no optimiser.
    pub(super) fn remembering(tuning: Tuning, memory: Memory, parameters: usize) -> Option<Self> {
        let Memory { means, squares, mean_left, square_left, .. } = memory;
        let sizes = means.len() == parameters && squares.len() == parameters;
        let left = [mean_left, square_left].iter().all(|left| (0.0..=1.0).contains(left));
        let sane = means.iter().all(|mean| mean.is_finite())
            && squares.iter().all(|square| square.is_finite() && *square >= 0.0);
        (sizes && left && sane).then_some(Self { tuning, means, squares, mean_left, square_left })
    }

    /// One step of `rate` against `gradient`, whose length before it was shortened is given back. Nothing,
    /// and nothing changes, when that is not finite.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn step(
        &mut self,
        shape: Shape,
        rate: f64,
        gradient: &[f32],
        values: &mut [f32],
    ) -> Option<f64> {
        let norm = gradient.iter().map(|slope| f64::from(*slope) * f64::from(*slope)).sum::<f64>().sqrt();
        if !norm.is_finite() || !rate.is_finite() {
            return None;
        }
        let tuning = self.tuning;
        let shorter = if norm > tuning.most_norm { tuning.most_norm / norm } else { 1.0 } as f32;
        self.mean_left *= tuning.mean_kept;
        self.square_left *= tuning.square_kept;
        let (mean_kept, square_kept) = (tuning.mean_kept as f32, tuning.square_kept as f32);
        let square_scale = (1.0 / (1.0 - self.square_left)) as f32;
        let (pace, epsilon) = ((rate / (1.0 - self.mean_left)) as f32, tuning.epsilon as f32);
        for tensor in Tensor::ALL {
            let decay = if tensor.is_bias() { 0.0 } else { rate * tuning.decay };
            let keep = (1.0 - decay) as f32;
            let range = shape.range(tensor);
            let moments = self.means[range.clone()].iter_mut().zip(&mut self.squares[range.clone()]);
            for ((value, slope), (mean, square)) in
                values[range.clone()].iter_mut().zip(&gradient[range]).zip(moments)
            {
                let slope = slope * shorter;
                *mean = mean_kept * *mean + (1.0 - mean_kept) * slope;
                *square = square_kept * *square + (1.0 - square_kept) * slope * slope;
                let root = (*square * square_scale).sqrt() + epsilon;
                *value = (*value * keep - pace * *mean / root).clamp(-MOST_WEIGHT, MOST_WEIGHT);
            }
        }
        Some(norm)
    }
}
