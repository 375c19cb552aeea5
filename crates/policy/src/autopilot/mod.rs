//! Autopilot's moving-window recommender, brought to one host.
//!
//! Source: Rzadca et al., "Autopilot: workload autoscaling at Google", EuroSys 2020, the recommenders of
//! its vertical scaling. Its statistics, half-lives and margin are from memory of the paper. Usage is
//! gathered in windows of five minutes: CPU as a histogram, memory as the window's peak. Windows count
//! half as much after 12 hours for CPU and 48 hours for memory. The limit is a statistic by what the
//! program tolerates — the mean for batch, a percentile of the load for serving (each moment counts as
//! much as was used in it), the peak for memory that must not run out, a percentile for memory that may —
//! with a safety margin, and is the largest recommendation of the last hour, so that it rises at once and
//! falls slowly.
//!
//! On one host a limit is of use only against neighbours, so nothing is left idle for its sake:
//!
//! - What is recommended is set aside as CPU *share*; the ceiling stays at the VM's own limit, since a
//!   lower quota would only take what the kernel gives away for nothing.
//! - Where recommendations exceed the socket or the host, they are cut by weight, max-min. What is in
//!   excess of all of them is handed out by weight.
//! - A latency-critical VM is recommended at least one core, up to its limit. Borg lets serving jobs run
//!   before batch jobs whatever their limits are; here a share is all that they have against others, and a
//!   request that comes rarely still runs on one core. On one scenario that was tried, the policy did worse
//!   without this than with nothing done.
//! - Until something was seen of a VM, its own limit is what is recommended, as the paper does for new
//!   jobs.
//!
//! Latency-critical VMs are serving; throughput and best effort are batch, with memory that may run short.
//! Used CPU is counted with what was waited for, so that neighbours do not make a VM look small. Memory
//! bandwidth and devices are as `proportional` has them. The paper's second recommender, which learns its
//! own costs, is not built.

mod histogram;

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::fair::{Claim, divide};
use halcyon_model::{
    ByteSize, Family, HostTime, MilliCpu, Objective, Proposal, Reason, VmId, VmSpec, VmWish, Wish,
};

use crate::balloon::{Balloons, memory_moves, reason};
use crate::common::divide_by_socket;
use crate::turn::{Turn, Unmanaged, tidy};
use crate::{Policy, View};
use histogram::{Decayed, RecentMax};

const MIB: f64 = 1024.0 * 1024.0;
/// Upper edges of the first buckets: 10 thousandths of a core, and 16 MiB.
const LEAST_CPU: f64 = 10.0;
const LEAST_MEMORY: f64 = 16.0 * MIB;

/// What is taken of past usage.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Statistic {
    /// The mean.
    Mean,
    /// A percentile, 0 to 1; of CPU, of the load.
    Percentile(f64),
    /// The largest.
    Peak,
}

/// One statistic for each objective.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct ByObjective {
    /// For VMs with a latency objective.
    pub latency: Statistic,
    /// For those that are to be fast.
    pub throughput: Statistic,
    /// For those that take what is left.
    pub best_effort: Statistic,
}

impl ByObjective {
    fn of(&self, objective: Objective) -> Statistic {
        match objective {
            Objective::Latency { .. } => self.latency,
            Objective::Throughput => self.throughput,
            Objective::BestEffort => self.best_effort,
        }
    }
}

/// The parameters of [`Autopilot`]: the paper's, from memory, where it gives them.
#[derive(Debug, Clone, PartialEq)]
pub struct AutopilotTuning {
    /// How often limits are set. The paper says minutes.
    pub interval: Duration,
    /// Length of a window.
    pub window: Duration,
    /// After how many windows CPU usage counts half.
    pub cpu_half_life: f64,
    /// After how many windows memory usage counts half.
    pub memory_half_life: f64,
    /// For how long a peak of memory is remembered. A choice: a day.
    pub peak_memory: Duration,
    /// What is recommended for CPU.
    pub cpu: ByObjective,
    /// What is recommended for memory.
    pub memory: ByObjective,
    /// What is recommended at least for VMs with a latency objective, in thousandths of a core, up to
    /// their limits. A choice.
    pub least_latency_cpu: f64,
    /// What is added, as a share of it; the paper has 10 to 15 %, which does worse
    /// in training.
    pub margin: f64,
    /// For how long the largest recommendation stands.
    pub hold: Duration,
    /// A change of less than this share of what is held is not made. A choice.
    pub dead_band: f64,
}

impl Default for AutopilotTuning {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(60),
            window: Duration::from_secs(300),
            cpu_half_life: 144.0,
            memory_half_life: 576.0,
            peak_memory: Duration::from_secs(24 * 3600),
            cpu: ByObjective {
                latency: Statistic::Percentile(0.95),
                throughput: Statistic::Mean,
                best_effort: Statistic::Mean,
            },
            memory: ByObjective {
                latency: Statistic::Peak,
                throughput: Statistic::Percentile(0.98),
                best_effort: Statistic::Percentile(0.60),
            },
            least_latency_cpu: 1000.0,
            margin: 0.02,
            hold: Duration::from_secs(3600),
            dead_band: 0.02,
        }
    }
}

