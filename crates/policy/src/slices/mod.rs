//! Which VM gets which instance of which GPU.
//!
//! GPU slices come in the sizes and at the places that the hardware knows, and an instance that is
//! replaced interrupts its program for seconds. So the division is worked out for all VMs at once: first
//! every reservation, then, step by step, the instance that is worth most per memory slice that it takes
//! (which is what runs out), as long as all of it can be packed. Instances stay where they are unless
//! others find no room then. What comes out can be reached by steps that keep the reservations at every
//! instant. Policies differ in nothing but what they think slices are worth.

mod pack;

use std::cmp::Reverse;

use halcyon_model::{Assignment, GpuId, GpuInstance, Step, World, diff};

use pack::{Item, Rack, Rules, mask};

/// How often VMs are left as they are because no order of steps leads to what they were to get.
const ROUNDS: usize = 4;
/// Powers of the slices that an instance takes, by which its worth is divided to compare it.
const DEAR: [f64; 3] = [1.0, 0.5, 0.0];

/// Divides all GPUs of a host among its VMs; `value` says what a number of compute slices is worth to the
/// VM at a position, in any unit that is the same for all VMs.
///
/// Each VM gets at most one instance, within its bounds, unless its reservation takes more. Whatever is
/// worth nothing more to anybody stays free. `held` must be feasible. Meant for at most some tens of VMs
/// that wish for slices on at most some tens of GPUs, with up to 64 memory slices each; that takes less
/// than a millisecond. The result is in the order of an [`Assignment`] and depends on nothing else.
pub fn divide_slices(
    world: World<'_>,
    held: &Assignment,
    value: impl Fn(usize, u32) -> f64,
) -> Vec<GpuInstance> {
    divide(world, held, &value, usize::MAX)
}

/// The same, moving at most `moves` instances of each GPU to make room for others.
pub(crate) fn divide(
    world: World<'_>,
    held: &Assignment,
    value: &dyn Fn(usize, u32) -> f64,
    moves: usize,
) -> Vec<GpuInstance> {
    let gpus = world.topology.gpus();
    if gpus.is_empty() || gpus.iter().any(|gpu| gpu.slices > 64) {
        return held.gpu_instances.clone();
    }
    let mut table = Table::new(world, held, value, moves);
    for _ in 0..ROUNDS {
        let instances = table.best();
        let mut target = held.clone();
        target.gpu_instances.clone_from(&instances);
        let waiting = diff(world, held, &target).deferred;
        if waiting.is_empty() {
            return instances;
        }
        for owner in waiting.iter().filter_map(Step::vm).filter_map(|vm| world.position(vm)) {
            if let Some(party) = table.parties.iter_mut().find(|party| party.position == owner) {
                party.stays = true;
            }
        }
    }
    held.gpu_instances.clone()
}

/// A VM that can use slices.
struct Party {
    position: usize,
    reservation: u32,
    limit: u32,
    /// By compute slices, up to the largest instance.
    worth: Vec<f64>,
    /// What it holds now: the GPU and the place there.
    held: Vec<(usize, Item)>,
    held_compute: u32,
    /// Nothing of it changes.
    stays: bool,
}

impl Party {
    fn worth(&self, slices: u32) -> f64 {
        self.worth.get(slices as usize).copied().unwrap_or(0.0)
    }
}

struct Table<'a> {
    world: World<'a>,
    racks: Vec<Rack<'a>>,
    /// For each GPU, the first one that is divided alike.
    kinds: Vec<usize>,
    parties: Vec<Party>,
    moves: usize,
    /// What lies on each GPU so far; the items name parties.
    items: Vec<Vec<Item>>,
}

/// An instance for a party, on any GPU of a kind.
#[derive(Clone, Copy, PartialEq)]
struct Offer {
    party: usize,
    kind: usize,
    profile: u32,
}

