//! The `halcyon` binary.
#[allow(dead_code)]
mod trace;
fn main() {}
