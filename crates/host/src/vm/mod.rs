//! The VM monitor: which guests there are, what each is made of, and what becomes of it.
//!
//! Guests are found by their QMP sockets. Each is asked who it is; from then on its events are followed, and
//! its state is asked for now and then, as events may be lost. Whoever runs the control cycle calls
//! [`Monitor::poll`] each time; it never waits.
//!
//! ```text
//!  a socket ──► greets ──► answers who it is ──► Came ─┬─► Renewed, Rebooted, Life …
//!     ▲             │              │                   └─► Went
//!     └── rests ◄───┴──────────────┴──────────────────────────┘
//! ```
//!
//! Names of states and events: QEMU's `qapi/run-state.json`.

mod interview;
mod life;
mod places;
mod up;

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::HostTime;

use crate::qmp::{Bus, Client};
use crate::sampler::Process;

pub use life::{Ending, Life};
pub use places::{Place, PlaceError};

use interview::Interview;
use up::Up;

/// Between two looks for new sockets.
const LOOK: Duration = Duration::from_millis(250);
/// After this a socket on which nobody answered is tried again.
const REST: Duration = Duration::from_millis(500);
/// A guest that did not say who it is for so long is worth a word.
const PATIENCE: Duration = Duration::from_secs(5);

/// A guest as it described itself.
#[derive(Debug, Clone)]
pub struct Instance {
    /// Its socket, by which it is known here.
    pub socket: PathBuf,
    /// The connection to it.
    pub client: Client,
    /// What people call it: what QEMU says, or else what its socket is called.
    pub name: String,
    /// Its UUID, where it was given one.
    pub uuid: Option<String>,
    /// The process that it runs in, with a thread for each virtual CPU; none where that cannot be seen.
    pub process: Option<Process>,
    /// Virtual CPUs.
    pub vcpus: u32,
    /// Memory that it was started with, in bytes.
    pub boot_memory: Option<u64>,
    /// Memory that its balloon leaves it, in bytes; none without a balloon.
    pub balloon_actual: Option<u64>,
    /// Where its balloon is among QEMU's objects.
    pub balloon: Option<String>,
    /// Its disks, as `query-blockstats` calls them.
    pub disks: Vec<String>,
    /// Interfaces of the host that its network cards end in.
    pub interfaces: Vec<String>,
    /// What it was doing.
    pub life: Life,
}

impl Instance {
    /// Whether both run in one and the same process, so that counters go on.
    #[must_use]
    pub fn is_same_process(&self, other: &Self) -> bool {
        let of =
            |instance: &Self| instance.process.as_ref().map(|process| (process.pid, process.started_ticks));
        of(self) == of(other)
    }

    fn says_the_same(&self, other: &Self) -> bool {
        self.name == other.name
            && self.uuid == other.uuid
            && self.process == other.process
            && self.vcpus == other.vcpus
            && self.boot_memory == other.boot_memory
            && self.balloon == other.balloon
            && self.disks == other.disks
            && self.interfaces == other.interfaces
            && self.client.is(&other.client)
    }
}

/// What became of guests.
#[derive(Debug, Clone)]
pub enum Change {
    /// There is one more.
    Came(Arc<Instance>),
    /// One describes itself otherwise than before.
    Renewed(Arc<Instance>),
    /// One began anew inside the same process.
    Rebooted(PathBuf),
    /// One does something else now.
    Life(PathBuf, Life),
    /// One is no more.
    Went(PathBuf, Ending),
}

/// A socket behind which no guest is followed, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unheard {
    /// The socket.
    pub socket: PathBuf,
    /// Why, and what to do.
    pub why: String,
}

/// Follows the guests of a host.
pub struct Monitor {
    bus: Bus,
    proc: PathBuf,
    places: Vec<Place>,
    seen: BTreeMap<PathBuf, Seen>,
    looked_at: Option<HostTime>,
    trouble: Vec<PlaceError>,
}

/// A socket.
struct Seen {
    /// When it was last seen to have no guest behind it.
    since: HostTime,
    why: Option<String>,
    phase: Phase,
}

enum Phase {
    /// Nobody answered; it is tried again.
    Rests {
        until: HostTime,
    },
    Greets(Client),
    Answers(Box<Interview>),
    Up(Box<Up>),
}

