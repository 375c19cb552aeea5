//! What each VM did lately, in rates.
//!
//! A cycle appends one entry per VM; old ones fall out. Percentiles are over a window of the last 64
//! cycles: "recent" is as long as 64 of those. Beside the windows there are means over spans of time, and
//! the last day in parts of five minutes. All of it takes less than 6 KiB for each VM, however long it
//! runs.

use std::time::Duration;

use halcyon_model::{
    Bandwidth, ByteSize, DeviceId, HostTime, MilliCpu, Snapshot, VmCounters, VmId, VmRates, VmSample,
    device_rate,
};

use crate::trend::{Day, Decay, Trend};

/// Entries that are kept.
const KEPT: usize = 64;

/// The last values of one quantity, oldest overwritten first. The order is kept up with every entry,
/// because percentiles are asked for far more often than entries are made.
#[derive(Debug, Clone)]
pub struct Window {
    values: [f32; KEPT],
    /// Places of the values, the least first.
    order: [u8; KEPT],
    next: usize,
    len: usize,
}

/// A number with the order of [`f32::total_cmp`].
fn key(value: f32) -> i32 {
    let bits = value.to_bits().cast_signed();
    bits ^ ((bits >> 31).cast_unsigned() >> 1).cast_signed()
}

impl Default for Window {
    fn default() -> Self {
        Self { values: [0.0; KEPT], order: [0; KEPT], next: 0, len: 0 }
    }
}

impl Window {
    #[allow(clippy::cast_possible_truncation)]
    fn push(&mut self, value: f64) {
        let (place, value) = (self.next as u8, value as f32);
        // Equals stand in the order in which they came. The new one comes last of its equals, and the
        // oldest, which goes, first; so their ranks are found without a look at the order.
        let mut rank = self.count(|held| held <= key(value));
        if self.len == KEPT {
            let oldest = key(self.values[self.next]);
            let gone = self.count(|held| held < oldest);
            rank -= usize::from(oldest <= key(value));
            if gone <= rank {
                self.order.copy_within(gone + 1..=rank, gone);
            } else {
                self.order.copy_within(rank..gone, rank + 1);
            }
        } else {
            self.order.copy_within(rank..self.len, rank + 1);
            self.len += 1;
        }
        self.order[rank] = place;
        self.values[self.next] = value;
        self.next = (self.next + 1) % KEPT;
    }

    /// How many values have a key of which `is` holds.
    fn count(&self, is: impl Fn(i32) -> bool) -> usize {
        self.values[..self.len].iter().map(|value| u32::from(is(key(*value)))).sum::<u32>() as usize
    }

    /// The value that `rank` others come before.
    fn ranked(&self, rank: usize) -> f64 {
        f64::from(self.values[usize::from(self.order[rank % KEPT]) % KEPT])
    }

    /// The value below which a `share` of the entries lies (nearest rank); nothing without entries.
    #[must_use]
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
    pub fn percentile(&self, share: f64) -> Option<f64> {
        let last = self.len.checked_sub(1)?;
        let rank = libm::round(share.clamp(0.0, 1.0) * last as f64) as usize;
        Some(self.ranked(rank))
    }

    /// The least of the newest `count` values: what was reached in all of them. Nothing while there are
    /// fewer.
    #[must_use]
    pub fn sustained(&self, count: usize) -> Option<f64> {
        let newest = (1..=count).map(|back| f64::from(self.values[(self.next + KEPT - back) % KEPT]));
        (count > 0 && count <= self.len).then(|| newest.fold(f64::INFINITY, f64::min))
    }

    /// The largest value; nothing without entries.
    #[must_use]
    pub fn most(&self) -> Option<f64> {
        Some(self.ranked(self.len.checked_sub(1)?))
    }

