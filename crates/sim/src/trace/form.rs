//! Halcyon's own form of a trace on disk: a comment with the version, titles, one reading per row.
//!
//! ```text
//! # halcyon-trace 1
//! vm,time_s,interval_s,cpu,…
//! web-1,0,300,0.25,…
//! ```
//!
//! An empty field was not measured. Columns may stand in any order and may be left out, but for `vm`
//! and `time_s`; one that is not known is refused, since a misspelt column would be lost in silence.
//! The rows of one VM go forwards in time; VMs may follow one another or be interleaved.

use std::io::{self, Write};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::Readings;
use super::error::{Place, Problem, TraceError};
use super::fields;
use super::input;
use super::limits::MAX_TIME;
use super::progress::Progress;
use super::reading::Reading;
use super::records::{Records, TextRecords};
use super::vms::{Vms, check_name};

/// The first line of every trace in Halcyon's form.
pub const VERSION_LINE: &str = "# halcyon-trace 1";

/// The columns in the order in which they are written.
pub const TITLES: [&str; 15] = [
    "vm",
    "time_s",
    "interval_s",
    "cpu",
    "cpu_peak",
    "cores",
    "memory_bytes",
    "memory_capacity_bytes",
    "memory_util",
    "disk_read_bytes_s",
    "disk_write_bytes_s",
    "net_rx_bytes_s",
    "net_tx_bytes_s",
    "gpu_util",
    "gpu_memory_bytes",
];

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let mut records = Records::new(input::open(path, progress)?, b',', true, Place::file(path));
    let versioned = records.advance()?;
    if !versioned || records.field(0).trim_ascii() != VERSION_LINE.as_bytes() {
        let expected = format!("`{VERSION_LINE}` as the first line");
        return Err(records.wrong(Problem::field(records.field(0), expected)));
    }
    if !records.advance()? {
        return Err(records.wrong(Problem::new("the end of the file", "the titles of the columns")));
    }
    let columns = columns(&records)?;
    let fields = records.len();
    Ok(Box::new(Importer { records, columns, fields, vms: Vms::default() }))
}

fn columns(records: &TextRecords) -> Result<[Option<usize>; TITLES.len()], TraceError> {
    let mut columns = [None; TITLES.len()];
    for index in 0..records.len() {
        let title = records.field(index).trim_ascii();
        let Some(column) = TITLES.iter().position(|known| known.as_bytes() == title) else {
            let expected = format!("a title out of: {}", TITLES.join(", "));
            return Err(records.wrong(Problem::field(title, expected)));
        };
        if columns[column].replace(index).is_some() {
            return Err(
                records.wrong(Problem::new(format!("`{}` twice", TITLES[column]), "each column once"))
            );
        }
    }
    for (column, title) in columns.iter().zip(TITLES).take(2) {
        if column.is_none() {
            return Err(records.wrong(Problem::new("no such column", format!("a column `{title}`"))));
        }
    }
    Ok(columns)
}

struct Importer {
    records: TextRecords,
    columns: [Option<usize>; TITLES.len()],
    fields: usize,
    vms: Vms,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        if !self.records.advance()? {
            return Ok(None);
        }
        self.records.expect_fields(self.fields)?;
        self.reading().map(Some).map_err(|problem| self.records.wrong(problem))
    }

    fn raw(&self, column: usize) -> Option<&[u8]> {
        let raw = self.records.field(self.columns[column]?);
        (!raw.is_empty()).then_some(raw)
    }

    fn reading(&mut self) -> Result<Reading, Problem> {
        let time = fields::seconds(self.raw(1).unwrap_or_default(), TITLES[1])?;
        let vm = {
            let name = self.columns[0].map_or(&b""[..], |index| self.records.field(index));
            self.vms.admit(name, time)?
        };
        let number =
            |column: usize| self.raw(column).map(|raw| fields::number(raw, TITLES[column])).transpose();
        let bytes = |column: usize| self.raw(column).map(|raw| whole(raw, TITLES[column])).transpose();
        let reading = Reading {
            vm,
            time,
            interval: self.raw(2).map(|raw| fields::seconds(raw, TITLES[2])).transpose()?,
            cpu: number(3)?,
            cpu_peak: number(4)?,
            cores: number(5)?,
            memory_bytes: bytes(6)?,
            memory_capacity_bytes: bytes(7)?,
            memory_util: number(8)?,
            disk_read_bytes_s: number(9)?,
            disk_write_bytes_s: number(10)?,
            net_rx_bytes_s: number(11)?,
            net_tx_bytes_s: number(12)?,
            gpu_util: number(13)?,
            gpu_memory_bytes: bytes(14)?,
        };
        reading.check()?;
        Ok(reading)
    }
}

