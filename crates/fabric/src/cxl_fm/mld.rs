//! Multi-logical devices: how their memory and their bandwidth are divided among logical devices.
//!
//! The two bandwidth tables hold one byte for each logical device, in 256ths of what the device moves:
//! the share that is set aside for it, and the limit that it may not pass.

use super::bytes::{DecodeError, Payload, Reader, codes, count, zeros};

/// Bytes of the allocation of one logical device.
const ALLOCATION: usize = 16;

macro_rules! empty {
    ($($(#[$doc:meta])* $name:ident,)+) => {$(
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        pub struct $name;

        impl Payload for $name {
            fn put(&self, _: &mut Vec<u8>) {}
            fn take(_: &mut Reader<'_>) -> Result<Self, DecodeError> {
                Ok(Self)
            }
        }
    )+};
}

empty! {
    /// Asks what an MLD is made of.
    GetLdInfo,
    /// Asks how congestion is told to hosts.
    GetQosControl,
    /// Asks how congested the egress port is.
    GetQosStatus,
}

/// What an MLD is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LdInfo {
    /// Bytes of memory in all.
    pub memory_bytes: u64,
    /// Logical devices.
    pub lds: u16,
    /// What it can tell of congestion: egress port (bit 0), temporary throughput reduction (bit 1).
    pub telemetry: u8,
}

codes! {
    /// The unit of allocations.
    Granularity(u8) {
        Mib256 = 0: "256 MiB",
        Mib512 = 1: "512 MiB",
        Gib1 = 2: "1 GiB",
    }
}

/// A range of logical devices.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LdRange {
    /// How many; a device may give fewer.
    pub count: u8,
    /// The first.
    pub start: u8,
}

/// Asks how memory is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetLdAllocations(pub LdRange);

/// How memory is divided.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdAllocations {
    /// Logical devices in all.
    pub lds: u8,
    /// The unit.
    pub granularity: Granularity,
    /// The first of the list.
    pub start: u8,
    /// One for each logical device that was asked for.
    pub list: Vec<LdAllocation>,
}

/// Divides memory; also the answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetLdAllocations {
    /// The first of the list.
    pub start: u8,
    /// One for each logical device from there.
    pub list: Vec<LdAllocation>,
}

/// The memory of one logical device, in units of the granularity.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LdAllocation {
    /// Multiplier of the first range.
    pub range1: u64,
    /// Multiplier of the second range.
    pub range2: u64,
}

/// How congestion is told to hosts; also sets it, and is the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QosControl {
    /// Egress port congestion (bit 0), temporary throughput reduction (bit 1).
    pub enabled: u8,
    /// Per cent of backpressure that is moderate.
    pub moderate_percent: u8,
    /// Per cent of backpressure that is severe.
    pub severe_percent: u8,
    /// Time between samples, in units of 100 ns, 0 to 15.
    pub sample_interval: u8,
    /// Requests and completions against which throughput is measured.
    pub request_completion_basis: u16,
    /// Time over which completions are counted, in units of 64 ns.
    pub collection_interval: u8,
}

/// Sets how congestion is told to hosts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SetQosControl(pub QosControl);

/// How congested the egress port is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QosStatus {
    /// Average backpressure in per cent.
    pub backpressure_percent: u8,
}

/// Asks for the shares of bandwidth that are set aside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetQosAllocated(pub LdRange);

/// Asks for the limits of bandwidth.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GetQosLimit(pub LdRange);

/// One byte of bandwidth for each logical device, in 256ths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LdFractions {
    /// The first of the list.
    pub start: u8,
    /// One for each logical device from there; those after the 255th are left out.
    pub fractions: Vec<u8>,
}

/// Sets shares aside. Sets them absolutely: twice is as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetQosAllocated(pub LdFractions);

/// Sets limits. Sets them absolutely: twice is as once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SetQosLimit(pub LdFractions);

