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

/// A recording with `data` as the contents of its frames: each begins with its kind and, in three bytes, its
/// length. All that check sums would keep out comes through.
pub fn recording(mut data: &[u8]) -> Vec<u8> {
    let check = |bytes: &[u8]| {
        let mut crc = flate2::Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let mut file = b"\x89HREC\r\n\x1a\x01\0\0\0".to_vec();
    file.extend_from_slice(&check(&file));
    let mut number = 0_u32;
    while let [kind, low, middle, high, rest @ ..] = data {
        let length = u32::from_le_bytes([*low, *middle, *high, 0]) as usize;
        let (content, rest) = rest.split_at(length.min(rest.len()));
        let length = u32::try_from(content.len()).unwrap_or(0).to_le_bytes();
        let mut head = vec![0xf5, b'F', b'R', b'M', kind % 4, 0, 0, 0];
        for word in [number.to_le_bytes(), [0; 4], length, length, check(content)] {
            head.extend_from_slice(&word);
        }
        head.extend_from_slice(&check(&head));
        file.extend_from_slice(&head);
        file.extend_from_slice(content);
        number += 1;
        data = rest;
    }
    file
}

/// A folder in memory where there is one, since a target runs thousands of times a second.
pub fn folder() -> std::io::Result<TempDir> {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { TempDir::new_in(memory) } else { TempDir::new() }
}
