//! The words of Halcyon: what a host is, what its VMs may have, and who holds what.
//!
//! Everything here is a value. This crate does no I/O, reads no clock and draws no random number, so
//! that the daemon, the simulator and the tests reason about one and the same thing.
pub mod units;
