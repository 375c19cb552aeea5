//! What is counted of a VM beyond what decisions rest on, for people to look at and for records.

use halcyon_model::{DeviceId, VmId};

use super::around::LinkState;

/// What is counted of one VM beyond its sample. Counters grow until something resets them; what could not be
/// read is none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VmDetail {
    /// The VM.
    pub vm: VmId,
    /// Memory of the hypervisor's process that is in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// Memory on the account of the control group, caches included, in bytes.
    pub charged_bytes: Option<u64>,
    /// What the working set of the sample was taken from.
    pub working_set_from: Option<WorkingSetFrom>,
    /// Page faults of the hypervisor's process that did not wait for a disk.
    pub minor_faults: Option<u64>,
    /// Page faults of the hypervisor's process that did.
    pub major_faults: Option<u64>,
    /// Page faults inside the guest that waited for a disk.
    pub guest_major_faults: Option<u64>,
    /// Bytes that the guest swapped in.
    pub guest_swapped_in_bytes: Option<u64>,
    /// Bytes that the guest swapped out.
    pub guest_swapped_out_bytes: Option<u64>,
    /// Memory that the guest has, in bytes, as it says.
    pub guest_total_bytes: Option<u64>,
    /// Memory that the guest could give without swapping, in bytes, as it says.
    pub guest_available_bytes: Option<u64>,
    /// Periods of the quota in which there was something to run.
    pub quota_periods: Option<u64>,
    /// Periods in which the quota was used up.
    pub throttled_periods: Option<u64>,
    /// Time for which the quota held it back, in microseconds, added up over CPUs. It is part of what its
    /// threads waited for.
    pub throttled_us: Option<u64>,
    /// Time in which at least one task waited for a CPU (PSI `some`), in microseconds.
    pub cpu_stalled_us: Option<u64>,
    /// Time in which all tasks stood still for memory (PSI `full`), in microseconds.
    pub memory_stalled_full_us: Option<u64>,
    /// Time in which all tasks stood still for devices (PSI `full`), in microseconds.
    pub io_stalled_full_us: Option<u64>,
    /// Bytes moved to and from the memory of its own socket.
    pub local_memory_bytes: Option<u64>,
    /// Reads and writes of its block devices and disks, by device.
    pub disk_operations: Vec<(DeviceId, u64)>,
    /// Bytes that its interfaces received and sent, as the host counts them: on a tap, what the host received
    /// is what the guest sent.
    pub network_bytes: Vec<(DeviceId, u64, u64)>,
    /// Its PCIe links.
    pub links: Vec<LinkState>,
    /// Memory of GPUs that it uses, in bytes.
    pub gpu_memory_bytes: Option<u64>,
}

/// Where a working set comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WorkingSetFrom {
    /// The guest says what it has and what it could give.
    Guest,
    /// The host's kernel aged the pages of the control group lately, and these were in use. Pages that were
    /// not aged yet are on the wrong list, so it is a rough figure.
    KernelAgeing,
}
