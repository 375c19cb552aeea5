//! What the fuzz targets share: bytes become files of a trace, and are read to their end.

use std::fs;
use std::path::Path;

use halcyon_sim::trace::{self, Selection, TraceFormat, TraceSet};
use tempfile::TempDir;

/// Imports `data` as a file called `name`; any outcome but a panic or endless memory is fine.
pub fn import(data: &[u8], name: &str, format: TraceFormat) {
    let Ok(folder) = folder() else { return };
    let path = folder.path().join(name);
    if fs::write(&path, data).is_err() {
        return;
    }
    let _ = trace::detect(&path);
    read(&path, format);
}

/// Imports the trace at `path` and collects it onto a grid.
pub fn read(path: &Path, format: TraceFormat) {
    let Ok(readings) = trace::open(path, Some(format)) else { return };
    let selection = Selection::new(8, std::time::Duration::from_secs(86_400), 1);
    let _ = TraceSet::collect(readings, &selection, path);
}

/// A folder in memory where there is one, since a target runs thousands of times a second.
pub fn folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}
