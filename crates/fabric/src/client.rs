//! The manager's side of a conversation with a switch: one command at a time.
//!
//! ```text
//!  bind:  read who has what ──► Bind ──► background status until it is over ──► read who has what
//!              │ somebody has it                                                     │
//!              ▼                                                                     ▼
//!           refused here                                          only what is read now is believed
//! ```
//! A command that no answer came to is sent again only if twice is as once. After any other the switch is read.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::cxl_fm::bytes::DecodeError;
use crate::cxl_fm::cci::{Category, Message, Opcode, ReturnCode};
use crate::cxl_fm::command::TUNNEL;
use crate::cxl_fm::{
    Bind, Command, ConnectedDevice, Dialect, GetBackgroundStatus, GetLdInfo, GetPortState, GetQosAllocated,
    GetQosLimit, GetVcs, Identify, IdentifySwitch, Identity, LdFractions, LdId, LdRange, LdRoute,
    PhysicalPort, RangeOrder, SetQosAllocated, SetQosLimit, SldId, Tunnel, TunnelTarget, Unbind,
    UnbindOption, Vcs, VcsId, VppbId, VppbStatus,
};
use crate::patience::Patience;
use crate::transport::{Outgoing, Transport, TransportError};
use crate::view::{LdBandwidth, Part, Place, View};

/// Requests of the switch's own that are kept until somebody looks.
const NOTICES: usize = 256;
/// Ports whose state is asked for at once, so that the answer fits into a frame.
const PORTS: usize = 64;

/// How long and how often is tried.
#[derive(Debug, Clone)]
pub struct Settings {
    /// For an answer.
    pub answer: Duration,
    /// For a connection.
    pub connection: Duration,
    /// How often a command is sent, where it may be sent again.
    pub attempts: u32,
    /// How often a busy switch is asked again.
    pub busy_attempts: u32,
    /// Between two looks at a background command, and between two attempts: at first, and at most.
    pub pause: (Duration, Duration),
    /// For a background command, as long as none was measured, and at most.
    pub background: (Duration, Duration),
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            answer: Duration::from_secs(2),
            connection: Duration::from_secs(5),
            attempts: 3,
            busy_attempts: 10,
            pause: (Duration::from_millis(1), Duration::from_millis(250)),
            background: (Duration::from_secs(10), Duration::from_secs(120)),
        }
    }
}

/// Why a command gave nothing.
#[derive(Debug, thiserror::Error)]
#[error("{command}: {why}")]
pub struct CallError {
    /// The command.
    pub command: &'static str,
    /// What went wrong.
    #[source]
    pub why: Why,
}

