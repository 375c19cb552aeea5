//! Which threads a VM has.

use std::collections::BTreeMap;
use std::path::PathBuf;

use halcyon_model::VmId;

use super::files::{Disk, Files};
use super::info::parse_number;

/// Tells the threads of VMs, which come and go.
pub trait Threads: Send {
    /// The ids of all threads of a VM's process now; nothing where it does not run.
    fn of(&self, vm: VmId) -> Option<Vec<u32>>;
}

/// Threads as the kernel lists them below `/proc`.
#[derive(Debug, Clone)]
pub struct ProcThreads {
    files: Disk,
    /// The process of each VM.
    pub processes: BTreeMap<VmId, u32>,
}

impl ProcThreads {
    /// Nobody's threads as yet, below `root`, which is `/proc` but for tests.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { files: Disk::new(root), processes: BTreeMap::new() }
    }
}

impl Threads for ProcThreads {
    fn of(&self, vm: VmId) -> Option<Vec<u32>> {
        let process = self.processes.get(&vm)?;
        let entries = self.files.list(&format!("{process}/task")).ok()?;
        let threads: Vec<u32> = entries.iter().filter_map(|entry| parse_number(&entry.name)).collect();
        (!threads.is_empty()).then_some(threads)
    }
}
