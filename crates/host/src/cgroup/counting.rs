//! The files of a group that count what its tasks used and waited for, kept open: they are read many times a
//! second for as long as a VM lives. What a version or a kernel does not have is none, and no error.

use std::path::Path;
use std::time::Duration;

use super::access::{CgroupError, MOST_BYTES, failed, number_in};
use super::group::{Controller, Group, Version};
use super::statistics::{CpuStat, DiskStat, MemoryStat, Pressure};
use crate::kept::Kept;

/// The counting files of one group. The text of each file goes through a buffer of the caller's, so that one
/// serves all groups.
#[derive(Debug)]
pub struct CountFiles {
    cpu: Option<Kept>,
    /// Version 1, where it has the accounts of CPU time in the same hierarchy as its shares.
    cpu_used: Option<Kept>,
    is_cpu_v2: bool,
    memory: Option<(Version, Kept, Kept)>,
    pressure: [Option<Kept>; 3],
    disk: Vec<Kept>,
}

impl CountFiles {
    /// The files of a group.
    #[must_use]
    pub fn of(group: &Group) -> Self {
        let folder = |controller| group.folder(controller).ok();
        let cpu = folder(Controller::Cpu);
        let cpu_used = |(version, folder): (Version, &Path)| {
            let path = folder.join("cpuacct.usage");
            (version == Version::V1 && path.exists()).then(|| Kept::new(path))
        };
        let memory = |(version, folder): (Version, &Path)| {
            let name = if version == Version::V2 { "memory.current" } else { "memory.usage_in_bytes" };
            (version, Kept::new(folder.join(name)), Kept::new(folder.join("memory.stat")))
        };
        let pressure = |controller| group.pressure_file(controller).ok().map(Kept::new);
        Self {
            is_cpu_v2: cpu.is_some_and(|(version, _)| version == Version::V2),
            cpu_used: cpu.and_then(cpu_used),
            cpu: cpu.map(|(_, folder)| Kept::new(folder.join("cpu.stat"))),
            memory: folder(Controller::Memory).map(memory),
            pressure: [Controller::Cpu, Controller::Memory, Controller::Io].map(pressure),
            disk: folder(Controller::Io).map_or_else(Vec::new, disk_files),
        }
    }

    /// Whether the group has an account of the CPU time that it used.
    #[must_use]
    pub fn counts_cpu(&self) -> bool {
        self.is_cpu_v2 || self.cpu_used.is_some()
    }

    /// CPU time used, and how often and how long the quota held it back.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn cpu(&mut self, buffer: &mut String) -> Result<Option<CpuStat>, CgroupError> {
        let Some(file) = &mut self.cpu else { return Ok(None) };
        let mut stat = CpuStat::of(read(file, buffer)?);
        if let Some(file) = &mut self.cpu_used {
            let used = read(file, buffer)?;
            stat.used = Some(Duration::from_nanos(number_in(file.path(), used)?));
        }
        Ok(Some(stat))
    }

    /// How long its tasks stood still for want of CPU time, memory or disk. None in version 1, and where the
    /// kernel was started or built without pressure figures.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn pressure(&mut self, of: Controller, buffer: &mut String) -> Result<Option<Pressure>, CgroupError> {
        let index = match of {
            Controller::Cpu => 0,
            Controller::Memory => 1,
            Controller::Io => 2,
            Controller::Cpuset => return Ok(None),
        };
        let Some(file) = &mut self.pressure[index] else { return Ok(None) };
        let text = read(file, buffer)?;
        text.parse().map(Some).map_err(|why| CgroupError::Odd { path: file.path().into(), why })
    }

    /// Memory that it has now, in bytes, caches included.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory(&mut self, buffer: &mut String) -> Result<Option<u64>, CgroupError> {
        let Some((_, file, _)) = &mut self.memory else { return Ok(None) };
        let text = read(file, buffer)?;
        number_in(file.path(), text).map(Some)
    }

    /// Its memory in detail.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn memory_stat(&mut self, buffer: &mut String) -> Result<Option<MemoryStat>, CgroupError> {
        let Some((version, _, file)) = &mut self.memory else { return Ok(None) };
        Ok(Some(MemoryStat::of(read(file, buffer)?, *version)))
    }

    /// What it moved to and from disks, one figure for each of `disks` that it has used.
    ///
    /// # Errors
    /// When it cannot be read.
    pub fn disks<T: Copy>(
        &mut self,
        disks: &[(T, (u32, u32))],
        buffer: &mut String,
    ) -> Result<Vec<(T, DiskStat)>, CgroupError> {
        let moved = |of: &dyn Fn((u32, u32)) -> Option<DiskStat>| {
            disks.iter().filter_map(|(name, disk)| Some((*name, of(*disk)?))).collect()
        };
        match self.disk.as_mut_slice() {
            [file] => {
                let text = read(file, buffer)?;
                Ok(moved(&|disk| DiskStat::of(text, disk)))
            }
            [bytes, operations] => {
                let bytes = read(bytes, buffer)?.to_owned();
                let operations = read(operations, buffer)?;
                Ok(moved(&|disk| DiskStat::of_v1(&bytes, operations, disk)))
            }
            _ => Ok(Vec::new()),
        }
    }
}

/// One file in version 2. In version 1 those that count groups below it too, where the kernel has them.
fn disk_files((version, folder): (Version, &Path)) -> Vec<Kept> {
    if version == Version::V2 {
        return vec![Kept::new(folder.join("io.stat"))];
    }
    let with_below = folder.join("blkio.throttle.io_service_bytes_recursive").exists();
    let suffix = if with_below { "_recursive" } else { "" };
    ["io_service_bytes", "io_serviced"]
        .map(|name| Kept::new(folder.join(format!("blkio.throttle.{name}{suffix}"))))
        .into()
}

fn read<'a>(file: &mut Kept, buffer: &'a mut String) -> Result<&'a str, CgroupError> {
    file.read(MOST_BYTES, buffer).map_err(|error| failed("read", file.path(), error))?;
    Ok(buffer)
}
