//! CLITE: samples divisions of a host and lets a Gaussian process say which to try next, until no
//! improvement is expected (Patel and Tiwari, "CLITE: Efficient and QoS-Aware Co-Location of Multiple
//! Latency-Critical Jobs for Warehouse Scale Computers", HPCA 2020).
//!
//! As published: samples of two seconds; the first give equal parts, then all to each job in turn; a score
//! that is half the geometric mean of how near objectives are while one is missed, and half plus half the
//! throughput of the others when none is; expected improvement with a margin of 0.01; one time in four a job
//! that did well keeps what it had ("dropout-copy"); at most 20 samples after the first ones; an end when
//! little improvement is expected, or the score is 0.99; and a new start when load changes or an objective is
//! missed again. These figures are those of the authors' artefact, as others published it. It knows no
//! model of a program. Where no response time is measured, slack is a proxy (see [`crate::latency`]).
//!
//! Otherwise than published:
//! - A host has more VMs than a search has samples. What is divided is divided among groups: the
//!   latency-critical VMs of a socket, up to four groups of like pressure (CPU demand over limit), and all
//!   others; within a group it goes by weight. Each socket has a search of its own.
//! - Cores are CPU shares of what exceeds the reservations, with ceilings at the limits; memory bandwidth
//!   is a cap that holds for each VM of a group by itself.
//! - Throughput is CPU time that is not stalled for memory, or memory traffic where a cap holds a VM back:
//!   hosts are not assumed to count instructions.
//! - The kernel is Matérn's with ν = 5/2, its length and noise by likelihood; improvement is sought among
//!   drawn divisions and the neighbours of the best, instead of by gradients and rounding.
//! - A search goes on for twelve samples at least, and to its end while an objective is missed: with fewer
//!   the process is too sure of itself.
//! - A search rests for a minute before it starts over, and needs three readings in a row for that.
//! - Memory goes by weight, devices are handed out, and placement, links and GPU slices are left alone,
//!   as `proportional` does; so is all of a socket with one group only.

mod layout;
mod process;
mod score;
mod search;
mod socket;

use std::time::Duration;

use halcyon_model::fair::divide;
use halcyon_model::{
    ChangeKind, ClassId, Family, HostTime, MilliCpu, Proposal, Reason, SocketId, VmId, Wish,
};

use crate::common::{claim, on_socket};
use crate::latency::{Meter, Reading, Rest, changes_cache, is_critical, masks, tidy};
use crate::{Policy, View};
use layout::{Layout, Part, Resource};
pub use process::{GaussianProcess, expected_improvement};
use score::Seen;
pub use search::Search;
use socket::Optimiser;

/// A VM that moves this share of its cap would move more without it.
const AT_CAP: f64 = 0.9;

/// The parameters of [`Clite`].
#[derive(Debug, Clone, PartialEq)]
pub struct CliteTuning {
    /// How long a division is looked at.
    pub sample: Duration,
    /// Most samples of one search, the first ones included.
    pub samples: usize,
    /// Samples before the search may end for want of a promise; it does not while an objective is missed.
    pub least_samples: usize,
    /// Divisions drawn for each choice.
    pub candidates: usize,
    /// What a score has to be above the best for it to count as an improvement.
    pub margin: f64,
    /// The search ends when less is expected; of our own choosing, as the published one depends on the number
    /// of jobs.
    pub least_improvement: f64,
    /// And when a score is this good.
    pub good_enough: f64,
    /// Change of a group's CPU demand that starts a new search, as a share of it.
    pub load_change: f64,
    /// Readings in a row that have to differ for that.
    pub patience: u32,
    /// How long a division is held at least.
    pub rest: Duration,
    /// Most groups of latency-critical VMs on a socket.
    pub groups: usize,
    /// Units of CPU time on a socket.
    pub cpu_units: u32,
    /// Units of memory bandwidth.
    pub bandwidth_units: u32,
    /// Where random numbers start.
    pub seed: u64,
}

