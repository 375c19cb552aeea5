//! Control groups, version 2 and version 1: CPU time, CPUs, memory and disk traffic of a guest's threads.
//!
//! A [`Tree`] says which version has which controller on this machine and where a process is in it; a
//! [`Group`] is one group in all of them, with each file's form in one place; the drivers change what a VM
//! holds through its group. Forms: the kernel's `admin-guide/cgroup-v2.rst` and `admin-guide/cgroup-v1/`.

mod access;
mod counting;
mod cpu;
mod cpu_files;
mod cpuset;
mod disk;
mod files;
mod group;
mod pressure;
mod split;
mod statistics;
mod tree;

pub use access::CgroupError;
pub use counting::CountFiles;
pub use cpu::{CpuDriver, SocketCpus};
pub use cpu_files::CpuFiles;
pub use disk::{Disk, DiskDriver};
pub use files::{CpuMax, IoMax, Limit, NumberList, OddText};
pub use group::{Controller, Group, Version};
pub use pressure::{Trigger, Watch};
pub use statistics::{CpuStat, DiskStat, MemoryStat, Pressure, Stalled};
pub use tree::{Layout, Tree};
