//! GPU slices, by what a speed will be worth to whom.
//!
//! Instances are added one at a time, wherever the gain over the time that comes is most for the memory
//! slices that they take; what lies in the way is destroyed if that is worth more than all that its owners
//! lose by it. A VM may own several instances, so that it can grow without giving up what it has: its
//! limit and its reservation hold at every instant, which forbids to replace many an instance by another.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{Assignment, ChangeKind, GpuId, GpuInstance, World};

use super::Worth;

/// Changes that are made at once, at most.
const MOST: usize = 8;
/// What a program loses while an instance is drained, in seconds, beside what the host says of the change.
const DRAIN_S: f64 = 3.0;
/// Instances that may have to make room for one.
const IN_THE_WAY: usize = 3;

/// One more instance, and what has to go for it.
struct Offer {
    instance: GpuInstance,
    gone: Vec<GpuInstance>,
    /// What their owners get elsewhere before that.
    instead: Vec<GpuInstance>,
    rate: f64,
}

struct Table<'a> {
    world: World<'a>,
    worth: &'a dyn Worth,
    /// How long the time is that comes, in seconds.
    ahead_s: f64,
    instances: Vec<GpuInstance>,
    /// Those that are there already, and so can be destroyed.
    old: Vec<GpuInstance>,
    /// Values that were worked out, by position and speed.
    known: BTreeMap<(usize, u64), f64>,
    /// Seconds of a VM's utility that go with an instance that is destroyed, and with one that is made.
    lost: (f64, f64),
}

/// The instances that are worth most; nothing if those are what is there.
pub(super) fn divide(
    world: World<'_>,
    held: &Assignment,
    worth: &dyn Worth,
    ahead: Duration,
) -> Option<Vec<GpuInstance>> {
    let control = world.capabilities.get(ChangeKind::GpuInstance)?;
    let down = (control.latency + control.interruption).as_secs_f64() + DRAIN_S;
    let mut table = Table {
        world,
        worth,
        ahead_s: ahead.as_secs_f64(),
        instances: held.gpu_instances.clone(),
        old: held.gpu_instances.clone(),
        known: BTreeMap::new(),
        lost: (control.cost_s + down, control.cost_s),
    };
    for _ in 0..MOST {
        let Some(offer) = table.best() else { break };
        table.instances.retain(|instance| !offer.gone.contains(instance));
        table.old.retain(|instance| !offer.gone.contains(instance));
        table.instances.push(offer.instance);
        table.instances.extend(offer.instead);
        table.instances.sort_unstable();
    }
    (table.instances != held.gpu_instances).then_some(table.instances)
}

