//! Ways to divide a socket's resources among groups of VMs, in whole units.

use rand::Rng;
use rand_pcg::Pcg32;

/// What is divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    Cpu,
    Cache,
    MemoryBandwidth,
}

/// Units by resource of the layout, then by group.
pub(super) type Division = Vec<Vec<u32>>;

/// The resources of a socket that are divided, and among how many groups.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Layout {
    pub(super) groups: usize,
    pub(super) resources: Vec<Resource>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Resource {
    pub(super) part: Part,
    pub(super) units: u32,
    /// The fewest units of a group.
    pub(super) least: u32,
}

impl Layout {
    /// Leaves out resources of which there is not enough for every group.
    pub(super) fn new(groups: usize, resources: impl IntoIterator<Item = Resource>) -> Self {
        let enough = |resource: &Resource| resource.units as usize >= resource.least as usize * groups;
        Self { groups, resources: resources.into_iter().filter(enough).collect() }
    }

    /// The same for everybody; the first groups have what does not divide evenly.
    pub(super) fn equal(&self) -> Division {
        let even = |resource: &Resource| {
            let groups = u32::try_from(self.groups).unwrap_or(u32::MAX).max(1);
            (0..groups)
                .map(|group| resource.units / groups + u32::from(group < resource.units % groups))
                .collect()
        };
        self.resources.iter().map(even).collect()
    }

    /// All for one group, as little as can be for the others.
    pub(super) fn favouring(&self, favoured: usize) -> Division {
        let most = |resource: &Resource| {
            let mut units = vec![resource.least; self.groups];
            units[favoured] += resource.units - units.iter().sum::<u32>();
            units
        };
        self.resources.iter().map(most).collect()
    }

    /// Any division, all of them alike likely. With `kept`, that group has what it has there.
    pub(super) fn random(&self, random: &mut Pcg32, kept: Option<(&Division, usize)>) -> Division {
        let draw = |(index, resource): (usize, &Resource)| {
            let fixed = kept.map(|(division, group)| (group, division[index][group]));
            let open = self.groups - usize::from(fixed.is_some());
            let left = resource.units - fixed.map_or(0, |(_, units)| units);
            let mut units = split(random, left, resource.least, open);
            if let Some((group, kept)) = fixed {
                units.insert(group, kept);
            }
            units
        };
        self.resources.iter().enumerate().map(draw).collect()
    }

    /// One unit of one resource from one group to another, in every way.
    pub(super) fn neighbours(&self, of: &Division) -> Vec<Division> {
        let mut found = Vec::new();
        for (index, resource) in self.resources.iter().enumerate() {
            for from in (0..self.groups).filter(|from| of[index][*from] > resource.least) {
                for to in (0..self.groups).filter(|to| *to != from) {
                    let mut next = of.clone();
                    next[index][from] -= 1;
                    next[index][to] += 1;
                    found.push(next);
                }
            }
        }
        found
    }

    /// The division as shares, for the Gaussian process.
    pub(super) fn point(&self, division: &Division) -> Vec<f64> {
        let shares = self.resources.iter().zip(division).flat_map(|(resource, units)| {
            units.iter().map(|units| f64::from(*units) / f64::from(resource.units.max(1)))
        });
        shares.collect()
    }
}

/// Splits units among groups by bars between them (stars and bars).
fn split(random: &mut Pcg32, units: u32, least: u32, groups: usize) -> Vec<u32> {
    let count = u32::try_from(groups).unwrap_or(u32::MAX);
    if count == 0 {
        return Vec::new();
    }
    let spare = units.saturating_sub(least * count);
    // Distinct places for the bars among stars and bars.
    let places = spare + count - 1;
    let mut bars: Vec<u32> = Vec::with_capacity(groups);
    for free in places - (count - 1)..places {
        let place = below(random, free + 1);
        bars.push(if bars.contains(&place) { free } else { place });
    }
    bars.sort_unstable();
    bars.push(places);
    let mut before = 0;
    bars.iter()
        .enumerate()
        .map(|(index, bar)| {
            let stars = bar - before;
            before = bar + u32::from(index + 1 < groups);
            least + stars
        })
        .collect()
}

/// A number below `end`, which is above zero.
pub(super) fn below(random: &mut Pcg32, end: u32) -> u32 {
    // The high word of the product; below 2³², as `end` is.
    u32::try_from((u64::from(random.next_u32()) * u64::from(end)) >> 32).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout() -> Layout {
        let resource = |part, units, least| Resource { part, units, least };
        Layout::new(
            3,
            [resource(Part::Cpu, 20, 1), resource(Part::Cache, 11, 2), resource(Part::MemoryBandwidth, 2, 1)],
        )
    }

    fn whole(layout: &Layout, division: &Division) {
        for (resource, units) in layout.resources.iter().zip(division) {
            assert_eq!(units.iter().sum::<u32>(), resource.units, "{division:?}");
            assert!(units.iter().all(|units| *units >= resource.least), "{division:?}");
            assert_eq!(units.len(), layout.groups);
        }
    }

    #[test]
    fn every_division_gives_out_all_and_leaves_nobody_below_the_least() {
        let (layout, mut random) = (layout(), Pcg32::new(7, 0));
        assert_eq!(layout.resources.len(), 2, "two units are not enough for three");
        assert_eq!(layout.equal(), [vec![7, 7, 6], vec![4, 4, 3]]);
        assert_eq!(layout.favouring(1), [vec![1, 18, 1], vec![2, 7, 2]]);
        for _ in 0..200 {
            let division = layout.random(&mut random, None);
            whole(&layout, &division);
            let other = layout.random(&mut random, Some((&division, 2)));
            whole(&layout, &other);
            assert_eq!(other[0][2], division[0][2]);
            layout.neighbours(&division).iter().for_each(|next| whole(&layout, next));
        }
    }

    #[test]
    fn random_divisions_are_all_alike_likely() {
        let layout = Layout::new(2, [Resource { part: Part::Cpu, units: 5, least: 1 }]);
        let mut random = Pcg32::new(7, 0);
        let mut seen = [0; 6];
        (0..4000).for_each(|_| seen[layout.random(&mut random, None)[0][0] as usize] += 1);
        assert!(seen[1..5].iter().all(|count| (900..1100).contains(count)), "{seen:?}");
    }
}
