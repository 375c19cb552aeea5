//! Devices of guests: plugged in and out through QMP, believed only when the machine shows it.
//!
//! `device_del` only asks. What comes of it: `DEVICE_DELETED` after 0.1–0.3 s (ACPI) or 6–7 s (native
//! hot-plug, whose button waits five seconds); "guest is busy" and "already in the process of unplug",
//! which pass; nothing ever, from a guest without a hot-plug driver or that is paused. Nothing destructive
//! is done when time runs out: the request is forgotten, the device stays where it is, and if the guest lets
//! go later the next reading shows it. Figures: QEMU 10.0, q35, Linux 6.12.
//!
//! A device leaves the list a moment before it lets go of its file, and whoever is killed between taking a
//! device out and closing its file leaves it locked, whereupon `device_add` elsewhere fails and QEMU 7.2
//! keeps that file open for good. So what is "in use" is waited for, and a driver that does not know how a
//! device was left has the other guests close it first. A guest that is no more holds nothing.

mod job;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket};
use halcyon_model::{Assignment, Capabilities, ChangeKind, Control, DeviceHolding, DeviceId, Step, VmId};
use serde_json::{Map, Value};

use self::job::Job;
use super::Clock;
use super::client::{Client, Pending};
use super::command::{Command, children};
use super::flights::Flights;

const PROMPT: Duration = Duration::from_secs(5);
const READING: Duration = Duration::from_millis(50);
/// A guest that has not let go for so long, and that never was seen to, will not.
const SILENT: Duration = Duration::from_secs(20);
const PERIPHERAL: &str = "/machine/peripheral";

/// What is behind a device in QEMU.
#[derive(Debug, Clone, PartialEq)]
pub enum Backend {
    /// A block node.
    Block {
        /// Its name.
        node: String,
        /// The arguments of `blockdev-add`, the name included.
        add: Map<String, Value>,
    },
    /// A way into a network.
    Network {
        /// Its id.
        id: String,
        /// The arguments of `netdev_add`, the id included.
        add: Map<String, Value>,
    },
}

impl Backend {
    fn open(&self) -> Command {
        match self {
            Self::Block { add, .. } => Command::blockdev_add(add),
            Self::Network { add, .. } => Command::netdev_add(add),
        }
    }

    fn close(&self) -> Command {
        match self {
            Self::Block { node, .. } => Command::blockdev_del(node),
            Self::Network { id, .. } => Command::netdev_del(id),
        }
    }
}

/// A device that can be plugged into guests.
#[derive(Debug, Clone, PartialEq)]
pub struct Part {
    /// Its id in QEMU.
    pub id: String,
    /// The arguments of `device_add` but for `id` and `bus`: `driver`, `serial`, `drive`, …
    pub add: Map<String, Value>,
    /// What has to be there first and goes last.
    pub backend: Option<Backend>,
}

/// A guest, and the port that it has for each device.
#[derive(Debug, Clone)]
pub struct Ports {
    /// The guest.
    pub client: Client,
    /// The `bus` of `device_add`, by device.
    pub buses: BTreeMap<DeviceId, String>,
}

/// Moves devices between guests.
pub struct DeviceDriver {
    parts: BTreeMap<DeviceId, Part>,
    guests: BTreeMap<VmId, Ports>,
    clock: Clock,
    silent: Duration,
    flights: Flights<Job>,
    /// The longest that a guest took to let go.
    longest: BTreeMap<VmId, Duration>,
    /// Devices that this driver moved last, so that no guest was left with a file open.
    known: BTreeSet<DeviceId>,
}

impl DeviceDriver {
    /// A driver of these devices and guests.
    #[must_use]
    pub fn new(parts: BTreeMap<DeviceId, Part>, guests: BTreeMap<VmId, Ports>, clock: Clock) -> Self {
        let (longest, known) = (BTreeMap::new(), BTreeSet::new());
        Self { parts, guests, clock, silent: SILENT, flights: Flights::new(), longest, known }
    }

    /// With another patience for guests that do not answer.
    #[must_use]
    pub fn with_patience(mut self, silent: Duration) -> Self {
        self.silent = silent;
        self
    }

    fn is_gone(&self, vm: VmId) -> bool {
        self.guests.get(&vm).is_some_and(|ports| ports.client.is_gone())
    }

    fn patience(&self, vm: VmId) -> Duration {
        self.longest.get(&vm).map_or(self.silent, |longest| self.silent.max(*longest * 3))
    }

