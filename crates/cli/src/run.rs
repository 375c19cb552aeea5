//! `halcyon run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result};
use halcyon_daemon::{Config, Kind, Machine, Passed, Site};
use halcyon_hal::{Actuate, ActuateError, Inventory, Observe, ObserveError, Progress, Ticket};
use halcyon_lab::Scenario;
use halcyon_model::{HostTime, Snapshot, Step};
use halcyon_sim::SimHost;

use crate::ask::SOCKET;

/// Drive a host: watch its VMs, decide ten times a second, and act where that is allowed
///
/// Runs until Ctrl-C or SIGTERM and leaves VMs as they are. SIGHUP reads the configuration again. For now the
/// host is a simulated one: that of a scenario, in real time.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Where to answer `halcyon status` and the like; /run/halcyon/halcyon.sock if neither this nor the
    /// configuration says
    #[arg(long, value_name = "PATH", env = SOCKET)]
    socket: Option<PathBuf>,
    /// What to log, such as info or halcyon_daemon=debug
    #[arg(long, value_name = "FILTER", default_value = "info")]
    log: String,
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let filter = tracing_subscriber::EnvFilter::try_new(&args.log);
    let filter = match filter {
        Ok(filter) => filter,
        Err(error) => {
            eprintln!("halcyon: --log `{}`: {error}", args.log);
            return Ok(ExitCode::from(crate::bench::USAGE));
        }
    };
    let colour = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_env_filter(filter).with_ansi(colour).with_writer(std::io::stderr).init();
    let config = Config::read(&args.config)?;
    let machine = machine(&config)?;
    let socket = args.socket.clone().or_else(|| config.socket.clone());
    let socket = halcyon_api::socket_or_default(socket);
    let (mode, policy) = (config.mode, config.policy.clone());
    halcyon_daemon::run(Site { config, machine, socket }, |started| {
        tracing::info!(?mode, policy, socket = %started.socket.display(), "Halcyon is up");
    })?;
    Ok(ExitCode::SUCCESS)
}

fn machine(config: &Config) -> Result<Box<dyn Machine>> {
    match &config.kind {
        Kind::Sim { scenario } => {
            let read = Scenario::read(scenario)?;
            let host = read.host().with_context(|| format!("{} cannot start", scenario.display()))?;
            let name = scenario.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let (step, duration) = (read.parameters.step, read.duration);
            Ok(Box::new(Simulated { host, name: name.unwrap_or_default(), step, duration }))
        }
    }
}

/// A scenario's host, in real time.
struct Simulated {
    host: SimHost,
    name: String,
    step: Duration,
    duration: Duration,
}

impl Machine for Simulated {
    fn name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> HostTime {
        self.host.now()
    }

    /// Whole steps of the simulation, one at least.
    fn period(&self, wanted: Duration) -> Duration {
        let steps = (wanted.as_secs_f64() / self.step.as_secs_f64()).round().clamp(1.0, 1e6);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let steps = steps as u32;
        self.step * steps
    }

    fn pass(&mut self, period: Duration) -> Passed {
        let until = self.host.now() + period;
        while self.host.now() < until {
            if self.host.now() >= self.duration {
                return Passed::Over;
            }
            self.host.step();
        }
        Passed::On
    }
}

impl Observe for Simulated {
    fn inventory(&self) -> std::sync::Arc<Inventory> {
        self.host.inventory()
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.host.observe(snapshot)
    }
}

impl Actuate for Simulated {
    fn estimate(&self, step: &Step) -> Duration {
        self.host.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.host.begin(step)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.host.poll(ticket)
    }
}
