//! Gaussian-process regression: what a function that was seen at a few points is elsewhere, and how sure
//! that is (Rasmussen and Williams, "Gaussian Processes for Machine Learning", 2006, algorithm 2.1).

/// The square root of 5, of the Matérn kernel with ν = 5/2.
const ROOT_OF_FIVE: f64 = 2.236_067_977_499_79;
/// Distances over which values are taken to be alike.
const LENGTHS: [f64; 5] = [0.1, 0.2, 0.4, 0.8, 1.6];
/// Variance of the noise on a value, as a share of the variance of the values.
const NOISES: [f64; 3] = [1e-4, 1e-2, 1e-1];

/// A function that was seen at a few points, smooth and with noise on what was seen.
///
/// The kernel is Matérn's with ν = 5/2 over the Euclidean distance; its length and the noise are those of a
/// small grid that make the values most likely.
#[derive(Debug, Clone)]
pub struct GaussianProcess {
    points: Vec<Vec<f64>>,
    /// Lower triangle of the factor of the covariance, row by row.
    factor: Vec<f64>,
    /// Covariance⁻¹ · values.
    weights: Vec<f64>,
    mean: f64,
    scale: f64,
    length: f64,
}

impl GaussianProcess {
    /// Fits a process to values at points of one dimension. Costs O(n³) for n points, fifteen times.
    ///
    /// Nothing where there are no points, not as many values, or something is not finite.
    #[must_use]
    pub fn fit(points: &[Vec<f64>], values: &[f64]) -> Option<Self> {
        let alike = points.len() == values.len() && points.windows(2).all(|two| two[0].len() == two[1].len());
        let finite = points.iter().flatten().chain(values).all(|value| value.is_finite());
        if points.is_empty() || !alike || !finite {
            return None;
        }
        let (mean, scale) = moments(values);
        let targets: Vec<f64> = values.iter().map(|value| (value - mean) / scale).collect();
        let distances: Vec<f64> = points
            .iter()
            .enumerate()
            .flat_map(|(row, point)| points[..=row].iter().map(|other| distance(point, other)))
            .collect();
        let mut best: Option<(f64, f64, Vec<f64>, Vec<f64>)> = None;
        for length in LENGTHS {
            let kernel: Vec<f64> = distances.iter().map(|distance| matern(distance / length)).collect();
            for noise in NOISES {
                let Some(factor) = factor(&kernel, points.len(), noise) else { continue };
                let half = forward(&factor, &targets);
                let logs: f64 = (0..points.len()).map(|row| libm::log(factor[start(row) + row])).sum();
                let likelihood = -0.5 * half.iter().map(|value| value * value).sum::<f64>() - logs;
                if best.as_ref().is_none_or(|(most, ..)| likelihood > *most) {
                    best = Some((likelihood, length, factor, half));
                }
            }
        }
        let (_, length, factor, half) = best?;
        let weights = backward(&factor, &half);
        Some(Self { points: points.to_vec(), factor, weights, mean, scale, length })
    }

    /// What the function is expected to be at a point, and the standard deviation of that.
    #[must_use]
    pub fn predict(&self, at: &[f64]) -> (f64, f64) {
        let near: Vec<f64> =
            self.points.iter().map(|point| matern(distance(point, at) / self.length)).collect();
        let mean: f64 = near.iter().zip(&self.weights).map(|(near, weight)| near * weight).sum();
        let known: f64 = forward(&self.factor, &near).iter().map(|value| value * value).sum();
        (self.mean + self.scale * mean, self.scale * libm::sqrt((1.0 - known).max(0.0)))
    }
}

/// By how much a value with this expectation and deviation is expected to exceed `best` and a margin.
#[must_use]
pub fn expected_improvement(mean: f64, deviation: f64, best: f64, margin: f64) -> f64 {
    let gain = mean - best - margin;
    if deviation <= 1e-12 {
        return gain.max(0.0);
    }
    let z = gain / deviation;
    let below = 0.5 * libm::erfc(-z / core::f64::consts::SQRT_2);
    let density = libm::exp(-0.5 * z * z) / libm::sqrt(2.0 * core::f64::consts::PI);
    (gain * below + deviation * density).max(0.0)
}

fn matern(distance: f64) -> f64 {
    let scaled = ROOT_OF_FIVE * distance;
    (1.0 + scaled + scaled * scaled / 3.0) * libm::exp(-scaled)
}

fn distance(one: &[f64], other: &[f64]) -> f64 {
    libm::sqrt(one.iter().zip(other).map(|(a, b)| (a - b) * (a - b)).sum())
}

#[allow(clippy::cast_precision_loss)]
fn moments(values: &[f64]) -> (f64, f64) {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let variance = values.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / count;
    let deviation = libm::sqrt(variance);
    (mean, if deviation > 1e-9 { deviation } else { 1.0 })
}

/// Where a row of a packed lower triangle starts.
fn start(row: usize) -> usize {
    row * (row + 1) / 2
}

/// Cholesky's factor of a packed covariance with noise on its diagonal; nothing where it is not positive.
fn factor(kernel: &[f64], size: usize, noise: f64) -> Option<Vec<f64>> {
    let mut factor = kernel.to_vec();
    for row in 0..size {
        factor[start(row) + row] += noise;
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| factor[start(row) + k] * factor[start(column) + k]).sum();
            let rest = factor[start(row) + column] - dot;
            factor[start(row) + column] = if column < row {
                rest / factor[start(column) + column]
            } else if rest > 0.0 {
                libm::sqrt(rest)
            } else {
                return None;
            };
        }
    }
    Some(factor)
}

/// Solves factor · x = values.
fn forward(factor: &[f64], values: &[f64]) -> Vec<f64> {
    let mut solved = Vec::with_capacity(values.len());
    for (row, value) in values.iter().enumerate() {
        let cells = &factor[start(row)..start(row) + row];
        let dot: f64 = cells.iter().zip(&solved).map(|(cell, x): (&f64, &f64)| cell * x).sum();
        solved.push((value - dot) / factor[start(row) + row]);
    }
    solved
}

/// Solves factorᵀ · x = values.
fn backward(factor: &[f64], values: &[f64]) -> Vec<f64> {
    let mut solved = values.to_vec();
    for row in (0..values.len()).rev() {
        solved[row] /= factor[start(row) + row];
        let (before, value) = (&factor[start(row)..start(row) + row], solved[row]);
        solved[..row].iter_mut().zip(before).for_each(|(x, cell)| *x -= cell * value);
    }
    solved
}
