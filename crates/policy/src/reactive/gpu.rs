//! GPU slices follow the use that is made of them.
//!
//! A replaced instance costs its program seconds of GPU, so slices move only where that is worth it over
//! the minutes for which they then stay, and never twice in a row for the same VM.

use std::time::Duration;

use halcyon_model::{ChangeKind, Family, GpuInstance, Proposal, Reason, VmId};

use super::{Reactive, is_due};
use crate::View;
use crate::slices::divide;
use crate::turn::has_passed;

/// A VM whose slices are busy for more than this share of the time would do more with more.
const BUSY: f64 = 0.85;
/// How much more it is taken to want.
const WANTS: f64 = 2.0;
/// A VM gives slices away only where fewer would be busy for less than this share of the time.
const SPARE: f64 = 0.40;
/// The same VM's slices change at most this often.
const REST: Duration = Duration::from_secs(300);
/// What a program loses while its instance is drained, beside what the host says of the change itself.
const DRAIN: Duration = Duration::from_secs(5);
/// What is gained must be so many times what is lost.
const WORTH: f64 = 2.0;

/// What one VM does with its slices.
#[derive(Debug, Clone, Copy)]
struct Use {
    held: u32,
    /// How much it counts.
    weight: f64,
    /// The speed that it is taken to want.
    wanted: f64,
    /// What it does with what it holds, as a speed; nothing where that is not known.
    done: Option<f64>,
    /// Its slices changed a short while ago.
    rests: bool,
}

impl Reactive {
    /// Whether it is time, and GPUs can be divided anew.
    pub(super) fn slices_are_due(&mut self, view: &View<'_>) -> bool {
        let free =
            !view.frozen.contains(Family::Gpu) && view.world.capabilities.allows(ChangeKind::GpuInstance);
        free && is_due(&mut self.gpu_at, view.snapshot.at, self.tuning.gpu_pace)
    }

    pub(super) fn move_slices(&mut self, view: &View<'_>, proposal: &mut Proposal) {
        let now = view.snapshot.at;
        self.resliced_at.retain(|_, at| !has_passed(*at, REST, now));
        let uses: Vec<Use> =
            (0..view.world.vms.len()).map(|position| self.slice_use(view, position)).collect();
        if uses.is_empty() || view.world.topology.gpus().is_empty() {
            return;
        }
        let lost = self.lost(view);
        // What rests has its slices first.
        let value = |position: usize, slices: u32| {
            let found = &uses[position];
            if found.rests {
                return if slices == found.held { 1e9 } else { 0.0 };
            }
            let drain =
                if slices == found.held || found.held == 0 { 0.0 } else { WORTH * lost * found.weight };
            found.weight * served(view, position, found, slices) - drain
        };
        let held = &view.snapshot.assignment.gpu_instances;
        // Better without moving anybody else than not at all.
        for moves in [usize::MAX, 0] {
            let instances = divide(view.world, &view.snapshot.assignment, &value, moves);
            if let Some(reason) = self.worth_it(view, &uses, &instances, lost) {
                for owner in changed(held, &instances) {
                    self.resliced_at.insert(owner, now);
                }
                proposal.gpu_instances = Some((instances, reason));
                return;
            }
        }
    }

    fn slice_use(&self, view: &View<'_>, position: usize) -> Use {
        let spec = &view.world.vms[position];
        let held = owned(view, &view.snapshot.assignment.gpu_instances, spec.id);
        let busy = view.history.estimate(position).and_then(|known| known.gpu.percentile(0.9));
        let done = busy.filter(|_| held > 0).map(|busy| busy.min(1.0) * speed(view, position, held));
        let most = speed(view, position, spec.gpu_slices.limit);
        let wanted = match (done, busy) {
            (Some(done), Some(busy)) if busy > BUSY => (WANTS * done).min(most),
            (Some(done), _) => done,
            // Nobody knows before it has some.
            _ => most,
        };
        let rests = held > 0 && self.resliced_at.contains_key(&spec.id);
        Use { held, weight: self.weight(spec), wanted, done, rests }
    }

