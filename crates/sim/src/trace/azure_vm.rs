//! Azure VM readings: `timestamp, vm id, min cpu, max cpu, avg cpu`, five minutes apart.
//!
//! The CPU readings of `Azure/AzurePublicDataset` (versions 1 and 2). The public files have no
//! header; one is accepted. Times are seconds, CPU is in percent of the VM's cores.

use std::path::Path;
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

/// The distance of two readings of one VM, as the data's authors give it.
pub const INTERVAL: Duration = Duration::from_secs(300);

pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Readings, TraceError> {
    let records = Records::new(input::open(path, progress)?, b',', true, Place::file(path));
    Ok(Box::new(Importer { records, vms: Vms::default(), started: false, progress: Arc::clone(progress) }))
}

struct Importer {
    records: TextRecords,
    vms: Vms,
    started: bool,
    progress: Arc<Progress>,
}

impl Importer {
    fn read(&mut self) -> Result<Option<Reading>, TraceError> {
        if !self.records.advance()? {
            return if self.started { Ok(None) } else { Err(self.empty()) };
        }
        if !std::mem::replace(&mut self.started, true) && is_header(self.records.field(0)) {
            return self.read();
        }
        self.records.expect_fields(5)?;
        self.reading().map(Some).map_err(|problem| self.records.wrong(problem))
    }

    fn reading(&mut self) -> Result<Reading, Problem> {
        let records = &self.records;
        let time = fields::seconds(records.field(0), "a time")?;
        let vm = self.vms.admit(records.field(1), time)?;
        // The lowest use has no column in Halcyon's form; it is only checked.
        fields::percent(records.field(2), "the lowest CPU use", &self.progress)?;
        let peak = fields::percent(records.field(3), "the highest CPU use", &self.progress)?;
        let mean = fields::percent(records.field(4), "the mean CPU use", &self.progress)?;
        Ok(Reading {
            interval: Some(INTERVAL),
            cpu: Some(mean),
            cpu_peak: Some(peak),
            ..Reading::new(vm, time)
        })
    }

    fn empty(&self) -> TraceError {
        let expected = "rows of timestamp, vm id, min cpu, max cpu, avg cpu";
        self.records.place().wrong(Problem::new("an empty file", expected))
    }
}

/// Whether the first field of the first record is a title.
fn is_header(field: &[u8]) -> bool {
    field.trim_ascii().to_ascii_lowercase().starts_with(b"time")
}

impl Iterator for Importer {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        self.read().transpose()
    }
}
