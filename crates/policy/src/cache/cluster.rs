//! Which programs respond to cache alike.
//!
//! Shapes lie column by column, so that one step of the clustering runs over all of them at once. Each sum
//! is still made in the order of ways or of shapes, and what cannot have changed since the step before is
//! not worked out again: the result is that of the definition, to the last bit.

use super::{Cost, Geometry, Occupant, curve};

/// Steps of the clustering; it settles in fewer most of the time.
const STEPS: usize = 8;

/// What each occupant loses with 1, 2, … ways of its own against all of them, relative to who loses
/// most. Roots, so that those that lose little are still told apart.
#[derive(Debug)]
pub(super) struct Shapes {
    /// For each number of ways below all, what each occupant loses.
    columns: Vec<Vec<f64>>,
    count: usize,
}

impl Shapes {
    pub(super) fn of(occupants: &[Occupant], geometry: &Geometry, cost: Cost) -> Self {
        let costs = |ways: u32| -> Vec<f64> {
            let log = curve::log(f64::from(ways) * geometry.way_bytes);
            let of =
                |occupant: &Occupant| cost(occupant, occupant.curve.effect_of(occupant.curve.power(log)));
            occupants.iter().map(of).collect()
        };
        let best = costs(geometry.ways);
        let lost = |ways: u32| -> Vec<f64> {
            costs(ways).iter().zip(&best).map(|(cost, best)| (cost - best).max(0.0)).collect()
        };
        let mut columns: Vec<Vec<f64>> = (1..geometry.ways).map(lost).collect();
        let most = columns.iter().flatten().copied().fold(0.0, f64::max);
        if most > 0.0 {
            columns.iter_mut().flatten().for_each(|value| *value = libm::sqrt(*value / most));
        }
        Self { columns, count: occupants.len() }
    }

    /// Puts each shape into one of `count` groups of shapes that are alike: k-means, begun at the shape
    /// that loses least and, from there, at the one that is farthest from all begun with. The first of
    /// equals wins, so the same shapes are always grouped the same way.
    pub(super) fn cluster(&self, count: usize) -> Vec<usize> {
        if count >= self.count {
            return (0..self.count).collect();
        }
        let mut centres = self.begin(count);
        let mut group_of = vec![0; self.count];
        // The groups whose members are not those of the step before.
        let mut changed = vec![true; count];
        for step in 0..STEPS {
            if step > 0 {
                centres
                    .iter_mut()
                    .zip(0..)
                    .filter(|(_, group)| changed[*group])
                    .for_each(|(centre, group)| self.move_to_mean(centre, &group_of, group));
            }
            changed.fill(step == 0);
            for (shape, group) in nearest(&centres, self.count).into_iter().enumerate() {
                if group_of[shape] != group {
                    changed[group] = true;
                    changed[group_of[shape]] = true;
                    group_of[shape] = group;
                }
            }
            if !changed.contains(&true) {
                break;
            }
        }
        group_of
    }

    fn begin(&self, count: usize) -> Vec<Centre> {
        let mut sizes = vec![0.0; self.count];
        for column in &self.columns {
            sizes.iter_mut().zip(column).for_each(|(size, value)| *size += value);
        }
        let first = (0..self.count).min_by(|a, b| sizes[*a].total_cmp(&sizes[*b]));
        let Some(first) = first.map(|first| self.centre(first)) else { return Vec::new() };
        let mut off = first.off.clone();
        let mut centres = vec![first];
        while centres.len() < count {
            let farthest = (0..self.count).rev().max_by(|a, b| off[*a].total_cmp(&off[*b]));
            let Some(next) = farthest.map(|farthest| self.centre(farthest)) else { break };
            off.iter_mut().zip(&next.off).for_each(|(off, other)| *off = off.min(*other));
            centres.push(next);
        }
        centres
    }

    /// A centre at a shape.
    fn centre(&self, shape: usize) -> Centre {
        let mut centre = Centre {
            at: self.columns.iter().map(|column| column[shape]).collect(),
            off: vec![0.0; self.count],
        };
        self.measure(&mut centre);
        centre
    }

