//! Devices of best-effort VMs share what the other VMs leave of a link, less a margin.

use halcyon_model::fair::{Claim, divide};
use halcyon_model::{DeviceId, Objective, Reason, Wish};

use super::HeraclesTuning;
use crate::View;
use crate::common::device_bounds;

/// A ceiling that would change by less stays as it is.
const DEAD_BAND: f64 = 0.10;

struct Owned {
    device: DeviceId,
    best_effort: bool,
    weight: f64,
    least: f64,
    most: f64,
    ceiling: f64,
}

pub(super) fn divide_links(view: &View<'_>, tuning: &HeraclesTuning) -> Vec<(DeviceId, Wish)> {
    let fabric = view.world.topology.fabric();
    let held = &view.snapshot.assignment;
    let mut below: Vec<Vec<usize>> = vec![Vec::new(); fabric.links.len()];
    let mut owned = Vec::new();
    for (index, holding) in held.devices.iter().enumerate() {
        let device = DeviceId::at(index);
        let Some(spec) = holding.owner.and_then(|owner| view.world.vm(owner)) else { continue };
        let Some((least, most)) = device_bounds(view.world, device, spec.id) else { continue };
        fabric.route(device).iter().for_each(|link| below[link.index()].push(owned.len()));
        let best_effort = spec.objective == Objective::BestEffort;
        let weight = spec.weight.as_f64();
        owned.push(Owned { device, best_effort, weight, least, most, ceiling: most });
    }
    let moved = |owned: &Owned| {
        let known = view.history.device(owned.device).and_then(|window| window.percentile(0.75));
        known.unwrap_or(0.0)
    };
    let mut parts = Vec::new();
    for (link, below) in fabric.links.iter().zip(&below) {
        let (others, protected): (Vec<usize>, Vec<usize>) =
            below.iter().partition(|index| owned[**index].best_effort);
        if protected.is_empty() || others.is_empty() {
            continue;
        }
        let carries = held.link(link.id).bandwidth().as_f64();
        let traffic: f64 = protected.iter().map(|index| moved(&owned[*index])).sum();
        let margin = (tuning.link_margin * carries).max(tuning.traffic_margin * traffic);
        let claim = |index: &usize| {
            let Owned { weight, least, most, .. } = owned[*index];
            Claim { weight, least, most: most.max(least) }
        };
        let claims: Vec<_> = others.iter().map(claim).collect();
        divide((carries - traffic - margin).max(0.0), &claims, &mut parts);
        others
            .iter()
            .zip(&parts)
            .for_each(|(index, part)| owned[*index].ceiling = owned[*index].ceiling.min(*part));
    }
    owned.iter().map(|owned| (owned.device, wish(view, owned))).collect()
}

fn wish(view: &View<'_>, owned: &Owned) -> Wish {
    let now = view.snapshot.assignment.devices[owned.device.index()].bandwidth.ceiling.as_f64();
    let free = owned.ceiling >= owned.most;
    let near = !free && now < owned.most && (owned.ceiling - now).abs() <= DEAD_BAND * now;
    let reason = if free { Reason::Fit } else { Reason::Neighbour };
    Wish { share: owned.least, ceiling: if near { now } else { owned.ceiling }, reason }
}
