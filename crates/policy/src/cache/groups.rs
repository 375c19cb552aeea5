//! Which VMs share ways, where there are more VMs than ways or classes.

use super::{Cost, Geometry, Occupant, curve_of, lookahead};

/// Steps of the clustering; it settles in fewer most of the time.
const STEPS: usize = 8;

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
    let shapes = shapes(occupants, geometry, cost);
    let mut best: Option<(f64, Vec<Group>)> = None;
    let mut counts: Vec<usize> = std::iter::successors(Some(2), |count| Some(count * 4))
        .take_while(|count| *count < most)
        .chain([most])
        .collect();
    counts.dedup();
    for count in counts {
        let groups = gather(occupants, &cluster(&shapes, count), count);
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

/// What each occupant loses with 1, 2, … ways of its own against all of them, relative to who loses
/// most. Roots, so that those that lose little are still told apart.
fn shapes(occupants: &[Occupant], geometry: &Geometry, cost: Cost) -> Vec<Vec<f64>> {
    let lost = |occupant: &Occupant| -> Vec<f64> {
        let at = |ways: u32| cost(occupant, f64::from(ways) * geometry.way_bytes);
        let best = at(geometry.ways);
        (1..=geometry.ways).map(|ways| (at(ways) - best).max(0.0)).collect()
    };
    let mut shapes: Vec<Vec<f64>> = occupants.iter().map(lost).collect();
    let most = shapes.iter().flatten().copied().fold(0.0, f64::max);
    if most > 0.0 {
        shapes.iter_mut().flatten().for_each(|value| *value = libm::sqrt(*value / most));
    }
    shapes
}

/// Puts each shape into one of `count` groups of shapes that are alike: k-means, begun at the shape that
/// loses least and, from there, at the one that is farthest from all begun with. The first of equals
/// wins, so the same shapes are always grouped the same way.
fn cluster(shapes: &[Vec<f64>], count: usize) -> Vec<usize> {
    if count >= shapes.len() {
        return (0..shapes.len()).collect();
    }
    let mut centres = begin(shapes, count);
    let mut group_of = vec![0; shapes.len()];
    for step in 0..STEPS {
        let before = group_of.clone();
        for (shape, group) in shapes.iter().zip(&mut group_of) {
            let off = centres.iter().map(|centre| distance(shape, centre)).enumerate();
            *group = off.min_by(|a, b| a.1.total_cmp(&b.1)).map_or(0, |(nearest, _)| nearest);
        }
        if step > 0 && group_of == before {
            break;
        }
        for (group, centre) in centres.iter_mut().enumerate() {
            move_centre(centre, shapes, &group_of, group);
        }
    }
    group_of
}

fn begin(shapes: &[Vec<f64>], count: usize) -> Vec<Vec<f64>> {
    let size = |shape: &Vec<f64>| shape.iter().sum::<f64>();
    let Some(first) = shapes.iter().min_by(|a, b| size(a).total_cmp(&size(b))) else { return Vec::new() };
    let mut centres = vec![first.clone()];
    let mut off: Vec<f64> = shapes.iter().map(|shape| distance(shape, first)).collect();
    while centres.len() < count {
        let Some(farthest) = (0..shapes.len()).rev().max_by(|a, b| off[*a].total_cmp(&off[*b])) else {
            break;
        };
        for (off, shape) in off.iter_mut().zip(shapes) {
            *off = off.min(distance(shape, &shapes[farthest]));
        }
        centres.push(shapes[farthest].clone());
    }
    centres
}

/// To the mean of the group's shapes; an empty group stays where it is.
fn move_centre(centre: &mut [f64], shapes: &[Vec<f64>], group_of: &[usize], group: usize) {
    let members = || shapes.iter().zip(group_of).filter(|(_, of)| **of == group).map(|(shape, _)| shape);
    #[allow(clippy::cast_precision_loss)]
    let count = members().count() as f64;
    if count > 0.0 {
        centre.fill(0.0);
        for shape in members() {
            centre.iter_mut().zip(shape).for_each(|(sum, value)| *sum += value / count);
        }
    }
}

fn distance(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shapes_that_are_alike_are_grouped() {
        let shape = |value: f64| vec![value, value / 2.0, 0.0];
        let shapes: Vec<Vec<f64>> = [0.0, 0.9, 0.01, 0.4, 0.91, 0.42, 0.0].map(shape).to_vec();
        let found = cluster(&shapes, 3);
        assert_eq!(found[0], found[2]);
        assert_eq!(found[0], found[6]);
        assert_eq!(found[1], found[4]);
        assert_eq!(found[3], found[5]);
        assert!(found[0] != found[1] && found[0] != found[3] && found[1] != found[3]);
    }

    #[test]
    fn there_are_never_more_groups_than_shapes() {
        assert_eq!(cluster(&[vec![1.0], vec![1.0]], 5), [0, 1]);
        assert!(cluster(&[], 3).is_empty());
        assert!(cluster(&vec![vec![1.0]; 9], 3).iter().all(|group| *group < 3));
    }
}
