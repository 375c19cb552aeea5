//! `halcyon bench`: many scenarios, many policies, and how sure it is that one is better.

mod measure;
mod memory;
pub(crate) mod output;
mod progress;
mod setup;
mod table;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::Result;
use halcyon_lab::bench::{
    self, BuiltIn, Case, Detail, Memory, Plan, Policies, Report, Resource, Store, WithModel,
};

use crate::demo::{WallClock, print, stop_on_interrupt};
use crate::weights;
use setup::Chosen;

/// Compare policies over many scenarios
///
/// Every policy runs on every scenario with every seed, through the same control cycle that the daemon
/// runs. The table has means with their spread: one day of one trace says nothing. The static assignment
/// and the clairvoyant, which knows all demand to come, run always, because the others are measured
/// against them.
#[derive(Debug, clap::Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).args(["scenarios", "standard", "full", "world_cmd"]),
    args_conflicts_with_subcommands = true,
    subcommand_negates_reqs = true
)]
pub(crate) struct Args {
    #[command(subcommand)]
    measure: Option<measure::Measure>,
    /// Scenario files, or folders of them
    #[arg(long, value_name = "PATH", num_args = 1..)]
    scenarios: Vec<PathBuf>,
    /// The standard set: drawn scenarios on every host shape, in minutes
    #[arg(long)]
    standard: bool,
    /// More, longer and larger drawn scenarios, for hours
    #[arg(long)]
    full: bool,
    /// A command that takes the simulator's place; it is run once for each seed and policy
    #[arg(long, value_name = "COMMAND", conflicts_with_all = ["hours", "by_resource", "state", "jobs"])]
    world_cmd: Option<String>,
    /// A command that is a policy of its own, `external` in the table
    #[arg(long, value_name = "COMMAND")]
    policy_cmd: Option<String>,
    /// How long such a command may take for each line, in seconds
    #[arg(long, value_name = "S", default_value = "10", allow_negative_numbers = true, value_parser = setup::deadline)]
    peer_deadline: Duration,
    /// The policies, separated by commas; all that come with Halcyon if left out
    #[arg(long, value_name = "LIST", value_delimiter = ',')]
    policies: Vec<String>,
    /// Weights for the policy `learned`, as `halcyon train` writes them; those that come with Halcyon if left
    /// out
    #[arg(long, value_name = "FILE", conflicts_with = "world_cmd")]
    model: Option<PathBuf>,
    /// Leave out the clairvoyant, which takes longest; then no share of the gap is known
    #[arg(long)]
    no_clairvoyant: bool,
    /// Seeds of each scenario file, counted from the file's own, or of the world, counted from 1
    #[arg(long, value_name = "N", default_value_t = 1, conflicts_with_all = ["standard", "full"],
          value_parser = clap::value_parser!(u32).range(1..=10_000))]
    seeds: u32,
    /// Simulated hours of every run; as the scenarios have it if left out
    #[arg(long, value_name = "H", allow_negative_numbers = true, value_parser = crate::demo::setup::hours)]
    hours: Option<Duration>,
    /// Run each policy with one resource alone as well, for each resource
    #[arg(long)]
    by_resource: bool,
    /// Threads; as many as there are cores if left out. The result does not depend on it
    #[arg(short, long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    jobs: Option<u16>,
    /// Write the result as JSON; to standard output, instead of the table, if FILE is -
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a self-contained page with figures
    #[arg(long, value_name = "FILE.html")]
    html: Option<PathBuf>,
    /// Keep finished runs in a folder, and take from it those that are there
    #[arg(long, value_name = "DIR", visible_alias = "resume")]
    state: Option<PathBuf>,
}

/// Exit code for a mistake in the arguments, as clap has it.
pub(crate) const USAGE: u8 = 2;
/// Exit code after Ctrl-C.
pub(crate) const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    if let Some(measure) = &args.measure {
        return measure::run(measure);
    }
    let policies = match setup::policies(args) {
        Ok(policies) => policies,
        Err(message) => {
            eprintln!("halcyon: {message}");
            return Ok(ExitCode::from(USAGE));
        }
    };
    output::check(args)?;
    let model = args.model.as_deref().map(|path| weights::read(Some(path))).transpose()?;
    let chosen = Chosen { policies, entries: setup::entries(args)?, model };
    let store = match &args.state {
        Some(folder) => Some(Store::open(folder, &setup::program()?)?),
        None => None,
    };
    // Until here there is nothing to put in order.
    let stop = stop_on_interrupt()?;
    let Some(measured) = measure(args, &chosen, store.as_ref(), &stop)? else {
        return Ok(ExitCode::from(INTERRUPTED));
    };
    let memory = Memory { process_peak_rss_bytes: memory::peak_rss_bytes() };
    let report = Report::new(&measured.cases, memory);
    output::html(args, &report, measured.detail.as_ref())?;
    let json = output::json(args.json.as_deref(), &report)?;
    match json {
        Some(text) => print(&text)?,
        None => print(&table::render(&report, std::io::stdout().is_terminal()))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// What came of everything.
struct Measured {
    cases: Vec<Case>,
    /// The scenario to look at closely, for a page.
    detail: Option<Detail>,
}

/// Runs everything; nothing if it was interrupted.
fn measure(
    args: &Args,
    chosen: &Chosen,
    store: Option<&Store>,
    stop: &AtomicBool,
) -> Result<Option<Measured>> {
    let clock = WallClock(Instant::now());
    let mine = setup::mine(args);
    if let Some(command) = &args.world_cmd {
        let done = |seed| eprintln!("halcyon: seed {seed} of {} is done", args.seeds);
        let seeds = 1..=u64::from(args.seeds);
        let cases = bench::world(
            &setup::outside(args, command),
            seeds,
            &chosen.policies,
            mine.as_ref(),
            &clock,
            &done,
            stop,
        )?;
        if cases.is_none() {
            eprintln!("halcyon: interrupted; nothing was kept");
        }
        return Ok(cases.map(|cases| Measured { cases, detail: None }));
    }
    let rest: &dyn Policies = mine.as_ref().map_or(&BuiltIn, |mine| mine);
    let with_model = chosen.model.clone().map(|network| WithModel { network, rest });
    let plan = Plan {
        entries: &chosen.entries,
        policies: &chosen.policies,
        alone: if args.by_resource { &Resource::ALL } else { &[] },
        make: with_model.as_ref().map_or(rest, |mine| mine),
        threads: setup::threads(args.jobs),
        store,
    };
    let progress = progress::Progress::new(&plan);
    let cases = bench::run(&plan, &clock, &|event| progress.hear(&event), stop);
    progress.finish();
    let Some(cases) = cases? else {
        eprintln!("halcyon: interrupted; {}", progress.kept(args.state.as_deref()));
        return Ok(None);
    };
    let Some((index, names)) = bench::telling(&cases).filter(|_| args.html.is_some()) else {
        return Ok(Some(Measured { cases, detail: None }));
    };
    eprintln!("halcyon: looking at {} once more, for the page", chosen.entries[index].name());
    let detail = bench::detail(&chosen.entries[index], &names, plan.make, &clock, stop)?;
    if detail.is_none() {
        eprintln!("halcyon: interrupted; {}", progress.kept(args.state.as_deref()));
        return Ok(None);
    }
    Ok(Some(Measured { cases, detail }))
}