impl Default for CliteTuning {
    fn default() -> Self {
        Self {
            sample: Duration::from_secs(2),
            samples: 26,
            least_samples: 12,
            candidates: 256,
            margin: 0.01,
            least_improvement: 0.002,
            good_enough: 0.99,
            load_change: 0.20,
            patience: 3,
            rest: Duration::from_secs(60),
            groups: 4,
            cpu_units: 20,
            bandwidth_units: 10,
            seed: 0xc117e,
        }
    }
}

/// The controller.
#[derive(Debug, Default)]
pub struct Clite {
    tuning: CliteTuning,
    meter: Meter,
    rest: Rest,
    sockets: Vec<Optimiser>,
    known: Vec<(VmId, SocketId)>,
    /// Since when what was asked for last is measured.
    measured_since: Option<HostTime>,
}

impl Clite {
    /// The controller with other parameters.
    #[must_use]
    pub fn new(tuning: CliteTuning) -> Self {
        Self { tuning, ..Self::default() }
    }

    /// Starts over where VMs came, went or moved.
    fn follow(&mut self, view: &View<'_>) {
        let holdings = view.snapshot.assignment.holdings.iter();
        let now: Vec<_> = holdings.map(|holding| (holding.vm, holding.socket)).collect();
        let sockets = view.world.topology.sockets().len();
        if self.sockets.len() == sockets && now == self.known {
            return;
        }
        let on = |known: &[(VmId, SocketId)], socket: usize| -> Vec<VmId> {
            known.iter().filter(|(_, on)| on.index() == socket).map(|(vm, _)| *vm).collect()
        };
        for socket in 0..sockets {
            let fresh = || Optimiser::new(self.tuning.seed, socket);
            if socket >= self.sockets.len() {
                self.sockets.push(fresh());
            } else if on(&self.known, socket) != on(&now, socket) {
                self.sockets[socket] = fresh();
            }
        }
        (self.known, self.measured_since) = (now, None);
    }

    fn advance(&mut self, view: &View<'_>) {
        let readings = self.meter.read(view);
        for index in 0..self.sockets.len() {
            let socket = SocketId::at(index);
            if self.sockets[index].is_waiting() {
                let demands = on_socket(view.world, &view.snapshot.assignment, socket);
                let mut demands = demands.map(|(position, _)| readings[position].demand);
                if demands.any(|demand| demand.is_some()) {
                    let (groups, others) = group(view, socket, &readings, self.most_groups(view));
                    let layout = self.layout(view, socket, groups.len());
                    self.sockets[index].start(groups, others, layout, &self.tuning);
                }
                continue;
            }
            let position = |vm: &VmId| view.world.position(*vm);
            let demand = |members: &Vec<VmId>| -> f64 {
                members.iter().filter_map(|vm| readings[position(vm)?].demand).sum()
            };
            let optimiser = &mut self.sockets[index];
            let demand: Vec<f64> = optimiser.groups.iter().map(demand).collect();
            let here = on_socket(view.world, &view.snapshot.assignment, socket);
            let seen = here.map(|(position, (spec, _))| (spec.id, seen(view, position, &readings[position])));
            let seen = seen.collect();
            optimiser.advance(view.snapshot.at, seen, &demand, &self.tuning);
        }
    }

    /// One class of service is for all that are not latency-critical.
    fn most_groups(&self, view: &View<'_>) -> usize {
        let classes = view.world.topology.cache_classes();
        let most = if changes_cache(view) && classes > 1 { classes - 1 } else { usize::MAX };
        self.tuning.groups.min(most).max(1)
    }

    fn layout(&self, view: &View<'_>, socket: SocketId, groups: usize) -> Layout {
        let can = view.world.capabilities;
        let cpu = Resource { part: Part::Cpu, units: self.tuning.cpu_units, least: 1 };
        let bandwidth =
            Resource { part: Part::MemoryBandwidth, units: self.tuning.bandwidth_units, least: 1 };
        let host = &view.world.topology.sockets()[socket.index()];
        let cache =
            host.cache.as_ref().filter(|_| changes_cache(view) && view.world.topology.cache_classes() > 1);
        let cache = cache.map(|cache| Resource {
            part: Part::Cache,
            units: cache.ways,
            least: cache.min_ways.max(1),
        });
        let resources = [
            Some(cpu).filter(|_| can.allows(ChangeKind::Cpu)),
            cache,
            Some(bandwidth).filter(|_| can.allows(ChangeKind::MemoryBandwidth)),
        ];
        Layout::new(groups, resources.into_iter().flatten())
    }

