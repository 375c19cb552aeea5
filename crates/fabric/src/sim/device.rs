//! A multi-logical device: memory and bandwidth of its logical devices.

use halcyon_model::Bandwidth;
use halcyon_model::fair::{Claim, divide};

use crate::cxl_fm::bytes::Payload;
use crate::cxl_fm::cci::ReturnCode;
use crate::cxl_fm::identify::ComponentType;
use crate::cxl_fm::mld::Granularity;
use crate::cxl_fm::{
    Identity, LdAllocation, LdAllocations, LdFractions, LdInfo, LdRange, QosControl, QosStatus, Request,
    SetLdAllocations,
};

/// 256ths of the device's bandwidth, as a fraction.
fn fraction(byte: u8) -> f64 {
    f64::from(byte) / 256.0
}

/// A multi-logical device.
#[derive(Debug, Clone)]
pub(super) struct Device {
    memory_bytes: u64,
    allocations: Vec<LdAllocation>,
    pub(super) allocated: Vec<u8>,
    pub(super) limit: Vec<u8>,
    control: QosControl,
    backpressure_percent: u8,
}

impl Device {
    pub(super) fn new(lds: u8, memory_bytes: u64) -> Self {
        let each = (memory_bytes / u64::from(lds.max(1))) >> 28;
        let allocation = LdAllocation { range1: each, range2: 0 };
        let control = QosControl {
            enabled: 3,
            moderate_percent: 10,
            severe_percent: 25,
            sample_interval: 8,
            request_completion_basis: 0,
            collection_interval: 64,
        };
        let lds = usize::from(lds);
        Self {
            memory_bytes,
            allocations: vec![allocation; lds],
            allocated: vec![0; lds],
            limit: vec![u8::MAX; lds],
            control,
            backpressure_percent: 0,
        }
    }

    pub(super) fn lds(&self) -> u8 {
        u8::try_from(self.limit.len()).unwrap_or(u8::MAX)
    }

    /// The answer to a command, or why there is none.
    pub(super) fn answer(&mut self, request: Request, swapped: bool) -> Result<Vec<u8>, ReturnCode> {
        let order = |range: LdRange| if swapped { range.swapped() } else { range };
        match request {
            Request::Identify(_) => Ok(identity().to_bytes()),
            Request::GetLdInfo(_) => {
                let lds = self.lds().into();
                Ok(LdInfo { memory_bytes: self.memory_bytes, lds, telemetry: 3 }.to_bytes())
            }
            Request::GetLdAllocations(command) => {
                let list = window(&self.allocations, command.0)?.to_vec();
                let granularity = Granularity::Mib256;
                Ok(LdAllocations { lds: self.lds(), granularity, start: command.0.start, list }.to_bytes())
            }
            Request::SetLdAllocations(SetLdAllocations { start, list }) => {
                replace(&mut self.allocations, start, &list)?;
                Ok(SetLdAllocations { start, list }.to_bytes())
            }
            Request::GetQosControl(_) => Ok(self.control.to_bytes()),
            Request::SetQosControl(command) => {
                self.control = command.0;
                Ok(self.control.to_bytes())
            }
            Request::GetQosStatus(_) => {
                Ok(QosStatus { backpressure_percent: self.backpressure_percent }.to_bytes())
            }
            Request::GetQosAllocated(command) => fractions(&self.allocated, order(command.0)),
            Request::GetQosLimit(command) => fractions(&self.limit, order(command.0)),
            Request::SetQosAllocated(command) => set(&mut self.allocated, &command.0),
            Request::SetQosLimit(command) => set(&mut self.limit, &command.0),
            _ => Err(ReturnCode::Unsupported),
        }
    }

    /// What each logical device moves of what it wants to, over a link of `capacity`: at least what is set
    /// aside for it, at most its limit, and the rest in equal parts.
    pub(super) fn divide(&mut self, capacity: Bandwidth, wanted: &[Bandwidth]) -> Vec<Bandwidth> {
        let whole = capacity.as_f64();
        let aside: f64 = self.allocated.iter().map(|byte| fraction(*byte)).sum();
        let claim = |(ld, wanted): (usize, &Bandwidth)| {
            let most = wanted.as_f64().min(fraction(self.limit[ld]) * whole);
            let share = fraction(self.allocated[ld]) / aside.max(1.0) * whole;
            Claim { weight: 1.0, least: share.min(most), most }
        };
        let claims: Vec<Claim> = wanted.iter().take(self.limit.len()).enumerate().map(claim).collect();
        let mut parts = Vec::new();
        divide(whole, &claims, &mut parts);
        let moved: f64 = parts.iter().sum();
        let wished: f64 = claims.iter().map(|claim| claim.most).sum();
        let held_back = if wished > 0.0 { 1.0 - moved / wished } else { 0.0 };
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "0 to 100")]
        let percent = (held_back * 100.0).clamp(0.0, 100.0) as u8;
        self.backpressure_percent = percent;
        parts.into_iter().map(Bandwidth::from_f64).collect()
    }
}

pub(super) fn identity() -> Identity {
    Identity {
        vendor: 0x1DC5,
        device: 0xF001,
        subsystem: Some((0x1DC5, 1)),
        serial: 0x0102_0304_0506_0708,
        message_size: 12,
        component: Some(ComponentType::Type3),
    }
}

/// The part of a list that a range names, as far as there is one.
fn window<T>(list: &[T], range: LdRange) -> Result<&[T], ReturnCode> {
    let start = usize::from(range.start);
    let end = start.saturating_add(range.count.into()).min(list.len());
    list.get(start..end).ok_or(ReturnCode::InvalidInput)
}

fn replace<T: Clone>(list: &mut [T], start: u8, with: &[T]) -> Result<(), ReturnCode> {
    let start = usize::from(start);
    let place = list.get_mut(start..start.saturating_add(with.len())).ok_or(ReturnCode::InvalidInput)?;
    place.clone_from_slice(with);
    Ok(())
}

fn fractions(list: &[u8], range: LdRange) -> Result<Vec<u8>, ReturnCode> {
    let fractions = window(list, range)?.to_vec();
    Ok(LdFractions { start: range.start, fractions }.to_bytes())
}

fn set(list: &mut [u8], command: &LdFractions) -> Result<Vec<u8>, ReturnCode> {
    replace(list, command.start, &command.fractions)?;
    Ok(command.to_bytes())
}
