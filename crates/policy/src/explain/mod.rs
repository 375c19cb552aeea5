//! Why a plan changes what it changes: for each change, which forecast or need drove it, what it costs, what
//! it gains by the policy's own estimate, and who would have come next.
//!
//! Nothing of this is worked out while a host is controlled, only when somebody asks. An estimate is an
//! estimate: it rests on the needs that the policy itself told, and where those say nothing there is none.

mod amount;
mod driver;
mod met;
pub mod text;

use std::time::Duration;

use halcyon_model::{Assignment, Change, ChangeKind, Plan, Reason, Step, VmId};

pub use amount::Unit;

use crate::View;
use crate::learned::{OUTPUTS, QUANTILES};
use crate::planner::Need;
use met::Met;

/// Whoever lacks less than this share of what it needs is no runner-up.
const LEAST_LACK: f64 = 0.005;

/// Why one change of a plan is made.
#[derive(Debug, Clone, PartialEq)]
pub struct Explanation {
    /// The VM that feels it first; none where it concerns several or the host.
    pub vm: Option<String>,
    /// What is changed.
    pub kind: ChangeKind,
    /// Where: the socket, node, device, link or GPU.
    pub part: String,
    /// What was held, with its unit.
    pub from: String,
    /// What is held after it, with its unit.
    pub to: String,
    /// Why, as the plan says it.
    pub reason: Reason,
    /// What drove it.
    pub driver: Driver,
    /// What the VM needs of the resource, as the policy had it.
    pub need: Option<Told>,
    /// What the VM holds of that once the change is made, in the unit of the need.
    pub holds: Option<f64>,
    /// What it costs.
    pub cost: Cost,
    /// What the VM gains by it for each minute that it stays, in seconds of the utility of a VM of mean
    /// weight; below zero for what is taken from it. None where the needs do not tell.
    pub gain_s_per_min: Option<f64>,
    /// What else could have been done; none where the needs do not tell.
    pub runner_up: Option<RunnerUp>,
}

/// What drove a change.
#[derive(Debug, Clone, PartialEq)]
pub enum Driver {
    /// The forecast that is furthest from what is seen now, in the direction of the change.
    Forecast(Forecast),
    /// Others need what is taken.
    Pressure(Pressure),
    /// What the policy said that the VM needs.
    Need(Told),
    /// None of these: only the plan's reason is known.
    Reason,
}

/// A forecast of the mean of a quantity.
#[derive(Debug, Clone, PartialEq)]
pub struct Forecast {
    /// Of what, one of [`QUANTITIES`](crate::learned::QUANTITIES).
    pub quantity: &'static str,
    /// Over the time from now until then, in seconds.
    pub horizon_s: f64,
    /// What is seen now.
    pub seen: f64,
    /// What is foreseen at each of [`QUANTILES`], in ascending order.
    pub quantiles: [f64; QUANTILES.len()],
    /// Of all these.
    pub unit: Unit,
}

/// What all who share a resource need, and what there is.
#[derive(Debug, Clone, PartialEq)]
pub struct Pressure {
    /// What they need together, with what it is counted in.
    pub needed: Told,
    /// What there is, where that can be said in one figure.
    pub there: Option<f64>,
    /// Who gets most by the plan, if anybody does.
    pub taker: Option<String>,
}

/// A need that was told.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// How much.
    pub amount: f64,
    /// Of that.
    pub unit: Unit,
}

/// What a change costs, as the host describes changes of its kind.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// From the request to the effect.
    pub takes: Duration,
    /// How long the VM stands still.
    pub stands_still: Duration,
    /// What it is charged, in seconds of the utility of a VM of mean weight.
    pub charged_s: f64,
}

/// What else could have been done.
#[derive(Debug, Clone, PartialEq)]
pub enum RunnerUp {
    /// Give it to the VM whose need of the resource goes least met once the plan is carried out.
    Vm {
        /// The VM.
        name: String,
        /// The share of its need that it lacks, 0 to 1.
        unmet: f64,
    },
    /// Nothing: nobody else lacks any of it.
    LeaveAsItIs,
}

/// What a policy knew when it decided.
#[derive(Debug, Clone, Copy, Default)]
pub struct Known<'a> {
    /// What each VM needs, in order; empty where that is not known.
    pub needs: &'a [Need],
    /// What the network put out for each VM, [`OUTPUTS`] numbers each; empty where there was none.
    pub outputs: &'a [f32],
}

