//! What was seen of a host at one moment.
//!
//! Raw counters only ever grow until something resets them; rates are derived from two samples and are
//! kept apart from them. What could not be read is `None`, never zero.

use std::time::Duration;

use crate::assignment::Assignment;
use crate::capability::Families;
use crate::ids::{DeviceId, Generation, VmId};
use crate::units::{Bandwidth, ByteSize, MilliCpu};

/// Time on the host's monotonic clock since Halcyon started.
pub type HostTime = Duration;

/// What was seen of a host at one moment.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Snapshot {
    /// Its number.
    pub generation: Generation,
    /// When it was taken.
    pub at: HostTime,
    /// Who holds what, as read from the machine.
    pub assignment: Assignment,
    /// What was read of each VM, ordered by VM.
    pub vms: Vec<VmSample>,
    /// Families with changes under way; they stay as they are until those are done.
    pub busy: Families,
}

/// What was read of one VM.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct VmSample {
    /// The VM.
    pub vm: VmId,
    /// Counters.
    pub counters: VmCounters,
    /// Memory that it has touched lately (guest statistics or page ageing).
    pub working_set: Option<ByteSize>,
    /// Last-level cache that it fills (resctrl's `llc_occupancy`).
    pub cache: Option<ByteSize>,
    /// The objective as the operator's own measurement sees it, where there is one.
    pub signal: Option<ObjectiveSignal>,
    /// Until when a refused change should not be asked for again.
    pub refuses_memory_until: Option<HostTime>,
}

/// Counters of one VM since it started.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct VmCounters {
    /// CPU time used, in microseconds.
    pub cpu_used_us: Option<u64>,
    /// Time that it was runnable and did not run, in microseconds of vCPU time.
    pub cpu_waited_us: Option<u64>,
    /// Time that it stood still for memory (PSI), in microseconds.
    pub memory_stalled_us: Option<u64>,
    /// Time that it stood still for devices (PSI), in microseconds.
    pub io_stalled_us: Option<u64>,
    /// Bytes moved to and from memory.
    pub memory_bytes: Option<u64>,
    /// Time that its GPU slices were busy, in microseconds.
    pub gpu_busy_us: Option<u64>,
    /// Bytes moved through the fabric, by device.
    pub device_bytes: Vec<(DeviceId, u64)>,
}

/// How a VM does by its own objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ObjectiveSignal {
    /// The 99th percentile of response time lately.
    pub p99: Option<Duration>,
    /// Work waiting, in seconds of the VM's own CPUs.
    pub backlog_s: Option<f64>,
}

/// Rates of one VM between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VmRates {
    /// CPU time used.
    pub cpu: Option<MilliCpu>,
    /// CPU time waited for.
    pub cpu_waited: Option<MilliCpu>,
    /// Share of the time that it stood still for memory, 0 to 1.
    pub memory_stalled: Option<f64>,
    /// Share of the time that it stood still for devices, 0 to 1.
    pub io_stalled: Option<f64>,
    /// Memory traffic.
    pub memory_bandwidth: Option<Bandwidth>,
    /// Share of the time that its GPU slices were busy, 0 to 1.
    pub gpu: Option<f64>,
}

fn rate(before: Option<u64>, after: Option<u64>, elapsed: Duration, scale: f64) -> Option<f64> {
    // A counter that went down was reset: the VM restarted, and the interval says nothing.
    let grown = after?.checked_sub(before?)?;
    let seconds = elapsed.as_secs_f64();
    #[allow(clippy::cast_precision_loss)]
    (seconds > 0.0).then(|| grown as f64 * scale / seconds)
}

impl VmRates {
    /// What happened between two samples of one VM.
    #[must_use]
    pub fn between(before: &VmCounters, after: &VmCounters, elapsed: Duration) -> Self {
        let milli = |before, after| rate(before, after, elapsed, 1e-3).map(MilliCpu::from_f64);
        Self {
            cpu: milli(before.cpu_used_us, after.cpu_used_us),
            cpu_waited: milli(before.cpu_waited_us, after.cpu_waited_us),
            memory_stalled: rate(before.memory_stalled_us, after.memory_stalled_us, elapsed, 1e-6),
            io_stalled: rate(before.io_stalled_us, after.io_stalled_us, elapsed, 1e-6),
            memory_bandwidth: rate(before.memory_bytes, after.memory_bytes, elapsed, 1.0)
                .map(Bandwidth::from_f64),
            gpu: rate(before.gpu_busy_us, after.gpu_busy_us, elapsed, 1e-6),
        }
    }
}

/// What a device moved between two samples of its owner.
#[must_use]
pub fn device_rate(
    before: &VmCounters,
    after: &VmCounters,
    device: DeviceId,
    elapsed: Duration,
) -> Option<Bandwidth> {
    let of = |counters: &VmCounters| {
        counters.device_bytes.iter().find(|(held, _)| *held == device).map(|(_, bytes)| *bytes)
    };
    rate(of(before), of(after), elapsed, 1.0).map(Bandwidth::from_f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_come_from_growth_and_a_reset_or_a_gap_gives_none() {
        let counters = |cpu| VmCounters { cpu_used_us: cpu, ..VmCounters::default() };
        let second = Duration::from_secs(1);
        let rates = VmRates::between(&counters(Some(500_000)), &counters(Some(2_500_000)), second);
        assert_eq!(rates.cpu, Some(MilliCpu::cores(2)));
        assert_eq!(rates.memory_bandwidth, None);
        assert_eq!(VmRates::between(&counters(Some(9)), &counters(Some(3)), second).cpu, None);
        assert_eq!(VmRates::between(&counters(None), &counters(Some(3)), second).cpu, None);
        assert_eq!(VmRates::between(&counters(Some(1)), &counters(Some(3)), Duration::ZERO).cpu, None);
    }
}
