//! A guest's vCPU threads apart from the rest of its process, in groups inside its own, so that a limit on
//! CPU time holds back what the guest computes and not QEMU's work for its disks and network. Weights stay
//! with the whole: they count among guests.
//!
//! Version 1 moves single threads between groups at will. Version 2 does so below a threaded domain
//! (`admin-guide/cgroup-v2.rst`, "Threads"), which the guest's group becomes by that; memory and disk
//! traffic stay its own. Groups that libvirt made are left as they are: it has such parts itself.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::access::{CgroupError, failed, text, write};
use super::group::{Controller, Group, Version};

const VCPUS: &str = "vcpus";
const REST: &str = "rest";

impl Group {
    /// The same group with its vCPU threads apart: quotas are theirs from now on. To be called again as
    /// vCPUs come and go; threads that QEMU starts later are among the rest.
    ///
    /// # Errors
    /// When the kernel does not take it, and then all threads are together again.
    pub fn split(&self, vcpus: &[u32]) -> Result<Self, CgroupError> {
        let (version, whole) = self.folder(Controller::Cpu)?;
        let parts = [VCPUS, REST].map(|name| whole.join(name));
        let done = make(version, whole, &parts).and_then(|()| sort(version, whole, &parts, vcpus));
        done.inspect_err(|_| drop(self.join()))?;
        let [quota, _] = parts;
        Ok(self.clone().with_quota_at(Some(quota)))
    }

    /// The same group with all threads together, as before [`split`](Group::split).
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn join(&self) -> Result<Self, CgroupError> {
        let (version, whole) = self.folder(Controller::Cpu)?;
        for part in [VCPUS, REST].map(|name| whole.join(name)).iter().filter(|part| part.is_dir()) {
            for thread in threads(version, part)? {
                put(version, whole, thread)?;
            }
            std::fs::remove_dir(part).map_err(|error| failed("remove", part, error))?;
        }
        Ok(self.clone().with_quota_at(None))
    }
}

fn make(version: Version, whole: &Path, parts: &[PathBuf; 2]) -> Result<(), CgroupError> {
    for part in parts {
        match std::fs::create_dir(part) {
            Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => continue,
            made => made.map_err(|error| failed("make", part, error))?,
        }
        if version == Version::V2 {
            write(&part.join("cgroup.type"), "threaded")?;
        }
    }
    if version == Version::V2 {
        let offered = text(&whole.join("cgroup.controllers"))?;
        if offered.split_whitespace().any(|name| name == "cpu") {
            write(&whole.join("cgroup.subtree_control"), "+cpu")?;
        }
    }
    Ok(())
}

/// Every thread goes where it belongs. Those that begin meanwhile are found in the next round.
fn sort(
    version: Version,
    whole: &Path,
    [vcpus, rest]: &[PathBuf; 2],
    wanted: &[u32],
) -> Result<(), CgroupError> {
    let wanted: BTreeSet<u32> = wanted.iter().copied().collect();
    for _ in 0..3 {
        let mut moved = false;
        for from in [whole, vcpus, rest] {
            for thread in threads(version, from)? {
                let to = if wanted.contains(&thread) { vcpus } else { rest };
                if to != from {
                    put(version, to, thread)?;
                    moved = true;
                }
            }
        }
        if !moved {
            break;
        }
    }
    Ok(())
}

const fn list(version: Version) -> &'static str {
    match version {
        Version::V1 => "tasks",
        Version::V2 => "cgroup.threads",
    }
}

fn threads(version: Version, folder: &Path) -> Result<Vec<u32>, CgroupError> {
    let text = text(&folder.join(list(version)))?;
    Ok(text.split_whitespace().filter_map(|thread| thread.parse().ok()).collect())
}

fn put(version: Version, folder: &Path, thread: u32) -> Result<(), CgroupError> {
    super::access::take(&folder.join(list(version)), thread)
}
