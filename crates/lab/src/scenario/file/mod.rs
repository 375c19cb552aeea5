//! A scenario as one text that depends on nothing else: written by `halcyon scenario new`, read by all
//! that run scenarios.
//!
//! The text is TOML in sections, and comes from outside when it is read. Sections are read one by one, so
//! that no text makes the parser hold much more than the scenario itself:
//!
//! ```text
//!  schema, source, seed, duration_s, [host], [model]     the head
//!  [[profile]], [profile.cache] …                        as in the profile of an application
//!  [[vm]], [[vm.device]] …                               as in a VM file
//!  [vm.life], [vm.program], [vm.demand]                  what a VM is asked to do
//!  [vm.program.cache] …                                  how its program responds, as in a profile
//! ```
//!
//! What is drawn, written and read back is the same scenario to the bit.

mod form;
mod model;
mod parts;
mod read;
mod sections;
mod write;

use std::path::{Path, PathBuf};

use halcyon_sim::recording::{ReadError, is_recording};

use super::{Scenario, ScenarioError};

/// The version of the form that is written and read.
pub const SCHEMA: u32 = 1;

/// The longest text that is read, in bytes: 10,000 VMs over a day take some 60 million.
pub const MOST_SCENARIO_BYTES: u64 = 128 << 20;

/// Why a scenario's file cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file cannot be read.
    #[error("cannot read the scenario {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// A recording that its reader refuses.
    #[error(transparent)]
    Recording(#[from] ReadError),
    /// A recording that makes no scenario.
    #[error("{}: the recording {what}", path.display())]
    Recorded {
        /// The file.
        path: PathBuf,
        /// What is wrong with it and what would help.
        what: String,
    },
    /// Something in the text is wrong.
    #[error("{}: line {line}: {element}: {problem}", path.display())]
    Wrong {
        /// The file.
        path: PathBuf,
        /// The line, counted from 1.
        line: usize,
        /// The part that it is about.
        element: String,
        /// What is wrong and what to do about it.
        problem: String,
    },
    /// The text is well formed, but such a scenario cannot start.
    #[error("{}: the scenario cannot start", path.display())]
    Start {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: ScenarioError,
    },
    /// The scenario cannot be written in this form.
    #[error("the scenario cannot be written: {what}")]
    Form {
        /// What cannot be written and what would help.
        what: String,
    },
    /// The text cannot be written out.
    #[error("cannot write the scenario")]
    Write(#[source] std::io::Error),
}

impl Scenario {
    /// Reads a scenario from its file, or from a recording of a host, which is told by its first bytes. A
    /// recording's scenario has the seed 1.
    ///
    /// # Errors
    /// When the file cannot be read, with the first line that is wrong, or when its VMs do not fit its
    /// host.
    pub fn read(path: &Path) -> Result<Self, FileError> {
        use std::io::Read;
        if is_recording(path) {
            return Self::of_recording(path);
        }
        let unreadable = |source| FileError::Read { path: path.to_path_buf(), source };
        let mut bytes = Vec::new();
        let file = std::fs::File::open(path).map_err(unreadable)?;
        file.take(MOST_SCENARIO_BYTES + 1).read_to_end(&mut bytes).map_err(unreadable)?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let before = &error.as_bytes()[..error.utf8_error().valid_up_to()];
            let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
            wrong(
                path,
                line,
                "the file",
                "is not UTF-8 text; choose a file made by `halcyon scenario new`, or a recording",
            )
        })?;
        Self::parse(&text, path)
    }

    /// Reads a scenario from text; `path` only names it in complaints.
    ///
    /// # Errors
    /// The first line that is wrong, or why its VMs do not fit its host.
    pub fn parse(text: &str, path: &Path) -> Result<Self, FileError> {
        read::scenario(text, path)
    }

    /// Writes the scenario as text.
    ///
    /// # Errors
    /// When the text cannot be written out, the scenario has no VM or no text of its host, or would be
    /// longer than what is read.
    pub fn write(&self, out: &mut impl std::io::Write) -> Result<(), FileError> {
        write::scenario(self, out)
    }
}

/// A complaint that is short enough for a terminal and does not steer it.
fn wrong(path: &Path, line: usize, element: &str, problem: &str) -> FileError {
    const MOST_CHARS: usize = 400;
    let printable = |text: &str| {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        text.chars().take(MOST_CHARS).map(clean).collect::<String>().trim().to_owned()
    };
    FileError::Wrong {
        path: path.to_path_buf(),
        line,
        element: printable(element),
        problem: printable(problem),
    }
}
