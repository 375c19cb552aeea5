//! Memory of guests, by balloon or by virtio-mem.
//!
//! QEMU takes a target and says yes at once; the guest follows at its own pace, part of the way, or never.
//! So a change is done only when the size was read to be the one asked for. When nothing has moved for a
//! while the guest is taken not to want it: the old target is set again, so that it does not move late
//! behind everybody's back, and once the size is the old one the change was refused.
//!
//! Sources: QEMU's `balloon` and `virtio-mem` documentation; 170 MiB/s for a balloon that grows and
//! 1 GiB taken back in 6.2 s by virtio-mem were measured with QEMU 10.0 and Linux 6.12.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket};
use halcyon_model::{Assignment, ByteSize, Capabilities, ChangeKind, Control, Holding, NodeId, Step, VmId};
use serde_json::Value;

use super::Clock;
use super::client::{Client, Pending, QmpError};
use super::command::{Command, actual, plugged};
use super::flights::Flights;

/// How long a command may take that only asks or sets.
const PROMPT: Duration = Duration::from_secs(2);
/// How long all guests together may take to say what they hold, when the machine is read.
const READING: Duration = Duration::from_millis(20);
/// Between two looks at a change under way.
const LOOK: Duration = Duration::from_millis(50);
/// A guest that has not moved for so long will not.
const STILL: Duration = Duration::from_secs(5);
/// What a typical guest moves in a second, until it was seen to do otherwise.
const TYPICAL_BYTES_S: f64 = 170.0 * 1024.0 * 1024.0;

/// How one guest's memory is changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plug {
    /// The balloon leaves the guest what it holds, all of it on one node.
    Balloon {
        /// The node.
        node: NodeId,
    },
    /// A virtio-mem device holds what is on its node beyond what the guest booted with there.
    VirtioMem {
        /// By node: the device, and what the guest booted with.
        devices: BTreeMap<NodeId, (String, ByteSize)>,
    },
}

/// One guest and how its memory is changed.
#[derive(Debug, Clone)]
pub struct MemoryBinding {
    /// The guest.
    pub client: Client,
    /// How.
    pub plug: Plug,
}

/// Changes memory of guests through QMP.
pub struct MemoryDriver {
    guests: BTreeMap<VmId, MemoryBinding>,
    clock: Clock,
    still: Duration,
    flights: Flights<Job>,
    /// Bytes per second that each guest was seen to move.
    pace: BTreeMap<VmId, f64>,
    /// Questions that guests owe an answer to. They are waited for no more, and asked no other.
    owed: BTreeMap<VmId, Pending>,
}

/// One change on its way.
struct Job {
    vm: VmId,
    node: NodeId,
    from: u64,
    to: u64,
    /// Where it goes now: to what was asked for, or back.
    state: State,
    asked: Option<Pending>,
    seen: Option<u64>,
    moved_at: Duration,
    began: Duration,
    looked_at: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum State {
    Setting,
    Watching,
    SettingBack { why: String },
    WatchingBack { why: String },
}

impl MemoryDriver {
    /// A driver of these guests.
    #[must_use]
    pub fn new(guests: BTreeMap<VmId, MemoryBinding>, clock: Clock) -> Self {
        Self {
            guests,
            clock,
            still: STILL,
            flights: Flights::new(),
            pace: BTreeMap::new(),
            owed: BTreeMap::new(),
        }
    }

    /// With another patience for guests that do not move.
    #[must_use]
    pub fn with_patience(mut self, still: Duration) -> Self {
        self.still = still;
        self
    }

    fn binding(&self, step: &Step) -> Result<(&MemoryBinding, VmId, NodeId, u64, u64), ActuateError> {
        let refuse = |why: String| ActuateError { step: step.to_string(), why };
        let Step::SetMemory { vm, node, from, to } = step else {
            return Err(refuse("this driver changes memory only".into()));
        };
        let binding = self.guests.get(vm).ok_or_else(|| refuse(format!("{vm} has no QMP socket")))?;
        if !binding.plug.reaches(*node) {
            return Err(refuse(format!("nothing changes the memory of {vm} on {node}")));
        }
        Ok((binding, *vm, *node, from.get(), to.get()))
    }

