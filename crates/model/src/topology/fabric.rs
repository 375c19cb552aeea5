//! The PCIe/CXL fabric as a forest: root ports, links, switches, devices, logical devices.
//!
//! ```text
//!  socket ── root port ──link── switch (upstream port)
//!                                 ├── downstream port ──link── device
//!                                 └── downstream port ──link── device ─┬─ logical device
//!                                                                      └─ logical device
//! ```

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::ids::{DeviceId, IommuGroup, LinkId, PciAddress, PoolId, PortId, SocketId, SwitchId};
use crate::units::{Bandwidth, Lanes, LinkSpeed, ParseQuantityError};

/// The fabric of one host. Built by [`Topology::new`](super::Topology::new).
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Fabric {
    /// All ports, by id.
    pub ports: Vec<Port>,
    /// All switches, by id.
    pub switches: Vec<Switch>,
    /// All links, by id.
    pub links: Vec<Link>,
    /// All lane pools, by id.
    pub pools: Vec<LanePool>,
    /// All devices and logical devices, by id.
    pub devices: Vec<Device>,
    pub(super) routes: Vec<Vec<LinkId>>,
    pub(super) groups: Vec<(IommuGroup, Vec<DeviceId>)>,
    pub(super) divided: Vec<bool>,
}

impl Fabric {
    /// The links between a device and its root port, the device's own first.
    #[must_use]
    pub fn route(&self, device: DeviceId) -> &[LinkId] {
        &self.routes[device.index()]
    }

    /// Every IOMMU group with its assignable devices, by group number.
    #[must_use]
    pub fn groups(&self) -> &[(IommuGroup, Vec<DeviceId>)] {
        &self.groups
    }

    /// The devices that can only move together with `device`, itself included, by id.
    #[must_use]
    pub fn companions(&self, device: DeviceId) -> &[DeviceId] {
        let group = self.devices[device.index()].iommu_group;
        match self.groups.binary_search_by_key(&group, |(number, _)| *number) {
            Ok(found) => &self.groups[found].1,
            Err(_) => &[],
        }
    }

    /// Whether a VM can own this device. One that is divided into logical devices or GPU instances is not
    /// owned itself, nor is one that the host keeps.
    #[must_use]
    pub fn is_assignable(&self, device: DeviceId) -> bool {
        self.devices.get(device.index()).is_some_and(|found| !found.host_owned)
            && !self.divided[device.index()]
    }

    /// The socket under whose root port a device sits.
    #[must_use]
    pub fn socket(&self, device: DeviceId) -> Option<SocketId> {
        let top = self.routes.get(device.index())?.last()?;
        match self.ports[self.links[top.index()].upper.index()].kind {
            PortKind::Root { socket } => Some(socket),
            _ => None,
        }
    }

    /// The settings that the links have when nothing was changed: as wide and fast as both ends can.
    #[must_use]
    pub fn default_links(&self) -> Vec<LinkSetting> {
        self.links.iter().map(|link| link.initial).collect()
    }
}

/// A port that a link hangs from, or a switch's upstream port.
#[derive(Debug, Clone, PartialEq)]
pub struct Port {
    /// Its position in [`Fabric::ports`].
    pub id: PortId,
    /// What people call it.
    pub name: String,
    /// Where it sits.
    pub kind: PortKind,
    /// The widest link that it can train.
    pub max_width: Lanes,
    /// The fastest link that it can train.
    pub max_speed: LinkSpeed,
    /// Whether devices may come and go while the host runs.
    pub hot_plug: bool,
    /// The lanes that it shares with other ports, if its width can be set at all.
    pub pool: Option<PoolId>,
}

/// Where a port sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PortKind {
    /// On a socket's root complex.
    Root {
        /// The socket.
        socket: SocketId,
    },
    /// The side of a switch that faces the root.
    Upstream {
        /// The switch.
        switch: SwitchId,
    },
    /// A side of a switch that faces devices.
    Downstream {
        /// The switch.
        switch: SwitchId,
    },
}

/// A switch: one upstream port, any number of downstream ports.
#[derive(Debug, Clone, PartialEq)]
pub struct Switch {
    /// Its position in [`Fabric::switches`].
    pub id: SwitchId,
    /// What people call it.
    pub name: String,
    /// The port that faces the root.
    pub upstream: PortId,
    /// The ports that face devices.
    pub downstream: Vec<PortId>,
}

/// Lanes that ports divide among themselves (bifurcation).
#[derive(Debug, Clone, PartialEq)]
pub struct LanePool {
    /// Its position in [`Fabric::pools`].
    pub id: PoolId,
    /// What people call it.
    pub name: String,
    /// Lanes in all.
    pub lanes: u32,
}

/// A link from a port down to what is plugged into it.
#[derive(Debug, Clone, PartialEq)]
pub struct Link {
    /// Its position in [`Fabric::links`].
    pub id: LinkId,
    /// The root or downstream port above.
    pub upper: PortId,
    /// What is below.
    pub lower: LinkEnd,
    /// The widest and fastest that both ends, and the port above the switch, can do.
    pub capable: LinkSetting,
    /// What it trains at when the host starts.
    pub initial: LinkSetting,
}

/// What is at the lower end of a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LinkEnd {
    /// A switch, at its upstream port.
    Switch(SwitchId),
    /// A device.
    Device(DeviceId),
}

/// How a link is trained.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkSetting {
    /// Lanes in use.
    pub width: Lanes,
    /// Signalling rate.
    pub speed: LinkSpeed,
}

impl LinkSetting {
    /// What the link carries in one direction.
    #[must_use]
    pub fn bandwidth(self) -> Bandwidth {
        self.speed.bandwidth(self.width)
    }
}

impl fmt::Display for LinkSetting {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.width, self.speed)
    }
}

/// A device, or a part of one that can be owned by itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Device {
    /// Its position in [`Fabric::devices`].
    pub id: DeviceId,
    /// What people call it.
    pub name: String,
    /// Where it answers, where that is known.
    pub address: Option<PciAddress>,
    /// What it is for.
    pub class: DeviceClass,
    /// Where it sits.
    pub attachment: Attachment,
    /// What it can move by itself, whatever its link carries.
    pub bandwidth: Bandwidth,
    /// The devices that it can only move with.
    pub iommu_group: IommuGroup,
    /// Whether it may be unplugged from a running VM.
    pub hot_plug: bool,
    /// Whether the host keeps it for itself.
    pub host_owned: bool,
}

/// Where a device sits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attachment {
    /// In a slot of its own.
    Link(LinkId),
    /// Inside another device: an SR-IOV function, an LD.
    PartOf(DeviceId),
}

/// What a device is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
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

impl DeviceClass {
    /// Every class with its name in files.
    pub const ALL: [(Self, &'static str); 5] = [
        (Self::Nvme, "nvme"),
        (Self::Nic, "nic"),
        (Self::Gpu, "gpu"),
        (Self::CxlMemory, "cxl-memory"),
        (Self::Accelerator, "accelerator"),
    ];
}

impl fmt::Display for DeviceClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = Self::ALL.iter().find(|(class, _)| class == self).map_or("device", |(_, name)| name);
        f.write_str(name)
    }
}

impl FromStr for DeviceClass {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.iter().find(|(_, name)| *name == text).map(|(class, _)| *class).ok_or_else(|| {
            ParseQuantityError::new(text, "a device class: nvme, nic, gpu, cxl-memory or accelerator")
        })
    }
}
