//! What is known of programs before they run: how they respond to what they hold.
//!
//! Parameters are fitted to measured tables; the profiles name their source and how well they fit.

mod cache;
mod gpu;

pub use crate::describe::{parse_application, write_application};
pub use cache::{CacheEffect, CacheResponse};
pub use gpu::GpuResponse;

use std::collections::BTreeMap;

/// How a program responds to what it holds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Response {
    /// To last-level cache.
    pub cache: CacheResponse,
    /// To GPU slices, for programs that use a GPU.
    pub gpu: Option<GpuResponse>,
    /// Slow-down per share of the working set that is not in memory: with k, a program that misses a
    /// tenth runs at 1 / (1 + k/10) of its speed. Nothing where it was not measured.
    pub paging: Option<f64>,
    /// CPU cores that keep one whole GPU busy, which is CPU core-seconds per GPU-second: with half as
    /// many, the program runs at half its speed. Nothing where it was not measured.
    pub cpu_per_gpu: Option<f64>,
}

impl Response {
    /// A program that moves `traffic` bytes per unit of work, whatever cache it holds, and of which
    /// nothing else is known.
    #[must_use]
    pub const fn flat(traffic: f64) -> Self {
        Self { cache: CacheResponse::flat(traffic), gpu: None, paging: None, cpu_per_gpu: None }
    }
}

/// How far a fit is from what was measured: absolute errors over measured values, 0.02 for 2 %.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FitError {
    /// Of the middle point.
    pub median: f64,
    /// Of the worst point.
    pub worst: f64,
}

/// How well a program's response fits its measurements; nothing where nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Fit {
    /// Instructions per cycle, over the sizes of cache.
    pub ipc: Option<FitError>,
    /// Misses per 1,000 instructions, over the sizes of cache; below [`Fit::LEAST_MISSES`] in units of it.
    pub misses: Option<FitError>,
    /// Memory bandwidth, over the sizes of cache; below [`Fit::LEAST_BANDWIDTH`] in units of it.
    pub bandwidth: Option<FitError>,
    /// Time of a training step, over GPU slices.
    pub step_time: Option<FitError>,
    /// Training throughput, over CPUs and memory.
    pub throughput: Option<FitError>,
}

impl Fit {
    /// Misses per 1,000 instructions below which a miss more or less does not show in anything.
    pub const LEAST_MISSES: f64 = 0.1;
    /// Bytes per second below which a program is no load on any memory.
    pub const LEAST_BANDWIDTH: f64 = 50e6;
}

/// A program that was measured.
#[derive(Debug, Clone, PartialEq)]
pub struct Application {
    /// Its name, by which VMs refer to it.
    pub name: String,
    /// Where the measurements come from.
    pub source: String,
    /// How it responds.
    pub response: Response,
    /// How well that describes what was measured.
    pub fit: Fit,
}

/// Applications by name.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Profiles {
    applications: BTreeMap<String, Application>,
}

impl Profiles {
    /// Adds an application; one of the same name is replaced.
    pub fn insert(&mut self, application: Application) {
        self.applications.insert(application.name.clone(), application);
    }

    /// An application by name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Application> {
        self.applications.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Application> {
        self.applications.values()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.applications.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.applications.is_empty()
    }
}
