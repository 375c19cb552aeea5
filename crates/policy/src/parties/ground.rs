//! What each VM is meant to hold, and the proposal that says so.

use std::collections::BTreeMap;

use halcyon_model::fair::{Claim, divide};
use halcyon_model::topology::MemoryNode;
use halcyon_model::{
    Bandwidth, ByteSize, ClassId, DeviceId, MemoryWish, MilliCpu, Proposal, Reason, SocketId, VmId, Wish,
};

use super::PartiesTuning;
use super::machine::Machine;
use crate::View;
use crate::common::{claim, device_bounds, divide_by_socket, on_socket};
use crate::latency::{Nodes, changes_cache, is_critical, masks, squeeze};

/// Smaller changes to the memory of those who have what is left are not worth a balloon.
const LEAST_CHANGE: f64 = 256.0 * 1024.0 * 1024.0;
/// Shares of a socket's or a device's bandwidth are in tenths.
pub(super) const TENTHS: u32 = 10;

/// What a latency-critical VM is meant to hold.
#[derive(Debug, Default)]
pub(super) struct Held {
    pub(super) machine: Machine,
    /// Thousandths of a core.
    pub(super) cpu: f64,
    /// Bytes.
    pub(super) memory: f64,
    /// Tenths of what its devices can move above their reservation.
    pub(super) device: u32,
}

/// How one socket's cache and memory channels are divided.
#[derive(Debug, Default)]
pub(super) struct Divided {
    /// Ways of each cluster of latency-critical VMs.
    pub(super) ways: Vec<u32>,
    /// Ways of all others.
    pub(super) others: u32,
    /// Tenths of the memory bandwidth that the others are kept from.
    pub(super) throttle: u32,
    /// Whether there are others.
    pub(super) shared: bool,
    /// Ways of a cluster at first.
    pub(super) even: u32,
}

#[derive(Debug, Default)]
pub(super) struct Ground {
    /// By position; nothing for VMs that are not latency-critical.
    pub(super) vms: Vec<Option<Held>>,
    pub(super) sockets: Vec<Divided>,
    /// By position: CPU time by weight, in thousandths of a core.
    pub(super) entitled: Vec<f64>,
    /// By position: the cluster on its socket.
    pub(super) cluster: Vec<Option<usize>>,
    known: Option<Vec<(VmId, SocketId)>>,
}

impl Ground {
    /// Follows VMs that come, go and move, and brings targets down that no longer fit together.
    pub(super) fn follow(&mut self, view: &View<'_>, tuning: &PartiesTuning) {
        let held = &view.snapshot.assignment;
        let now = held.holdings.iter().map(|holding| (holding.vm, holding.socket));
        if self.known.as_ref().is_some_and(|known| now.clone().eq(known.iter().copied())) {
            return;
        }
        let before = self.known.replace(now.collect());
        let cpu = divide_by_socket(
            view.world,
            held,
            |socket| view.world.topology.sockets()[socket.index()].cpu().as_f64(),
            |_, spec| claim(spec.weight.as_f64(), spec.cpu, MilliCpu::as_f64),
        );
        let memory = memory_by_weight(view, |_| None, all_memory(view));
        let before = before.into_iter().flatten().map(|(vm, _)| vm);
        let mut before: BTreeMap<VmId, Held> =
            before.zip(std::mem::take(&mut self.vms)).filter_map(|(vm, held)| Some((vm, held?))).collect();
        let place = |position: usize| {
            let fresh = || Held { cpu: cpu[position], memory: memory[position], ..Held::default() };
            let known = before.remove(&view.world.vms[position].id);
            is_critical(view, position).then(|| known.unwrap_or_else(fresh))
        };
        self.vms = (0..view.world.vms.len()).map(place).collect();
        self.entitled = cpu;
        self.fit(view);
        self.divide_caches(view, tuning);
    }

    fn fit(&mut self, view: &View<'_>) {
        let specs = view.world.vms;
        for socket in view.world.topology.sockets() {
            let room = socket.cpu().as_f64() - reserved_cpu(view, socket.id);
            let holdings = &view.snapshot.assignment.holdings;
            let here = self.vms.iter_mut().zip(specs).zip(holdings).filter(|(_, at)| at.socket == socket.id);
            let mut targets: Vec<_> = here
                .filter_map(|((held, spec), _)| {
                    Some((&mut held.as_mut()?.cpu, spec.cpu.reservation.as_f64()))
                })
                .collect();
            squeeze(room, &mut targets);
        }
        let room = all_memory(view) - self.reserved_memory(view);
        let mine = self.vms.iter_mut().zip(specs);
        let mut targets: Vec<_> = mine
            .filter_map(|(held, spec)| Some((&mut held.as_mut()?.memory, spec.memory.reservation.as_f64())))
            .collect();
        squeeze(room, &mut targets);
    }

