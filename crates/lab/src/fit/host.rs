//! Training throughput against the CPUs and the memory beside a GPU.
//!
//! ```text
//!  throughput = most · min(1, cpus / cpu_per_gpu, 1 / (1 + paging · missing))
//! ```
//!
//! The memory of the table keeps the training data from being read again from storage. The working set is
//! the smallest memory with which throughput is at its most; `missing` is the share of it that memory does
//! not hold.

use super::numbers::rounded;
use super::table::HostRow;

/// Where the table comes from.
pub(super) const SOURCE: &str = "msr-fiddle/synergy (MIT, facts only, rounded by its authors): training \
                                 throughput against 1 to 24 CPUs and 62.5 to 250 GB per GPU";

/// A throughput within so much of the most is the most.
const ALIKE: f64 = 0.01;
/// Steps of the search for the CPUs per GPU, in cores.
const STEP: f64 = 0.01;

/// What one program came to.
pub(super) struct HostFit {
    pub(super) cpu_per_gpu: f64,
    /// Nothing where the least memory of the table is as good as the most.
    pub(super) paging: Option<f64>,
    /// At every point.
    pub(super) errors: Vec<f64>,
}

/// Fits one program.
pub(super) fn fit(rows: &[HostRow]) -> HostFit {
    let most = rows.iter().map(|row| row.relative_throughput).fold(0.0, f64::max);
    let working_set = rows
        .iter()
        .filter(|row| row.relative_throughput >= most * (1.0 - ALIKE))
        .map(HostRow::memory_gb)
        .fold(f64::INFINITY, f64::min);
    let missing = |row: &HostRow| (1.0 - row.memory_gb() / working_set).max(0.0);
    let cpu_per_gpu = rounded(cpus(rows, most, working_set));
    let paging = paging(rows, most, &missing).map(rounded);
    let throughput = |row: &HostRow| {
        let fed = (row.cpus() / cpu_per_gpu).min(1.0);
        most * fed.min(1.0 / (1.0 + paging.unwrap_or(0.0) * missing(row)))
    };
    let errors = rows.iter().map(|row| (throughput(row) / row.relative_throughput - 1.0).abs()).collect();
    HostFit { cpu_per_gpu, paging, errors }
}

/// The CPUs per GPU nearest to the rows that have all the memory they want. Of equals the most: a program
/// that one CPU keeps busy may need less, which the table does not tell.
fn cpus(rows: &[HostRow], most: f64, working_set: f64) -> f64 {
    let fed: Vec<&HostRow> = rows.iter().filter(|row| row.memory_gb() >= working_set).collect();
    let least = fed.iter().map(|row| row.cpus()).fold(f64::INFINITY, f64::min);
    let end = fed.iter().map(|row| row.cpus()).fold(least, f64::max);
    let squares = |cores: f64| -> f64 {
        let distance = |row: &HostRow| most * (row.cpus() / cores).min(1.0) / row.relative_throughput - 1.0;
        fed.iter().map(|row| distance(row) * distance(row)).sum()
    };
    let steps = (0_u32..).map(|step| least + f64::from(step) * STEP).take_while(|cores| *cores <= end);
    steps
        .fold((least, f64::INFINITY), |best, cores| {
            let found = squares(cores);
            if found < best.1 { (cores, found) } else { best }
        })
        .0
}

/// The slow-down per share missing, from the rows with the most CPUs: with those, memory alone is short.
fn paging(rows: &[HostRow], most: f64, missing: &dyn Fn(&HostRow) -> f64) -> Option<f64> {
    let cpus = rows.iter().map(|row| row.cpu_level).max()?;
    let short = rows.iter().filter(|row| row.cpu_level == cpus && missing(row) > 0.0);
    let (mut along, mut square) = (0.0, 0.0);
    for row in short {
        let slowdown = most / row.relative_throughput;
        let x = missing(row) / slowdown;
        along += x * (1.0 - 1.0 / slowdown);
        square += x * x;
    }
    (square > 0.0 && along > 0.0).then(|| along / square)
}
