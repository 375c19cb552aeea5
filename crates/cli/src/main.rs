//! The `halcyon` binary.
fn main() {}
