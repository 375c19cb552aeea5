//! Feasible states that no step leads to: VMs that changed places, memory, devices or GPU instances.

use halcyon_model::{Assignment, CacheMask, check};

use super::{Host, Tape};

/// Swaps holdings of pairs of VMs, and owners of pairs of things, as far as the rules hold after it.
pub(crate) fn shuffle(tape: &mut Tape, host: &Host, state: &mut Assignment) {
    for _ in 0..40 {
        let mut swapped = state.clone();
        swap(tape, host, &mut swapped);
        if check(host.world(), &swapped).is_ok() {
            *state = swapped;
        }
    }
}

fn swap(tape: &mut Tape, host: &Host, state: &mut Assignment) {
    let kind = tape.below(5);
    let things = match kind {
        0..=2 => state.holdings.len(),
        3 => state.gpu_instances.len(),
        _ => host.topology.fabric().groups().len(),
    };
    let (a, b) = (tape.below(things), tape.below(things));
    if a == b {
        return;
    }
    match kind {
        0 => {
            let socket = state.holdings[a].socket;
            state.holdings[a].socket = state.holdings[b].socket;
            state.holdings[b].socket = socket;
        }
        1 => {
            let memory = state.holdings[a].memory.clone();
            state.holdings[a].memory = std::mem::replace(&mut state.holdings[b].memory, memory);
        }
        2 => {
            let class = state.holdings[a].class;
            state.holdings[a].class = state.holdings[b].class;
            state.holdings[b].class = class;
            for mask in state.classes.iter_mut().flatten().flatten() {
                *mask = CacheMask(if tape.chance(1, 2) { mask.0 } else { mask.0 >> 1 });
            }
        }
        3 => {
            let owner = state.gpu_instances[a].owner;
            state.gpu_instances[a].owner = state.gpu_instances[b].owner;
            state.gpu_instances[b].owner = owner;
        }
        _ => swap_groups(host, state, a, b),
    }
}

fn swap_groups(host: &Host, state: &mut Assignment, a: usize, b: usize) {
    let groups = host.topology.fabric().groups();
    let owner = |group: usize| state.devices[groups[group].1[0].index()].owner;
    for (group, owner) in [(a, owner(b)), (b, owner(a))] {
        for member in &groups[group].1 {
            let held = &mut state.devices[member.index()];
            held.owner = owner;
            if owner.is_none() {
                *held = Default::default();
            }
        }
    }
}