impl Monitor {
    /// A monitor of the guests whose sockets are at these places, with processes below `proc`.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn new(places: Vec<Place>, proc: &Path) -> io::Result<Self> {
        Ok(Self {
            bus: Bus::start()?,
            proc: proc.into(),
            places,
            seen: BTreeMap::new(),
            looked_at: None,
            trouble: Vec::new(),
        })
    }

    /// Looks at other places from now on. Guests at places that are named no more are let go.
    pub fn watch(&mut self, places: Vec<Place>) {
        self.places = places;
        self.looked_at = None;
    }

    /// What happened since the last call, in the order of sockets.
    ///
    /// `now` is any clock that does not go back.
    pub fn poll(&mut self, now: HostTime) -> Vec<Change> {
        let mut changes = Vec::new();
        if self.looked_at.is_none_or(|at| now.saturating_sub(at) >= LOOK) {
            self.looked_at = Some(now);
            self.look(now, &mut changes);
        }
        for (socket, seen) in &mut self.seen {
            seen.go_on(now, socket, &self.bus, &self.proc, &mut changes);
        }
        changes
    }

    fn look(&mut self, now: HostTime, changes: &mut Vec<Change>) {
        let mut found = BTreeMap::new();
        self.trouble.clear();
        for place in &self.places {
            match place.sockets() {
                Ok(sockets) => found.extend(sockets.into_iter().map(|socket| (socket, ()))),
                Err(error) => self.trouble.push(error),
            }
        }
        let places = &self.places;
        self.seen.retain(|socket, seen| {
            // A guest whose socket was unlinked is still there.
            let stays =
                found.contains_key(socket) || seen.is_up() && places.iter().any(|place| place.holds(socket));
            if !stays && seen.is_up() {
                changes.push(Change::Went(socket.clone(), Ending::LetGo));
            }
            stays
        });
        for socket in found.into_keys() {
            let rests = Phase::Rests { until: now };
            self.seen.entry(socket).or_insert_with(|| Seen { since: now, why: None, phase: rests });
        }
    }

    /// Places that cannot be looked at, and sockets that give no guest though somebody listens.
    pub fn troubles(&self, now: HostTime) -> impl Iterator<Item = String> {
        let places = self.trouble.iter().map(|error| crate::error_chain(error));
        let unheard = self.seen.iter().filter_map(move |(socket, seen)| {
            let why = seen.why.as_deref().filter(|_| now.saturating_sub(seen.since) > PATIENCE)?;
            Some(format!("{}: {why}", socket.display()))
        });
        places.chain(unheard)
    }

    /// The guests that are followed.
    pub fn instances(&self) -> impl Iterator<Item = &Arc<Instance>> {
        self.seen.values().filter_map(|seen| match &seen.phase {
            Phase::Up(up) => Some(&up.instance),
            _ => None,
        })
    }
}

impl Seen {
    const fn is_up(&self) -> bool {
        matches!(self.phase, Phase::Up(_))
    }

    fn go_on(&mut self, now: HostTime, socket: &Path, bus: &Bus, proc: &Path, changes: &mut Vec<Change>) {
        match &mut self.phase {
            Phase::Rests { until } if *until > now => {}
            Phase::Rests { .. } => self.phase = Phase::Greets(bus.client(socket)),
            Phase::Greets(client) if client.is_connected() => {
                self.phase = Phase::Answers(Box::new(Interview::begin(client, proc)));
            }
            Phase::Greets(client) if client.is_gone() => {
                // A socket that somebody left behind is no trouble.
                (self.since, self.why) = (now, None);
                self.phase = Phase::Rests { until: now + REST };
            }
            Phase::Greets(client) => self.why = Some(client.trouble()),
            Phase::Answers(interview) => match interview.poll() {
                None => {}
                Some(Ok(instance)) => {
                    let instance = Arc::new(instance);
                    changes.push(Change::Came(Arc::clone(&instance)));
                    self.why = None;
                    self.phase = Phase::Up(Box::new(Up::new(instance, now)));
                }
                Some(Err(error)) => {
                    self.why = Some(error.to_string());
                    self.phase = Phase::Rests { until: now + REST };
                }
            },
            Phase::Up(up) => {
                if let Some(how) = up.go_on(now, proc, changes) {
                    changes.push(Change::Went(socket.into(), how));
                    self.since = now;
                    self.phase = Phase::Rests { until: now };
                }
            }
        }
    }
}

impl std::fmt::Debug for Monitor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let up = self.instances().map(|instance| &instance.name).collect::<Vec<_>>();
        f.debug_struct("Monitor").field("places", &self.places).field("up", &up).finish_non_exhaustive()
    }
}
