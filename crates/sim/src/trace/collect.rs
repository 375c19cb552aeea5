//! Some VMs of a trace on a regular grid of time: what the simulator replays.
//!
//! One pass is enough. Which VMs are kept is decided by a seeded hash of the name, the smallest win
//! (bottom-k sampling): a VM that is among the k smallest of the whole trace is among the k smallest
//! of every part of it, so it is kept from its first reading on and never dropped in between, while
//! one that is dropped cannot come back. Memory is bounded by VMs × samples.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::units::ByteSize;

use super::TraceFormat;
use super::error::{Place, Problem, TraceError};
use super::reading::{Column, Reading};

/// The most samples of one column over all VMs.
const MAX_CELLS: u64 = 1 << 28;

/// What to take from a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection {
    /// How many VMs.
    pub vms: usize,
    /// How long from the first reading on.
    pub duration: Duration,
    /// The distance of two samples; finer readings are averaged, coarser ones held.
    pub interval: Duration,
    /// How long a value is held where readings are missing before the gap shows.
    pub hold: Duration,
    /// Which VMs: another seed, another sample.
    pub seed: u64,
}

impl Selection {
    /// A sample every five minutes, gaps of up to a quarter of an hour held.
    #[must_use]
    pub const fn new(vms: usize, duration: Duration, seed: u64) -> Self {
        let (interval, hold) = (Duration::from_secs(300), Duration::from_secs(900));
        Self { vms, duration, interval, hold, seed }
    }

    /// As fine as the simulator's steps for a recording, which is finer than any public trace; coarser only
    /// where that would take too much memory.
    #[must_use]
    pub fn suited_to(mut self, format: TraceFormat) -> Self {
        if format == TraceFormat::Recording {
            self.interval = Duration::from_secs(1);
            let vms = u64::try_from(self.vms).unwrap_or(u64::MAX);
            while (self.duration.as_secs() / self.interval.as_secs()).saturating_mul(vms) > MAX_CELLS / 64 {
                self.interval *= 2;
            }
        }
        self
    }

    fn samples(&self) -> Result<u64, TraceError> {
        let refuse = |what: String| Err(TraceError::Request { what });
        if self.vms == 0 || self.interval < Duration::from_millis(1) || self.duration < self.interval {
            return refuse(format!(
                "cannot take {} VMs for {:?} every {:?}: ask for at least one VM, a millisecond and one interval",
                self.vms, self.duration, self.interval
            ));
        }
        let samples = self.duration.as_nanos().div_ceil(self.interval.as_nanos());
        let cells = samples.saturating_mul(self.vms as u128);
        if cells > u128::from(MAX_CELLS) {
            return refuse(format!(
                "{} VMs with {samples} samples each are {cells} values; at most {MAX_CELLS} are held: \
                 ask for fewer VMs, less time or a longer interval",
                self.vms
            ));
        }
        Ok(u64::try_from(samples).unwrap_or(u64::MAX))
    }
}

/// Several VMs over the same stretch of time.
#[derive(Debug, Clone, PartialEq)]
pub struct TraceSet {
    /// Where it comes from: a file's name, or the generator's parameters.
    pub source: String,
    /// The distance of two samples.
    pub interval: Duration,
    /// By how much the trace is shorter than what was asked for; zero if it is not.
    pub shortfall: Duration,
    /// The VMs, by name; all columns of all VMs have the same length.
    pub series: Vec<Series>,
}

/// One VM over time. In each column, `None` is a sample for which there was no reading.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Series {
    /// The VM's name in the trace.
    pub name: String,
    /// Its vCPUs.
    pub cores: Option<f64>,
    /// Its memory.
    pub memory_capacity: Option<ByteSize>,
    /// Mean share of its vCPUs in use.
    pub cpu: Vec<Option<f32>>,
    /// Highest share of its vCPUs in use.
    pub cpu_peak: Option<Vec<Option<f32>>>,
    /// Share of its memory in use.
    pub memory_util: Option<Vec<Option<f32>>>,
    /// Bytes per second.
    pub disk_read_bytes_s: Option<Vec<Option<f32>>>,
    /// Bytes per second.
    pub disk_write_bytes_s: Option<Vec<Option<f32>>>,
    /// Bytes per second.
    pub net_rx_bytes_s: Option<Vec<Option<f32>>>,
    /// Bytes per second.
    pub net_tx_bytes_s: Option<Vec<Option<f32>>>,
    /// Share of time in which its GPU was busy.
    pub gpu_util: Option<Vec<Option<f32>>>,
    /// Bytes.
    pub gpu_memory_bytes: Option<Vec<Option<f32>>>,
}

