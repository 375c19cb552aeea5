//! Steps as a world is asked to take them.

use schemars::JsonSchema;
use serde::Serialize;

use super::{GpuInstance, Grant, LinkSetting};

/// A step to begin.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Begun {
    /// Its id, by which later snapshots report on it.
    pub id: u64,
    /// What to do.
    #[serde(flatten)]
    pub step: Step,
    /// A step under way that this one calls off: it does not happen any more, and is not reported.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub calls_off: Option<u64>,
    /// Why, for people to read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// One change. Each says what it starts from.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case")]
#[allow(missing_docs)]
pub enum Step {
    /// Change a VM's CPU share and ceiling.
    SetCpu { vm: String, socket: u32, from_milli: Grant, to_milli: Grant },
    /// Change a VM's share and ceiling of memory bandwidth.
    SetMemoryBandwidth { vm: String, socket: u32, from_bytes_per_s: Grant, to_bytes_per_s: Grant },
    /// Move a VM to another socket.
    Place { vm: String, from: Placement, to: Placement },
    /// Change a VM's memory on one node.
    SetMemory { vm: String, node: u32, from_bytes: u64, to_bytes: u64 },
    /// Move some of a VM's memory to another node.
    MigrateMemory { vm: String, from_node: u32, to_node: u32, bytes: u64 },
    /// Begin to use a class of service; one mask for each socket.
    CreateClass { class: u32, masks: Vec<u32> },
    /// Stop using a class of service.
    RemoveClass { class: u32, masks: Vec<u32> },
    /// Change the ways of a class of service on one socket.
    SetMask { class: u32, socket: u32, from_mask: u32, to_mask: u32 },
    /// Put a VM into another class of service.
    SetClass { vm: String, from_class: u32, to_class: u32 },
    /// Take a whole IOMMU group away from a VM.
    Detach { vm: String, devices: Vec<DeviceGrant> },
    /// Give a whole IOMMU group that nobody owns to a VM.
    Attach { vm: String, devices: Vec<DeviceGrant> },
    /// Change what a device may move.
    SetDeviceBandwidth { device: u32, from_bytes_per_s: Grant, to_bytes_per_s: Grant },
    /// Retrain a link.
    SetLink { link: u32, from: LinkSetting, to: LinkSetting },
    /// Make a GPU instance and give it to its owner.
    CreateInstance { instance: GpuInstance },
    /// Take a GPU instance from its owner and dissolve it.
    DestroyInstance { instance: GpuInstance },
}

/// A VM's socket with what it holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Placement {
    /// The socket.
    pub socket: u32,
    /// CPU time there, in thousandths of a hardware thread.
    pub cpu_milli: Grant,
    /// Memory bandwidth there, in bytes per second.
    pub memory_bandwidth_bytes_per_s: Grant,
}

/// A device with what it may move.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, JsonSchema)]
pub struct DeviceGrant {
    /// The device.
    pub device: u32,
    /// What it may move, in bytes per second.
    pub bandwidth_bytes_per_s: Grant,
}
