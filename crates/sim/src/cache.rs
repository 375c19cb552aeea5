//! Last-level cache: who fills how much of it, and what that does to them.
//!
//! A class of service may fill the ways of its mask, and masks may overlap. In the long run what is
//! inserted equals what is evicted, and eviction takes lines without asking whose they are (pseudo-LRU is
//! near to random where several programs meet). A way is therefore divided by the rates at which VMs
//! insert into it, and a VM inserts what it misses: its memory traffic, spread evenly over its ways. See
//! Eklov, Black-Schaffer and Hagersten, "StatCC: a statistical cache contention model" (PACT 2010), for
//! the same balance. VMs that run the same program do not share lines; the vCPUs of one VM do.

use halcyon_model::{Assignment, CacheMask, SocketId, Topology};

use crate::host::SimHost;
use crate::vm::Vm;

/// How far a VM's part moves towards its balance in one step: what it holds decides what it misses, so
/// that a full move would swing.
const DAMPING: f64 = 0.5;

/// Traffic below which a VM fills no cache, in bytes per second.
const LEAST_TRAFFIC: f64 = 1e3;

/// What the sharing needs at hand.
#[derive(Debug, Default)]
pub(crate) struct Caches {
    /// Insertions of each class of the socket at hand, for each way of its mask.
    pressure: Vec<f64>,
    /// Bytes of cache per insertion rate, for each class.
    yields: Vec<f64>,
    /// Insertions by way.
    ways: Vec<f64>,
}

impl SimHost {
    /// Moves each VM's part of the cache towards the balance of its class, and says what it does.
    pub(crate) fn share_cache(&mut self) {
        let Self { vms, caches, compute, inventory, assignment, .. } = self;
        for (socket, members) in inventory.topology.sockets().iter().zip(&compute.on_socket) {
            let Some(cache) = &socket.cache else {
                for position in members {
                    let vm = &mut vms[*position];
                    vm.effect = vm.workload.application.response.cache.effect(f64::INFINITY);
                }
                continue;
            };
            let way_bytes = cache.size.as_f64() / f64::from(cache.ways.max(1));
            caches.measure(socket.id, cache.ways, members, vms, assignment);
            for position in members {
                let (vm, class) = (&mut vms[*position], assignment.holdings[*position].class.index());
                let per_way = inserts(vm) / f64::from(ways_of(assignment, class, socket.id).ways().max(1));
                let target = per_way * caches.yields[class] * way_bytes;
                vm.cache += DAMPING * (target - vm.cache);
                vm.effect = vm.workload.application.response.cache.effect(vm.cache);
            }
        }
    }
}

impl Caches {
    fn measure(
        &mut self,
        socket: SocketId,
        ways: u32,
        members: &[usize],
        vms: &[Vm],
        assignment: &Assignment,
    ) {
        let Self { pressure, yields, ways: by_way } = self;
        let classes = assignment.classes.len().max(1);
        pressure.clear();
        pressure.resize(classes, 0.0);
        for position in members {
            let class = assignment.holdings[*position].class.index();
            let mask = ways_of(assignment, class, socket);
            pressure[class] += inserts(&vms[*position]) / f64::from(mask.ways().max(1));
        }
        by_way.clear();
        by_way.resize(ways as usize, 0.0);
        let in_mask = |class: usize, way: usize| ways_of(assignment, class, socket).0 & (1 << way) != 0;
        for (way, sum) in by_way.iter_mut().enumerate() {
            *sum = (0..classes).filter(|class| in_mask(*class, way)).map(|class| pressure[class]).sum();
        }
        yields.clear();
        yields.extend((0..classes).map(|class| {
            let ways = by_way.iter().enumerate().filter(|(way, sum)| **sum > 0.0 && in_mask(class, *way));
            ways.map(|(_, sum)| 1.0 / sum).sum::<f64>()
        }));
    }
}

/// The ways that a class may fill on a socket; all of them where classes cannot be told apart.
fn ways_of(assignment: &Assignment, class: usize, socket: SocketId) -> CacheMask {
    let masks = assignment.classes.get(class).and_then(Option::as_ref);
    masks.and_then(|masks| masks.get(socket.index())).copied().unwrap_or(CacheMask(u32::MAX))
}

fn inserts(vm: &Vm) -> f64 {
    vm.memory_traffic.max(LEAST_TRAFFIC)
}

/// Every VM begins with an even part of its socket's cache.
pub(crate) fn fill_evenly(topology: &Topology, on_socket: &[Vec<usize>], vms: &mut [Vm]) {
    for (socket, members) in topology.sockets().iter().zip(on_socket) {
        let size = socket.cache.as_ref().map_or(0.0, |cache| cache.size.as_f64());
        for position in members {
            #[allow(clippy::cast_precision_loss)]
            let part = size / members.len() as f64;
            vms[*position].cache = part;
        }
    }
}
