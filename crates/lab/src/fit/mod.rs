//! Fits applications to measured tables.
//!
//! The tables come from others and stay outside of the repository; what is kept of them are the fitted
//! parameters, how far they are from what was measured, and the source. One set of tables gives one set
//! of parameters, to the last digit, on any machine: nothing is drawn at random, and what is not basic
//! arithmetic comes from `libm`.
//!
//! ```text
//!  spec_llc_ways.csv  ──► cache    misses, cycles and traffic against bytes of cache
//!  a100_mig.csv       ──► gpu      step time against slices              ──► Application, one per name
//!  dnn_cpu_memory.csv ──► host     throughput against CPUs and memory
//! ```

mod cache;
mod error;
mod gpu;
mod host;
mod numbers;
mod table;

use std::collections::BTreeMap;
use std::path::Path;

use halcyon_model::profile::{Application, CacheResponse, Fit, FitError, Profiles, Response};

pub use error::FitFault;
pub use table::{CACHE_TABLE, GPU_TABLE, HOST_TABLE};
use table::{CacheRow, GpuRow, HostRow};

/// Bytes that a program without a cache table moves per core-second. No table with DNN training says it:
/// this is the mean of the SPEC programs with all of the cache (676 MB/s), rounded.
pub const ASSUMED_TRAFFIC: f64 = 7e8;

/// What was fitted, and what the fits share.
#[derive(Debug, Clone, PartialEq)]
pub struct Fitted {
    /// Every application of the tables.
    pub profiles: Profiles,
    /// The clock of the machine behind the cache table, in cycles per second; nothing without that table.
    pub clock: Option<f64>,
    /// Error of instructions per cycle at every single point of the cache table, in no order.
    pub ipc_errors: Vec<f64>,
}

impl Fitted {
    /// Error of instructions per cycle over all points; nothing without the cache table.
    #[must_use]
    pub fn ipc(&self) -> Option<FitError> {
        numbers::spread(&self.ipc_errors)
    }
}

/// Fits an application for every program in the tables of a folder. Each table may be missing, but not
/// all of them.
///
/// # Errors
/// If there is no table, or one of them is not what it should be; with the file and the line.
pub fn fit(folder: &Path) -> Result<Fitted, FitFault> {
    let cache = table::read::<CacheRow>(folder, CACHE_TABLE)?;
    let gpu = table::read::<GpuRow>(folder, GPU_TABLE)?;
    let host = table::read::<HostRow>(folder, HOST_TABLE)?;
    if cache.is_none() && gpu.is_none() && host.is_none() {
        return Err(FitFault::NoTable { folder: folder.to_owned() });
    }
    let mut drafts = Drafts::default();
    let mut fitted = Fitted { profiles: Profiles::default(), clock: None, ipc_errors: Vec::new() };
    if let Some(programs) = cache {
        let clock = cache::clock(&programs);
        fitted.clock = Some(clock);
        for (name, rows) in &programs {
            let (response, errors) = cache::fit(rows, clock);
            drafts.cache(name, response, &errors);
            fitted.ipc_errors.extend(errors.ipc);
        }
    }
    for (name, rows) in gpu.iter().flatten() {
        drafts.gpu(name, &gpu::fit(name, rows)?);
    }
    for (name, rows) in host.iter().flatten() {
        drafts.host(name, &host::fit(rows));
    }
    for application in drafts.applications.into_values() {
        fitted.profiles.insert(application);
    }
    Ok(fitted)
}

/// Applications as the tables fill them in, one after the other.
#[derive(Default)]
struct Drafts {
    applications: BTreeMap<String, Application>,
}

impl Drafts {
    fn cache(&mut self, name: &str, response: CacheResponse, errors: &cache::Errors) {
        let draft = self.draft(name, cache::SOURCE);
        draft.response.cache = response;
        draft.fit.ipc = numbers::spread(&errors.ipc);
        draft.fit.misses = numbers::spread(&errors.misses);
        draft.fit.bandwidth = numbers::spread(&errors.bandwidth);
    }

    fn gpu(&mut self, name: &str, fit: &gpu::GpuFit) {
        let draft = self.draft(name, &gpu::source(fit.batch));
        draft.response.gpu = Some(fit.response);
        draft.fit.step_time = numbers::spread(&fit.errors);
    }

    fn host(&mut self, name: &str, fit: &host::HostFit) {
        let draft = self.draft(name, host::SOURCE);
        draft.response.cpu_per_gpu = Some(fit.cpu_per_gpu);
        draft.response.paging = fit.paging;
        draft.fit.throughput = numbers::spread(&fit.errors);
    }

    fn draft(&mut self, name: &str, source: &str) -> &mut Application {
        let draft = self.applications.entry(name.to_owned()).or_insert_with(|| Application {
            name: name.to_owned(),
            source: String::new(),
            response: Response::flat(ASSUMED_TRAFFIC),
            fit: Fit::default(),
        });
        if !draft.source.is_empty() {
            draft.source.push_str("; ");
        }
        draft.source.push_str(source);
        draft
    }
}
