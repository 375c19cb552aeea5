//! Last-level cache for the policies that divide it by ways.
//!
//! What a program would do with another amount of cache is known from its profile alone: hardware has no
//! utility monitor. A program without a profile is taken to move what it is seen to move, whatever cache
//! it has.
//!
//! VMs are put into groups, each group has a run of ways of its own on its socket, and a group becomes a
//! class of service. Masks of a class are set for each socket by itself, so the groups of one socket have
//! nothing to do with those of another.

mod cluster;
mod curve;
mod groups;
mod lookahead;
mod propose;

pub(crate) use groups::{Group, divide_among};
pub(crate) use propose::regroup;

use curve::Curve;
use lookahead::lookahead;

use halcyon_model::profile::{CacheEffect, CacheResponse};
use halcyon_model::topology::Socket;
use halcyon_model::{ChangeKind, Family};

use crate::View;
use crate::common::on_socket;

/// Below this traffic, in bytes per second, a VM fills no cache.
const LEAST_TRAFFIC: f64 = 1e3;

/// Whether classes of service can be changed now, and there is more than one.
pub(crate) fn classes_move(view: &View<'_>) -> bool {
    let capabilities = view.world.capabilities;
    !view.frozen.contains(Family::Cache)
        && capabilities.allows(ChangeKind::CacheMask)
        && capabilities.allows(ChangeKind::CacheClass)
        && view.world.topology.cache_classes() > 1
}

/// The cache of one socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Geometry {
    pub(crate) ways: u32,
    pub(crate) min_ways: u32,
    /// Classes of service that can be used.
    pub(crate) classes: usize,
    pub(crate) way_bytes: f64,
}

impl Geometry {
    /// Nothing where the socket's cache cannot be divided.
    pub(crate) fn of(view: &View<'_>, socket: &Socket) -> Option<Self> {
        let cache = socket.cache.as_ref().filter(|cache| cache.ways > 0)?;
        Some(Self {
            ways: cache.ways,
            min_ways: cache.min_ways.max(1),
            classes: view.world.topology.cache_classes(),
            way_bytes: cache.size.as_f64() / f64::from(cache.ways),
        })
    }

    /// How many groups fit into `ways`.
    pub(crate) fn most_groups(&self, ways: u32) -> usize {
        (ways / self.min_ways) as usize
    }
}

/// A program at work on a socket.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Occupant {
    /// The VM's position.
    pub(crate) position: usize,
    /// Cores that it keeps busy.
    pub(crate) cores: f64,
    /// Whether its response was measured before; else it is what was seen, and flat.
    pub(crate) known: bool,
    /// How much it counts that it is slowed down.
    pub(crate) value: f64,
    pub(crate) response: CacheResponse,
    curve: Curve,
}

/// What counts against an occupant on which its cache has such an effect.
pub(crate) type Cost = fn(&Occupant, CacheEffect) -> f64;

impl Occupant {
    fn new(position: usize, cores: f64, known: bool, value: f64, response: CacheResponse) -> Self {
        Self { position, cores, known, value, response, curve: Curve::of(&response) }
    }

    /// What so many bytes of cache do for it.
    pub(crate) fn with(&self, bytes: f64) -> CacheEffect {
        self.curve.effect(bytes)
    }

    /// What it would read from memory, in bytes per second, if it worked as fast as with all the cache:
    /// a utility monitor counts the misses of one and the same stream of accesses.
    pub(crate) fn misses(&self, effect: CacheEffect) -> f64 {
        self.cores * effect.traffic
    }

    /// How much longer its work takes than with all the cache, as a share.
    pub(crate) fn slowdown(&self, effect: CacheEffect) -> f64 {
        1.0 / effect.speed - 1.0
    }

    /// The same, as much as that counts.
    pub(crate) fn loss(&self, effect: CacheEffect) -> f64 {
        self.value * self.slowdown(effect)
    }

    /// What it brings into the cache, in bytes per second.
    fn inserts(&self, effect: CacheEffect) -> f64 {
        (self.cores * effect.speed * effect.traffic).max(LEAST_TRAFFIC)
    }
}

/// Who runs on a socket, by position. CPU use is the median of what was seen lately; before anything
/// was, it is the VM's share.
fn occupants(view: &View<'_>, socket: &Socket, value: &dyn Fn(usize) -> f64) -> Vec<Occupant> {
    let members = on_socket(view.world, &view.snapshot.assignment, socket.id);
    let occupant = |position: usize| {
        let seen = view.history.estimate(position);
        let used = seen.and_then(|seen| seen.cpu.percentile(0.5));
        let share = view.snapshot.assignment.holdings[position].cpu.share.as_f64();
        let cores = used.unwrap_or(share) / 1000.0;
        let profile = view.application(position);
        let moved = seen.and_then(|seen| seen.memory_bandwidth.percentile(0.5)).unwrap_or(0.0);
        let flat = || CacheResponse::flat(if cores > 0.0 { moved / cores } else { 0.0 });
        let response = profile.map_or_else(flat, |profile| profile.response.cache);
        Occupant::new(position, cores, profile.is_some(), value(position), response)
    };
    members.map(|(position, _)| occupant(position)).collect()
}

