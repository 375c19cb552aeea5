//! From a configuration to a daemon that runs until it is told to stop.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Sender, channel};
use std::time::Duration;

use halcyon_control::Cycle;
use halcyon_hal::{Executor, Journal, error_chain};
use halcyon_model::Generation;
use halcyon_policy::{Policy, Reactive, by_name};
use sd_notify::NotifyState;
use tokio::net::UnixListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::oneshot;

use crate::board::Board;
use crate::config::{Config, ConfigError};
use crate::engine::{Engine, Machine, Order, of_cycle};
use crate::server;

/// Why a daemon did not start. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The configuration is not right.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// There is no such policy.
    #[error("{}: there is no policy `{name}`; choose one of {known}", path.display())]
    NoPolicy {
        /// The configuration.
        path: PathBuf,
        /// What it asks for.
        name: String,
        /// What there is.
        known: String,
    },
    /// It cannot listen.
    #[error("cannot listen at {}", socket.display())]
    Listen {
        /// Where.
        socket: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// The system would not.
    #[error("cannot {what}")]
    System {
        /// What was tried.
        what: &'static str,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
}

/// What a daemon is started with.
pub struct Site<J> {
    /// The configuration, read.
    pub config: Config,
    /// The host that it names.
    pub machine: Box<dyn Machine>,
    /// Carries plans out; it may have taken up what another left.
    pub executor: Executor<J>,
    /// The newest plan that its journal knows.
    pub newest: Generation,
    /// Where to listen.
    pub socket: PathBuf,
}

/// What a daemon that is up says of itself.
#[derive(Debug, Clone)]
pub struct Started {
    /// Where it listens.
    pub socket: PathBuf,
}

/// Runs a daemon until SIGTERM, Ctrl-C, or the end of a simulated host. `up` is called once it answers.
///
/// # Errors
/// When it cannot start.
pub fn run<J: Journal>(site: Site<J>, up: impl FnOnce(&Started)) -> Result<(), StartError> {
    let Site { config, machine, executor, newest, socket } = site;
    let policy = policy(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
    let runtime = runtime.map_err(|source| StartError::System { what: "start a thread", source })?;
    let context = runtime.enter();
    let listener =
        server::listen(&socket).map_err(|source| StartError::Listen { socket: socket.clone(), source })?;
    let board = Arc::new(Board::new(machine.name(), machine.inventory()));
    let (orders, told) = channel();
    let (stop, stopped) = oneshot::channel();
    let signals = Signals::new().map_err(|source| StartError::System { what: "wait for signals", source })?;
    drop(context);
    runtime.spawn(listen(listener, Arc::clone(&board), config.users.clone(), stopped));
    runtime.spawn(signals.obey(config.clone(), orders.clone(), Arc::clone(&board)));
    let cycle = Cycle::over(executor, policy, Box::new(Reactive::default()), of_cycle(&config));
    let cycle = cycle.counting_from(newest);
    up(&Started { socket: socket.clone() });
    notify(&[NotifyState::Ready]);
    let watchdog = watchdog();
    let mut beat = || {
        if watchdog {
            notify(&[NotifyState::Watchdog]);
        }
    };
    Engine { machine, cycle, config, board: &board, orders: told, beat: &mut beat }.run();
    notify(&[NotifyState::Stopping]);
    let _ = stop.send(());
    runtime.shutdown_timeout(Duration::from_secs(2));
    let _ = std::fs::remove_file(&socket);
    Ok(())
}

async fn listen(listener: UnixListener, board: Arc<Board>, users: Vec<u32>, stopped: oneshot::Receiver<()>) {
    let stop = async { stopped.await.unwrap_or_default() };
    if let Err(error) = server::serve(listener, board, users, stop).await {
        tracing::error!(error = &error as &dyn std::error::Error, "nobody is answered any more");
    }
}

fn policy(config: &Config) -> Result<Box<dyn Policy + Send>, StartError> {
    by_name(&config.policy).ok_or_else(|| StartError::NoPolicy {
        path: config.path.clone(),
        name: config.policy.clone(),
        known: [&["learned"], &halcyon_policy::NAMES[..]].concat().join(", "),
    })
}

/// What the system tells a daemon.
struct Signals {
    end: Signal,
    interrupt: Signal,
    reload: Signal,
}

impl Signals {
    fn new() -> std::io::Result<Self> {
        Ok(Self {
            end: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            reload: signal(SignalKind::hangup())?,
        })
    }

    async fn obey(mut self, mut config: Config, orders: Sender<Order>, board: Arc<Board>) {
        loop {
            tokio::select! {
                _ = self.end.recv() => break,
                _ = self.interrupt.recv() => break,
                _ = self.reload.recv() => {
                    notify(&[NotifyState::Reloading]);
                    match reload(&config.path, &config) {
                        Ok((new, policy)) => {
                            tracing::info!(mode = ?new.mode, policy = new.policy, "the configuration was read again");
                            config = new.clone();
                            board.shown().refused = None;
                            // Whoever does not listen any more is about to end.
                            let _ = orders.send(Order::Change { config: Box::new(new), policy });
                        }
                        Err(why) => {
                            tracing::error!(why, "the configuration was not taken; all goes on as before");
                            board.shown().refused = Some(format!("the configuration was not taken: {why}"));
                        }
                    }
                    notify(&[NotifyState::Ready]);
                }
            }
        }
        let _ = orders.send(Order::Stop);
    }
}

type Reloaded = (Config, Option<Box<dyn Policy + Send>>);

/// The configuration as it is now, all of it or nothing.
fn reload(path: &Path, before: &Config) -> Result<Reloaded, String> {
    let config = Config::read(path).map_err(|error| error_chain(&error))?;
    if let Some(section) = before.needs_restart(&config) {
        return Err(format!("{section} changed, which needs a new start"));
    }
    let changed = config.policy != before.policy;
    let policy = changed.then(|| policy(&config)).transpose().map_err(|error| error_chain(&error))?;
    Ok((config, policy))
}

fn notify(states: &[NotifyState<'_>]) {
    // Without systemd nobody wants to know.
    if let Err(error) = sd_notify::notify(false, states) {
        tracing::debug!(error = &error as &dyn std::error::Error, "systemd was not told");
    }
}

fn watchdog() -> bool {
    sd_notify::watchdog_enabled(false, &mut 0)
}
