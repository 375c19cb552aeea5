//! `halcyon bench forecasts | decision-time | recovery`: one part of the learned policy, judged by itself.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, bail};
use halcyon_control::Stopwatch;
use halcyon_lab::bench::{self, Entry};
use halcyon_lab::measure::{self, SHORTEST_FORECAST};
use halcyon_lab::{Draw, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_sim::trace::{self, Selection, TraceSet};
use serde::Serialize;

use super::{INTERRUPTED, USAGE, setup};
use crate::demo::{WallClock, print, stop_on_interrupt};
use crate::weights;

#[derive(Debug, clap::Subcommand)]
pub(super) enum Measure {
    Forecasts(ForecastArgs),
    DecisionTime(DecisionArgs),
    Recovery(RecoveryArgs),
}

/// Judge the network's forecasts by themselves
///
/// Against repeating the last value, the same time yesterday, and exponentially weighted means. With traces
/// on demand that the network was never trained on: it is trained on generated demand alone. Without, on
/// the scenarios of --standard.
#[derive(Debug, clap::Args)]
pub(super) struct ForecastArgs {
    /// Traces, in any form that `halcyon trace` reads
    #[arg(value_name = "PATH")]
    traces: Vec<PathBuf>,
    /// Simulated hours of every run, at least 0.34; 1 if left out. Only runs of more than a day know a
    /// yesterday
    #[arg(long, value_name = "H", allow_negative_numbers = true, value_parser = crate::demo::setup::hours)]
    hours: Option<Duration>,
    /// Scenarios drawn from each trace, each with other VMs of it
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..=1000))]
    scenarios: u32,
    /// Weights to judge, as `halcyon train` writes them; those that come with Halcyon if left out
    #[arg(long, value_name = "FILE")]
    model: Option<PathBuf>,
    /// Threads; as many as there are cores if left out. The result does not depend on it
    #[arg(short, long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Time whole decisions of the learned policy, and the network alone
#[derive(Debug, clap::Args)]
pub(super) struct DecisionArgs {
    /// How many VMs, separated by commas; each with a host that grows with them
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_values_t = [64, 1024],
          value_parser = clap::value_parser!(u32).range(2..=4096))]
    vms: Vec<u32>,
    /// How many decisions at each size
    #[arg(long, value_name = "N", default_value_t = 3000, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    decisions: u32,
    /// Count only the time in which this thread ran, on a machine that is not quiet
    #[arg(long)]
    cpu_time: bool,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

/// Measure how fast a host is itself again after an event
///
/// After a load that jumps, a VM that arrives, and a hand-over of a device that fails: the seconds until the
/// host's score is within 2 % of its steady value and stays there.
#[derive(Debug, clap::Args)]
pub(super) struct RecoveryArgs {
    /// The policies, separated by commas
    #[arg(long, value_name = "LIST", value_delimiter = ',', default_value = "static,reactive,learned")]
    policies: Vec<String>,
    /// Print JSON instead of the table
    #[arg(long)]
    json: bool,
}

pub(super) fn run(measure: &Measure) -> Result<ExitCode> {
    match measure {
        Measure::Forecasts(args) => forecasts(args),
        Measure::DecisionTime(args) => decision_time(args),
        Measure::Recovery(args) => recovery(args),
    }
}

fn json(found: &impl Serialize) -> Result<String> {
    Ok(serde_json::to_string_pretty(found).context("cannot write the result as JSON")? + "\n")
}

/// Time in which this thread ran.
struct ThreadClock;

impl Stopwatch for ThreadClock {
    fn elapsed(&self) -> Duration {
        let now = rustix::time::clock_gettime(rustix::time::ClockId::ThreadCPUTime);
        Duration::try_from(now).unwrap_or_default()
    }
}

