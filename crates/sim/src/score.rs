//! How well VMs did, in windows of equal length.

use halcyon_model::{Objective, VmId};

/// Share of the requests that have to be in time: the objective is a 99th percentile.
const IN_TIME: f64 = 0.99;

/// One VM's windows, added up.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct VmScore {
    /// Sum of the utilities of its windows, each 0 to 1.
    pub utility: f64,
    /// The same, had it had all its limits and the host to itself.
    pub alone: f64,
    /// Windows in which anything was asked of it.
    pub windows: u64,
    /// Windows in which it missed its objective; only latency-critical VMs have any.
    pub violations: u64,
    /// Windows in which it could have missed one.
    pub judged: u64,
}

impl VmScore {
    /// Its mean utility; one for a VM of which nothing was asked.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> f64 {
        if self.windows == 0 { 1.0 } else { self.utility / self.windows as f64 }
    }

    /// What its mean utility could be at the very most.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn bound(&self) -> f64 {
        if self.windows == 0 { 1.0 } else { self.alone / self.windows as f64 }
    }
}

/// The window that is open for one VM.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Window {
    /// Requests answered in time, or work done.
    good: f64,
    /// Requests, or work that would have been done alone.
    all: f64,
}

impl Window {
    pub(crate) fn add(&mut self, good: f64, all: f64) {
        self.good += good;
        self.all += all;
    }

    /// Closes the window: its utility, or nothing if nothing was asked.
    pub(crate) fn take(&mut self) -> Option<f64> {
        let Self { good, all } = std::mem::take(self);
        (all > 1e-9).then(|| (good / all).clamp(0.0, 1.0))
    }

    pub(crate) fn close(&mut self, objective: Objective, score: &mut VmScore) {
        if let Some(utility) = self.take() {
            score.windows += 1;
            score.utility += utility;
            if matches!(objective, Objective::Latency { .. }) {
                score.judged += 1;
                score.violations += u64::from(utility < IN_TIME);
            }
        }
    }
}

/// How a whole host did.
#[derive(Debug, Clone, PartialEq)]
pub struct Score {
    /// Mean utility weighted by VM weight, less the charged cost of changes.
    pub utility: f64,
    /// What no assignment can exceed: every VM alone, and changes free of charge.
    pub bound: f64,
    /// Share of judged windows that missed their objective.
    pub violations: f64,
    /// The lowest mean utility of any VM.
    pub worst_vm: f64,
    /// The own score of each VM that was due, ordered by id.
    pub vms: Vec<(VmId, VmScore)>,
}

impl Score {
    /// Adds up a host. `charged` is the cost of changes in seconds of utility, each times the weight of
    /// the VM that it is charged to; `seconds` is how long the host ran.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn new(vms: impl Iterator<Item = (VmId, f64, VmScore)>, charged: f64, seconds: f64) -> Self {
        let (mut utility, mut bound, mut weights, mut worst) = (0.0, 0.0, 0.0, 1.0_f64);
        let (mut missed, mut judged) = (0, 0);
        let mut scores = Vec::new();
        for (vm, weight, score) in vms {
            utility += weight * score.mean();
            bound += weight * score.bound();
            weights += weight;
            worst = worst.min(score.mean());
            missed += score.violations;
            judged += score.judged;
            scores.push((vm, score));
        }
        let weights = if weights > 0.0 { weights } else { 1.0 };
        let cost = if seconds > 0.0 { charged / (weights * seconds) } else { 0.0 };
        Self {
            utility: utility / weights - cost,
            bound: bound / weights,
            violations: if judged > 0 { missed as f64 / judged as f64 } else { 0.0 },
            worst_vm: worst,
            vms: scores,
        }
    }
}
