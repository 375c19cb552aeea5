//! How large drawn VMs are: their limits by what the host is to be overcommitted, their working sets by
//! what it has, and reservations that fit it.

use halcyon_model::{ByteSize, MilliCpu, Topology};
use rand_pcg::Pcg32;

use super::draw::Draw;
use super::lots::between;
use super::series::mean;
use super::sketch::Sketch;

/// Mean working set of all VMs, as a share of the host's memory: enough that who grows needs what
/// another no longer uses.
const MEMORY_LOAD: f64 = 0.95;

/// What limits come to at most, as a multiple of the host's CPUs, where the load is given: idle traces
/// would need VMs so large that not even their reservations fit.
const MOST_OVERCOMMIT: f64 = 8.0;

/// No VM is smaller: what a guest needs to stay up.
const LEAST_CORES: f64 = 0.1;
const LEAST_MEMORY: ByteSize = ByteSize::mib(256);
const LEAST_RESERVED: ByteSize = ByteSize::mib(64);

/// No reservation is more of its limit: whoever reserves all has nothing to be moved.
const MOST_RESERVED: f64 = 0.5;

/// How large one VM is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Size {
    pub(super) vcpus: u32,
    /// The most CPU time that it may have; whole CPUs, but for the smallest VMs.
    pub(super) cpu: MilliCpu,
    pub(super) cpu_reserved: MilliCpu,
    pub(super) memory: ByteSize,
    pub(super) memory_reserved: ByteSize,
}

impl Size {
    /// The most CPU time that it may have, in cores.
    pub(super) fn cores(&self) -> f64 {
        self.cpu.as_f64() / 1000.0
    }
}

/// CPUs that VMs can share, in cores.
pub(super) fn host_cores(topology: &Topology) -> f64 {
    topology.sockets().iter().map(|socket| socket.cpu().as_f64() / 1000.0).sum()
}

/// Memory that VMs can hold, in bytes.
pub(super) fn host_memory(topology: &Topology) -> f64 {
    topology.nodes().iter().map(|node| node.available().as_f64()).sum()
}

/// The largest factor of `[low, high]` that is not too much; `low` if all are.
fn largest(low: f64, high: f64, too_much: impl Fn(f64) -> bool) -> f64 {
    let (mut low, mut high) = (low, high);
    if !too_much(high) {
        return high;
    }
    for _ in 0..48 {
        let middle = f64::midpoint(low, high);
        *(if too_much(middle) { &mut high } else { &mut low }) = middle;
    }
    low
}

