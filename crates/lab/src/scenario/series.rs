//! What a VM of a trace does over time, and how its working set moves with it.

use std::time::Duration;

use halcyon_sim::trace::Series;
use rand_pcg::Pcg32;

use super::lots::{between, uniform};

/// What a VM of the trace does over time, as a share of its vCPUs; gaps are filled with what came before.
pub(super) fn activity(series: &Series) -> Option<Vec<f32>> {
    let column = if is_known(&series.cpu) { series.cpu.as_slice() } else { series.gpu_util.as_deref()? };
    is_known(column).then(|| filled(column))
}

fn is_known(column: &[Option<f32>]) -> bool {
    column.iter().any(Option::is_some)
}

/// A column without its gaps, and without what no machine does.
pub(super) fn filled(column: &[Option<f32>]) -> Vec<f32> {
    let mut last = column.iter().flatten().next().copied().unwrap_or(0.0);
    let fill = |value: &Option<f32>| {
        last = value.unwrap_or(last);
        if last.is_finite() { last.max(0.0) } else { 0.0 }
    };
    column.iter().map(fill).collect()
}

#[allow(clippy::cast_precision_loss)]
pub(super) fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// The highest value.
pub(super) fn peak(values: &[f32]) -> f64 {
    values.iter().copied().map(f64::from).fold(0.0, f64::max)
}

/// The same demand at another time, for a VM that shares a series with another.
pub(super) fn shifted(activity: &[f32], turn: usize) -> Vec<f32> {
    let mut activity = activity.to_vec();
    let shift = turn * activity.len() / 7 % activity.len().max(1);
    activity.rotate_left(shift);
    activity
}

/// Its working set over time, 0 to 1, before it is known how large that is in bytes.
///
/// As traced, where the trace has it. Otherwise a part stays resident, and the rest follows what the VM
/// does, but slowly, together with a swell of its own (caches that fill, jobs that come and go): over
/// hours, working sets of neighbours grow and shrink at different times. How much is a choice; traces
/// of memory use are rare and mostly show what was allocated.
pub(super) fn memory_use(
    series: &Series,
    activity: &[f32],
    interval: Duration,
    random: &mut Pcg32,
) -> Vec<f32> {
    let swell = Swell::draw(random);
    match &series.memory_util {
        Some(column) if is_known(column) => filled(column).iter().map(|share| share.min(1.0)).collect(),
        _ => swell.over(activity, interval.as_secs_f64()),
    }
}

struct Swell {
    /// In use whatever the VM does.
    resident: f64,
    /// How long it takes to follow what the VM does, in seconds.
    follow_s: f64,
    period_s: f64,
    phase: f64,
}

impl Swell {
    fn draw(random: &mut Pcg32) -> Self {
        Self {
            resident: between(random, 0.10, 0.35),
            follow_s: between(random, 900.0, 3600.0),
            period_s: between(random, 2.0, 8.0) * 3600.0,
            phase: uniform(random),
        }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    fn over(&self, activity: &[f32], interval_s: f64) -> Vec<f32> {
        let follow = (interval_s / self.follow_s).min(1.0);
        let mut level = mean(activity);
        let slow: Vec<f64> = activity
            .iter()
            .map(|now| {
                level += follow * (f64::from(*now) - level);
                level
            })
            .collect();
        let least = slow.iter().copied().fold(f64::INFINITY, f64::min);
        let range = slow.iter().copied().fold(0.0, f64::max) - least;
        let share = |(index, level): (usize, &f64)| {
            let busy = if range > 0.02 { (level - least) / range } else { 0.5 };
            let turns = index as f64 * interval_s / self.period_s + self.phase;
            let own = 0.5 - 0.5 * libm::cos(2.0 * std::f64::consts::PI * turns);
            (self.resident + (1.0 - self.resident) * (0.5 * busy + 0.5 * own)) as f32
        };
        slow.iter().enumerate().map(share).collect()
    }
}
