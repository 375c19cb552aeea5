//! Names of a switch's parts, as the switch numbers them.

use std::fmt;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($raw:ty), $prefix:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $raw);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($prefix, "{}"), self.0)
            }
        }
    };
}

number!(
    /// A physical port of a switch.
    PhysicalPort(u8), "port "
);
number!(
    /// A virtual CXL switch: what one host sees of a switch.
    VcsId(u8), "VCS "
);
number!(
    /// A virtual PCI-to-PCI bridge of a virtual switch, to which a port or a logical device is bound.
    VppbId(u8), "vPPB "
);
number!(
    /// A logical device of a multi-logical device (MLD).
    LdId(u16), "LD "
);

impl LdId {
    /// What the specification says in place of a number where a device is not divided.
    pub const NONE: Self = Self(0xFFFF);
}
