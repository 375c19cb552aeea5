//! The words of Halcyon: what a host is, what its VMs may have, and who holds what.
//!
//! Everything here is a value. This crate does no I/O, reads no clock and draws no random number, so
//! that the daemon, the simulator and the tests reason about one and the same thing.
//!
//! ```text
//!  Proposal ──project──► Assignment ──diff──► Steps ──approve──► Plan
//!                                               ▲                 │
//!                            Ledger (order) ────┘      Checker ───┘ (independent)
//! ```
pub mod admit;
pub mod assignment;
pub mod capability;
pub mod check;
pub mod describe;
pub mod diff;
pub mod fair;
pub mod ids;
pub mod ledger;
mod naming;
pub mod plan;
pub mod profile;
pub mod project;
pub mod proposal;
pub mod snapshot;
pub mod step;
pub mod topology;
pub mod units;
pub mod vm;
pub mod world;

pub use admit::{AdmissionError, admit};
pub use assignment::{Assignment, CacheMask, DeviceHolding, GpuInstance, Grant, Holding, Mismatch};
pub use capability::{Capabilities, ChangeKind, Control, Families, Family};
pub use check::{Rule, Violation, Violations, check};
pub use diff::{Diff, diff};
pub use ids::{
    ClassId, DeviceId, Generation, GpuId, IommuGroup, LinkId, NodeId, PciAddress, PoolId, PortId, SocketId,
    SwitchId, VmId,
};
pub use ledger::Ledger;
pub use naming::Names;
pub use plan::{Change, Plan, Standing, approve};
pub use project::project;
pub use proposal::{DeviceMove, LinkWish, MemoryWish, Proposal, Reason, VmWish, Wish};
pub use snapshot::{HostTime, ObjectiveSignal, Snapshot, VmCounters, VmRates, VmSample, device_rate};
pub use step::{Placement, Step};
pub use topology::{DeviceClass, LinkSetting, Topology};
pub use units::{Bandwidth, ByteSize, Lanes, LinkSpeed, MilliCpu, Weight};
pub use vm::{Bounds, DeviceWish, Objective, VmSpec};
pub use world::World;
