//! The control cycle: observe, decide, project, check, order, execute, record. It does not know whether
//! the host is real or simulated, and reads no clock of its own.
mod cycle;

pub use cycle::{Config, Cycle, CycleError, Mode, Outcome, Stopwatch};
pub use halcyon_policy::Fallback;
