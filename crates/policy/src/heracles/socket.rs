//! What best-effort VMs of one socket may use.

use std::collections::BTreeSet;

use halcyon_model::{HostTime, VmId};

use super::HeraclesTuning;

/// Between what best-effort VMs may be brought down and up.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    /// Whether there are both latency-critical and other VMs.
    pub(super) both: bool,
    /// CPU time that they keep in any case, in thousandths of a core.
    pub(super) least_cpu: f64,
    /// And that they reach at most.
    pub(super) most_cpu: f64,
    /// Ways of the cache; zero where they cannot be divided.
    pub(super) ways: u32,
    /// The fewest ways of one class.
    pub(super) least_ways: u32,
}

/// What was measured since the last step.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Measured {
    /// Memory traffic of all VMs, in bytes per second.
    pub(super) traffic: Option<f64>,
    /// Memory traffic of best-effort VMs.
    pub(super) best_effort_traffic: Option<f64>,
    /// CPU time that they used.
    pub(super) progress: Option<f64>,
    /// Slack of latency-critical VMs.
    pub(super) slack: Option<f64>,
    /// What the memory channels carry.
    pub(super) channels: f64,
}

/// What grows next.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Growing {
    #[default]
    Cache,
    Cores,
}

/// The state of one socket.
#[derive(Debug, Default)]
pub(super) struct Controller {
    /// Slack was known at least once.
    known: bool,
    enabled: bool,
    /// Enabled since the last step: what was measured is of before.
    fresh: bool,
    grows: bool,
    cooling_until: HostTime,
    /// CPU time of best-effort VMs above what they keep, in thousandths of a core.
    cpu: f64,
    /// Ways of best-effort VMs; zero stands for the fewest.
    ways: u32,
    growing: Growing,
    /// What was measured before ways were added.
    tried: Option<Measured>,
    cache_rests_until: HostTime,
    /// VMs that are slow for reasons of their own.
    excused: BTreeSet<VmId>,
    /// Best-effort VMs have had nothing since a missed objective.
    cools: bool,
}

impl Controller {
    /// Whether best-effort VMs are held here at all.
    pub(super) fn is_active(&self, both: bool) -> bool {
        self.known && both
    }

    /// CPU time that best-effort VMs share.
    pub(super) fn cpu(&self, room: &Room) -> f64 {
        let cpu = if self.enabled { self.cpu } else { 0.0 };
        cpu.clamp(room.least_cpu, room.most_cpu.max(room.least_cpu))
    }

    /// Ways that they share.
    pub(super) fn ways(&self) -> u32 {
        self.ways
    }

    /// Whether a VM's slack says anything about best-effort VMs.
    pub(super) fn counts(&self, vm: VmId) -> bool {
        !self.excused.contains(&vm)
    }

    /// The least slack of the VMs that count. With none that does, there is nobody to wait for.
    pub(super) fn slack_of_all(&self, of: impl Iterator<Item = (VmId, Option<f64>)>) -> Option<f64> {
        let known = of.filter_map(|(vm, slack)| Some((vm, slack?)));
        known.map(|(vm, slack)| if self.counts(vm) { slack } else { 1.0 }).reduce(f64::min)
    }

    /// At the end of a cooldown, VMs that still miss their objective are excused; those that have slack again
    /// count again.
    pub(super) fn excuse(
        &mut self,
        now: HostTime,
        of: impl Iterator<Item = (VmId, Option<f64>)> + Clone,
        tuning: &HeraclesTuning,
    ) {
        let over = self.cools && now >= self.cooling_until;
        self.excused.retain(|vm| of.clone().any(|(member, _)| member == *vm));
        for (vm, slack) in of.filter_map(|(vm, slack)| Some((vm, slack?))) {
            if over && slack < 0.0 {
                self.excused.insert(vm);
            } else if slack >= tuning.growth_above {
                self.excused.remove(&vm);
            }
        }
        self.cools &= !over;
    }

