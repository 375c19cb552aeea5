//! The host that the daemon runs on: from a configuration to a machine that is read, and a journal that is
//! taken up.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::{Executor, JournalError, ObserveError, Room, SqliteJournal, Unfinished};
use halcyon_host::live::{self, DetectError, Ids, IdsError, Live, Specs, detect};
use halcyon_host::sampler::Roots;
use halcyon_host::vm::Place;
use halcyon_model::describe::{DescribeError, Host, parse_host, parse_vms, typical};
use halcyon_model::profile::Profiles;
use halcyon_model::{Generation, HostTime, VmId};

use crate::config::Linux;
use crate::engine::{Machine, Passed};

/// More than a description of a host or its VMs takes.
const MOST_BYTES: u64 = 16 << 20;

/// Why this host cannot be driven. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum HereError {
    /// A file cannot be read, or the folder of state not be made.
    #[error("cannot {what} {}", path.display())]
    File {
        /// What was tried.
        what: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A description is not right.
    #[error("{}", path.display())]
    Describe {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        #[source]
        source: DescribeError,
    },
    /// The system has no thread to give.
    #[error("cannot start a thread")]
    Thread(#[source] std::io::Error),
    /// The machine does not tell what it is made of.
    #[error(transparent)]
    Detect(#[from] DetectError),
    /// The numbers of VMs are not to be had.
    #[error(transparent)]
    Ids(#[from] IdsError),
    /// The journal is not to be had.
    #[error(transparent)]
    Journal(#[from] JournalError),
    /// The machine cannot be read.
    #[error(transparent)]
    Observe(#[from] ObserveError),
}

/// This host with what its journal left unfinished taken up.
#[derive(Debug)]
pub struct Here {
    /// The host.
    pub machine: Box<Live>,
    /// Goes on where another ended.
    pub executor: Executor<SqliteJournal>,
    /// The newest plan that the journal knows.
    pub newest: Generation,
}

/// Opens the journal, finds the guests and reads what they hold. Where `acts`, guests get control groups.
///
/// # Errors
/// When the configuration's files are not right, another daemon has the journal, or the machine cannot be
/// read.
pub fn here(linux: &Linux, profiles: Arc<Profiles>, acts: bool) -> Result<Here, HereError> {
    let state = &linux.state;
    std::fs::create_dir_all(state).map_err(|source| HereError::File {
        what: "make the folder (another one can be named as host.state)",
        path: state.clone(),
        source,
    })?;
    // The journal is one program's alone, and with it all that is in this folder.
    let (journal, unfinished) = SqliteJournal::open(&state.join("journal.db"), Room::DEFAULT)?;
    let mut machine = live_host(linux, profiles, Ids::open(&state.join("vms.json"))?)?;
    machine.start(acts, &unfinished)?;
    let newest = unfinished.newest;
    Ok(Here { machine, executor: Executor::resume(journal, unfinished), newest })
}

/// The same host for who only watches it: nothing is kept, and nothing is changed.
///
/// # Errors
/// When the configuration's files are not right or the machine cannot be read.
pub fn watched(linux: &Linux, profiles: Arc<Profiles>) -> Result<Box<Live>, HereError> {
    let mut machine = live_host(linux, profiles, Ids::passing())?;
    machine.start(false, &Unfinished::default())?;
    Ok(machine)
}

fn live_host(linux: &Linux, profiles: Arc<Profiles>, ids: Ids) -> Result<Box<Live>, HereError> {
    let described = |path: &Path| {
        let path = path.to_path_buf();
        move |source| HereError::Describe { path, source }
    };
    let (topology, capabilities) = match &linux.describe {
        Some(path) => {
            let Host { topology, capabilities } = parse_host(&read(path)?).map_err(described(path))?;
            (topology, capabilities)
        }
        None => (detect(Path::new("/sys"), &host_name())?, typical()),
    };
    let specs = match &linux.vms {
        Some(path) => parse_vms(&read(path)?, &topology).map_err(described(path))?,
        None => Vec::new(),
    };
    let site = live::Site {
        topology,
        capabilities,
        specs: Specs::new(specs),
        profiles,
        places: linux.sockets.iter().map(|path| place(path)).collect(),
        ids,
        roots: Roots::default(),
        sys: "/sys".into(),
        cgroups: linux.cgroups.clone(),
    };
    Ok(Box::new(Live::new(site).map_err(HereError::Thread)?))
}

/// A folder, unless a socket is there already or the name is that of one.
fn place(path: &Path) -> Place {
    let is_folder = path.is_dir() || !path.exists() && path.extension().is_none();
    if is_folder { Place::Folder(path.into()) } else { Place::Socket(path.into()) }
}

fn host_name() -> String {
    let told = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = told.trim();
    if name.is_empty() { "this host".into() } else { name.into() }
}

fn read(path: &Path) -> Result<String, HereError> {
    use std::io::Read;
    let failed = |source| HereError::File { what: "read", path: path.into(), source };
    let mut text = String::new();
    let file = std::fs::File::open(path).map_err(failed)?;
    file.take(MOST_BYTES).read_to_string(&mut text).map_err(failed)?;
    Ok(text)
}

impl Machine for Live {
    fn name(&self) -> &str {
        Self::name(self)
    }

    fn now(&self) -> HostTime {
        Self::now(self)
    }

    fn let_act(&mut self, acts: bool) {
        Self::let_act(self, acts);
    }

    fn states(&self) -> Vec<(VmId, &'static str)> {
        self.lives().map(|(vm, life)| (vm, life.name())).collect()
    }

    fn notices(&self) -> Vec<String> {
        self.troubles()
    }

    fn pass(&mut self, _: Duration) -> Passed {
        Self::pass(self);
        Passed::On
    }
}
