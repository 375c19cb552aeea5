//! Being woken when tasks of a group stand still for long enough (PSI triggers).
//!
//! A trigger lives as long as its file is open. Form and limits: the kernel's `accounting/psi.rst`: windows
//! of half a second to ten seconds, and of whole multiples of two seconds without `CAP_SYS_RESOURCE`.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::io::Errno;

use super::access::{CgroupError, failed};
use super::group::{Controller, Group};

/// When to wake.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trigger {
    /// So long did tasks stand still,
    pub stalled: Duration,
    /// within such a time.
    pub window: Duration,
    /// Whether all of them had to.
    pub all: bool,
}

/// A trigger that is set.
#[derive(Debug)]
pub struct Watch {
    file: File,
    path: PathBuf,
}

impl Trigger {
    fn text(&self) -> String {
        let kind = if self.all { "full" } else { "some" };
        // The kernel takes the last byte for the end, whatever it is.
        format!("{kind} {} {}\0", self.stalled.as_micros(), self.window.as_micros())
    }

    /// Sets the trigger on a group.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn watch(&self, group: &Group, of: Controller) -> Result<Watch, CgroupError> {
        let path = group.pressure_file(of)?;
        self.watch_file(path)
    }

    /// Sets the trigger on a pressure file.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn watch_file(&self, path: PathBuf) -> Result<Watch, CgroupError> {
        let opened = OpenOptions::new().read(true).write(true).open(&path);
        let mut file = opened.map_err(|error| failed("open", &path, error))?;
        file.write_all(self.text().as_bytes()).map_err(|error| failed("set a trigger in", &path, error))?;
        Ok(Watch { file, path })
    }
}

impl Watch {
    /// Waits until it is so; false when it was not within `patience`, or a signal came first.
    ///
    /// # Errors
    /// When the group is gone.
    pub fn wait(&self, patience: Duration) -> Result<bool, CgroupError> {
        let mut polled = [PollFd::new(&self.file, PollFlags::PRI)];
        let timeout = Timespec::try_from(patience).ok();
        match poll(&mut polled, timeout.as_ref()) {
            Err(Errno::INTR) => Ok(false),
            Err(error) => Err(failed("wait for", &self.path, error.into())),
            Ok(_) if polled[0].revents().contains(PollFlags::ERR) => {
                Err(CgroupError::Gone { path: self.path.parent().unwrap_or(&self.path).into() })
            }
            Ok(_) => Ok(polled[0].revents().contains(PollFlags::PRI)),
        }
    }
}
