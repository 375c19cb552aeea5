//! One change of a host, with what it starts from, so that it can be checked, undone and repeated.

use std::fmt;

use crate::assignment::{CacheMask, GpuInstance, Grant, Holding};
use crate::capability::{ChangeKind, Family};
use crate::ids::{ClassId, DeviceId, LinkId, NodeId, SocketId, VmId};
use crate::topology::LinkSetting;
use crate::units::{Bandwidth, ByteSize, MilliCpu};

/// A VM's socket with what it holds there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Placement {
    /// The socket.
    pub socket: SocketId,
    /// CPU time there.
    pub cpu: Grant<MilliCpu>,
    /// Bandwidth to the memory there.
    pub memory_bandwidth: Grant<Bandwidth>,
}

impl Placement {
    /// Where a VM is and what it holds there.
    #[must_use]
    pub fn from_holding(holding: &Holding) -> Self {
        Self { socket: holding.socket, cpu: holding.cpu, memory_bandwidth: holding.memory_bandwidth }
    }

    pub(crate) fn put(&self, holding: &mut Holding) {
        (holding.socket, holding.cpu, holding.memory_bandwidth) =
            (self.socket, self.cpu, self.memory_bandwidth);
    }
}

/// One change of a host. Each names what it starts from, and so has an inverse.
#[derive(Debug, Clone, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Step {
    /// Change a VM's CPU share and ceiling.
    SetCpu { vm: VmId, socket: SocketId, from: Grant<MilliCpu>, to: Grant<MilliCpu> },
    /// Change a VM's share and ceiling of memory bandwidth.
    SetMemoryBandwidth { vm: VmId, socket: SocketId, from: Grant<Bandwidth>, to: Grant<Bandwidth> },
    /// Move a VM to another socket.
    Place { vm: VmId, from: Placement, to: Placement },
    /// Change a VM's memory on one node.
    SetMemory { vm: VmId, node: NodeId, from: ByteSize, to: ByteSize },
    /// Move some of a VM's memory to another node.
    MigrateMemory { vm: VmId, from: NodeId, to: NodeId, size: ByteSize },
    /// Begin to use a class of service; one mask for each socket.
    CreateClass { class: ClassId, masks: Vec<CacheMask> },
    /// Stop using a class of service.
    RemoveClass { class: ClassId, masks: Vec<CacheMask> },
    /// Change the ways of a class of service on one socket.
    SetMask { class: ClassId, socket: SocketId, from: CacheMask, to: CacheMask },
    /// Put a VM into another class of service.
    SetClass { vm: VmId, from: ClassId, to: ClassId },
    /// Take a whole IOMMU group away from a VM; the grants are those that it held.
    Detach { vm: VmId, devices: Vec<(DeviceId, Grant<Bandwidth>)> },
    /// Give a whole IOMMU group that nobody owns to a VM, with these grants.
    Attach { vm: VmId, devices: Vec<(DeviceId, Grant<Bandwidth>)> },
    /// Change what a device may move.
    SetDeviceBandwidth { device: DeviceId, from: Grant<Bandwidth>, to: Grant<Bandwidth> },
    /// Retrain a link.
    SetLink { link: LinkId, from: LinkSetting, to: LinkSetting },
    /// Make a GPU instance and give it to its owner.
    CreateInstance { instance: GpuInstance },
    /// Take a GPU instance from its owner and dissolve it.
    DestroyInstance { instance: GpuInstance },
}

impl Step {
    /// The kind of change, which leads to its pace and cost.
    #[must_use]
    pub const fn kind(&self) -> ChangeKind {
        match self {
            Self::SetCpu { .. } => ChangeKind::Cpu,
            Self::SetMemoryBandwidth { .. } => ChangeKind::MemoryBandwidth,
            Self::Place { .. } => ChangeKind::Placement,
            Self::SetMemory { .. } => ChangeKind::Memory,
            Self::MigrateMemory { .. } => ChangeKind::MemoryMigration,
            Self::CreateClass { .. } | Self::RemoveClass { .. } | Self::SetMask { .. } => {
                ChangeKind::CacheMask
            }
            Self::SetClass { .. } => ChangeKind::CacheClass,
            Self::Detach { .. } | Self::Attach { .. } => ChangeKind::Device,
            Self::SetDeviceBandwidth { .. } => ChangeKind::DeviceBandwidth,
            Self::SetLink { .. } => ChangeKind::Link,
            Self::CreateInstance { .. } | Self::DestroyInstance { .. } => ChangeKind::GpuInstance,
        }
    }

    /// The family whose transaction the step belongs to.
    #[must_use]
    pub const fn family(&self) -> Family {
        self.kind().family()
    }

    /// The VM that feels the step first, if it concerns one VM.
    #[must_use]
    pub const fn vm(&self) -> Option<VmId> {
        match self {
            Self::SetCpu { vm, .. }
            | Self::SetMemoryBandwidth { vm, .. }
            | Self::Place { vm, .. }
            | Self::SetMemory { vm, .. }
            | Self::MigrateMemory { vm, .. }
            | Self::SetClass { vm, .. }
            | Self::Detach { vm, .. }
            | Self::Attach { vm, .. } => Some(*vm),
            Self::CreateInstance { instance } | Self::DestroyInstance { instance } => Some(instance.owner),
            Self::CreateClass { .. }
            | Self::RemoveClass { .. }
            | Self::SetMask { .. }
            | Self::SetDeviceBandwidth { .. }
            | Self::SetLink { .. } => None,
        }
    }