impl LdRange {
    /// The same range for a peer that reads the two bytes the other way round: the first logical device,
    /// then how many.
    #[must_use]
    pub const fn swapped(self) -> Self {
        Self { count: self.start, start: self.count }
    }
}

impl Payload for LdInfo {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.memory_bytes.to_le_bytes());
        out.extend(self.lds.to_le_bytes());
        out.push(self.telemetry);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            memory_bytes: reader.u64("memory size")?,
            lds: reader.u16("LD count")?,
            telemetry: reader.u8("QoS telemetry capability")?,
        })
    }
}

impl Payload for GetLdAllocations {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.0.start, self.0.count]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let start = reader.u8("first LD")?;
        Ok(Self(LdRange { start, count: reader.u8("limit of LDs")? }))
    }
}

impl Payload for LdAllocations {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.list.len());
        out.extend([self.lds, self.granularity.code(), self.start, number]);
        self.list.iter().take(number.into()).for_each(|allocation| allocation.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let lds = reader.u8("total number of LDs")?;
        let granularity = Granularity::from_code(reader.u8("memory granularity")?);
        let start = reader.u8("first LD")?;
        let number = reader.u8("number of LDs")?;
        let list = reader.list("the allocation of an LD", number.into(), ALLOCATION)?;
        Ok(Self { lds, granularity, start, list })
    }
}

impl Payload for SetLdAllocations {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.list.len());
        out.extend([number, self.start]);
        zeros(out, 2);
        self.list.iter().take(number.into()).for_each(|allocation| allocation.put(out));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("number of LDs")?;
        let start = reader.u8("first LD")?;
        reader.skip(2)?;
        let list = reader.list("the allocation of an LD", number.into(), ALLOCATION)?;
        Ok(Self { start, list })
    }
}

impl Payload for LdAllocation {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend(self.range1.to_le_bytes());
        out.extend(self.range2.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { range1: reader.u64("range 1")?, range2: reader.u64("range 2")? })
    }
}

impl Payload for QosControl {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.enabled, self.moderate_percent, self.severe_percent, self.sample_interval]);
        out.extend(self.request_completion_basis.to_le_bytes());
        out.push(self.collection_interval);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            enabled: reader.u8("QoS telemetry control")?,
            moderate_percent: reader.u8("egress moderate percentage")?,
            severe_percent: reader.u8("egress severe percentage")?,
            sample_interval: reader.u8("backpressure sample interval")?,
            request_completion_basis: reader.u16("ReqCmpBasis")?,
            collection_interval: reader.u8("completion collection interval")?,
        })
    }
}

impl Payload for QosStatus {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(self.backpressure_percent);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { backpressure_percent: reader.u8("average backpressure")? })
    }
}

impl Payload for LdRange {
    fn put(&self, out: &mut Vec<u8>) {
        out.extend([self.count, self.start]);
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self { count: reader.u8("number of LDs")?, start: reader.u8("first LD")? })
    }
}

impl Payload for LdFractions {
    fn put(&self, out: &mut Vec<u8>) {
        let number = count(self.fractions.len());
        out.extend([number, self.start]);
        out.extend(self.fractions.iter().take(number.into()));
    }

    fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let number = reader.u8("number of LDs")?;
        let start = reader.u8("first LD")?;
        Ok(Self { start, fractions: reader.bytes("bandwidth of LDs", number.into())?.to_vec() })
    }
}

/// Payloads that are those of another command.
macro_rules! same_as {
    ($($name:ident($inner:ident),)+) => {$(
        impl Payload for $name {
            fn put(&self, out: &mut Vec<u8>) {
                self.0.put(out);
            }
            fn take(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
                $inner::take(reader).map(Self)
            }
        }
    )+};
}

same_as! {
    SetQosControl(QosControl),
    GetQosAllocated(LdRange),
    GetQosLimit(LdRange),
    SetQosAllocated(LdFractions),
    SetQosLimit(LdFractions),
}
