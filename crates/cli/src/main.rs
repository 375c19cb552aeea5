//! The `halcyon` binary: one command for each thing that a person does with a host.

mod ask;
mod bench;
mod demo;
mod doctor;
mod explain;
mod machine;
mod profile;
mod record;
mod run;
mod scenario;
mod trace;
mod train;
mod weights;
mod whole;

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
    History(ask::HistoryArgs),
    Plan(ask::PlanArgs),
    Profile(profile::ProfileArgs),
    Record(record::Args),
    Run(run::Args),
    Scenario(scenario::ScenarioArgs),
    Status(ask::StatusArgs),
    Trace(trace::TraceArgs),
    Train(train::Args),
    Vms(ask::VmsArgs),
}

fn main() -> ExitCode {
    let outcome = match Halcyon::parse() {
        Halcyon::Bench(args) => bench::run(&args),
        Halcyon::Demo(args) => demo::run(&args),
        Halcyon::Doctor(args) => doctor::run(&args),
        Halcyon::Explain(args) => explain::run(&args),
        Halcyon::History(args) => ask::history(&args),
        Halcyon::Plan(args) => ask::plan(&args),
        Halcyon::Profile(args) => profile::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Record(args) => record::run(&args),
        Halcyon::Run(args) => run::run(&args),
        Halcyon::Scenario(args) => scenario::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Status(args) => ask::status(&args),
        Halcyon::Trace(args) => trace::run(&args).map(|()| ExitCode::SUCCESS),
        Halcyon::Train(args) => train::run(&args),
        Halcyon::Vms(args) => ask::vms(&args),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("halcyon: {error:#}");
        ExitCode::FAILURE
    })
}
