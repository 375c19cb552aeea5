//! What NVML says of a host's GPUs at one moment. What a GPU or its driver does not say is none.

use halcyon_model::PciAddress;
use serde::Serialize;

/// All GPUs at one moment.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reading {
    /// Its number; a later one has a higher.
    pub number: u64,
    /// The version of the driver.
    pub driver: Option<String>,
    /// The GPUs.
    pub gpus: Vec<GpuReading>,
    /// GPUs that could not be read at all, each with the reason.
    pub troubles: Vec<String>,
}

/// One GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GpuReading {
    /// What it is called.
    pub name: Option<String>,
    /// Its own name, which stays.
    pub uuid: Option<String>,
    /// Where it is.
    pub address: Option<PciAddress>,
    /// Share of the last moments (a sixth of a second to a second) in which something ran on it, in percent.
    /// With MIG it does not say.
    pub busy_percent: Option<u32>,
    /// Share of the last moments in which its memory was read or written, in percent.
    pub memory_busy_percent: Option<u32>,
    /// Its memory, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
    /// Bytes a second that it received over PCIe, over the last 20 ms.
    pub pcie_received_bytes_s: Option<u64>,
    /// Bytes a second that it sent over PCIe, over the last 20 ms.
    pub pcie_sent_bytes_s: Option<u64>,
    /// Generation of its PCIe link now; it goes down while the GPU is idle.
    pub link_generation: Option<u32>,
    /// Lanes of its link now.
    pub link_width: Option<u32>,
    /// The highest generation that it and its slot can have.
    pub most_link_generation: Option<u32>,
    /// The most lanes that it and its slot can have.
    pub most_link_width: Option<u32>,
    /// Whether it can be and is divided.
    pub mig: Option<Mig>,
    /// What it is divided into.
    pub mig_instances: Vec<MigInstance>,
    /// Power that it draws, in milliwatts.
    pub power_milliwatts: Option<u32>,
    /// Power that it may draw, in milliwatts.
    pub power_limit_milliwatts: Option<u32>,
    /// Temperature of its die, in degrees Celsius.
    pub temperature_celsius: Option<u32>,
    /// Processes that use it, by process and instance.
    pub processes: Vec<GpuProcess>,
    /// What went wrong first, but for what it does not support.
    pub trouble: Option<String>,
}

/// Division of a GPU into instances.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Mig {
    /// Whether it is divided now.
    pub is_enabled: bool,
    /// Whether it will be once it was reset.
    pub will_be_enabled: bool,
}

/// One instance of a divided GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct MigInstance {
    /// Its own name, which an application is given.
    pub uuid: Option<String>,
    /// Slices of compute that it has.
    pub compute_slices: Option<u32>,
    /// Slices of the GPU that it has.
    pub gpu_slices: Option<u32>,
    /// Multiprocessors that it has.
    pub multiprocessors: Option<u32>,
    /// Its memory, in bytes.
    pub memory_total_bytes: Option<u64>,
    /// Memory in use, in bytes.
    pub memory_used_bytes: Option<u64>,
}

/// One process on a GPU.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct GpuProcess {
    /// Its id on the host.
    pub pid: u32,
    /// Memory of the GPU that it has, in bytes.
    pub memory_bytes: Option<u64>,
    /// The GPU instance that it runs on.
    pub gpu_instance: Option<u32>,
    /// The compute instance that it runs on.
    pub compute_instance: Option<u32>,
    /// Share of the time since the reading before in which it ran, in percent.
    pub busy_percent: Option<u32>,
}
