//! `halcyon run`: the daemon.

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Result;
use halcyon_daemon::{Config, Site};

use crate::ask::SOCKET;
use crate::machine::machine;

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
