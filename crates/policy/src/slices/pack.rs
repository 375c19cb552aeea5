//! Where instances lie on one GPU: an exact search over the few legal starts, which moves an instance that
//! is there already only where it must.

use halcyon_model::topology::Gpu;

/// Tries of one search; a GPU for which that is not enough counts as full.
const TRIES: u32 = 3000;
/// With more instances in place than this, one of them is moved or all of them.
const MOST_COMBINED: usize = 7;

/// An instance that is to lie on a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Item {
    /// The owner's position.
    pub(super) vm: usize,
    /// An index into the GPU's profiles.
    pub(super) profile: u32,
    /// The first memory slice that it occupies.
    pub(super) start: u32,
}

/// What the search has to know of one item.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Rules {
    /// Where it lies already.
    pub(super) held: Option<u32>,
    /// Whether it may lie elsewhere.
    pub(super) movable: bool,
    /// Slices that it must not occupy elsewhere.
    pub(super) forbidden: u64,
}

/// One GPU with the starts of each profile, those that leave the others most room first.
#[derive(Debug)]
pub(super) struct Rack<'a> {
    pub(super) gpu: &'a Gpu,
    starts: Vec<Vec<u32>>,
}

/// The slices from `start` on.
pub(super) fn mask(start: u32, span: u32) -> u64 {
    let run = if span >= 64 { u64::MAX } else { (1 << span) - 1 };
    run.checked_shl(start).unwrap_or(0)
}

impl<'a> Rack<'a> {
    pub(super) fn new(gpu: &'a Gpu) -> Self {
        let places =
            || gpu.profiles.iter().flat_map(|profile| profile.starts.iter().map(|at| (*at, profile.span)));
        let in_the_way = |start: u32, span: u32| {
            places().filter(|(at, other)| mask(*at, *other) & mask(start, span) != 0).count()
        };
        let starts = gpu.profiles.iter().map(|profile| {
            let mut starts = profile.starts.clone();
            starts.sort_by_key(|start| (in_the_way(*start, profile.span), *start));
            starts
        });
        Self { gpu, starts: starts.collect() }
    }

    pub(super) fn span(&self, item: &Item) -> u32 {
        self.gpu.profiles[item.profile as usize].span
    }

    pub(super) fn compute(&self, item: &Item) -> u32 {
        self.gpu.profiles[item.profile as usize].compute
    }

    pub(super) fn mask(&self, item: &Item) -> u64 {
        mask(item.start, self.span(item))
    }

    /// Whether instances of these profiles (in order) fit on the GPU at all, wherever they lie.
    pub(super) fn has_room(&self, profiles: &[u32]) -> bool {
        let span = |profile: &u32| self.gpu.profiles[*profile as usize].span;
        let mut tries = TRIES;
        profiles.iter().map(span).sum::<u32>() <= self.gpu.slices && self.fits(profiles, (0, 0), &mut tries)
    }

    /// Of instances that are alike, the later ones lie at later starts.
    fn fits(&self, profiles: &[u32], (taken, from): (u64, usize), tries: &mut u32) -> bool {
        let Some((profile, rest)) = profiles.split_first() else { return true };
        let starts = self.starts[*profile as usize].iter().enumerate().skip(from);
        for (place, start) in starts {
            let here = mask(*start, self.gpu.profiles[*profile as usize].span);
            if here & taken != 0 {
                continue;
            }
            if *tries == 0 {
                return false;
            }
            *tries -= 1;
            let from = if rest.first() == Some(profile) { place + 1 } else { 0 };
            if self.fits(rest, (taken | here, from), tries) {
                return true;
            }
        }
        false
    }

    /// Finds a start for each item, moving at most `moves` of those that lie here already. Items that do
    /// not lie here yet avoid the slices in `avoid`.
    pub(super) fn pack(&self, items: &[(Item, Rules)], avoid: u64, moves: usize) -> Option<Vec<Item>> {
        let lying: Vec<usize> = (0..items.len()).filter(|place| items[*place].1.held.is_some()).collect();
        let movable: Vec<usize> = lying.iter().copied().filter(|place| items[*place].1.movable).collect();
        let mut tries = TRIES;
        moved_sets(movable.len(), moves).into_iter().find_map(|moved| {
            let stays = |place: &usize| {
                let found = movable.iter().position(|other| other == place);
                found.is_none_or(|bit| moved & (1 << bit) == 0)
            };
            let mut packed: Vec<Item> = items.iter().map(|(item, _)| *item).collect();
            let mut taken = 0;
            for place in lying.iter().filter(|place| stays(place)) {
                packed[*place].start = items[*place].1.held.unwrap_or(0);
                taken |= self.mask(&packed[*place]);
            }
            let mut loose: Vec<usize> =
                (0..items.len()).filter(|place| items[*place].1.held.is_none() || !stays(place)).collect();
            loose.sort_by_key(|place| (std::cmp::Reverse(self.span(&items[*place].0)), *place));
            self.lay(items, &loose, (taken, avoid), &mut packed, &mut tries).then_some(packed)
        })
    }

    fn lay(
        &self,
        items: &[(Item, Rules)],
        loose: &[usize],
        (taken, avoid): (u64, u64),
        packed: &mut [Item],
        tries: &mut u32,
    ) -> bool {
        let Some((place, rest)) = loose.split_first() else { return true };
        let (item, rules) = &items[*place];
        let avoid_here = if rules.held.is_some() { 0 } else { avoid };
        for start in &self.starts[item.profile as usize] {
            let here = mask(*start, self.span(item));
            if here & (taken | rules.forbidden | avoid_here) != 0 {
                continue;
            }
            if *tries == 0 {
                return false;
            }
            *tries -= 1;
            packed[*place].start = *start;
            if self.lay(items, rest, (taken | here, avoid), packed, tries) {
                return true;
            }
        }
        false
    }
}

/// Sets of up to `most` of `count` things, as bits, the small ones first.
fn moved_sets(count: usize, most: usize) -> Vec<u64> {
    if count > MOST_COMBINED {
        let count = count.min(63);
        let singles = (0..count).map(|bit| 1 << bit).filter(|_| most >= 1);
        let all = (most >= count).then_some((1 << count) - 1);
        return std::iter::once(0).chain(singles).chain(all).collect();
    }
    let mut sets: Vec<u64> = (0..1_u64 << count).filter(|set| set.count_ones() as usize <= most).collect();
    sets.sort_by_key(|set| set.count_ones());
    sets
}
