//! From what is held to what is planned, in an order that never overdraws anything.

use std::collections::BTreeSet;

use crate::assignment::{Assignment, DeviceHolding, GpuInstance, Grant, Holding};
use crate::capability::ChangeKind;
use crate::ids::{ClassId, DeviceId, LinkId, SocketId, VmId};
use crate::ledger::Ledger;
use crate::step::{Placement, Step};
use crate::topology::Fabric;
use crate::units::{Bandwidth, ByteSize};
use crate::world::World;

/// The steps from one assignment to another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Diff {
    /// Steps in order: applied one by one, every state between them is feasible.
    pub steps: Vec<Step>,
    /// Steps that would lead on from what is reached, for which no order makes room, such as two VMs
    /// that would swap full sockets. They wait. Empty exactly when the target is reached.
    pub deferred: Vec<Step>,
    /// What is held after the steps.
    pub reached: Assignment,
}

/// Finds the steps from `from` to `to`, releases before grants.
///
/// Both assignments are of the same host and the same VMs. Costs O(VMs + devices), and for each step
/// that finds no room at first one more look per round in which others made room.
#[must_use]
pub fn diff(world: World<'_>, from: &Assignment, to: &Assignment) -> Diff {
    let mut diff = one_diff(world, from, to);
    if diff.deferred.is_empty() {
        return diff;
    }
    let mut target = to.clone();
    // Each round leaves at least one more device or VM's GPU instances as they are, so this ends.
    while give_up_strays(world, from, &mut target, &diff) {
        diff = one_diff(world, from, &target);
    }
    diff.deferred = changes(world, &diff.reached, to);
    diff
}

fn one_diff(world: World<'_>, from: &Assignment, to: &Assignment) -> Diff {
    let mut pending = changes(world, from, to);
    let mut diff = Diff { reached: from.clone(), ..Diff::default() };
    if pending.is_empty() {
        return diff;
    }
    pending.sort_by_key(order);
    let mut ledger = Ledger::new(world, from);
    loop {
        let before = pending.len();
        pending.retain(|step| !take(step, &mut ledger, &mut diff));
        if pending.is_empty() || pending.len() == before {
            diff.deferred = pending;
            return diff;
        }
    }
}

/// Where something was taken from a VM for another that then found no room for it, changes the target so
/// that this thing is left where it is. Says whether there was any.
fn give_up_strays(world: World<'_>, from: &Assignment, target: &mut Assignment, diff: &Diff) -> bool {
    let fabric = world.topology.fabric();
    let mut any = false;
    for step in &diff.deferred {
        let Step::Attach { devices, .. } = step else { continue };
        let stray = |device: DeviceId| {
            diff.reached.devices[device.index()].owner != from.devices[device.index()].owner
        };
        if let Some(lead) = devices.first().map(|(device, _)| *device).filter(|lead| stray(*lead)) {
            for member in fabric.companions(lead) {
                target.devices[member.index()] = from.devices[member.index()];
            }
            any = true;
        }
    }
    let stray = stray_owners(from, diff);
    if !stray.is_empty() {
        let before = target.gpu_instances.clone();
        keep_instances(world, from, target, stray);
        if target.gpu_instances == before {
            // Only where what is held is out of order, or overlaps.
            target.gpu_instances.clone_from(&from.gpu_instances);
        }
        any |= target.gpu_instances != before;
    }
    any
}

/// The VMs that gave a GPU instance back and found no room for the one that they were to get.
fn stray_owners(from: &Assignment, diff: &Diff) -> BTreeSet<VmId> {
    let gone = |instance: &&GpuInstance| diff.reached.gpu_instances.binary_search(instance).is_err();
    let lost: BTreeSet<VmId> = from.gpu_instances.iter().filter(gone).map(|gone| gone.owner).collect();
    let waits = |step: &Step| match step {
        Step::CreateInstance { instance } => lost.contains(&instance.owner).then_some(instance.owner),
        _ => None,
    };
    diff.deferred.iter().filter_map(waits).collect()
}

