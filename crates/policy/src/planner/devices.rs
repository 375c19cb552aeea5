//! Devices go to who will make most of them.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::topology::{Device, DeviceClass};
use halcyon_model::{DeviceHolding, DeviceId, DeviceMove, Reason, VmSpec};

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
    let devices = &view.world.topology.fabric().devices;
    let classes = DeviceClass::ALL.into_iter().map(|(class, _)| class);
    let there = classes.filter(|class| devices.iter().any(|device| device.class == *class));
    there.flat_map(|class| Market::open(view, worth, class).trade()).collect()
}

/// Who owns the devices of one class, and what they are worth.
struct Market<'a> {
    view: &'a View<'a>,
    values: &'a dyn Worth,
    class: DeviceClass,
    /// The devices that can change hands.
    movable: Vec<&'a Device>,
    /// The owner of each device of the host, by its position.
    owners: Vec<Option<usize>>,
    /// How many of this class each VM owns.
    counts: Vec<usize>,
    /// What one of this class carries for each VM at most, in bytes per second.
    each: Vec<f64>,
    /// What its devices of other classes carry.
    others: Vec<f64>,
    /// What so many devices are worth to a VM, as far as it was asked.
    known: BTreeMap<(usize, usize), f64>,
    /// What one more is worth to each VM, until it gets or loses one.
    gains: Vec<Option<f64>>,
    moves: Vec<DeviceMove>,
}

impl<'a> Market<'a> {
    fn open(view: &'a View<'a>, values: &'a dyn Worth, class: DeviceClass) -> Self {
        let (world, held) = (view.world, &view.snapshot.assignment);
        let fabric = world.topology.fabric();
        let fastest = DeviceClass::ALL.map(|(class, _)| {
            let of_class = fabric.devices.iter().filter(|device| device.class == class);
            of_class.map(|device| device.bandwidth).max().unwrap_or_default()
        });
        let each = |spec: &VmSpec, class: DeviceClass| {
            spec.wish(class).map_or(0.0, |wish| wish.bandwidth.limit.min(fastest[class as usize]).as_f64())
        };
        let owner = |holding: &DeviceHolding| holding.owner.and_then(|vm| world.position(vm));
        let owners: Vec<Option<usize>> = held.devices.iter().map(owner).collect();
        let (mut counts, mut others) = (vec![0; world.vms.len()], vec![0.0; world.vms.len()]);
        for (device, owner) in fabric.devices.iter().zip(&owners) {
            match *owner {
                Some(owner) if device.class == class => counts[owner] += 1,
                Some(owner) => others[owner] += each(&world.vms[owner], device.class),
                None => {}
            }
        }
        let movable = |device: &&Device| {
            device.class == class
                && device.hot_plug
                && fabric.is_assignable(device.id)
                && fabric.companions(device.id).len() == 1
        };
        Self {
            view,
            values,
            class,
            movable: fabric.devices.iter().filter(movable).collect(),
            owners,
            counts,
            each: world.vms.iter().map(|spec| each(spec, class)).collect(),
            others,
            known: BTreeMap::new(),
            gains: vec![None; world.vms.len()],
            moves: Vec::new(),
        }
    }

    fn trade(mut self) -> Vec<DeviceMove> {
        while self.moves.len() < MOST_MOVES {
            let Some((taker, device)) = self.best() else { break };
            let giver = self.owners[device.index()].replace(taker);
            self.counts[taker] += 1;
            self.gains[taker] = None;
            if let Some(giver) = giver {
                self.counts[giver] -= 1;
                self.gains[giver] = None;
            }
            let to = Some(self.view.world.vms[taker].id);
            self.moves.push(DeviceMove { device, to, reason: Reason::Fit });
        }
        self.moves
    }

    /// The move that gains most; the first of equals.
    fn best(&mut self) -> Option<(usize, DeviceId)> {
        let mut best: Option<(f64, usize, DeviceId)> = None;
        for (taker, spec) in self.view.world.vms.iter().enumerate() {
            let has = self.counts[taker];
            if spec.wish(self.class).is_none_or(|wish| has >= wish.count.limit as usize) {
                continue;
            }
            let gain = self.gain(taker);
            if gain <= 0.0 || best.as_ref().is_some_and(|(most, ..)| gain <= *most) {
                continue;
            }
            for place in 0..self.movable.len() {
                let device = self.movable[place].id;
                let net = self.net(gain, taker, device).filter(|net| *net > 0.0);
                if let Some(net) = net.filter(|net| best.as_ref().is_none_or(|(most, ..)| net > most)) {
                    best = Some((net, taker, device));
                }
            }
        }
        best.map(|(_, taker, device)| (taker, device))
    }

    /// What is left of a gain after what the device's owner loses; nothing if it cannot move.
    fn net(&mut self, gain: f64, taker: usize, device: DeviceId) -> Option<f64> {
        let View { world, snapshot, .. } = *self.view;
        let owner = self.owners[device.index()];
        if owner == Some(taker) || self.moves.iter().any(|made| made.device == device) {
            return None;
        }
        let mut net = gain;
        if let Some(owner) = owner {
            let (spec, has) = (&world.vms[owner], self.counts[owner]);
            if spec.wish(self.class).is_some_and(|wish| has <= wish.count.reservation as usize) {
                return None;
            }
            let cost = (spec.weight.as_f64() + world.vms[taker].weight.as_f64()) * WORTH_A_MOVE;
            net -= self.worth(owner, has) - self.worth(owner, has - 1);
            net -= cost / DEVICES_AHEAD.as_secs_f64();
        } else {
            // Nobody loses anything.
            net -= 1e-9;
        }
        if world.topology.fabric().socket(device) != Some(snapshot.assignment.holdings[taker].socket) {
            net -= 1e-9;
        }
        Some(net)
    }

    fn gain(&mut self, taker: usize) -> f64 {
        if let Some(gain) = self.gains[taker] {
            return gain;
        }
        let has = self.counts[taker];
        let gain = self.worth(taker, has + 1) - self.worth(taker, has);
        self.gains[taker] = Some(gain);
        gain
    }

    #[allow(clippy::cast_precision_loss)]
    fn worth(&mut self, position: usize, count: usize) -> f64 {
        let carried = self.others[position] + count as f64 * self.each[position];
        let values = self.values;
        *self.known.entry((position, count)).or_insert_with(|| values.devices(position, carried))
    }
}
