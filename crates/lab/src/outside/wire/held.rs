//! Who holds what.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::LinkSetting;

/// Who holds what on a host.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Held {
    /// What each VM holds; every VM once.
    pub vms: Vec<VmHeld>,
    /// Devices that somebody owns.
    #[serde(default)]
    pub devices: Vec<DeviceHeld>,
    /// How every link is trained, in the order of the host's links. Left out: as the host started.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub links: Option<Vec<LinkSetting>>,
    /// The cache masks of every class of service, one for each socket; null for a class that is not in
    /// use. Left out: class 0 has the whole cache, and the others are not in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub classes: Option<Vec<Option<Vec<u32>>>>,
    /// GPU instances.
    #[serde(default)]
    pub gpu_instances: Vec<GpuInstance>,
}

/// What one VM holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmHeld {
    /// The VM.
    pub vm: String,
    /// The socket whose CPUs it runs on.
    #[serde(default)]
    pub socket: u32,
    /// CPU time, in thousandths of a hardware thread.
    pub cpu_milli: Grant,
    /// Memory bandwidth, in bytes per second. Left out: its reservation, up to its limit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth_bytes_per_s: Option<Grant>,
    /// Memory by node; no node twice.
    pub memory: Vec<NodeBytes>,
    /// Its class of service.
    #[serde(default)]
    pub class: u32,
}

/// What is set aside, and how far it may be exceeded while others leave theirs unused.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// What is set aside.
    pub share: u64,
    /// What is never exceeded; at least the share.
    pub ceiling: u64,
}

/// Memory on one node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeBytes {
    /// The node.
    pub node: u32,
    /// How much, in bytes.
    pub bytes: u64,
}

/// A device that a VM owns.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceHeld {
    /// The device.
    pub device: u32,
    /// The VM.
    pub owner: String,
    /// What it may move, in bytes per second.
    pub bandwidth_bytes_per_s: Grant,
}

/// A partition of a GPU.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GpuInstance {
    /// The GPU.
    pub gpu: u32,
    /// The first memory slice that it occupies.
    pub start: u32,
    /// Its profile, by its place in the GPU's list.
    pub profile: u32,
    /// The VM.
    pub owner: String,
}