/// Leaves these VMs the GPU instances that they have, and in turn everybody who was to get their places.
fn keep_instances(world: World<'_>, from: &Assignment, target: &mut Assignment, mut stays: BTreeSet<VmId>) {
    let span = |instance: &GpuInstance| {
        let gpu = world.topology.gpus().get(instance.gpu.index());
        let profile = gpu.and_then(|gpu| gpu.profiles.get(instance.profile as usize));
        instance.start..instance.start.saturating_add(profile.map_or(1, |profile| profile.span))
    };
    let overlap = |one: &GpuInstance, other: &GpuInstance| {
        let (a, b) = (span(one), span(other));
        one.gpu == other.gpu && a.start < b.end && b.start < a.end
    };
    loop {
        let kept = || from.gpu_instances.iter().filter(|instance| stays.contains(&instance.owner));
        let in_the_way =
            |new: &&GpuInstance| !stays.contains(&new.owner) && kept().any(|kept| overlap(kept, new));
        let more: Vec<VmId> = target.gpu_instances.iter().filter(in_the_way).map(|new| new.owner).collect();
        if more.is_empty() {
            let mut instances: Vec<GpuInstance> = kept().copied().collect();
            instances.extend(target.gpu_instances.iter().filter(|new| !stays.contains(&new.owner)));
            instances.sort_unstable();
            target.gpu_instances = instances;
            return;
        }
        stays.extend(more);
    }
}

fn take(step: &Step, ledger: &mut Ledger<'_>, diff: &mut Diff) -> bool {
    if !diff.reached.matches(step) || !ledger.allows(step) || diff.reached.apply(step).is_err() {
        return false;
    }
    ledger.begin(step);
    ledger.finish(step);
    diff.steps.push(step.clone());
    true
}

/// Releases first, moves between them and grants, so that one round is nearly always enough.
fn order(step: &Step) -> u8 {
    let rises = |rise: bool| if rise { 4 } else { 0 };
    match step {
        Step::SetCpu { from, to, .. } => rises(to.share > from.share),
        Step::SetMemoryBandwidth { from, to, .. } => rises(to.share > from.share),
        Step::SetDeviceBandwidth { from, to, .. } => rises(to.share > from.share),
        Step::SetMemory { from, to, .. } => rises(to > from),
        Step::DestroyInstance { .. } | Step::CreateClass { .. } => 0,
        Step::Detach { .. } | Step::SetMask { .. } => 1,
        Step::SetLink { from, to, .. } => {
            if to.width < from.width || to.bandwidth() < from.bandwidth() {
                2
            } else {
                3
            }
        }
        Step::Place { .. } | Step::MigrateMemory { .. } | Step::SetClass { .. } => 3,
        Step::Attach { .. } | Step::CreateInstance { .. } => 4,
        Step::RemoveClass { .. } => 5,
    }
}

fn changes(world: World<'_>, from: &Assignment, to: &Assignment) -> Vec<Step> {
    let mut steps = Vec::new();
    let migrates = world.capabilities.allows(ChangeKind::MemoryMigration);
    for (before, after) in from.holdings.iter().zip(&to.holdings) {
        debug_assert_eq!(before.vm, after.vm, "both assignments are of the same VMs");
        compute_changes(before, after, &mut steps);
        if before.memory != after.memory {
            memory_changes(before, after, migrates, &mut steps);
        }
        if before.class != after.class {
            steps.push(Step::SetClass { vm: before.vm, from: before.class, to: after.class });
        }
    }
    class_changes(from, to, &mut steps);
    device_changes(world.topology.fabric(), from, to, &mut steps);
    for (index, (before, after)) in from.links.iter().zip(&to.links).enumerate() {
        if before != after {
            steps.push(Step::SetLink { link: LinkId::at(index), from: *before, to: *after });
        }
    }
    instance_changes(from, to, &mut steps);
    steps
}

fn compute_changes(before: &Holding, after: &Holding, steps: &mut Vec<Step>) {
    let (vm, socket) = (before.vm, before.socket);
    if socket != after.socket {
        let (from, to) = (Placement::from_holding(before), Placement::from_holding(after));
        steps.push(Step::Place { vm, from, to });
        return;
    }
    if before.cpu != after.cpu {
        steps.push(Step::SetCpu { vm, socket, from: before.cpu, to: after.cpu });
    }
    if before.memory_bandwidth != after.memory_bandwidth {
        let (from, to) = (before.memory_bandwidth, after.memory_bandwidth);
        steps.push(Step::SetMemoryBandwidth { vm, socket, from, to });
    }
}

