//! Which VM gets which instance of which GPU.
//!
//! GPU slices come in the sizes and at the places that the hardware knows, and an instance that is
//! replaced interrupts its program for seconds. So the division is worked out for all VMs at once: first
//! every reservation, then, step by step, the instance that is worth most per memory slice that it takes
//! (which is what runs out), as long as all of it can be packed. Instances stay where they are unless
//! others find no room then. What comes out can be reached by steps that keep the reservations at every
//! instant. Policies differ in nothing but what they think slices are worth.

mod pack;
mod table;

use halcyon_model::{Assignment, GpuId, GpuInstance, Step, World, diff};

use pack::Item;
use table::{Offer, Party, Rank, Table};

/// How often VMs are left as they are because no order of steps leads to what they were to get.
const ROUNDS: usize = 4;
/// Powers of the slices that an instance takes, by which its worth is divided to compare it.
const DEAR: [f64; 3] = [1.0, 0.5, 0.0];

/// Divides all GPUs of a host among its VMs; `value` says what a number of compute slices is worth to the
/// VM at a position, in any unit that is the same for all VMs.
///
/// Each VM gets at most one instance, within its bounds, unless its reservation takes more. Whatever is
/// worth nothing more to anybody stays free. `held` must be feasible. Meant for at most some tens of VMs
/// that wish for slices on at most some tens of GPUs, with up to 64 memory slices each: 64 VMs on 16 GPUs
/// take two milliseconds. The result is in the order of an [`Assignment`] and depends on nothing else.
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

/// An offer with what it is worth per slice to a party that has what it has now.
#[derive(Clone, Copy)]
struct Bid {
    offer: Offer,
    rate: f64,
    rank: Rank,
}

impl Table<'_> {
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
            if best.as_ref().is_none_or(|(most, _)| worth > *most + 1e-12 * most.abs()) {
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
            let packed = self.has_room(gpu, &items).then(|| self.packed(gpu, &items, 0, self.moves));
            if let Some(packed) = packed.flatten() {
                self.items[gpu] = packed;
                return true;
            }
        }
        false
    }

    /// Takes the offer that is worth most per slice, again and again.
    fn hand_out(&mut self, dear: f64) {
        let prices: Vec<f64> = (0..=64_u32).map(|span| libm::pow(f64::from(span).max(0.5), dear)).collect();
        let now = self.all_now();
        let growing =
            (0..self.parties.len()).filter(|party| !self.parties[*party].stays && self.single(*party));
        let mut bids: Vec<Bid> = growing
            .flat_map(|party| self.offers(party))
            .map(|offer| Bid {
                offer,
                rate: self.rate(offer, now[offer.party], &prices),
                rank: self.rank(offer),
            })
            .collect();
        let mut dropped: Vec<Bid> = Vec::new();
        loop {
            let first = |a: &&Bid, b: &&Bid| a.rate.total_cmp(&b.rate).then(b.rank.cmp(&a.rank));
            let Some(best) = bids.iter().filter(|bid| bid.rate > 0.0).max_by(first).copied() else { return };
            let party = best.offer.party;
            let left = self.all_now()[party].0 > 0;
            if self.place(best.offer, true) {
                let now = self.all_now()[party];
                // Where a place was left, what found no room may find some.
                if left {
                    bids.append(&mut dropped);
                }
                for bid in bids.iter_mut().filter(|bid| bid.offer.party == party) {
                    bid.rate = self.rate(bid.offer, now, &prices);
                }
            } else {
                bids.retain(|bid| bid.offer != best.offer);
                dropped.push(best);
            }
        }
    }

    /// Whether the party's reservation takes no more than one instance.
    fn single(&self, party: usize) -> bool {
        let lying = self.items.iter().flatten().filter(|item| item.vm == party).count();
        lying <= 1 || self.offers(party).any(|offer| self.compute(offer) >= self.parties[party].reservation)
    }
}
