//! What each VM did lately, in rates.
//!
//! A cycle appends one entry per VM; old ones fall out. Percentiles are over a window of the last 64
//! cycles: "recent" is as long as 64 of those.

use std::time::Duration;

use halcyon_model::{DeviceId, HostTime, Snapshot, VmCounters, VmId, VmRates, device_rate};

/// Entries that are kept.
const KEPT: usize = 64;

/// The last values of one quantity, oldest overwritten first.
#[derive(Debug, Clone)]
pub struct Window {
    values: [f32; KEPT],
    next: usize,
    len: usize,
}

impl Default for Window {
    fn default() -> Self {
        Self { values: [0.0; KEPT], next: 0, len: 0 }
    }
}

impl Window {
    #[allow(clippy::cast_possible_truncation)]
    fn push(&mut self, value: f64) {
        self.values[self.next] = value as f32;
        self.next = (self.next + 1) % KEPT;
        self.len = (self.len + 1).min(KEPT);
    }

    /// The value below which a `share` of the entries lies (nearest rank); nothing without entries.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn percentile(&self, share: f64) -> Option<f64> {
        if self.len == 0 {
            return None;
        }
        let mut sorted = self.values;
        let sorted = &mut sorted[..self.len];
        let rank = (share.clamp(0.0, 1.0) * (self.len - 1) as f64).round() as usize;
        let (_, value, _) = sorted.select_nth_unstable_by(rank, f32::total_cmp);
        Some(f64::from(*value))
    }

    /// The least of the newest `count` values: what was reached in all of them. Nothing while there are
    /// fewer.
    #[must_use]
    pub fn sustained(&self, count: usize) -> Option<f64> {
        let newest = (1..=count).map(|back| f64::from(self.values[(self.next + KEPT - back) % KEPT]));
        (count > 0 && count <= self.len).then(|| newest.fold(f64::INFINITY, f64::min))
    }

    /// The newest value.
    #[must_use]
    pub fn last(&self) -> Option<f64> {
        (self.len > 0).then(|| f64::from(self.values[(self.next + KEPT - 1) % KEPT]))
    }
}

/// What is known of one VM's demand. A window is empty where the host does not measure the quantity.
#[derive(Debug, Clone, Default)]
pub struct Estimate {
    /// CPU time used and waited for, in thousandths of a core.
    pub cpu: Window,
    /// Memory traffic, in bytes per second.
    pub memory_bandwidth: Window,
    /// Working set, in bytes.
    pub working_set: Window,
    /// Share of the time stalled for memory.
    pub memory_stalled: Window,
    /// Share of the time stalled for devices.
    pub io_stalled: Window,
    /// Last-level cache that it fills, in bytes.
    pub cache: Window,
    /// Share of the time that its GPU slices were busy.
    pub gpu: Window,
}

/// What all VMs did lately.
#[derive(Debug, Clone, Default)]
pub struct History {
    vms: Vec<Tracked>,
    devices: Vec<Window>,
    at: Option<HostTime>,
}

#[derive(Debug, Clone, Default)]
struct Tracked {
    vm: VmId,
    counters: VmCounters,
    estimate: Estimate,
}

impl History {
    /// A history without entries.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Appends what a snapshot tells. VMs that are gone are forgotten.
    pub fn record(&mut self, snapshot: &Snapshot) {
        self.follow(snapshot);
        let elapsed = self.at.map_or(Duration::ZERO, |at| snapshot.at.saturating_sub(at));
        self.at = Some(snapshot.at);
        self.devices.resize_with(snapshot.assignment.devices.len(), Window::default);
        for (tracked, sample) in self.vms.iter_mut().zip(&snapshot.vms) {
            let rates = VmRates::between(&tracked.counters, &sample.counters, elapsed);
            tracked.estimate.append(&rates);
            if let Some(size) = sample.working_set {
                tracked.estimate.working_set.push(size.as_f64());
            }
            if let Some(size) = sample.cache {
                tracked.estimate.cache.push(size.as_f64());
            }
            for (device, _) in &sample.counters.device_bytes {
                let rate = device_rate(&tracked.counters, &sample.counters, *device, elapsed);
                if let (Some(rate), Some(window)) = (rate, self.devices.get_mut(device.index())) {
                    window.push(rate.as_f64());
                }
            }
            tracked.counters.clone_from(&sample.counters);
        }
    }

