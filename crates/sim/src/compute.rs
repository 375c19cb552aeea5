//! CPU time and memory bandwidth, shared as the kernel and the memory controllers share them.

use halcyon_model::fair::{Claim, divide};
use halcyon_model::{Assignment, MilliCpu, Topology};

use crate::host::SimHost;

/// What the sharing needs at hand.
#[derive(Debug)]
pub(crate) struct Compute {
    /// Positions of the VMs on each socket.
    pub(crate) on_socket: Vec<Vec<usize>>,
    claims: Vec<Claim>,
    parts: Vec<f64>,
    /// For each memory node, which VM asks for how much of its bandwidth.
    asked: Vec<Vec<Asked>>,
}

/// What one VM asks of one memory node.
#[derive(Debug, Clone, Copy)]
struct Asked {
    position: usize,
    /// How much of what it could use its throttle leaves, 0 to 1.
    throttled: f64,
    /// In bytes per second, below the throttle.
    wanted: f64,
}

impl Compute {
    pub(crate) fn new(topology: &Topology, start: &Assignment) -> Self {
        let mut compute = Self {
            on_socket: vec![Vec::new(); topology.sockets().len()],
            claims: Vec::new(),
            parts: Vec::new(),
            asked: vec![Vec::new(); topology.nodes().len()],
        };
        compute.place(start);
        compute
    }

    pub(crate) fn place(&mut self, assignment: &Assignment) {
        self.on_socket.iter_mut().for_each(Vec::clear);
        for (position, holding) in assignment.holdings.iter().enumerate() {
            self.on_socket[holding.socket.index()].push(position);
        }
    }
}

/// The least weight that the kernel knows, in thousandths of a core.
const LEAST_WEIGHT: f64 = 10.0;

impl SimHost {
    /// Shares are weights and ceilings are quotas: the kernel leaves no CPU idle while somebody may run.
    pub(crate) fn share_cpu(&mut self) {
        let seconds = self.parameters.step.as_secs_f64();
        let Compute { on_socket, claims, parts, .. } = &mut self.compute;
        for (socket, members) in self.inventory.topology.sockets().iter().zip(on_socket) {
            let capacity = cores(socket.cpu());
            claims.clear();
            for position in members.iter() {
                let (vm, held) = (&mut self.vms[*position], self.assignment.holdings[*position].cpu);
                vm.cpu_wanted = vm.wants(seconds).min(cores(self.inventory.vms[*position].cpu.limit));
                let weight = held.share.as_f64().max(LEAST_WEIGHT);
                claims.push(Claim { weight, least: 0.0, most: vm.cpu_wanted.min(cores(held.ceiling)) });
            }
            divide(capacity, claims, parts);
            let spare = (capacity - parts.iter().sum::<f64>()).max(0.0);
            // Where somebody is short, everybody could rise to the level that the short ones are at; and to an
            // even level in any case.
            let even = capacity / claims.iter().map(|claim| claim.weight).sum::<f64>().max(1e-9);
            let short = claims.iter().zip(parts.iter()).filter(|(claim, part)| **part < claim.most - 1e-9);
            let level = short.map(|(claim, part)| part / claim.weight).fold(even, f64::max);
            for ((position, part), claim) in members.iter().zip(parts.iter()).zip(claims.iter()) {
                let vm = &mut self.vms[*position];
                let ceiling = cores(self.assignment.holdings[*position].cpu.ceiling);
                vm.cpu = *part;
                vm.cpu_within_reach = (part + spare).max(level * claim.weight).min(ceiling);
            }
        }
    }

    /// Memory channels are shared alike by whoever asks, below each VM's throttle.
    pub(crate) fn share_memory_bandwidth(&mut self) {
        self.throttle();
        let Compute { claims, parts, asked, .. } = &mut self.compute;
        asked.iter_mut().for_each(Vec::clear);
        for (position, (vm, holding)) in self.vms.iter_mut().zip(&self.assignment.holdings).enumerate() {
            if vm.memory_traffic <= 0.0 {
                continue;
            }
            let total = holding.total_memory().as_f64().max(1.0);
            for (node, size) in &holding.memory {
                let part = size.as_f64() / total;
                let wanted = vm.memory_traffic * part;
                asked[node.index()].push(Asked { position, throttled: vm.memory_factor, wanted });
            }
        }
        for (node, asked) in self.inventory.topology.nodes().iter().zip(asked) {
            let capacity = node.bandwidth.as_f64();
            if asked.iter().map(|asked| asked.wanted).sum::<f64>() <= capacity {
                continue;
            }
            claims.clear();
            claims.extend(asked.iter().map(|asked| Claim { weight: 1.0, least: 0.0, most: asked.wanted }));
            divide(capacity, claims, parts);
            for (asked, got) in asked.iter().zip(parts.iter()).filter(|(asked, _)| asked.wanted > 0.0) {
                // Pages are spread over the nodes, so the slowest of them sets the pace.
                let vm = &mut self.vms[asked.position];
                vm.memory_factor = vm.memory_factor.min(asked.throttled * (got / asked.wanted).min(1.0));
            }
        }
        for vm in &mut self.vms {
            let wanted = vm.cpu * vm.efficiency * vm.effect.traffic;
            vm.memory_traffic = wanted * vm.memory_factor;
        }
    }

    /// What throttles leave of each VM's memory traffic and speed. They are coarse and late, hits in the
    /// cache wait with the misses, and a core's other thread waits with it.
    fn throttle(&mut self) {
        let parameters = &self.parameters;
        let settled =
            1.0 - libm::exp(-parameters.step.as_secs_f64() / parameters.throttle_settles.as_secs_f64());
        for (socket, members) in self.inventory.topology.sockets().iter().zip(&self.compute.on_socket) {
            let bandwidth = self.inventory.topology.memory_bandwidth(socket.id).as_f64();
            let step = bandwidth / parameters.throttle_steps.max(1.0);
            let mut held_back = 0.0;
            for position in members {
                let (vm, held) = (&mut self.vms[*position], &self.assignment.holdings[*position]);
                let ceiling = held.memory_bandwidth.ceiling.as_f64();
                let cap = if ceiling >= bandwidth { ceiling } else { (ceiling / step).ceil() * step };
                vm.throttle = if cap >= vm.throttle {
                    cap
                } else {
                    let from = vm.throttle.min(bandwidth);
                    from + (cap - from) * settled
                };
                let wanted = vm.cpu * vm.efficiency * vm.effect.traffic;
                let hits = vm.cpu * vm.efficiency * vm.most_traffic - wanted;
                let asked = wanted + parameters.throttle_hits * hits.max(0.0);
                let left = if asked > vm.throttle { vm.throttle / asked } else { 1.0 };
                vm.memory_factor = left;
                vm.memory_traffic = wanted * left;
                held_back += vm.cpu * (1.0 - left);
            }
            if held_back > 0.0 && socket.threads_per_core > 1 {
                let spill = 1.0 - parameters.throttle_spill * (held_back / cores(socket.cpu())).min(1.0);
                for position in members {
                    let vm = &mut self.vms[*position];
                    vm.memory_factor *= spill;
                    vm.memory_traffic *= spill;
                }
            }
        }
    }
}

fn cores(cpu: MilliCpu) -> f64 {
    cpu.as_f64() / 1000.0
}
