//! The state of a division: who takes part, what lies where so far, and what may lie where.

use std::cell::RefCell;
use std::cmp::Reverse;
use std::collections::BTreeMap;

use halcyon_model::{Assignment, World};

use super::pack::{Item, Rack, Rules, mask};

/// A VM that can use slices.
pub(super) struct Party {
    pub(super) position: usize,
    pub(super) reservation: u32,
    pub(super) limit: u32,
    /// By compute slices, up to the largest instance.
    pub(super) worth: Vec<f64>,
    /// What it holds now: the GPU and the place there.
    pub(super) held: Vec<(usize, Item)>,
    pub(super) held_compute: u32,
    /// Nothing of it changes.
    pub(super) stays: bool,
}

impl Party {
    pub(super) fn worth(&self, slices: u32) -> f64 {
        self.worth.get(slices as usize).copied().unwrap_or(0.0)
    }
}

pub(super) struct Table<'a> {
    pub(super) world: World<'a>,
    pub(super) racks: Vec<Rack<'a>>,
    /// For each GPU, the first one that is divided alike.
    pub(super) kinds: Vec<usize>,
    pub(super) parties: Vec<Party>,
    pub(super) moves: usize,
    /// What lies on each GPU so far; the items name parties.
    pub(super) items: Vec<Vec<Item>>,
    /// Which profiles fit on a GPU of a kind together, as far as that was looked at.
    pub(super) room: RefCell<BTreeMap<(usize, Vec<u32>), bool>>,
}

/// An instance for a party, on any GPU of a kind.
#[derive(Clone, Copy, PartialEq)]
pub(super) struct Offer {
    pub(super) party: usize,
    pub(super) kind: usize,
    pub(super) profile: u32,
}

/// Which of two offers of the same worth is taken: what is held, what is small, who is first.
pub(super) type Rank = (bool, u32, usize, usize, u32);

impl<'a> Table<'a> {
    pub(super) fn new(
        world: World<'a>,
        held: &Assignment,
        value: &dyn Fn(usize, u32) -> f64,
        moves: usize,
    ) -> Self {
        let gpus = world.topology.gpus();
        let alike =
            |a: usize, b: usize| gpus[a].slices == gpus[b].slices && gpus[a].profiles == gpus[b].profiles;
        let kinds =
            (0..gpus.len()).map(|gpu| (0..gpu).find(|other| alike(gpu, *other)).unwrap_or(gpu)).collect();
        let largest =
            gpus.iter().flat_map(|gpu| &gpu.profiles).map(|profile| profile.compute).max().unwrap_or(0);
        let wishing = world.vms.iter().enumerate().filter(|(_, spec)| spec.gpu_slices.limit > 0);
        let parties = wishing.map(|(position, spec)| Party {
            position,
            reservation: spec.gpu_slices.reservation,
            limit: spec.gpu_slices.limit,
            worth: (0..=largest.min(spec.gpu_slices.limit)).map(|slices| value(position, slices)).collect(),
            held: Vec::new(),
            held_compute: 0,
            stays: false,
        });
        let mut table = Self {
            world,
            racks: gpus.iter().map(Rack::new).collect(),
            kinds,
            parties: parties.collect(),
            moves,
            items: Vec::new(),
            room: RefCell::default(),
        };
        table.take_over(held);
        table
    }

    pub(super) fn take_over(&mut self, held: &Assignment) {
        for instance in &held.gpu_instances {
            let Some(rack) = self.racks.get(instance.gpu.index()) else { continue };
            let position = self.world.position(instance.owner);
            let found = self.parties.iter().position(|party| Some(party.position) == position);
            if let Some(vm) = found.filter(|_| (instance.profile as usize) < rack.gpu.profiles.len()) {
                let item = Item { vm, profile: instance.profile, start: instance.start };
                self.parties[vm].held_compute += rack.compute(&item);
                self.parties[vm].held.push((instance.gpu.index(), item));
            }
        }
    }

    pub(super) fn offers(&self, party: usize) -> impl Iterator<Item = Offer> + use<'_, 'a> {
        let kinds = (0..self.racks.len()).filter(|gpu| self.kinds[*gpu] == *gpu);
        let all = kinds.flat_map(move |kind| {
            let profiles = (0_u32..).take(self.racks[kind].gpu.profiles.len());
            profiles.map(move |profile| Offer { party, kind, profile })
        });
        all.filter(move |offer| self.compute(*offer) <= self.parties[party].limit)
    }

    pub(super) fn compute(&self, offer: Offer) -> u32 {
        self.racks[offer.kind].gpu.profiles[offer.profile as usize].compute
    }

    pub(super) fn span(&self, offer: Offer) -> u32 {
        self.racks[offer.kind].gpu.profiles[offer.profile as usize].span
    }

    /// Compute and memory slices that each party has so far.
    pub(super) fn all_now(&self) -> Vec<(u32, u32)> {
        let mut now = vec![(0, 0); self.parties.len()];
        for (rack, items) in self.racks.iter().zip(&self.items) {
            for item in items {
                let sum = &mut now[item.vm];
                *sum = (sum.0 + rack.compute(item), sum.1 + rack.span(item));
            }
        }
        now
    }

