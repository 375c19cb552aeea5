//! Every command with its opcode, its answer, and whether it may be sent again when no answer came.

use super::background::{AbortBackground, BackgroundStatus, GetBackgroundStatus};
use super::bytes::{DecodeError, Payload, Reader};
use super::cci::Opcode;
use super::dynamic::{
    AddCapacity, DynamicInfo, Extents, GetDynamicInfo, GetExtents, GetHostRegions, HostRegions,
    ReleaseCapacity, SetRegion,
};
use super::identify::{Identify, IdentifySwitch, Identity, SwitchIdentity};
use super::mld::{
    GetLdAllocations, GetLdInfo, GetQosAllocated, GetQosControl, GetQosLimit, GetQosStatus, LdAllocations,
    LdFractions, LdInfo, QosControl, QosStatus, SetLdAllocations, SetQosAllocated, SetQosControl,
    SetQosLimit,
};
use super::ports::{ControlPort, GetPortState, PortStates};
use super::vcs::{Bind, GetVcs, Unbind, VcsReport};

/// The opcode of a command in a tunnel, whose payload depends on the dialect.
pub const TUNNEL: Opcode = Opcode(0x5300);

/// A command and what answers it.
pub trait Command: Payload {
    /// The answer's payload when the command succeeds.
    type Reply;
    /// The opcode.
    const OPCODE: Opcode;
    /// What people call it.
    const NAME: &'static str;
    /// Whether twice is as once, so that it may be sent again when no answer came.
    const REPEATABLE: bool;

    /// Reads the answer.
    ///
    /// # Errors
    /// When the bytes end too early, or a field has a value that cannot be.
    fn reply(&self, payload: &[u8]) -> Result<Self::Reply, DecodeError>;
}

impl Command for GetVcs {
    type Reply = VcsReport;
    const OPCODE: Opcode = Opcode(0x5200);
    const NAME: &'static str = "Get Virtual CXL Switch Info";
    const REPEATABLE: bool = true;

    fn reply(&self, payload: &[u8]) -> Result<VcsReport, DecodeError> {
        self.take_report(&mut Reader::new(Self::NAME, payload))
    }
}

macro_rules! commands {
    ($($name:ident = $code:literal, $text:literal, $again:ident -> $reply:ty;)+) => {
        $(impl Command for $name {
            type Reply = $reply;
            const OPCODE: Opcode = Opcode($code);
            const NAME: &'static str = $text;
            const REPEATABLE: bool = commands!(@$again);

            fn reply(&self, payload: &[u8]) -> Result<$reply, DecodeError> {
                <$reply as Payload>::take(&mut Reader::new($text, payload))
            }
        })+

        /// Any command that has a layout of its own, as a switch reads it.
        #[derive(Debug, Clone, PartialEq, Eq)]
        #[allow(missing_docs, reason = "each is the command of its name")]
        pub enum Request {
            GetVcs(GetVcs),
            $($name($name),)+
        }

        impl Request {
            /// Reads the payload of a command; none if its opcode is not known here.
            ///
            /// # Errors
            /// When the bytes end too early, or a field has a value that cannot be.
            pub fn read(opcode: Opcode, payload: &[u8]) -> Result<Option<Self>, DecodeError> {
                Ok(Some(match opcode {
                    GetVcs::OPCODE => Self::GetVcs(GetVcs::take(&mut Reader::new(GetVcs::NAME, payload))?),
                    $(Opcode($code) => Self::$name(<$name as Payload>::take(&mut Reader::new($text, payload))?),)+
                    _ => return Ok(None),
                }))
            }

            /// The opcode.
            #[must_use]
            pub const fn opcode(&self) -> Opcode {
                match self {
                    Self::GetVcs(_) => GetVcs::OPCODE,
                    $(Self::$name(_) => Opcode($code),)+
                }
            }

            /// The payload.
            #[must_use]
            pub fn payload(&self) -> Vec<u8> {
                match self {
                    Self::GetVcs(command) => command.to_bytes(),
                    $(Self::$name(command) => command.to_bytes(),)+
                }
            }
        }
    };
    (@again) => { true };
    (@once) => { false };
}

commands! {
    Identify = 0x0001, "Identify", again -> Identity;
    GetBackgroundStatus = 0x0002, "Background Operation Status", again -> BackgroundStatus;
    AbortBackground = 0x0005, "Request Abort Background Operation", again -> ();
    IdentifySwitch = 0x5100, "Identify Switch Device", again -> SwitchIdentity;
    GetPortState = 0x5101, "Get Physical Port State", again -> PortStates;
    ControlPort = 0x5102, "Physical Port Control", once -> ();
    Bind = 0x5201, "Bind vPPB", once -> ();
    Unbind = 0x5202, "Unbind vPPB", once -> ();
    GetLdInfo = 0x5400, "Get LD Info", again -> LdInfo;
    GetLdAllocations = 0x5401, "Get LD Allocations", again -> LdAllocations;
    SetLdAllocations = 0x5402, "Set LD Allocations", again -> SetLdAllocations;
    GetQosControl = 0x5403, "Get QoS Control", again -> QosControl;
    SetQosControl = 0x5404, "Set QoS Control", again -> QosControl;
    GetQosStatus = 0x5405, "Get QoS Status", again -> QosStatus;
    GetQosAllocated = 0x5406, "Get QoS Allocated BW", again -> LdFractions;
    SetQosAllocated = 0x5407, "Set QoS Allocated BW", again -> LdFractions;
    GetQosLimit = 0x5408, "Get QoS BW Limit", again -> LdFractions;
    SetQosLimit = 0x5409, "Set QoS BW Limit", again -> LdFractions;
    GetDynamicInfo = 0x5600, "Get DCD Info", again -> DynamicInfo;
    GetHostRegions = 0x5601, "Get Host DC Region Configuration", again -> HostRegions;
    SetRegion = 0x5602, "Set DC Region Configuration", again -> ();
    GetExtents = 0x5603, "Get DC Region Extent Lists", again -> Extents;
    AddCapacity = 0x5604, "Initiate Dynamic Capacity Add", once -> ();
    ReleaseCapacity = 0x5605, "Initiate Dynamic Capacity Release", once -> ();
}
