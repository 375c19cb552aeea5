//! What VMs of a drawn scenario may ask of a host's GPUs.

use halcyon_model::profile::GpuResponse;
use halcyon_model::{Bounds, ByteSize, Topology};
use rand_pcg::Pcg32;

use super::lots::{below, between};

/// Slices that reservations may still take. They take at most half of each GPU, so that an instance
/// of up to half of it always finds a legal place, and some are left to be given to who needs them.
#[derive(Debug)]
pub(super) struct GpuBudget {
    spans: u32,
    instances: Vec<Instance>,
}

/// A kind of instance that some GPU of the host offers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Instance {
    compute: u32,
    span: u32,
    memory: ByteSize,
    /// Whether two of it fit on its GPU.
    halves: bool,
}

/// What one VM is given of GPUs.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct GpuShare {
    pub(super) slices: Bounds<u32>,
    /// What the most that it ever asks for is of a whole GPU.
    pub(super) peak: f64,
}

impl GpuBudget {
    pub(super) fn of(topology: &Topology) -> Self {
        let gpus = topology.gpus();
        let offers = gpus.iter().flat_map(|gpu| {
            let memory =
                |span: u32| ByteSize::new(gpu.memory.get() / u64::from(gpu.slices.max(1)) * u64::from(span));
            gpu.profiles.iter().map(move |profile| Instance {
                compute: profile.compute,
                span: profile.span,
                memory: memory(profile.span),
                halves: profile.span <= gpu.slices / 2 && profile.starts.len() > 1,
            })
        });
        let mut instances: Vec<Instance> = offers.collect();
        instances.sort_unstable();
        instances.dedup();
        Self { spans: gpus.iter().map(|gpu| gpu.slices / 2).sum(), instances }
    }

    /// About how many VMs of the smallest kind can still have an instance.
    pub(super) fn room(&self) -> u32 {
        let least = self.instances.iter().filter(|found| found.halves).map(|found| found.span).min();
        least.map_or(0, |span| self.spans / span.max(1))
    }

    /// Reserves the smallest instance on which a program runs, with a larger one as the limit that
    /// carries the peak of its demand; nothing where there is none left.
    pub(super) fn take(&mut self, response: &GpuResponse, random: &mut Pcg32) -> Option<GpuShare> {
        let least = self.smallest(response)?;
        // An admitted VM gets whichever instance of so much compute is listed first.
        let span = self.instances.iter().filter(|it| it.compute == least.compute).map(|it| it.span).max()?;
        if span > self.spans {
            return None;
        }
        self.spans -= span;
        let mut larger: Vec<u32> = self
            .instances
            .iter()
            .filter(|found| found.compute > least.compute && found.memory >= response.memory)
            .map(|found| found.compute)
            .collect();
        larger.dedup();
        let limit = if larger.is_empty() { least.compute } else { larger[below(random, larger.len())] };
        let peak = response.speed(limit) * between(random, 0.6, 0.95);
        Some(GpuShare { slices: Bounds { reservation: least.compute, limit }, peak })
    }

    /// The smallest instance on which a program runs.
    fn smallest(&self, response: &GpuResponse) -> Option<Instance> {
        let fits = |found: &&Instance| {
            let alike = self.instances.iter().filter(|other| other.compute == found.compute);
            found.halves && alike.map(|other| other.memory).min() >= Some(response.memory)
        };
        self.instances.iter().find(fits).copied()
    }

    /// Whether the host has an instance on which a program runs.
    pub(super) fn can_run(&self, response: &GpuResponse) -> bool {
        self.smallest(response).is_some()
    }
}
