//! The switch itself: who has what, one background command at a time.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::Bandwidth;

use super::device::{Device, identity};
use super::layout::{Layout, Plugged, PortLayout};
use super::manners::{BackgroundBit, IdentityForm, Manners};
use crate::cxl_fm::bytes::Payload;
use crate::cxl_fm::cci::{Message, Opcode, ReturnCode};
use crate::cxl_fm::command::TUNNEL;
use crate::cxl_fm::dial_in::{BridgeChange, Notice};
use crate::cxl_fm::identify::{ComponentType, bits};
use crate::cxl_fm::ports::Ltssm;
use crate::cxl_fm::{
    BackgroundStatus, Bind, Command, ConnectedDevice, GetVcs, Identity, LdId, LdRoute, PhysicalPort,
    PortConfig, PortState, PortStates, RangeOrder, Request, SwitchIdentity, Tunnel, Unbind, Vcs, VcsId,
    VcsReport, VcsState, Vppb, VppbId, VppbStatus,
};
use crate::view::{LdBandwidth, Part, Place};

/// How a background command will go.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Course {
    /// How long it takes.
    pub takes: Duration,
    /// How it ends.
    pub end: End,
}

/// How a background command ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is done, and said to be.
    Done,
    /// It is not done, and said not to be.
    Fails(ReturnCode),
    /// It is not done, and said to be.
    LiesDone,
    /// It is done, and said not to be.
    LiesFailed(ReturnCode),
}

/// A switch.
#[derive(Debug, Clone)]
pub struct Switch {
    layout: Layout,
    manners: Manners,
    bound: BTreeMap<Place, Option<Part>>,
    devices: BTreeMap<PhysicalPort, Device>,
    operation: Option<Operation>,
    last: BackgroundStatus,
    notices: Vec<Notice>,
}

#[derive(Debug, Clone, Copy)]
struct Operation {
    change: Change,
    began: Duration,
    course: Course,
}

#[derive(Debug, Clone, Copy)]
enum Change {
    Bind(Bind),
    Unbind(Place),
}

impl Change {
    fn place(self) -> Place {
        match self {
            Self::Bind(bind) => Place { vcs: bind.vcs, vppb: bind.vppb },
            Self::Unbind(place) => place,
        }
    }

    fn opcode(self) -> Opcode {
        match self {
            Self::Bind(_) => Bind::OPCODE,
            Self::Unbind(_) => Unbind::OPCODE,
        }
    }
}

impl Switch {
    /// A switch with nothing bound.
    #[must_use]
    pub fn new(layout: Layout, manners: Manners) -> Self {
        let ids = (0..=u8::MAX).map(VcsId);
        let places = ids.zip(&layout.vcss).flat_map(|(vcs, (_, vppbs))| {
            (0..*vppbs).map(move |vppb| (Place { vcs, vppb: VppbId(vppb) }, None))
        });
        let bound = places.collect();
        let numbered = (0..=u8::MAX).map(PhysicalPort).zip(&layout.ports);
        let devices = numbered
            .filter_map(|(port, plugged)| match plugged.plugged {
                Plugged::Divided { lds, memory_bytes } => Some((port, Device::new(lds, memory_bytes))),
                _ => None,
            })
            .collect();
        let last = BackgroundStatus {
            running: false,
            percent: 0,
            opcode: Opcode(0),
            return_code: ReturnCode::Success,
            vendor_status: 0,
        };
        Self { layout, manners, bound, devices, operation: None, last, notices: Vec::new() }
    }

    /// Its manners.
    #[must_use]
    pub const fn manners(&self) -> Manners {
        self.manners
    }

    /// Who has what, as it really is.
    #[must_use]
    pub const fn bound(&self) -> &BTreeMap<Place, Option<Part>> {
        &self.bound
    }

    /// The bandwidth of the logical devices behind a port, as it really is.
    #[must_use]
    pub fn bandwidth(&self, port: PhysicalPort) -> Option<LdBandwidth> {
        let device = self.devices.get(&port)?;
        let (allocated, limit) = (device.allocated.clone(), device.limit.clone());
        Some(LdBandwidth { lds: device.lds(), allocated, limit })
    }