impl<'a> Table<'a> {
    fn new(world: World<'a>, held: &Assignment, value: &dyn Fn(usize, u32) -> f64, moves: usize) -> Self {
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
        };
        table.take_over(held);
        table
    }

    fn take_over(&mut self, held: &Assignment) {
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

    /// The best of what several greeds come to: slices are dear at first, then less and less so.
    fn best(&mut self) -> Vec<GpuInstance> {
        let mut best: Option<(f64, Vec<GpuInstance>)> = None;
        for dear in DEAR {
            let instances = self.divide(dear);
            let worth: f64 = self
                .all_now()
                .iter()
                .zip(&self.parties)
                .map(|((slices, _), party)| party.worth(*slices))
                .sum();
            if best.as_ref().is_none_or(|(most, _)| worth > *most + 1e-9 * most.abs()) {
                best = Some((worth, instances));
            }
        }
        best.map_or_else(Vec::new, |(_, instances)| instances)
    }

    fn divide(&mut self, dear: f64) -> Vec<GpuInstance> {
        self.lay_reservations();
        self.hand_out(dear);
        for gpu in 0..self.racks.len() {
            if let Some(packed) = self.packed(gpu, &self.items[gpu], 0, usize::MAX) {
                self.items[gpu] = packed;
            }
        }
        let of = |(gpu, items): (usize, &Vec<Item>)| {
            let instance = |item: &Item| GpuInstance {
                gpu: GpuId::at(gpu),
                start: item.start,
                profile: item.profile,
                owner: self.world.vms[self.parties[item.vm].position].id,
            };
            items.iter().map(instance).collect::<Vec<_>>()
        };
        let mut instances: Vec<GpuInstance> = self.items.iter().enumerate().flat_map(of).collect();
        instances.sort_unstable();
        instances
    }

    /// Everybody that has to hold slices begins with the smallest instance that will do, where there is
    /// room for it beside what is held by all of them.
    fn lay_reservations(&mut self) {
        self.items = vec![Vec::new(); self.racks.len()];
        for party in self.parties.iter().filter(|party| party.reservation > 0 || party.stays) {
            party.held.iter().for_each(|(gpu, item)| self.items[*gpu].push(*item));
        }
        for party in 0..self.parties.len() {
            let Party { reservation, limit, stays, .. } = self.parties[party];
            if reservation == 0 || stays {
                continue;
            }
            let (now, span) = self.all_now()[party];
            let offers =
                self.offers(party).filter(|offer| (reservation..=limit).contains(&self.compute(*offer)));
            let mut offers: Vec<Offer> =
                offers.filter(|offer| now < reservation || self.span(*offer) < span).collect();
            offers.sort_by_key(|offer| (self.span(*offer), self.compute(*offer)));
            let found = offers.into_iter().any(|offer| self.place(offer, now < reservation));
            if !found && now < reservation {
                self.add_up(party);
            }
        }
    }

    /// Where no single instance will do, several may.
    fn add_up(&mut self, party: usize) {
        loop {
            let now = self.all_now()[party].0;
            let room = self.parties[party].limit.saturating_sub(now);
            let missing = self.parties[party].reservation.saturating_sub(now);
            if missing == 0 {
                return;
            }
            let mut offers: Vec<Offer> =
                self.offers(party).filter(|offer| self.compute(*offer) <= room).collect();
            offers.sort_by_key(|offer| {
                let compute = self.compute(*offer);
                (compute.abs_diff(missing), self.span(*offer))
            });
            let found = offers.into_iter().any(|offer| self.place_another(offer));
            if !found {
                return;
            }
        }
    }

    /// Gives a party this beside what it has so far.
    fn place_another(&mut self, offer: Offer) -> bool {
        for gpu in (0..self.racks.len()).filter(|gpu| self.kinds[*gpu] == offer.kind) {
            let mut items = self.items[gpu].clone();
            items.push(Item { vm: offer.party, profile: offer.profile, start: 0 });
            if let Some(packed) = self.packed(gpu, &items, 0, self.moves) {
                self.items[gpu] = packed;
                return true;
            }
        }
        false
    }

    /// Takes the offer that is worth most per slice, again and again.
    fn hand_out(&mut self, dear: f64) {
        let mut offers: Vec<Offer> = (0..self.parties.len())
            .filter(|party| !self.parties[*party].stays && self.single(*party))
            .flat_map(|party| self.offers(party).collect::<Vec<_>>())
            .collect();
        let mut dropped: Vec<Offer> = Vec::new();
        loop {
            let now = self.all_now();
            let mut best: Option<(f64, usize)> = None;
            for (place, offer) in offers.iter().enumerate() {
                let rate = self.rate(*offer, now[offer.party], dear);
                let better = best.is_none_or(|(most, other)| {
                    rate > most || rate >= most && self.rank(*offer) < self.rank(offers[other])
                });
                if rate > 0.0 && better {
                    best = Some((rate, place));
                }
            }
            let Some((_, place)) = best else { return };
            let offer = offers[place];
            let was_elsewhere = now[offer.party].0 > 0;
            if self.place(offer, true) {
                // Somebody left a place: what found no room may find some now.
                if was_elsewhere {
                    offers.append(&mut dropped);
                }
            } else {
                dropped.push(offers.swap_remove(place));
            }
        }
    }

    /// Whether the party's reservation takes no more than one instance.
    fn single(&self, party: usize) -> bool {
        let lying = self.items.iter().flatten().filter(|item| item.vm == party).count();
        lying <= 1 || self.offers(party).any(|offer| self.compute(offer) >= self.parties[party].reservation)
    }

    fn offers(&self, party: usize) -> impl Iterator<Item = Offer> + use<'_, 'a> {
        let kinds = (0..self.racks.len()).filter(|gpu| self.kinds[*gpu] == *gpu);
        let all = kinds.flat_map(move |kind| {
            let profiles = (0_u32..).take(self.racks[kind].gpu.profiles.len());
            profiles.map(move |profile| Offer { party, kind, profile })
        });
        all.filter(move |offer| self.compute(*offer) <= self.parties[party].limit)
    }

    fn compute(&self, offer: Offer) -> u32 {
        self.racks[offer.kind].gpu.profiles[offer.profile as usize].compute
    }

    fn span(&self, offer: Offer) -> u32 {
        self.racks[offer.kind].gpu.profiles[offer.profile as usize].span
    }

    /// Compute and memory slices that each party has so far.
    fn all_now(&self) -> Vec<(u32, u32)> {
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
    fn rate(&self, offer: Offer, (compute, span): (u32, u32), dear: f64) -> f64 {
        let party = &self.parties[offer.party];
        if self.compute(offer) < party.reservation {
            return 0.0;
        }
        let profiles = &self.racks[offer.kind].gpu.profiles;
        let alike = profiles.iter().filter(|profile| profile.compute == self.compute(offer));
        let least = alike.map(|profile| profile.span).min().unwrap_or(1);
        let gain = party.worth(self.compute(offer)) - party.worth(compute);
        gain / libm::pow(f64::from(least.saturating_sub(span)).max(0.5), dear)
    }

    /// Which of two offers of the same worth is taken.
    fn rank(&self, offer: Offer) -> (bool, u32, usize, usize, u32) {
        (self.held_at(offer).is_none(), self.span(offer), offer.party, offer.kind, offer.profile)
    }

    /// The GPU on which exactly this is held.
    fn held_at(&self, offer: Offer) -> Option<usize> {
        let held = self.parties[offer.party].held.iter();
        held.filter(|(gpu, item)| self.kinds[*gpu] == offer.kind && item.profile == offer.profile)
            .map(|(gpu, _)| *gpu)
            .next()
    }

    /// Gives a party this instead of what it has so far. Prefers the GPU where it holds the same already,
    /// then places that nobody may want to keep, then full GPUs.
    fn place(&mut self, offer: Offer, may_move: bool) -> bool {
        let home = self.held_at(offer);
        let mut gpus: Vec<usize> =
            (0..self.racks.len()).filter(|gpu| self.kinds[*gpu] == offer.kind).collect();
        let used = |gpu: usize| self.items[gpu].iter().map(|item| self.racks[gpu].span(item)).sum::<u32>();
        gpus.sort_by_key(|gpu| (Some(*gpu) != home, Reverse(used(*gpu)), *gpu));
        let mut ways = vec![(true, 0), (false, 0)];
        if may_move {
            ways.push((false, self.moves));
        }
        for (considerate, moves) in ways {
            for gpu in &gpus {
                let mut items: Vec<Item> =
                    self.items[*gpu].iter().copied().filter(|item| item.vm != offer.party).collect();
                items.push(Item { vm: offer.party, profile: offer.profile, start: 0 });
                let avoid = if considerate { self.wanted_back(*gpu, offer.party) } else { 0 };
                if let Some(packed) = self.packed(*gpu, &items, avoid, moves) {
                    self.items.iter_mut().for_each(|items| items.retain(|item| item.vm != offer.party));
                    self.items[*gpu] = packed;
                    return true;
                }
            }
        }
        false
    }

    /// Slices of a GPU that other parties hold and have not got yet.
    fn wanted_back(&self, gpu: usize, party: usize) -> u64 {
        let others = self.parties.iter().enumerate().filter(|(other, _)| *other != party);
        let held =
            others.flat_map(|(other, party)| party.held.iter().map(move |(at, item)| (other, *at, item)));
        held.filter(|(other, at, _)| *at == gpu && self.items.iter().flatten().all(|item| item.vm != *other))
            .fold(0, |slices, (_, _, item)| slices | self.racks[gpu].mask(item))
    }

    fn packed(&self, gpu: usize, items: &[Item], avoid: u64, moves: usize) -> Option<Vec<Item>> {
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
    fn rules(&self, gpu: usize, item: Item, nth: usize) -> Rules {
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
