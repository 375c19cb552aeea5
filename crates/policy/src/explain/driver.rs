//! What drove a change: a forecast, the pressure of others, or a need.

use halcyon_model::{Assignment, Change, ChangeKind, Step};

use super::{Driver, Explainer, Forecast, Pressure, Told, Unit};
use crate::learned::{FORECASTS, HORIZONS, OUTPUTS, QUANTILES, QUANTITIES, forecast, seen};

impl Explainer<'_> {
    pub(super) fn driver(&self, change: &Change, position: Option<usize>, need: Option<&Told>) -> Driver {
        let pressure = position.and_then(|position| self.pressure(change, position));
        if let Some(pressure) = pressure {
            return Driver::Pressure(pressure);
        }
        let foreseen = position.and_then(|position| self.foreseen(&change.step, position));
        match (foreseen, need) {
            (Some(forecast), _) => Driver::Forecast(forecast),
            (None, Some(told)) => Driver::Need(told.clone()),
            (None, None) => Driver::Reason,
        }
    }

    /// What others need, where something is taken for their sake: CPU time that the plan does not call idle,
    /// and memory, which nobody gives up unless another is to grow.
    fn pressure(&self, change: &Change, position: usize) -> Option<Pressure> {
        let taken = match &change.step {
            Step::SetCpu { from, to, .. } => {
                to.share < from.share && !matches!(change.reason, halcyon_model::Reason::Idle { .. })
            }
            Step::SetMemory { from, to, .. } => to < from,
            _ => false,
        };
        if !taken {
            return None;
        }
        let (kind, world) = (change.step.kind(), self.view.world);
        let count = world.vms.len().min(self.target.holdings.len());
        let sharers = || (0..count).filter(|other| self.shares(kind, Some(position), *other));
        let unit = self.met.told(kind, position)?.unit;
        let amount = sharers().filter_map(|other| self.met.told(kind, other)).map(|told| told.amount).sum();
        let more = |other: &usize| {
            has(kind, &self.target, *other) - has(kind, &self.view.snapshot.assignment, *other)
        };
        let taker = sharers().max_by(|one, other| more(one).total_cmp(&more(other)));
        let taker = taker.filter(|taker| more(taker) > 0.0);
        Some(Pressure {
            needed: Told { amount, unit },
            there: self.there(kind, position),
            taker: taker.map(|taker| world.vms[taker].name.clone()),
        })
    }

    fn there(&self, kind: ChangeKind, position: usize) -> f64 {
        let topology = self.view.world.topology;
        if kind == ChangeKind::Memory {
            return topology.nodes().iter().map(|node| node.available().as_f64()).sum();
        }
        let socket = self.target.holdings[position].socket;
        topology.sockets().get(socket.index()).map_or(0.0, |socket| socket.cpu().as_f64() / 1000.0)
    }

    /// The forecast that is furthest from what is seen, in the direction of the change.
    fn foreseen(&self, step: &Step, position: usize) -> Option<Forecast> {
        let (quantity, up) = match step {
            Step::SetCpu { from, to, .. } => (0, (to.share, to.ceiling) > (from.share, from.ceiling)),
            Step::Place { from, to, .. } => (0, to.cpu.share >= from.cpu.share),
            Step::SetMemoryBandwidth { from, to, .. } => {
                (2, (to.share, to.ceiling) > (from.share, from.ceiling))
            }
            _ => return None,
        };
        let outputs = self.outputs.get(position * OUTPUTS..(position + 1) * OUTPUTS)?;
        let now = seen(self.view, position)[quantity]?;
        let away = |quantiles: &[f32; QUANTILES.len()]| {
            let [low, .., high] = *quantiles;
            if up { high - now } else { now - low }
        };
        let (horizon, quantiles) = (0..HORIZONS.len())
            .map(|horizon| (horizon, forecast(&outputs[..FORECASTS], now, quantity, horizon)))
            .max_by(|(_, one), (_, other)| away(one).total_cmp(&away(other)))
            .filter(|(_, quantiles)| away(quantiles) > 0.0)?;
        let (most, unit) = self.scale(quantity, position);
        Some(Forecast {
            quantity: QUANTITIES[quantity],
            horizon_s: HORIZONS[horizon],
            seen: f64::from(now) * most,
            quantiles: quantiles.map(|share| f64::from(share) * most),
            unit,
        })
    }

    /// What a share of one of a quantity is, against which forecasts are told.
    fn scale(&self, quantity: usize, position: usize) -> (f64, Unit) {
        let world = self.view.world;
        if quantity == 0 {
            return (world.vms[position].cpu.limit.as_f64().max(1.0) / 1000.0, Unit::Cores);
        }
        let socket = self.view.snapshot.assignment.holdings[position].socket;
        (world.topology.memory_bandwidth(socket).as_f64().max(1.0), Unit::BytesPerSecond)
    }
}

/// What a VM holds of what a kind of change gives.
fn has(kind: ChangeKind, held: &Assignment, position: usize) -> f64 {
    held.holdings.get(position).map_or(0.0, |holding| match kind {
        ChangeKind::Memory => holding.total_memory().as_f64(),
        _ => holding.cpu.share.as_f64(),
    })
}