    /// The controller at the top.
    pub(super) fn poll(
        &mut self,
        now: HostTime,
        slack: Option<f64>,
        load: Option<f64>,
        tuning: &HeraclesTuning,
    ) {
        let Some(slack) = slack else { return };
        self.known = true;
        if slack < 0.0 {
            self.disable();
            // A miss while it cools is not of best-effort work's making: the cooldown does not start over.
            if !self.cools {
                self.cooling_until = now + tuning.cooldown;
                self.cools = true;
            }
        } else if load.is_some_and(|load| load > tuning.load_high) {
            self.disable();
        } else if now >= self.cooling_until && load.is_none_or(|load| load < tuning.load_low) {
            self.enable(tuning);
        }
        self.grows = slack >= tuning.growth_above;
        if slack < tuning.cut_below {
            self.cpu = self.cpu.min(tuning.cut_to);
        }
    }

    fn disable(&mut self) {
        *self = Self {
            known: true,
            cooling_until: self.cooling_until,
            cache_rests_until: self.cache_rests_until,
            excused: std::mem::take(&mut self.excused),
            cools: self.cools,
            ..Self::default()
        };
    }

    fn enable(&mut self, tuning: &HeraclesTuning) {
        if !self.enabled {
            (self.enabled, self.fresh) = (true, true);
            self.cpu = tuning.cpu_unit;
        }
    }

    /// The controllers of cores, cache and memory traffic.
    pub(super) fn step(&mut self, now: HostTime, measured: &Measured, room: &Room, tuning: &HeraclesTuning) {
        let first = (f64::from(room.ways) * tuning.first_cache).ceil();
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let first = (first as u32).max(room.least_ways);
        let most = room.ways.saturating_sub(room.least_ways);
        self.ways = self.ways.max(first).min(most);
        if !self.enabled || !room.both {
            self.ways = first.min(most);
            return;
        }
        self.cpu = self.cpu(room);
        if std::mem::take(&mut self.fresh) {
            return;
        }
        let limit = tuning.memory_limit * measured.channels;
        let per_core = measured.best_effort_traffic.map_or(0.0, |traffic| traffic / self.cpu.max(1.0));
        if let Some(over) = measured.traffic.map(|traffic| traffic - limit).filter(|over| *over > 0.0) {
            if per_core > 0.0 {
                self.cpu = (self.cpu - over / per_core).max(room.least_cpu);
            }
            self.tried = None;
            return;
        }
        self.judge_cache(now, measured, tuning);
        if !self.grows || measured.slack.is_some_and(|slack| slack < tuning.growth_above) {
            return;
        }
        let near = |more: f64| measured.traffic.is_some_and(|traffic| traffic + more > limit);
        if self.growing == Growing::Cores && near(per_core * tuning.cpu_unit) {
            self.growing = Growing::Cache;
        } else if self.growing == Growing::Cores {
            self.cpu = (self.cpu + tuning.cpu_unit).min(room.most_cpu);
            return;
        }
        if self.ways < most && now >= self.cache_rests_until {
            self.ways += 1;
            self.tried = Some(*measured);
        } else if !near(per_core * tuning.cpu_unit) {
            self.growing = Growing::Cores;
        }
    }

    /// More cache for best-effort VMs is good where memory traffic falls; if it does not, the ways go back.
    /// If they are no faster for it, cores are next.
    fn judge_cache(&mut self, now: HostTime, measured: &Measured, tuning: &HeraclesTuning) {
        let Some(before) = self.tried.take() else { return };
        let (Some(traffic), Some(earlier)) = (measured.traffic, before.traffic) else {
            self.growing = Growing::Cores;
            return;
        };
        let benefits = measured.progress.zip(before.progress).is_some_and(|(now, then)| now > 1.01 * then);
        if traffic >= earlier {
            self.ways -= 1;
            self.cache_rests_until = now + tuning.cooldown;
        }
        if traffic >= earlier || !benefits {
            self.growing = Growing::Cores;
        }
    }
}