    /// Memory that those who are not latency-critical keep.
    pub(super) fn reserved_memory(&self, view: &View<'_>) -> f64 {
        let others = self.vms.iter().zip(view.world.vms).filter(|(held, _)| held.is_none());
        others.map(|(_, spec)| spec.memory.reservation.as_f64()).sum()
    }

    /// Clusters VMs by objective, the tightest together, and starts from equal parts.
    fn divide_caches(&mut self, view: &View<'_>, tuning: &PartiesTuning) {
        let topology = view.world.topology;
        self.cluster = vec![None; view.world.vms.len()];
        let mut divided = Vec::new();
        for socket in topology.sockets() {
            let mut critical = Vec::new();
            let mut shared = false;
            for (position, (spec, _)) in on_socket(view.world, &view.snapshot.assignment, socket.id) {
                match spec.objective {
                    halcyon_model::Objective::Latency { p99 } => critical.push((p99, position)),
                    _ => shared = true,
                }
            }
            critical.sort_unstable();
            let (ways, least) = socket.cache.as_ref().map_or((0, 1), |cache| (cache.ways, cache.min_ways));
            let most = (ways / least.max(1)).saturating_sub(1) as usize;
            let classes = topology.cache_classes().saturating_sub(1);
            let count = critical.len().min(tuning.clusters).min(most).min(classes);
            for (rank, (_, position)) in critical.iter().enumerate() {
                self.cluster[*position] = (count > 0).then(|| rank * count / critical.len());
            }
            let parts = u32::try_from(count).unwrap_or(0) + u32::from(shared);
            let even = ways / parts.max(1);
            let taken = even * u32::try_from(count).unwrap_or(0);
            let throttle = self.sockets.get(socket.id.index()).map_or(0, |before| before.throttle);
            let throttle = if shared { throttle } else { 0 };
            let (ways, others) = (vec![even; count], ways - taken);
            divided.push(Divided { ways, others, throttle, shared, even });
        }
        self.sockets = divided;
    }

    pub(super) fn propose(&self, view: &View<'_>, tuning: &PartiesTuning, proposal: &mut Proposal) {
        self.propose_compute(view, proposal);
        self.propose_memory(view, tuning, proposal);
        if changes_cache(view) && self.sockets.iter().any(|socket| !socket.ways.is_empty()) {
            self.propose_cache(view, proposal);
        }
        proposal.device_bandwidth = self.device_wishes(view);
    }

    fn propose_compute(&self, view: &View<'_>, proposal: &mut Proposal) {
        let held = &view.snapshot.assignment;
        let topology = view.world.topology;
        let cpu = divide_by_socket(
            view.world,
            held,
            |socket| topology.sockets()[socket.index()].cpu().as_f64(),
            |position, spec| match &self.vms[position] {
                Some(mine) => Claim { weight: 1.0, least: mine.cpu, most: mine.cpu },
                None => claim(spec.weight.as_f64(), spec.cpu, MilliCpu::as_f64),
            },
        );
        let capped = divide_by_socket(
            view.world,
            held,
            |socket| {
                let throttle = self.sockets[socket.index()].throttle.min(TENTHS);
                topology.memory_bandwidth(socket).as_f64() * f64::from(TENTHS - throttle) / f64::from(TENTHS)
            },
            |position, spec| match &self.vms[position] {
                Some(_) => Claim { weight: 1.0, least: 0.0, most: 0.0 },
                None => claim(spec.weight.as_f64(), spec.memory_bandwidth, Bandwidth::as_f64),
            },
        );
        for (position, wish) in proposal.vms.iter_mut().enumerate() {
            let (spec, holding) = (&view.world.vms[position], &held.holdings[position]);
            let limit = spec.cpu.limit.as_f64();
            let expected = cpu[position] / limit.max(1.0);
            let reason = match &self.vms[position] {
                None => Reason::Fit,
                Some(mine) if mine.cpu < holding.cpu.share.as_f64() => Reason::Idle { expected },
                Some(_) => Reason::Demand { expected },
            };
            wish.cpu = Some(Wish { share: cpu[position], ceiling: limit, reason });
            let free = self.vms[position].is_some() || self.sockets[holding.socket.index()].throttle == 0;
            let ceiling = if free { spec.memory_bandwidth.limit.as_f64() } else { capped[position] };
            let reason = if free { Reason::Fit } else { Reason::Neighbour };
            let share = spec.memory_bandwidth.reservation.as_f64();
            wish.memory_bandwidth = Some(Wish { share, ceiling, reason });
        }
    }

