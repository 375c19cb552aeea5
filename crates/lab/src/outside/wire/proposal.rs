//! What a policy answers.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{GpuInstance, IsProposal, LinkSetting};

/// What a policy wants. Whatever it leaves out stays as it is. What does not fit is made to fit: wishes
/// are moved into each VM's bounds and scaled to what there is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Proposal {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `proposal`.
    #[serde(rename = "type")]
    pub kind: IsProposal,
    /// The cycle of the snapshot that it answers.
    pub cycle: u64,
    /// Wishes for VMs, each VM at most once.
    #[serde(default)]
    pub vms: Vec<VmWish>,
    /// Devices to hand over.
    #[serde(default)]
    pub devices: Vec<DeviceMove>,
    /// What devices may move.
    #[serde(default)]
    pub device_bandwidth: Vec<DeviceBandwidthWish>,
    /// Links to retrain.
    #[serde(default)]
    pub links: Vec<LinkWish>,
    /// Cache masks of every class of service, one for each socket.
    #[serde(default)]
    pub classes: Option<Vec<Vec<u32>>>,
    /// All GPU instances.
    #[serde(default)]
    pub gpu_instances: Option<Vec<GpuInstance>>,
}

/// Wishes for one VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmWish {
    /// The VM.
    pub vm: String,
    /// The socket to run on.
    #[serde(default)]
    pub socket: Option<u32>,
    /// CPU time, in thousandths of a hardware thread.
    #[serde(default)]
    pub cpu_milli: Option<Wish>,
    /// Memory bandwidth, in bytes per second.
    #[serde(default)]
    pub memory_bandwidth_bytes_per_s: Option<Wish>,
    /// Memory by node; a node that is not named gets none.
    #[serde(default)]
    pub memory: Option<Vec<NodeWish>>,
    /// Class of service.
    #[serde(default)]
    pub class: Option<u32>,
    /// Why.
    #[serde(default)]
    pub reason: Reason,
}

/// A wished-for share and ceiling.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Wish {
    /// What to set aside.
    pub share: f64,
    /// What not to exceed; as much as the VM may if left out.
    #[serde(default)]
    pub ceiling: Option<f64>,
}

/// Memory wished for on one node.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NodeWish {
    /// The node.
    pub node: u32,
    /// How much, in bytes.
    pub bytes: f64,
}

/// A device to hand over, with all that shares its IOMMU group.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceMove {
    /// The device.
    pub device: u32,
    /// The new owner, or nobody.
    pub to: Option<String>,
    /// Why.
    #[serde(default)]
    pub reason: Reason,
}

/// What a device may move.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBandwidthWish {
    /// The device.
    pub device: u32,
    /// Its share and ceiling, in bytes per second.
    pub bytes_per_s: Wish,
    /// Why.
    #[serde(default)]
    pub reason: Reason,
}

/// A link to retrain.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct LinkWish {
    /// The link.
    pub link: u32,
    /// How.
    pub to: LinkSetting,
    /// Why.
    #[serde(default)]
    pub reason: Reason,
}

/// Why a change is proposed. Shares of a limit are from 0 to 1.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Reason {
    /// Others' needs, or the host's limits, left this.
    #[default]
    Fit,
    /// Its weight entitles it to this.
    Entitlement,
    /// Demand is expected to need more: this share of its limit.
    Demand(f64),
    /// It is expected to use no more than this share of its limit.
    Idle(f64),
    /// Its memory is to be near its CPUs.
    Locality,
    /// It takes bandwidth that a neighbour needs more.
    Neighbour,
}