impl Series {
    /// A column by its kind, if the trace has it.
    #[must_use]
    pub fn column(&self, column: Column) -> Option<&[Option<f32>]> {
        match column {
            Column::Cpu => Some(&self.cpu),
            Column::CpuPeak => self.cpu_peak.as_deref(),
            Column::MemoryUtil => self.memory_util.as_deref(),
            Column::DiskRead => self.disk_read_bytes_s.as_deref(),
            Column::DiskWrite => self.disk_write_bytes_s.as_deref(),
            Column::NetRx => self.net_rx_bytes_s.as_deref(),
            Column::NetTx => self.net_tx_bytes_s.as_deref(),
            Column::GpuUtil => self.gpu_util.as_deref(),
            Column::GpuMemory => self.gpu_memory_bytes.as_deref(),
        }
    }
}

impl TraceSet {
    /// Collects part of the readings of the trace at `path`, which only names the source.
    ///
    /// Samples lie on multiples of the interval since the trace's epoch; the first is the one that
    /// holds the earliest reading. A sample is the mean of the readings that reach into it, weighted
    /// by time. A reading lasts as long as it says or until the next one, and gaps up to
    /// `selection.hold` are filled with the last value. There may be fewer VMs than asked for.
    ///
    /// # Errors
    /// The first error of `readings`, an empty trace, or a selection that no memory should hold.
    pub fn collect(
        readings: impl IntoIterator<Item = Result<Reading, TraceError>>,
        selection: &Selection,
        path: &Path,
    ) -> Result<Self, TraceError> {
        let mut collector = Collector::new(selection)?;
        for reading in readings {
            collector.add(reading?);
        }
        collector.finish(path)
    }

    /// How many samples each column has.
    #[must_use]
    pub fn samples(&self) -> usize {
        self.series.first().map_or(0, |series| series.cpu.len())
    }
}

struct Collector<'a> {
    selection: &'a Selection,
    samples: u64,
    /// The grid's first sample: the earliest that any VM's reading lies in.
    origin: u64,
    /// One past the last sample that any reading reaches into.
    end: u64,
    kept: BTreeMap<(u64, Arc<str>), Gathering>,
}

impl<'a> Collector<'a> {
    fn new(selection: &'a Selection) -> Result<Self, TraceError> {
        Ok(Self { selection, samples: selection.samples()?, origin: u64::MAX, end: 0, kept: BTreeMap::new() })
    }

    fn add(&mut self, reading: Reading) {
        let grid = Grid(self.selection.interval);
        let slot = grid.slot(reading.time);
        self.origin = self.origin.min(slot);
        let window_end = self.origin.saturating_add(self.samples);
        if slot >= window_end {
            self.end = self.end.max(window_end);
            return;
        }
        let length = reading.interval.unwrap_or(self.selection.interval);
        self.end = self.end.max(grid.slot_end(reading.time.saturating_add(length)));
        let key = (seeded_hash(self.selection.seed, reading.vm.as_bytes()), Arc::clone(&reading.vm));
        if let Some(gathering) = self.kept.get_mut(&key) {
            gathering.add(Some(reading), self.selection, window_end);
            return;
        }
        if self.kept.len() == self.selection.vms {
            if self.kept.last_key_value().is_some_and(|(largest, _)| *largest < key) {
                return;
            }
            self.kept.pop_last();
        }
        let mut gathering = Gathering::default();
        gathering.add(Some(reading), self.selection, window_end);
        self.kept.insert(key, gathering);
    }

    fn finish(self, path: &Path) -> Result<TraceSet, TraceError> {
        if self.origin == u64::MAX {
            return Err(
                Place::file(path).wrong(Problem::new("no reading", "a trace with at least one reading"))
            );
        }
        let window_end = self.origin.saturating_add(self.samples);
        let window = self.origin..self.end.min(window_end);
        let selection = self.selection;
        let mut series: Vec<_> = self
            .kept
            .into_iter()
            .filter_map(|((_, name), mut gathering)| {
                gathering.add(None, selection, window.end);
                gathering.into_series(&name, &window)
            })
            .collect();
        series.sort_by(|a, b| a.name.cmp(&b.name));
        let missing = u32::try_from(window_end - window.end).unwrap_or(u32::MAX);
        let source = path.file_name().map_or_else(|| path.to_string_lossy(), |name| name.to_string_lossy());
        Ok(TraceSet {
            source: source.into_owned(),
            interval: selection.interval,
            shortfall: selection.interval * missing,
            series,
        })
    }
}

/// Samples as multiples of the interval since the epoch, so that their place does not depend on
/// which reading comes first.
#[derive(Clone, Copy)]
struct Grid(Duration);

impl Grid {
    fn slot(self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos() / self.0.as_nanos()).unwrap_or(u64::MAX)
    }

    fn slot_end(self, time: Duration) -> u64 {
        u64::try_from(time.as_nanos().div_ceil(self.0.as_nanos())).unwrap_or(u64::MAX)
    }

    #[allow(clippy::cast_precision_loss)]
    fn start_s(self, slot: u64) -> f64 {
        self.0.as_secs_f64() * slot as f64
    }
}