    /// Keeps one entry per VM of the snapshot, in its order.
    fn follow(&mut self, snapshot: &Snapshot) {
        let same = self.vms.len() == snapshot.vms.len()
            && self.vms.iter().zip(&snapshot.vms).all(|(tracked, sample)| tracked.vm == sample.vm);
        if same {
            return;
        }
        let mut known = std::mem::take(&mut self.vms);
        for sample in &snapshot.vms {
            let found = known.iter().position(|tracked| tracked.vm == sample.vm);
            let tracked = found.map(|place| known.swap_remove(place));
            self.vms.push(tracked.unwrap_or_else(|| Tracked { vm: sample.vm, ..Tracked::default() }));
        }
    }

    /// What is known of the VM at `position` of the last snapshot.
    #[must_use]
    pub fn estimate(&self, position: usize) -> Option<&Estimate> {
        self.vms.get(position).map(|tracked| &tracked.estimate)
    }

    /// What a device moved for its owners lately, in bytes per second.
    #[must_use]
    pub fn device(&self, device: DeviceId) -> Option<&Window> {
        self.devices.get(device.index())
    }

    /// When the last entry was made.
    #[must_use]
    pub fn at(&self) -> Option<HostTime> {
        self.at
    }
}

impl Estimate {
    fn append(&mut self, rates: &VmRates) {
        if let Some(used) = rates.cpu {
            self.cpu.push(used.as_f64() + rates.cpu_waited.map_or(0.0, |waited| waited.as_f64()));
        }
        if let Some(moved) = rates.memory_bandwidth {
            self.memory_bandwidth.push(moved.as_f64());
        }
        if let Some(stalled) = rates.memory_stalled {
            self.memory_stalled.push(stalled);
        }
        if let Some(stalled) = rates.io_stalled {
            self.io_stalled.push(stalled);
        }
        if let Some(busy) = rates.gpu {
            self.gpu.push(busy);
        }
    }
}

#[cfg(test)]
mod tests {
    use halcyon_model::VmSample;

    use super::*;

    fn snapshot(at_s: u64, vms: &[(u32, u64)]) -> Snapshot {
        let sample = |&(vm, cpu): &(u32, u64)| VmSample {
            vm: VmId(vm),
            counters: VmCounters { cpu_used_us: Some(cpu), ..VmCounters::default() },
            ..VmSample::default()
        };
        let vms = vms.iter().map(sample).collect();
        Snapshot { at: Duration::from_secs(at_s), vms, ..Snapshot::default() }
    }

    #[test]
    fn demand_is_a_percentile_of_rates_and_follows_vms_that_come_and_go() {
        let mut history = History::new();
        history.record(&snapshot(0, &[(1, 0), (2, 0)]));
        assert!(history.estimate(0).unwrap().cpu.last().is_none(), "one sample gives no rate");
        history.record(&snapshot(1, &[(1, 1_000_000), (2, 3_000_000)]));
        history.record(&snapshot(2, &[(2, 5_000_000), (3, 9_000_000)]));
        let second = &history.estimate(0).unwrap().cpu;
        assert_eq!((second.last(), second.percentile(1.0)), (Some(2000.0), Some(3000.0)));
        assert!(history.estimate(1).unwrap().cpu.last().is_none(), "a new VM starts afresh");
    }

    #[test]
    fn the_window_forgets() {
        let mut window = Window::default();
        window.push(1e6);
        (0..KEPT).for_each(|_| window.push(2.0));
        assert_eq!(window.percentile(1.0), Some(2.0));
        assert_eq!(Window::default().percentile(0.5), None);
    }
}
