//! Between a plan and a machine: what every driver must offer, and how a plan becomes physical changes
//! without a moment in which anything is granted twice.
pub mod assembly;
pub mod executor;
pub mod host;
pub mod journal;
#[cfg(any(test, feature = "testkit"))]
pub mod testkit;

pub use assembly::{Assembly, AssemblyError};
pub use executor::{Event, Executor, Stuck};
pub use host::{Actuate, ActuateError, Driver, Host, Inventory, Observe, ObserveError, Progress, Ticket};
pub use journal::{
    Entry, Journal, JournalError, MemoryJournal, OpenStep, OpenTransaction, Room, SqliteJournal, StepState,
    Trouble, Unfinished,
};
/// An error with its causes, on one line.
#[must_use]
pub fn error_chain(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(error.source(), |cause| cause.source());
    causes.fold(error.to_string(), |text, cause| format!("{text}: {cause}"))
}
