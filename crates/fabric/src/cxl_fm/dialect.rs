//! In what ways a switch differs from the specification, as far as a manager has to know before it speaks.
//! Whatever can be told from an answer is told from the answer and has no place here.

/// How a switch wants to be spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Dialect {
    /// How commands reach the logical devices behind a port.
    pub lds: LdRoute,
    /// How a device that is not divided is named when it is bound.
    pub sld: SldId,
    /// In which order a range of logical devices is given when bandwidth is asked for.
    pub range: RangeOrder,
}

/// How commands reach the logical devices behind a port.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LdRoute {
    /// In a tunnel, as specified.
    Tunnel,
    /// In a tunnel that says the MCTP type of the inner message.
    TypedTunnel,
    /// By the port in the frame; only with dial-in framing.
    Frame,
}

/// How a device that is not divided is named when it is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum SldId {
    /// As specified: 0xFFFF.
    None,
    /// As the only logical device.
    Zero,
}

/// In which order a range of logical devices is given when bandwidth is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RangeOrder {
    /// As specified.
    CountFirst,
    /// As for allocations.
    StartFirst,
}

impl Dialect {
    /// What the specification says; QEMU's switch mailbox speaks it.
    pub const SPECIFIED: Self =
        Self { lds: LdRoute::Tunnel, sld: SldId::None, range: RangeOrder::CountFirst };
    /// The CSE emulator and the jack client.
    pub const CSE: Self = Self { lds: LdRoute::TypedTunnel, sld: SldId::None, range: RangeOrder::StartFirst };
    /// OpenCIS, which dials in.
    pub const OPENCIS: Self = Self { lds: LdRoute::Frame, sld: SldId::Zero, range: RangeOrder::CountFirst };
}

impl Default for Dialect {
    fn default() -> Self {
        Self::SPECIFIED
    }
}