    /// What a change takes from a VM, as a share of the time until its slices may change again.
    fn lost(&self, view: &View<'_>) -> f64 {
        let control = view.world.capabilities.get(ChangeKind::GpuInstance);
        let change = control
            .map_or(0.0, |control| (control.latency + control.interruption).as_secs_f64() + control.cost_s);
        (change + DRAIN.as_secs_f64()) / REST.as_secs_f64()
    }

    /// Whether a division is worth what it costs those whose instances change, and why.
    fn worth_it(
        &self,
        view: &View<'_>,
        uses: &[Use],
        instances: &[GpuInstance],
        lost: f64,
    ) -> Option<Reason> {
        let held = &view.snapshot.assignment.gpu_instances;
        let (mut gain, mut cost) = (0.0, 0.0);
        let mut most: Option<(f64, usize)> = None;
        for owner in changed(held, instances) {
            let position = view.world.position(owner)?;
            let (found, slices) = (&uses[position], owned(view, instances, owner));
            if found.rests {
                return None;
            }
            let more = found.weight
                * (served(view, position, found, slices) - served(view, position, found, found.held));
            gain += more;
            cost += if found.held == 0 { 0.0 } else { found.weight * lost };
            if most.is_none_or(|(least, _)| more > least) {
                most = Some((more, position));
            }
        }
        let (_, taker) = most?;
        if gain <= WORTH * cost {
            return None;
        }
        let share = |position: usize| {
            let most = speed(view, position, view.world.vms[position].gpu_slices.limit);
            (uses[position].wanted / most.max(f64::MIN_POSITIVE)).min(1.0)
        };
        let shrinks =
            |position: &usize| owned(view, instances, view.world.vms[*position].id) < uses[*position].held;
        let giver = (0..uses.len()).find(shrinks);
        Some(match giver {
            Some(giver) => Reason::BetterUse { owner: share(giver), taker: share(taker) },
            None => Reason::Demand { expected: share(taker) },
        })
    }
}

/// The share of what a VM wants that it would get done with so many slices. It counts on fewer than it
/// holds only where they would be idle enough.
fn served(view: &View<'_>, position: usize, found: &Use, slices: u32) -> f64 {
    let speed = speed(view, position, slices);
    let needed = match found.done {
        Some(done) if slices < found.held => (done / SPARE).max(found.wanted),
        _ => found.wanted,
    };
    if slices == 0 {
        0.0
    } else if needed > speed {
        speed / needed
    } else {
        1.0
    }
}

/// How fast the program of a VM runs on so many slices; in proportion to them where that was not measured.
pub(crate) fn speed(view: &View<'_>, position: usize, slices: u32) -> f64 {
    let response = view.application(position).and_then(|application| application.response.gpu);
    response.map_or_else(|| f64::from(slices) / f64::from(WHOLE), |response| response.speed(slices))
}

/// Compute slices that are counted as a whole GPU where nothing is known; only proportions matter.
const WHOLE: u32 = 7;

/// Compute slices of a VM.
fn owned(view: &View<'_>, instances: &[GpuInstance], owner: VmId) -> u32 {
    let compute = |instance: &GpuInstance| {
        let gpu = view.world.topology.gpus().get(instance.gpu.index())?;
        Some(gpu.profiles.get(instance.profile as usize)?.compute)
    };
    instances.iter().filter(|instance| instance.owner == owner).filter_map(compute).sum()
}

/// The owners of instances that are only in one of the lists, each once.
fn changed(before: &[GpuInstance], after: &[GpuInstance]) -> Vec<VmId> {
    let gone = before.iter().filter(|instance| !after.contains(instance));
    let new = after.iter().filter(|instance| !before.contains(instance));
    let mut owners: Vec<VmId> = gone.chain(new).map(|instance| instance.owner).collect();
    owners.sort_unstable();
    owners.dedup();
    owners
}