    fn propose(&self, view: &View<'_>, proposal: &mut Proposal) {
        for (spec, wish) in view.world.vms.iter().zip(&mut proposal.vms) {
            let (share, ceiling) =
                (spec.memory_bandwidth.reservation.as_f64(), spec.memory_bandwidth.limit.as_f64());
            wish.memory_bandwidth = Some(Wish { share, ceiling, reason: Reason::Fit });
        }
        for (index, optimiser) in self.sockets.iter().enumerate() {
            let socket = SocketId::at(index);
            let everybody: Vec<usize> = on_socket(view.world, &view.snapshot.assignment, socket)
                .map(|(position, _)| position)
                .collect();
            let cpu = view.world.topology.sockets()[index].cpu().as_f64();
            let reserved = |group: &[usize]| -> f64 {
                group.iter().map(|position| view.world.vms[*position].cpu.reservation.as_f64()).sum()
            };
            let spare = (cpu - reserved(&everybody)).max(0.0);
            give_cpu(view, proposal, &everybody, cpu);
            for (group, members) in optimiser.groups.iter().enumerate() {
                let members: Vec<usize> = members.iter().filter_map(|vm| view.world.position(*vm)).collect();
                if let Some(share) = share(optimiser, Part::Cpu, group) {
                    give_cpu(view, proposal, &members, reserved(&members) + share * spare);
                }
                if let Some(share) = share(optimiser, Part::MemoryBandwidth, group) {
                    let channels = view.world.topology.memory_bandwidth(socket).as_f64();
                    cap_bandwidth(view, proposal, &members, share * channels);
                }
            }
        }
        self.propose_cache(view, proposal);
    }

    /// Class 0 is for all that are not latency-critical, class k + 1 for group k of each socket.
    fn propose_cache(&self, view: &View<'_>, proposal: &mut Proposal) {
        let sockets = view.world.topology.sockets();
        if !changes_cache(view) || view.world.topology.cache_classes() < 2 {
            return;
        }
        let critical = |optimiser: &Optimiser| optimiser.groups.len() - usize::from(optimiser.others);
        let most = self.sockets.iter().map(critical).max().unwrap_or(0);
        let mut classes = vec![vec![1; sockets.len()]; most + 1];
        for wish in &mut proposal.vms {
            wish.class = Some((ClassId(0), Reason::Fit));
        }
        for (index, (socket, optimiser)) in sockets.iter().zip(&self.sockets).enumerate() {
            let full = socket.cache.as_ref().map_or(0, |cache| cache.ways);
            let all = masks(socket.cache.as_ref(), &[full])[0];
            classes.iter_mut().for_each(|masks| masks[index] = all);
            let Some(units) = units(optimiser, Part::Cache) else { continue };
            for (group, mask) in masks(socket.cache.as_ref(), units).into_iter().enumerate() {
                let others = optimiser.others && group + 1 == optimiser.groups.len();
                let class = if others { 0 } else { group + 1 };
                classes[class][index] = mask;
                for position in optimiser.groups[group].iter().filter_map(|vm| view.world.position(*vm)) {
                    let reason = if others { Reason::Neighbour } else { Reason::Entitlement };
                    proposal.vms[position].class = Some((ClassId::at(class), reason));
                }
            }
        }
        proposal.classes = Some(classes);
    }
}

