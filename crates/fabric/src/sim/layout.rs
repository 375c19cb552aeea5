//! What the switch is made of.

use halcyon_model::{Lanes, LinkSpeed};

use crate::cxl_fm::PhysicalPort;

/// What the switch is made of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Layout {
    /// Physical ports, by number.
    pub ports: Vec<PortLayout>,
    /// Virtual switches, by number: the upstream port and how many bridges.
    pub vcss: Vec<(PhysicalPort, u8)>,
}

/// A port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortLayout {
    /// What is plugged in.
    pub plugged: Plugged,
    /// The widest and fastest that it can train.
    pub capable: (Lanes, LinkSpeed),
    /// What it trained at.
    pub trained: (Lanes, LinkSpeed),
}

/// What is plugged into a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plugged {
    /// Nothing.
    Nothing,
    /// A host.
    Host,
    /// A device that is not divided.
    Whole,
    /// A device of logical devices.
    Divided {
        /// How many.
        lds: u8,
        /// Its memory in all.
        memory_bytes: u64,
    },
}

impl Layout {
    /// Two hosts with four bridges each; three whole devices, two divided ones, and an empty port.
    #[must_use]
    pub fn small() -> Self {
        let plugged = [
            Plugged::Host,
            Plugged::Host,
            Plugged::Whole,
            Plugged::Whole,
            Plugged::Whole,
            Plugged::Divided { lds: 4, memory_bytes: 64 << 30 },
            Plugged::Nothing,
            Plugged::Divided { lds: 2, memory_bytes: 32 << 30 },
        ];
        let full = (Lanes::unchecked(16), LinkSpeed::Gen6);
        let trained = (Lanes::unchecked(8), LinkSpeed::Gen5);
        let port = |plugged| PortLayout { plugged, capable: full, trained };
        let vcss = vec![(PhysicalPort(0), 4), (PhysicalPort(1), 4)];
        Self { ports: plugged.map(port).to_vec(), vcss }
    }
}
