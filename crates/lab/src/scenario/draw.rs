//! What a scenario is drawn by.

use std::time::Duration;

use halcyon_model::{ByteSize, Objective, Topology, VmSpec};
use halcyon_sim::Guest;
use rand_pcg::Pcg32;

use super::lots::{between, stream, uniform};
use super::sizes::{host_cores, host_memory};

/// What to draw a scenario by. Start from [`Draw::new`] and change what is to be different.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// How many VMs.
    pub vms: usize,
    /// How long a run lasts.
    pub duration: Duration,
    /// The seed.
    pub seed: u64,
    /// Mean CPU demand of all VMs, as a share of the host; not looked at where `overcommit` is given.
    pub load: f64,
    /// The CPU limits of all VMs together, as a multiple of the host's CPUs. The mean demand then follows
    /// from the traces.
    pub overcommit: Option<f64>,
    /// The memory limits of all VMs together, as a multiple of the host's memory.
    pub memory_overcommit: f64,
    /// The share of the VMs with a latency objective whose response times are measured.
    pub signal: f64,
    /// The share of the VMs that arrive after the start, or leave before the end, or both.
    pub churn: f64,
}

impl Draw {
    /// So many VMs that ask for 60 % of the host's CPUs on average, with limits that come to 1.6 times its
    /// memory; all response times are measured, and nobody comes or goes.
    #[must_use]
    pub const fn new(vms: usize, duration: Duration, seed: u64) -> Self {
        Self {
            vms,
            duration,
            seed,
            load: 0.6,
            overcommit: None,
            memory_overcommit: 1.6,
            signal: 1.0,
            churn: 0.0,
        }
    }

    /// What is wrong with it, if anything.
    pub(super) fn fault(&self) -> Option<String> {
        let amount = |name: &str, value: f64, most: f64| {
            (!(value > 0.0 && value <= most))
                .then(|| format!("{name} is {value}; it must be above 0 and at most {most}"))
        };
        let share = |name: &str, value: f64| {
            (!(0.0..=1.0).contains(&value)).then(|| format!("{name} is {value}; it must be from 0 to 1"))
        };
        let none = |zero: bool, what: &str| zero.then(|| what.to_owned());
        amount("load", self.load, 100.0)
            .or_else(|| self.overcommit.and_then(|overcommit| amount("overcommit", overcommit, 100.0)))
            .or_else(|| amount("memory overcommit", self.memory_overcommit, 100.0))
            .or_else(|| share("signal", self.signal))
            .or_else(|| share("churn", self.churn))
            .or_else(|| none(self.duration.is_zero(), "the run lasts no time at all; give it some"))
    }
}

/// How many VMs are an ordinary load for a host: about three for every four CPUs, as consolidation
/// ratios go, and not more than its memory can hold.
#[must_use]
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub fn default_vms(topology: &Topology) -> usize {
    let by_cpu = libm::round(host_cores(topology) * 8.0 / 11.0);
    let by_memory = host_memory(topology) / ByteSize::gib(1).as_f64();
    by_cpu.min(by_memory).clamp(2.0, 1024.0) as usize
}

/// Decides whose response times are measured, and who comes and goes.
pub(super) fn live(guests: &mut [Guest], draw: &Draw) {
    let mut random = stream(draw.seed, 2);
    for guest in guests {
        let latency = matches!(guest.spec.objective, Objective::Latency { .. });
        let (signal, churns) = (uniform(&mut random), uniform(&mut random));
        guest.signal = latency && signal < draw.signal;
        let stay = stay(draw.duration.as_secs_f64(), &mut random);
        if churns < draw.churn {
            (guest.arrives, guest.leaves) = stay;
        }
        // What a VM must have plugged in before it boots is there from the start.
        if plugged(&guest.spec) {
            guest.arrives = Duration::ZERO;
        }
    }
}

/// Whether a VM must have something plugged in when it boots.
pub(super) fn plugged(spec: &VmSpec) -> bool {
    spec.gpu_slices.reservation > 0 || spec.devices.iter().any(|wish| wish.count.reservation > 0)
}

/// Arrives late, leaves early, or both, to the second.
fn stay(seconds: f64, random: &mut Pcg32) -> (Duration, Option<Duration>) {
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let whole = |at: f64| Duration::from_secs(libm::round(at).max(1.0) as u64);
    let (which, from, to) = (uniform(random), between(random, 0.05, 0.45), between(random, 0.55, 0.95));
    let arrives = if which < 2.0 / 3.0 { whole(from * seconds) } else { Duration::ZERO };
    let leaves = (which >= 1.0 / 3.0).then(|| whole(to * seconds));
    (arrives, leaves)
}