/// Explains every change of a plan that answers `view`.
#[must_use]
pub fn explain(view: &View<'_>, plan: &Plan, known: Known<'_>) -> Vec<Explanation> {
    let count = view.world.vms.len();
    let needs = if known.needs.len() == count { known.needs } else { &[] };
    let outputs = if known.outputs.len() == count * OUTPUTS { known.outputs } else { &[] };
    let explainer = Explainer { view, met: Met::new(*view, needs), outputs, target: plan.target() };
    let mut held = view.snapshot.assignment.clone();
    plan.changes().iter().map(|change| explainer.one(change, &mut held)).collect()
}

struct Explainer<'a> {
    view: &'a View<'a>,
    met: Met<'a>,
    outputs: &'a [f32],
    target: &'a Assignment,
}

impl Explainer<'_> {
    /// Makes the change in what is `held`, and explains it.
    fn one(&self, change: &Change, held: &mut Assignment) -> Explanation {
        let (world, kind) = (self.view.world, change.step.kind());
        let position = felt_by(&change.step, held).and_then(|vm| world.position(vm));
        let met = |held: &Assignment| self.met.share(kind, position?, held);
        let before = met(held);
        // A plan that answers another state is explained as far as it fits.
        let _ = held.apply(&change.step);
        let weight = position.map_or(1.0, |position| self.met.weight(position));
        let gain = before.zip(met(held)).map(|(before, after)| 60.0 * (after - before) * weight);
        // What a move to another socket is for is the room there, which no need tells.
        let gain = gain.filter(|gain| kind != ChangeKind::Placement || *gain != 0.0);
        let need = position.and_then(|position| self.met.told(kind, position));
        let amount::Text { part, from, to } = amount::text(world, &change.step, held);
        Explanation {
            vm: position.map(|position| world.vms[position].name.clone()),
            kind,
            part,
            from,
            to,
            reason: change.reason,
            driver: self.driver(change, position, need.as_ref()),
            runner_up: need.is_some().then(|| self.runner_up(kind, position)),
            need,
            holds: position.and_then(|position| self.met.holds(kind, position, held)),
            cost: self.cost(kind, weight),
            gain_s_per_min: gain,
        }
    }

    fn cost(&self, kind: ChangeKind, weight: f64) -> Cost {
        let control = self.view.world.capabilities.get(kind);
        Cost {
            takes: control.map_or(Duration::ZERO, |control| control.latency),
            stands_still: control.map_or(Duration::ZERO, |control| control.interruption),
            charged_s: control.map_or(0.0, |control| control.cost_s * weight),
        }
    }

    /// Whether what one VM holds of a resource could be another's: CPU time is that of a socket.
    fn shares(&self, kind: ChangeKind, position: Option<usize>, other: usize) -> bool {
        let holdings = &self.target.holdings;
        match (kind, position) {
            (ChangeKind::Cpu, Some(position)) => holdings[other].socket == holdings[position].socket,
            _ => true,
        }
    }

    /// Who lacks most of the resource when all is done; of CPU time, among those on the same socket.
    fn runner_up(&self, kind: ChangeKind, position: Option<usize>) -> RunnerUp {
        let (vms, holdings) = (self.view.world.vms, &self.target.holdings);
        let lacks = |other: usize| Some((other, 1.0 - self.met.share(kind, other, self.target)?));
        (0..vms.len().min(holdings.len()))
            .filter(|other| Some(*other) != position && self.shares(kind, position, *other))
            .filter_map(lacks)
            .filter(|(_, unmet)| *unmet > LEAST_LACK)
            .max_by(|(one, less), (other, more)| less.total_cmp(more).then(other.cmp(one)))
            .map_or(RunnerUp::LeaveAsItIs, |(other, unmet)| RunnerUp::Vm {
                name: vms[other].name.clone(),
                unmet,
            })
    }
}

/// Who feels a step first, the owner of a device and the only member of a class of service included.
fn felt_by(step: &Step, held: &Assignment) -> Option<VmId> {
    match step {
        Step::SetDeviceBandwidth { device, .. } => held.devices.get(device.index())?.owner,
        Step::CreateClass { class, .. } | Step::RemoveClass { class, .. } | Step::SetMask { class, .. } => {
            let mut members = held.holdings.iter().filter(|holding| holding.class == *class);
            members.next().filter(|_| members.next().is_none()).map(|holding| holding.vm)
        }
        _ => step.vm(),
    }
}
