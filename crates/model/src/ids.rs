//! Names of things. The ids of a host's parts are dense: each is the index of its part in the
//! [`Topology`](crate::topology::Topology) that it belongs to.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::units::ParseQuantityError;

macro_rules! id {
    ($(#[$doc:meta])* $name:ident, $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $name(pub u32);

        impl $name {
            /// The id as an index into the table of its kind.
            #[must_use]
            pub const fn index(self) -> usize {
                self.0 as usize
            }

            /// The id of the part at `index`.
            ///
            /// # Panics
            /// When there are more than 2³² parts of one kind.
            #[must_use]
            pub fn at(index: usize) -> Self {
                Self(u32::try_from(index).expect("a host has fewer than 2^32 parts of a kind"))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

id!(
    /// A virtual machine, for as long as it runs. Not dense: VMs come and go.
    VmId, "vm"
);
id!(
    /// A CPU socket.
    SocketId, "socket"
);
id!(
    /// A NUMA node with memory: a socket's own, or a CXL one without CPUs.
    NodeId, "node"
);
id!(
    /// A PCIe or CXL switch.
    SwitchId, "switch"
);
id!(
    /// A root port, or a switch's upstream or downstream port.
    PortId, "port"
);
id!(
    /// A link from a root or downstream port to what is plugged into it.
    LinkId, "link"
);
id!(
    /// Lanes that several ports of one root complex or switch divide among themselves.
    PoolId, "pool"
);
id!(
    /// A device or a logical device (an SR-IOV function, an LD of a multi-logical device).
    DeviceId, "device"
);
id!(
    /// A GPU that can be partitioned.
    GpuId, "gpu"
);
id!(
    /// A class of service of the last-level cache (a CLOSID of Intel RDT and AMD QoS).
    ClassId, "clos"
);
id!(
    /// The smallest set of devices that can be given to a VM together. Numbered by the kernel, not dense.
    IommuGroup, "iommu"
);

/// Orders what is known and what is wanted: a snapshot or a plan of a lower generation is stale.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Generation(pub u64);

impl Generation {
    /// The generation after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0 + 1)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "#{}", self.0)
    }
}

/// Where a PCI function answers: `domain:bus:device.function`, as in sysfs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PciAddress {
    domain: u16,
    bus: u8,
    device: u8,
    function: u8,
}

impl fmt::Display for PciAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:04x}:{:02x}:{:02x}.{:x}", self.domain, self.bus, self.device, self.function)
    }
}

impl FromStr for PciAddress {
    type Err = ParseQuantityError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_address(text)
            .ok_or_else(|| ParseQuantityError::new(text, "a PCI address such as `0000:41:00.0`"))
    }
}

fn parse_address(text: &str) -> Option<PciAddress> {
    let (domain, rest) = text.trim().split_once(':')?;
    let (bus, rest) = rest.split_once(':')?;
    let (device, function) = rest.split_once('.')?;
    let hex = |digits: &str, length| {
        let plain = digits.len() == length && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        plain.then(|| u16::from_str_radix(digits, 16).ok()).flatten()
    };
    let narrow = |value: u16, end: u16| (value < end).then(|| value.to_le_bytes()[0]);
    Some(PciAddress {
        domain: hex(domain, 4)?,
        bus: narrow(hex(bus, 2)?, 256)?,
        device: narrow(hex(device, 2)?, 32)?,
        function: narrow(hex(function, 1)?, 8)?,
    })
}

crate::units::text_form!(PciAddress);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pci_addresses_round_trip_and_nonsense_is_refused() {
        let address: PciAddress = "0000:41:1f.7".parse().unwrap();
        assert_eq!(address.to_string(), "0000:41:1f.7");
        for text in ["", "41:00.0", "0000:41:20.0", "0000:41:00.8", "0000:g1:00.0", "0000:+1:00.0"] {
            assert!(text.parse::<PciAddress>().is_err(), "{text}");
        }
    }
}