fn decision_time(args: &DecisionArgs) -> Result<ExitCode> {
    let wall = WallClock(Instant::now());
    let clock: &dyn Stopwatch = if args.cpu_time { &ThreadClock } else { &wall };
    let mut all = Vec::new();
    for vms in &args.vms {
        let found = measure::decision_time(*vms as usize, args.decisions, clock, None);
        let found = found.map_err(|error| anyhow!(error).context(format!("cannot time {vms} VMs")))?;
        if !args.json {
            print(&format!("{found}\n"))?;
        }
        all.push(found);
    }
    if args.json {
        print(&json(&all)?)?;
    }
    Ok(ExitCode::SUCCESS)
}

fn recovery(args: &RecoveryArgs) -> Result<ExitCode> {
    let known = bench::policies();
    if let Some(name) = args.policies.iter().find(|name| !known.contains(&name.as_str())) {
        eprintln!("halcyon: there is no policy `{name}`; choose from {}", known.join(", "));
        return Ok(ExitCode::from(USAGE));
    }
    let names: Vec<&str> = args.policies.iter().map(String::as_str).collect();
    let found = measure::recovery(&names).map_err(|error| anyhow!(error))?;
    print(&if args.json { json(&found)? } else { found.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// Scenarios of training on which the weights of the rivals' means are chosen, one of each host shape.
const TUNING: u64 = 6;

fn forecasts(args: &ForecastArgs) -> Result<ExitCode> {
    let network = weights::read(args.model.as_deref())?;
    let hours = args.hours.unwrap_or(Duration::from_secs(3600));
    if hours < SHORTEST_FORECAST {
        bail!(
            "--hours gives less than the {} s that it takes to judge forecasts",
            SHORTEST_FORECAST.as_secs()
        );
    }
    let entries = if args.traces.is_empty() {
        bench::standard().into_iter().map(|entry| entry.lasting(hours)).collect()
    } else {
        let mut entries = Vec::new();
        for path in &args.traces {
            entries.extend(of_trace(path, args.scenarios, hours)?);
        }
        entries
    };
    let tuning: Vec<Entry> =
        (0..TUNING).map(|number| bench::training(number).lasting(SHORTEST_FORECAST * 2)).collect();
    let stop = stop_on_interrupt()?;
    let threads = setup::threads(args.jobs);
    let Some(report) = measure::forecasts(&network, &entries, &tuning, threads, &stop)? else {
        eprintln!("halcyon: interrupted; nothing was kept");
        return Ok(ExitCode::from(INTERRUPTED));
    };
    print(&if args.json { json(&report)? } else { report.to_string() })?;
    Ok(ExitCode::SUCCESS)
}

/// A host for VMs with GPUs, and one for others, with how many VMs to draw for them.
const GPU_BOX: (&str, usize) = (include_str!("../../../../examples/hosts/gpu-box.toml"), 32);
const TWO_SOCKET: (&str, usize) = (crate::demo::setup::TWO_SOCKET, 28);

/// Scenarios of one trace. It is read here once for each, so that nobody waits for a mistake in it.
fn of_trace(path: &Path, scenarios: u32, hours: Duration) -> Result<Vec<Entry>> {
    let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let mut entries = Vec::new();
    for seed in 1..=u64::from(scenarios) {
        let selection = Selection::new(GPU_BOX.1, hours, seed);
        let traces = TraceSet::collect(trace::open(path, None)?, &selection, path)?;
        if seed == 1 && !traces.shortfall.is_zero() {
            let short = traces.shortfall.as_secs_f64() / 3600.0;
            eprintln!(
                "halcyon: {} is {short:.1} h shorter than the run; it starts again at its end",
                traces.source
            );
        }
        let only_gpu = traces.series.iter().all(|series| series.cpu.iter().all(Option::is_none));
        let (text, vms) = if only_gpu { GPU_BOX } else { TWO_SOCKET };
        let host = parse_host(text).map_err(|error| anyhow!("the built-in host: {error}"))?;
        let draw = Draw { load: 0.8, ..Draw::new(vms, hours, seed) };
        let scenario = Scenario::draw(host.topology, host.capabilities, &traces, draw)
            .with_context(|| format!("cannot draw {vms} VMs from {}", path.display()))?;
        entries.push(Entry::new(name.clone(), seed, hours, move |_| Ok(scenario.clone())));
    }
    Ok(entries)
}
