//! What is known of a VM: where each of its figures can be read.

use std::path::PathBuf;
use std::time::Duration;

use halcyon_model::{DeviceId, PciAddress, VmId};

use crate::cgroup::Group;
use crate::qmp::Client;

/// A VM and where its figures can be read. What is not there gives no figure.
#[derive(Debug, Clone)]
pub struct Guest {
    /// The VM.
    pub vm: VmId,
    /// The control group that holds all of it.
    pub group: Option<Group>,
    /// The process of its hypervisor.
    pub process: Option<Process>,
    /// Its QMP socket.
    pub qmp: Option<Client>,
    /// The QOM path of its balloon, such as `/machine/peripheral/balloon0`. A balloon that does not ask its
    /// guest for statistics yet is told to.
    pub balloon: Option<String>,
    /// Its monitoring group, as a path below the root of resctrl
    /// ([`vm_group`](crate::resctrl::vm_group) of the class that it is in now).
    pub monitoring: Option<String>,
    /// Where the bytes of its devices are counted. A device that nothing counts is left out.
    pub devices: Vec<(DeviceId, Counted)>,
    /// Its PCI functions whose links are looked at.
    pub links: Vec<PciAddress>,
    /// GPUs that it has for itself.
    pub gpus: Vec<PciAddress>,
}

impl Guest {
    /// A VM of which nothing is known yet.
    #[must_use]
    pub const fn new(vm: VmId) -> Self {
        Self {
            vm,
            group: None,
            process: None,
            qmp: None,
            balloon: None,
            monitoring: None,
            devices: Vec::new(),
            links: Vec::new(),
            gpus: Vec::new(),
        }
    }
}

/// A process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its id.
    pub pid: u32,
    /// When it was started, in ticks since boot (field 22 of `/proc/PID/stat`). Where it is not given, the
    /// process that is first seen under this id is taken to be the right one.
    pub started_ticks: Option<u64>,
    /// The threads that run its vCPUs. Where none are given, what all of its threads waited for counts.
    pub vcpus: Vec<u32>,
}

/// Where the bytes of a device are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Counted {
    /// By QEMU, under the id of a device, the name of its block node or of its drive.
    Block(String),
    /// By the VM's control group, under the number of a disk of the host.
    GroupDisk(u32, u32),
    /// By an interface of the host, such as a tap.
    Interface(String),
}

/// Where the trees of the kernel are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Roots {
    /// Processes.
    pub proc: PathBuf,
    /// Network interfaces.
    pub net: PathBuf,
    /// PCI functions.
    pub pci: PathBuf,
    /// resctrl.
    pub resctrl: PathBuf,
}

impl Default for Roots {
    /// As Linux mounts them.
    fn default() -> Self {
        Self {
            proc: "/proc".into(),
            net: "/sys/class/net".into(),
            pci: "/sys/bus/pci/devices".into(),
            resctrl: "/sys/fs/resctrl".into(),
        }
    }
}

/// How often each kind of source is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Paces {
    /// CPU time, of groups and threads.
    pub cpu: Duration,
    /// Pressure.
    pub pressure: Duration,
    /// Disks in control groups, and network interfaces.
    pub devices: Duration,
    /// The state of a process, and which threads it has. A thread that lives shorter may never be seen.
    pub process: Duration,
    /// Memory of a control group.
    pub memory: Duration,
    /// Memory of a control group in detail: the kernel adds up some sixty figures each time.
    pub memory_detail: Duration,
    /// Block devices, asked of QEMU.
    pub blocks: Duration,
    /// What guests say of their memory; also how often a balloon that asks nothing yet is told to ask.
    pub guest: Duration,
    /// Cache and memory bandwidth: costs an interrupt of a CPU of each cache.
    pub cache: Duration,
    /// PCIe links: costs an access to the function's registers.
    pub links: Duration,
    /// GPUs.
    pub gpus: Duration,
}

impl Default for Paces {
    fn default() -> Self {
        let [fast, medium, slow] = [100, 500, 1000].map(Duration::from_millis);
        Self {
            cpu: fast,
            pressure: fast,
            devices: medium,
            process: slow,
            memory: slow,
            memory_detail: Duration::from_secs(5),
            blocks: slow,
            guest: medium,
            cache: slow,
            links: slow,
            gpus: slow,
        }
    }
}