/// Shrinks what is too much in all, then migrates between nodes, then grows what is still missing. Where
/// memory cannot migrate, it shrinks on one node and grows on the other.
fn memory_changes(before: &Holding, after: &Holding, migrates: bool, steps: &mut Vec<Step>) {
    let vm = before.vm;
    let mut held = before.clone();
    let mut excess =
        if migrates { before.total_memory().saturating_sub(after.total_memory()) } else { ByteSize::MAX };
    for (node, size) in &before.memory {
        let surplus = size.saturating_sub(after.memory_on(*node)).min(excess);
        if !surplus.is_zero() {
            steps.push(Step::SetMemory { vm, node: *node, from: *size, to: *size - surplus });
            held.put_memory(*node, *size - surplus);
            excess -= surplus;
        }
    }
    for (node, _) in &before.memory {
        for (target, wanted) in &after.memory {
            let surplus = held.memory_on(*node).saturating_sub(after.memory_on(*node));
            let size = surplus.min(wanted.saturating_sub(held.memory_on(*target)));
            if !size.is_zero() {
                steps.push(Step::MigrateMemory { vm, from: *node, to: *target, size });
                held.put_memory(*node, held.memory_on(*node) - size);
                held.put_memory(*target, held.memory_on(*target) + size);
            }
        }
    }
    for (node, wanted) in &after.memory {
        let from: ByteSize = held.memory_on(*node);
        if from < *wanted {
            steps.push(Step::SetMemory { vm, node: *node, from, to: *wanted });
        }
    }
}

fn class_changes(from: &Assignment, to: &Assignment, steps: &mut Vec<Step>) {
    for (index, (before, after)) in from.classes.iter().zip(&to.classes).enumerate() {
        let class = ClassId::at(index);
        match (before, after) {
            (None, Some(masks)) => steps.push(Step::CreateClass { class, masks: masks.clone() }),
            (Some(masks), None) => steps.push(Step::RemoveClass { class, masks: masks.clone() }),
            (Some(before), Some(after)) => {
                for (socket, (from, to)) in before.iter().zip(after).enumerate() {
                    if from != to {
                        let socket = SocketId::at(socket);
                        steps.push(Step::SetMask { class, socket, from: *from, to: *to });
                    }
                }
            }
            (None, None) => {}
        }
    }
}

fn device_changes(fabric: &Fabric, from: &Assignment, to: &Assignment, steps: &mut Vec<Step>) {
    for (index, (before, after)) in from.devices.iter().zip(&to.devices).enumerate() {
        let device = DeviceId::at(index);
        if before.owner != after.owner {
            // The first device of a group stands for the group.
            if fabric.companions(device).first() == Some(&device) {
                hand_over(fabric, device, (before.owner, from), (after.owner, to), steps);
            }
        } else if before.bandwidth != after.bandwidth {
            steps.push(Step::SetDeviceBandwidth { device, from: before.bandwidth, to: after.bandwidth });
        }
    }
}

fn hand_over(
    fabric: &Fabric,
    device: DeviceId,
    (giver, before): (Option<VmId>, &Assignment),
    (taker, after): (Option<VmId>, &Assignment),
    steps: &mut Vec<Step>,
) {
    let grants = |held: &[DeviceHolding]| -> Vec<(DeviceId, Grant<Bandwidth>)> {
        fabric.companions(device).iter().map(|member| (*member, held[member.index()].bandwidth)).collect()
    };
    if let Some(vm) = giver {
        steps.push(Step::Detach { vm, devices: grants(&before.devices) });
    }
    if let Some(vm) = taker {
        steps.push(Step::Attach { vm, devices: grants(&after.devices) });
    }
}

fn instance_changes(from: &Assignment, to: &Assignment, steps: &mut Vec<Step>) {
    if from.gpu_instances == to.gpu_instances {
        return;
    }
    let missing_in = |other: &Assignment| {
        let kept = other.gpu_instances.clone();
        move |instance: &&GpuInstance| kept.binary_search(instance).is_err()
    };
    let gone = from.gpu_instances.iter().filter(missing_in(to));
    steps.extend(gone.map(|instance| Step::DestroyInstance { instance: *instance }));
    let new = to.gpu_instances.iter().filter(missing_in(from));
    steps.extend(new.map(|instance| Step::CreateInstance { instance: *instance }));
}
