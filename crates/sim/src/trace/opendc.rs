//! OpenDC: a Parquet table of CPU use and one of the VMs' sizes.
//!
//! `trace.parquet` holds `id`, `timestamp`, `duration`, `cpu_count` and `cpu_usage`; `meta.parquet`
//! beside it `id`, `cpu_capacity` and `mem_capacity`. The public Bitbrains files show what the units
//! are: a stamp is the *end* of its row's stretch (the first stamp less its duration is the VM's
//! `start_time`, and the last stamp its `stop_time`); equal readings in a row are one long row;
//! `cpu_usage` and `cpu_capacity` are MHz over all cores (20800 for 8 cores at 2600); `mem_capacity`
//! is KiB (8388608 for 8 GiB).

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use parquet::column::reader::ColumnReader;

use super::Readings;
use super::columns::{Table, Values};
use super::error::{Place, Problem, TraceError};
use super::fields;
use super::limits::{MAX_TIME, MAX_VMS};
use super::progress::Progress;
use super::reading::Reading;
use super::vms::Vms;

const KIB: f64 = 1024.0;
const TRACE: [&str; 5] = ["id", "timestamp", "duration", "cpu_count", "cpu_usage"];
const META: [&str; 4] = ["id", "cpu_count", "cpu_capacity", "mem_capacity"];

/// The two files of a trace: of a folder, or of its `trace.parquet`.
fn files(path: &Path) -> (PathBuf, PathBuf) {
    let folder = if path.is_dir() { Some(path) } else { path.parent() };
    let trace = if path.is_dir() { path.join("trace.parquet") } else { path.to_path_buf() };
    (trace, folder.unwrap_or(Path::new("")).join("meta.parquet"))
}

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let (trace, meta) = files(path);
    let sizes = sizes(&meta)?;
    let epoch = epoch(&trace)?;
    let rows = Rows::open(&trace, &TRACE)?;
    let ticks = (rows.table.ticks_per_second(1), 1e3);
    Ok(Box::new(Importer { rows, sizes, epoch, ticks, vms: Vms::default(), progress: Arc::clone(progress) }))
}

/// What the meta table says about one VM.
#[derive(Debug, Clone, Copy)]
struct Size {
    cores: Option<f64>,
    cpu_mhz: f64,
    memory_bytes: Option<u64>,
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn sizes(path: &Path) -> Result<HashMap<Vec<u8>, Size>, TraceError> {
    let mut rows = Rows::open(path, &META)?;
    let mut sizes = HashMap::new();
    while rows.advance()? {
        let amount = |column: usize| {
            let value = rows.number(column).filter(|value| value.is_finite() && *value >= 0.0);
            value.ok_or_else(|| rows.wrong_number(column, "a number that is not negative"))
        };
        let kib = amount(3)?;
        let size = Size {
            cores: Some(amount(1)?).filter(|cores| *cores > 0.0),
            cpu_mhz: amount(2)?,
            memory_bytes: Some((kib * KIB) as u64).filter(|bytes| *bytes > 0),
        };
        if sizes.len() == MAX_VMS {
            let expected = format!("at most {MAX_VMS} VMs");
            return Err(rows.wrong(Problem::new("another VM", expected)));
        }
        if sizes.insert(rows.name()?.to_vec(), size).is_some() {
            return Err(rows.wrong(Problem::field(rows.name()?, "each id once")));
        }
    }
    Ok(sizes)
}

/// The start of the earliest row, in milliseconds; VMs follow one another, so all rows are looked at.
fn epoch(path: &Path) -> Result<f64, TraceError> {
    let mut rows = Rows::open(path, &TRACE[..3])?;
    let ticks = rows.table.ticks_per_second(1);
    let mut epoch: Option<f64> = None;
    while rows.advance()? {
        let start = start_s(&rows, (ticks, 1e3))?;
        epoch = Some(epoch.map_or(start, |epoch| epoch.min(start)));
    }
    epoch.ok_or_else(|| Place::file(path).wrong(Problem::new("no row", "at least one row")))
}

fn start_s(rows: &Rows, ticks: (f64, f64)) -> Result<f64, TraceError> {
    let most = MAX_TIME.as_secs_f64();
    let time = |column: usize, per_second: f64| {
        let seconds = rows.number(column).map(|value| value / per_second);
        seconds
            .filter(|seconds| (0.0..=most).contains(seconds))
            .ok_or_else(|| rows.wrong_number(column, "a time that is not negative and before the year 2286"))
    };
    Ok(time(1, ticks.0)? - time(2, ticks.1)?)
}

struct Importer {
    rows: Rows,
    sizes: HashMap<Vec<u8>, Size>,
    epoch: f64,
    /// Units per second of stamps and of durations.
    ticks: (f64, f64),
    vms: Vms,
    progress: Arc<Progress>,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        if !self.rows.advance()? {
            return Ok(None);
        }
        let rows = &self.rows;
        // Rounded to milliseconds: the difference of two large floats has noise below.
        let time_ms = libm::round((start_s(rows, self.ticks)? - self.epoch) * 1e3);
        let time = Duration::try_from_secs_f64(time_ms.max(0.0) / 1e3).unwrap_or_default();
        let name = rows.name()?;
        let Some(size) = self.sizes.get(name).copied() else {
            return Err(rows.wrong(Problem::field(name, "an id that meta.parquet has too")));
        };
        let vm = self.vms.admit(name, time).map_err(|problem| rows.wrong(problem))?;
        let cores = rows.number(3).filter(|cores| *cores > 0.0 && cores.is_finite()).or(size.cores);
        let interval = rows.number(2).map(|ms| Duration::from_secs_f64(ms.max(0.0) / self.ticks.1));
        Ok(Some(Reading {
            interval: interval.filter(|interval| !interval.is_zero()),
            cpu: self.cpu(size)?,
            cores,
            memory_capacity_bytes: size.memory_bytes,
            ..Reading::new(vm, time)
        }))
    }