    /// The standard deviation of the entries; nothing without any.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn deviation(&self) -> Option<f64> {
        let count = self.len as f64;
        let mean = self.sum(f64::from) / count;
        let square = |value| (f64::from(value) - mean) * (f64::from(value) - mean);
        (self.len > 0).then(|| libm::sqrt(self.sum(square) / count))
    }

    /// In lanes, which the machine adds up side by side.
    fn sum(&self, of: impl Fn(f32) -> f64) -> f64 {
        let mut lanes = [0.0; 8];
        let (whole, rest) = self.values[..self.len].as_chunks::<8>();
        for entries in whole {
            lanes.iter_mut().zip(entries).for_each(|(lane, value)| *lane += of(*value));
        }
        lanes.iter_mut().zip(rest).for_each(|(lane, value)| *lane += of(*value));
        lanes.iter().sum()
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
    /// What all of its devices moved together, in bytes per second.
    pub devices: Window,
    /// CPU time waited for, in thousandths of a core, when it was last read.
    pub cpu_waited: Option<f64>,
    /// Means over longer than a window.
    pub trends: Trends,
    /// CPU time used and waited for over the last day, in thousandths of a core.
    pub cpu_day: Day,
    /// Working set over the last day, in bytes.
    pub working_set_day: Day,
}