/// Autopilot's recommender.
#[derive(Debug, Default)]
pub struct Autopilot {
    tuning: AutopilotTuning,
    rest: Unmanaged,
    cpu_turn: Turn,
    memory_turn: Turn,
    /// Number of the window that is open.
    window: u128,
    vms: BTreeMap<VmId, Usage>,
}

#[derive(Debug)]
struct Usage {
    cpu: Decayed,
    /// Of windows' peaks.
    memory: Decayed,
    peaks: RecentMax,
    /// Of the window that is open.
    peak: Option<f64>,
    cpu_limit: RecentMax,
    memory_limit: RecentMax,
}

impl Default for Usage {
    fn default() -> Self {
        Self {
            cpu: Decayed::new(LEAST_CPU),
            memory: Decayed::new(LEAST_MEMORY),
            peaks: RecentMax::default(),
            peak: None,
            cpu_limit: RecentMax::default(),
            memory_limit: RecentMax::default(),
        }
    }
}

impl Usage {
    fn close_windows(&mut self, passed: f64, now: HostTime, tuning: &AutopilotTuning) {
        if let Some(peak) = self.peak.take() {
            self.memory.add(peak);
            self.peaks.push(now, peak, now.saturating_sub(tuning.peak_memory));
        }
        self.cpu.age(passed / tuning.cpu_half_life);
        self.memory.age(passed / tuning.memory_half_life);
    }

    fn recommend_cpu(
        &mut self,
        now: HostTime,
        objective: Objective,
        tuning: &AutopilotTuning,
    ) -> Option<f64> {
        let found = match tuning.cpu.of(objective) {
            Statistic::Mean => self.cpu.mean(),
            Statistic::Percentile(share) => self.cpu.percentile(share, true),
            Statistic::Peak => self.cpu.percentile(1.0, false),
        }?;
        self.cpu_limit.push(now, found * (1.0 + tuning.margin), now.saturating_sub(tuning.hold));
        let foot = match objective {
            Objective::Latency { .. } => tuning.least_latency_cpu,
            Objective::Throughput | Objective::BestEffort => 0.0,
        };
        self.cpu_limit.max().map(|limit| limit.max(foot))
    }

    fn recommend_memory(
        &mut self,
        now: HostTime,
        objective: Objective,
        tuning: &AutopilotTuning,
    ) -> Option<f64> {
        let closed = match tuning.memory.of(objective) {
            Statistic::Mean => self.memory.mean(),
            Statistic::Percentile(share) => self.memory.percentile(share, false),
            Statistic::Peak => self.peaks.max().map(|peak| peak.max(self.peak.unwrap_or(0.0))),
        };
        // Before the first window closes, its peak is all there is.
        let found = closed.or(self.peak)?;
        self.memory_limit.push(now, found * (1.0 + tuning.margin), now.saturating_sub(tuning.hold));
        self.memory_limit.max()
    }
}

