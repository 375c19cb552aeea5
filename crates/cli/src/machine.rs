//! The host that a configuration names, for all who watch or drive one.

use std::time::Duration;

use anyhow::{Context, Result};
use halcyon_daemon::{Config, Kind, Machine, Passed, watched};
use halcyon_hal::{Actuate, ActuateError, Inventory, Observe, ObserveError, Progress, Ticket};
use halcyon_lab::{Scenario, profiles};
use halcyon_model::{HostTime, Snapshot, Step};
use halcyon_sim::SimHost;

/// The host, at its beginning, for who only watches it.
///
/// # Errors
/// When it cannot be reached, or its scenario cannot be read.
pub(crate) fn machine(config: &Config) -> Result<Box<dyn Machine>> {
    match &config.kind {
        Kind::Sim { scenario } => {
            let read = Scenario::read(scenario)?;
            let host = read.host().with_context(|| format!("{} cannot start", scenario.display()))?;
            let name = scenario.file_stem().map(|stem| stem.to_string_lossy().into_owned());
            let (step, duration) = (read.parameters.step, read.duration);
            Ok(Box::new(Simulated { host, name: name.unwrap_or_default(), step, duration }))
        }
        Kind::Linux(linux) => Ok(watched(linux, profiles::embedded())?),
    }
}

/// A scenario's host, in real time.
struct Simulated {
    host: SimHost,
    name: String,
    step: Duration,
    duration: Duration,
}

impl Machine for Simulated {
    fn name(&self) -> &str {
        &self.name
    }

    fn now(&self) -> HostTime {
        self.host.now()
    }

    /// Whole steps of the simulation, one at least.
    fn period(&self, wanted: Duration) -> Duration {
        let steps = (wanted.as_secs_f64() / self.step.as_secs_f64()).round().clamp(1.0, 1e6);
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        let steps = steps as u32;
        self.step * steps
    }

    fn pass(&mut self, period: Duration) -> Passed {
        let until = self.host.now() + period;
        while self.host.now() < until {
            if self.host.now() >= self.duration {
                return Passed::Over;
            }
            self.host.step();
        }
        Passed::On
    }
}

impl Observe for Simulated {
    fn inventory(&self) -> std::sync::Arc<Inventory> {
        self.host.inventory()
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.host.observe(snapshot)
    }
}

impl Actuate for Simulated {
    fn estimate(&self, step: &Step) -> Duration {
        self.host.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.host.begin(step)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.host.poll(ticket)
    }
}