impl Table<'_> {
    fn compute(&self, instance: &GpuInstance) -> u32 {
        let gpu = self.world.topology.gpus().get(instance.gpu.index());
        let profile = gpu.and_then(|gpu| gpu.profiles.get(instance.profile as usize));
        profile.map_or(0, |profile| profile.compute)
    }

    fn span(&self, instance: &GpuInstance) -> std::ops::Range<u32> {
        let gpu = self.world.topology.gpus().get(instance.gpu.index());
        let profile = gpu.and_then(|gpu| gpu.profiles.get(instance.profile as usize));
        instance.start..instance.start.saturating_add(profile.map_or(1, |profile| profile.span))
    }

    /// What the VM at `position` gets out of its instances, less some and with one more: slices and speed.
    fn held(&self, position: usize, gone: &[GpuInstance], more: Option<u32>) -> (u32, f64) {
        let owner = self.world.vms[position].id;
        let kept = self.instances.iter().filter(|one| one.owner == owner && !gone.contains(one));
        kept.map(|instance| self.compute(instance)).chain(more).fold((0, 0.0), |(slices, speed), compute| {
            (slices + compute, speed + self.worth.gpu_speed(position, compute))
        })
    }

    fn value(&mut self, position: usize, speed: f64) -> f64 {
        let worth = self.worth;
        *self.known.entry((position, speed.to_bits())).or_insert_with(|| worth.gpu(position, speed))
    }

    /// The offer with most gain for what it takes; nothing if none is worth its cost.
    fn best(&mut self) -> Option<Offer> {
        let mut best: Option<Offer> = None;
        for position in 0..self.world.vms.len() {
            if self.world.vms[position].gpu_slices.limit == 0 {
                continue;
            }
            for instance in self.places(position) {
                let Some(offer) = self.offer(position, instance) else { continue };
                if best.as_ref().is_none_or(|best| offer.rate > best.rate) {
                    best = Some(offer);
                }
            }
        }
        best
    }

    /// Every instance that there could be for a VM.
    fn places(&self, position: usize) -> Vec<GpuInstance> {
        let owner = self.world.vms[position].id;
        let gpus = self.world.topology.gpus().iter().enumerate();
        gpus.flat_map(|(gpu, found)| {
            (0_u32..).zip(&found.profiles).flat_map(move |(profile, shape)| {
                let at =
                    move |start: &u32| GpuInstance { gpu: GpuId::at(gpu), start: *start, profile, owner };
                shape.starts.iter().map(at)
            })
        })
        .collect()
    }

    /// Those that lie where an instance is to be.
    fn in_the_way(&self, instance: &GpuInstance) -> impl Iterator<Item = &GpuInstance> {
        let (gpu, span) = (instance.gpu, self.span(instance));
        self.instances.iter().filter(move |one| {
            let other = self.span(one);
            one.gpu == gpu && other.start < span.end && span.start < other.end
        })
    }

    fn offer(&mut self, position: usize, instance: GpuInstance) -> Option<Offer> {
        let gone: Vec<GpuInstance> = self.in_the_way(&instance).copied().collect();
        if gone.len() > IN_THE_WAY || gone.iter().any(|one| !self.old.contains(one)) {
            return None;
        }
        let (slices, after) = self.held(position, &gone, Some(self.compute(&instance)));
        if slices > self.world.vms[position].gpu_slices.limit {
            return None;
        }
        let (_, before) = self.held(position, &[], None);
        let mut gain = self.value(position, after) - self.value(position, before) - self.cost(&[instance], 1);
        if gain <= 0.0 {
            return None;
        }
        gain -= self.cost(&gone, 0);
        let mut owners: Vec<usize> = gone.iter().filter_map(|one| self.world.position(one.owner)).collect();
        owners.sort_unstable();
        owners.dedup();
        let mut instead: Vec<GpuInstance> = Vec::new();
        for owner in owners {
            let (left, speed) = self.held(owner, &gone, None);
            if owner == position {
                // The new one can come only after the old ones are gone.
                if left < self.world.vms[owner].gpu_slices.reservation {
                    return None;
                }
                continue;
            }
            let (_, before) = self.held(owner, &[], None);
            let taken: Vec<GpuInstance> = instead.iter().copied().chain([instance]).collect();
            let (lost, other) = self.least_loss(owner, (left, speed, before), &gone, &taken)?;
            gain -= lost;
            instead.extend(other);
        }
        let span = self.span(&instance);
        let rate = gain / f64::from(span.end - span.start).sqrt();
        (gain > 0.0).then_some(Offer { instance, gone, instead, rate })
    }

    /// What is charged for instances that are destroyed (0) or made (1), in utility of the time that comes.
    fn cost(&self, instances: &[GpuInstance], made: usize) -> f64 {
        let each = if made == 0 { self.lost.0 } else { self.lost.1 };
        let owners = instances.iter().filter_map(|one| self.world.position(one.owner));
        owners.map(|owner| self.world.vms[owner].weight.as_f64() * each / self.ahead_s).sum()
    }

    /// What a VM loses that gives some away, where it may get another in a free place before; nothing where
    /// its bounds forbid that.
    fn least_loss(
        &mut self,
        owner: usize,
        (left, speed, before): (u32, f64, f64),
        gone: &[GpuInstance],
        taken: &[GpuInstance],
    ) -> Option<(f64, Option<GpuInstance>)> {
        let bounds = self.world.vms[owner].gpu_slices;
        let before = self.value(owner, before);
        let (now, _) = self.held(owner, &[], None);
        let mut best = (left >= bounds.reservation).then(|| (before - self.value(owner, speed), None));
        if best.is_some_and(|(lost, _)| lost <= 0.0) {
            return best;
        }
        for other in self.places(owner) {
            let compute = self.compute(&other);
            let span = self.span(&other);
            let over = |one: &GpuInstance| {
                let taken = self.span(one);
                one.gpu == other.gpu && taken.start < span.end && span.start < taken.end
            };
            let fits = bounds.contains(now + compute) && left + compute >= bounds.reservation;
            if !fits || self.in_the_way(&other).next().is_some() || taken.iter().any(over) {
                continue;
            }
            let (_, speed) = self.held(owner, gone, Some(compute));
            let lost = before - self.value(owner, speed) + self.cost(&[other], 1);
            if best.is_none_or(|(least, _)| lost < least) {
                best = Some((lost, Some(other)));
            }
        }
        best
    }
}
