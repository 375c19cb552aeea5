//! Classes of service and bandwidth limits as changes of the tree.
//!
//! * A VM is in the class that most of its threads are in; [`CacheDriver::follow`] brings the others after
//!   it. Threads in groups of somebody else are not touched.
//! * A mask of a socket goes to all its last-level caches, and with `cdp` to code and data alike. Where
//!   caches differ, what is read is every way that any of them allows.
//! * A limit on bandwidth holds for a group on a socket: it is what the ceilings of the VMs in it add up to,
//!   and no limit where none of its VMs is on that socket. A socket with several caches lets the whole sum
//!   through each, as all threads may be on one. The default group holds the host's own processes too, so
//!   what they need is added there ([`Setup::host_bandwidth`]).
//! * A step either is made or leaves the tree as it was: what was changed before something went wrong is
//!   led back. Only where that fails too, the step has failed rather than not begun.

mod change;
mod create;
mod survey;
mod trail;

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket};
use halcyon_model::{
    Assignment, Bandwidth, Capabilities, ChangeKind, ClassId, Control, HostTime, SocketId, Step, VmId,
};

use self::create::Waiting;
use super::error::Error;
use super::files::Files;
use super::monitor::Usage;
use super::schemata::{Resource, Schemata};
use super::sockets::Sockets;
use super::threads::Threads;
use super::tree::{Tree, vm_group};

/// Tells the time since some moment.
pub type Clock = Box<dyn Fn() -> HostTime + Send>;

/// What the driver has to be told about the host.
#[derive(Debug, Clone)]
pub struct Setup {
    /// The caches of each socket.
    pub sockets: Sockets,
    /// What the memory of each socket moves.
    pub bandwidth: Vec<Bandwidth>,
    /// What the host's own processes move on each socket. It is added to the limit of the default group,
    /// which they share with the VMs of class 0.
    pub host_bandwidth: Bandwidth,
    /// Whether another driver moves VMs between sockets. Then this one offers to take part, so that limits
    /// on bandwidth move along; by itself it cannot place anything.
    pub joins_placement: bool,
    /// How long a new group is waited for while the hardware's ids are still in use. The kernel looks after
    /// them once a second.
    pub patience: Duration,
}

/// What following the threads came to.
#[derive(Debug, Default)]
pub struct Followed {
    /// Threads that were brought after their VM.
    pub moved: u32,
    /// What went wrong; the next call tries again.
    pub faults: Vec<Error>,
}

/// Where a VM is and what it may move, as was read last and changed since.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Member {
    class: ClassId,
    socket: SocketId,
    ceiling: Bandwidth,
}

type Members = BTreeMap<VmId, Member>;

/// Cache and memory bandwidth through resctrl.
pub struct CacheDriver<F, T> {
    tree: Tree<F>,
    threads: T,
    setup: Setup,
    clock: Clock,
    members: Members,
    waiting: BTreeMap<u64, Waiting>,
    tickets: u64,
}

impl<F: Files, T: Threads> CacheDriver<F, T> {
    /// A driver that has not read the machine yet, and so knows no VM.
    ///
    /// # Errors
    /// When there is a socket whose memory bandwidth is not told.
    pub fn new(tree: Tree<F>, threads: T, setup: Setup, clock: Clock) -> Result<Self, Error> {
        let (sockets, told) = (setup.sockets.len(), setup.bandwidth.len());
        if sockets != told {
            let why = format!("there are {sockets}, and the memory bandwidth of {told} is told");
            return Err(Error::Sockets { why });
        }
        let (members, waiting) = (BTreeMap::new(), BTreeMap::new());
        Ok(Self { tree, threads, setup, clock, members, waiting, tickets: 0 })
    }

    /// The tree.
    pub fn tree(&self) -> &Tree<F> {
        &self.tree
    }

    /// Who tells the threads; it is to be told which VMs come and go.
    pub fn threads(&mut self) -> &mut T {
        &mut self.threads
    }

