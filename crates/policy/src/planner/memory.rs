//! Memory by need: first everybody has what it is promised, then what it takes to do its work, then what
//! it takes to lose nothing. Who counts most comes first where that is more than there is.
//!
//! Nobody gives up memory unless another is to grow: giving it back takes time.

use halcyon_model::{MemoryWish, Reason, VmWish};

use super::Need;
use crate::View;
use crate::reactive::memory::{LEAST_CHANGE, grow, shrink};

/// What a VM that has its part now counts more than one that has not, so that they do not take turns.
const INCUMBENT: f64 = 1.25;
/// Changes of less than this share of what is held are not worth a balloon.
const LEAST_SHARE: f64 = 0.02;

pub(super) fn divide(view: &View<'_>, needs: &[Need], wishes: &mut [VmWish]) {
    let (world, held) = (view.world, &view.snapshot.assignment.holdings);
    if needs.len() != held.len() {
        return;
    }
    let mut free: Vec<f64> = world.topology.nodes().iter().map(|node| node.available().as_f64()).collect();
    for (node, size) in held.iter().flat_map(|holding| &holding.memory) {
        free[node.index()] -= size.as_f64();
    }
    let holds: Vec<f64> = held.iter().map(|holding| holding.total_memory().as_f64()).collect();
    let room = free.iter().sum::<f64>().max(0.0) + holds.iter().sum::<f64>();
    let targets = targets(view, needs, &holds, room);
    let least = |position: usize| LEAST_CHANGE.max(LEAST_SHARE * holds[position]);
    let grows = |position: &usize| targets[*position] - holds[*position] >= least(*position);
    let missing: f64 =
        (0..holds.len()).filter(grows).map(|position| targets[position] - holds[position]).sum();
    let short = (missing - free.iter().sum::<f64>().max(0.0)).max(0.0);
    let spare = |position: usize| {
        let sample = &view.snapshot.vms[position];
        let refuses = sample.refuses_memory_until.is_some_and(|until| view.snapshot.at < until);
        if refuses { 0.0 } else { (holds[position] - targets[position]).max(0.0) }
    };
    let all_spare: f64 = (0..holds.len()).map(spare).sum();
    let given_up = if all_spare > 0.0 { (short / all_spare).min(1.0) } else { 0.0 };
    for position in 0..holds.len() {
        let limit = world.vms[position].memory.limit.as_f64().max(1.0);
        let expected = (needs[position].memory / limit).clamp(0.0, 1.0);
        if grows(&position) {
            let more = targets[position] - holds[position];
            let nodes = grow(view, &held[position], more, &mut free);
            wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Demand { expected } });
        } else if spare(position) * given_up >= least(position) {
            let nodes = shrink(view, &held[position], spare(position) * given_up);
            wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Idle { expected } });
        }
    }
    bring_home(view, &holds, &free, wishes);
}

/// What each is to have, in bytes; together no more than there is.
fn targets(view: &View<'_>, needs: &[Need], holds: &[f64], room: f64) -> Vec<f64> {
    let bounds = |position: usize| {
        let bounds = view.world.vms[position].memory;
        (bounds.reservation.as_f64(), bounds.limit.as_f64())
    };
    let within = |position: usize, size: f64| {
        let (least, most) = bounds(position);
        size.clamp(least, most.max(least))
    };
    let mut targets: Vec<f64> = (0..needs.len()).map(|position| bounds(position).0).collect();
    let mut left = room - targets.iter().sum::<f64>();
    let levels: [fn(&Need) -> f64; 2] = [|need| need.memory_enough, |need| need.memory];
    for level in levels {
        let goal: Vec<f64> =
            needs.iter().enumerate().map(|(position, need)| within(position, level(need))).collect();
        let rank = |position: usize| {
            let there = holds[position] >= 0.99 * goal[position];
            needs[position].memory_rank * if there { INCUMBENT } else { 1.0 }
        };
        let mut order: Vec<usize> = (0..needs.len()).collect();
        order.sort_by(|a, b| rank(*b).total_cmp(&rank(*a)).then(a.cmp(b)));
        for position in order {
            let more = (goal[position] - targets[position]).clamp(0.0, left.max(0.0));
            targets[position] += more;
            left -= more;
        }
    }
    targets
}

/// One VM at a time gets its memory moved to its own socket, if there is room.
fn bring_home(view: &View<'_>, holds: &[f64], free: &[f64], wishes: &mut [VmWish]) {
    for (position, holding) in view.snapshot.assignment.holdings.iter().enumerate() {
        let home = view.world.topology.nearest_nodes(holding.socket)[0];
        let away = holds[position] - holding.memory_on(home).as_f64();
        let worth_it = away > LEAST_CHANGE.max(0.1 * holds[position]);
        if wishes[position].memory.is_none() && worth_it && free[home.index()] > away {
            let nodes = vec![(home, holds[position])];
            wishes[position].memory = Some(MemoryWish { nodes, reason: Reason::Locality });
            return;
        }
    }
}