/// What can go wrong with a command.
#[derive(Debug, thiserror::Error)]
pub enum Why {
    /// The switch will not, or cannot.
    #[error("the switch answers: {0}")]
    Refused(ReturnCode),
    /// The switch says that it goes on in the background, which this command does not.
    #[error("the switch says that it goes on in the background, which this command never does")]
    Started,
    /// There is no connection to be had.
    #[error("there is no connection; is the switch up, and has no other manager its line?")]
    Unreachable(#[source] TransportError),
    /// The connection ended before the answer came. Whether the command was carried out is not known.
    #[error("the connection ended before an answer came")]
    Lost(#[source] TransportError),
    /// No answer in time. Whether the command was or will be carried out is not known.
    #[error("no answer in {0:?}, {1} times")]
    Silent(Duration, u32),
    /// The answer has not the form that the command promises.
    #[error("its answer cannot be read")]
    Odd(#[source] DecodeError),
}

impl CallError {
    /// Whether the command may have been carried out all the same.
    #[must_use]
    pub const fn is_unknown(&self) -> bool {
        matches!(self.why, Why::Lost(_) | Why::Silent(..) | Why::Odd(_) | Why::Started)
    }
}

/// Why something was not bound, unbound or set.
#[derive(Debug, thiserror::Error)]
pub enum ChangeError {
    /// Another thing is bound there. Nothing was sent.
    #[error("{place} has {by} already")]
    Occupied {
        /// Where.
        place: Place,
        /// What is bound there.
        by: Part,
    },
    /// It belongs to somebody else. Nothing was sent.
    #[error("{part} is bound to {place} already")]
    Owned {
        /// What.
        part: Part,
        /// Where it is bound.
        place: Place,
    },
    /// Something is being bound there or unbound. Nothing was sent.
    #[error("{0} is being bound or unbound already")]
    InProgress(Place),
    /// There is no such place. Nothing was sent.
    #[error("the switch has no {0}")]
    NoPlace(Place),
    /// There is no such port or logical device, or nothing is plugged in. Nothing was sent.
    #[error("the switch has nothing at {0}")]
    NoPart(Part),
    /// The switch could not be asked how it is. Nothing was sent.
    #[error("reading the switch before the change")]
    Before(#[source] CallError),
    /// The switch refused, and was read to be as before.
    #[error("the switch refused: {0}")]
    Refused(ReturnCode),
    /// The switch began, failed, and was read to be as before.
    #[error("the switch began and failed: {0}")]
    FailedInBackground(ReturnCode),
    /// Nobody said that it failed, and yet the switch was read to be as before.
    #[error("the switch was read to be as before")]
    NotDone,
    /// It was bound, and to somebody else meanwhile: another manager is at work.
    #[error("{part} is bound to {place} and to {other}: has the switch another manager?")]
    TwoOwners {
        /// What.
        part: Part,
        /// Where it was to be bound.
        place: Place,
        /// Where it is bound, too.
        other: Place,
    },
    /// The switch could not be read afterwards, or was still at it: anything can be so.
    #[error("whether it was done is not known")]
    Unknown(#[source] Option<CallError>),
}

/// How a change went that was read back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Changed {
    /// Whether anything had to be done.
    pub needed: bool,
    /// How long it took until it was read back.
    pub took: Duration,
}

enum Begun {
    Done,
    Started,
}

/// The manager of one switch. There has to be one only: switches let two owners have the same device.
#[derive(Debug)]
pub struct Client<T> {
    transport: T,
    dialect: Dialect,
    settings: Settings,
    connected: bool,
    tag: u8,
    patience: Patience,
    notices: VecDeque<Message>,
    view: Option<View>,
}

impl<T: Transport> Client<T> {
    /// Speaks to the switch at the other end. It is read when it is first needed.
    #[must_use]
    pub fn new(transport: T, dialect: Dialect, settings: Settings) -> Self {
        let patience = Patience::new(settings.background.0, settings.background.1);
        Self {
            transport,
            dialect,
            settings,
            connected: false,
            tag: 0,
            patience,
            notices: VecDeque::new(),
            view: None,
        }
    }

    /// What the switch was read to be after the last change; none when it could not be read since.
    #[must_use]
    pub const fn view(&self) -> Option<&View> {
        self.view.as_ref()
    }

    /// The line.
    pub const fn transport(&mut self) -> &mut T {
        &mut self.transport
    }

    /// The dialect.
    #[must_use]
    pub const fn dialect(&self) -> Dialect {
        self.dialect
    }

    /// What the switch said by itself since the last look. The oldest go first when nobody looks.
    pub fn take_notices(&mut self) -> VecDeque<Message> {
        std::mem::take(&mut self.notices)
    }

    /// Sends a command to the switch and waits for its answer.
    ///
    /// # Errors
    /// When there is none, or it is a refusal.
    pub fn ask<C: Command>(&mut self, command: &C) -> Result<C::Reply, CallError> {
        self.ask_at(PhysicalPort(0), command)
    }

    /// Sends a command to the logical devices behind a port, as the dialect has it.
    ///
    /// # Errors
    /// When there is no answer, or it is a refusal, of the switch or of the device.
    pub fn ask_lds<C: Command>(&mut self, port: PhysicalPort, command: &C) -> Result<C::Reply, CallError> {
        let typed = match self.dialect.lds {
            LdRoute::Frame => return self.ask_at(port, command),
            LdRoute::Tunnel => false,
            LdRoute::TypedTunnel => true,
        };
        let failed = |why| CallError { command: C::NAME, why };
        let message = Message::request(0, C::OPCODE, command.to_bytes());
        let tunnel = Tunnel { port: port.0, target: TunnelTarget::PortOrLd, message };
        let mut payload = Vec::new();
        tunnel.put(typed, &mut payload).map_err(|error| failed(Why::Odd(error)))?;
        let answer = self.call(C::NAME, PhysicalPort(0), TUNNEL, &payload, C::REPEATABLE)?;
        let inner = Tunnel::take_answer(typed, &answer.payload).map_err(|error| failed(Why::Odd(error)))?;
        match inner.return_code {
            ReturnCode::Success => command.reply(&inner.payload).map_err(|error| failed(Why::Odd(error))),
            code => Err(failed(Why::Refused(code))),
        }
    }

    /// Finds out by a tunnelled Identify whether the inner message of a tunnel has its type before it.
    ///
    /// # Errors
    /// When the device behind the port answers in neither form.
    pub fn probe_tunnel(&mut self, port: PhysicalPort) -> Result<Identity, CallError> {
        let known = self.dialect.lds;
        let other = if known == LdRoute::TypedTunnel { LdRoute::Tunnel } else { LdRoute::TypedTunnel };
        let first = self.ask_lds(port, &Identify);
        if first.is_ok() || known == LdRoute::Frame {
            return first;
        }
        self.dialect.lds = other;
        self.ask_lds(port, &Identify).inspect_err(|_| self.dialect.lds = known)
    }

    /// Reads the whole switch.
    ///
    /// # Errors
    /// When part of it could not be read; then nothing is known of it.
    pub fn refresh(&mut self) -> Result<&View, CallError> {
        self.view = None;
        let view = self.read()?;
        Ok(self.view.insert(view))
    }

    /// Gives a device, or one of its logical devices, to a host, and reads that it has it.
    ///
    /// # Errors
    /// When somebody has it already, when the switch refuses or fails, and when it cannot be read.
    pub fn bind(&mut self, place: Place, part: Part) -> Result<Changed, ChangeError> {
        let began = self.transport.now();
        let view = self.refresh().map_err(ChangeError::Before)?;
        let bridge = *view.bridge(place).ok_or(ChangeError::NoPlace(place))?;
        if let Some(other) = view.places_of(part).find(|other| *other != place) {
            return Err(ChangeError::Owned { part, place: other });
        }
        if view.holds(place, part) {
            return Ok(Changed { needed: false, took: self.since(began) });
        }
        if let Some(by) = view.part_at(place) {
            return Err(ChangeError::Occupied { place, by });
        }
        if bridge.status != VppbStatus::Unbound {
            return Err(ChangeError::InProgress(place));
        }
        if !has(view, part) {
            return Err(ChangeError::NoPart(part));
        }
        let whole = if self.dialect.sld == SldId::Zero { LdId(0) } else { LdId::NONE };
        let command = Bind { vcs: place.vcs, vppb: place.vppb, port: part.port, ld: part.ld_id(whole) };
        self.change(&command, place, |bridge| part.is_at(bridge))?;
        let elsewhere = |view: &View| view.places_of(part).find(|other| *other != place);
        if let Some(other) = self.view.as_ref().and_then(elsewhere) {
            return Err(ChangeError::TwoOwners { part, place, other });
        }
        Ok(Changed { needed: true, took: self.since(began) })
    }

    /// Takes what is bound to a bridge away from its host, if it is `part`, and reads that it is gone.
    ///
    /// # Errors
    /// When something else is bound there, when the switch refuses or fails, and when it cannot be read.
    pub fn unbind(&mut self, place: Place, part: Part, option: UnbindOption) -> Result<Changed, ChangeError> {
        let began = self.transport.now();
        let view = self.refresh().map_err(ChangeError::Before)?;
        let bridge = *view.bridge(place).ok_or(ChangeError::NoPlace(place))?;
        if bridge.status == VppbStatus::Unbound {
            return Ok(Changed { needed: false, took: self.since(began) });
        }
        if bridge.status == VppbStatus::InProgress {
            return Err(ChangeError::InProgress(place));
        }
        if !view.holds(place, part) {
            let by = view.part_at(place).unwrap_or(Part { port: bridge.port, ld: Some(bridge.ld) });
            return Err(ChangeError::Occupied { place, by });
        }
        let command = Unbind { vcs: place.vcs, vppb: place.vppb, option };
        self.change(&command, place, |bridge| bridge.status == VppbStatus::Unbound)
            .map(|()| Changed { needed: true, took: self.since(began) })
    }

    /// Sets what is set aside for the first logical devices behind a port, in 256ths, and reads it back.
    ///
    /// # Errors
    /// When the device refuses, has another division afterwards, or cannot be read.
    pub fn set_allocated(&mut self, port: PhysicalPort, fractions: &[u8]) -> Result<(), ChangeError> {
        let command = SetQosAllocated(LdFractions { start: 0, fractions: fractions.to_vec() });
        self.set_bandwidth(port, &command, |read| read.allocated.get(..fractions.len()) == Some(fractions))
    }

    /// Sets the limits of the first logical devices behind a port, in 256ths, and reads them back.
    ///
    /// # Errors
    /// When the device refuses, has other limits afterwards, or cannot be read.
    pub fn set_limit(&mut self, port: PhysicalPort, fractions: &[u8]) -> Result<(), ChangeError> {
        let command = SetQosLimit(LdFractions { start: 0, fractions: fractions.to_vec() });
        self.set_bandwidth(port, &command, |read| read.limit.get(..fractions.len()) == Some(fractions))
    }

    fn set_bandwidth<C: Command>(
        &mut self,
        port: PhysicalPort,
        command: &C,
        is_done: impl Fn(&LdBandwidth) -> bool,
    ) -> Result<(), ChangeError> {
        let asked = self.ask_lds(port, command);
        if asked.as_ref().is_err_and(|error| matches!(error.why, Why::Unreachable(_))) {
            self.view = None;
        }
        let read = match self.read_bandwidth(port) {
            Ok(read) => read,
            Err(error) => {
                self.view = None;
                return Err(ChangeError::Unknown(Some(error)));
            }
        };
        let done = is_done(&read);
        if let Some(view) = &mut self.view {
            view.bandwidth.insert(port, read);
        }
        match asked {
            _ if done => Ok(()),
            Err(CallError { why: Why::Refused(code), .. }) => Err(ChangeError::Refused(code)),
            _ => Err(ChangeError::NotDone),
        }
    }

    fn since(&self, began: Duration) -> Duration {
        self.transport.now().saturating_sub(began)
    }

    /// Sends a command that goes on in the background, once, waits for its end, and reads what came of it.
    fn change<C: Command<Reply = ()>>(
        &mut self,
        command: &C,
        place: Place,
        is_done: impl Fn(&crate::cxl_fm::Vppb) -> bool,
    ) -> Result<(), ChangeError> {
        let began = self.transport.now();
        let until = began + self.patience.deadline();
        self.view = None;
        let begun = self.begin(command);
        let ended = match &begun {
            Err(error) if !error.is_unknown() => None,
            Ok(Begun::Done) => None,
            _ => self.wait_for_background(C::OPCODE, until),
        };
        let unknown = |error| ChangeError::Unknown(Some(error));
        // The status may be that of another command, or be wrong: only the bridge says what is.
        let mut pause = self.settings.pause.0;
        let bridge = loop {
            let view = self.read().map_err(unknown)?;
            let bridge = *view.bridge(place).ok_or(ChangeError::Unknown(None))?;
            if bridge.status != VppbStatus::InProgress {
                self.view = Some(view);
                break bridge;
            }
            if self.transport.now() >= until {
                self.patience.took(self.since(began));
                return Err(ChangeError::Unknown(None));
            }
            self.pause(&mut pause);
        };
        self.patience.took(self.since(began));
        if is_done(&bridge) {
            return Ok(());
        }
        match (begun, ended) {
            (Err(CallError { why: Why::Refused(code), .. }), _) => Err(ChangeError::Refused(code)),
            (_, Some(code)) if code != ReturnCode::Success => Err(ChangeError::FailedInBackground(code)),
            _ => Err(ChangeError::NotDone),
        }
    }

    fn begin<C: Command>(&mut self, command: &C) -> Result<Begun, CallError> {
        let answer =
            self.call_any(C::NAME, PhysicalPort(0), C::OPCODE, &command.to_bytes(), C::REPEATABLE)?;
        match answer.return_code {
            ReturnCode::Success => Ok(Begun::Done),
            ReturnCode::BackgroundStarted => Ok(Begun::Started),
            code => Err(CallError { command: C::NAME, why: Why::Refused(code) }),
        }
    }

    /// How the background command ended; none when it did not in time, or that of another one was told.
    fn wait_for_background(&mut self, opcode: Opcode, until: Duration) -> Option<ReturnCode> {
        let mut pause = self.settings.pause.0;
        loop {
            let status = self.ask(&GetBackgroundStatus).ok()?;
            if !status.running {
                return (status.opcode == opcode).then_some(status.return_code);
            }
            if self.transport.now() >= until {
                return None;
            }
            self.pause(&mut pause);
        }
    }

    fn read(&mut self) -> Result<View, CallError> {
        let switch = self.ask(&IdentifySwitch)?;
        let numbers: Vec<PhysicalPort> =
            (0..switch.ports).map(PhysicalPort).filter(|port| switch.has_port(*port)).collect();
        let mut ports = BTreeMap::new();
        for some in numbers.chunks(PORTS) {
            let states = self.ask(&GetPortState { ports: some.to_vec() })?;
            ports.extend(states.0.into_iter().map(|state| (state.port, state)));
        }
        let mut vcss = BTreeMap::new();
        for id in (0..switch.vcss).map(VcsId).filter(|id| switch.has_vcs(*id)) {
            vcss.insert(id, self.read_vcs(id)?);
        }
        let mut bandwidth = BTreeMap::new();
        let mlds = ports.values().filter(|port| port.device == ConnectedDevice::Type3Mld);
        for port in mlds.map(|state| state.port).collect::<Vec<_>>() {
            bandwidth.insert(port, self.read_bandwidth(port)?);
        }
        Ok(View { switch, ports, vcss, bandwidth })
    }

    fn read_vcs(&mut self, id: VcsId) -> Result<Vcs, CallError> {
        let command = GetVcs { start: VppbId(0), limit: u8::MAX, ids: vec![id] };
        let report = self.ask(&command)?;
        report.0.into_iter().find(|vcs| vcs.id == id).ok_or(CallError {
            command: GetVcs::NAME,
            why: Why::Odd(DecodeError::Value {
                what: GetVcs::NAME,
                field: "VCS id",
                found: id.0.into(),
                why: "the answer is about another one",
            }),
        })
    }

    /// The bandwidth of the logical devices behind a port; empty where the device cannot divide it.
    fn read_bandwidth(&mut self, port: PhysicalPort) -> Result<LdBandwidth, CallError> {
        let cannot = |error: &CallError| match error.why {
            Why::Refused(code) => code.is_lasting(),
            _ => false,
        };
        let lds = match self.ask_lds(port, &GetLdInfo) {
            Err(error) if cannot(&error) => return Ok(LdBandwidth::default()),
            answer => u8::try_from(answer?.lds).unwrap_or(u8::MAX),
        };
        let range = LdRange { count: lds, start: 0 };
        let range = if self.dialect.range == RangeOrder::StartFirst { range.swapped() } else { range };
        let fractions = |answer: Result<LdFractions, CallError>| match answer {
            Err(error) if cannot(&error) => Ok(Vec::new()),
            answer => answer.map(|read| read.fractions),
        };
        let allocated = fractions(self.ask_lds(port, &GetQosAllocated(range)))?;
        let limit = fractions(self.ask_lds(port, &GetQosLimit(range)))?;
        Ok(LdBandwidth { lds, allocated, limit })
    }

    fn ask_at<C: Command>(&mut self, port: PhysicalPort, command: &C) -> Result<C::Reply, CallError> {
        let answer = self.call(C::NAME, port, C::OPCODE, &command.to_bytes(), C::REPEATABLE)?;
        command.reply(&answer.payload).map_err(|error| CallError { command: C::NAME, why: Why::Odd(error) })
    }

    fn call(
        &mut self,
        command: &'static str,
        port: PhysicalPort,
        opcode: Opcode,
        payload: &[u8],
        repeatable: bool,
    ) -> Result<Message, CallError> {
        let answer = self.call_any(command, port, opcode, payload, repeatable)?;
        match answer.return_code {
            ReturnCode::Success => Ok(answer),
            ReturnCode::BackgroundStarted => Err(CallError { command, why: Why::Started }),
            code => Err(CallError { command, why: Why::Refused(code) }),
        }
    }

    /// The answer to a command, whatever it is, but for a switch that is busy, which is asked again.
    fn call_any(
        &mut self,
        command: &'static str,
        port: PhysicalPort,
        opcode: Opcode,
        payload: &[u8],
        repeatable: bool,
    ) -> Result<Message, CallError> {
        let (mut attempts, mut busy) = (1, 1);
        let mut pause = self.settings.pause.0;
        loop {
            let request = Message::request(self.next_tag(), opcode, payload.to_vec());
            match self.once(Outgoing { port, message: request }) {
                Ok(answer) if answer.return_code.is_busy() && busy < self.settings.busy_attempts => {
                    busy += 1;
                }
                Ok(answer) => return Ok(answer),
                Err(Why::Refused(code)) => return Err(CallError { command, why: Why::Refused(code) }),
                Err(_) if repeatable && attempts < self.settings.attempts => attempts += 1,
                Err(Why::Silent(time, _)) => {
                    return Err(CallError { command, why: Why::Silent(time, attempts) });
                }
                Err(why) => return Err(CallError { command, why }),
            }
            self.pause(&mut pause);
        }
    }

    fn once(&mut self, outgoing: Outgoing) -> Result<Message, Why> {
        if !self.connected {
            let until = self.transport.now() + self.settings.connection;
            self.transport.connect(until).map_err(Why::Unreachable)?;
            self.connected = true;
        }
        let sent = self.transport.send(&outgoing);
        sent.map_err(|error| self.lost(error))?;
        let until = self.transport.now() + self.settings.answer;
        loop {
            let message = match self.transport.receive(until) {
                Ok(Some(message)) => message,
                Ok(None) => return Err(Why::Silent(self.settings.answer, 1)),
                Err(error) if error.is_fatal() => return Err(self.lost(error)),
                Err(_) => continue,
            };
            if message.category == Category::Request {
                if self.notices.len() == NOTICES {
                    self.notices.pop_front();
                }
                self.notices.push_back(message);
            } else if message.tag == outgoing.message.tag {
                return Ok(message);
            }
        }
    }

    fn lost(&mut self, error: TransportError) -> Why {
        self.connected &= !error.is_fatal();
        Why::Lost(error)
    }

    fn next_tag(&mut self) -> u8 {
        self.tag = self.tag.wrapping_add(1);
        self.tag
    }

    fn pause(&mut self, pause: &mut Duration) {
        let until = self.transport.now() + *pause;
        self.transport.wait(until);
        *pause = (*pause * 2).min(self.settings.pause.1);
    }
}

/// Whether something is plugged in that can be bound.
fn has(view: &View, part: Part) -> bool {
    let connected = view.ports.get(&part.port).is_some_and(|state| state.is_connected());
    let lds = view.bandwidth.get(&part.port).map_or(0, |device| device.lds);
    connected && if lds == 0 { part.ld.is_none() } else { part.ld.is_some_and(|ld| ld < lds) }
}