/// How members of a group divide cache among themselves: each has as much as it inserts. That is the
/// balance of Eklov et al., "StatCC" (PACT 2010), found by stepping towards it from where it was last, or
/// from even parts.
struct Balance<'m> {
    members: &'m [Occupant],
    /// The places of those to whom it matters how much they have.
    responsive: Vec<usize>,
    parts: Vec<f64>,
    powers: Vec<f64>,
    inserts: Vec<f64>,
}

impl<'m> Balance<'m> {
    fn new(members: &'m [Occupant]) -> Self {
        let responsive = (0..members.len()).filter(|place| !members[*place].curve.is_flat()).collect();
        let powers = vec![1.0; members.len()];
        Self { members, responsive, parts: Vec::new(), powers, inserts: Vec::new() }
    }

    fn share_out(&mut self, bytes: f64, rounds: u32) {
        let Self { members, parts, .. } = self;
        if parts.len() == members.len() {
            let whole: f64 = parts.iter().sum();
            let scale = if whole > 0.0 { bytes / whole } else { 0.0 };
            parts.iter_mut().for_each(|part| *part *= scale);
        } else {
            #[allow(clippy::cast_precision_loss)]
            let even = bytes / members.len().max(1) as f64;
            parts.clear();
            parts.resize(members.len(), even);
        }
        if members.len() == 1 {
            return;
        }
        for _ in 0..rounds {
            self.step(bytes);
        }
    }

    fn step(&mut self, bytes: f64) {
        self.raise();
        let Self { members, parts, powers, inserts, .. } = self;
        let inserted = |(member, power): (&Occupant, &f64)| member.inserts(member.curve.effect_of(*power));
        inserts.clear();
        inserts.extend(members.iter().zip(powers.iter()).map(inserted));
        let whole: f64 = inserts.iter().sum();
        for (part, inserted) in parts.iter_mut().zip(inserts.iter()) {
            *part = 0.5 * *part + 0.5 * bytes * inserted / whole;
        }
        fill_up(members, bytes, parts);
    }

    /// Works out the powers of all parts.
    fn raise(&mut self) {
        let Self { members, responsive, parts, powers, .. } = self;
        for place in responsive.iter() {
            powers[*place] = curve::log(parts[*place]);
        }
        for place in responsive.iter() {
            powers[*place] = members[*place].curve.power(powers[*place]);
        }
    }

    /// What the parts cost together.
    fn cost(&mut self, cost: Cost) -> f64 {
        self.raise();
        let members = self.members.iter().zip(&self.powers);
        members.map(|(member, power)| cost(member, member.curve.effect_of(*power))).sum()
    }
}

/// What a program cannot fill goes to the others, in proportion to what they have.
fn fill_up(members: &[Occupant], bytes: f64, parts: &mut [f64]) {
    let most = |member: &Occupant| member.response.footprint.unwrap_or(f64::INFINITY);
    let (mut full, mut rest) = (0.0, 0.0);
    for (member, part) in members.iter().zip(parts.iter()) {
        if *part >= most(member) { full += most(member) } else { rest += part }
    }
    if full > 0.0 {
        let scale = if rest > 0.0 { ((bytes - full) / rest).max(1.0) } else { 1.0 };
        for (member, part) in members.iter().zip(parts.iter_mut()) {
            *part = if *part >= most(member) { most(member) } else { *part * scale };
        }
    }
}

/// What it costs its members to share `ways`.
fn cost_of(members: &[Occupant], ways: u32, geometry: &Geometry, cost: Cost) -> f64 {
    let mut balance = Balance::new(members);
    balance.share_out(f64::from(ways) * geometry.way_bytes, 8);
    balance.cost(cost)
}

/// The same for every number of ways from none to `most`.
fn curve_of(members: &[Occupant], most: u32, geometry: &Geometry, cost: Cost) -> Vec<f64> {
    let mut balance = Balance::new(members);
    let mut at = |ways: u32| {
        // From one number of ways to the next the balance hardly moves.
        balance.share_out(f64::from(ways) * geometry.way_bytes, if ways == 1 { 8 } else { 2 });
        balance.cost(cost)
    };
    let none: f64 = members.iter().map(|member| cost(member, member.with(0.0))).sum();
    std::iter::once(none).chain((1..=most.min(geometry.ways)).map(&mut at)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn occupant(cores: f64, footprint: Option<f64>) -> Occupant {
        let response = CacheResponse { footprint, ..CacheResponse::flat(1e9) };
        Occupant::new(0, cores, true, 1.0, response)
    }

    #[test]
    fn each_has_as_much_as_it_inserts_and_no_more_than_it_can_fill() {
        let (small, large) = (occupant(1.0, None), occupant(3.0, None));
        let members = [small, large];
        let mut balance = Balance::new(&members);
        balance.share_out(80.0, 40);
        let parts = &balance.parts;
        assert!((parts[0] - 20.0).abs() < 1e-6 && (parts[1] - 60.0).abs() < 1e-6, "{parts:?}");
        let members = [small, occupant(3.0, Some(30.0))];
        let mut balance = Balance { parts: balance.parts, ..Balance::new(&members) };
        balance.share_out(80.0, 40);
        let parts = &balance.parts;
        assert!((parts[0] - 50.0).abs() < 1e-6 && (parts[1] - 30.0).abs() < 1e-6, "{parts:?}");
    }
}
