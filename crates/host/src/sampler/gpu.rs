//! How long the GPUs of a VM were busy.
//!
//! The driver gives the busy share of the last moments and no counter, so that shares are added up over time:
//! a gap in the readings is left out, and shows as a gap.

use std::time::Duration;

use halcyon_model::{HostTime, PciAddress};

use crate::nvml::{GpuReading, Reading};

/// Readings further apart say nothing of the time between them.
const GAP: Duration = Duration::from_secs(5);

#[derive(Debug, Default)]
pub(super) struct GpuSource {
    busy_ns: u64,
    /// The number of the reading that was taken last, and when it was.
    last: Option<(u64, HostTime)>,
    busy_us: Option<u64>,
    pub(super) memory_bytes: Option<u64>,
}

impl GpuSource {
    /// Takes a reading, if it is new. What the VM uses are GPUs that it has for itself, and what its process
    /// does on others.
    pub(super) fn take(
        &mut self,
        reading: Option<&Reading>,
        now: HostTime,
        gpus: &[PciAddress],
        pid: Option<u32>,
    ) {
        let since = |at: HostTime| now.checked_sub(at).filter(|since| *since <= GAP);
        let since_last = self.last.and_then(|(_, at)| since(at));
        let is_new = |reading: &&Reading| self.last.is_none_or(|(number, _)| number != reading.number);
        let Some(reading) = reading.filter(is_new) else {
            if since_last.is_none() {
                // The last one is too old to stand.
                (self.busy_us, self.memory_bytes) = (None, None);
            }
            return;
        };
        self.last = Some((reading.number, now));
        self.memory_bytes = sum(reading, gpus, pid, memory);
        self.busy_us = sum(reading, gpus, pid, busy).map(|percent| {
            let elapsed = since_last.unwrap_or_default();
            let nanos = elapsed.as_nanos().saturating_mul(u128::from(percent)) / 100;
            self.busy_ns = self.busy_ns.saturating_add(u64::try_from(nanos).unwrap_or(u64::MAX));
            self.busy_ns / 1000
        });
    }

    pub(super) const fn busy_us(&self) -> Option<u64> {
        self.busy_us
    }
}

/// One GPU's figure for a VM: `pid` is none where all of the GPU is the VM's.
type Figure = fn(&GpuReading, Option<u32>) -> Option<u64>;

/// None where nothing is the VM's, or one part of it is not known.
fn sum(reading: &Reading, gpus: &[PciAddress], pid: Option<u32>, figure: Figure) -> Option<u64> {
    let has = |gpu: &GpuReading| gpu.address.is_some_and(|address| gpus.contains(&address));
    if reading.gpus.iter().filter(|gpu| has(gpu)).count() < gpus.len() {
        return None;
    }
    let figures = reading.gpus.iter().filter_map(|gpu| {
        if has(gpu) {
            return Some(figure(gpu, None));
        }
        let uses = pid.filter(|pid| gpu.processes.iter().any(|process| process.pid == *pid));
        uses.map(|pid| figure(gpu, Some(pid)))
    });
    figures.reduce(|a, b| Some(a?.saturating_add(b?))).flatten()
}

fn busy(gpu: &GpuReading, pid: Option<u32>) -> Option<u64> {
    let share = match pid {
        None => gpu.busy_percent,
        Some(pid) => gpu.processes.iter().find(|process| process.pid == pid)?.busy_percent,
    };
    share.map(|percent| u64::from(percent.min(100)))
}

fn memory(gpu: &GpuReading, pid: Option<u32>) -> Option<u64> {
    match pid {
        None => gpu.memory_used_bytes,
        Some(pid) => gpu.processes.iter().find(|process| process.pid == pid)?.memory_bytes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nvml::GpuProcess;

    fn reading(number: u64, busy: Option<u32>, by_process: Option<u32>) -> Reading {
        let process = GpuProcess { pid: 7, busy_percent: by_process, ..GpuProcess::default() };
        let gpu = GpuReading {
            address: "0000:41:00.0".parse().ok(),
            busy_percent: busy,
            processes: vec![process],
            ..GpuReading::default()
        };
        Reading { number, gpus: vec![gpu], ..Reading::default() }
    }

    const fn s(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    #[test]
    fn busy_time_grows_with_each_new_reading_once() {
        let gpus = ["0000:41:00.0".parse().expect("an address")];
        let mut source = GpuSource::default();
        source.take(Some(&reading(1, Some(50), None)), s(10), &gpus, None);
        assert_eq!(source.busy_us(), Some(0));
        for now in [11, 12] {
            source.take(Some(&reading(2, Some(50), None)), s(now), &gpus, None);
            assert_eq!(source.busy_us(), Some(500_000));
        }
        source.take(Some(&reading(2, Some(50), None)), s(30), &gpus, None);
        assert_eq!(source.busy_us(), None, "nothing new for long");
        source.take(Some(&reading(3, Some(100), None)), s(31), &gpus, None);
        assert_eq!(source.busy_us(), Some(500_000), "the gap is left out");
        source.take(Some(&reading(4, None, None)), s(32), &gpus, None);
        assert_eq!(source.busy_us(), None, "a GPU with MIG does not say");
        source.take(None, s(60), &gpus, None);
        assert_eq!(source.busy_us(), None);
    }

    #[test]
    fn a_vm_has_what_its_process_does_and_what_is_not_seen_is_none() {
        let mut source = GpuSource::default();
        source.take(Some(&reading(1, Some(90), Some(20))), s(1), &[], Some(7));
        source.take(Some(&reading(2, Some(90), Some(20))), s(2), &[], Some(7));
        assert_eq!(source.busy_us(), Some(200_000));
        let mut other = GpuSource::default();
        other.take(Some(&reading(1, Some(90), Some(20))), s(1), &[], Some(8));
        assert_eq!(other.busy_us(), None);
        let bound_to_vfio = ["0000:42:00.0".parse().expect("an address")];
        other.take(Some(&reading(2, Some(90), Some(20))), s(2), &bound_to_vfio, Some(7));
        assert_eq!(other.busy_us(), None, "the driver of the host does not have it");
    }
}
