//! GWA-T-12 Bitbrains: one file per VM, columns split by `;` and a tab, found by their titles.
//!
//! The format of the Grid Workloads Archive, <http://gwa.ewi.tudelft.nl/datasets/gwa-t-12-bitbrains>.
//! Its title says `Timestamp [ms]` while the public stamps are seconds: which it is, is told by the
//! first stamp and noted. `CPU usage [%]` is a share of the VM's provisioned capacity. A KB is
//! 1024 bytes: the provisioned amounts (2097152, 8388608) are whole GiB only then.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::Readings;
use super::error::{Place, Problem, TraceError};
use super::fields;
use super::input;
use super::progress::Progress;
use super::reading::Reading;
use super::records::{Records, TextRecords};
use super::vms::Vms;

const KB: f64 = 1024.0;
/// A first stamp from here on counts milliseconds: as seconds it would lie in the year 5138.
const FIRST_MS: u64 = 100_000_000_000;

/// The columns in use, by their titles in lower case.
const TITLES: [&str; 10] = [
    "timestamp [ms]",
    "cpu cores",
    "cpu usage [%]",
    "memory capacity provisioned [kb]",
    "memory usage [kb]",
    "disk read throughput [kb/s]",
    "disk write throughput [kb/s]",
    "network received throughput [kb/s]",
    "network transmitted throughput [kb/s]",
    "cpu usage [mhz]",
];

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let files = if path.is_dir() { input::list(path)? } else { vec![path.to_path_buf()] };
    // Files hold absolute stamps and are read one after another, so the epoch is looked up first.
    let mut epoch: Option<Duration> = None;
    for file in &files {
        let first = VmFile::open(file, &Arc::default())?.first_time()?;
        epoch = epoch.into_iter().chain(first).min();
    }
    let Some(epoch) = epoch else {
        return Err(Place::file(path).wrong(Problem::new("no reading", "at least one VM with one reading")));
    };
    Ok(Box::new(Importer {
        files: files.into_iter(),
        current: None,
        epoch,
        vms: Vms::default(),
        progress: Arc::clone(progress),
    }))
}

struct Importer {
    files: std::vec::IntoIter<PathBuf>,
    current: Option<VmFile>,
    epoch: Duration,
    vms: Vms,
    progress: Arc<Progress>,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        loop {
            if self.current.is_none() {
                let Some(path) = self.files.next() else { return Ok(None) };
                self.current = Some(VmFile::open(&path, &self.progress)?);
            }
            let Some(file) = &mut self.current else { return Ok(None) };
            if file.records.advance()? {
                let reading = file.reading(self.epoch, &mut self.vms, &self.progress);
                return reading.map(Some).map_err(|problem| file.records.wrong(problem));
            }
            self.current = None;
        }
    }
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// The file of one VM.
struct VmFile {
    name: String,
    records: TextRecords,
    columns: [Option<usize>; TITLES.len()],
    fields: usize,
    milliseconds: Option<bool>,
}

impl VmFile {
    fn open(path: &Path, progress: &Arc<Progress>) -> Result<Self, TraceError> {
        let mut records = Records::new(input::open(path, progress)?, b';', false, Place::file(path));
        if !records.advance()? {
            let expected = "the titles of the columns, `Timestamp [ms]; CPU cores; …`";
            return Err(records.place().wrong(Problem::new("an empty file", expected)));
        }
        let mut columns = [None; TITLES.len()];
        for index in 0..records.len() {
            let title = String::from_utf8_lossy(records.field(index)).trim().to_lowercase();
            if let Some(column) = TITLES.iter().position(|known| *known == title)
                && columns[column].replace(index).is_some()
            {
                return Err(records.wrong(Problem::new(format!("`{title}` twice"), "each column once")));
            }
        }
        // A stamp and the CPU use are what makes it a trace of demand.
        for required in [0, 2] {
            if columns[required].is_none() {
                let expected = format!("a column `{}` among the titles, split by `;`", TITLES[required]);
                return Err(records.wrong(Problem::field(records.field(0), expected)));
            }
        }
        let fields = records.len();
        Ok(Self { name: super::file_stem(path)?, records, columns, fields, milliseconds: None })
    }

    fn first_time(mut self) -> Result<Option<Duration>, TraceError> {
        if !self.records.advance()? {
            return Ok(None);
        }
        let time = self.time(&Progress::default());
        time.map(Some).map_err(|problem| self.records.wrong(problem))
    }

    fn column(&self, column: usize) -> Option<&[u8]> {
        let raw = self.columns[column].map(|index| self.records.field(index).trim_ascii())?;
        (!raw.is_empty()).then_some(raw)
    }

    fn time(&mut self, progress: &Progress) -> Result<Duration, Problem> {
        let raw = self.column(0).unwrap_or_default();
        let stamp: Option<u64> = std::str::from_utf8(raw).ok().and_then(|text| text.parse().ok());
        let Some(stamp) = stamp.filter(|stamp| *stamp < FIRST_MS * 100) else {
            return Err(Problem::field(raw, "a time stamp in whole seconds or milliseconds since 1970"));
        };
        if self.milliseconds.is_none() && stamp < FIRST_MS {
            progress.note("files whose title says ms while the stamps are seconds, read as seconds");
        }
        let milliseconds = *self.milliseconds.get_or_insert(stamp >= FIRST_MS);
        if !milliseconds && stamp >= FIRST_MS {
            return Err(Problem::new(
                format!("`{stamp}`"),
                "a stamp in seconds, as the first one of this file",
            ));
        }
        Ok(if milliseconds { Duration::from_millis(stamp) } else { Duration::from_secs(stamp) })
    }

    fn reading(&mut self, epoch: Duration, vms: &mut Vms, progress: &Progress) -> Result<Reading, Problem> {
        if self.records.len() != self.fields {
            return Err(Problem::new(
                format!("{} fields", self.records.len()),
                format!("{} fields split by `;`, as in the titles", self.fields),
            ));
        }
        let stamp = self.time(progress)?;
        let Some(time) = stamp.checked_sub(epoch) else {
            return Err(Problem::new("time going backwards", "a stamp after the first one"));
        };
        let vm = vms.admit(self.name.as_bytes(), time)?;
        let rate = |column: usize| {
            self.column(column).map(|raw| Ok(fields::amount(raw, TITLES[column])? * KB)).transpose()
        };
        let size =
            |column: usize| self.column(column).map(|raw| fields::bytes(raw, KB, TITLES[column])).transpose();
        let cores = self.column(1).map(|raw| fields::amount(raw, TITLES[1])).transpose()?;
        Ok(Reading {
            cpu: self.column(2).map(|raw| fields::percent(raw, TITLES[2], progress)).transpose()?,
            // A VM that is switched off reports no cores and no memory.
            cores: cores.filter(|cores| *cores > 0.0),
            memory_capacity_bytes: size(3)?.filter(|capacity| *capacity > 0),
            memory_bytes: size(4)?,
            disk_read_bytes_s: rate(5)?,
            disk_write_bytes_s: rate(6)?,
            net_rx_bytes_s: rate(7)?,
            net_tx_bytes_s: rate(8)?,
            ..Reading::new(vm, time)
        })
    }
}