    /// What each logical device behind a port moves of what it wants to.
    pub fn divide(&mut self, port: PhysicalPort, wanted: &[Bandwidth]) -> Vec<Bandwidth> {
        let Some(layout) = self.layout.ports.get(usize::from(port.0)) else { return Vec::new() };
        let (width, speed) = layout.trained;
        let device = self.devices.get_mut(&port);
        device.map(|device| device.divide(speed.bandwidth(width), wanted)).unwrap_or_default()
    }

    /// Pulls what is plugged into a port. Bridges that are bound to it stay so.
    pub fn pull(&mut self, port: PhysicalPort) {
        if let Some(layout) = self.layout.ports.get_mut(usize::from(port.0)) {
            layout.plugged = Plugged::Nothing;
            self.devices.remove(&port);
            self.notices.push(Notice::Port { port, connected: false });
        }
    }

    /// What it has to tell by itself.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        let notices = std::mem::take(&mut self.notices);
        if self.manners.notices { notices } else { Vec::new() }
    }

    /// When the background command ends, if there is one.
    #[must_use]
    pub fn ends(&self) -> Option<Duration> {
        self.operation.map(|operation| operation.began + operation.course.takes)
    }

    /// Carries out the background command when its time has come.
    pub fn settle(&mut self, now: Duration) {
        let Some(operation) = self.operation else { return };
        if self.ends().is_none_or(|ends| now < ends) {
            return;
        }
        self.operation = None;
        let (place, opcode) = (operation.change.place(), operation.change.opcode());
        let done = matches!(operation.course.end, End::Done | End::LiesFailed(_));
        let checked = self.check(operation.change);
        if let (true, Ok(part)) = (done, checked) {
            self.bound.insert(place, part);
        }
        let return_code = match (checked, operation.course.end) {
            (Err(code), _) => code,
            (_, End::Fails(code) | End::LiesFailed(code)) => code,
            (_, End::Done | End::LiesDone) => ReturnCode::Success,
        };
        self.last = BackgroundStatus { running: false, percent: 100, opcode, return_code, vendor_status: 0 };
        let bound = self.bound.get(&place).copied().flatten().is_some();
        let change = if bound { BridgeChange::Bound } else { BridgeChange::Unbound };
        self.notices.push(Notice::Bridge { vcs: place.vcs, vppb: place.vppb, change });
    }

    /// The bytes that answer a request; none where the switch says nothing.
    pub fn answer(
        &mut self,
        now: Duration,
        port: PhysicalPort,
        request: &Message,
        course: Course,
    ) -> Option<Vec<u8>> {
        self.settle(now);
        let to_device = self.manners.dialect.lds == LdRoute::Frame && port != PhysicalPort(0);
        let result = if to_device {
            self.device(port, request.opcode, &request.payload)
        } else {
            self.execute(now, request, course)
        };
        let unknown = !to_device && result == Err(ReturnCode::Unsupported);
        if unknown && self.manners.silent {
            return None;
        }
        Some(self.dressed(request, result, to_device))
    }

    /// The bytes that say that the switch is busy.
    #[must_use]
    pub fn busy(&self, request: &Message) -> Vec<u8> {
        self.dressed(request, Err(ReturnCode::Busy), false)
    }

    fn dressed(&self, request: &Message, result: Result<Vec<u8>, ReturnCode>, of_device: bool) -> Vec<u8> {
        let (code, payload) = match result {
            Ok(payload) => (ReturnCode::Success, payload),
            Err(code) => (code, Vec::new()),
        };
        let mut answer = request.response(code, payload);
        answer.background = match self.manners.background_bit {
            BackgroundBit::Never => false,
            BackgroundBit::Specified => code == ReturnCode::BackgroundStarted,
            BackgroundBit::WhenBusy => matches!(code, ReturnCode::BackgroundStarted | ReturnCode::Busy),
        };
        if self.manners.no_opcode && !of_device {
            answer.opcode = Opcode(0);
        }
        let mut bytes = answer.to_bytes();
        if self.manners.category_above {
            bytes[0] <<= 4;
        }
        bytes
    }

    fn execute(&mut self, now: Duration, request: &Message, course: Course) -> Result<Vec<u8>, ReturnCode> {
        if request.opcode == TUNNEL {
            return self.tunnel(&request.payload);
        }
        let read = Request::read(request.opcode, &request.payload);
        match read.map_err(|_| ReturnCode::InvalidPayloadLength)?.ok_or(ReturnCode::Unsupported)? {
            Request::Identify(_) => Ok(self.identity().to_bytes()),
            Request::GetBackgroundStatus(_) => Ok(self.status(now).to_bytes()),
            Request::IdentifySwitch(_) => {
                let mut bytes = self.switch_identity().to_bytes();
                bytes.resize(bytes.len() + usize::from(self.manners.switch_padding), 0);
                Ok(bytes)
            }
            Request::GetPortState(command) => {
                let states: Option<Vec<PortState>> =
                    command.ports.iter().map(|port| self.port_state(*port)).collect();
                states.map(|states| PortStates(states).to_bytes()).ok_or(ReturnCode::InvalidInput)
            }
            Request::ControlPort(command) if self.manners.port_control => {
                self.port_state(command.port).map(|_| Vec::new()).ok_or(ReturnCode::InvalidInput)
            }
            Request::GetVcs(command) => self.vcss(&command),
            Request::Bind(bind) => Err(self.start(Change::Bind(bind), now, course)),
            Request::Unbind(unbind) => {
                let place = Place { vcs: unbind.vcs, vppb: unbind.vppb };
                Err(self.start(Change::Unbind(place), now, course))
            }
            _ => Err(ReturnCode::Unsupported),
        }
    }

    fn tunnel(&mut self, payload: &[u8]) -> Result<Vec<u8>, ReturnCode> {
        let typed = self.manners.dialect.lds == LdRoute::TypedTunnel;
        let tunnel = Tunnel::take(typed, payload).map_err(|_| ReturnCode::InvalidInput)?;
        let port = PhysicalPort(tunnel.port);
        if !self.devices.contains_key(&port) {
            return Err(ReturnCode::InvalidInput);
        }
        let (code, payload) = match self.device(port, tunnel.message.opcode, &tunnel.message.payload) {
            Ok(payload) => (ReturnCode::Success, payload),
            Err(code) => (code, Vec::new()),
        };
        let mut bytes = Vec::new();
        Tunnel::put_answer(&tunnel.message.response(code, payload), typed, &mut bytes)
            .map_err(|_| ReturnCode::InternalError)?;
        Ok(bytes)
    }

    fn device(&mut self, port: PhysicalPort, opcode: Opcode, payload: &[u8]) -> Result<Vec<u8>, ReturnCode> {
        let swapped = self.manners.dialect.range == RangeOrder::StartFirst;
        let device = self.devices.get_mut(&port).ok_or(ReturnCode::InvalidInput)?;
        let read = Request::read(opcode, payload).map_err(|_| ReturnCode::InvalidPayloadLength)?;
        device.answer(read.ok_or(ReturnCode::Unsupported)?, swapped)
    }

    /// Begins a background command and says what the switch answers.
    fn start(&mut self, change: Change, now: Duration, course: Course) -> ReturnCode {
        if self.operation.is_some() {
            return ReturnCode::Busy;
        }
        if !self.manners.checks_late
            && let Err(code) = self.check(change)
        {
            return code;
        }
        let place = change.place();
        self.operation = Some(Operation { change, began: now, course });
        self.notices.push(Notice::Bridge {
            vcs: place.vcs,
            vppb: place.vppb,
            change: BridgeChange::InProgress,
        });
        ReturnCode::BackgroundStarted
    }

    /// What will be bound to the bridge, or why the change cannot be.
    fn check(&self, change: Change) -> Result<Option<Part>, ReturnCode> {
        let there = *self.bound.get(&change.place()).ok_or(ReturnCode::InvalidInput)?;
        let Change::Bind(bind) = change else {
            return there.map(|_| None).ok_or(ReturnCode::InvalidInput);
        };
        let layout = self.port(bind.port).ok_or(ReturnCode::InvalidInput)?;
        let ld = match layout.plugged {
            Plugged::Divided { lds, .. } if bind.ld.0 < u16::from(lds) => u8::try_from(bind.ld.0).ok(),
            Plugged::Whole if bind.ld == LdId::NONE || bind.ld == LdId(0) => None,
            _ => return Err(ReturnCode::InvalidInput),
        };
        let part = Part { port: bind.port, ld };
        let owned = self.bound.values().any(|owner| *owner == Some(part));
        if there.is_some() || owned && !self.manners.two_owners {
            return Err(ReturnCode::InvalidInput);
        }
        Ok(Some(part))
    }

    fn status(&self, now: Duration) -> BackgroundStatus {
        let Some(operation) = self.operation else { return self.last };
        let spent = now.saturating_sub(operation.began).as_micros() * 100;
        let percent = spent / operation.course.takes.as_micros().max(1);
        BackgroundStatus {
            running: true,
            percent: u8::try_from(percent).unwrap_or(99).min(99),
            opcode: operation.change.opcode(),
            return_code: ReturnCode::Success,
            vendor_status: 0,
        }
    }

    fn identity(&self) -> Identity {
        let mut identity = Identity { component: Some(ComponentType::Switch), ..identity() };
        match self.manners.identity {
            IdentityForm::Specified => {}
            IdentityForm::NoType => identity.component = None,
            IdentityForm::NoSubsystem => identity.subsystem = None,
        }
        identity
    }

    fn switch_identity(&self) -> SwitchIdentity {
        let number = |count: usize| u8::try_from(count).unwrap_or(u8::MAX);
        let ports = number(self.layout.ports.len());
        let vcss = number(self.layout.vcss.len());
        let bound = self.bound.values().flatten().count();
        SwitchIdentity {
            ingress: PhysicalPort(0),
            ports,
            vcss,
            active_ports: bits(0..ports),
            active_vcss: bits(0..vcss),
            vppbs: u16::try_from(self.bound.len()).unwrap_or(u16::MAX),
            bound_vppbs: u16::try_from(bound).unwrap_or(u16::MAX),
            decoders: 32,
        }
    }

    fn port(&self, port: PhysicalPort) -> Option<&PortLayout> {
        self.layout.ports.get(usize::from(port.0))
    }

    fn port_state(&self, port: PhysicalPort) -> Option<PortState> {
        let layout = self.port(port)?;
        let (device, lds) = match layout.plugged {
            Plugged::Nothing | Plugged::Host => (ConnectedDevice::None, 0),
            Plugged::Whole => (ConnectedDevice::Type3, 0),
            Plugged::Divided { lds, .. } => (ConnectedDevice::Type3Mld, lds),
        };
        let up = device != ConnectedDevice::None;
        let host = layout.plugged == Plugged::Host;
        let says = |value: u8| if self.manners.says_links { value } else { 0 };
        let speed = |speed| says(speed as u8 + 1);
        Some(PortState {
            port,
            config: if host { PortConfig::Upstream } else { PortConfig::Downstream },
            device_version: 2,
            device,
            port_versions: 2,
            max_width: says(layout.capable.0.get()),
            current_width: says(layout.trained.0.get()),
            speeds: says(0x3F),
            max_speed: speed(layout.capable.1),
            current_speed: speed(layout.trained.1),
            ltssm: if up || host { Ltssm::L0 } else { Ltssm::Detect },
            first_lane: 0,
            flags: 0,
            lds,
        })
    }

    fn vcss(&self, command: &GetVcs) -> Result<Vec<u8>, ReturnCode> {
        let vcss: Option<Vec<Vcs>> = command.ids.iter().map(|id| self.vcs(*id, command)).collect();
        let mut bytes = Vec::new();
        VcsReport(vcss.ok_or(ReturnCode::InvalidInput)?).put(&mut bytes);
        Ok(bytes)
    }

    fn vcs(&self, id: VcsId, command: &GetVcs) -> Option<Vcs> {
        let (upstream, vppbs) = *self.layout.vcss.get(usize::from(id.0))?;
        let first = command.start.0;
        let numbers = first..first.saturating_add(command.bridges_of(vppbs));
        let bridges = numbers.map(|vppb| self.bridge(Place { vcs: id, vppb: VppbId(vppb) })).collect();
        Some(Vcs { id, state: VcsState::Enabled, upstream, vppbs, bridges })
    }

    fn bridge(&self, place: Place) -> Vppb {
        if self.operation.is_some_and(|operation| operation.change.place() == place) {
            return Vppb { status: VppbStatus::InProgress, ..Vppb::UNBOUND };
        }
        match self.bound.get(&place).copied().flatten() {
            None => Vppb::UNBOUND,
            Some(Part { port, ld: Some(ld) }) => Vppb { status: VppbStatus::Ld, port, ld },
            Some(Part { port, ld: None }) => Vppb { status: self.manners.whole_status, port, ld: 0 },
        }
    }
}
