//! What drove a change: a forecast, the pressure of others, or a need.

use halcyon_model::{Assignment, Change, ChangeKind, Reason, Step};

use super::{Driver, Explainer, Forecast, Pressure, Told, Unit};
use crate::learned::{FORECASTS, HORIZONS, OUTPUTS, QUANTILES, QUANTITIES, forecast, level, seen};

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
    /// and memory, devices and slices, which nobody gives up unless another is to have them.
    fn pressure(&self, change: &Change, position: usize) -> Option<Pressure> {
        let kind = change.step.kind();
        let before = &self.view.snapshot.assignment;
        let more = |other: usize| {
            let holds = |held: &Assignment| self.met.holds(kind, other, held);
            holds(self.target).zip(holds(before)).map_or(0.0, |(after, before)| after - before)
        };
        let taken = match &change.step {
            Step::SetCpu { from, to, .. } => {
                to.share < from.share && !matches!(change.reason, Reason::Idle { .. })
            }
            Step::SetMemory { from, to, .. } => to < from,
            Step::Detach { .. } | Step::DestroyInstance { .. } => more(position) < 0.0,
            _ => false,
        };
        let unit = self.met.told(kind, position).filter(|_| taken)?.unit;
        let count = self.view.world.vms.len().min(self.target.holdings.len());
        let sharers = || (0..count).filter(|other| self.shares(kind, Some(position), *other));
        let amount = sharers().filter_map(|other| self.met.told(kind, other)).map(|told| told.amount).sum();
        let taker = sharers().max_by(|one, other| more(*one).total_cmp(&more(*other)));
        let taker = taker.filter(|taker| more(*taker) > 0.0);
        Some(Pressure {
            needed: Told { amount, unit },
            there: self.there(kind, position),
            taker: taker.map(|taker| self.view.world.vms[taker].name.clone()),
        })
    }

    /// What there is for all who share it. What all devices can move together is nothing that anybody has.
    #[allow(clippy::cast_precision_loss)]
    fn there(&self, kind: ChangeKind, position: usize) -> Option<f64> {
        let topology = self.view.world.topology;
        match kind {
            ChangeKind::Memory => Some(topology.nodes().iter().map(|node| node.available().as_f64()).sum()),
            ChangeKind::GpuInstance => Some(topology.gpus().len() as f64),
            ChangeKind::Cpu => {
                let socket = topology.sockets().get(self.target.holdings[position].socket.index())?;
                Some(socket.cpu().as_f64() / 1000.0)
            }
            _ => None,
        }
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
        let level = level(self.view, position)[quantity]?;
        let away = |quantiles: &[f32; QUANTILES.len()]| {
            let [low, .., high] = *quantiles;
            if up { high - now } else { now - low }
        };
        let (horizon, quantiles) = (0..HORIZONS.len())
            .map(|horizon| (horizon, forecast(&outputs[..FORECASTS], level, quantity, horizon)))
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
