//! The tables as they are published, row by row; each number is checked before it is used.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::ops::RangeInclusive;
use std::path::Path;

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::FitFault;

/// SPEC programs against ways of last-level cache.
pub const CACHE_TABLE: &str = "spec_llc_ways.csv";
/// DNN training against MIG instances.
pub const GPU_TABLE: &str = "a100_mig.csv";
/// DNN training against CPUs and memory.
pub const HOST_TABLE: &str = "dnn_cpu_memory.csv";

/// Longer than any of the tables by a factor of a hundred.
const MOST_BYTES: u64 = 4 << 20;
const MOST_NAME: usize = 64;

/// Rows by program.
pub(super) type Programs<R> = BTreeMap<String, Vec<R>>;

/// A row of one of the tables.
pub(super) trait Row: DeserializeOwned {
    /// The program that the row is about.
    fn program(&self) -> &str;
    /// What was varied; no program has it twice.
    fn key(&self) -> [u32; 2];
    /// Names and values of its numbers, and between what they can be.
    fn numbers(&self) -> Vec<(&'static str, f64, RangeInclusive<f64>)>;
}

/// What a program does with a number of ways, alone on the machine.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct CacheRow {
    bench: String,
    pub(super) nr_ways: u32,
    pub(super) ipc: f64,
    pub(super) llcmpki: f64,
    pub(super) llc_usage_kb: f64,
    pub(super) bandwidth_mbps: f64,
    pub(super) llcm_bandwidth: f64,
}

impl Row for CacheRow {
    fn program(&self) -> &str {
        &self.bench
    }

    fn key(&self) -> [u32; 2] {
        [self.nr_ways, 0]
    }

    fn numbers(&self) -> Vec<(&'static str, f64, RangeInclusive<f64>)> {
        vec![
            ("nr_ways", f64::from(self.nr_ways), 1.0..=64.0),
            ("ipc", self.ipc, 1e-3..=20.0),
            ("llcmpki", self.llcmpki, 0.0..=1e4),
            ("llc_usage_kb", self.llc_usage_kb, 1.0..=1e8),
            ("bandwidth_mbps", self.bandwidth_mbps, 0.0..=1e7),
            ("llcm_bandwidth", self.llcm_bandwidth, 0.0..=1e7),
        ]
    }
}

/// How long a training step takes on an instance.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct GpuRow {
    model: String,
    pub(super) batch: u32,
    pub(super) mig_compute_slices: u32,
    pub(super) mig_memory_gb: u32,
    pub(super) median_iteration_s: f64,
}

impl Row for GpuRow {
    fn program(&self) -> &str {
        &self.model
    }

    fn key(&self) -> [u32; 2] {
        [self.batch, self.mig_compute_slices]
    }

    fn numbers(&self) -> Vec<(&'static str, f64, RangeInclusive<f64>)> {
        vec![
            ("mig_compute_slices", f64::from(self.mig_compute_slices), 1.0..=7.0),
            ("mig_memory_gb", f64::from(self.mig_memory_gb), 1.0..=1024.0),
            ("median_iteration_s", self.median_iteration_s, 1e-6..=1e6),
        ]
    }
}

/// How fast training is with CPUs and memory beside one GPU.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct HostRow {
    model: String,
    pub(super) cpu_level: u8,
    pub(super) memory_level: u8,
    pub(super) relative_throughput: f64,
}

impl HostRow {
    /// CPUs by level, as the authors' scheduler has them (msr-fiddle/synergy, `simulator/jobs/job.py`).
    const CPUS: [f64; 9] = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 9.0, 12.0, 24.0];
    /// Memory by level in GB, from the same place.
    const MEMORY_GB: [f64; 5] = [20.83, 62.5, 125.0, 187.5, 250.0];

    /// CPUs per GPU.
    pub(super) fn cpus(&self) -> f64 {
        Self::CPUS[usize::from(self.cpu_level)]
    }

    /// Memory per GPU, in GB.
    pub(super) fn memory_gb(&self) -> f64 {
        Self::MEMORY_GB[usize::from(self.memory_level)]
    }
}

impl Row for HostRow {
    fn program(&self) -> &str {
        &self.model
    }

    fn key(&self) -> [u32; 2] {
        [u32::from(self.cpu_level), u32::from(self.memory_level)]
    }

    fn numbers(&self) -> Vec<(&'static str, f64, RangeInclusive<f64>)> {
        vec![
            ("cpu_level", f64::from(self.cpu_level), 0.0..=8.0),
            ("memory_level", f64::from(self.memory_level), 0.0..=4.0),
            ("relative_throughput", self.relative_throughput, 1e-6..=1e6),
        ]
    }
}

/// Reads a table of the folder; nothing if it is not there.
pub(super) fn read<R: Row>(folder: &Path, table: &str) -> Result<Option<Programs<R>>, FitFault> {
    let path = folder.join(table);
    let failed = |source| FitFault::Read { path: path.clone(), source };
    let file = match File::open(&path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound && folder.is_dir() => return Ok(None),
        Err(error) => return Err(failed(error)),
    };
    let mut bytes = Vec::new();
    file.take(MOST_BYTES + 1).read_to_end(&mut bytes).map_err(failed)?;
    if bytes.len() as u64 > MOST_BYTES {
        let problem = format!("the table is longer than {MOST_BYTES} bytes; is it the right one?");
        return Err(FitFault::Value { path, line: 1, problem });
    }
    parse(&path, &bytes).map(Some)
}

fn parse<R: Row>(path: &Path, bytes: &[u8]) -> Result<Programs<R>, FitFault> {
    let mut reader = csv::Reader::from_reader(bytes);
    let mut programs: Programs<R> = BTreeMap::new();
    let titles = reader.headers().map_err(|source| form(path, 1, source))?.clone();
    for record in reader.records() {
        let record = record.map_err(|source| form(path, 1, source))?;
        let line = record.position().map_or(1, csv::Position::line);
        let row: R = record.deserialize(Some(&titles)).map_err(|source| form(path, line, source))?;
        let rows = programs.entry(row.program().to_owned()).or_default();
        if let Some(problem) = fault(&row, rows) {
            return Err(FitFault::Value { path: path.to_owned(), line, problem });
        }
        rows.push(row);
    }
    if programs.is_empty() {
        return Err(FitFault::Value { path: path.to_owned(), line: 1, problem: "no row follows".into() });
    }
    for rows in programs.values_mut() {
        rows.sort_by_key(Row::key);
    }
    Ok(programs)
}

fn fault<R: Row>(row: &R, before: &[R]) -> Option<String> {
    let name = row.program();
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    // The name becomes that of a file.
    if name.is_empty() || name.len() > MOST_NAME || name.starts_with('.') || !name.chars().all(plain) {
        return Some(format!(
            "a program's name has 1 to {MOST_NAME} characters out of a-z, A-Z, 0-9, `-`, `_` and `.`, and \
             does not start with a dot"
        ));
    }
    for (what, value, range) in row.numbers() {
        // A NaN is in no range.
        if !range.contains(&value) {
            let (least, most) = (range.start(), range.end());
            return Some(format!("{what} of `{name}` is {value}; it must be from {least} to {most}"));
        }
    }
    let twice = before.iter().any(|other| other.key() == row.key());
    twice.then(|| format!("`{name}` has this row already; remove one of them"))
}

fn form(path: &Path, line: u64, source: csv::Error) -> FitFault {
    let line = source.position().map_or(line, csv::Position::line);
    FitFault::Form { path: path.to_owned(), line, source }
}
