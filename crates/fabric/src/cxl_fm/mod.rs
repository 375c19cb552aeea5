//! The fabric manager's interface of CXL switches (FM-API, Compute Express Link Specification 3.1,
//! section 7.6.7) as pure functions over bytes.
//!
//! ```text
//!  Bind { .. } ──put──► payload ──► Message (12-byte header) ──► MCTP packets of 68 bytes, or a dial-in frame
//!  PortStates  ◄─take── payload ◄── Message                  ◄── the same way back
//! ```
//!
//! A peer may send anything: what does not fit is an error that names the field, what is longer than
//! needed is read as far as it is known, sizes are bounded, and nothing panics. Real switches differ from the
//! specification and from each other in ways that are kept in [`Dialect`].
pub mod background;
pub mod bytes;
pub mod cci;
pub mod command;
pub mod dial_in;
pub mod dialect;
pub mod dynamic;
pub mod identify;
pub mod ids;
pub mod mctp;
pub mod mld;
pub mod ports;
pub mod tunnel;
pub mod vcs;

pub use background::{AbortBackground, BackgroundStatus, GetBackgroundStatus};
pub use bytes::{DecodeError, Payload};
pub use cci::{Message, Opcode, ReturnCode};
pub use command::{Command, Request};
pub use dialect::{Dialect, LdRoute, RangeOrder, SldId};
pub use identify::{Identify, IdentifySwitch, Identity, SwitchIdentity};
pub use ids::{LdId, PhysicalPort, VcsId, VppbId};
pub use mld::{
    GetLdAllocations, GetLdInfo, GetQosAllocated, GetQosControl, GetQosLimit, GetQosStatus, LdAllocation,
    LdAllocations, LdFractions, LdInfo, LdRange, QosControl, QosStatus, SetLdAllocations, SetQosAllocated,
    SetQosControl, SetQosLimit,
};
pub use ports::{ConnectedDevice, ControlPort, GetPortState, PortConfig, PortControl, PortState, PortStates};
pub use tunnel::{Tunnel, TunnelTarget};
pub use vcs::{Bind, GetVcs, Unbind, UnbindOption, Vcs, VcsReport, VcsState, Vppb, VppbStatus};
