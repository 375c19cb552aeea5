//! Devices go to those who wait for them, lanes to links that are full.

use std::collections::BTreeMap;

use halcyon_model::{
    DeviceClass, DeviceId, DeviceMove, Lanes, LinkId, LinkSetting, LinkWish, Reason, VmId, VmSpec,
};

use super::Reactive;
use crate::View;
use crate::common::count_devices;

/// A VM that stands still for devices longer than this share of the time is short of them.
const STARVED: f64 = 0.05;
/// A device that is used less than this share of what it can is hardly missed.
const IDLE: f64 = 0.05;

impl Reactive {
    /// Moves the least used device whose owner can spare it to the VM that waits most.
    pub(super) fn move_device(&mut self, view: &View<'_>, moves: &mut Vec<DeviceMove>) {
        let stalled = |position: usize| {
            let known = view.history.estimate(position)?;
            known.io_stalled.percentile(0.75).filter(|share| *share > STARVED)
        };
        let mut starved: Vec<(usize, f64)> =
            (0..view.world.vms.len()).filter_map(|position| Some((position, stalled(position)?))).collect();
        starved.sort_by(|a, b| {
            let worth = |&(position, share): &(usize, f64)| share * self.weight(&view.world.vms[position]);
            worth(b).total_cmp(&worth(a)).then(a.0.cmp(&b.0))
        });
        let counts = count_devices(view.world, &view.snapshot.assignment);
        for (position, share) in starved {
            let spec = &view.world.vms[position];
            let Some((device, used)) = self.spare_device(view, spec, &counts) else { continue };
            moves.retain(|wish| wish.device != device);
            moves.push(DeviceMove {
                device,
                to: Some(spec.id),
                reason: Reason::BetterUse { owner: used, taker: share },
            });
            self.note_move(device, view.snapshot.at);
            return;
        }
    }

    fn spare_device(
        &self,
        view: &View<'_>,
        taker: &VmSpec,
        counts: &BTreeMap<(VmId, DeviceClass), usize>,
    ) -> Option<(DeviceId, f64)> {
        let fabric = view.world.topology.fabric();
        let held = &view.snapshot.assignment;
        let count = |vm, class| counts.get(&(vm, class)).copied().unwrap_or(0);
        let mut best: Option<(DeviceId, f64)> = None;
        for (index, holding) in held.devices.iter().enumerate() {
            let (id, device) = (DeviceId::at(index), &fabric.devices[index]);
            let (Some(owner), Some(wish)) = (holding.owner, taker.wish(device.class)) else { continue };
            let can_take = owner != taker.id
                && count(taker.id, device.class) < wish.count.limit as usize
                && device.hot_plug
                && fabric.companions(id).len() == 1
                && !self.moved_lately(id, view.snapshot.at);
            let needed = view.world.vm(owner).and_then(|spec| spec.wish(device.class));
            let needed = needed.map_or(0, |wish| wish.count.reservation as usize);
            if !can_take || count(owner, device.class) <= needed {
                continue;
            }
            let moved = view.history.device(id).and_then(|window| window.percentile(0.95)).unwrap_or(0.0);
            let used = moved / device.bandwidth.as_f64();
            if used < IDLE && best.is_none_or(|(_, least)| used < least) {
                best = Some((id, used));
            }
        }
        best
    }

    /// Halves the idlest link of a pool to double the fullest one, or takes lanes that are free.
    pub(super) fn move_lanes(&self, view: &View<'_>, links: &mut Vec<LinkWish>) {
        let fabric = view.world.topology.fabric();
        let loads = link_loads(view);
        for pool in &fabric.pools {
            let members =
                fabric.links.iter().filter(|link| fabric.ports[link.upper.index()].pool == Some(pool.id));
            let members: Vec<_> = members.map(|link| link.id).collect();
            let used: u32 =
                members.iter().map(|link| u32::from(view.snapshot.assignment.link(*link).width.get())).sum();
            let full =
                members.iter().filter(|link| loads[link.index()] > 0.85 && wider(view, **link).is_some());
            let Some(full) = full.max_by(|a, b| loads[a.index()].total_cmp(&loads[b.index()])) else {
                continue;
            };
            let Some(wide) = wider(view, *full) else { continue };
            let missing = u32::from(wide.width.get()) / 2;
            let wish = |link, to, reason| LinkWish { link, to, reason };
            let expected = loads[full.index()];
            if used + missing > pool.lanes {
                let idle = members.iter().filter(|link| loads[link.index()] < 0.25 && **link != *full);
                let idle = idle.filter(|link| {
                    let width = view.snapshot.assignment.link(**link).width.get();
                    width > 1 && used - u32::from(width) / 2 + missing <= pool.lanes
                });
                let Some(idle) = idle.min_by(|a, b| loads[a.index()].total_cmp(&loads[b.index()])) else {
                    continue;
                };
                let held = view.snapshot.assignment.link(*idle);
                let narrow = LinkSetting { width: Lanes::unchecked(held.width.get() / 2), ..held };
                links.push(wish(*idle, narrow, Reason::Idle { expected: loads[idle.index()] }));
            }
            links.push(wish(*full, wide, Reason::Demand { expected }));
        }
    }
}

/// The link with twice its lanes, if both ends can do that.
fn wider(view: &View<'_>, link: LinkId) -> Option<LinkSetting> {
    let held = view.snapshot.assignment.link(link);
    let width = Lanes::new(held.width.get().checked_mul(2)?)?;
    (width <= view.world.topology.fabric().links[link.index()].capable.width)
        .then_some(LinkSetting { width, ..held })
}

/// What the devices below each link move, as a share of what it carries.
fn link_loads(view: &View<'_>) -> Vec<f64> {
    let fabric = view.world.topology.fabric();
    let mut loads = vec![0.0; fabric.links.len()];
    for index in 0..fabric.devices.len() {
        let device = DeviceId::at(index);
        let moved = view.history.device(device).and_then(|window| window.percentile(0.75)).unwrap_or(0.0);
        for link in fabric.route(device) {
            loads[link.index()] += moved / view.snapshot.assignment.link(*link).bandwidth().as_f64();
        }
    }
    loads
}
