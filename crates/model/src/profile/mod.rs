//! What is known of programs before they run: how they respond to what they hold.
//!
//! Parameters are fitted to measured tables; the profiles name their source and how well they fit.

mod cache;
mod gpu;

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