    /// The others have what is left, by weight.
    fn propose_memory(&self, view: &View<'_>, tuning: &PartiesTuning, proposal: &mut Proposal) {
        let mine = |position: usize| self.vms[position].as_ref().map(|held| held.memory);
        let targets = memory_by_weight(view, mine, all_memory(view));
        let mut nodes = Nodes::of(view);
        for (position, wish) in proposal.vms.iter_mut().enumerate() {
            let (spec, target) = (&view.world.vms[position], targets[position]);
            let held = view.snapshot.assignment.holdings[position].total_memory().as_f64();
            let worth = match mine(position) {
                Some(_) => 0.01 * memory_unit(tuning, spec),
                None => LEAST_CHANGE.max(0.05 * held),
            };
            if (target - held).abs() <= worth || (target < held && refuses_memory(view, position)) {
                continue;
            }
            let reason = if target < held {
                Reason::Idle { expected: target / spec.memory.limit.as_f64().max(1.0) }
            } else if mine(position).is_some() {
                Reason::Demand { expected: target / spec.memory.limit.as_f64().max(1.0) }
            } else {
                Reason::Fit
            };
            wish.memory = Some(MemoryWish { nodes: nodes.resize(view, position, target), reason });
        }
    }

    /// Class 0 is for all others; cluster k of each socket is in class k + 1.
    fn propose_cache(&self, view: &View<'_>, proposal: &mut Proposal) {
        let sockets = view.world.topology.sockets();
        let most = self.sockets.iter().map(|socket| socket.ways.len()).max().unwrap_or(0);
        let mut classes = vec![vec![0; sockets.len()]; most + 1];
        for (index, (socket, divided)) in sockets.iter().zip(&self.sockets).enumerate() {
            let mut parts = divided.ways.clone();
            parts.push(divided.others);
            let laid = masks(socket.cache.as_ref(), &parts);
            let (others, mine) = laid.split_last().map_or((1, &laid[..]), |(last, mine)| (*last, mine));
            for (class, masks) in classes.iter_mut().enumerate() {
                masks[index] = class.checked_sub(1).map_or(others, |k| *mine.get(k).unwrap_or(&others));
            }
        }
        proposal.classes = Some(classes);
        for (wish, cluster) in proposal.vms.iter_mut().zip(&self.cluster) {
            let class = ClassId::at(cluster.map_or(0, |cluster| cluster + 1));
            let reason = if cluster.is_some() { Reason::Entitlement } else { Reason::Neighbour };
            wish.class = Some((class, reason));
        }
    }

    fn device_wishes(&self, view: &View<'_>) -> Vec<(DeviceId, Wish)> {
        let devices = view.snapshot.assignment.devices.iter().enumerate();
        let wishes = devices.filter_map(|(index, held)| {
            let (device, owner) = (DeviceId::at(index), held.owner?);
            let (least, most) = device_bounds(view.world, device, owner)?;
            let mine = view.world.position(owner).and_then(|position| self.vms[position].as_ref());
            let tenths = mine.map_or(0, |mine| mine.device);
            let share = least + (most - least).max(0.0) * f64::from(tenths) / f64::from(TENTHS);
            let reason = if tenths > 0 { Reason::Demand { expected: 1.0 } } else { Reason::Fit };
            Some((device, Wish { share, ceiling: most, reason }))
        });
        wishes.collect()
    }
}

/// CPU time that those who are not latency-critical keep on a socket.
pub(super) fn reserved_cpu(view: &View<'_>, socket: SocketId) -> f64 {
    on_socket(view.world, &view.snapshot.assignment, socket)
        .filter(|(position, _)| !is_critical(view, *position))
        .map(|(_, (spec, _))| spec.cpu.reservation.as_f64())
        .sum()
}

/// Memory that VMs can hold, in bytes.
pub(super) fn all_memory(view: &View<'_>) -> f64 {
    view.world.topology.nodes().iter().map(MemoryNode::available).map(ByteSize::as_f64).sum()
}

pub(super) fn memory_unit(tuning: &PartiesTuning, spec: &halcyon_model::VmSpec) -> f64 {
    tuning.memory_unit.min(spec.memory.limit.as_f64() / 16.0).max(1.0)
}

pub(super) fn refuses_memory(view: &View<'_>, position: usize) -> bool {
    let sample = view.snapshot.vms.get(position).filter(|sample| sample.vm == view.world.vms[position].id);
    sample.and_then(|sample| sample.refuses_memory_until).is_some_and(|until| view.snapshot.at < until)
}

/// Memory of each VM: fixed where `fixed` says so, by weight and within bounds otherwise.
fn memory_by_weight(view: &View<'_>, fixed: impl Fn(usize) -> Option<f64>, capacity: f64) -> Vec<f64> {
    let claims = view.world.vms.iter().enumerate().map(|(position, spec)| match fixed(position) {
        Some(amount) => Claim { weight: 1.0, least: amount, most: amount },
        None => claim(spec.weight.as_f64(), spec.memory, ByteSize::as_f64),
    });
    let mut parts = Vec::new();
    divide(capacity, &claims.collect::<Vec<_>>(), &mut parts);
    parts
}
