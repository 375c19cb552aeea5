//! What a decision starts from: what is held now, as far as it is known, made into something feasible.

use std::collections::BTreeMap;

use halcyon_model::fair::Claim;
use halcyon_model::{
    Assignment, Bounds, Capabilities, ChangeKind, ClassId, DeviceHolding, DeviceId, Families, Grant, Holding,
    MemoryWish, Proposal, Reason, Rule, VmId, VmWish, Wish, World, admit, check, project,
};

use super::judge::{Devices, alone, amount, device, wrong};
use super::{AllocateError, Allocation, Holds, VmData};
use crate::common::lay_out_memory;

/// What is held when the decision is made. `vms` are in the order of the world's.
pub(super) fn start(
    world: World<'_>,
    vms: &[&VmData],
    current: Option<&Allocation>,
    devices: &Devices<'_>,
) -> Result<Assignment, AllocateError> {
    let admitted = admit(world)?;
    let held = match current {
        Some(current) => carry_on(world, vms, current, &admitted)?,
        None => admitted,
    };
    as_told(world, vms, held, devices)
}

/// What was allocated last, without the VMs that are gone and with those that came.
fn carry_on(
    world: World<'_>,
    vms: &[&VmData],
    current: &Allocation,
    admitted: &Assignment,
) -> Result<Assignment, AllocateError> {
    let held = renamed(world, vms, current);
    let here: Vec<_> = held.holdings.iter().map(|holding| holding.vm).collect();
    let remaining: Vec<_> =
        world.vms.iter().filter(|spec| here.binary_search(&spec.id).is_ok()).cloned().collect();
    fits(World { vms: &remaining, ..world }, &held)?;
    if remaining.len() == world.vms.len() {
        return Ok(held);
    }
    let grown = project(
        free(world, &Capabilities::free()),
        &joined(world, &held, admitted),
        Families::NONE,
        &Proposal::default(),
    );
    // Where there is no room beside what is held, everybody is brought down to what is reserved.
    let start = if check(world, &grown).is_ok() { grown } else { admitted.clone() };
    can_make_room(world, &held, &start)?;
    Ok(start)
}

/// The same host with other capabilities.
fn free<'a>(world: World<'a>, capabilities: &'a Capabilities) -> World<'a> {
    World { capabilities, ..world }
}

/// What the VMs that are still there hold, by their ids of today.
fn renamed(world: World<'_>, vms: &[&VmData], current: &Allocation) -> Assignment {
    let known: BTreeMap<&str, VmId> =
        vms.iter().zip(world.vms).map(|(vm, spec)| (vm.name.as_str(), spec.id)).collect();
    let of_today = current.vms.iter().zip(&current.ids);
    let of_today: BTreeMap<VmId, VmId> =
        of_today.filter_map(|(vm, old)| Some((*old, *known.get(vm.name.as_str())?))).collect();
    let today = |old: VmId| of_today.get(&old).copied();
    let mut held = current.assignment.clone();
    held.holdings.retain_mut(|holding| today(holding.vm).map(|id| holding.vm = id).is_some());
    held.holdings.sort_by_key(|holding| holding.vm);
    for device in &mut held.devices {
        let owner = device.owner.and_then(today);
        *device = if owner.is_some() { DeviceHolding { owner, ..*device } } else { DeviceHolding::default() };
    }
    held.gpu_instances.retain_mut(|instance| today(instance.owner).map(|id| instance.owner = id).is_some());
    held
}

/// That what is held is of this host; bounds may have changed since.
fn fits(world: World<'_>, held: &Assignment) -> Result<(), AllocateError> {
    let Err(mut violations) = check(world, held) else { return Ok(()) };
    violations.0.retain(|violation| violation.rule != Rule::Bounds);
    if violations.0.is_empty() { Ok(()) } else { Err(AllocateError::Held(violations)) }
}

/// With those that came: on the sockets where they would be admitted, with what they reserve of CPU time, and
/// free devices of the classes that they must have. Projection sees to the rest.
fn joined(world: World<'_>, held: &Assignment, admitted: &Assignment) -> Assignment {
    let mut joined = held.clone();
    let class = held.classes.iter().position(Option::is_some).map_or(ClassId(0), ClassId::at);
    for (spec, place) in world.vms.iter().zip(&admitted.holdings) {
        if held.holding(spec.id).is_some() {
            continue;
        }
        joined.holdings.push(Holding { class, memory: Vec::new(), ..place.clone() });
        for (device, given) in admitted.devices_of(spec.id) {
            let found = like(world, &joined, device);
            joined.devices[found.unwrap_or(device).index()] = *given;
        }
    }
    joined.holdings.sort_by_key(|holding| holding.vm);
    joined
}

/// A device that nobody owns, of the class of another and alone in its group: that one itself if it can be.
fn like(world: World<'_>, held: &Assignment, wanted: DeviceId) -> Option<DeviceId> {
    let fabric = world.topology.fabric();
    let is_free = |device: DeviceId| {
        held.devices[device.index()].owner.is_none()
            && fabric.is_assignable(device)
            && fabric.companions(device).len() == 1
    };
    let class = fabric.devices[wanted.index()].class;
    let mut others = fabric.devices.iter().filter(|device| device.class == class).map(|device| device.id);
    if is_free(wanted) { Some(wanted) } else { others.find(|device| is_free(*device)) }
}