    /// To the mean of the group's shapes; the centre of an empty group stays where it is.
    fn move_to_mean(&self, centre: &mut Centre, group_of: &[usize], group: usize) {
        let members: Vec<usize> = (0..self.count).filter(|shape| group_of[*shape] == group).collect();
        if members.is_empty() {
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let count = members.len() as f64;
        for (at, column) in centre.at.iter_mut().zip(&self.columns) {
            *at = members.iter().fold(0.0, |sum, member| sum + column[*member] / count);
        }
        self.measure(centre);
    }

    /// How far each shape is off a centre.
    fn measure(&self, centre: &mut Centre) {
        centre.off.fill(0.0);
        for (column, at) in self.columns.iter().zip(&centre.at) {
            let squares = column.iter().map(|value| (value - at) * (value - at));
            centre.off.iter_mut().zip(squares).for_each(|(off, square)| *off += square);
        }
    }
}

/// The middle of a group.
#[derive(Debug)]
struct Centre {
    at: Vec<f64>,
    /// How far each shape is off it, squared.
    off: Vec<f64>,
}

/// The centre that each of the shapes is nearest to; the first of equals.
fn nearest(centres: &[Centre], shapes: usize) -> Vec<usize> {
    let mut nearest = vec![(f64::INFINITY, 0); shapes];
    for (group, centre) in centres.iter().enumerate() {
        for (nearest, off) in nearest.iter_mut().zip(&centre.off) {
            if *off < nearest.0 {
                *nearest = (*off, group);
            }
        }
    }
    nearest.into_iter().map(|(_, group)| group).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn shapes(rows: &[Vec<f64>]) -> Shapes {
        let ways = rows.first().map_or(0, Vec::len);
        let column = |way: usize| rows.iter().map(|row| row[way]).collect();
        Shapes { columns: (0..ways).map(column).collect(), count: rows.len() }
    }

    fn distance(a: &[f64], b: &[f64]) -> f64 {
        a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
    }

    /// The definition: every step in full.
    fn plain(rows: &[Vec<f64>], count: usize) -> Vec<usize> {
        let size = |row: &Vec<f64>| row.iter().sum::<f64>();
        let first = rows.iter().min_by(|a, b| size(a).total_cmp(&size(b))).unwrap();
        let mut centres = vec![first.clone()];
        while centres.len() < count {
            let off = |row: &Vec<f64>| {
                centres.iter().map(|centre| distance(row, centre)).fold(f64::INFINITY, f64::min)
            };
            let farthest = rows.iter().rev().max_by(|a, b| off(a).total_cmp(&off(b))).unwrap();
            centres.push(farthest.clone());
        }
        let nearest = |row: &Vec<f64>, centres: &[Vec<f64>]| {
            let off = |centre: &usize| distance(row, &centres[*centre]);
            (0..count).min_by(|a, b| off(a).total_cmp(&off(b))).unwrap()
        };
        let mut group_of = Vec::new();
        for _ in 0..STEPS {
            group_of = rows.iter().map(|row| nearest(row, &centres)).collect::<Vec<_>>();
            for (group, centre) in centres.iter_mut().enumerate() {
                let members: Vec<_> = rows.iter().zip(&group_of).filter(|(_, of)| **of == group).collect();
                for (way, at) in centre.iter_mut().enumerate().filter(|_| !members.is_empty()) {
                    let share = |sum: f64, (row, _): &(&Vec<f64>, _)| sum + row[way] / members.len() as f64;
                    *at = members.iter().fold(0.0, share);
                }
            }
        }
        group_of
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn groups_are_those_of_the_definition(
            pool in proptest::collection::vec(0.0..1.0_f64, 3 * 97),
            many in 1_usize..97,
            grain in 1_u32..60,
            count in 1_usize..16,
        ) {
            // Coarse values, so that there are equals.
            let coarse = |value: &f64| (value * f64::from(grain)).round() / f64::from(grain);
            let rows: Vec<Vec<f64>> =
                pool.chunks_exact(3).take(many).map(|row| row.iter().map(coarse).collect()).collect();
            let expected = if count >= many { (0..many).collect() } else { plain(&rows, count) };
            prop_assert_eq!(shapes(&rows).cluster(count), expected);
        }
    }

    #[test]
    fn shapes_that_are_alike_are_grouped() {
        let shape = |value: f64| vec![value, value / 2.0, 0.0];
        let rows = [0.0, 0.9, 0.01, 0.4, 0.91, 0.42, 0.0].map(shape);
        let found = shapes(&rows).cluster(3);
        assert_eq!(found[0], found[2]);
        assert_eq!(found[0], found[6]);
        assert_eq!(found[1], found[4]);
        assert_eq!(found[3], found[5]);
        assert!(found[0] != found[1] && found[0] != found[3] && found[1] != found[3]);
    }

    #[test]
    fn there_are_never_more_groups_than_shapes() {
        assert_eq!(shapes(&[vec![1.0], vec![1.0]]).cluster(5), [0, 1]);
        assert!(shapes(&[]).cluster(3).is_empty());
        assert!(shapes(&vec![vec![1.0]; 9]).cluster(3).iter().all(|group| *group < 3));
    }
}
