//! The host that the daemon runs on.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use halcyon_daemon::{Linux, Machine, Passed};
use halcyon_hal::{Actuate, ActuateError, Inventory, Observe, ObserveError, Progress, Ticket, Unfinished};
use halcyon_host::live::{Ids, Live, Site, Specs, detect};
use halcyon_host::sampler::Roots;
use halcyon_host::vm::Place;
use halcyon_lab::profiles;
use halcyon_model::describe::{Host, parse_host, parse_vms, typical};
use halcyon_model::{HostTime, Snapshot, Step, VmId};

/// More than a description of a host or its VMs takes.
const MOST_BYTES: u64 = 16 << 20;

/// This machine with its guests, found and read.
pub(crate) struct ThisHost {
    live: Live,
    name: String,
}

impl ThisHost {
    /// The host; what a journal left unfinished is kept in mind when it is read first.
    ///
    /// # Errors
    /// When it cannot be told what it is made of, or it cannot be read.
    pub(crate) fn open(linux: &Linux, ids: Ids, acts: bool, unfinished: &Unfinished) -> Result<Self> {
        let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
        let (topology, capabilities) = match &linux.describe {
            Some(path) => {
                let Host { topology, capabilities } =
                    parse_host(&read(path)?).with_context(|| path.display().to_string())?;
                (topology, capabilities)
            }
            None => (detect(Path::new("/sys"), &name)?, typical()),
        };
        let specs = match &linux.vms {
            Some(path) => {
                parse_vms(&read(path)?, &topology).with_context(|| path.display().to_string())?
            }
            None => Vec::new(),
        };
        let places = linux.sockets.iter().map(|path| place(path)).collect();
        let site = Site {
            topology,
            capabilities,
            specs: Specs::new(specs),
            profiles: profiles::embedded(),
            places,
            ids,
            roots: Roots::default(),
            sys: "/sys".into(),
            cgroups: linux.cgroups.clone(),
        };
        let mut live = Live::new(site).context("no thread can be started")?;
        live.start(acts, unfinished)?;
        Ok(Self { live, name })
    }
}

/// A folder, unless a socket is there already or the name is that of one.
fn place(path: &Path) -> Place {
    let is_folder = path.is_dir() || !path.exists() && path.extension().is_none();
    if is_folder { Place::Folder(path.into()) } else { Place::Socket(path.into()) }
}

fn read(path: &Path) -> Result<String> {
    use std::io::Read;
    let tried = || format!("cannot read {}", path.display());
    let mut text = String::new();
    let file = std::fs::File::open(path).with_context(tried)?;
    let read = file.take(MOST_BYTES + 1).read_to_string(&mut text).with_context(tried)?;
    if read as u64 > MOST_BYTES {
        bail!("{} is larger than any description", path.display());
    }
    Ok(text)
}

impl Machine for ThisHost {
    fn name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> HostTime {
        self.live.now()
    }

    fn let_act(&mut self, acts: bool) {
        self.live.let_act(acts);
    }

    fn state(&self, vm: VmId) -> Option<String> {
        self.live.life(vm).map(|life| life.to_string())
    }

    fn notices(&self) -> Vec<String> {
        self.live.troubles()
    }

    fn pass(&mut self, _: Duration) -> Passed {
        self.live.pass();
        Passed::On
    }
}

impl Observe for ThisHost {
    fn inventory(&self) -> Arc<Inventory> {
        self.live.inventory()
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.live.observe(snapshot)
    }
}

impl Actuate for ThisHost {
    fn estimate(&self, step: &Step) -> Duration {
        self.live.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.live.begin(step)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.live.poll(ticket)
    }
}
