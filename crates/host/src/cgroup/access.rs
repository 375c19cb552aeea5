//! One file of a group: read with bounds, written whole, and what went wrong with it said in full.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use super::files::OddText;
use super::group::{Controller, Version};
use crate::kept::Kept;

/// More than any file of a group has; a thread list of 100,000 threads has 700 KB.
pub(super) const MOST_BYTES: usize = 4 << 20;

/// Why a group could not be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// It is no more, as its VM ended.
    #[error("the control group {} is gone; its VM has ended or moved", path.display())]
    Gone {
        /// Its folder.
        path: PathBuf,
    },
    /// The kernel would not.
    #[error("cannot {what} {}{hint}", path.display())]
    Failed {
        /// What was tried.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// What to do about it, where that is known.
        hint: &'static str,
        /// The cause.
        #[source]
        source: io::Error,
    },
    /// A file has not the form that the kernel gives it.
    #[error("{}: {why}", path.display())]
    Odd {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        why: OddText,
    },
    /// No hierarchy with that controller.
    #[error("there is no {} controller for {group}; enable it for the group's parents", controller.name(Version::V2))]
    Missing {
        /// What.
        controller: Controller,
        /// Which group.
        group: String,
    },
}

pub(super) fn take(path: &Path, task: u32) -> Result<(), CgroupError> {
    match write(path, &task.to_string()) {
        Err(CgroupError::Failed { source, .. }) if is(&source, Errno::SRCH) => Ok(()),
        written => written,
    }
}

fn is(error: &io::Error, errno: Errno) -> bool {
    error.raw_os_error() == Some(errno.raw_os_error())
}

pub(super) fn parsed<T: std::str::FromStr<Err = OddText>>(path: &Path) -> Result<T, CgroupError> {
    text(path)?.parse().map_err(|why| CgroupError::Odd { path: path.into(), why })
}

pub(super) fn number<T: std::str::FromStr>(path: &Path) -> Result<T, CgroupError> {
    number_in(path, &text(path)?)
}

pub(super) fn number_in<T: std::str::FromStr>(path: &Path, text: &str) -> Result<T, CgroupError> {
    let odd = || CgroupError::Odd { path: path.into(), why: OddText::new(text.trim(), "a number") };
    text.trim().parse().map_err(|_| odd())
}

pub(super) fn text(path: &Path) -> Result<String, CgroupError> {
    let mut text = String::new();
    let read = Kept::new(path.into()).read(MOST_BYTES, &mut text);
    read.map(|()| text).map_err(|error| failed("read", path, error))
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), CgroupError> {
    Kept::new(path.into()).write(text).map_err(|error| failed("write", path, error))
}

pub(super) fn failed(what: &'static str, path: &Path, source: io::Error) -> CgroupError {
    let folder = path.parent().unwrap_or(path);
    // A disk that is not known is ENODEV, too.
    if (is(&source, Errno::NODEV) || is(&source, Errno::NOENT)) && !folder.exists() {
        return CgroupError::Gone { path: folder.into() };
    }
    if source.kind() == io::ErrorKind::FileTooLarge {
        let hint = ": it has more than 4 MiB, which no file of a group has";
        return CgroupError::Failed { what, path: path.into(), hint, source };
    }
    let hint = match source.raw_os_error().map(Errno::from_raw_os_error) {
        Some(Errno::NOENT) => ": its controller is not enabled for this group",
        Some(Errno::NODEV) => ": there is no such disk, or the group is just being removed",
        Some(Errno::ACCESS | Errno::PERM) => ": Halcyon needs to be root or to own the group",
        Some(Errno::BUSY) => ": a group with processes cannot have controllers below it",
        Some(Errno::INVAL) => ": the kernel does not take this value",
        Some(Errno::ROFS) => ": the hierarchy is mounted to be read only",
        _ => "",
    };
    CgroupError::Failed { what, path: path.into(), hint, source }
}
