//! The mechanisms of real Linux hosts and hypervisors: one module for each interface, reading and writing
//! together, so that the form of a file or of a message is known in exactly one place.
//!
//! Nothing here decides anything. Roots of file trees, sockets and clocks are injected, and the tests run
//! the very code of the drivers on trees in a temporary folder and on peers that speak the real protocol.
pub mod affinity;
mod ceiling;
pub mod cgroup;
mod kept;
pub mod live;
pub mod nvml;
pub mod qmp;
pub mod resctrl;
pub mod sampler;
pub mod vm;

pub(crate) use halcyon_hal::error_chain;
