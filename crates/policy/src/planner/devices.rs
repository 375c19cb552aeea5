//! Devices go to who will move more with them.

use halcyon_model::topology::{Device, DeviceClass};
use halcyon_model::{DeviceMove, Reason, VmSpec};

use super::{Need, PlannerTuning};
use crate::View;

/// Of what the host carries for a VM, so much can be counted on.
const CARRIED: f64 = 0.9;

/// How many devices of one class a VM needs, and what they are worth to it.
#[derive(Debug, Clone, Copy)]
struct Wanted {
    count: usize,
    worth: f64,
}

/// Moves devices of each class from who has more than it needs to who needs more, with most worth first.
pub(super) fn hand_over(view: &View<'_>, tuning: &PlannerTuning, needs: &[Need]) -> Vec<DeviceMove> {
    let mut moves = Vec::new();
    if needs.len() == view.world.vms.len() {
        for (class, _) in DeviceClass::ALL {
            hand_over_class(view, tuning, needs, class, &mut moves);
        }
    }
    moves
}

fn hand_over_class(
    view: &View<'_>,
    tuning: &PlannerTuning,
    needs: &[Need],
    class: DeviceClass,
    moves: &mut Vec<DeviceMove>,
) {
    let (world, held) = (view.world, &view.snapshot.assignment);
    let fabric = world.topology.fabric();
    let owner = |device: &Device| held.devices[device.id.index()].owner;
    let of_class = || fabric.devices.iter().filter(|device| device.class == class);
    let movable = |device: &&Device| {
        device.hot_plug && fabric.is_assignable(device.id) && fabric.companions(device.id).len() == 1
    };
    let devices: Vec<&Device> = of_class().filter(movable).collect();
    if devices.is_empty() {
        return;
    }
    let fastest = of_class().map(|device| device.bandwidth.as_f64()).fold(1.0, f64::max);
    let wanted: Vec<Wanted> =
        world.vms.iter().zip(needs).map(|(spec, need)| wanted(spec, need, class, fastest, tuning)).collect();
    let count = |spec: &VmSpec| of_class().filter(|device| owner(device) == Some(spec.id)).count();
    let mut counts: Vec<usize> = world.vms.iter().map(count).collect();
    let short = |at: &usize| counts[*at] < wanted[*at].count && wanted[*at].worth > tuning.device_gain;
    let mut order: Vec<usize> = (0..wanted.len()).filter(short).collect();
    order.sort_by(|a, b| wanted[*b].worth.total_cmp(&wanted[*a].worth).then(a.cmp(b)));
    let mut given = vec![false; devices.len()];
    for taker in order {
        while counts[taker] < wanted[taker].count {
            let socket = held.holdings[taker].socket;
            let position = |device: &Device| owner(device).and_then(|vm| world.position(vm));
            let spare = |at: &usize| {
                let free = |owner: usize| owner != taker && counts[owner] > wanted[owner].count;
                !given[*at] && position(devices[*at]).is_none_or(free)
            };
            let near = |at: &usize| {
                let device = devices[*at];
                (owner(device).is_some(), fabric.socket(device.id) != Some(socket), device.id)
            };
            let Some(found) = (0..devices.len()).filter(spare).min_by_key(near) else { break };
            given[found] = true;
            let from = position(devices[found]);
            if let Some(owner) = from {
                counts[owner] -= 1;
            }
            counts[taker] += 1;
            let use_of = |position: usize| (needs[position].traffic / fastest).min(1.0);
            let reason = match from {
                Some(owner) => Reason::BetterUse { owner: use_of(owner), taker: use_of(taker) },
                None => Reason::Demand { expected: use_of(taker) },
            };
            moves.push(DeviceMove { device: devices[found].id, to: Some(world.vms[taker].id), reason });
        }
    }
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn wanted(spec: &VmSpec, need: &Need, class: DeviceClass, fastest: f64, tuning: &PlannerTuning) -> Wanted {
    let Some(wish) = spec.wish(class) else { return Wanted { count: 0, worth: 0.0 } };
    let missing = (need.traffic - CARRIED * tuning.paravirtual).max(0.0);
    let each = fastest.min(wish.bandwidth.limit.as_f64()).max(1.0);
    let count = ((missing / each).ceil() as usize).min(wish.count.limit as usize);
    let worth = spec.weight.as_f64() / 100.0 * need.device_rank * missing / need.traffic.max(1.0);
    Wanted { count: count.max(wish.count.reservation as usize), worth }
}
