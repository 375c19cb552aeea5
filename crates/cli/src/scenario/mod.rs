//! `halcyon scenario`: drawing scenarios into files, and looking at what they come to.

mod draw;
mod show;

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, Subcommand};

use crate::demo::setup;

/// Draw scenarios and say what they come to.
#[derive(Debug, Args)]
pub(crate) struct ScenarioArgs {
    #[command(subcommand)]
    command: ScenarioCommand,
}

#[derive(Debug, Subcommand)]
enum ScenarioCommand {
    /// Draw VMs, programs and demand for a host into one file that depends on no other.
    New(NewArgs),
    /// Say what a scenario comes to.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct NewArgs {
    /// A host description in TOML; the demo's two-socket server if left out.
    #[arg(long, value_name = "FILE")]
    host: Option<PathBuf>,
    /// Traces of real VMs; demand is generated if left out. VMs are taken from all of them by turns.
    #[arg(long, value_name = "PATH", num_args = 1..)]
    traces: Vec<PathBuf>,
    /// A folder of application profiles, instead of those that come with Halcyon.
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
    /// How many VMs; as many as are an ordinary load for the host if left out.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    vms: Option<u32>,
    /// Simulated hours.
    #[arg(long, value_name = "H", default_value = "6", value_parser = setup::hours)]
    hours: Duration,
    /// The CPU limits of all VMs together, as a multiple of the host's CPUs.
    #[arg(long, value_name = "X", default_value_t = 3.0)]
    overcommit: f64,
    /// Mean CPU demand of all VMs, as a share of the host, instead of --overcommit.
    #[arg(long, value_name = "X", conflicts_with = "overcommit", value_parser = setup::load)]
    load: Option<f64>,
    /// The memory limits of all VMs together, as a multiple of the host's memory.
    #[arg(long, value_name = "X", default_value_t = 1.6)]
    memory_overcommit: f64,
    /// The share of VMs that arrive after the start, or leave before the end, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    churn: f64,
    /// The share of VMs with a latency objective whose response times are measured, 0 to 1.
    #[arg(long, value_name = "P", default_value_t = 1.0)]
    signal: f64,
    /// One seed, one scenario, on any machine.
    #[arg(long, value_name = "S", default_value_t = 1)]
    seed: u64,
    /// The file to write.
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Replace the file if it is there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The scenario.
    file: PathBuf,
    /// Print it as JSON.
    #[arg(long)]
    json: bool,
    /// Write a self-contained page with the host, the VMs and their demand over time.
    #[arg(long, value_name = "OUT.html", conflicts_with = "json")]
    html: Option<PathBuf>,
}

/// Runs one of the subcommands.
///
/// # Errors
/// With a message that names the file and the place in it.
pub(crate) fn run(args: &ScenarioArgs) -> anyhow::Result<()> {
    match &args.command {
        ScenarioCommand::New(args) => draw::draw(args),
        ScenarioCommand::Show(args) => show::show(args),
    }
}
