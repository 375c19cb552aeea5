//! Where sockets of guests are looked for.

use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

/// More sockets than one host has guests.
const MOST: usize = 10_000;
/// How sockets in folders are called.
const ENDINGS: [&str; 3] = ["qmp", "sock", "monitor"];

/// Where sockets are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// All sockets in a folder that are called `*.qmp`, `*.sock` or `*.monitor`.
    Folder(PathBuf),
    /// This one.
    Socket(PathBuf),
}

/// Why a place cannot be looked at.
#[derive(Debug, thiserror::Error)]
#[error("cannot look for sockets of guests in {}", folder.display())]
pub struct PlaceError {
    folder: PathBuf,
    source: std::io::Error,
}

impl Place {
    /// The sockets that are there now. A folder that is not there yet has none.
    ///
    /// # Errors
    /// When the folder cannot be read.
    pub(super) fn sockets(&self) -> Result<Vec<PathBuf>, PlaceError> {
        let folder = match self {
            Self::Socket(path) => return Ok(if is_socket(path) { vec![path.clone()] } else { Vec::new() }),
            Self::Folder(folder) => folder,
        };
        let failed = |source| PlaceError { folder: folder.clone(), source };
        let entries = match std::fs::read_dir(folder) {
            Ok(entries) => entries,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            Err(error) => return Err(failed(error)),
        };
        let mut sockets = Vec::new();
        for entry in entries.take(MOST) {
            let path = entry.map_err(failed)?.path();
            if has_ending(&path) && is_socket(&path) {
                sockets.push(path);
            }
        }
        Ok(sockets)
    }

    /// Whether a socket is at this place, were it there.
    pub(super) fn holds(&self, socket: &Path) -> bool {
        match self {
            Self::Socket(path) => path == socket,
            Self::Folder(folder) => socket.parent() == Some(folder) && has_ending(socket),
        }
    }
}

fn has_ending(path: &Path) -> bool {
    path.extension().and_then(|ending| ending.to_str()).is_some_and(|ending| ENDINGS.contains(&ending))
}

fn is_socket(path: &Path) -> bool {
    path.metadata().is_ok_and(|metadata| metadata.file_type().is_socket())
}
