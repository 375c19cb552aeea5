//! The `halcyon` binary: one command for each thing that a person does with a host.

mod bench;
mod demo;
mod doctor;
mod explain;
mod profile;
mod scenario;
mod trace;
mod train;
mod weights;

use std::process::ExitCode;

use clap::Parser;

/// Hardware abstraction layer for virtualization hosts that drives itself.
#[derive(Parser)]
#[command(name = "halcyon", version)]
enum Halcyon {
    Bench(bench::Args),
    Demo(demo::Args),
    Doctor(doctor::Args),
    Explain(explain::Args),
    Profile(profile::ProfileArgs),
    Scenario(scenario::ScenarioArgs),
    Trace(trace::TraceArgs),
    Train(train::Args),
}

fn main() -> ExitCode {
    let outcome = match Halcyon::parse() {
        Halcyon::Bench(args) => bench::run(&args),
        Halcyon::Demo(args) => demo::run(&args),
        Halcyon::Doctor(args) => doctor::run(&args),
        Halcyon::Explain(args) => explain::run(&args),
        Halcyon::Profile(args) => profile::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Scenario(args) => scenario::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Trace(args) => trace::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Train(args) => train::run(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("halcyon: {error:#}");
        ExitCode::FAILURE
    })
}
