//! What a policy wants. Nothing here is trusted: figures may be negative or not numbers, names may lead
//! nowhere. [`project`](crate::project::project) makes of it what is feasible.

use std::fmt;

use crate::assignment::GpuInstance;
use crate::ids::{ClassId, DeviceId, Generation, LinkId, NodeId, SocketId, VmId};
use crate::topology::LinkSetting;

/// What a policy wants. Whatever it leaves out stays as it is.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Proposal {
    /// The snapshot that it answers.
    pub based_on: Generation,
    /// Wishes for VMs, each VM at most once; a second wish for the same VM is ignored.
    pub vms: Vec<VmWish>,
    /// Devices to hand over.
    pub devices: Vec<DeviceMove>,
    /// What devices may move, in bytes per second.
    pub device_bandwidth: Vec<(DeviceId, Wish)>,
    /// Links to retrain.
    pub links: Vec<LinkWish>,
    /// Masks per socket of every class of service.
    pub classes: Option<Vec<Vec<u32>>>,
    /// All GPU instances.
    pub gpu_instances: Option<(Vec<GpuInstance>, Reason)>,
}

/// A wished-for share and ceiling, in the resource's smallest unit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Wish {
    /// What to set aside.
    pub share: f64,
    /// What not to exceed.
    pub ceiling: f64,
    /// Why.
    pub reason: Reason,
}

/// What a policy wants for one VM.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct VmWish {
    /// The VM.
    pub vm: VmId,
    /// The socket to run on.
    pub socket: Option<(SocketId, Reason)>,
    /// CPU time, in thousandths of a core.
    pub cpu: Option<Wish>,
    /// Memory bandwidth, in bytes per second.
    pub memory_bandwidth: Option<Wish>,
    /// Memory by node, in bytes.
    pub memory: Option<MemoryWish>,
    /// Class of service.
    pub class: Option<(ClassId, Reason)>,
}

/// Memory wished for one VM.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryWish {
    /// Bytes by node; a node that is not named gets none.
    pub nodes: Vec<(NodeId, f64)>,
    /// Why.
    pub reason: Reason,
}

/// A device to hand over, with all that shares its IOMMU group.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct DeviceMove {
    /// The device.
    pub device: DeviceId,
    /// The new owner, or nobody.
    pub to: Option<VmId>,
    /// Why.
    pub reason: Reason,
}

/// A link to retrain.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LinkWish {
    /// The link.
    pub link: LinkId,
    /// How.
    pub to: LinkSetting,
    /// Why.
    pub reason: Reason,
}

/// Why a change is proposed, as a person reads it. Shares of a limit are between 0 and 1.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Reason {
    /// Others' needs, or the host's limits, left this.
    #[default]
    Fit,
    /// Its weight entitles it to this.
    Entitlement,
    /// This is what was asked for when the VM was described.
    AsAsked,
    /// Demand is expected to need more.
    Demand {
        /// What it is expected to use, as a share of its limit.
        expected: f64,
    },
    /// It is not expected to need what it holds.
    Idle {
        /// What it is expected to use, as a share of its limit.
        expected: f64,
    },
    /// Its socket is more loaded than another.
    Crowded {
        /// Load of the socket that it leaves.
        here: f64,
        /// Load of the socket that it joins.
        there: f64,
    },
    /// Its memory is to be near its CPUs.
    Locality,
    /// It takes bandwidth that a neighbour needs more.
    Neighbour,
    /// It would use this device more than its owner does.
    BetterUse {
        /// The use that the present owner makes of it.
        owner: f64,
        /// The use that it would make of it.
        taker: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fit => write!(f, "what the others leave"),
            Self::Entitlement => write!(f, "its weight's share"),
            Self::AsAsked => write!(f, "as asked for"),
            Self::Demand { expected } => write!(f, "expected to use {:.0} % of its limit", expected * 100.0),
            Self::Idle { expected } => {
                write!(f, "expected to use only {:.0} % of its limit", expected * 100.0)
            }
            Self::Crowded { here, there } => {
                write!(f, "its socket is {:.0} % asked for, the other {:.0} %", here * 100.0, there * 100.0)
            }
            Self::Locality => write!(f, "brings memory near its CPUs"),
            Self::Neighbour => write!(f, "a neighbour needs the bandwidth more"),
            Self::BetterUse { owner, taker } => {
                write!(f, "would use it {:.0} %, its owner {:.0} %", taker * 100.0, owner * 100.0)
            }
        }
    }
}
