//! Whether anything on the host stood still lately, so that pressure files of groups need not be read.
//!
//! What stands still in a group stands still in every group above it, too (the kernel's `accounting/psi.rst`).
//! So while the host's own figure stays the same, that of no group has grown. A pressure file costs the kernel a
//! walk over all CPUs, and one of the host stands for those of all VMs.

use std::path::Path;
use std::time::Duration;

use crate::cgroup::Pressure;
use crate::kept::Kept;

/// More than a pressure file has.
const MOST: usize = 1024;

#[derive(Debug)]
pub(super) struct Calm {
    file: Kept,
    stalled: Option<Duration>,
    changes: u64,
}

impl Calm {
    /// Of `memory` or `io`.
    pub(super) fn new(proc: &Path, of: &str) -> Self {
        Self { file: Kept::new(proc.join("pressure").join(of)), stalled: None, changes: 0 }
    }

    /// How often the host's figure was seen to change. What cannot be read may have changed.
    pub(super) fn changes(&mut self, buffer: &mut String) -> u64 {
        let read = self.file.read(MOST, buffer).ok().and_then(|()| buffer.parse::<Pressure>().ok());
        let stalled = read.map(|pressure| pressure.some.total);
        if stalled.is_none() || stalled != self.stalled {
            self.changes += 1;
            self.stalled = stalled;
        }
        self.changes
    }
}
