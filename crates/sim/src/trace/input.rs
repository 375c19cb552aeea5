//! Opening a file of a trace: plain files only, gzip told by its magic bytes and never by its name.

use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use flate2::bufread::MultiGzDecoder;

use super::error::{Place, Problem, TraceError};
use super::limits::MAX_VMS;
use super::progress::{Counted, Progress};

const BUFFER: usize = 256 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// The decompressed bytes of a file.
pub(crate) type Bytes = BufReader<Box<dyn Read + Send>>;

/// Opens `path` and sees through gzip.
pub(crate) fn open(path: &Path, progress: &Arc<Progress>) -> Result<Bytes, TraceError> {
    let file = open_plain(path)?;
    decompressed(Counted::new(file, Arc::clone(progress)))
        .map_err(|error| Place::file(path).unreadable(error))
}

/// Sees through gzip, whatever the bytes come from.
pub(crate) fn decompressed(raw: impl Read + Send + 'static) -> io::Result<Bytes> {
    let mut raw = BufReader::with_capacity(BUFFER, raw);
    let zipped = raw.fill_buf()?.starts_with(&GZIP_MAGIC);
    let bytes: Box<dyn Read + Send> = if zipped { Box::new(MultiGzDecoder::new(raw)) } else { Box::new(raw) };
    Ok(BufReader::with_capacity(BUFFER, bytes))
}

/// Opens a regular file; a pipe or a device could block for ever or never end.
pub(crate) fn open_plain(path: &Path) -> Result<File, TraceError> {
    let place = Place::file(path);
    let meta = fs::metadata(path).map_err(|error| place.unreadable(error))?;
    if !meta.is_file() {
        return Err(place.wrong(Problem::new("something that is not a file", "a regular file")));
    }
    File::open(path).map_err(|error| place.unreadable(error))
}

/// The visible entries of a folder, by name; hidden ones are what desktops leave behind.
pub(crate) fn list(folder: &Path) -> Result<Vec<PathBuf>, TraceError> {
    let place = Place::file(folder);
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(|error| place.unreadable(error))? {
        let entry = entry.map_err(|error| place.unreadable(error))?;
        if entry.file_name().as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if paths.len() == MAX_VMS {
            return Err(place.wrong(Problem::new("more files", format!("at most {MAX_VMS} files"))));
        }
        paths.push(entry.path());
    }
    paths.sort();
    Ok(paths)
}
