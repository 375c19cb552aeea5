//! `halcyon run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use halcyon_api::Mode;
use halcyon_daemon::{Config, Kind, Site};
use halcyon_hal::{Executor, Journal, MemoryJournal, Room, SqliteJournal};
use halcyon_host::live::Ids;
use halcyon_model::Generation;

use crate::ask::SOCKET;
use crate::live::ThisHost;
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
            let state = &linux.state;
            std::fs::create_dir_all(state).with_context(|| {
                format!("cannot make the folder {}; name another as host.state", state.display())
            })?;
            // The journal is one program's alone, and with it all that is in this folder.
            let (journal, unfinished) = SqliteJournal::open(&state.join("journal.db"), Room::DEFAULT)?;
            let ids = Ids::open(&state.join("vms.json"))?;
            let acts = config.mode == Mode::Act;
            let machine = Box::new(ThisHost::open(linux, ids, acts, &unfinished)?);
            let newest = unfinished.newest;
            let executor = Executor::resume(journal, unfinished);
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