    /// What an offer adds for each memory slice that it takes; with as many compute slices, what is held
    /// counts no more than the smallest does.
    pub(super) fn rate(&self, offer: Offer, (compute, span): (u32, u32), prices: &[f64]) -> f64 {
        let party = &self.parties[offer.party];
        if self.compute(offer) < party.reservation {
            return 0.0;
        }
        let profiles = &self.racks[offer.kind].gpu.profiles;
        let alike = profiles.iter().filter(|profile| profile.compute == self.compute(offer));
        let least = alike.map(|profile| profile.span).min().unwrap_or(1);
        let gain = party.worth(self.compute(offer)) - party.worth(compute);
        gain / prices[least.saturating_sub(span) as usize]
    }

    pub(super) fn rank(&self, offer: Offer) -> Rank {
        (self.held_at(offer).is_none(), self.span(offer), offer.party, offer.kind, offer.profile)
    }

    /// The GPU on which exactly this is held.
    pub(super) fn held_at(&self, offer: Offer) -> Option<usize> {
        let held = self.parties[offer.party].held.iter();
        held.filter(|(gpu, item)| self.kinds[*gpu] == offer.kind && item.profile == offer.profile)
            .map(|(gpu, _)| *gpu)
            .next()
    }

    /// Gives a party this instead of what it has so far. Prefers the GPU where it holds the same already,
    /// then places that nobody may want to keep, then full GPUs.
    pub(super) fn place(&mut self, offer: Offer, may_move: bool) -> bool {
        let home = self.held_at(offer);
        let mut gpus: Vec<usize> =
            (0..self.racks.len()).filter(|gpu| self.kinds[*gpu] == offer.kind).collect();
        let used = |gpu: usize| self.items[gpu].iter().map(|item| self.racks[gpu].span(item)).sum::<u32>();
        gpus.sort_by_key(|gpu| (Some(*gpu) != home, Reverse(used(*gpu)), *gpu));
        let with = |gpu: usize| {
            let others = self.items[gpu].iter().filter(|item| item.vm != offer.party);
            let new = Item { vm: offer.party, profile: offer.profile, start: 0 };
            let items: Vec<Item> = others.copied().chain([new]).collect();
            self.has_room(gpu, &items).then_some((gpu, items))
        };
        let open: Vec<(usize, Vec<Item>)> = gpus.into_iter().filter_map(with).collect();
        let wanted = self.wanted_back(offer.party);
        let ways = [(true, 0), (false, 0), (false, self.moves)];
        for (considerate, moves) in ways.into_iter().take(if may_move { 3 } else { 2 }) {
            for (gpu, items) in &open {
                let avoid = if considerate { wanted[*gpu] } else { 0 };
                if let Some(packed) = self.packed(*gpu, items, avoid, moves) {
                    self.items.iter_mut().for_each(|items| items.retain(|item| item.vm != offer.party));
                    self.items[*gpu] = packed;
                    return true;
                }
            }
        }
        false
    }

    /// Slices of each GPU that other parties hold and have not got yet.
    pub(super) fn wanted_back(&self, party: usize) -> Vec<u64> {
        let mut wanted = vec![0; self.racks.len()];
        let now = self.all_now();
        let others = self.parties.iter().zip(now).enumerate();
        for (_, (other, _)) in others.filter(|(other, (_, now))| *other != party && now.0 == 0) {
            for (gpu, item) in &other.held {
                wanted[*gpu] |= self.racks[*gpu].mask(item);
            }
        }
        wanted
    }

    pub(super) fn has_room(&self, gpu: usize, items: &[Item]) -> bool {
        let mut profiles: Vec<u32> = items.iter().map(|item| item.profile).collect();
        profiles.sort_unstable();
        let kind = self.kinds[gpu];
        *self
            .room
            .borrow_mut()
            .entry((kind, profiles))
            .or_insert_with_key(|(_, profiles)| self.racks[kind].has_room(profiles))
    }

    pub(super) fn packed(&self, gpu: usize, items: &[Item], avoid: u64, moves: usize) -> Option<Vec<Item>> {
        let rules = items.iter().enumerate().map(|(place, item)| {
            let alike = |other: &&Item| other.vm == item.vm && other.profile == item.profile;
            (*item, self.rules(gpu, *item, items[..place].iter().filter(alike).count()))
        });
        let rules: Vec<(Item, Rules)> = rules.collect();
        // What cannot be where it is to be is not there.
        let possible = rules.iter().all(|(_, rules)| rules.held.is_some() || rules.movable);
        possible.then(|| self.racks[gpu].pack(&rules, avoid, moves)).flatten()
    }

    /// A VM that must hold slices at every instant gets the new ones before it gives the old ones back.
    pub(super) fn rules(&self, gpu: usize, item: Item, nth: usize) -> Rules {
        let (party, rack) = (&self.parties[item.vm], &self.racks[gpu]);
        let own = || party.held.iter().filter(|(at, _)| *at == gpu).map(|(_, held)| held);
        let held = own().filter(|held| held.profile == item.profile).nth(nth).map(|held| held.start);
        if party.reservation == 0 || party.held.is_empty() {
            return Rules { held, movable: !party.stays, forbidden: 0 };
        }
        let both = party.held_compute.saturating_add(rack.compute(&item)) <= party.limit;
        let forbidden = own().fold(0, |slices, held| slices | mask(held.start, rack.span(held)));
        Rules { held, movable: !party.stays && both, forbidden }
    }
}
