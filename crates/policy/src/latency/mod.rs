//! How VMs do against their objectives, for controllers that act on slack, and what such controllers
//! share: how memory grows and shrinks, how ways become masks, and what happens to resources that a
//! published controller leaves alone.
//!
//! Slack is what is left of the objective, as a share of it: 1 is idle, 0 is just met, below 0 is missed.
//! Where the operator measures response times, slack is of the mean of the 99th percentiles heard since
//! the last reading; where only a backlog is known, of the time that it takes to work it off. A VM without
//! either is judged by a proxy: the share of the time that it waits for a CPU, and stands still for memory
//! and for devices (PSI), each against the share at which the objective is taken to be just met.

mod give;

use std::collections::BTreeMap;

use halcyon_model::{HostTime, Objective, VmCounters, VmId, VmRates, VmSample};

use crate::View;
use crate::turn::has_passed;

pub(crate) use give::{Nodes, Rest, changes_cache, masks, squeeze, tidy};

/// Waiting for a CPU for this share of the runnable time is taken to just meet an objective.
const CPU_WAIT_AT_TARGET: f64 = 0.10;
/// The same for standing still for memory.
const MEMORY_STALL_AT_TARGET: f64 = 0.05;
/// And for devices.
const IO_STALL_AT_TARGET: f64 = 0.20;
/// Ten times the objective is as bad as it gets.
const LEAST_SLACK: f64 = -9.0;

/// What one VM did since the last reading. Absent is what was not measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Reading {
    /// Slack, −9 to 1; only of VMs with a response time as their objective.
    pub(crate) slack: Option<f64>,
    /// CPU time used, in thousandths of a core.
    pub(crate) used: Option<f64>,
    /// CPU time used and waited for.
    pub(crate) demand: Option<f64>,
    /// Memory traffic, in bytes per second.
    pub(crate) traffic: Option<f64>,
    /// Share of the time stalled for memory.
    pub(crate) memory_stalled: Option<f64>,
    /// Share of the time stalled for devices.
    pub(crate) io_stalled: Option<f64>,
}

/// Collects readings between two moments that a controller chooses.
#[derive(Debug, Default)]
pub(crate) struct Meter {
    vms: BTreeMap<VmId, Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    since: HostTime,
    counters: VmCounters,
    /// Sum of the response times heard, in seconds, and how many.
    heard_s: f64,
    heard: u32,
}

impl Meter {
    /// Listens to a snapshot: VMs that are gone are forgotten, new ones are read from now on.
    pub(crate) fn watch(&mut self, view: &View<'_>) {
        let samples = &view.snapshot.vms;
        self.vms.retain(|vm, _| samples.binary_search_by_key(vm, |sample| sample.vm).is_ok());
        for sample in samples {
            let kept = self.vms.entry(sample.vm).or_insert_with(|| Kept::start(view.snapshot.at, sample));
            if let Some(seconds) = response(sample) {
                kept.heard_s += seconds;
                kept.heard += 1;
            }
        }
    }

    /// What each VM of the world did since the last reading, in its order; a new one starts.
    pub(crate) fn read(&mut self, view: &View<'_>) -> Vec<Reading> {
        let readings = (0..view.world.vms.len()).map(|position| self.reading(view, position)).collect();
        self.restart(view);
        readings
    }

    /// Forgets what was measured so far.
    pub(crate) fn restart(&mut self, view: &View<'_>) {
        for sample in &view.snapshot.vms {
            self.vms.insert(sample.vm, Kept::start(view.snapshot.at, sample));
        }
    }

