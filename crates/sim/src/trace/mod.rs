//! Demand traces of VMs: importers of public formats, one form of our own, and a generator.
//!
//! Every importer is an iterator of [`Reading`]s that holds a bounded part of its input, believes
//! nothing, and says where a file is wrong. [`TraceSet::collect`] makes a regular grid out of readings
//! for the simulator; [`generator`] makes such a grid out of a statistical model.

mod alibaba_genai;
mod archive;
pub mod azure_vm;
mod collect;
mod columns;
mod detect;
mod error;
mod fields;
mod form;
pub mod generator;
mod gwa_t_12;
pub(crate) mod input;
pub mod limits;
mod opendc;
pub mod planetlab;
mod progress;
mod reading;
mod recording;
mod records;
mod vms;

use std::fmt;
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;

pub use collect::{Selection, Series, TraceSet};
pub use detect::detect;
pub use error::{Place, TraceError};
pub use form::{TITLES, VERSION_LINE, Writer};
pub use progress::Progress;
pub use reading::{Column, Reading};

use error::Problem;

/// The readings of a trace, in the order of its files; after an error comes nothing more.
pub type Readings = Box<dyn Iterator<Item = Result<Reading, TraceError>> + Send>;

/// A format that can be imported.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum TraceFormat {
    /// Halcyon's own form.
    Halcyon,
    /// One file of percentages per VM.
    PlanetLab,
    /// Bitbrains in the Grid Workloads Archive's columns.
    GwaT12,
    /// OpenDC's two Parquet tables.
    OpenDc,
    /// Alibaba's GPU pods.
    AlibabaGenAi,
    /// Azure's VM readings.
    AzureVm,
    /// A recording of a host.
    Recording,
}

impl TraceFormat {
    /// Every format.
    pub const ALL: [Self; 7] = [
        Self::Halcyon,
        Self::PlanetLab,
        Self::GwaT12,
        Self::OpenDc,
        Self::AlibabaGenAi,
        Self::AzureVm,
        Self::Recording,
    ];

    /// The name on the command line.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Halcyon => "halcyon",
            Self::PlanetLab => "planetlab",
            Self::GwaT12 => "gwa-t-12",
            Self::OpenDc => "opendc",
            Self::AlibabaGenAi => "alibaba-genai",
            Self::AzureVm => "azure-vm",
            Self::Recording => "recording",
        }
    }
}

impl fmt::Display for TraceFormat {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for TraceFormat {
    type Err = TraceError;
    fn from_str(text: &str) -> Result<Self, TraceError> {
        Self::ALL.into_iter().find(|format| format.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            TraceError::Request { what: format!("`{text}` is no trace format; the formats are: {names}") }
        })
    }
}

/// Opens the trace at `path`; without a format it is detected.
///
/// # Errors
/// If the path cannot be read, or is not of the format. Errors within come from the iterator.
pub fn open(path: &Path, format: Option<TraceFormat>) -> Result<Readings, TraceError> {
    open_watched(path, format, &Arc::default())
}

/// As [`open`], telling `progress` of bytes read and of what had to be adapted.
///
/// # Errors
/// As [`open`].
pub fn open_watched(
    path: &Path,
    format: Option<TraceFormat>,
    progress: &Arc<Progress>,
) -> Result<Readings, TraceError> {
    let format = format.map_or_else(|| detect(path), Ok)?;
    let folder = path.is_dir();
    if folder && matches!(format, TraceFormat::Halcyon | TraceFormat::AzureVm | TraceFormat::Recording) {
        return Err(
            Place::file(path).wrong(Problem::new("a folder", format!("a file in the format {format}")))
        );
    }
    let readings = match format {
        TraceFormat::Halcyon => form::open(path, progress),
        TraceFormat::PlanetLab => planetlab::open(path, progress),
        TraceFormat::GwaT12 => gwa_t_12::open(path, progress),
        TraceFormat::OpenDc => opendc::open(path, progress),
        TraceFormat::AlibabaGenAi => alibaba_genai::open(path, progress),
        TraceFormat::AzureVm => azure_vm::open(path, progress),
        TraceFormat::Recording => recording::open(path, progress),
    }?;
    Ok(Box::new(UntilError { readings: Some(readings) }))
}

/// Ends after the first error: what follows a damaged spot means nothing.
struct UntilError {
    readings: Option<Readings>,
}

impl Iterator for UntilError {
    type Item = Result<Reading, TraceError>;
    fn next(&mut self) -> Option<Self::Item> {
        let item = self.readings.as_mut()?.next();
        if !matches!(item, Some(Ok(_))) {
            self.readings = None;
        }
        item
    }
}

/// The name of the VM whose file this is: without folders, `.gz` and the extension.
fn file_stem(path: &Path) -> Result<String, TraceError> {
    let name = path.file_name().and_then(|name| name.to_str());
    let Some(name) = name else {
        return Err(
            Place::file(path).wrong(Problem::new("a name that is not UTF-8", "a file named after its VM"))
        );
    };
    let name = name.strip_suffix(".gz").unwrap_or(name);
    let stem = [".csv", ".txt"].iter().find_map(|extension| name.strip_suffix(extension)).unwrap_or(name);
    Ok(stem.to_owned())
}
