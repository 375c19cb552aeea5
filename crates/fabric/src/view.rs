//! What a switch was last read to be: ports, who is bound where, how bandwidth is divided.

use std::collections::BTreeMap;
use std::fmt;

use crate::cxl_fm::{LdId, PhysicalPort, PortState, SwitchIdentity, Vcs, VcsId, Vppb, VppbId};

/// Where something can be bound: a bridge of a virtual switch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Place {
    /// The virtual switch.
    pub vcs: VcsId,
    /// The bridge.
    pub vppb: VppbId,
}

/// What can be bound: the device at a port, or one of its logical devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Part {
    /// The port.
    pub port: PhysicalPort,
    /// The logical device, where the device is divided.
    pub ld: Option<u8>,
}

impl Part {
    /// The number of the logical device in a command, where a device that is not divided is `whole`.
    #[must_use]
    pub fn ld_id(self, whole: LdId) -> LdId {
        self.ld.map_or(whole, |ld| LdId(ld.into()))
    }

    /// Whether a bridge is bound to it. The LD that is reported for a device that is not divided means nothing.
    #[must_use]
    pub fn is_at(self, bridge: &Vppb) -> bool {
        bridge.bound_to().is_some_and(|(port, ld)| port == self.port && self.ld.is_none_or(|mine| mine == ld))
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.vcs, self.vppb)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.port)?;
        self.ld.map_or(Ok(()), |ld| write!(f, " LD {ld}"))
    }
}

/// The bandwidth of a multi-logical device, by logical device, in 256ths.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct LdBandwidth {
    /// Logical devices; 0 where the device does not say.
    pub lds: u8,
    /// What is set aside.
    pub allocated: Vec<u8>,
    /// What may not be passed.
    pub limit: Vec<u8>,
}

/// What a switch was last read to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// What it is made of.
    pub switch: SwitchIdentity,
    /// Its ports.
    pub ports: BTreeMap<PhysicalPort, PortState>,
    /// Its virtual switches, with all bridges.
    pub vcss: BTreeMap<VcsId, Vcs>,
    /// The bandwidth of its multi-logical devices.
    pub bandwidth: BTreeMap<PhysicalPort, LdBandwidth>,
}

/// What cannot be as it was read, and has to be put right by somebody.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Contradiction {
    /// A bridge is bound to a port that nothing is plugged into.
    BoundToNothing {
        /// The bridge.
        place: Place,
        /// The port.
        port: PhysicalPort,
    },
    /// Two hosts have the same thing.
    TwoOwners {
        /// What they have.
        part: Part,
        /// One of them.
        first: Place,
        /// The other.
        second: Place,
    },
}

impl View {
    /// Every bridge.
    pub fn bridges(&self) -> impl Iterator<Item = (Place, &Vppb)> {
        self.vcss.values().flat_map(|vcs| {
            let places = (0..=u8::MAX).map(|vppb| Place { vcs: vcs.id, vppb: VppbId(vppb) });
            places.zip(&vcs.bridges)
        })
    }

    /// What is known of one bridge.
    #[must_use]
    pub fn bridge(&self, place: Place) -> Option<&Vppb> {
        self.vcss.get(&place.vcs)?.bridges.get(usize::from(place.vppb.0))
    }

    /// Where something is bound. More than one place is a [`Contradiction`].
    pub fn places_of(&self, part: Part) -> impl Iterator<Item = Place> {
        self.bridges().filter(move |(_, bridge)| part.is_at(bridge)).map(|(place, _)| place)
    }

    /// Whether the device at a port is divided into logical devices. Only the device says so: a switch may
    /// report the same kind for those that are not.
    #[must_use]
    pub fn is_divided(&self, port: PhysicalPort) -> bool {
        self.bandwidth.get(&port).is_some_and(|device| device.lds > 0)
    }

    /// What is bound to a bridge.
    #[must_use]
    pub fn part_at(&self, place: Place) -> Option<Part> {
        let (port, ld) = self.bridge(place)?.bound_to()?;
        Some(Part { port, ld: self.is_divided(port).then_some(ld) })
    }

    /// Whether something is bound to a bridge. A whole device is not, where the device is divided.
    #[must_use]
    pub fn holds(&self, place: Place, part: Part) -> bool {
        let named = part.ld.is_some() || !self.is_divided(part.port);
        named && self.bridge(place).is_some_and(|bridge| part.is_at(bridge))
    }

    /// What cannot be as it was read.
    #[must_use]
    pub fn contradictions(&self) -> Vec<Contradiction> {
        let mut found = Vec::new();
        let mut owners: BTreeMap<Part, Place> = BTreeMap::new();
        for (place, bridge) in self.bridges() {
            let Some((port, _)) = bridge.bound_to() else { continue };
            if self.ports.get(&port).is_some_and(|state| !state.is_connected()) {
                found.push(Contradiction::BoundToNothing { place, port });
            }
            let Some(part) = self.part_at(place) else { continue };
            if let Some(first) = owners.insert(part, place) {
                found.push(Contradiction::TwoOwners { part, first, second: place });
            }
        }
        found
    }
}