    fn advance(&mut self, ticket: Ticket) -> Option<Progress> {
        let now = (self.clock)();
        let still = self.still;
        let job = self.flights.get_mut(ticket)?;
        let binding = self.guests.get(&job.vm)?;
        let ended = job.advance(binding, now, still);
        if ended.is_some() {
            // What was asked before says what was so before.
            self.owed.remove(&job.vm);
        }
        if ended == Some(Progress::Done) {
            let took = now.saturating_sub(job.began).as_secs_f64().max(1e-3);
            #[allow(clippy::cast_precision_loss)]
            self.pace.insert(job.vm, job.from.abs_diff(job.to) as f64 / took);
        }
        ended
    }
}

impl Plug {
    fn reaches(&self, node: NodeId) -> bool {
        match self {
            Self::Balloon { node: own } => *own == node,
            Self::VirtioMem { devices } => devices.contains_key(&node),
        }
    }

    fn set(&self, node: NodeId, size: u64) -> Option<Command> {
        match self {
            Self::Balloon { .. } => Some(Command::balloon(size)),
            Self::VirtioMem { devices } => {
                let (device, boot) = devices.get(&node)?;
                let path = format!("/machine/peripheral/{device}");
                let plugged = size.checked_sub(boot.get())?;
                Some(Command::set(&path, "requested-size", Value::from(plugged)))
            }
        }
    }

    fn ask(&self) -> Command {
        match self {
            Self::Balloon { .. } => Command::balloon_actual(),
            Self::VirtioMem { .. } => Command::memory_devices(),
        }
    }

    /// Bytes on each node, of the answer to what was asked.
    fn sizes(&self, reply: &Value) -> Option<Vec<(NodeId, u64)>> {
        match self {
            Self::Balloon { node } => Some(vec![(*node, actual(reply)?)]),
            Self::VirtioMem { devices } => {
                let plugged = plugged(reply)?;
                let size = |(node, (device, boot)): (&NodeId, &(String, ByteSize))| {
                    let (_, size) = plugged.iter().find(|(id, _)| id == device)?;
                    Some((*node, boot.get() + size))
                };
                devices.iter().map(size).collect()
            }
        }
    }

    fn size_on(&self, node: NodeId, reply: &Value) -> Option<u64> {
        self.sizes(reply)?.into_iter().find(|(own, _)| *own == node).map(|(_, size)| size)
    }
}

impl Job {
    /// Does what can be done now; says how it ended when it has.
    fn advance(&mut self, binding: &MemoryBinding, now: Duration, still: Duration) -> Option<Progress> {
        if self.asked.is_none() && now.saturating_sub(self.looked_at) >= LOOK {
            let command = match self.state {
                State::Setting => binding.plug.set(self.node, self.to),
                State::SettingBack { .. } => binding.plug.set(self.node, self.from),
                State::Watching | State::WatchingBack { .. } => Some(binding.plug.ask()),
            };
            let Some(command) = command else {
                return Some(Progress::Failed { why: "it holds less than it booted with".into() });
            };
            self.looked_at = now;
            self.asked = Some(binding.client.call(command, PROMPT));
        }
        let answer = self.asked.as_ref()?.poll()?;
        let asked = self.asked.take()?;
        match answer {
            Err(error) => self.went_wrong(&error),
            Ok(reply) => match self.state.clone() {
                State::Setting => self.watch(State::Watching, now),
                State::SettingBack { why } => self.watch(State::WatchingBack { why }, now),
                State::Watching | State::WatchingBack { .. } => {
                    let Some(size) = binding.plug.size_on(self.node, &reply) else {
                        return self.went_wrong(&asked.odd());
                    };
                    self.look(size, now, still)
                }
            },
        }
    }

    fn watch(&mut self, state: State, now: Duration) -> Option<Progress> {
        self.state = state;
        (self.moved_at, self.seen) = (now, None);
        self.looked_at = now.saturating_sub(LOOK);
        None
    }

