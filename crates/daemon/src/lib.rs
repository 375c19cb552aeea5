//! The service around the control cycle: a real clock, a configuration that can be read again, an answer to
//! whoever asks, and an end that leaves VMs as they are. It holds no mechanism: hosts are handed to it.

mod board;
mod config;
mod engine;
mod here;
mod recent;
mod server;
mod service;
mod trail;

pub use board::Board;
pub use config::{Config, ConfigError, Kind, Linux};
pub use engine::{Machine, Passed};
pub use here::{Here, HereError, here, watched};
pub use service::{Site, StartError, Started, run};
