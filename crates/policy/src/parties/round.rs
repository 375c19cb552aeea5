//! One decision: every machine moves one unit of one resource, if there is one.

use std::collections::BTreeSet;

use halcyon_model::{ChangeKind, SocketId, VmSpec};

use super::PartiesTuning;
use super::ground::{Ground, Held, TENTHS, all_memory, memory_unit, refuses_memory, reserved_cpu};
use super::machine::{Move, Resource};
use crate::View;
use crate::common::on_socket;
use crate::latency::{Reading, changes_cache};

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
    let mut round = Round::new(view, tuning, readings, ground);
    for (slack, position) in order {
        let held = round.ground.vms[position].as_mut();
        let Some(mut machine) = held.map(|held| std::mem::take(&mut held.machine)) else { continue };
        let chosen = machine.next(view.snapshot.at, slack, tuning, |what| round.can(position, what));
        if let Some(chosen) = chosen {
            round.make(position, chosen);
        }
        round.change(position, |held| held.machine = machine);
    }
    round.loosen();
}

struct Round<'a> {
    view: &'a View<'a>,
    tuning: &'a PartiesTuning,
    readings: &'a [Reading],
    ground: &'a mut Ground,
    sockets: Vec<OnSocket>,
    /// Memory that nobody is promised, in bytes.
    free_memory: f64,
    /// Clusters whose ways moved already in this round, as they move for several VMs at once.
    cached: BTreeSet<(SocketId, usize)>,
    /// Sockets whose cap moved already.
    capped: BTreeSet<SocketId>,
}

/// What is known of one socket at the start of a round.
#[derive(Default)]
struct OnSocket {
    /// CPU time that nobody is promised.
    free_cpu: f64,
    /// VMs that could give CPU time up, the one with most slack last.
    donors: Vec<usize>,
    /// Clusters in which somebody has no slack to spare.
    uneasy: BTreeSet<usize>,
    /// Whether anybody has not.
    any_uneasy: bool,
    /// What the memory channels move, as a share of what they carry; nothing where it is not known.
    load: Option<f64>,
}

impl<'a> Round<'a> {
    fn new(
        view: &'a View<'a>,
        tuning: &'a PartiesTuning,
        readings: &'a [Reading],
        ground: &'a mut Ground,
    ) -> Self {
        let slack = |position: usize| readings[position].slack.unwrap_or(0.0);
        let mut sockets = Vec::new();
        for socket in view.world.topology.sockets() {
            let free_cpu = socket.cpu().as_f64() - reserved_cpu(view, socket.id);
            let mut here = OnSocket { free_cpu, ..OnSocket::default() };
            for (position, _) in on_socket(view.world, &view.snapshot.assignment, socket.id) {
                let Some(held) = &ground.vms[position] else { continue };
                here.free_cpu -= held.cpu;
                if slack(position) > tuning.downsize_above {
                    here.donors.push(position);
                } else {
                    here.any_uneasy = true;
                    here.uneasy.extend(ground.cluster[position]);
                }
            }
            let moved = on_socket(view.world, &view.snapshot.assignment, socket.id)
                .filter_map(|(position, _)| readings[position].traffic)
                .reduce(|sum, next| sum + next);
            let carries = view.world.topology.memory_bandwidth(socket.id).as_f64().max(1.0);
            here.load = moved.map(|moved| moved / carries);
            here.donors.sort_by(|a, b| slack(*a).total_cmp(&slack(*b)).then(b.cmp(a)));
            sockets.push(here);
        }
        let granted: f64 = ground.vms.iter().flatten().map(|held| held.memory).sum();
        let free_memory = all_memory(view) - ground.reserved_memory(view) - granted;
        let (cached, capped) = (BTreeSet::new(), BTreeSet::new());
        Self { view, tuning, readings, ground, sockets, free_memory, cached, capped }
    }

    fn spec(&self, position: usize) -> &VmSpec {
        &self.view.world.vms[position]
    }

    fn held(&self, position: usize) -> Option<&Held> {
        self.ground.vms[position].as_ref()
    }

    fn here(&self, position: usize) -> &OnSocket {
        &self.sockets[self.socket(position).index()]
    }

    fn socket(&self, position: usize) -> SocketId {
        self.view.snapshot.assignment.holdings[position].socket
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
        if !what.resource().is_some_and(|resource| self.changes(resource)) {
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
                let busy = self.here(position).load.is_some_and(|load| load > self.tuning.channels_busy);
                busy && free && divided.shared && divided.throttle + 1 < TENTHS
            }
            Move::Down(Resource::MemoryBandwidth) => {
                let socket = self.socket(position);
                let loose = self.ground.sockets[socket.index()].throttle == 0;
                !loose && !self.capped.contains(&socket) && !self.here(position).any_uneasy
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
            Move::Revert(_) | Move::Surrender => true,
        }
    }