    fn cpu(&self, size: Size) -> Result<Option<f64>, TraceError> {
        let Some(mhz) = self.rows.number(4) else { return Ok(None) };
        if size.cpu_mhz <= 0.0 {
            self.progress.note("readings of VMs without a CPU capacity, taken as missing");
            return Ok(None);
        }
        let share = fields::share(mhz, size.cpu_mhz, &self.progress);
        let expected = format!("CPU use in MHz within the VM's {} MHz", size.cpu_mhz);
        share.map(Some).ok_or_else(|| self.rows.wrong_number(4, &expected))
    }
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The rows of a table whose first column is an id, one after another.
struct Rows {
    table: Table,
    names: &'static [&'static str],
    group: usize,
    readers: Vec<ColumnReader>,
    batch: Vec<Values>,
    held: usize,
    at: usize,
    row: u64,
}

impl Rows {
    fn open(path: &Path, names: &'static [&'static str]) -> Result<Self, TraceError> {
        let table = Table::open(path, names)?;
        for (column, name) in names.iter().enumerate() {
            if table.is_name(column) != (column == 0) {
                let kind = if column == 0 { "strings" } else { "numbers" };
                let problem = Problem::new("another type", format!("a column `{name}` of {kind}"));
                return Err(table.place.wrong(problem));
            }
        }
        Ok(Self { table, names, group: 0, readers: Vec::new(), batch: Vec::new(), held: 0, at: 0, row: 0 })
    }

    /// Moves to the next row; false at the end.
    fn advance(&mut self) -> Result<bool, TraceError> {
        self.at += 1;
        self.row += 1;
        while self.at >= self.held {
            if self.readers.is_empty() {
                if self.group == self.table.row_groups() {
                    return Ok(false);
                }
                self.readers = self.table.group(self.group)?;
                self.group += 1;
            }
            self.next_batch()?;
        }
        Ok(true)
    }

    fn next_batch(&mut self) -> Result<(), TraceError> {
        self.batch.clear();
        for reader in &mut self.readers {
            self.batch.push(self.table.batch(reader)?);
        }
        let lengths = self.batch.iter().map(|values| match values {
            Values::Numbers(numbers) => numbers.len(),
            Values::Names(names) => names.len(),
        });
        let (least, most) = lengths.fold((usize::MAX, 0), |(least, most), n| (least.min(n), most.max(n)));
        if least != most {
            return Err(self.wrong(Problem::new("columns of different lengths", "columns of one length")));
        }
        (self.held, self.at) = (most, 0);
        if most == 0 {
            self.readers.clear();
        }
        Ok(())
    }

    fn number(&self, column: usize) -> Option<f64> {
        match self.batch.get(column)? {
            Values::Numbers(numbers) => *numbers.get(self.at)?,
            Values::Names(_) => None,
        }
    }

    fn name(&self) -> Result<&[u8], TraceError> {
        let Some(Values::Names(names)) = self.batch.first() else { return Ok(&[]) };
        let name = names.get(self.at).and_then(Option::as_deref);
        name.ok_or_else(|| self.wrong(Problem::new("no id", "an id in every row")))
    }

    fn wrong(&self, problem: Problem) -> TraceError {
        self.table.place.at_row(self.row).wrong(problem)
    }

    fn wrong_number(&self, column: usize, expected: &str) -> TraceError {
        let found = self.number(column).map_or_else(|| "nothing".to_owned(), |value| format!("`{value}`"));
        self.wrong(Problem::new(found, format!("{expected} in column `{}`", self.names[column])))
    }
}