    /// Whether both steps change the same thing: the same resource of one VM, or the same part.
    #[must_use]
    pub fn touches_same(&self, other: &Self) -> bool {
        let devices = |step: &Self| match step {
            Self::Detach { devices, .. } | Self::Attach { devices, .. } => {
                devices.iter().map(|(device, _)| *device).collect()
            }
            Self::SetDeviceBandwidth { device, .. } => vec![*device],
            _ => Vec::new(),
        };
        let part = |step: &Self| match step {
            Self::SetLink { link, .. } => Some(link.0),
            Self::CreateClass { class, .. }
            | Self::RemoveClass { class, .. }
            | Self::SetMask { class, .. } => Some(class.0),
            Self::CreateInstance { instance } | Self::DestroyInstance { instance } => Some(instance.gpu.0),
            _ => None,
        };
        if self.family() != other.family() {
            return false;
        }
        let shared = devices(self).iter().any(|device| devices(other).contains(device));
        let same_part = part(self).is_some() && part(self) == part(other);
        let moves = devices(self).is_empty() && devices(other).is_empty();
        shared || same_part || moves && self.vm().is_some() && self.vm() == other.vm()
    }

    /// The step that leads back.
    #[must_use]
    pub fn inverse(&self) -> Self {
        match self.clone() {
            Self::SetCpu { vm, socket, from, to } => Self::SetCpu { vm, socket, from: to, to: from },
            Self::SetMemoryBandwidth { vm, socket, from, to } => {
                Self::SetMemoryBandwidth { vm, socket, from: to, to: from }
            }
            Self::Place { vm, from, to } => Self::Place { vm, from: to, to: from },
            Self::SetMemory { vm, node, from, to } => Self::SetMemory { vm, node, from: to, to: from },
            Self::MigrateMemory { vm, from, to, size } => {
                Self::MigrateMemory { vm, from: to, to: from, size }
            }
            Self::CreateClass { class, masks } => Self::RemoveClass { class, masks },
            Self::RemoveClass { class, masks } => Self::CreateClass { class, masks },
            Self::SetMask { class, socket, from, to } => Self::SetMask { class, socket, from: to, to: from },
            Self::SetClass { vm, from, to } => Self::SetClass { vm, from: to, to: from },
            Self::Detach { vm, devices } => Self::Attach { vm, devices },
            Self::Attach { vm, devices } => Self::Detach { vm, devices },
            Self::SetDeviceBandwidth { device, from, to } => {
                Self::SetDeviceBandwidth { device, from: to, to: from }
            }
            Self::SetLink { link, from, to } => Self::SetLink { link, from: to, to: from },
            Self::CreateInstance { instance } => Self::DestroyInstance { instance },
            Self::DestroyInstance { instance } => Self::CreateInstance { instance },
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::SetCpu { vm, from, to, .. } => write!(f, "{vm} cpu {from} → {to}"),
            Self::SetMemoryBandwidth { vm, from, to, .. } => write!(f, "{vm} memory bandwidth {from} → {to}"),
            Self::Place { vm, from, to } => write!(f, "{vm} {} → {}", from.socket, to.socket),
            Self::SetMemory { vm, node, from, to } => write!(f, "{vm} memory on {node} {from} → {to}"),
            Self::MigrateMemory { vm, from, to, size } => write!(f, "{vm} {size} of memory {from} → {to}"),
            Self::CreateClass { class, .. } => write!(f, "{class} in use"),
            Self::RemoveClass { class, .. } => write!(f, "{class} out of use"),
            Self::SetMask { class, socket, from, to } => write!(f, "{class} on {socket} ways {from} → {to}"),
            Self::SetClass { vm, from, to } => write!(f, "{vm} {from} → {to}"),
            Self::Detach { vm, devices } => write!(f, "{} leaves {vm}", Names(devices)),
            Self::Attach { vm, devices } => write!(f, "{} joins {vm}", Names(devices)),
            Self::SetDeviceBandwidth { device, from, to } => write!(f, "{device} bandwidth {from} → {to}"),
            Self::SetLink { link, from, to } => write!(f, "{link} {from} → {to}"),
            Self::CreateInstance { instance } => {
                write!(f, "{} slice at {} made for {}", instance.gpu, instance.start, instance.owner)
            }
            Self::DestroyInstance { instance } => {
                write!(f, "{} slice at {} of {} dissolved", instance.gpu, instance.start, instance.owner)
            }
        }
    }
}

struct Names<'a>(&'a [(DeviceId, Grant<Bandwidth>)]);

impl fmt::Display for Names<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (device, _)) in self.0.iter().enumerate() {
            write!(f, "{}{device}", if index == 0 { "" } else { ", " })?;
        }
        Ok(())
    }
}