    fn advance(&mut self, ticket: Ticket) -> Option<Progress> {
        let now = (self.clock)();
        let vm = self.flights.get(ticket)?.vm;
        let patience = self.patience(vm);
        let job = self.flights.get_mut(ticket)?;
        let client = &self.guests.get(&vm)?.client;
        let others = self.guests.iter().filter(|(other, _)| **other != vm);
        let others: Vec<&Client> = others.map(|(_, ports)| &ports.client).collect();
        let progress = job.advance(&self.parts, client, &others, now, patience)?;
        if progress == Progress::Done {
            self.known.extend(job.devices());
            if !job.plugs {
                let longest = self.longest.entry(vm).or_default();
                *longest = job.took(now).max(*longest);
            }
        }
        Some(progress)
    }
}

impl Actuate for DeviceDriver {
    fn estimate(&self, step: &Step) -> Duration {
        match step {
            Step::Detach { vm, .. } => self.patience(*vm),
            _ => Duration::from_secs(1),
        }
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refuse = |why: String| ActuateError { step: step.to_string(), why };
        let (vm, devices, plugs) = match step {
            Step::Attach { vm, devices } => (*vm, devices, true),
            Step::Detach { vm, devices } => (*vm, devices, false),
            _ => return Err(refuse("this driver moves devices only".into())),
        };
        let ports = self.guests.get(&vm).ok_or_else(|| refuse(format!("{vm} has no QMP socket")))?;
        let mut with_buses = Vec::new();
        for (device, _) in devices {
            if !self.parts.contains_key(device) {
                return Err(refuse(format!("{device} is not described for QEMU")));
            }
            let bus = ports.buses.get(device);
            if plugs && bus.is_none() {
                return Err(refuse(format!("{vm} has no port for {device}")));
            }
            with_buses.push((*device, bus.cloned().unwrap_or_default()));
        }
        let devices: Vec<DeviceId> = devices.iter().map(|(device, _)| *device).collect();
        self.flights.forget(|job| job.devices().any(|device| devices.contains(&device)));
        let now = (self.clock)();
        let freed = devices.iter().all(|device| self.known.contains(device));
        self.known.retain(|device| !devices.contains(device));
        let job = Job::new(vm, with_buses, plugs, freed, now);
        let ticket = self.flights.start(job);
        Ok(self.poll(ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let ended = self.advance(ticket);
        self.flights.answer(ticket, ended)
    }
}

impl Driver for DeviceDriver {
    fn name(&self) -> &'static str {
        "qmp-device"
    }

    fn capabilities(&self) -> Capabilities {
        let device = Control {
            pace: Duration::from_secs(10),
            latency: Duration::from_millis(300),
            interruption: Duration::from_millis(400),
            cost_s: 0.4,
            granularity: 1,
        };
        Capabilities::none().with(ChangeKind::Device, Some(device))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        let ask = |(vm, ports): (&VmId, &Ports)| {
            let client = &ports.client;
            client.is_connected().then(|| (*vm, client.call(Command::list(PERIPHERAL), PROMPT)))
        };
        let asked: Vec<(VmId, Pending)> = self.guests.iter().filter_map(ask).collect();
        let began = (self.clock)();
        let mut shown: BTreeMap<VmId, Vec<String>> = BTreeMap::new();
        for (vm, pending) in asked {
            let left = READING.saturating_sub((self.clock)().saturating_sub(began));
            if let Some(Ok(reply)) = pending.poll_for(left)
                && let Some(children) = children(&reply)
            {
                shown.insert(vm, children.into_iter().map(str::to_owned).collect());
            }
        }
        for (device, part) in &self.parts {
            let Some(holding) = held.devices.get_mut(device.index()) else { continue };
            let mut owners = shown.iter().filter(|(_, ids)| ids.contains(&part.id)).map(|(vm, _)| *vm);
            let owner = owners.next();
            if let (Some(first), Some(second)) = (owner, owners.next()) {
                let what = format!("the owner of {device}: {first} and {second} both have {}", part.id);
                return Err(ObserveError { what, source: None });
            }
            match (owner, holding.owner) {
                (Some(owner), believed) if believed != Some(owner) => {
                    *holding = DeviceHolding { owner: Some(owner), ..DeviceHolding::default() };
                }
                // Whoever does not answer keeps what it is believed to have, and whoever is gone has nothing.
                (None, Some(believed)) if shown.contains_key(&believed) || self.is_gone(believed) => {
                    *holding = DeviceHolding::default();
                }
                _ => {}
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for DeviceDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("DeviceDriver").field("parts", &self.parts).finish_non_exhaustive()
    }
}
