//! `halcyon run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use halcyon_api::Mode;
use halcyon_daemon::{Config, Here, Kind, Site, here};
use halcyon_hal::{Executor, Journal, MemoryJournal};
use halcyon_lab::profiles;
use halcyon_model::Generation;

use crate::ask::SOCKET;
use crate::machine::machine;

/// Entries that the journal of a simulated host keeps.
const JOURNAL: usize = 100_000;

/// Drive a host: watch its VMs, decide ten times a second, and act where that is allowed
///
/// Runs until Ctrl-C or SIGTERM and leaves VMs as they are. SIGHUP reads the configuration again. The
/// host is this one, with its guests under QEMU, or a simulated one: that of a scenario, in real time.
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
    let socket = args.socket.clone().or_else(|| config.socket.clone());
    let socket = halcyon_api::socket_or_default(socket);
    match &config.kind {
        Kind::Sim { .. } => {
            let (machine, executor) = (machine(&config)?, Executor::new(MemoryJournal::new(JOURNAL)));
            drive(Site { config, machine, executor, newest: Generation(0), socket })
        }
        Kind::Linux(linux) => {
            let acts = config.mode == Mode::Act;
            let Here { machine, executor, newest } = here(linux, profiles::embedded(), acts)?;
            drive(Site { config, machine, executor, newest, socket })
        }
    }
}

fn drive<J: Journal>(site: Site<J>) -> Result<ExitCode> {
    let (mode, policy) = (site.config.mode, site.config.policy.clone());
    halcyon_daemon::run(site, |started| {
        tracing::info!(?mode, policy, socket = %started.socket.display(), "Halcyon is up");
    })?;
    Ok(ExitCode::SUCCESS)
}
