//! Who a peer is, and what a switch is made of.

use super::bytes::{DecodeError, Payload, Reader, zeros};
use super::ids::{PhysicalPort, VcsId};

/// Asks who the peer is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Identify;

/// Asks what a switch is made of.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct IdentifySwitch;

super::bytes::codes! {
    /// What a component is.
    ComponentType(u8) {
        Switch = 0x00: "switch",
        Type3 = 0x03: "type 3 device",
    }
}

/// Who a peer is. It has one of three layouts, told apart by length: 18 bytes as specified, 17 without
/// the type, and 14 without the two subsystem ids.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// PCI vendor.
    pub vendor: u16,
    /// PCI device.
    pub device: u16,
    /// PCI subsystem vendor and subsystem, where the peer tells them.
    pub subsystem: Option<(u16, u16)>,
    /// Serial number.
    pub serial: u64,
    /// The longest message that it takes is 2 to this power.
    pub message_size: u8,
    /// What it is, where the peer tells it.
    pub component: Option<ComponentType>,
}

/// What a switch is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SwitchIdentity {
    /// The port that this was asked through.
    pub ingress: PhysicalPort,
    /// Physical ports.
    pub ports: u8,
    /// Virtual switches.
    pub vcss: u8,
    /// One bit for each physical port that is in use.
    pub active_ports: [u8; 32],
    /// One bit for each virtual switch that is in use.
    pub active_vcss: [u8; 32],
    /// Bridges of all virtual switches.
    pub vppbs: u16,
    /// Bridges that are bound.
    pub bound_vppbs: u16,
    /// Memory decoders of each upstream port.
    pub decoders: u8,
}

impl SwitchIdentity {
    /// Whether a port is in use.
    #[must_use]
    pub fn has_port(&self, port: PhysicalPort) -> bool {
        bit(&self.active_ports, port.0)
    }

    /// Whether a virtual switch is in use.
    #[must_use]
    pub fn has_vcs(&self, vcs: VcsId) -> bool {
        bit(&self.active_vcss, vcs.0)
    }
}

/// The bits of `set` in the form of [`SwitchIdentity::active_ports`].
#[must_use]
pub fn bits(set: impl IntoIterator<Item = u8>) -> [u8; 32] {
    let mut bits = [0; 32];
    for index in set {
        bits[usize::from(index / 8)] |= 1 << (index % 8);
    }
    bits
}

fn bit(bits: &[u8; 32], index: u8) -> bool {
    bits[usize::from(index / 8)] & 1 << (index % 8) != 0
}

macro_rules! empty {
    ($($name:ident),+) => {$(
        impl Payload for $name {
            fn put(&self, _: &mut Vec<u8>) {}
            fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self)
            }
        }
    )+};
}
empty!(Identify, IdentifySwitch);

/// Bytes of an identity without the two subsystem ids.
const SHORT: usize = 14;

impl Payload for Identity {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.vendor.to_le_bytes());
        out.extend(self.device.to_le_bytes());
        if let Some((vendor, id)) = self.subsystem {
            out.extend(vendor.to_le_bytes());
            out.extend(id.to_le_bytes());
        }
        out.extend(self.serial.to_le_bytes());
        out.push(self.message_size);
        out.extend(self.component.map(ComponentType::code));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let short = reader.rest().len() == SHORT;
        let vendor = reader.u16("vendor")?;
        let device = reader.u16("device")?;
        let subsystem =
            if short { None } else { Some((reader.u16("subsystem vendor")?, reader.u16("subsystem")?)) };
        let serial = reader.u64("serial number")?;
        let message_size = reader.u8("maximum message size")?;
        let component = reader.rest().first().map(|code| ComponentType::from_code(*code));
        reader.skip(usize::from(component.is_some()))?;
        Ok(Self { vendor, device, subsystem, serial, message_size, component })
    }
}

impl Payload for SwitchIdentity {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.ingress.0);
        zeros(out, 1);
        out.extend([self.ports, self.vcss]);
        out.extend(self.active_ports);
        out.extend(self.active_vcss);
        out.extend(self.vppbs.to_le_bytes());
        out.extend(self.bound_vppbs.to_le_bytes());
        out.push(self.decoders);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let ingress = PhysicalPort(reader.u8("ingress port")?);
        reader.skip(1)?;
        Ok(Self {
            ingress,
            ports: reader.u8("number of physical ports")?,
            vcss: reader.u8("number of VCSs")?,
            active_ports: reader.array("active ports")?,
            active_vcss: reader.array("active VCSs")?,
            vppbs: reader.u16("number of vPPBs")?,
            bound_vppbs: reader.u16("number of bound vPPBs")?,
            decoders: reader.u8("HDM decoders")?,
        })
    }
}
