//! Groups as classes of service, with as little moved as can be.

use halcyon_model::topology::Socket;
use halcyon_model::{Assignment, CacheMask, ClassId, Proposal, Reason};

use super::{Cost, Geometry, Group, Occupant, cost_of, occupants};
use crate::View;

/// Adds to a proposal, which has one wish for each VM in order, the groups that `into` makes of each
/// socket's occupants, of whom each counts by `value`, where they cost less than what is held by more than `least_gain`, a share of it.
pub(crate) fn regroup(
    view: &View<'_>,
    cost: Cost,
    value: &dyn Fn(usize) -> f64,
    least_gain: f64,
    into: impl Fn(&[Occupant], &Geometry) -> Vec<Group>,
    proposal: &mut Proposal,
) {
    let of_socket = |socket: &Socket| {
        let geometry = Geometry::of(view, socket)?;
        let occupants = occupants(view, socket, value);
        let groups = into(&occupants, &geometry);
        let now = cost_now(&view.snapshot.assignment, socket, &occupants, &geometry, cost);
        let then: f64 = groups.iter().map(|group| cost_of(&group.members, group.ways, &geometry, cost)).sum();
        (now - then > least_gain * now).then_some(groups)
    };
    let sockets = view.world.topology.sockets().iter();
    let groups: Vec<Vec<Group>> = sockets.map(|socket| of_socket(socket).unwrap_or_default()).collect();
    if groups.iter().any(|groups| !groups.is_empty()) {
        propose(view, &groups, proposal);
    }
}

/// What the present classes cost the occupants of a socket.
fn cost_now(
    held: &Assignment,
    socket: &Socket,
    occupants: &[Occupant],
    geometry: &Geometry,
    cost: Cost,
) -> f64 {
    let mut classes: Vec<Vec<Occupant>> = vec![Vec::new(); held.classes.len() + 1];
    for occupant in occupants {
        // Whoever is in a class that is not there has the whole cache.
        let class = held.holdings[occupant.position].class.index().min(held.classes.len());
        classes[class].push(*occupant);
    }
    let costs =
        classes.iter().enumerate().filter(|(_, members)| !members.is_empty()).map(|(class, members)| {
            let ways = mask_of(held, class, socket).map_or(geometry.ways, CacheMask::ways);
            cost_of(members, ways, geometry, cost)
        });
    costs.sum()
}

fn mask_of(held: &Assignment, class: usize, socket: &Socket) -> Option<CacheMask> {
    held.classes.get(class)?.as_ref()?.get(socket.id.index()).copied()
}

/// Adds the classes that make the groups of each socket; sockets with no groups keep what they have. A
/// group takes the class that most of its members are in, so that few change class; classes without
/// members on a socket have all its ways there.
fn propose(view: &View<'_>, groups: &[Vec<Group>], proposal: &mut Proposal) {
    let held = &view.snapshot.assignment;
    let sockets = view.world.topology.sockets();
    let full =
        |socket: &Socket| socket.cache.as_ref().map_or(CacheMask(1), |cache| CacheMask::full(cache.ways));
    let mut masks: Vec<Vec<u32>> = (0..held.classes.len())
        .map(|class| {
            sockets.iter().map(|socket| mask_of(held, class, socket).unwrap_or(full(socket)).0).collect()
        })
        .collect();
    for (socket, groups) in sockets.iter().zip(groups).filter(|(_, groups)| !groups.is_empty()) {
        let place = socket.id.index();
        masks.iter_mut().for_each(|masks| masks[place] = full(socket).0);
        let mut start = 0;
        for (class, group) in by_class(held, groups) {
            masks[class][place] = CacheMask::full(group.ways).0.checked_shl(start).unwrap_or(0);
            start += group.ways;
            for member in &group.members {
                if held.holdings[member.position].class.index() != class {
                    proposal.vms[member.position].class = Some((ClassId::at(class), Reason::Fit));
                }
            }
        }
    }
    let wished = proposal
        .vms
        .iter()
        .zip(&held.holdings)
        .map(|(wish, holding)| wish.class.map_or(holding.class, |(class, _)| class).index());
    let used = wished.max().unwrap_or(0) + 1;
    masks.truncate(used.max(1));
    proposal.classes = Some(masks);
}

/// Groups with the classes that they take, by class.
fn by_class<'g>(held: &Assignment, groups: &'g [Group]) -> Vec<(usize, &'g Group)> {
    let classes = held.classes.len();
    let mut common: Vec<(usize, usize, usize)> = Vec::new();
    for (index, group) in groups.iter().enumerate() {
        let mut counts = vec![0; classes];
        for member in &group.members {
            if let Some(count) = counts.get_mut(held.holdings[member.position].class.index()) {
                *count += 1;
            }
        }
        let some = counts.into_iter().enumerate().filter(|(_, count)| *count > 0);
        common.extend(some.map(|(class, count)| (count, index, class)));
    }
    common.sort_by_key(|(count, group, class)| (std::cmp::Reverse(*count), *group, *class));
    let (mut class_of, mut taken) = (vec![None; groups.len()], vec![false; classes]);
    for (_, group, class) in common {
        if class_of[group].is_none() && !taken[class] {
            class_of[group] = Some(class);
            taken[class] = true;
        }
    }
    let mut found = Vec::new();
    for (group, class) in groups.iter().zip(class_of) {
        let class = class.or_else(|| taken.iter().position(|taken| !taken));
        // There are never more groups than classes.
        if let Some(class) = class {
            taken[class] = true;
            found.push((class, group));
        }
    }
    found.sort_by_key(|(class, _)| *class);
    found
}
