//! When not to trust the network.

use std::fmt;
use std::time::Duration;

use halcyon_model::{HostTime, VmId};

use super::heads::{FORECASTS, HORIZONS, OUTPUTS, forecast, level, seen};
use crate::View;
use crate::features::{Features, MOST};

/// Why the network's answer is not to be used.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Doubt {
    /// It holds something that is not a number.
    NotFinite,
    /// What it saw is unlike anything that it was trained on: so large a share of it is beyond all bounds.
    Unfamiliar {
        /// The share, 0 to 1.
        share: f64,
    },
    /// Its forecasts have been worse lately than repeating the last value.
    Worse {
        /// Its error, against that of the last value.
        ratio: f64,
    },
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotFinite => write!(f, "the network's answer holds a figure that is not a number"),
            Self::Unfamiliar { share } => {
                write!(f, "{:.0} % of what was seen is beyond what the network was trained on", share * 100.0)
            }
            Self::Worse { ratio } => {
                write!(f, "forecasts were lately {ratio:.1} times as far off as repeating the last value")
            }
        }
    }
}

/// The horizon by which forecasts are judged while they are used: 10 s.
const JUDGED: usize = 1;
/// How often that is done.
const EVERY: Duration = Duration::from_secs(10);
/// Half of what counts lies in so many judgements.
const MEMORY: f64 = 0.94;
/// Judgements before any verdict.
const LEAST: u32 = 12;
/// A forecast may be so many times as far off as the last value.
const TOLERATED: f64 = 1.5;
/// Errors of this share of a limit cost nothing: on even demand the last value has next to none, and whoever
/// is off by a little is not worth handing over for.
const NOISE: f64 = 0.03;
/// The share of features at their bounds above which the network is not asked.
const UNFAMILIAR: f64 = 0.25;

/// Keeps account of how far the network can be trusted.
#[derive(Debug, Default)]
pub struct Guard {
    /// Forecasts that wait for their time: VM, what was seen then, what was foreseen.
    open: Vec<(VmId, f32, f32)>,
    opened: HostTime,
    sums: Vec<(VmId, f64, u32)>,
    own: f64,
    last: f64,
    judged: u32,
}

impl Guard {
    /// Judges an answer, and forecasts made before.
    pub fn judge(&mut self, view: &View<'_>, features: &Features, outputs: &[f32]) -> Option<Doubt> {
        let whole = outputs.len() == view.world.vms.len() * OUTPUTS;
        if !whole || outputs.iter().any(|output| !output.is_finite()) {
            return Some(Doubt::NotFinite);
        }
        self.follow(view, outputs);
        #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
        let share = {
            let beyond = features.per_vm.iter().map(|value| u32::from(value.abs() >= MOST as f32));
            f64::from(beyond.sum::<u32>()) / features.per_vm.len().max(1) as f64
        };
        if share > UNFAMILIAR {
            return Some(Doubt::Unfamiliar { share });
        }
        let ratio = (self.own + NOISE) / (self.last + NOISE);
        (self.judged >= LEAST && ratio > TOLERATED).then_some(Doubt::Worse { ratio })
    }

    fn follow(&mut self, view: &View<'_>, outputs: &[f32]) {
        let now = view.snapshot.at;
        if now < self.opened || now - self.opened >= 2 * EVERY {
            // The clock jumped, or too long passed unseen: what was foreseen is not what came since.
            self.open.clear();
            self.sums.clear();
        }
        for (vm, sum, count) in &mut self.sums {
            let position = view.world.position(*vm);
            if let Some(value) = position.and_then(|position| seen(view, position)[0]) {
                *sum += f64::from(value);
                *count += 1;
            }
        }
        if !self.open.is_empty() && now - self.opened < EVERY {
            return;
        }
        self.settle();
        self.opened = now;
        self.open.clear();
        self.sums.clear();
        for (position, (spec, row)) in view.world.vms.iter().zip(outputs.chunks_exact(OUTPUTS)).enumerate() {
            if let Some(value) = level(view, position)[0] {
                let [_, middle, _] = forecast(&row[..FORECASTS], value, 0, JUDGED);
                self.open.push((spec.id, value, middle));
                self.sums.push((spec.id, 0.0, 0));
            }
        }
        debug_assert!(HORIZONS[JUDGED] <= EVERY.as_secs_f64());
    }

    /// Compares what was foreseen with what came.
    fn settle(&mut self) {
        let (mut own, mut last, mut count) = (0.0, 0.0, 0.0);
        for ((_, value, middle), (_, sum, times)) in self.open.iter().zip(&self.sums) {
            if *times > 0 {
                let came = sum / f64::from(*times);
                own += (f64::from(*middle) - came).abs();
                last += (f64::from(*value) - came).abs();
                count += 1.0;
            }
        }
        if count > 0.0 {
            let keep = if self.judged == 0 { 0.0 } else { MEMORY };
            self.own = keep * self.own + (1.0 - keep) * own / count;
            self.last = keep * self.last + (1.0 - keep) * last / count;
            self.judged += 1;
        }
    }
}
