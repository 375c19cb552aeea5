//! One group on disk, whichever version has its controllers.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::access::{CgroupError, number, parsed, take, text, write};
use super::cpuset;
use super::files::{IoMax, Limit, NumberList, device_limit};
use super::statistics::{CpuStat, Pressure};

/// Version 1 has no word for no limit: it says the most whole pages of any size below 2^63 bytes.
const NO_LIMIT_V1: u64 = (1 << 63) - (1 << 16);

/// Which version of control groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// One hierarchy for each controller.
    V1,
    /// One hierarchy for all.
    V2,
}

/// What a group can limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Controller {
    /// CPU time.
    Cpu,
    /// Which CPUs and memory nodes.
    Cpuset,
    /// Memory.
    Memory,
    /// Disk traffic.
    Io,
}

impl Controller {
    /// Every one.
    pub const ALL: [Self; 4] = [Self::Cpu, Self::Cpuset, Self::Memory, Self::Io];

    /// Its name in a version.
    #[must_use]
    pub const fn name(self, version: Version) -> &'static str {
        match (self, version) {
            (Self::Cpu, _) => "cpu",
            (Self::Cpuset, _) => "cpuset",
            (Self::Memory, _) => "memory",
            (Self::Io, Version::V1) => "blkio",
            (Self::Io, Version::V2) => "io",
        }
    }
}

/// One group, in every hierarchy that has a controller for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Group {
    folders: BTreeMap<Controller, (Version, PathBuf)>,
    name: String,
    /// Where its quota of CPU time is, if not with the rest.
    quota: Option<PathBuf>,
}

impl Group {
    /// A group with these folders.
    #[must_use]
    pub fn new(name: &str, folders: BTreeMap<Controller, (Version, PathBuf)>) -> Self {
        Self { folders, name: name.into(), quota: None }
    }

    pub(super) fn with_quota_at(self, quota: Option<PathBuf>) -> Self {
        Self { quota, ..self }
    }

    /// Where quotas of CPU time are set and counted: the group itself, or the part with its vCPUs.
    ///
    /// # Errors
    /// When there is no controller for CPU time.
    pub fn quota_folder(&self) -> Result<(Version, &Path), CgroupError> {
        let (version, folder) = self.folder(Controller::Cpu)?;
        Ok((version, self.quota.as_deref().unwrap_or(folder)))
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether it can limit this.
    #[must_use]
    pub fn has(&self, controller: Controller) -> bool {
        self.folders.contains_key(&controller)
    }

    /// The version and folder for a controller.
    ///
    /// # Errors
    /// When there is none.
    pub fn folder(&self, controller: Controller) -> Result<(Version, &Path), CgroupError> {
        let found = self.folders.get(&controller).map(|(version, folder)| (*version, folder.as_path()));
        found.ok_or_else(|| CgroupError::Missing { controller, group: self.name.clone() })
    }

    /// Its folders, each once.
    pub fn folders(&self) -> impl Iterator<Item = (Version, &Path)> {
        let mut folders: Vec<_> =
            self.folders.values().map(|(version, path)| (*version, path.as_path())).collect();
        folders.sort_by_key(|(_, path)| *path);
        folders.dedup();
        folders.into_iter()
    }

    /// CPU time used where its quota is, and how often and how long the quota held it back.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cpu_stat(&self) -> Result<CpuStat, CgroupError> {
        let (_, folder) = self.quota_folder()?;
        Ok(CpuStat::of(&text(&folder.join("cpu.stat"))?))
    }