/// Sizes for all VMs of a draw.
pub(super) fn sizes(
    topology: &Topology,
    sketches: &[Sketch<'_>],
    draw: &Draw,
    random: &mut Pcg32,
) -> Vec<Size> {
    let cores = cores(topology, sketches, draw);
    let memory = memory(topology, sketches, draw);
    let reserve = |random: &mut Pcg32, there: f64, limits: &[f64], low: f64, eager: &dyn Fn(usize) -> f64| {
        let share = between(random, low, 0.4);
        let raw: Vec<f64> = limits
            .iter()
            .enumerate()
            .map(|(at, limit)| limit * eager(at) * between(random, 0.4, 1.0))
            .collect();
        let factor = share * there / raw.iter().sum::<f64>().max(1e-9);
        raw.iter()
            .zip(limits)
            .map(|(raw, limit)| (raw * factor).min(MOST_RESERVED * limit))
            .collect::<Vec<_>>()
    };
    let cpu_reserved = reserve(random, host_cores(topology), &cores, 0.1, &|at| sketches[at].kind.reserved);
    let memory_reserved = reserve(random, host_memory(topology), &memory, 0.2, &|_| 1.0);
    (0..sketches.len())
        .map(|at| {
            let limit = ByteSize::from_f64(memory[at]).floor_to(ByteSize::mib(1));
            let reserved = ByteSize::from_f64(memory_reserved[at]).floor_to(ByteSize::mib(1));
            let milli = |cores: f64| MilliCpu::from_f64(cores * 1000.0).floor_to(MilliCpu::new(10));
            Size {
                vcpus: whole(cores[at]),
                cpu: milli(cores[at]),
                cpu_reserved: milli(cpu_reserved[at]),
                memory: limit,
                memory_reserved: reserved.max(LEAST_RESERVED).min(limit),
            }
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn whole(cores: f64) -> u32 {
    libm::ceil(cores).clamp(1.0, 1024.0) as u32
}

fn cores(topology: &Topology, sketches: &[Sketch<'_>], draw: &Draw) -> Vec<f64> {
    let there = host_cores(topology);
    let sockets = topology.sockets().iter();
    let most = sockets.map(|socket| socket.cpu().as_f64() / 1000.0).fold(1.0, f64::max).floor().min(1024.0);
    let one = |sketch: &Sketch<'_>, factor: f64| {
        let cores = sketch.cores.unwrap_or(sketch.size * factor);
        if cores < 1.0 { cores.max(LEAST_CORES) } else { libm::round(cores).min(most) }
    };
    let means: Vec<f64> = sketches.iter().map(|sketch| mean(&sketch.activity)).collect();
    let too_much = |factor: f64| {
        let all = || sketches.iter().map(|sketch| one(sketch, factor));
        match draw.overcommit {
            Some(overcommit) => all().sum::<f64>() > overcommit * there,
            None => {
                let work: f64 = all().zip(&means).map(|(cores, mean)| cores * mean).sum();
                work > draw.load * there || all().sum::<f64>() > MOST_OVERCOMMIT * there
            }
        }
    };
    let factor = largest(1e-6, most, too_much);
    let mut cores: Vec<f64> = sketches.iter().map(|sketch| one(sketch, factor)).collect();
    if let Some(overcommit) = draw.overcommit {
        fill_up(&mut cores, sketches, factor, overcommit * there, most);
    }
    cores
}

/// Gives single cores, those first who lost most by rounding, until the sum is as near to `target` as it
/// can be.
fn fill_up(cores: &mut [f64], sketches: &[Sketch<'_>], factor: f64, target: f64, most: f64) {
    let mut order: Vec<usize> =
        (0..cores.len()).filter(|at| cores[*at] >= 1.0 && sketches[*at].cores.is_none()).collect();
    let lost = |at: &usize| sketches[*at].size * factor - cores[*at];
    order.sort_by(|a, b| lost(b).total_cmp(&lost(a)).then(a.cmp(b)));
    let mut left = target - cores.iter().sum::<f64>();
    for at in order {
        if left < 1.0 {
            return;
        }
        if cores[at] + 1.0 <= most {
            cores[at] += 1.0;
            left -= 1.0;
        }
    }
}

/// The most memory of each VM, in bytes.
fn memory(topology: &Topology, sketches: &[Sketch<'_>], draw: &Draw) -> Vec<f64> {
    let there = host_memory(topology);
    let most = (there / 4.0).max(LEAST_MEMORY.as_f64());
    let gib = ByteSize::gib(1).as_f64();
    let one = |sketch: &Sketch<'_>, factor: f64| {
        (sketch.size * sketch.kind.memory * factor * gib).clamp(LEAST_MEMORY.as_f64(), most)
    };
    let too_much = |factor: f64| {
        sketches.iter().map(|sketch| one(sketch, factor)).sum::<f64>() > draw.memory_overcommit * there
    };
    let factor = largest(1e-6, 4096.0, too_much);
    sketches.iter().map(|sketch| one(sketch, factor)).collect()
}

/// By what working sets are to be scaled so that together they come to [`MEMORY_LOAD`] of the host.
pub(super) fn working_set_factor(topology: &Topology, sketches: &[Sketch<'_>], sizes: &[Size]) -> f64 {
    let wanted = MEMORY_LOAD * host_memory(topology);
    let too_much = |factor: f64| {
        let one = |(sketch, size): (&Sketch<'_>, &Size)| {
            let shares = sketch.memory_use.iter().map(|share| (f64::from(*share) * factor).min(1.0));
            size.memory.as_f64() * shares.sum::<f64>() / sketch.memory_use.len().max(1) as f64
        };
        sketches.iter().zip(sizes).map(one).sum::<f64>() > wanted
    };
    largest(0.02, 3.0, too_much)
}