    fn make(&mut self, position: usize, what: Move) {
        match what {
            Move::Up(Resource::Cpu) | Move::Revert(Resource::Cpu) => self.give_cpu(position),
            Move::Down(Resource::Cpu) => self.move_cpu(position, -self.cpu_to_give(position)),
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
                let unit = memory_unit(self.tuning, self.spec(position));
                self.move_memory(position, unit.min(self.memory_room(position)));
            }
            Move::Down(Resource::Memory) => self.move_memory(position, -self.memory_down(position)),
            Move::Up(Resource::Device) | Move::Revert(Resource::Device) => {
                self.change(position, |held| held.device = (held.device + 1).min(TENTHS));
            }
            Move::Surrender => self.surrender(position),
            Move::Down(Resource::Device) => {
                self.change(position, |held| held.device = held.device.saturating_sub(1));
            }
        }
    }

    fn change(&mut self, position: usize, change: impl FnOnce(&mut Held)) {
        if let Some(held) = &mut self.ground.vms[position] {
            change(held);
        }
    }

    fn move_cpu(&mut self, position: usize, more: f64) {
        let socket = self.socket(position);
        self.sockets[socket.index()].free_cpu -= more;
        self.change(position, |held| held.cpu += more);
    }

    fn move_memory(&mut self, position: usize, more: f64) {
        self.free_memory -= more;
        self.change(position, |held| held.memory += more);
    }

    fn cpu_unit(&self, position: usize) -> f64 {
        self.tuning.cpu_unit.min(self.spec(position).cpu.limit.as_f64() / 8.0)
    }

    /// What a VM can give up of its CPU time.
    fn cpu_to_give(&self, position: usize) -> f64 {
        let cpu = &self.spec(position).cpu;
        let least = cpu.reservation.as_f64().max(self.tuning.least_cpu.min(cpu.limit.as_f64()));
        self.held(position).map_or(0.0, |held| (held.cpu - least).clamp(0.0, self.cpu_unit(position)))
    }

    /// How much more a VM can have, and the VM that has to give it where none is free.
    fn cpu_up(&self, position: usize) -> Option<(f64, Option<usize>)> {
        let here = self.here(position);
        let limit = self.spec(position).cpu.limit.as_f64();
        let wanted = (limit - self.held(position)?.cpu).min(self.cpu_unit(position));
        if wanted < 1.0 {
            return None;
        }
        if here.free_cpu >= 1.0 {
            return Some((wanted.min(here.free_cpu), None));
        }
        let gives = |donor: &usize| *donor != position && self.cpu_to_give(*donor) >= 1.0;
        let Some(donor) = here.donors.iter().copied().rev().find(gives) else {
            return self.cpu_by_right(position, wanted);
        };
        Some((wanted.min(self.cpu_to_give(donor)), Some(donor)))
    }

    /// What a VM below its weight's part can take from the one that is furthest above.
    fn cpu_by_right(&self, position: usize, wanted: f64) -> Option<(f64, Option<usize>)> {
        let above = |member: usize| {
            self.held(member).map_or(0.0, |held| (held.cpu - self.ground.entitled[member]).max(0.0))
        };
        let missing = self.ground.entitled[position] - self.held(position)?.cpu;
        let members = on_socket(self.view.world, &self.view.snapshot.assignment, self.socket(position));
        let members = members.map(|(member, _)| member).filter(|member| *member != position);
        let donor = members.max_by(|a, b| above(*a).total_cmp(&above(*b)).then(b.cmp(a)))?;
        let more = wanted.min(missing).min(self.cpu_to_give(donor)).min(above(donor));
        (more >= 1.0).then_some((more, Some(donor)))
    }

    /// Gives back what is above a VM's part; memory it keeps.
    fn surrender(&mut self, position: usize) {
        let above = self.held(position).map_or(0.0, |held| held.cpu - self.ground.entitled[position]);
        self.move_cpu(position, -above.max(0.0));
        self.change(position, |held| held.device = 0);
        let cluster = self.ground.cluster[position];
        let divided =
            &mut self.ground.sockets[self.view.snapshot.assignment.holdings[position].socket.index()];
        divided.throttle = 0;
        if let Some(ways) = cluster.and_then(|cluster| divided.ways.get_mut(cluster)) {
            let less = ways.saturating_sub(divided.even);
            *ways -= less;
            divided.others += less;
        }
    }

    /// A cap is loosened where the channels are far from busy, whoever is short.
    fn loosen(&mut self) {
        for (index, here) in self.sockets.iter().enumerate() {
            let idle = here.load.is_some_and(|load| load < self.tuning.channels_idle);
            if idle && !self.capped.contains(&SocketId::at(index)) {
                let divided = &mut self.ground.sockets[index];
                divided.throttle = divided.throttle.saturating_sub(1);
            }
        }
    }

    fn give_cpu(&mut self, position: usize) {
        let Some((more, donor)) = self.cpu_up(position) else { return };
        if let Some(donor) = donor {
            self.move_cpu(donor, -more);
        }
        self.move_cpu(position, more);
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
                && !self.here(position).uneasy.contains(other)
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
            && !self.here(position).uneasy.contains(&cluster)
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
        memory_unit(self.tuning, self.spec(position)).min(self.memory_room(position))
    }

    fn memory_room(&self, position: usize) -> f64 {
        let limit = self.spec(position).memory.limit.as_f64();
        self.free_memory.min(limit - self.held(position).map_or(limit, |held| held.memory)).max(0.0)
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
