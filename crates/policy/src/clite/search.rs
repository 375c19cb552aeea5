//! Bayesian optimisation: the next sample is where most improvement is expected.

use super::process::{GaussianProcess, expected_improvement};

/// Samples of a function that is costly to look at, to be made as large as possible.
#[derive(Debug, Clone, Default)]
pub struct Search {
    points: Vec<Vec<f64>>,
    values: Vec<f64>,
    margin: f64,
}

impl Search {
    /// A search that counts as improvement only what exceeds the best value by more than `margin`.
    #[must_use]
    pub fn new(margin: f64) -> Self {
        Self { margin, ..Self::default() }
    }

    /// Notes a value at a point; one that is not finite counts as the worst so far.
    pub fn record(&mut self, point: Vec<f64>, value: f64) {
        let worst = self.values.iter().copied().reduce(f64::min).unwrap_or(0.0);
        self.points.push(point);
        self.values.push(if value.is_finite() { value } else { worst });
    }

    /// The place of the best sample, in the order of recording, and its value.
    #[must_use]
    pub fn best(&self) -> Option<(usize, f64)> {
        let mut best: Option<(usize, f64)> = None;
        for (place, value) in self.values.iter().enumerate() {
            if best.is_none_or(|(_, most)| *value > most) {
                best = Some((place, *value));
            }
        }
        best
    }

    /// The candidate that promises most, and how much improvement is expected of it. Costs O(n³) once and
    /// O(n²) for each candidate, for n samples.
    #[must_use]
    pub fn choose(&self, candidates: &[Vec<f64>]) -> Option<(usize, f64)> {
        let process = GaussianProcess::fit(&self.points, &self.values)?;
        let (_, best) = self.best()?;
        let mut chosen: Option<(usize, f64)> = None;
        for (place, candidate) in candidates.iter().enumerate() {
            let (mean, deviation) = process.predict(candidate);
            let promise = expected_improvement(mean, deviation, best, self.margin);
            if chosen.is_none_or(|(_, most)| promise > most) {
                chosen = Some((place, promise));
            }
        }
        chosen
    }
}
