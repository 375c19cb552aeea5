//! Between a plan and a machine: what every driver must offer, and how a plan becomes physical changes
//! without a moment in which anything is granted twice.
pub mod executor;
pub mod host;
pub mod journal;

pub use executor::{Event, Executor};
pub use host::{Actuate, ActuateError, Host, Inventory, Observe, ObserveError, Progress, Ticket};
pub use journal::{Entry, Journal, JournalError, MemoryJournal, StepState};
