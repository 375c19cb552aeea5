//! A guest's process in a control group of its own, for as long as the value lives.

use std::path::Path;

use halcyon_host::cgroup::{Group, Tree};

/// A control group with one guest's process in it.
#[derive(Debug)]
pub(crate) struct Adopted {
    tree: Tree,
    origin: Group,
    /// The group.
    pub(crate) group: Group,
    pid: u32,
}

impl Adopted {
    /// Moves a process into a group made for it.
    ///
    /// # Errors
    /// When this machine lets no group be made.
    pub(crate) fn new(pid: u32) -> anyhow::Result<Self> {
        let tree = Tree::open(Path::new("/sys/fs/cgroup"), Path::new("/proc"));
        let (origin, _) = tree.find(pid)?;
        let (group, _) = tree.adopt(pid, &format!("lab-{pid}"))?;
        Ok(Self { tree, origin, group, pid })
    }
}

impl Drop for Adopted {
    fn drop(&mut self) {
        if self.group == self.origin {
            return;
        }
        let _ = self.group.join();
        let _ = self.origin.take_process(self.pid);
        // It fails only where a process is left, which then outlives the lab and would be seen.
        let _ = self.tree.remove(&self.group);
    }
}
