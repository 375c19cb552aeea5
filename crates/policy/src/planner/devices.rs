//! Devices go to who will make most of them.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::topology::{Device, DeviceClass};
use halcyon_model::{DeviceId, DeviceMove, Reason, VmSpec};

use super::Worth;
use crate::View;

/// How far ahead devices are looked at.
const DEVICES_AHEAD: Duration = Duration::from_secs(600);
/// Seconds of a VM's utility that a device must be worth to its taker beyond what its owner loses.
const WORTH_A_MOVE: f64 = 5.0;
/// Devices of a class that change hands at once, at most.
const MOST_MOVES: usize = 8;

/// Moves devices to who will make most of them.
pub(super) fn hand_over(view: &View<'_>, worth: &dyn Worth) -> Vec<DeviceMove> {
    DeviceClass::ALL.into_iter().flat_map(|(class, _)| hand_over_class(view, worth, class)).collect()
}

#[allow(clippy::cast_precision_loss)]
fn hand_over_class(view: &View<'_>, values: &dyn Worth, class: DeviceClass) -> Vec<DeviceMove> {
    let (world, held) = (view.world, &view.snapshot.assignment);
    let fabric = world.topology.fabric();
    let each = |spec: &VmSpec, class: DeviceClass| {
        let of_class = fabric.devices.iter().filter(|device| device.class == class);
        let fastest = of_class.map(|device| device.bandwidth).max().unwrap_or_default();
        spec.wish(class).map_or(0.0, |wish| wish.bandwidth.limit.min(fastest).as_f64())
    };
    let mut owners: Vec<Option<usize>> =
        held.devices.iter().map(|holding| holding.owner.and_then(|vm| world.position(vm))).collect();
    let movable = |device: &Device| {
        device.class == class
            && device.hot_plug
            && fabric.is_assignable(device.id)
            && fabric.companions(device.id).len() == 1
    };
    let mut known: BTreeMap<(usize, usize), f64> = BTreeMap::new();
    let mut worth = |position: usize, count: usize| {
        *known.entry((position, count)).or_insert_with(|| {
            let spec = &world.vms[position];
            let of_others = fabric.devices.iter().zip(&held.devices);
            let of_others =
                of_others.filter(|(device, holding)| device.class != class && holding.owner == Some(spec.id));
            let others: f64 = of_others.map(|(device, _)| each(spec, device.class)).sum();
            let carried = others + count as f64 * each(spec, class);
            values.devices(position, carried)
        })
    };
    let count = |owners: &[Option<usize>], position: usize| {
        let of_class = fabric.devices.iter().zip(owners).filter(|(device, _)| device.class == class);
        of_class.filter(|(_, owner)| **owner == Some(position)).count()
    };
    let mut moves: Vec<DeviceMove> = Vec::new();
    while moves.len() < MOST_MOVES {
        let mut best: Option<(f64, usize, DeviceId)> = None;
        for (taker, spec) in world.vms.iter().enumerate() {
            let has = count(&owners, taker);
            if spec.wish(class).is_none_or(|wish| has >= wish.count.limit as usize) {
                continue;
            }
            let gain = worth(taker, has + 1) - worth(taker, has);
            if gain <= 0.0 || best.as_ref().is_some_and(|(most, ..)| gain <= *most) {
                continue;
            }
            for device in fabric.devices.iter().filter(|device| movable(device)) {
                let owner = owners[device.id.index()];
                let moved = moves.iter().any(|made| made.device == device.id);
                if moved || owner == Some(taker) {
                    continue;
                }
                let mut net = gain;
                if let Some(owner) = owner {
                    let spec = &world.vms[owner];
                    let has = count(&owners, owner);
                    if spec.wish(class).is_some_and(|wish| has <= wish.count.reservation as usize) {
                        continue;
                    }
                    let cost = (spec.weight.as_f64() + world.vms[taker].weight.as_f64()) * WORTH_A_MOVE;
                    net -= worth(owner, has) - worth(owner, has - 1);
                    net -= cost / DEVICES_AHEAD.as_secs_f64();
                } else {
                    // Nobody loses anything.
                    net -= 1e-9;
                }
                if fabric.socket(device.id) != Some(held.holdings[taker].socket) {
                    net -= 1e-9;
                }
                if net > 0.0 && best.as_ref().is_none_or(|(most, ..)| net > *most) {
                    best = Some((net, taker, device.id));
                }
            }
        }
        let Some((_, taker, device)) = best else { break };
        owners[device.index()] = Some(taker);
        moves.push(DeviceMove { device, to: Some(world.vms[taker].id), reason: Reason::Fit });
    }
    moves
}
