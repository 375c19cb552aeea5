//! The simulated host and what runs on it.
pub mod trace;
