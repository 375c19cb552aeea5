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

    fn offer(&mut self, position: usize, instance: GpuInstance) -> Option<Offer> {
        let span = self.span(&instance);
        let over = |one: &&GpuInstance| {
            let other = self.span(one);
            one.gpu == instance.gpu && other.start < span.end && span.start < other.end
        };
        let gone: Vec<GpuInstance> = self.instances.iter().filter(over).copied().collect();
        if gone.len() > IN_THE_WAY || gone.iter().any(|one| !self.old.contains(one)) {
            return None;
        }
        let limit = self.world.vms[position].gpu_slices.limit;
        let (slices, after) = self.held(position, &gone, Some(self.compute(&instance)));
        if slices > limit {
            return None;
        }
        let (_, before) = self.held(position, &[], None);
        let weight = |position: usize| self.world.vms[position].weight.as_f64();
        let mut cost = weight(position) * self.lost.1;
        let mut owners: Vec<usize> = Vec::new();
        for one in &gone {
            let owner = self.world.position(one.owner)?;
            cost += weight(owner) * self.lost.0;
            owners.push(owner);
        }
        owners.sort_unstable();
        owners.dedup();
        let mut gain = self.value(position, after) - self.value(position, before) - cost / self.ahead_s;
        for owner in owners {
            let (left, speed) = self.held(owner, &gone, None);
            if left < self.world.vms[owner].gpu_slices.reservation {
                return None;
            }
            if owner != position {
                let (_, before) = self.held(owner, &[], None);
                gain += self.value(owner, speed) - self.value(owner, before);
            }
        }
        let rate = gain / f64::from(span.end - span.start).sqrt();
        (gain > 0.0).then_some(Offer { instance, gone, rate })
    }
}
