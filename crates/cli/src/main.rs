//! The `halcyon` binary.

mod doctor;

use std::process::ExitCode;

use clap::Parser;

/// Hardware abstraction layer for virtualization hosts that drives itself.
#[derive(Parser)]
#[command(name = "halcyon", version)]
enum Halcyon {
    Doctor(doctor::Args),
}

fn main() -> ExitCode {
    let outcome = match Halcyon::parse() {
        Halcyon::Doctor(args) => doctor::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("halcyon: {error:#}");
        ExitCode::FAILURE
    })
}