fn whole(raw: &[u8], title: &str) -> Result<u64, Problem> {
    let text = std::str::from_utf8(raw).ok();
    let whole = text.and_then(|text| text.trim_ascii().parse().ok());
    whole.ok_or_else(|| Problem::field(raw, format!("{title}, a whole number of bytes")))
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}

/// Writes readings in Halcyon's form, one row at a time.
pub struct Writer<W: Write> {
    output: W,
    /// Rows not yet handed to the output, which need not be buffered itself.
    rows: Vec<u8>,
}

const BUFFER: usize = 256 * 1024;

impl<W: Write> Writer<W> {
    /// Starts a trace with its version and titles.
    ///
    /// # Errors
    /// If `output` cannot be written.
    pub fn new(output: W) -> Result<Self, TraceError> {
        let rows = format!("{VERSION_LINE}\n{}\n", TITLES.join(",")).into_bytes();
        Ok(Self { output, rows })
    }

    /// Appends a reading. The caller keeps the readings of one VM in order of time.
    ///
    /// # Errors
    /// If a value is outside the form (a share above 1, a NaN, a name with control characters), or
    /// the output cannot be written.
    pub fn write(&mut self, reading: &Reading) -> Result<(), TraceError> {
        let fits = check_name(&reading.vm).and_then(|()| reading.check()).and_then(|()| {
            let times = [reading.time, reading.interval.unwrap_or_default()];
            let late = times.into_iter().find(|time| *time > MAX_TIME);
            late.map_or(Ok(()), |time| Err(Problem::new(format!("{} s", time.as_secs()), "an earlier time")))
        });
        fits.map_err(|problem| TraceError::Request {
            what: format!("cannot write a reading with {}: expected {}", problem.found, problem.expected),
        })?;
        self.row(reading);
        if self.rows.len() >= BUFFER {
            self.hand_over()?;
        }
        Ok(())
    }

    fn row(&mut self, reading: &Reading) {
        self.name(&reading.vm);
        self.seconds(Some(reading.time));
        self.seconds(reading.interval);
        self.float(reading.cpu);
        self.float(reading.cpu_peak);
        self.float(reading.cores);
        self.whole(reading.memory_bytes);
        self.whole(reading.memory_capacity_bytes);
        self.float(reading.memory_util);
        self.float(reading.disk_read_bytes_s);
        self.float(reading.disk_write_bytes_s);
        self.float(reading.net_rx_bytes_s);
        self.float(reading.net_tx_bytes_s);
        self.float(reading.gpu_util);
        self.whole(reading.gpu_memory_bytes);
        self.rows.push(b'\n');
    }

    /// The first field, quoted where a reader would otherwise split it (RFC 4180).
    fn name(&mut self, name: &str) {
        if !name.bytes().any(|byte| matches!(byte, b',' | b'"')) {
            self.rows.extend_from_slice(name.as_bytes());
            return;
        }
        self.rows.push(b'"');
        for byte in name.bytes() {
            if byte == b'"' {
                self.rows.push(b'"');
            }
            self.rows.push(byte);
        }
        self.rows.push(b'"');
    }

    fn float(&mut self, number: Option<f64>) {
        self.rows.push(b',');
        if let Some(number) = number {
            // The shortest digits that read back as the same number.
            self.rows.extend_from_slice(ryu::Buffer::new().format_finite(number).as_bytes());
            if self.rows.ends_with(b".0") {
                self.rows.truncate(self.rows.len() - 2);
            }
        }
    }

    fn whole(&mut self, number: Option<u64>) {
        self.rows.push(b',');
        if let Some(number) = number {
            self.rows.extend_from_slice(itoa::Buffer::new().format(number).as_bytes());
        }
    }

    fn seconds(&mut self, time: Option<Duration>) {
        self.whole(time.map(|time| time.as_secs()));
        let nanos = time.map_or(0, |time| time.subsec_nanos());
        if nanos > 0 {
            let fraction = format!(".{nanos:09}");
            self.rows.extend_from_slice(fraction.trim_end_matches('0').as_bytes());
        }
    }

    fn hand_over(&mut self) -> Result<(), TraceError> {
        self.output.write_all(&self.rows).map_err(unwritable)?;
        self.rows.clear();
        Ok(())
    }

    /// Hands over what is left and gives the output back, which may have buffers of its own to flush.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn finish(mut self) -> Result<W, TraceError> {
        self.hand_over()?;
        Ok(self.output)
    }
}

fn unwritable(source: io::Error) -> TraceError {
    TraceError::Write { source }
}
