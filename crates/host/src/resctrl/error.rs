//! Why resctrl could not be read or changed.

use std::io;
use std::path::PathBuf;

use super::schemata::SchemataError;

/// Why resctrl could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no resctrl at this place.
    #[error("resctrl is not mounted at {}: mount it with `mount -t resctrl resctrl {}`", root.display(), root.display())]
    NotMounted {
        /// Where it was looked for.
        root: PathBuf,
    },
    /// A file or folder would not let itself be used.
    #[error("cannot {operation} {}{}", path.display(), Said(status.as_deref()))]
    Access {
        /// What was tried: read, write, make, remove, list.
        operation: &'static str,
        /// On what.
        path: PathBuf,
        /// What the kernel says of its last command (`info/last_cmd_status`), where it says anything.
        status: Option<String>,
        /// What the operating system said.
        #[source]
        source: io::Error,
    },
    /// A file holds something else than its documentation says.
    #[error("{} has `{found}` where {expected} should be: is this resctrl of a kernel of 4.10 or later?", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// The start of what is there.
        found: String,
        /// What should be there.
        expected: &'static str,
    },
    /// A schemata file cannot be understood.
    #[error("cannot understand {}", path.display())]
    Schemata {
        /// The file.
        path: PathBuf,
        /// Where and why.
        #[source]
        source: SchemataError,
    },
    /// The caches do not fit the sockets of the host.
    #[error("the caches do not fit the sockets: {why}")]
    Sockets {
        /// What does not fit.
        why: String,
    },
}

impl Error {
    /// What the operating system said, if it was asked.
    #[must_use]
    pub fn kind(&self) -> Option<io::ErrorKind> {
        match self {
            Self::Access { source, .. } => Some(source.kind()),
            _ => None,
        }
    }

    pub(super) fn is(&self, errno: rustix::io::Errno) -> bool {
        matches!(self, Self::Access { source, .. } if rustix::io::Errno::from_io_error(source) == Some(errno))
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is(rustix::io::Errno::NOENT) || self.kind() == Some(io::ErrorKind::NotFound)
    }
}

struct Said<'a>(Option<&'a str>);

impl std::fmt::Display for Said<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.map_or(Ok(()), |said| write!(f, " (the kernel says: {said})"))
    }
}

/// The start of a hostile text, on one line.
pub(super) fn start_of(text: &str) -> String {
    text.trim().chars().take(60).map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
