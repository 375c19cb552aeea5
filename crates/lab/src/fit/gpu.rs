//! The time of a training step against the slices of a GPU.
//!
//! Every model was measured with several batches. Its profile is that of one: the one that ran on the
//! most sizes of instance, and of those the largest, as training wants large batches.

use halcyon_model::profile::GpuResponse;
use halcyon_model::units::ByteSize;

use super::FitFault;
use super::numbers::share;
use super::table::{GPU_TABLE, GpuRow};

/// Compute slices of the GPU that was measured.
const WHOLE: u32 = 7;

/// Where the figures of one batch come from.
pub(super) fn source(batch: u32) -> String {
    format!(
        "boringlee24/socc22-miso (MIT, facts only): step time of training, batch {batch}, on MIG instances of \
         an A100"
    )
}

/// What one batch of a model came to.
pub(super) struct GpuFit {
    pub(super) batch: u32,
    pub(super) response: GpuResponse,
    /// Of the time relative to the whole GPU, at every smaller instance.
    pub(super) errors: Vec<f64>,
}

/// Fits one model.
pub(super) fn fit(name: &str, rows: &[GpuRow]) -> Result<GpuFit, FitFault> {
    let sizes = |batch: u32| rows.iter().filter(|row| row.batch == batch).count();
    let batch = rows.iter().map(|row| row.batch).max_by_key(|batch| (sizes(*batch), *batch));
    let chosen: Vec<&GpuRow> = rows.iter().filter(|row| Some(row.batch) == batch).collect();
    let whole = chosen.iter().find(|row| row.mig_compute_slices == WHOLE);
    let (Some(batch), Some(whole)) = (batch, whole) else {
        let problem = "was not measured on the whole GPU of 7 slices; add that row or remove the program";
        return Err(FitFault::Program { table: GPU_TABLE, program: name.into(), problem });
    };
    let smaller: Vec<Point> = chosen
        .iter()
        .filter(|row| row.mig_compute_slices < WHOLE)
        .map(|row| Point::new(row.mig_compute_slices, row.median_iteration_s / whole.median_iteration_s))
        .collect();
    let [compute, bandwidth] = shares(&smaller);
    let memory = chosen.iter().map(|row| row.mig_memory_gb).min().unwrap_or(0);
    let bandwidth = share(bandwidth);
    let response = GpuResponse {
        whole: WHOLE,
        fixed: share((1.0 - compute - bandwidth).clamp(0.0, 1.0 - bandwidth)),
        bandwidth,
        memory: ByteSize::new(u64::from(memory) * 1_000_000_000),
    };
    let errors = smaller.iter().map(|point| (1.0 / response.speed(point.slices) / point.time - 1.0).abs());
    Ok(GpuFit { batch, response, errors: errors.collect() })
}

struct Point {
    slices: u32,
    /// In units of the time on the whole GPU.
    time: f64,
    /// Over the measured time: what compute and memory add to it, and what is to be added.
    added: [f64; 2],
    wanted: f64,
}

impl Point {
    fn new(slices: u32, time: f64) -> Self {
        let added = GpuResponse::scarcity(WHOLE, slices).map(|times| (times - 1.0) / time);
        Self { slices, time, added, wanted: (time - 1.0) / time }
    }
}

/// The shares of compute and memory nearest to the points by relative distance: neither below zero,
/// together at most all of the time. The best lies inside of that triangle, on a side, or at a corner.
fn shares(points: &[Point]) -> [f64; 2] {
    let sum = |of: &dyn Fn(&Point) -> f64| points.iter().map(of).sum::<f64>();
    let [cc, mm] = [0, 1].map(|i| sum(&|p| p.added[i] * p.added[i]));
    let cm = sum(&|p| p.added[0] * p.added[1]);
    let [cw, mw] = [0, 1].map(|i| sum(&|p| p.added[i] * p.wanted));
    let determinant = cc * mm - cm * cm;
    let along = |top: f64, bottom: f64| if bottom > 0.0 { (top / bottom).clamp(0.0, 1.0) } else { 0.0 };
    // On the third side compute has `c` and memory the rest.
    let difference = |p: &Point| p.added[0] - p.added[1];
    let c = along(sum(&|p| difference(p) * (p.wanted - p.added[1])), sum(&|p| difference(p) * difference(p)));
    let mut candidates = vec![[along(cw, cc), 0.0], [0.0, along(mw, mm)], [c, 1.0 - c]];
    if determinant > 1e-12 * cc * mm {
        let inside = [(cw * mm - mw * cm) / determinant, (mw * cc - cw * cm) / determinant];
        if inside.iter().all(|share| *share >= 0.0) && inside[0] + inside[1] <= 1.0 {
            candidates.push(inside);
        }
    }
    let squares = |[compute, memory]: &[f64; 2]| {
        sum(&|p| {
            let distance = compute * p.added[0] + memory * p.added[1] - p.wanted;
            distance * distance
        })
    };
    candidates.into_iter().min_by(|a, b| squares(a).total_cmp(&squares(b))).unwrap_or([0.0; 2])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_found_wherever_they_lie() {
        for truth in [[0.3, 0.4], [0.0, 0.5], [0.6, 0.0], [0.2, 0.8], [0.0, 0.0], [1.0, 0.0]] {
            let time = |slices| {
                let [compute, memory] = GpuResponse::scarcity(WHOLE, slices);
                1.0 + truth[0] * (compute - 1.0) + truth[1] * (memory - 1.0)
            };
            let points: Vec<Point> = [1, 2, 3, 4].map(|slices| Point::new(slices, time(slices))).into();
            let found = shares(&points);
            assert!(found.iter().zip(truth).all(|(a, b)| (a - b).abs() < 1e-9), "{truth:?} {found:?}");
        }
    }
}