/// The samples of one VM so far.
#[derive(Default)]
struct Gathering {
    cores: Option<f64>,
    memory_capacity: Option<u64>,
    /// The latest reading, whose length is known only when the next one comes.
    open: Option<Reading>,
    lanes: [Option<Lane>; Column::ALL.len()],
}

impl Gathering {
    fn add(&mut self, next: Option<Reading>, selection: &Selection, window_end: u64) {
        if let Some(reading) = &next {
            self.cores = self.cores.or(reading.cores);
            self.memory_capacity = self.memory_capacity.or(reading.memory_capacity_bytes);
        }
        let following = next.as_ref().map(|next| next.time);
        let Some(open) = std::mem::replace(&mut self.open, next) else { return };
        let end = span_end(&open, following, selection);
        for (column, lane) in Column::ALL.into_iter().zip(&mut self.lanes) {
            if let Some(value) = open.column(column) {
                let grid = Grid(selection.interval);
                let lane = lane.get_or_insert_with(|| Lane::new(grid.slot(open.time)));
                lane.cover(value, (open.time, end), grid, window_end);
            }
        }
    }

    fn into_series(self, name: &str, window: &std::ops::Range<u64>) -> Option<Series> {
        let [cpu, peak, memory, disk_read, disk_write, rx, tx, gpu, gpu_memory] =
            self.lanes.map(|lane| lane.map(|lane| lane.into_samples(window)));
        let columns = [&cpu, &peak, &memory, &disk_read, &disk_write, &rx, &tx, &gpu, &gpu_memory];
        if !columns.into_iter().flatten().flatten().any(Option::is_some) {
            return None;
        }
        let length = usize::try_from(window.end - window.start).unwrap_or(0);
        Some(Series {
            name: name.to_owned(),
            cores: self.cores,
            memory_capacity: self.memory_capacity.map(ByteSize::new),
            cpu: cpu.unwrap_or_else(|| vec![None; length]),
            cpu_peak: peak,
            memory_util: memory,
            disk_read_bytes_s: disk_read,
            disk_write_bytes_s: disk_write,
            net_rx_bytes_s: rx,
            net_tx_bytes_s: tx,
            gpu_util: gpu,
            gpu_memory_bytes: gpu_memory,
        })
    }
}

/// Until when a reading's value counts.
fn span_end(reading: &Reading, following: Option<Duration>, selection: &Selection) -> Duration {
    let stated = reading.interval.map(|interval| reading.time.saturating_add(interval));
    let held = stated.unwrap_or(reading.time).saturating_add(selection.hold);
    match following {
        Some(next) if next <= held => next,
        _ => stated.unwrap_or_else(|| reading.time.saturating_add(selection.interval)),
    }
}

/// One column of one VM: finished samples and the one being averaged.
struct Lane {
    first: u64,
    done: Vec<Option<f32>>,
    slot: u64,
    sum: f64,
    weight: f64,
}

impl Lane {
    fn new(first: u64) -> Self {
        Self { first, done: Vec::new(), slot: first, sum: 0.0, weight: 0.0 }
    }

    fn cover(&mut self, value: f64, span: (Duration, Duration), grid: Grid, window_end: u64) {
        let (start_s, end_s) = (span.0.as_secs_f64(), span.1.as_secs_f64());
        let last = grid.slot_end(span.1).min(window_end);
        for slot in grid.slot(span.0)..last {
            let from = start_s.max(grid.start_s(slot));
            let to = end_s.min(grid.start_s(slot + 1));
            if slot != self.slot {
                self.close(slot);
            }
            self.sum += value * (to - from).max(0.0);
            self.weight += (to - from).max(0.0);
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn close(&mut self, next: u64) {
        self.done.push((self.weight > 0.0).then(|| (self.sum / self.weight) as f32));
        let gap = usize::try_from(next - self.first).unwrap_or(usize::MAX);
        self.done.resize(gap, None);
        (self.slot, self.sum, self.weight) = (next, 0.0, 0.0);
    }

    fn into_samples(mut self, window: &std::ops::Range<u64>) -> Vec<Option<f32>> {
        self.close(self.slot + 1);
        let before = usize::try_from(self.first - window.start).unwrap_or(0);
        let length = usize::try_from(window.end - window.start).unwrap_or(0);
        let mut samples = vec![None; before.min(length)];
        samples.append(&mut self.done);
        samples.resize(length, None);
        samples
    }
}

/// FNV-1a over the name, started by the seed and mixed at the end (Steele et al., `SplitMix64`).
fn seeded_hash(seed: u64, name: &[u8]) -> u64 {
    let start = mix(seed) ^ 0xcbf2_9ce4_8422_2325;
    mix(name.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)))
}

/// The finaliser of `SplitMix64`.
pub(super) fn mix(seed: u64) -> u64 {
    let mut z = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
