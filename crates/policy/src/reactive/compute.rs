//! CPU shares, memory-bandwidth caps, and the sockets that VMs run on.

use halcyon_model::fair::Claim;
use halcyon_model::{Objective, Reason, SocketId, VmSpec, VmWish, Wish};

use super::{Known, Reactive};
use crate::View;
use crate::common::{divide_by_socket, on_socket};

/// A VM that moves this share of its cap would move more without it.
const AT_CAP: f64 = 0.9;

impl Reactive {
    /// Shares follow expected demand; the ceiling stays at the limit, so that nothing lies idle.
    pub(super) fn divide_cpu(
        &self,
        view: &View<'_>,
        expected: &[Option<f64>],
        known: Option<&dyn Known>,
        wishes: &mut [VmWish],
    ) {
        let held = &view.snapshot.assignment;
        let topology = view.world.topology;
        let shares = divide_by_socket(
            view.world,
            held,
            |socket| topology.sockets()[socket.index()].cpu().as_f64(),
            |position, spec| {
                let (least, limit) = (spec.cpu.reservation.as_f64(), spec.cpu.limit.as_f64());
                let need = expected[position].unwrap_or(limit) * (1.0 + self.tuning.cpu_headroom);
                // A VM that sleeps keeps a foot in the door: a request that has to be answered in time
                // runs on one core, however rare it is. What it leaves, the others use.
                let foot = match spec.objective {
                    Objective::Latency { .. } => limit.min(1000.0),
                    _ => 0.02 * limit,
                };
                let rank = known.map_or(1.0, |known| known.rank(position));
                Claim { weight: self.weight(spec) * rank, least, most: need.max(foot).clamp(least, limit) }
            },
        );
        for (position, (wish, share)) in wishes.iter_mut().zip(shares).enumerate() {
            let spec = &view.world.vms[position];
            let (held, limit) = (held.holdings[position].cpu, spec.cpu.limit.as_f64());
            let band = known.and_then(|known| known.band(position)).unwrap_or(self.tuning.dead_band);
            let near = (share - held.share.as_f64()).abs() <= band * held.share.as_f64() + 50.0;
            let Some(expected) = expected[position].filter(|_| !near || held.ceiling != spec.cpu.limit)
            else {
                continue;
            };
            let expected = expected / limit;
            let more = share > held.share.as_f64();
            let reason = if more { Reason::Demand { expected } } else { Reason::Idle { expected } };
            wish.cpu = Some(Wish { share, ceiling: limit, reason });
        }
    }

    /// Where the channels of a socket are nearly full, all but the latency-critical VMs are capped at
    /// their fair part of what the others leave. They are let go again once the channels are far from
    /// full and no cap holds anybody back: what a cap hides is still wanted.
    pub(super) fn divide_memory_bandwidth(&mut self, view: &View<'_>, wishes: &mut [VmWish]) {
        let held = &view.snapshot.assignment;
        self.throttled.resize(view.world.topology.sockets().len(), false);
        let moved = |position: usize| {
            view.history.estimate(position).and_then(|known| known.memory_bandwidth.percentile(0.75))
        };
        let throttled_now = self.throttled.clone();
        let at_cap = |position: usize| {
            let holding = &held.holdings[position];
            let near = AT_CAP * holding.memory_bandwidth.ceiling.as_f64();
            throttled_now[holding.socket.index()] && moved(position).is_some_and(|moved| moved >= near)
        };
        let critical = |spec: &VmSpec| matches!(spec.objective, Objective::Latency { .. });
        for socket in view.world.topology.sockets() {
            let capacity = view.world.topology.memory_bandwidth(socket.id).as_f64();
            let load: f64 = on_socket(view.world, held, socket.id)
                .filter_map(|(position, _)| moved(position))
                .sum::<f64>()
                / capacity;
            let throttled = &mut self.throttled[socket.id.index()];
            let threshold = if *throttled { self.tuning.bandwidth_low } else { self.tuning.bandwidth_high };
            let held_back =
                |(position, (spec, _)): (usize, (&VmSpec, _))| !critical(spec) && at_cap(position);
            *throttled =
                load > threshold || (*throttled && on_socket(view.world, held, socket.id).any(held_back));
        }
        let parts = divide_by_socket(
            view.world,
            held,
            |socket| 0.95 * view.world.topology.memory_bandwidth(socket).as_f64(),
            |position, spec| {
                let (least, limit) =
                    (spec.memory_bandwidth.reservation.as_f64(), spec.memory_bandwidth.limit.as_f64());
                // Whoever is held back may double, so that the others are not cut for what nobody needs.
                let room = if at_cap(position) { 2.0 } else { 1.2 };
                let need = moved(position).map_or(limit, |moved| room * moved);
                Claim { weight: self.weight(spec), least, most: need.clamp(least, limit) }
            },
        );
        for (position, (wish, part)) in wishes.iter_mut().zip(parts).enumerate() {
            let (spec, holding) = (&view.world.vms[position], &held.holdings[position]);
            let limit = spec.memory_bandwidth.limit.as_f64();
            let free = critical(spec) || !self.throttled[holding.socket.index()];
            let ceiling = if free { limit } else { part };
            let now = holding.memory_bandwidth.ceiling.as_f64();
            if (ceiling - now).abs() > self.tuning.dead_band * now {
                let reason = if free { Reason::Fit } else { Reason::Neighbour };
                wish.memory_bandwidth =
                    Some(Wish { share: spec.memory_bandwidth.reservation.as_f64(), ceiling, reason });
            }
        }
    }

    /// Moves one VM from the most to the least loaded socket, where that brings them nearer to each
    /// other and the most loaded one is short.
    pub(super) fn balance_sockets(
        &mut self,
        view: &View<'_>,
        expected: &[Option<f64>],
        wishes: &mut [VmWish],
    ) {
        let held = &view.snapshot.assignment;
        let load = |socket: SocketId| {
            let asked: f64 =
                on_socket(view.world, held, socket).filter_map(|(position, _)| expected[position]).sum();
            asked / view.world.topology.sockets()[socket.index()].cpu().as_f64()
        };
        let loads: Vec<(SocketId, f64)> =
            view.world.topology.sockets().iter().map(|socket| (socket.id, load(socket.id))).collect();
        let by_load = |a: &&(SocketId, f64), b: &&(SocketId, f64)| a.1.total_cmp(&b.1);
        let (Some(&(from, here)), Some(&(to, there))) =
            (loads.iter().max_by(by_load), loads.iter().min_by(by_load))
        else {
            return;
        };
        if here < 0.95 || here - there < 0.2 {
            return;
        }
        let capacity = view.world.topology.sockets()[from.index()].cpu().as_f64();
        let ideal = (here - there) / 2.0 * capacity;
        let off = |position: usize| (expected[position].unwrap_or(0.0) - ideal).abs();
        let candidates = on_socket(view.world, held, from).map(|(position, _)| position);
        let best = candidates.min_by(|a, b| off(*a).total_cmp(&off(*b)).then(a.cmp(b)));
        if let Some(position) = best.filter(|position| off(*position) < ideal) {
            wishes[position].socket = Some((to, Reason::Crowded { here, there }));
        }
    }
}
