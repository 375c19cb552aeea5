//! Cache classes and GPU instances.

use crate::assignment::{Assignment, CacheMask, GpuInstance};
use crate::capability::ChangeKind;
use crate::proposal::{Proposal, VmWish};
use crate::topology::Socket;
use crate::world::World;

pub(super) fn project_cache(
    world: World<'_>,
    proposal: &Proposal,
    wishes: &[Option<&VmWish>],
    target: &mut Assignment,
) {
    let sockets = world.topology.sockets();
    let before = target.classes.clone();
    let settable = world.capabilities.allows(ChangeKind::CacheMask);
    if let Some(classes) = proposal.classes.as_ref().filter(|_| settable) {
        for (index, place) in target.classes.iter_mut().enumerate() {
            let legal = |(socket, mask): (&Socket, &u32)| match &socket.cache {
                Some(cache) => {
                    let mask = CacheMask(*mask);
                    let within = mask.0 & !CacheMask::full(cache.ways).0 == 0;
                    within && mask.is_contiguous() && mask.ways() >= cache.min_ways
                }
                None => true,
            };
            match classes.get(index) {
                Some(masks) if masks.len() == sockets.len() && sockets.iter().zip(masks).all(legal) => {
                    *place = Some(masks.iter().map(|mask| CacheMask(*mask)).collect());
                }
                // An illegal class keeps its masks; one that is left out goes once nobody is in it.
                Some(_) => {}
                None => *place = None,
            }
        }
    }
    for (wish, holding) in wishes.iter().zip(&mut target.holdings) {
        if let Some((class, _)) = wish.and_then(|wish| wish.class) {
            let used = target.classes.get(class.index()).is_some_and(Option::is_some);
            if used && world.capabilities.allows(ChangeKind::CacheClass) {
                holding.class = class;
            }
        }
    }
    restore_used_classes(target, &before);
}

/// A class that still has VMs in it stays in use, with the masks that it has.
fn restore_used_classes(target: &mut Assignment, before: &[Option<Vec<CacheMask>>]) {
    for holding in &target.holdings {
        let class = holding.class.index();
        if let Some(place @ None) = target.classes.get_mut(class) {
            place.clone_from(&before[class]);
        }
    }
}

/// Who holds more slices than it may have any more gives instances back, the smallest of those that will
/// do, as long as it keeps its reservation.
fn give_back(world: World<'_>, target: &mut Assignment) {
    let compute = |instance: &GpuInstance| {
        let gpu = world.topology.gpus().get(instance.gpu.index());
        let profile = gpu.and_then(|gpu| gpu.profiles.get(instance.profile as usize));
        profile.map_or(0, |profile| profile.compute)
    };
    if target.gpu_instances.is_empty() {
        return;
    }
    for spec in world.vms {
        let mut owned: Vec<GpuInstance> =
            target.gpu_instances.iter().filter(|instance| instance.owner == spec.id).copied().collect();
        let mut held = owned.iter().map(compute).fold(0, u32::saturating_add);
        owned.sort_by_key(|instance| (compute(instance), *instance));
        while held > spec.gpu_slices.limit {
            let left = |instance: &GpuInstance| held - compute(instance);
            let does = |instance: &&GpuInstance| spec.gpu_slices.contains(left(instance));
            let can = |instance: &&GpuInstance| {
                compute(instance) > 0 && left(instance) >= spec.gpu_slices.reservation
            };
            let Some(gone) = owned.iter().find(does).or(owned.iter().rfind(can)).copied() else { break };
            held -= compute(&gone);
            owned.retain(|instance| *instance != gone);
            target.gpu_instances.retain(|instance| *instance != gone);
        }
    }
}

pub(super) fn project_gpus(world: World<'_>, proposal: &Proposal, target: &mut Assignment) {
    give_back(world, target);
    let Some((instances, _)) = &proposal.gpu_instances else { return };
    let mut wanted = instances.clone();
    wanted.sort_unstable();
    wanted.dedup();
    let mut accepted: Vec<GpuInstance> = Vec::new();
    let mut slices = vec![0_u32; world.vms.len()];
    for instance in wanted {
        let Some(gpu) = world.topology.gpus().get(instance.gpu.index()) else { continue };
        let Some(profile) = gpu.profiles.get(instance.profile as usize) else { continue };
        let Some(position) = world.position(instance.owner) else { continue };
        let end = |other: &GpuInstance| other.start + gpu.profiles[other.profile as usize].span;
        let clear =
            accepted.last().is_none_or(|last| last.gpu != instance.gpu || end(last) <= instance.start);
        let after = slices[position].saturating_add(profile.compute);
        if clear && profile.starts.contains(&instance.start) && after <= world.vms[position].gpu_slices.limit
        {
            slices[position] = after;
            accepted.push(instance);
        }
    }
    if world.vms.iter().zip(slices).all(|(spec, held)| spec.gpu_slices.contains(held)) {
        target.gpu_instances = accepted;
    }
}