    /// What a VM did, by socket; caches of a socket are added up. Nothing where it is not counted.
    ///
    /// # Errors
    /// When a counter is no number.
    pub fn usage(&self, vm: VmId) -> Result<Option<Vec<Usage>>, Error> {
        let Some(member) = self.members.get(&vm) else { return Ok(None) };
        let domains = match self.tree.usage(&vm_group(member.class, vm)) {
            Ok(domains) if domains.is_empty() => return Ok(None),
            Ok(domains) => domains,
            Err(error) if error.is_gone() => return Ok(None),
            Err(error) => return Err(error),
        };
        let of = |socket| {
            let caches = self.setup.sockets.caches(socket);
            Usage::sum(domains.iter().filter(|(id, _)| caches.contains(id)).map(|(_, usage)| *usage))
        };
        Ok(Some(self.setup.sockets.ids().map(of).collect()))
    }

    /// What a class needs besides the ceilings of its VMs.
    fn base(&self, class: ClassId) -> Bandwidth {
        if class.0 == 0 { self.setup.host_bandwidth } else { Bandwidth::ZERO }
    }

    /// The limits of a class with these members, on all sockets.
    fn throttles(&self, class: ClassId, members: &Members) -> Schemata {
        let mut schemata = Schemata::default();
        let Some(throttle) = self.tree.info().throttle else { return schemata };
        for (socket, whole) in self.setup.sockets.ids().zip(&self.setup.bandwidth) {
            let inside = || members.values().filter(|it| it.class == class && it.socket == socket);
            let sum: Bandwidth = inside().map(|it| it.ceiling).sum();
            let value = if inside().next().is_some() {
                throttle.value(sum + self.base(class), *whole)
            } else {
                throttle.unit.unlimited()
            };
            for cache in self.setup.sockets.caches(socket) {
                schemata = schemata.with(Resource::Bandwidth, *cache, value);
            }
        }
        schemata
    }

    /// The lines that hold the masks of a class.
    fn mask_lines(&self) -> &'static [Resource] {
        match self.tree.info().l3 {
            Some(cache) if cache.code_and_data => &[Resource::L3Code, Resource::L3Data],
            Some(_) => &[Resource::L3],
            None => &[],
        }
    }
}

impl<F: Files, T: Threads> Actuate for CacheDriver<F, T> {
    /// Everything is done at once, but for a new group that has to wait for an id of the hardware.
    fn estimate(&self, step: &Step) -> Duration {
        match step {
            Step::CreateClass { .. } => self.setup.patience,
            Step::SetClass { .. } => Duration::from_millis(10),
            _ => Duration::from_millis(1),
        }
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.change(step).map_err(|why| ActuateError { step: step.to_string(), why })
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.create_again(ticket)
    }
}

impl<F: Files, T: Threads> Driver for CacheDriver<F, T> {
    fn name(&self) -> &'static str {
        "resctrl"
    }

    fn capabilities(&self) -> Capabilities {
        let at_once = |pace, granularity| Control {
            pace: Duration::from_millis(pace),
            latency: Duration::from_millis(1),
            interruption: Duration::ZERO,
            cost_s: 0.0,
            granularity,
        };
        let info = self.tree.info();
        let cache = info.l3.filter(|_| info.classes > 1).map(|_| at_once(1000, 1));
        let step = |throttle: super::Throttle| {
            self.setup.bandwidth.iter().map(|whole| throttle.step(*whole).get()).max().unwrap_or(1).max(1)
        };
        let bandwidth = info.throttle.map(|throttle| at_once(100, step(throttle)));
        Capabilities::none()
            .with(ChangeKind::CacheMask, cache)
            .with(ChangeKind::CacheClass, cache)
            .with(ChangeKind::MemoryBandwidth, bandwidth)
            .with(ChangeKind::Placement, bandwidth.filter(|_| self.setup.joins_placement))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        self.survey_into(held).map_err(|error| ObserveError {
            what: "classes of service (resctrl)".into(),
            source: Some(Box::new(error)),
        })
    }
}
