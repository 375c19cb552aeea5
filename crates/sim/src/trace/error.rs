//! What can go wrong with a trace, always naming the place in the file and what was expected there.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

/// A spot in a trace: the file, the entry inside an archive, and the line or the row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file or folder as the caller named it.
    pub path: PathBuf,
    /// The entry of a tar archive.
    pub entry: Option<String>,
    /// The line of a text file, counted from 1.
    pub line: Option<u64>,
    /// The row of a Parquet file, counted from 1.
    pub row: Option<u64>,
}

impl Place {
    /// A whole file or folder.
    #[must_use]
    pub fn file(path: &Path) -> Self {
        Self { path: path.to_path_buf(), entry: None, line: None, row: None }
    }

    /// The same file at one line.
    #[must_use]
    pub fn at_line(&self, line: u64) -> Self {
        Self { line: Some(line), ..self.clone() }
    }

    /// The same file at one row.
    #[must_use]
    pub fn at_row(&self, row: u64) -> Self {
        Self { row: Some(row), ..self.clone() }
    }

    pub(crate) fn in_entry(&self, entry: &str) -> Self {
        Self { entry: Some(shown(entry.as_bytes())), line: None, row: None, ..self.clone() }
    }

    pub(crate) fn wrong(&self, problem: Problem) -> TraceError {
        TraceError::Malformed {
            place: Box::new(self.clone()),
            found: problem.found,
            expected: problem.expected,
        }
    }

    pub(crate) fn unreadable(&self, source: io::Error) -> TraceError {
        TraceError::Read { place: Box::new(self.clone()), source }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.path.display())?;
        if let Some(entry) = &self.entry {
            write!(f, ", entry {entry}")?;
        }
        if let Some(line) = self.line {
            write!(f, ", line {line}")?;
        }
        if let Some(row) = self.row {
            write!(f, ", row {row}")?;
        }
        Ok(())
    }
}

/// Why a trace cannot be imported, collected or written.
#[derive(Debug, thiserror::Error)]
pub enum TraceError {
    /// The operating system or a decompressor failed.
    #[error("cannot read {place}")]
    Read {
        /// Where reading stopped.
        place: Box<Place>,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// The content is not what the format says.
    #[error("{place}: found {found}, expected {expected}")]
    Malformed {
        /// Where.
        place: Box<Place>,
        /// What stands there, shortened and with control characters escaped.
        found: String,
        /// What the format wants there.
        expected: String,
    },
    /// A Parquet file that its decoder refuses.
    #[error("cannot decode {place} as Parquet")]
    Parquet {
        /// Where.
        place: Box<Place>,
        /// The decoder's complaint.
        #[source]
        source: parquet::errors::ParquetError,
    },
    /// A recording that its reader refuses.
    #[error(transparent)]
    Recording(#[from] crate::recording::ReadError),
    /// The output could not be written.
    #[error("cannot write the trace")]
    Write {
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// What the caller asked for makes no sense.
    #[error("{what}")]
    Request {
        /// What is wrong with it and what to ask instead.
        what: String,
    },
}

/// A malformed spot before its place is known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) found: String,
    pub(crate) expected: String,
}

impl Problem {
    pub(crate) fn new(found: impl Into<String>, expected: impl Into<String>) -> Self {
        Self { found: found.into(), expected: expected.into() }
    }

    /// A field whose bytes are not `expected`.
    pub(crate) fn field(raw: &[u8], expected: impl Into<String>) -> Self {
        Self::new(quoted(raw), expected)
    }
}

const SHOWN: usize = 60;

/// Bytes from outside made fit for a message: escaped and shortened.
pub(crate) fn shown(raw: &[u8]) -> String {
    let head = &raw[..raw.len().min(SHOWN)];
    let text: String = String::from_utf8_lossy(head).chars().flat_map(escape).collect();
    if raw.len() > SHOWN { format!("{text}… ({} bytes)", raw.len()) } else { text }
}

fn escape(c: char) -> Box<dyn Iterator<Item = char>> {
    if c.is_control() { Box::new(c.escape_default()) } else { Box::new(std::iter::once(c)) }
}

fn quoted(raw: &[u8]) -> String {
    if raw.is_empty() { "nothing".into() } else { format!("`{}`", shown(raw)) }
}