/// That nobody has to give up what this host cannot change for those that came.
fn can_make_room(world: World<'_>, before: &Assignment, after: &Assignment) -> Result<(), AllocateError> {
    for (spec, after) in world.vms.iter().zip(&after.holdings) {
        let Some(before) = before.holding(spec.id) else { continue };
        let changed = [
            (ChangeKind::Cpu, before.cpu != after.cpu),
            (ChangeKind::MemoryBandwidth, before.memory_bandwidth != after.memory_bandwidth),
            (ChangeKind::Placement, before.socket != after.socket),
            (ChangeKind::Memory, before.memory != after.memory),
        ];
        let stuck = changed.into_iter().find(|(kind, changed)| *changed && !world.capabilities.allows(*kind));
        if let Some((kind, _)) = stuck {
            return Err(AllocateError::NoRoom { vm: spec.name.clone(), kind });
        }
    }
    Ok(())
}

/// With what VMs are told to hold; fitted to bounds and host.
fn as_told(
    world: World<'_>,
    vms: &[&VmData],
    mut held: Assignment,
    devices: &Devices<'_>,
) -> Result<Assignment, AllocateError> {
    let mut wishes = Vec::new();
    for (position, vm) in vms.iter().enumerate() {
        wishes.push(VmWish {
            vm: world.vms[position].id,
            cpu: amount(vm, "holds.cpu_cores", vm.holds.cpu_cores)?.map(|cores| Wish {
                share: cores * 1e3,
                ceiling: held.holdings[position].cpu.ceiling.as_f64(),
                reason: Reason::default(),
            }),
            ..VmWish::default()
        });
    }
    let memory = held_memory(world, vms, &held)?;
    let owned = held_devices(vms, world, devices)?;
    if vms.iter().all(|vm| vm.holds == Holds::default()) {
        return Ok(held);
    }
    if let Some(memory) = memory {
        wishes.iter_mut().zip(memory).for_each(|(wish, memory)| wish.memory = Some(memory));
    }
    hand_over(world, vms, &owned, &mut held);
    let proposal = Proposal { vms: wishes, ..Proposal::default() };
    let held = project(free(world, &Capabilities::free()), &held, Families::NONE, &proposal);
    check(world, &held).map_err(AllocateError::Held)?;
    Ok(held)
}

/// The memory that VMs are told to hold, near their CPUs; nothing if none is told.
fn held_memory(
    world: World<'_>,
    vms: &[&VmData],
    held: &Assignment,
) -> Result<Option<Vec<MemoryWish>>, AllocateError> {
    let mut claims = Vec::new();
    for ((vm, spec), holding) in vms.iter().zip(world.vms).zip(&held.holdings) {
        let Bounds { reservation, limit } = spec.memory;
        let told = amount(vm, "holds.memory_bytes", vm.holds.memory_bytes)?;
        let most = told.unwrap_or(holding.total_memory().as_f64());
        let most = most.clamp(reservation.as_f64(), limit.as_f64());
        claims.push(Claim { weight: spec.weight.as_f64(), least: reservation.as_f64(), most });
    }
    let any = vms.iter().any(|vm| vm.holds.memory_bytes.is_some());
    Ok(any.then(|| lay_out_memory(world, held, &claims, |_| Reason::default())))
}

/// The devices that VMs are told to own, by position.
fn held_devices(
    vms: &[&VmData],
    world: World<'_>,
    devices: &Devices<'_>,
) -> Result<Vec<(usize, DeviceId)>, AllocateError> {
    let field = "holds.devices";
    let fabric = world.topology.fabric();
    let mut owned = Vec::new();
    for (position, vm) in vms.iter().enumerate() {
        for name in vm.holds.devices.iter().flatten() {
            let id = device(vm, field, name, devices)?;
            if !fabric.is_assignable(id) {
                return Err(wrong(
                    vm,
                    field,
                    format!("no VM can own `{name}`: it is the host's, or divided"),
                ));
            }
            owned.push((position, id));
        }
    }
    alone(field, owned.iter().map(|(position, id)| (vms[*position], *id)), world.topology)?;
    Ok(owned)
}

/// Makes those the owners of devices who are told to be, and nobody of what they do not list.
fn hand_over(world: World<'_>, vms: &[&VmData], owned: &[(usize, DeviceId)], held: &mut Assignment) {
    let fabric = world.topology.fabric();
    for (vm, spec) in vms.iter().zip(world.vms) {
        if vm.holds.devices.is_some() {
            let mut theirs = held.devices.iter_mut().filter(|device| device.owner == Some(spec.id));
            theirs.by_ref().for_each(|device| *device = DeviceHolding::default());
        }
    }
    for (position, id) in owned {
        let spec = &world.vms[*position];
        for member in fabric.companions(*id) {
            let device = &fabric.devices[member.index()];
            let bounds = spec.wish(device.class).map_or_else(Bounds::default, |wish| wish.bandwidth);
            let share = bounds.reservation.min(device.bandwidth);
            let bandwidth = Grant { share, ceiling: bounds.limit.min(device.bandwidth).max(share) };
            held.devices[member.index()] = DeviceHolding { owner: Some(spec.id), bandwidth };
        }
    }
}
