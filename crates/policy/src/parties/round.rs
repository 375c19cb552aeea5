//! One decision: every machine moves one unit of one resource, if there is one.

use std::collections::BTreeSet;

use halcyon_model::{ChangeKind, SocketId, VmSpec};

use super::PartiesTuning;
use super::ground::{Ground, Held, TENTHS, all_memory, memory_unit, refuses_memory, reserved_cpu};
use super::machine::{Move, Resource};
use crate::View;
use crate::common::on_socket;
use crate::latency::{Reading, changes_cache, is_critical};

/// Standing still for less than this share of the time is not for want of memory or a device.
const NOTICEABLE: f64 = 0.01;
/// A working set that fills this share of what is held wants more.
const NEARLY_FULL: f64 = 0.95;

/// Moves every latency-critical VM whose slack is known, the one with the least slack first.
pub(super) fn decide(view: &View<'_>, tuning: &PartiesTuning, readings: &[Reading], ground: &mut Ground) {
    let mut order: Vec<(f64, usize)> = readings
        .iter()
        .enumerate()
        .filter_map(|(position, reading)| Some((reading.slack?, position)))
        .collect();
    order.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
    let mut round =
        Round { view, tuning, readings, ground, cached: BTreeSet::new(), capped: BTreeSet::new() };
    for (slack, position) in order {
        let vm = view.world.vms[position].id;
        let Some(mut machine) = round.ground.vms.get_mut(&vm).map(|held| std::mem::take(&mut held.machine))
        else {
            continue;
        };
        let chosen = machine.next(view.snapshot.at, slack, tuning, |what| round.can(position, what));
        if let Some(chosen) = chosen {
            round.make(position, chosen);
        }
        round.ground.vms.entry(vm).or_default().machine = machine;
    }
}

struct Round<'a> {
    view: &'a View<'a>,
    tuning: &'a PartiesTuning,
    readings: &'a [Reading],
    ground: &'a mut Ground,
    /// Clusters whose ways moved already in this round, as they move for several VMs at once.
    cached: BTreeSet<(SocketId, usize)>,
    /// Sockets whose cap moved already.
    capped: BTreeSet<SocketId>,
}

