//! The QEMU Machine Protocol: one client for each guest, and what is changed through it.
//!
//! A [`Bus`] serves the sockets of all guests on one thread. A guest that is hostile, slow or dying costs
//! its own commands a clear error and nobody else anything: lines, events and commands under way are
//! bounded, every command has a deadline, and a lost connection is made anew.
//!
//! Form of messages: QEMU's `docs/interop/qmp-spec.rst`; behaviour of commands: as seen with QEMU 10.0.

mod client;
mod command;
mod device;
#[cfg(feature = "testkit")]
pub mod fake;
mod flights;
mod memory;
mod message;
mod statistics;
mod throttle;

pub use client::{Bus, Client, Pending, QmpError, Why};
pub use command::{Command, threads};
pub use device::{Backend, DeviceDriver, Part, Ports};
pub use memory::{MemoryBinding, MemoryDriver, Plug};
pub use message::{CommandError, Event, Lines, Message, MessageError};
pub use statistics::{BlockCounts, GuestStatistics};
pub use throttle::{Throttle, ThrottleDriver};

use std::sync::Arc;
use std::time::Duration;

/// Time since any fixed moment, handed in by whoever runs the drivers.
pub type Clock = Arc<dyn Fn() -> Duration + Send + Sync>;
