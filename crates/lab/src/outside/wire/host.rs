//! The host: sockets, memory, fabric, GPUs, and what can be changed on it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{one, yes};

/// A host. Whatever refers to a part does so by its place in the list of its kind, counted from 0.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Host {
    /// What people call it.
    pub name: String,
    /// The CPU sockets, 1 to 64.
    pub sockets: Vec<Socket>,
    /// The memory nodes, 1 to 1024; every socket needs one of its own.
    pub memory: Vec<Node>,
    /// The cost of reaching each node from each socket in ACPI SLIT units, 10 to 255; a row for each
    /// socket. Left out: 10 for a socket's own, 21 for another's, 28 for CXL.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub distances: Option<Vec<Vec<u32>>>,
    /// The PCIe/CXL fabric.
    #[serde(default)]
    pub fabric: Fabric,
    /// GPUs that can be divided.
    #[serde(default)]
    pub gpus: Vec<Gpu>,
}

/// A CPU socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Socket {
    /// What people call it.
    pub name: String,
    /// Physical cores.
    pub cores: u32,
    /// Hardware threads of each core.
    #[serde(default = "one")]
    pub threads_per_core: u32,
    /// CPU time kept for the host itself, in thousandths of a hardware thread.
    #[serde(default)]
    pub host_cpu_milli: u64,
    /// The last-level cache, where its ways can be divided.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache: Option<Cache>,
}

/// A last-level cache that can be divided by ways.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Cache {
    /// Size, in bytes.
    pub bytes: u64,
    /// Ways, 1 to 32.
    pub ways: u32,
    /// The fewest ways that one mask may have.
    #[serde(default = "one")]
    pub min_ways: u32,
    /// Classes of service of the hardware.
    pub classes: u32,
}

/// A memory node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Node {
    /// What people call it.
    pub name: String,
    /// What the memory hangs on.
    pub on: MemoryOn,
    /// Installed memory, in bytes.
    pub bytes: u64,
    /// Memory kept for the host itself, in bytes.
    #[serde(default)]
    pub host_bytes: u64,
    /// What its channels, or its CXL link, carry, in bytes per second.
    pub bandwidth_bytes_per_s: u64,
}

/// What memory hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum MemoryOn {
    /// A socket's own channels.
    Socket(u32),
    /// A device of class `cxl-memory`, which the host owns.
    Device(u32),
}

/// The fabric: ports, switches, links and devices.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Fabric {
    /// Lanes that several ports divide among themselves.
    pub pools: Vec<Pool>,
    /// Root ports, and ports of switches.
    pub ports: Vec<Port>,
    /// Switches.
    pub switches: Vec<Switch>,
    /// Links, each from a root or downstream port to a switch or a device.
    pub links: Vec<Link>,
    /// Devices, and parts of them that can be owned by themselves.
    pub devices: Vec<Device>,
}

/// Lanes that ports divide among themselves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Pool {
    /// What people call it.
    pub name: String,
    /// Lanes in all.
    pub lanes: u32,
}

/// A port.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Port {
    /// What people call it.
    pub name: String,
    /// Where it sits.
    pub at: PortAt,
    /// The widest and fastest link that it can train.
    pub most: LinkSetting,
    /// Whether devices may come and go while the host runs.
    #[serde(default = "yes")]
    pub hot_plug: bool,
    /// The pool that it takes its lanes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pool: Option<u32>,
}

/// Where a port sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum PortAt {
    /// On a socket's root complex.
    Socket(u32),
    /// The side of a switch that faces the root; each switch has one.
    Upstream(u32),
    /// A side of a switch that faces devices.
    Downstream(u32),
}

/// A switch; its ports name it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Switch {
    /// What people call it.
    pub name: String,
}

/// A link.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Link {
    /// The root or downstream port above.
    pub port: u32,
    /// What is below.
    pub below: LinkEnd,
    /// The widest and fastest that it can train.
    pub most: LinkSetting,
    /// What it trains at when the host starts; `most` if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initial: Option<LinkSetting>,
}

/// What is below a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LinkEnd {
    /// A switch.
    Switch(u32),
    /// A device.
    Device(u32),
}

/// How a link is trained.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkSetting {
    /// Lanes: 1, 2, 4, 8 or 16.
    pub lanes: u8,
    /// Signalling rate: 2.5, 5, 8, 16, 32 or 64.
    pub gt_per_s: f64,
}

/// A device, or a part of one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Device {
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub class: DeviceClass,
    /// Where it sits.
    pub at: Attachment,
    /// What it can move by itself, in bytes per second.
    pub bandwidth_bytes_per_s: u64,
    /// The devices that it can only move with have the same number.
    pub iommu_group: u32,
    /// Whether it may be unplugged from a running VM.
    #[serde(default = "yes")]
    pub hot_plug: bool,
    /// Whether the host keeps it for itself.
    #[serde(default)]
    pub host_owned: bool,
}

/// Where a device sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Attachment {
    /// In a slot of its own.
    Link(u32),
    /// Inside another device.
    PartOf(u32),
}

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeviceClass {
    /// Block storage.
    Nvme,
    /// Network interface.
    Nic,
    /// Graphics or compute.
    Gpu,
    /// CXL memory (type 3).
    CxlMemory,
    /// Any other accelerator.
    Accelerator,
}

/// A GPU that can be divided.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Gpu {
    /// The device.
    pub device: u32,
    /// Device memory, in bytes.
    pub bytes: u64,
    /// Memory slices, 1 to 64.
    pub slices: u32,
    /// The instances that the hardware can make.
    pub profiles: Vec<Profile>,
}

/// A kind of GPU instance.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The vendor's name.
    pub name: String,
    /// Compute slices, 1 to 64.
    pub compute: u32,
    /// Memory slices that it occupies.
    pub span: u32,
    /// Where it may start.
    pub starts: Vec<u32>,
}

/// A kind of change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ChangeKind {
    /// CPU share and ceiling of a VM.
    Cpu,
    /// Memory-bandwidth share and ceiling of a VM.
    MemoryBandwidth,
    /// The socket whose CPUs a VM runs on.
    Placement,
    /// Memory of a VM.
    Memory,
    /// The node that a VM's memory lies on.
    MemoryMigration,
    /// The ways of a class of service.
    CacheMask,
    /// The class of service of a VM.
    CacheClass,
    /// The owner of a device.
    Device,
    /// Bandwidth of a device.
    DeviceBandwidth,
    /// Width or speed of a link.
    Link,
    /// The partition of a GPU.
    GpuInstance,
}

/// How one kind of change behaves.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Change {
    /// The least time between two changes of this kind, in seconds.
    #[serde(default)]
    pub pace_s: f64,
    /// From the request to the effect, typically, in seconds. With 0, a step counts as done the moment it
    /// is begun, and is not reported.
    #[serde(default)]
    pub latency_s: f64,
    /// How long the VM stands still, in seconds.
    #[serde(default)]
    pub interruption_s: f64,
    /// What one change is charged, in seconds of a VM's utility.
    #[serde(default)]
    pub cost_s: f64,
    /// What is set is a multiple of this, in the smallest unit of the resource.
    #[serde(default = "one_u64")]
    pub granularity: u64,
}

const fn one_u64() -> u64 {
    1
}