    /// The CPUs that it may run on; none when it may run where its parent may.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cpus(&self) -> Result<NumberList, CgroupError> {
        let (_, folder) = self.folder(Controller::Cpuset)?;
        parsed(&folder.join("cpuset.cpus"))
    }

    /// Sets the CPUs that it may run on. Version 1 wants groups inside to have no others: those that
    /// would have are given the same, as libvirt's groups of vCPUs are.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn set_cpus(&self, cpus: &NumberList) -> Result<(), CgroupError> {
        let (version, folder) = self.folder(Controller::Cpuset)?;
        cpuset::set(version, folder, "cpuset.cpus", cpus)
    }

    /// The memory nodes that it may use.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn nodes(&self) -> Result<NumberList, CgroupError> {
        let (_, folder) = self.folder(Controller::Cpuset)?;
        parsed(&folder.join("cpuset.mems"))
    }

    /// Sets the memory nodes that it may use from now on.
    ///
    /// # Errors
    /// When the kernel does not take them.
    pub fn set_nodes(&self, nodes: &NumberList) -> Result<(), CgroupError> {
        let (version, folder) = self.folder(Controller::Cpuset)?;
        cpuset::set(version, folder, "cpuset.mems", nodes)
    }

    /// Memory that it has now, in bytes, caches included.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory(&self) -> Result<u64, CgroupError> {
        let (version, folder) = self.folder(Controller::Memory)?;
        let name = if version == Version::V2 { "memory.current" } else { "memory.usage_in_bytes" };
        number(&folder.join(name))
    }

    /// What it cannot exceed, in bytes.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory_max(&self) -> Result<Limit, CgroupError> {
        self.memory_limit("memory.max", "memory.limit_in_bytes")
    }

    /// Sets what it cannot exceed, in bytes. The kernel takes pages back before this returns, which may
    /// last: to be called where nobody waits.
    ///
    /// # Errors
    /// When the kernel does not take it; version 1 says so when pages cannot be taken back.
    pub fn set_memory_max(&self, max: Limit) -> Result<(), CgroupError> {
        self.set_memory_limit("memory.max", "memory.limit_in_bytes", max)
    }

    /// Above what its pages are taken back and it is slowed down, in bytes; in version 1 only the soft
    /// limit, which counts when the machine is short of memory.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory_high(&self) -> Result<Limit, CgroupError> {
        self.memory_limit("memory.high", "memory.soft_limit_in_bytes")
    }

    /// Sets it. May last, like [`set_memory_max`](Group::set_memory_max).
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_memory_high(&self, high: Limit) -> Result<(), CgroupError> {
        self.set_memory_limit("memory.high", "memory.soft_limit_in_bytes", high)
    }

    /// What is not taken back from it as long as others have more, in bytes; version 2 only.
    ///
    /// # Errors
    /// When there is no such limit, or it cannot be read.
    pub fn memory_low(&self) -> Result<Limit, CgroupError> {
        parsed(&self.memory_v2()?.join("memory.low"))
    }

    /// Sets what is not taken back from it as long as others have more; version 2 only.
    ///
    /// # Errors
    /// When there is no such limit, or the kernel does not take it.
    pub fn set_memory_low(&self, low: Limit) -> Result<(), CgroupError> {
        write(&self.memory_v2()?.join("memory.low"), &low.to_string())
    }

    fn memory_v2(&self) -> Result<&Path, CgroupError> {
        match self.folder(Controller::Memory)? {
            (Version::V2, folder) => Ok(folder),
            _ => Err(CgroupError::Missing { controller: Controller::Memory, group: self.name.clone() }),
        }
    }

    fn memory_limit(&self, v2: &str, v1: &str) -> Result<Limit, CgroupError> {
        match self.folder(Controller::Memory)? {
            (Version::V2, folder) => parsed(&folder.join(v2)),
            (Version::V1, folder) => {
                let bytes = number(&folder.join(v1))?;
                Ok(if bytes >= NO_LIMIT_V1 { Limit::None } else { Limit::At(bytes) })
            }
        }
    }

    fn set_memory_limit(&self, v2: &str, v1: &str, limit: Limit) -> Result<(), CgroupError> {
        match (self.folder(Controller::Memory)?, limit) {
            ((Version::V2, folder), limit) => write(&folder.join(v2), &limit.to_string()),
            ((Version::V1, folder), Limit::None) => write(&folder.join(v1), "-1"),
            ((Version::V1, folder), Limit::At(bytes)) => write(&folder.join(v1), &bytes.to_string()),
        }
    }

    /// What it may do with a disk.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn io_max(&self, disk: (u32, u32)) -> Result<IoMax, CgroupError> {
        let (version, folder) = self.folder(Controller::Io)?;
        let odd = |path: &Path| {
            let path = path.to_path_buf();
            move |why| CgroupError::Odd { path, why }
        };
        if version == Version::V2 {
            let path = folder.join("io.max");
            return IoMax::of(&text(&path)?, disk).map_err(odd(&path));
        }
        let limit = |name: &str| {
            let path = folder.join(name);
            device_limit(&text(&path)?, disk).map_err(odd(&path))
        };
        Ok(IoMax {
            read_bytes: limit("blkio.throttle.read_bps_device")?,
            write_bytes: limit("blkio.throttle.write_bps_device")?,
            reads: limit("blkio.throttle.read_iops_device")?,
            writes: limit("blkio.throttle.write_iops_device")?,
            disk,
        })
    }

    /// Sets what it may do with a disk.
    ///
    /// # Errors
    /// When the kernel does not take it.
    pub fn set_io_max(&self, max: IoMax) -> Result<(), CgroupError> {
        let (version, folder) = self.folder(Controller::Io)?;
        if version == Version::V2 {
            return write(&folder.join("io.max"), &max.to_string());
        }
        let (major, minor) = max.disk;
        let set = |name: &str, limit| {
            // Zero takes the limit away.
            let limit = if let Limit::At(limit) = limit { limit } else { 0 };
            write(&folder.join(name), &format!("{major}:{minor} {limit}"))
        };
        set("blkio.throttle.read_bps_device", max.read_bytes)?;
        set("blkio.throttle.write_bps_device", max.write_bytes)?;
        set("blkio.throttle.read_iops_device", max.reads)?;
        set("blkio.throttle.write_iops_device", max.writes)
    }

    /// How long its tasks stood still for want of CPU time, memory or disk; version 2 only.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pressure(&self, of: Controller) -> Result<Pressure, CgroupError> {
        parsed(&self.pressure_file(of)?)
    }

    pub(super) fn pressure_file(&self, of: Controller) -> Result<PathBuf, CgroupError> {
        match self.folder(of)? {
            (Version::V2, folder) => Ok(folder.join(format!("{}.pressure", of.name(Version::V2)))),
            _ => Err(CgroupError::Missing { controller: of, group: self.name.clone() }),
        }
    }

    /// The threads in it, under a controller.
    ///
    /// # Errors
    /// When they cannot be read.
    pub fn threads(&self, controller: Controller) -> Result<Vec<u32>, CgroupError> {
        let (version, folder) = self.folder(controller)?;
        let path = folder.join(if version == Version::V2 { "cgroup.threads" } else { "tasks" });
        let text = text(&path)?;
        Ok(text.lines().filter_map(|line| line.trim().parse().ok()).collect())
    }

    /// Moves a process with all its threads into it, in every hierarchy.
    ///
    /// # Errors
    /// When the kernel does not take it; a process that has ended is no error.
    pub fn take_process(&self, pid: u32) -> Result<(), CgroupError> {
        self.folders().try_for_each(|(_, folder)| take(&folder.join("cgroup.procs"), pid))
    }

    /// Moves one thread into it under a controller. In version 2 both its old group and this one have to be
    /// in one threaded subtree.
    ///
    /// # Errors
    /// When the kernel does not take it; a thread that has ended is no error.
    pub fn take_thread(&self, controller: Controller, tid: u32) -> Result<(), CgroupError> {
        let (version, folder) = self.folder(controller)?;
        take(&folder.join(if version == Version::V2 { "cgroup.threads" } else { "tasks" }), tid)
    }
}
