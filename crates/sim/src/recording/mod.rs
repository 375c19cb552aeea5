//! Recordings of a host: everything that was read of it, cycle by cycle, in one file that survives a crash.
//!
//! ```text
//!  head │ key frame │ frame │ frame │ … │ key frame │ frame │ … │ end
//!         inventory   snapshots, as differences
//!         snapshots
//! ```
//!
//! A [`Writer`] is handed what a host's `Observe` gave; a [`Reader`] gives it back bit for bit, and a
//! [`Replay`] is a host that gives it once more. A frame needs nothing but the last key frame. What a
//! crash tore off at the end is recognised, told and left out; what was damaged later is an error.
//! The form is described in `docs/src/recordings.md`.

mod frame;
mod inventory;
mod read;
mod replay;
mod snapshot;
mod wire;
mod write;

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

pub use frame::{MAGIC, VERSION};
pub use read::{Reader, Recorded};
pub use replay::Replay;
pub use write::{Durable, Tally, Writer};

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The operating system or a decompressor failed.
    #[error("cannot read the recording {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// It does not begin as a recording does.
    #[error("{} is no recording: {what}; name a file of `halcyon record`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        what: String,
    },
    /// Something in it is not as it was written.
    #[error("{}: frame {frame} at byte {at}: {what}; take a copy of the file that is not damaged", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The number of the frame, from 0.
        frame: u32,
        /// Where the frame begins.
        at: u64,
        /// What is wrong.
        what: String,
    },
}

/// Why something was not recorded.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error("cannot write the recording")]
    Write(#[from] io::Error),
    /// It is not what a host can have been; the recording is as before.
    #[error("what was read of the host cannot be recorded: {what}")]
    Unfit {
        /// What is wrong with it.
        what: String,
    },
}

/// How a recording ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// As its writer left it.
    Closed,
    /// Behind a whole frame, without its writer having ended it.
    Unclosed,
    /// In the midst of what was being written.
    Torn {
        /// Where the last whole frame ends.
        at: u64,
        /// How many bytes behind that were left out.
        bytes: u64,
    },
}

/// What to tell people; nothing is worth telling of a recording that was closed.
impl fmt::Display for Ending {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("closed"),
            Self::Unclosed => f.write_str(
                "not closed: its writer was cut off, or is still at it; all that it wrote is whole",
            ),
            Self::Torn { at, bytes } => {
                write!(
                    f,
                    "torn off at byte {at}: its writer was cut off, or is still at it; {bytes} bytes were left out"
                )
            }
        }
    }
}

/// Whether these first bytes of a file are those of a recording.
#[must_use]
pub fn begins(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whether a file is a recording, by its first bytes, also within gzip; not if it cannot be read.
#[must_use]
pub fn is_recording(path: &Path) -> bool {
    use io::BufRead;
    let bytes = crate::trace::input::open(path, &std::sync::Arc::default());
    bytes.is_ok_and(|mut bytes| bytes.fill_buf().is_ok_and(begins))
}