    fn reading(&self, view: &View<'_>, position: usize) -> Reading {
        let spec = &view.world.vms[position];
        let samples = &view.snapshot.vms;
        let found = samples.binary_search_by_key(&spec.id, |sample| sample.vm).ok();
        let Some((kept, sample)) = self.vms.get(&spec.id).zip(found.map(|place| &samples[place])) else {
            return Reading::default();
        };
        let elapsed = view.snapshot.at.saturating_sub(kept.since);
        let rates = VmRates::between(&kept.counters, &sample.counters, elapsed);
        let used = rates.cpu.map(|cpu| cpu.as_f64());
        let waited = rates.cpu_waited.map(|cpu| cpu.as_f64());
        let slack = match spec.objective {
            Objective::Latency { p99 } if kept.heard > 0 => {
                Some(slack(kept.heard_s / f64::from(kept.heard), p99.as_secs_f64()))
            }
            Objective::Latency { .. } => proxy(used, waited, &rates),
            _ => None,
        };
        Reading {
            slack,
            used,
            demand: used.map(|used| used + waited.unwrap_or(0.0)),
            traffic: rates.memory_bandwidth.map(|moved| moved.as_f64()),
            memory_stalled: rates.memory_stalled,
            io_stalled: rates.io_stalled,
        }
    }
}

impl Kept {
    fn start(since: HostTime, sample: &VmSample) -> Self {
        Self { since, counters: sample.counters.clone(), heard_s: 0.0, heard: 0 }
    }
}

/// The response time that the operator measures, in seconds, or what working off the backlog takes.
fn response(sample: &VmSample) -> Option<f64> {
    let signal = sample.signal?;
    let measured = signal.p99.map(|p99| p99.as_secs_f64());
    measured.or(signal.backlog_s.filter(|backlog| backlog.is_finite() && *backlog >= 0.0))
}

fn slack(response_s: f64, objective_s: f64) -> f64 {
    ((objective_s - response_s) / objective_s.max(1e-9)).clamp(LEAST_SLACK, 1.0)
}

/// Nothing where none of the proxies is measured.
fn proxy(used: Option<f64>, waited: Option<f64>, rates: &VmRates) -> Option<f64> {
    let waits = used.zip(waited).map(|(used, waited)| waited / (used + waited).max(1.0));
    let pressures = [
        waits.map(|share| share / CPU_WAIT_AT_TARGET),
        rates.memory_stalled.map(|share| share / MEMORY_STALL_AT_TARGET),
        rates.io_stalled.map(|share| share / IO_STALL_AT_TARGET),
    ];
    let worst = pressures.into_iter().flatten().reduce(f64::max)?;
    Some((1.0 - worst).clamp(LEAST_SLACK, 1.0))
}

/// Whether a VM is judged by its response time.
pub(crate) fn is_critical(view: &View<'_>, position: usize) -> bool {
    matches!(view.world.vms[position].objective, Objective::Latency { .. })
}

/// Whether `pace` has passed since the last time; if so, now is the last time.
pub(crate) fn is_due(last: &mut Option<HostTime>, now: HostTime, pace: std::time::Duration) -> bool {
    let due = last.is_none_or(|last| has_passed(last, pace, now));
    if due {
        *last = Some(now);
    }
    due
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use halcyon_model::{MilliCpu, ObjectiveSignal};

    use super::*;

    #[test]
    fn slack_is_what_is_left_of_the_objective() {
        assert_eq!(slack(0.005, 0.02), 0.75);
        assert_eq!(slack(0.02, 0.02), 0.0);
        assert_eq!(slack(1e9, 0.02), LEAST_SLACK);
        assert!(slack(0.0, 0.0).is_finite());
    }

    #[test]
    fn the_worst_of_the_proxies_counts_and_without_any_there_is_no_slack() {
        let rates = VmRates { memory_stalled: Some(0.05), ..VmRates::default() };
        assert!(proxy(None, None, &rates).unwrap().abs() < 1e-12);
        assert_eq!(proxy(None, None, &VmRates::default()), None);
        let calm = VmRates { cpu: Some(MilliCpu::cores(1)), ..VmRates::default() };
        assert_eq!(proxy(Some(1000.0), Some(0.0), &calm), Some(1.0));
    }

    #[test]
    fn a_backlog_stands_for_a_response_time_that_is_not_measured() {
        let signal = |p99, backlog_s| VmSample {
            signal: Some(ObjectiveSignal { p99, backlog_s }),
            ..VmSample::default()
        };
        assert_eq!(response(&signal(Some(Duration::from_millis(5)), Some(9.0))), Some(0.005));
        assert_eq!(response(&signal(None, Some(0.25))), Some(0.25));
        assert_eq!(response(&signal(None, Some(f64::NAN))), None);
        assert_eq!(response(&VmSample::default()), None);
    }
}
