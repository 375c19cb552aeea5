//! Which VMs share ways, where there are more VMs than ways or classes.

use super::cluster::Shapes;
use super::{Cost, Geometry, Occupant, curve_of, lookahead};

/// VMs that share ways.
#[derive(Debug, Clone)]
pub(crate) struct Group {
    pub(crate) members: Vec<Occupant>,
    pub(crate) ways: u32,
}

/// Groups occupants and divides `ways` among the groups by [`lookahead`], in as many groups, of one to
/// `most`, as cost least by the curves. Where there are no more occupants than that, one group for each
/// is among what is tried.
///
/// Costs O(occupants × ways × groups) for each number of groups tried, of which there are log4 of `most`.
pub(crate) fn divide_among(
    occupants: &[Occupant],
    geometry: &Geometry,
    ways: u32,
    most: usize,
    cost: Cost,
) -> Vec<Group> {
    let most = most.min(geometry.most_groups(ways)).min(occupants.len()).max(1);
    let shapes = Shapes::of(occupants, geometry, cost);
    let mut best: Option<(f64, Vec<Group>)> = None;
    let mut counts: Vec<usize> = std::iter::successors(Some(2), |count| Some(count * 4))
        .take_while(|count| *count < most)
        .chain([most])
        .collect();
    counts.dedup();
    for count in counts {
        let groups = gather(occupants, &shapes.cluster(count), count);
        // What is left when all others have their least.
        let others = u32::try_from(groups.len()).unwrap_or(u32::MAX).saturating_sub(1);
        let most = ways.saturating_sub(others.saturating_mul(geometry.min_ways)).max(geometry.min_ways);
        let curves: Vec<Vec<f64>> =
            groups.iter().map(|group| curve_of(group, most, geometry, cost)).collect();
        let given = lookahead(&curves, ways, geometry.min_ways);
        let all = curves.iter().zip(&given).map(|(curve, ways)| curve[*ways as usize]).sum();
        if best.as_ref().is_none_or(|(least, _)| all < *least) {
            let groups = groups.into_iter().zip(given).map(|(members, ways)| Group { members, ways });
            best = Some((all, groups.collect()));
        }
    }
    best.map(|(_, groups)| groups).unwrap_or_default()
}

fn gather(occupants: &[Occupant], group_of: &[usize], count: usize) -> Vec<Vec<Occupant>> {
    let mut groups = vec![Vec::new(); count];
    for (occupant, group) in occupants.iter().zip(group_of) {
        groups[*group].push(*occupant);
    }
    groups.retain(|members| !members.is_empty());
    groups
}
