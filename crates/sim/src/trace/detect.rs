//! Telling a trace's format by its content, or by the names of the files in a folder.

use std::fs::File;
use std::io::{self, BufRead, Read};
use std::path::Path;
use std::sync::Arc;

use super::TraceFormat;
use super::alibaba_genai::is_pod_file;
use super::error::{Place, Problem, TraceError};
use super::form::VERSION_LINE;
use super::input;
use crate::recording;

const PARQUET_MAGIC: &[u8] = b"PAR1";
const TAR_MAGIC_AT: usize = 257;
const HEAD: u64 = 4096;

/// The format of the trace at `path`.
///
/// # Errors
/// If the path cannot be read or looks like none of the formats; the message lists them.
pub fn detect(path: &Path) -> Result<TraceFormat, TraceError> {
    if path.is_dir() { in_folder(path) } else { of_file(path) }
}

fn in_folder(path: &Path) -> Result<TraceFormat, TraceError> {
    if path.join("trace.parquet").is_file() {
        return Ok(TraceFormat::OpenDc);
    }
    let files = input::list(path)?;
    if files.iter().any(|file| is_pod_file(file)) {
        return Ok(TraceFormat::AlibabaGenAi);
    }
    let first = files.first().filter(|file| file.is_file());
    let format = first.map(|file| of_file(file)).transpose()?;
    format
        .filter(|format| matches!(format, TraceFormat::PlanetLab | TraceFormat::GwaT12))
        // An archive inside a folder is a trace of its own.
        .filter(|_| !first.is_some_and(|file| is_archive(file)))
        .ok_or_else(|| unknown(path))
}

fn is_archive(path: &Path) -> bool {
    input::open(path, &Arc::default()).is_ok_and(|mut bytes| looks_like_tar(&mut bytes).unwrap_or(false))
}

fn of_file(path: &Path) -> Result<TraceFormat, TraceError> {
    let place = Place::file(path);
    let mut magic = [0; 4];
    let mut file: File = input::open_plain(path)?;
    if file.read_exact(&mut magic).is_ok() && magic == PARQUET_MAGIC {
        return Ok(TraceFormat::OpenDc);
    }
    if is_pod_file(path) {
        return Ok(TraceFormat::AlibabaGenAi);
    }
    let mut bytes = input::open(path, &Arc::default())?;
    if recording::begins(bytes.fill_buf().map_err(|error| place.unreadable(error))?) {
        return Ok(TraceFormat::Recording);
    }
    if looks_like_tar(&mut bytes).map_err(|error| place.unreadable(error))? {
        return Ok(TraceFormat::PlanetLab);
    }
    let mut head = Vec::new();
    bytes.take(HEAD).read_to_end(&mut head).map_err(|error| place.unreadable(error))?;
    of_text(&head).ok_or_else(|| unknown(path))
}

fn of_text(head: &[u8]) -> Option<TraceFormat> {
    let line = head.split(|byte| *byte == b'\n').next()?;
    let line = std::str::from_utf8(line).ok()?.trim_start_matches('\u{feff}').trim();
    if line == VERSION_LINE {
        return Some(TraceFormat::Halcyon);
    }
    if line.to_lowercase().starts_with("timestamp [ms]") {
        return Some(TraceFormat::GwaT12);
    }
    if line.split(',').count() == 5 && (line.to_lowercase().starts_with("time") || starts_with_digit(line)) {
        return Some(TraceFormat::AzureVm);
    }
    (line.len() <= 3 && line.parse::<u8>().is_ok()).then_some(TraceFormat::PlanetLab)
}

fn starts_with_digit(line: &str) -> bool {
    line.starts_with(|c: char| c.is_ascii_digit())
}

/// Whether a tar archive begins here. Nothing is consumed.
pub(crate) fn looks_like_tar(bytes: &mut impl BufRead) -> io::Result<bool> {
    let head = bytes.fill_buf()?;
    Ok(head.get(TAR_MAGIC_AT..TAR_MAGIC_AT + 5).is_some_and(|magic| magic == b"ustar"))
}

fn unknown(path: &Path) -> TraceError {
    let names: Vec<_> = TraceFormat::ALL.iter().map(ToString::to_string).collect();
    Place::file(path).wrong(Problem::new(
        "content of no known format",
        format!("a trace; if it is one, name its format, which is one of: {}", names.join(", ")),
    ))
}
