//! Bandwidth of devices through QEMU's throttle groups.
//!
//! A grant's ceiling is the group's limit of all bytes moved in a second; the share is what admission
//! counts on, and no part of QEMU knows it. A device without an owner has no group to limit.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket};
use halcyon_model::{Assignment, Bandwidth, Capabilities, ChangeKind, Control, DeviceId, Grant, Step, VmId};
use serde_json::{Value, json};

use super::Clock;
use super::client::{Client, Pending};
use super::command::Command;
use super::flights::Flights;
use crate::ceiling;

const PROMPT: Duration = Duration::from_secs(2);
/// What QEMU takes for no limit at all.
const NO_LIMIT: u64 = 0;
const READING: Duration = Duration::from_millis(20);

/// What limits a device.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Throttle {
    /// The id of its throttle group, which every guest that may own it has.
    pub group: String,
    /// What the device moves in a second; a ceiling of that or more is no limit.
    pub most: Bandwidth,
}

/// Limits what devices move.
pub struct ThrottleDriver {
    guests: BTreeMap<VmId, Client>,
    throttles: BTreeMap<DeviceId, Throttle>,
    /// Who owns each device, as read last.
    owners: BTreeMap<DeviceId, VmId>,
    clock: Clock,
    flights: Flights<Vec<Pending>>,
}

impl ThrottleDriver {
    /// A driver of these guests and groups.
    #[must_use]
    pub fn new(
        guests: BTreeMap<VmId, Client>,
        throttles: BTreeMap<DeviceId, Throttle>,
        clock: Clock,
    ) -> Self {
        Self { guests, throttles, owners: BTreeMap::new(), clock, flights: Flights::new() }
    }

    fn set(&self, vm: VmId, device: DeviceId, grant: Grant<Bandwidth>) -> Result<Pending, String> {
        let client = self.guests.get(&vm).ok_or_else(|| format!("{vm} has no QMP socket"))?;
        let throttle = self.throttles.get(&device);
        let throttle = throttle.ok_or_else(|| format!("{device} has no throttle group"))?;
        let limit = ceiling::limit(grant.ceiling, throttle.most).unwrap_or(NO_LIMIT);
        // What is not named would keep its value, and totals and single directions exclude each other.
        let limits = json!({ "bps-total": limit, "bps-read": NO_LIMIT, "bps-write": NO_LIMIT });
        Ok(client.call(Command::set(&path(&throttle.group), "limits", limits), PROMPT))
    }

    fn advance(&mut self, ticket: Ticket) -> Option<Progress> {
        let waiting = self.flights.get_mut(ticket)?;
        while let Some(pending) = waiting.last() {
            let answer = pending.poll_for(Duration::from_millis(1))?;
            waiting.pop();
            if let Err(error) = answer {
                return Some(Progress::Failed { why: error.to_string() });
            }
        }
        Some(Progress::Done)
    }
}

fn path(group: &str) -> String {
    format!("/objects/{group}")
}

impl Actuate for ThrottleDriver {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::from_millis(5)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refuse = |why: String| ActuateError { step: step.to_string(), why };
        let asked = match step {
            Step::SetDeviceBandwidth { device, to, .. } => {
                let owner = self.owners.get(device).copied();
                let owner = owner.ok_or_else(|| refuse(format!("nobody owns {device}")))?;
                vec![self.set(owner, *device, *to).map_err(refuse)?]
            }
            Step::Attach { vm, devices } => {
                self.owners.extend(devices.iter().map(|(device, _)| (*device, *vm)));
                let known = devices.iter().filter(|(device, _)| self.throttles.contains_key(device));
                let set = known.map(|(device, grant)| self.set(*vm, *device, *grant));
                set.collect::<Result<_, _>>().map_err(refuse)?
            }
            Step::Detach { .. } => Vec::new(),
            _ => return Err(refuse("this driver changes the bandwidth of devices only".into())),
        };
        let ticket = self.flights.start(asked);
        Ok(self.poll(ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let ended = self.advance(ticket);
        self.flights.answer(ticket, ended)
    }
}

impl Driver for ThrottleDriver {
    fn name(&self) -> &'static str {
        "qmp-throttle"
    }

    fn capabilities(&self) -> Capabilities {
        let free =
            Control { pace: Duration::from_millis(100), latency: Duration::from_millis(2), ..Control::FREE };
        let device = Some(Control { granularity: 1, ..free });
        Capabilities::none().with(ChangeKind::DeviceBandwidth, device).with(ChangeKind::Device, device)
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        self.owners.clear();
        let mut asked = Vec::new();
        for (device, throttle) in &self.throttles {
            let Some(owner) = held.devices.get(device.index()).and_then(|holding| holding.owner) else {
                continue;
            };
            self.owners.insert(*device, owner);
            if let Some(client) = self.guests.get(&owner).filter(|client| client.is_connected()) {
                asked.push((*device, client.call(Command::get(&path(&throttle.group), "limits"), PROMPT)));
            }
        }
        let began = (self.clock)();
        for (device, pending) in asked {
            let left = READING.saturating_sub((self.clock)().saturating_sub(began));
            let Some(Ok(reply)) = pending.poll_for(left) else { continue };
            let Some(limit) = reply.get("bps-total").and_then(Value::as_u64) else { continue };
            let found = (limit != NO_LIMIT).then_some(limit);
            let holding = &mut held.devices[device.index()];
            holding.bandwidth = ceiling::grant(holding.bandwidth, found, self.throttles[&device].most);
        }
        Ok(())
    }
}

impl std::fmt::Debug for ThrottleDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ThrottleDriver").field("throttles", &self.throttles).finish_non_exhaustive()
    }
}
