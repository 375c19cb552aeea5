//! The physical ports of a switch.

use halcyon_model::{Lanes, LinkSpeed};

use super::bytes::{DecodeError, Payload, Reader, codes, count, zeros};
use super::ids::PhysicalPort;

/// Bytes of the state of one port.
const STATE: usize = 16;

codes! {
    /// What a port is set up as.
    PortConfig(u8) {
        Disabled = 0x0: "disabled",
        Binding = 0x1: "being bound",
        Unbinding = 0x2: "being unbound",
        Downstream = 0x3: "downstream port",
        Upstream = 0x4: "upstream port",
        Fabric = 0x5: "fabric link",
        Invalid = 0xF: "not there",
    }
}

codes! {
    /// What is plugged into a port.
    ConnectedDevice(u8) {
        None = 0: "nothing",
        Pcie = 1: "PCIe device",
        Type1 = 2: "CXL type 1 device",
        Type2 = 3: "CXL type 2 device",
        Type3 = 4: "CXL type 3 device",
        Type3Mld = 5: "CXL type 3 device with logical devices",
        Switch = 6: "switch",
    }
}

codes! {
    /// Where a link's training is. It alone says nothing: an emulated switch reports L2 for every port.
    Ltssm(u8) {
        Detect = 0: "detect",
        Polling = 1: "polling",
        Config = 2: "configuration",
        Recovery = 3: "recovery",
        L0 = 4: "L0",
        L0s = 5: "L0s",
        L1 = 6: "L1",
        L2 = 7: "L2",
        Disabled = 8: "disabled",
        Loopback = 9: "loopback",
        HotReset = 10: "hot reset",
    }
}

codes! {
    /// What is to be done with a port.
    PortControl(u8) {
        AssertPerst = 0: "assert PERST",
        DeassertPerst = 1: "deassert PERST",
        ResetPpb = 2: "reset the bridge",
    }
}

/// Asks for the state of ports.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetPortState {
    /// The ports; those after the 255th are not asked for.
    pub ports: Vec<PhysicalPort>,
}

/// The state of the ports that were asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PortStates(pub Vec<PortState>);

/// Resets a port, or holds it in reset.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ControlPort {
    /// The port.
    pub port: PhysicalPort,
    /// What is to be done.
    pub action: PortControl,
}

/// The state of one port.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PortState {
    /// The port.
    pub port: PhysicalPort,
    /// What it is set up as.
    pub config: PortConfig,
    /// The CXL version that the device speaks.
    pub device_version: u8,
    /// What is plugged into it.
    pub device: ConnectedDevice,
    /// The CXL versions that the port can speak, one bit each.
    pub port_versions: u8,
    /// The most lanes that it can train, 0 where the switch does not say.
    pub max_width: u8,
    /// Lanes in use, 0 where the switch does not say.
    pub current_width: u8,
    /// The speeds that it can train; switches do not agree on which bit is which.
    pub speeds: u8,
    /// The fastest that it can train: 1 to 6 for PCIe generations, 0 where the switch does not say.
    pub max_speed: u8,
    /// The speed in use, in the same numbers.
    pub current_speed: u8,
    /// Where the link's training is.
    pub ltssm: Ltssm,
    /// The first lane in use.
    pub first_lane: u8,
    /// Lane reversal (bit 0), PERST (1), presence (2), power control (3).
    pub flags: u16,
    /// Logical devices that can be told apart behind it.
    pub lds: u8,
}

impl PortState {
    /// Whether a device is there. Only the kind of device says so on all switches that were seen.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.device != ConnectedDevice::None
    }

    /// Lanes in use, where the switch says a width that there is.
    #[must_use]
    pub fn width(&self) -> Option<Lanes> {
        Lanes::new(self.current_width)
    }

    /// The speed in use, where the switch says one that there is.
    #[must_use]
    pub fn speed(&self) -> Option<LinkSpeed> {
        speed(self.current_speed)
    }

    /// The widest and fastest that the port can train, where the switch says so.
    #[must_use]
    pub fn capable(&self) -> Option<(Lanes, LinkSpeed)> {
        Lanes::new(self.max_width).zip(speed(self.max_speed))
    }
}

fn speed(code: u8) -> Option<LinkSpeed> {
    usize::from(code).checked_sub(1).and_then(|index| LinkSpeed::ALL.get(index)).copied()
}

impl Payload for GetPortState {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.ports.len());
        out.push(number);
        out.extend(self.ports.iter().take(number.into()).map(|port| port.0));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("number of ports")?;
        let ports = reader.bytes("ports", number.into())?;
        Ok(Self { ports: ports.iter().map(|port| PhysicalPort(*port)).collect() })
    }
}

impl Payload for PortStates {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.0.len());
        out.push(number);
        zeros(out, 3);
        self.0.iter().take(number.into()).for_each(|state| state.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("number of ports")?;
        reader.skip(3)?;
        reader.list("the state of a port", number.into(), STATE).map(Self)
    }
}

impl Payload for PortState {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.port.0, self.config.code() & 0xF, self.device_version, 0, self.device.code()]);
        out.extend([self.port_versions, self.max_width, self.current_width, self.speeds]);
        out.extend([self.max_speed, self.current_speed, self.ltssm.code(), self.first_lane]);
        out.extend(self.flags.to_le_bytes());
        out.push(self.lds);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = PhysicalPort(reader.u8("port")?);
        let config = PortConfig::from_code(reader.u8("configuration state")? & 0xF);
        let device_version = reader.u8("connected device's CXL version")?;
        reader.skip(1)?;
        Ok(Self {
            port,
            config,
            device_version,
            device: ConnectedDevice::from_code(reader.u8("connected device's type")?),
            port_versions: reader.u8("port's CXL versions")?,
            max_width: reader.u8("maximum link width")?,
            current_width: reader.u8("negotiated link width")?,
            speeds: reader.u8("supported link speeds")?,
            max_speed: reader.u8("maximum link speed")?,
            current_speed: reader.u8("current link speed")?,
            ltssm: Ltssm::from_code(reader.u8("LTSSM state")?),
            first_lane: reader.u8("first lane")?,
            flags: reader.u16("link state flags")?,
            lds: reader.u8("supported LD count")?,
        })
    }
}

impl Payload for ControlPort {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.port.0, self.action.code()]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let port = PhysicalPort(reader.u8("port")?);
        Ok(Self { port, action: PortControl::from_code(reader.u8("port opcode")?) })
    }
}