    fn look(&mut self, size: u64, now: Duration, still: Duration) -> Option<Progress> {
        let back = matches!(self.state, State::WatchingBack { .. });
        if size == if back { self.from } else { self.to } {
            return Some(match self.state.clone() {
                State::WatchingBack { why } => Progress::Refused { why },
                _ => Progress::Done,
            });
        }
        if self.seen != Some(size) {
            (self.seen, self.moved_at) = (Some(size), now);
        }
        if now.saturating_sub(self.moved_at) < still {
            return None;
        }
        let held = ByteSize::new(size);
        if back {
            let why = format!("the guest stays at {held} and goes neither forwards nor back");
            return Some(Progress::Failed { why });
        }
        self.state = State::SettingBack { why: format!("the guest did not go beyond {held}") };
        self.looked_at = now.saturating_sub(LOOK);
        None
    }

    fn went_wrong(&mut self, error: &QmpError) -> Option<Progress> {
        let why = error.to_string();
        // What QEMU itself turns down was not begun, and nothing is to be led back.
        let turned_down = error.refusal().is_some() && self.state == State::Setting;
        Some(if turned_down { Progress::Refused { why } } else { Progress::Failed { why } })
    }
}

impl Actuate for MemoryDriver {
    fn estimate(&self, step: &Step) -> Duration {
        let Step::SetMemory { vm, from, to, .. } = step else { return Duration::ZERO };
        let pace = self.pace.get(vm).copied().unwrap_or(TYPICAL_BYTES_S).clamp(1.0e6, TYPICAL_BYTES_S);
        #[allow(clippy::cast_precision_loss)]
        let seconds = from.get().abs_diff(to.get()) as f64 / pace;
        // Time to move, and to find out that it does not move, and to go back.
        Duration::from_secs_f64(seconds) + self.still
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let (_, vm, node, from, to) = self.binding(step)?;
        self.flights.forget(|job| (job.vm, job.node) == (vm, node));
        self.owed.remove(&vm);
        let now = (self.clock)();
        let looked_at = now.saturating_sub(LOOK);
        let (state, asked, seen) = (State::Setting, None, None);
        let job = Job { vm, node, from, to, state, asked, seen, moved_at: now, began: now, looked_at };
        let ticket = self.flights.start(job);
        Ok(self.poll(ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let ended = self.advance(ticket);
        self.flights.answer(ticket, ended)
    }
}

impl Driver for MemoryDriver {
    fn name(&self) -> &'static str {
        "qmp-memory"
    }

    fn capabilities(&self) -> Capabilities {
        let memory = Control {
            pace: Duration::from_secs(1),
            latency: Duration::from_secs(1),
            interruption: Duration::ZERO,
            cost_s: 0.0,
            // virtio-mem's blocks; a balloon would take pages of 4 KiB.
            granularity: 2 << 20,
        };
        Capabilities::none().with(ChangeKind::Memory, Some(memory))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        let ask = |holding: &Holding| {
            let binding = self.guests.get(&holding.vm)?;
            binding.client.is_connected().then(|| binding.client.call(binding.plug.ask(), PROMPT))
        };
        let owed = &mut self.owed;
        let mut ask_or_remember = |holding: &Holding| match owed.remove(&holding.vm) {
            Some(pending) => Some((pending, false)),
            None => ask(holding).map(|pending| (pending, true)),
        };
        let asked: Vec<Option<(Pending, bool)>> = held.holdings.iter().map(&mut ask_or_remember).collect();
        let mut left = READING;
        let began = (self.clock)();
        for (holding, pending) in held.holdings.iter_mut().zip(asked) {
            let Some((pending, is_new)) = pending else { continue };
            let answer = if is_new { pending.poll_for(left) } else { pending.poll() };
            left = READING.saturating_sub((self.clock)().saturating_sub(began));
            let reply = match answer {
                Some(Ok(reply)) => reply,
                Some(Err(_)) => continue,
                None => {
                    self.owed.insert(holding.vm, pending);
                    continue;
                }
            };
            let sizes = self.guests.get(&holding.vm).and_then(|binding| binding.plug.sizes(&reply));
            for (node, size) in sizes.into_iter().flatten() {
                holding.put_memory(node, ByteSize::new(size));
            }
        }
        Ok(())
    }
}

impl std::fmt::Debug for MemoryDriver {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("MemoryDriver").field("guests", &self.guests).finish_non_exhaustive()
    }
}