impl Round<'_> {
    fn spec(&self, position: usize) -> &VmSpec {
        &self.view.world.vms[position]
    }

    fn held(&self, position: usize) -> Option<&Held> {
        self.ground.vms.get(&self.spec(position).id)
    }

    fn socket(&self, position: usize) -> SocketId {
        self.view.snapshot.assignment.holdings[position].socket
    }

    /// Everybody of these who is latency-critical has slack to spare.
    fn at_ease(&self, mut positions: impl Iterator<Item = usize>) -> bool {
        positions.all(|position| {
            !is_critical(self.view, position)
                || self.readings[position].slack.is_some_and(|slack| slack > self.tuning.downsize_above)
        })
    }

    fn members(&self, socket: SocketId) -> impl Iterator<Item = usize> {
        on_socket(self.view.world, &self.view.snapshot.assignment, socket).map(|(position, _)| position)
    }

    /// Whether this host can change a resource at all.
    fn changes(&self, resource: Resource) -> bool {
        let can = self.view.world.capabilities;
        match resource {
            Resource::Cpu => can.allows(ChangeKind::Cpu),
            Resource::Cache => changes_cache(self.view),
            Resource::MemoryBandwidth => can.allows(ChangeKind::MemoryBandwidth),
            Resource::Memory => can.allows(ChangeKind::Memory),
            Resource::Device => can.allows(ChangeKind::DeviceBandwidth),
        }
    }

    fn can(&self, position: usize, what: Move) -> bool {
        if !self.changes(what.resource()) {
            return false;
        }
        match what {
            Move::Up(Resource::Cpu) => self.cpu_up(position).is_some(),
            Move::Down(Resource::Cpu) => self.cpu_to_give(position) >= 1.0,
            Move::Up(Resource::Cache) => self.way_donor(position).is_some(),
            Move::Down(Resource::Cache) => self.can_give_way(position),
            Move::Up(Resource::MemoryBandwidth) => {
                let divided = &self.ground.sockets[self.socket(position).index()];
                let free = !self.capped.contains(&self.socket(position));
                free && divided.shared && divided.throttle + 1 < TENTHS
            }
            Move::Down(Resource::MemoryBandwidth) => {
                let socket = self.socket(position);
                let loose = self.ground.sockets[socket.index()].throttle == 0;
                !loose && !self.capped.contains(&socket) && self.at_ease(self.members(socket))
            }
            Move::Up(Resource::Memory) => self.memory_up(position) >= 1.0,
            Move::Down(Resource::Memory) => self.memory_down(position) >= 1.0,
            Move::Up(Resource::Device) => {
                let waits = self.readings[position].io_stalled.is_some_and(|share| share > NOTICEABLE);
                let more = self.held(position).is_some_and(|held| held.device < TENTHS);
                let vm = self.spec(position).id;
                waits && more && self.view.snapshot.assignment.devices_of(vm).next().is_some()
            }
            Move::Down(Resource::Device) => self.held(position).is_some_and(|held| held.device > 0),
            Move::Revert(_) => true,
        }
    }

    fn make(&mut self, position: usize, what: Move) {
        match what {
            Move::Up(Resource::Cpu) | Move::Revert(Resource::Cpu) => self.give_cpu(position),
            Move::Down(Resource::Cpu) => {
                let less = self.cpu_to_give(position);
                self.change(position, |held| held.cpu -= less);
            }
            Move::Up(Resource::Cache) | Move::Revert(Resource::Cache) => self.give_way(position),
            Move::Down(Resource::Cache) => {
                let (socket, Some(cluster)) = (self.socket(position), self.ground.cluster[position]) else {
                    return;
                };
                self.ground.sockets[socket.index()].ways[cluster] -= 1;
                self.ground.sockets[socket.index()].others += 1;
                self.cached.insert((socket, cluster));
            }
            Move::Up(Resource::MemoryBandwidth) | Move::Revert(Resource::MemoryBandwidth) => {
                let socket = self.socket(position);
                let divided = &mut self.ground.sockets[socket.index()];
                divided.throttle = (divided.throttle + 1).min(TENTHS - 1);
                self.capped.insert(socket);
            }
            Move::Down(Resource::MemoryBandwidth) => {
                let socket = self.socket(position);
                let divided = &mut self.ground.sockets[socket.index()];
                divided.throttle = divided.throttle.saturating_sub(1);
                self.capped.insert(socket);
            }
            Move::Up(Resource::Memory) | Move::Revert(Resource::Memory) => {
                let more = memory_unit(self.tuning, self.spec(position)).min(self.free_memory(position));
                self.change(position, |held| held.memory += more);
            }
            Move::Down(Resource::Memory) => {
                let less = self.memory_down(position);
                self.change(position, |held| held.memory -= less);
            }
            Move::Up(Resource::Device) | Move::Revert(Resource::Device) => {
                self.change(position, |held| held.device = (held.device + 1).min(TENTHS));
            }
            Move::Down(Resource::Device) => {
                self.change(position, |held| held.device = held.device.saturating_sub(1));
            }
        }
    }

    fn change(&mut self, position: usize, change: impl FnOnce(&mut Held)) {
        let vm = self.spec(position).id;
        if let Some(held) = self.ground.vms.get_mut(&vm) {
            change(held);
        }
    }

    fn cpu_unit(&self, position: usize) -> f64 {
        self.tuning.cpu_unit.min(self.spec(position).cpu.limit.as_f64() / 8.0)
    }

    /// What a VM can give up of its CPU time.
    fn cpu_to_give(&self, position: usize) -> f64 {
        let least = self.spec(position).cpu.reservation.as_f64();
        self.held(position).map_or(0.0, |held| (held.cpu - least).clamp(0.0, self.cpu_unit(position)))
    }

    /// How much more a VM can have, and the VM that has to give it where none is free.
    fn cpu_up(&self, position: usize) -> Option<(f64, Option<usize>)> {
        let socket = self.socket(position);
        let capacity = self.view.world.topology.sockets()[socket.index()].cpu().as_f64();
        let limit = self.spec(position).cpu.limit.as_f64();
        let wanted = (limit - self.held(position)?.cpu).min(self.cpu_unit(position));
        let granted = self.members(socket).filter_map(|member| self.held(member)).map(|held| held.cpu);
        let free = capacity - reserved_cpu(self.view, socket) - granted.sum::<f64>();
        if wanted < 1.0 {
            return None;
        }
        if free >= 1.0 {
            return Some((wanted.min(free), None));
        }
        let easy = |member: &usize| *member != position && self.at_ease(std::iter::once(*member));
        let slack = |member: usize| self.readings[member].slack.unwrap_or(0.0);
        let donors = self.members(socket).filter(easy).filter(|member| self.cpu_to_give(*member) >= 1.0);
        let donor = donors.max_by(|a, b| slack(*a).total_cmp(&slack(*b)).then(b.cmp(a)))?;
        Some((wanted.min(self.cpu_to_give(donor)), Some(donor)))
    }

    fn give_cpu(&mut self, position: usize) {
        let Some((more, donor)) = self.cpu_up(position) else { return };
        if let Some(donor) = donor {
            self.change(donor, |held| held.cpu -= more);
        }
        self.change(position, |held| held.cpu += more);
    }

    /// Where another way can come from: nobody named is those who are not latency-critical.
    fn way_donor(&self, position: usize) -> Option<Option<usize>> {
        let (socket, cluster) = (self.socket(position), self.ground.cluster[position]?);
        let divided = &self.ground.sockets[socket.index()];
        let least = self.least_ways(socket);
        if self.cached.contains(&(socket, cluster)) {
            return None;
        }
        if divided.others > if divided.shared { least } else { 0 } {
            return Some(None);
        }
        let spare = |other: &usize| {
            *other != cluster
                && divided.ways[*other] > least
                && !self.cached.contains(&(socket, *other))
                && self.at_ease(self.cluster_members(socket, *other))
        };
        let donors = (0..divided.ways.len()).filter(spare);
        donors.max_by_key(|other| (divided.ways[*other], std::cmp::Reverse(*other))).map(Some)
    }

    fn give_way(&mut self, position: usize) {
        let (Some(donor), Some(cluster)) = (self.way_donor(position), self.ground.cluster[position]) else {
            return;
        };
        let socket = self.socket(position);
        let divided = &mut self.ground.sockets[socket.index()];
        match donor {
            Some(other) => divided.ways[other] -= 1,
            None => divided.others -= 1,
        }
        divided.ways[cluster] += 1;
        self.cached.extend([(socket, cluster)].into_iter().chain(donor.map(|other| (socket, other))));
    }

    fn can_give_way(&self, position: usize) -> bool {
        let (socket, Some(cluster)) = (self.socket(position), self.ground.cluster[position]) else {
            return false;
        };
        self.ground.sockets[socket.index()].ways[cluster] > self.least_ways(socket)
            && !self.cached.contains(&(socket, cluster))
            && self.at_ease(self.cluster_members(socket, cluster))
    }

    fn cluster_members(&self, socket: SocketId, cluster: usize) -> impl Iterator<Item = usize> {
        self.members(socket).filter(move |member| self.ground.cluster[*member] == Some(cluster))
    }

    fn least_ways(&self, socket: SocketId) -> u32 {
        let cache = self.view.world.topology.sockets()[socket.index()].cache.as_ref();
        cache.map_or(1, |cache| cache.min_ways.max(1))
    }

    /// How much memory a VM that is short of it can have.
    fn memory_up(&self, position: usize) -> f64 {
        let reading = &self.readings[position];
        let held = self.view.snapshot.assignment.holdings[position].total_memory().as_f64();
        let working_set = self.working_set(position);
        let short = reading.memory_stalled.is_some_and(|share| share > NOTICEABLE)
            || working_set.is_some_and(|size| size > NEARLY_FULL * held);
        if !short || !self.memory_settled(position) {
            return 0.0;
        }
        memory_unit(self.tuning, self.spec(position)).min(self.free_memory(position))
    }

    fn free_memory(&self, position: usize) -> f64 {
        let limit = self.spec(position).memory.limit.as_f64();
        let others = (0..self.view.world.vms.len()).filter(|other| self.held(*other).is_none());
        let reserved: f64 = others.map(|other| self.spec(other).memory.reservation.as_f64()).sum();
        let granted: f64 = self.ground.vms.values().map(|held| held.memory).sum();
        let target = self.held(position).map_or(limit, |held| held.memory);
        (all_memory(self.view) - reserved - granted).min(limit - target).max(0.0)
    }

    fn memory_down(&self, position: usize) -> f64 {
        let spec = self.spec(position);
        let seen = self.working_set(position).unwrap_or(0.0) * self.tuning.memory_floor;
        let least = spec.memory.reservation.as_f64().max(seen);
        if !self.memory_settled(position) || refuses_memory(self.view, position) {
            return 0.0;
        }
        let unit = memory_unit(self.tuning, spec);
        self.held(position).map_or(0.0, |held| (held.memory - least).clamp(0.0, unit))
    }

    /// Whether what was asked for last has come about.
    fn memory_settled(&self, position: usize) -> bool {
        let held = self.view.snapshot.assignment.holdings[position].total_memory().as_f64();
        let unit = memory_unit(self.tuning, self.spec(position));
        self.held(position).is_some_and(|mine| (mine.memory - held).abs() <= unit / 2.0)
    }

    fn working_set(&self, position: usize) -> Option<f64> {
        let known = &self.view.history.estimate(position)?.working_set;
        known.percentile(1.0)
    }
}