impl Policy for Clite {
    fn name(&self) -> &'static str {
        "clite"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.meter.watch(view);
        self.follow(view);
        let mut proposal = self.rest.decide(view);
        let fresh = proposal.vms.iter().any(|wish| wish.cpu.is_some());
        for wish in &mut proposal.vms {
            (wish.cpu, wish.memory_bandwidth) = (None, None);
        }
        // While changes are under way, what is measured answers to neither what was nor what will be.
        if view.frozen.contains(Family::Compute) {
            self.measured_since = None;
            return tidy(proposal);
        }
        let now = view.snapshot.at;
        match self.measured_since {
            None => {
                self.meter.restart(view);
                self.measured_since = Some(now);
            }
            Some(since) if now >= since + self.tuning.sample => {
                self.advance(view);
                self.measured_since = None;
            }
            Some(_) if fresh => {}
            Some(_) => return tidy(proposal),
        }
        self.propose(view, &mut proposal);
        tidy(proposal)
    }
}

/// Groups of latency-critical VMs by pressure, and last all others, if there are any.
fn group(view: &View<'_>, socket: SocketId, readings: &[Reading], most: usize) -> (Vec<Vec<VmId>>, bool) {
    let (mut critical, mut others) = (Vec::new(), Vec::new());
    for (position, (spec, _)) in on_socket(view.world, &view.snapshot.assignment, socket) {
        let pressure = readings[position].demand.unwrap_or(0.0) / spec.cpu.limit.as_f64().max(1.0);
        if is_critical(view, position) { critical.push((pressure, spec.id)) } else { others.push(spec.id) }
    }
    critical.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(&b.1)));
    let count = critical.len().min(most);
    let mut groups = vec![Vec::new(); count];
    let total = critical.len();
    for (rank, (_, vm)) in critical.into_iter().enumerate() {
        groups[rank * count / total].push(vm);
    }
    let any = !others.is_empty();
    if any {
        groups.push(others);
    }
    (groups, any)
}

fn seen(view: &View<'_>, position: usize, reading: &Reading) -> Seen {
    if is_critical(view, position) {
        return Seen { response: reading.slack.map(|slack| 1.0 - slack), ..Seen::default() };
    }
    let stalled = reading.memory_stalled.unwrap_or(0.0).clamp(0.0, 1.0);
    let cap = view.snapshot.assignment.holdings[position].memory_bandwidth.ceiling.as_f64();
    Seen {
        response: None,
        progress: reading.used.map(|used| used * (1.0 - stalled)),
        capped: reading.traffic.filter(|traffic| *traffic >= AT_CAP * cap),
        traffic: reading.traffic,
    }
}

fn units(optimiser: &Optimiser, part: Part) -> Option<&Vec<u32>> {
    let place = optimiser.layout.resources.iter().position(|resource| resource.part == part)?;
    optimiser.division.as_ref()?.get(place)
}

/// A group's share of a resource that is divided.
fn share(optimiser: &Optimiser, part: Part, group: usize) -> Option<f64> {
    let units = units(optimiser, part)?;
    let total: u32 = units.iter().sum();
    Some(f64::from(*units.get(group)?) / f64::from(total.max(1)))
}

fn give_cpu(view: &View<'_>, proposal: &mut Proposal, members: &[usize], amount: f64) {
    let spec = |position: &usize| &view.world.vms[*position];
    let claims: Vec<_> = members
        .iter()
        .map(|position| claim(spec(position).weight.as_f64(), spec(position).cpu, MilliCpu::as_f64))
        .collect();
    let mut parts = Vec::new();
    divide(amount, &claims, &mut parts);
    for (position, share) in members.iter().zip(parts) {
        let ceiling = spec(position).cpu.limit.as_f64();
        proposal.vms[*position].cpu = Some(Wish { share, ceiling, reason: Reason::Entitlement });
    }
}

/// The part of a group holds for each of its members, as a class of service on real hardware throttles whoever
/// is in it: with parts of that part whoever is busy would be held back for members that move nothing.
fn cap_bandwidth(view: &View<'_>, proposal: &mut Proposal, members: &[usize], amount: f64) {
    for position in members {
        let bounds = view.world.vms[*position].memory_bandwidth;
        let share = bounds.reservation.as_f64();
        let ceiling = amount.min(bounds.limit.as_f64()).max(share);
        proposal.vms[*position].memory_bandwidth = Some(Wish { share, ceiling, reason: Reason::Neighbour });
    }
}
