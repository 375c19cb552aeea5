//! The simulated host: a driver like any other, with a performance model behind it instead of a machine.
//!
//! Demand comes from traces or from a generator fitted to them; what VMs get out of what they hold is
//! computed by [`SimHost::step`]. All is a function of the parameters and one seed.
mod actuate;
mod cache;
mod compute;
mod fabric;
mod gpu;
mod host;
mod load;
mod outlook;
mod parameters;
mod queue;
pub mod recording;
mod score;
mod tenancy;
pub mod trace;
mod vm;

pub use host::{Guest, SimHost, VmState};
pub use load::{Application, Demand, Workload};
pub use outlook::{Outlook, outlook};
pub use parameters::Parameters;
pub use queue::Service;
pub use score::{Score, VmScore};
