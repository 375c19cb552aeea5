//! What outputs of the network cost against what they should have been, with gradients.

use halcyon_policy::learned::{ACTIONS, FORECASTS, HORIZONS, OUTPUTS, QUANTILES, QUANTITIES};

use super::collect::Sample;
use super::losses::{huber, pinball};

/// Where Huber's loss turns from a square to a line.
const KNEE: f64 = 0.5;
/// How much forecasts count against actions. Shares of a limit are small numbers.
const FORECAST_WEIGHT: f32 = 4.0;

/// Means over VMs and outputs.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Loss {
    /// Of what the network asks for, against who knows.
    pub actions: f64,
    /// Of what it foresees, against what came: pinball loss.
    pub forecasts: f64,
    /// How many VMs were looked at.
    pub vms: usize,
}

impl Loss {
    pub(super) fn add(&mut self, other: &Self) {
        self.actions += other.actions;
        self.forecasts += other.forecasts;
        self.vms += other.vms;
    }

    /// The same for one VM.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn mean(&self) -> Self {
        let count = self.vms.max(1) as f64;
        Self { actions: self.actions / count, forecasts: self.forecasts / count, vms: self.vms }
    }
}

/// Adds the gradient of a sample's loss to `gradient`, which has a row for each VM as `outputs` has.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn imitate(sample: &Sample, outputs: &[f32], gradient: &mut [f32]) -> Loss {
    let mut loss = Loss { vms: sample.actions.len(), ..Loss::default() };
    let rows = outputs.chunks_exact(OUTPUTS).zip(gradient.chunks_exact_mut(OUTPUTS));
    for (position, (row, slope)) in rows.enumerate() {
        let (foreseen, asked) = slope.split_at_mut(FORECASTS);
        loss.forecasts += forecasts(sample, position, &row[..FORECASTS], foreseen);
        for index in 0..ACTIONS {
            if sample.counts[position][index] {
                let (asks, knows) = (row[FORECASTS + index], sample.actions[position][index]);
                let found = huber(f64::from(asks), f64::from(knows), KNEE);
                loss.actions += found.value;
                asked[index] += found.slope as f32;
            }
        }
    }
    loss
}

/// Adds the gradient of one VM's forecasts; gives their loss.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn forecasts(sample: &Sample, position: usize, outputs: &[f32], gradient: &mut [f32]) -> f64 {
    let mut loss = 0.0;
    for quantity in 0..QUANTITIES.len() {
        let Some(level) = sample.level[position][quantity] else { continue };
        for horizon in 0..HORIZONS.len() {
            let Some(came) = sample.came[position][quantity][horizon] else { continue };
            for (place, quantile) in QUANTILES.iter().enumerate() {
                let index = (quantity * HORIZONS.len() + horizon) * QUANTILES.len() + place;
                let foreseen = f64::from(level + outputs[index]);
                let found = pinball(foreseen, f64::from(came), f64::from(*quantile));
                loss += found.value;
                gradient[index] += FORECAST_WEIGHT * found.slope as f32;
            }
        }
    }
    loss
}