/// Means over spans of time of what one VM did, in the units of [`Estimate`].
#[derive(Debug, Clone, Default)]
pub struct Trends {
    /// CPU time used and waited for.
    pub cpu: Trend,
    /// CPU time waited for.
    pub cpu_waited: Trend,
    /// Memory traffic.
    pub memory_bandwidth: Trend,
    /// Working set.
    pub working_set: Trend,
    /// What all of its devices moved together.
    pub devices: Trend,
    /// Share of the time that its GPU slices were busy.
    pub gpu: Trend,
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
    since: HostTime,
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
        let passed = Passed {
            part: Day::part(snapshot.at),
            seconds: elapsed.as_secs_f64(),
            decay: Decay::over(elapsed),
        };
        for (tracked, sample) in self.vms.iter_mut().zip(&snapshot.vms) {
            let rates = VmRates::between(&tracked.counters, &sample.counters, elapsed);
            let mut moved = None;
            for (device, _) in &sample.counters.device_bytes {
                let rate = device_rate(&tracked.counters, &sample.counters, *device, elapsed);
                if let (Some(rate), Some(window)) = (rate, self.devices.get_mut(device.index())) {
                    window.push(rate.as_f64());
                    moved = Some(moved.unwrap_or(0.0) + rate.as_f64());
                }
            }
            tracked.estimate.append(sample, &rates, moved, &passed);
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
            let fresh = || Tracked { vm: sample.vm, since: snapshot.at, ..Tracked::default() };
            self.vms.push(tracked.unwrap_or_else(fresh));
        }
    }

    /// What is known of the VM at `position` of the last snapshot.
    #[must_use]
    pub fn estimate(&self, position: usize) -> Option<&Estimate> {
        self.vms.get(position).map(|tracked| &tracked.estimate)
    }

    /// When the VM at `position` of the last snapshot was first seen.
    #[must_use]
    pub fn since(&self, position: usize) -> Option<HostTime> {
        self.vms.get(position).map(|tracked| tracked.since)
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

/// The part of the day of an entry, and the time since the one before it.
#[derive(Debug)]
struct Passed {
    part: u64,
    seconds: f64,
    decay: Decay,
}

impl Estimate {
    fn append(&mut self, sample: &VmSample, rates: &VmRates, moved: Option<f64>, passed: &Passed) {
        let waited = rates.cpu_waited.map(MilliCpu::as_f64);
        let cpu = rates.cpu.map(|used| used.as_f64() + waited.unwrap_or(0.0));
        let memory_bandwidth = rates.memory_bandwidth.map(Bandwidth::as_f64);
        let working_set = sample.working_set.map(ByteSize::as_f64);
        let entries = [
            (&mut self.cpu, cpu),
            (&mut self.memory_bandwidth, memory_bandwidth),
            (&mut self.working_set, working_set),
            (&mut self.memory_stalled, rates.memory_stalled),
            (&mut self.io_stalled, rates.io_stalled),
            (&mut self.cache, sample.cache.map(ByteSize::as_f64)),
            (&mut self.gpu, rates.gpu),
            (&mut self.devices, moved),
        ];
        for (window, value) in entries {
            if let Some(value) = value {
                window.push(value);
            }
        }
        self.cpu_waited = waited.or(self.cpu_waited);
        let trends = &mut self.trends;
        trends.cpu.add(cpu, &passed.decay);
        trends.cpu_waited.add(waited, &passed.decay);
        trends.memory_bandwidth.add(memory_bandwidth, &passed.decay);
        trends.working_set.add(working_set, &passed.decay);
        trends.devices.add(moved, &passed.decay);
        trends.gpu.add(rates.gpu, &passed.decay);
        self.cpu_day.add(passed.part, passed.seconds, cpu);
        self.working_set_day.add(passed.part, passed.seconds, working_set);
    }
}

#[cfg(test)]
mod tests {
    use crate::trend::Span;

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
        assert_eq!([0, 1].map(|position| history.since(position).unwrap().as_secs()), [0, 2]);
    }

    #[test]
    fn means_go_by_elapsed_time_and_a_reset_counter_takes_no_part() {
        let mut history = History::new();
        // One core for 300 s in one entry, then two cores for 300 s in many.
        history.record(&snapshot(0, &[(1, 0)]));
        history.record(&snapshot(300, &[(1, 300_000_000)]));
        for second in 1..=300 {
            history.record(&snapshot(300 + second, &[(1, 300_000_000 + second * 2_000_000)]));
        }
        let mean = |history: &History, span| history.estimate(0).unwrap().trends.cpu.mean(span).unwrap();
        let (kept, new) = (libm::exp(-1.0), 1.0 - libm::exp(-1.0));
        let expected = (1000.0 * new * kept + 2000.0 * new) / (new * kept + new);
        assert!((mean(&history, Span::Minutes5) / expected - 1.0).abs() < 1e-4);
        assert!((mean(&history, Span::Seconds4) - 2000.0).abs() < 0.1);
        history.record(&snapshot(601, &[(1, 5)]));
        assert!((mean(&history, Span::Minutes5) / expected - 1.0).abs() < 1e-4);
        let yesterday =
            |at: u64| history.estimate(0).unwrap().cpu_day.day_ago(Duration::from_secs(86_400 + at));
        // An entry belongs to the five minutes in which it ends.
        assert_eq!((yesterday(10), yesterday(700)), (None, None));
        assert!((yesterday(450).unwrap() - 1500.0).abs() < 5.0);
    }

    #[test]
    fn every_percentile_is_the_entry_of_its_rank() {
        let mut window = Window::default();
        for entry in 1..200_u64 {
            window.push((entry * 7919 % 64) as f64 - 20.0);
            let mut sorted = window.values[..window.len].to_vec();
            sorted.sort_by(f32::total_cmp);
            for (rank, expected) in sorted.iter().enumerate() {
                let share = rank as f64 / (sorted.len() - 1).max(1) as f64;
                assert_eq!(window.percentile(share), Some(f64::from(*expected)), "{rank} of {entry}");
            }
            assert_eq!(window.most(), sorted.last().map(|most| f64::from(*most)));
        }
    }

    #[test]
    fn the_memory_for_each_vm_is_bounded() {
        let days = 2 * 288 * size_of::<f32>();
        assert!(size_of::<Tracked>() + days < 6 * 1024, "{} B and {days} B", size_of::<Tracked>());
    }

    #[test]
    fn the_window_forgets() {
        let mut window = Window::default();
        window.push(1e6);
        (0..KEPT).for_each(|_| window.push(2.0));
        assert_eq!((window.percentile(1.0), window.most()), (Some(2.0), Some(2.0)));
        window.push(2.0 + 64.0);
        let deviation = libm::sqrt((63.0 + 63.0 * 63.0) / 64.0);
        assert!((window.deviation().unwrap() - deviation).abs() < 1e-9);
        assert_eq!((Window::default().most(), Window::default().deviation()), (None, None));
        assert_eq!(Window::default().percentile(0.5), None);
    }
}
