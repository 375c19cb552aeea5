//! Virtual switches: which port or logical device which host has.

use super::bytes::{DecodeError, Payload, Reader, codes, count, zeros};
use super::ids::{LdId, PhysicalPort, VcsId, VppbId};

/// Bytes of one bridge in a report.
const BRIDGE: usize = 4;

codes! {
    /// Whether a virtual switch is in use.
    VcsState(u8) {
        Disabled = 0x00: "disabled",
        Enabled = 0x01: "enabled",
        Invalid = 0xFF: "not there",
    }
}

codes! {
    /// What a bridge is bound to.
    VppbStatus(u8) {
        Unbound = 0: "unbound",
        InProgress = 1: "being bound or unbound",
        Port = 2: "bound to a port",
        Ld = 3: "bound to a logical device",
    }
}

codes! {
    /// How a device is taken away from its host.
    UnbindOption(u8) {
        WaitForLinkDown = 0: "wait for the link to go down",
        ManagedRemoval = 1: "managed hot removal",
        SurpriseRemoval = 2: "surprise hot removal",
    }
}

/// Asks for virtual switches and their bridges.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GetVcs {
    /// The first bridge of each that is asked for.
    pub start: VppbId,
    /// The most bridges of each.
    pub limit: u8,
    /// The virtual switches; those after the 255th are not asked for.
    pub ids: Vec<VcsId>,
}

/// The virtual switches that were asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct VcsReport(pub Vec<Vcs>);

/// One virtual switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Vcs {
    /// Its number.
    pub id: VcsId,
    /// Whether it is in use.
    pub state: VcsState,
    /// The upstream port to its host.
    pub upstream: PhysicalPort,
    /// How many bridges it has in all.
    pub vppbs: u8,
    /// The bridges that were asked for, in order from the first that was.
    pub bridges: Vec<Vppb>,
}

/// One bridge.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vppb {
    /// What it is bound to.
    pub status: VppbStatus,
    /// The port, if it is bound.
    pub port: PhysicalPort,
    /// The logical device, if it is bound to one. Devices that are not divided have 0 here, whatever
    /// they were bound as.
    pub ld: u8,
}

/// Gives a port or a logical device to a host. Goes on in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bind {
    /// The virtual switch.
    pub vcs: VcsId,
    /// The bridge.
    pub vppb: VppbId,
    /// The port whose device is given.
    pub port: PhysicalPort,
    /// The logical device; [`LdId::NONE`] for a device that is not divided.
    pub ld: LdId,
}

/// Takes what is bound to a bridge away from the host. Goes on in the background.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unbind {
    /// The virtual switch.
    pub vcs: VcsId,
    /// The bridge.
    pub vppb: VppbId,
    /// How.
    pub option: UnbindOption,
}

impl Vppb {
    /// A bridge that is bound to nothing.
    pub const UNBOUND: Self = Self { status: VppbStatus::Unbound, port: PhysicalPort(0), ld: 0 };

    /// The port and logical device that it is bound to. Switches disagree on which of the two states
    /// of being bound a device that is not divided has.
    #[must_use]
    pub fn bound_to(&self) -> Option<(PhysicalPort, u8)> {
        matches!(self.status, VppbStatus::Port | VppbStatus::Ld).then_some((self.port, self.ld))
    }
}

impl GetVcs {
    /// How many bridges the answer has of a virtual switch with `vppbs`: the answer itself does not say.
    #[must_use]
    pub fn bridges_of(&self, vppbs: u8) -> u8 {
        vppbs.saturating_sub(self.start.0).min(self.limit)
    }

    /// Reads the answer to this request.
    ///
    /// # Errors
    /// When the bytes end too early.
    pub fn take_report(&self, reader: &mut Reader<'_>) -> Result<VcsReport, DecodeError> {
        let number = reader.u8("number of VCSs")?;
        reader.skip(3)?;
        let mut report = Vec::new();
        for _ in 0..number {
            let id = VcsId(reader.u8("VCS id")?);
            let state = VcsState::from_code(reader.u8("VCS state")?);
            let upstream = PhysicalPort(reader.u8("upstream port")?);
            let vppbs = reader.u8("number of vPPBs")?;
            let bridges = reader.list("a vPPB", self.bridges_of(vppbs).into(), BRIDGE)?;
            report.push(Vcs { id, state, upstream, vppbs, bridges });
        }
        Ok(VcsReport(report))
    }
}

impl VcsReport {
    /// Appends the answer. Each virtual switch has the bridges that were asked for.
    pub fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.0.len());
        out.push(number);
        zeros(out, 3);
        for vcs in self.0.iter().take(number.into()) {
            out.extend([vcs.id.0, vcs.state.code(), vcs.upstream.0, vcs.vppbs]);
            vcs.bridges.iter().for_each(|bridge| bridge.put(out));
        }
    }
}

impl Payload for GetVcs {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.ids.len());
        out.extend([self.start.0, self.limit, number]);
        out.extend(self.ids.iter().take(number.into()).map(|id| id.0));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = VppbId(reader.u8("first vPPB")?);
        let limit = reader.u8("limit of vPPBs")?;
        let number = reader.u8("number of VCSs")?;
        let ids = reader.bytes("VCS ids", number.into())?;
        Ok(Self { start, limit, ids: ids.iter().map(|id| VcsId(*id)).collect() })
    }
}

impl Payload for Vppb {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.status.code(), self.port.0, self.ld, 0]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let status = VppbStatus::from_code(reader.u8("binding status")?);
        let port = PhysicalPort(reader.u8("bound port")?);
        let ld = reader.u8("bound LD")?;
        // The byte that is left is reserved, and one switch does not send zero in it.
        reader.skip(1)?;
        Ok(Self { status, port, ld })
    }
}

impl Payload for Bind {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.vcs.0, self.vppb.0, self.port.0, 0]);
        out.extend(self.ld.0.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let vcs = VcsId(reader.u8("VCS id")?);
        let vppb = VppbId(reader.u8("vPPB")?);
        let port = PhysicalPort(reader.u8("port")?);
        reader.skip(1)?;
        Ok(Self { vcs, vppb, port, ld: LdId(reader.u16("LD")?) })
    }
}

impl Payload for Unbind {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.vcs.0, self.vppb.0, self.option.code() & 0xF]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let vcs = VcsId(reader.u8("VCS id")?);
        let vppb = VppbId(reader.u8("vPPB")?);
        Ok(Self { vcs, vppb, option: UnbindOption::from_code(reader.u8("unbind option")? & 0xF) })
    }
}