impl Autopilot {
    /// The recommender with other parameters.
    #[must_use]
    pub fn new(tuning: AutopilotTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    fn sample(&mut self, view: &View<'_>) {
        let now = view.snapshot.at;
        let window = now.as_nanos() / self.tuning.window.as_nanos().max(1);
        if window > self.window {
            #[allow(clippy::cast_precision_loss)]
            let passed = (window - self.window) as f64;
            self.window = window;
            let tuning = &self.tuning;
            self.vms.values_mut().for_each(|usage| usage.close_windows(passed, now, tuning));
        }
        for (position, sample) in view.snapshot.vms.iter().enumerate() {
            let usage = self.vms.entry(sample.vm).or_default();
            let known = view.history.estimate(position).filter(|_| sample.counters.cpu_used_us.is_some());
            if let Some(used) = known.and_then(|known| known.cpu.last()) {
                usage.cpu.add(used);
            }
            if let Some(size) = sample.working_set {
                usage.peak = Some(usage.peak.unwrap_or(0.0).max(size.as_f64()));
            }
        }
        if self.vms.len() > view.world.vms.len() {
            self.vms.retain(|vm, _| view.world.position(*vm).is_some());
        }
    }

    /// Recommendations within the VMs' bounds, by position.
    fn recommend(
        &mut self,
        view: &View<'_>,
        bounds: impl Fn(&VmSpec) -> (f64, f64),
        of: impl Fn(&mut Usage, HostTime, Objective, &AutopilotTuning) -> Option<f64>,
    ) -> Vec<f64> {
        let vms = view.world.vms.iter().map(|spec| {
            let (least, limit) = bounds(spec);
            let usage = self.vms.get_mut(&spec.id);
            let found = usage.and_then(|usage| of(usage, view.snapshot.at, spec.objective, &self.tuning));
            found.unwrap_or(limit).min(limit).max(least)
        });
        vms.collect()
    }

    fn divide_cpu(&mut self, view: &View<'_>, wishes: &mut [VmWish]) {
        let recommended = self.recommend(view, cpu_bounds, Usage::recommend_cpu);
        let held = &view.snapshot.assignment;
        let sockets = view.world.topology.sockets();
        let capacity: Vec<f64> = sockets.iter().map(|socket| socket.cpu().as_f64()).collect();
        let parts = divide_by_socket(
            view.world,
            held,
            |socket| capacity[socket.index()],
            |position, spec| {
                let weight = spec.weight.as_f64();
                Claim { weight, least: cpu_bounds(spec).0, most: recommended[position] }
            },
        );
        let mut excess = capacity;
        for (part, holding) in parts.iter().zip(&held.holdings) {
            excess[holding.socket.index()] -= part;
        }
        let extra = divide_by_socket(
            view.world,
            held,
            |socket| excess[socket.index()].max(0.0),
            |position, spec| {
                let most = cpu_bounds(spec).1 - parts[position];
                Claim { weight: spec.weight.as_f64(), least: 0.0, most: most.max(0.0) }
            },
        );
        let shares: Vec<f64> = parts.iter().zip(&extra).map(|(part, extra)| part + extra).collect();
        self.set_cpu(view, &shares, &recommended, wishes);
    }

    /// A socket is left as it is where nobody's share would change much: shares count against each
    /// other only.
    fn set_cpu(&self, view: &View<'_>, shares: &[f64], recommended: &[f64], wishes: &mut [VmWish]) {
        let holdings = &view.snapshot.assignment.holdings;
        let mut stale = vec![false; view.world.topology.sockets().len()];
        for ((spec, holding), share) in view.world.vms.iter().zip(holdings).zip(shares) {
            let before = holding.cpu.share.as_f64();
            let moved = (share - before).abs() > self.tuning.dead_band * before + LEAST_CPU;
            stale[holding.socket.index()] |= moved || holding.cpu.ceiling != spec.cpu.limit;
        }
        for (position, wish) in wishes.iter_mut().enumerate() {
            let (spec, holding) = (&view.world.vms[position], &holdings[position]);
            if stale[holding.socket.index()] {
                let limit = spec.cpu.limit.as_f64();
                let expected = recommended[position] / limit.max(1.0);
                let more = shares[position] > holding.cpu.share.as_f64();
                let reason = if more { Reason::Demand { expected } } else { Reason::Idle { expected } };
                wish.cpu = Some(Wish { share: shares[position], ceiling: limit, reason });
            }
        }
    }

    fn divide_memory(&mut self, view: &View<'_>, wishes: &mut [VmWish]) {
        let recommended = self.recommend(view, memory_bounds, Usage::recommend_memory);
        let capacity = view.world.topology.nodes().iter().map(|node| node.available().as_f64()).sum();
        let vms = view.world.vms;
        let claims = vms.iter().zip(&recommended).map(|(spec, most)| {
            let least = memory_bounds(spec).0;
            Claim { weight: spec.weight.as_f64(), least, most: *most }
        });
        let (mut parts, mut extra) = (Vec::new(), Vec::new());
        divide(capacity, &claims.collect::<Vec<_>>(), &mut parts);
        let claims = vms.iter().zip(&parts).map(|(spec, part)| {
            let most = (memory_bounds(spec).1 - part).max(0.0);
            Claim { weight: spec.weight.as_f64(), least: 0.0, most }
        });
        let excess = (capacity - parts.iter().sum::<f64>()).max(0.0);
        divide(excess, &claims.collect::<Vec<_>>(), &mut extra);
        let mut balloons = Balloons::new(view);
        for (position, (part, extra)) in parts.iter().zip(&extra).enumerate() {
            let held = view.snapshot.assignment.holdings[position].total_memory().as_f64();
            let target = part + extra;
            if (target - held).abs() > (self.tuning.dead_band * held).max(128.0 * MIB) {
                let why = reason(&vms[position], held, target, recommended[position]);
                wishes[position].memory = balloons.bring(position, target, why);
            }
        }
    }
}

fn cpu_bounds(spec: &VmSpec) -> (f64, f64) {
    (MilliCpu::as_f64(spec.cpu.reservation), spec.cpu.limit.as_f64())
}

fn memory_bounds(spec: &VmSpec) -> (f64, f64) {
    (ByteSize::as_f64(spec.memory.reservation), spec.memory.limit.as_f64())
}

impl Policy for Autopilot {
    fn name(&self) -> &'static str {
        "autopilot"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut proposal = self.rest.propose_without_memory(view);
        proposal.vms.iter_mut().for_each(|wish| wish.cpu = None);
        self.sample(view);
        let interval = self.tuning.interval;
        if !view.frozen.contains(Family::Compute) && self.cpu_turn.has_come(view, interval) {
            self.divide_cpu(view, &mut proposal.vms);
        }
        if memory_moves(view) && self.memory_turn.has_come(view, interval) {
            self.divide_memory(view, &mut proposal.vms);
        }
        tidy(proposal)
    }
}
