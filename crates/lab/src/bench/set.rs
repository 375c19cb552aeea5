//! Which scenarios a bench runs: given ones, or drawn ones on hosts of different shapes.
//!
//! Policies that learn are trained on scenarios of [`training`] and judged on those of [`standard`] and
//! [`full`]. No seed of one is a seed of the others, so nothing is ever judged on what it was trained on.

use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_sim::trace::generator::{Generator, Parameters};
use halcyon_sim::trace::{Series, TraceSet};

use super::job::Refusal;
use super::run::BenchError;
use crate::scenario::{Draw, Scenario, default_vms};

/// A scenario that is made when it is needed.
pub struct Entry {
    name: String,
    seed: u64,
    duration: Duration,
    make: Box<Make>,
}

/// Makes a scenario for a length of time.
type Make = dyn Fn(Duration) -> Result<Scenario, Refusal> + Send + Sync;

impl Entry {
    /// A scenario by what makes it for a length of time; each call makes the same one.
    pub fn new(
        name: String,
        seed: u64,
        duration: Duration,
        make: impl Fn(Duration) -> Result<Scenario, Refusal> + Send + Sync + 'static,
    ) -> Self {
        Self { name, seed, duration, make: Box::new(make) }
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The seed of everything random in it.
    #[must_use]
    pub const fn seed(&self) -> u64 {
        self.seed
    }

    /// How long a run lasts.
    #[must_use]
    pub const fn duration(&self) -> Duration {
        self.duration
    }

    /// The same for another time.
    #[must_use]
    pub fn lasting(self, duration: Duration) -> Self {
        Self { duration, ..self }
    }

    /// Makes it.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn scenario(&self) -> Result<Scenario, BenchError> {
        let failed = |source| BenchError::Scenario { name: self.name.clone(), seed: self.seed, source };
        Ok(Scenario { duration: self.duration, ..(self.make)(self.duration).map_err(failed)? })
    }
}

/// A host shape, with VMs to suit it.
struct Shape {
    name: &'static str,
    host: &'static str,
    /// VMs in [`standard`] and [`training`]; [`full`] has as many as are an ordinary load.
    vms: usize,
}

macro_rules! shape {
    ($name:literal, $vms:literal) => {
        Shape {
            name: $name,
            host: include_str!(concat!("../../../../examples/hosts/", $name, ".toml")),
            vms: $vms,
        }
    };
}

const SHAPES: [Shape; 6] = [
    shape!("small", 10),
    shape!("two-socket", 28),
    shape!("nvme-storage", 32),
    shape!("cxl-pool", 32),
    shape!("gpu-box", 32),
    shape!("density", 64),
];

/// What is different from one seed of a shape to the next.
struct Mix {
    name: &'static str,
    /// Mean CPU demand of all VMs, as a share of the host.
    load: f64,
    /// Of so many generated VMs the busiest is taken: who crowds a host does not run idle VMs on it.
    choice: usize,
    /// The share of the VMs that come or go.
    churn: f64,
    /// The share of the VMs with a latency objective whose response times are measured.
    signal: f64,
}

/// With room, busy, and more than busy, where VMs come and go and little is measured.
const MIXES: [Mix; 3] = [
    Mix { name: "calm", load: 0.70, choice: 1, churn: 0.0, signal: 1.0 },
    Mix { name: "busy", load: 0.90, choice: 2, churn: 0.2, signal: 0.5 },
    Mix { name: "crowded", load: 1.10, choice: 3, churn: 0.4, signal: 0.0 },
];

/// Seeds from here on are for judging; those below are for training.
const JUDGED: u64 = 1_000_000_000;
/// Where the seeds of [`full`] begin.
const JUDGED_FULL: u64 = JUDGED + 1_000_000;

/// Seeds of each shape in [`standard`].
const STANDARD_SEEDS: u64 = 3;
const STANDARD_HOURS: u64 = 1;
/// Seeds of each shape in [`full`].
const FULL_SEEDS: u64 = 12;
const FULL_HOURS: u64 = 24;

/// The scenarios on which policies are compared: every host shape, several loads, in minutes.
#[must_use]
pub fn standard() -> Vec<Entry> {
    judged(JUDGED, STANDARD_SEEDS, STANDARD_HOURS, |shape| Some(shape.vms))
}

/// More, longer and larger scenarios, for who has hours.
#[must_use]
pub fn full() -> Vec<Entry> {
    judged(JUDGED_FULL, FULL_SEEDS, FULL_HOURS, |_| None)
}

fn judged(first: u64, seeds: u64, hours: u64, vms: fn(&Shape) -> Option<usize>) -> Vec<Entry> {
    let duration = Duration::from_secs(hours * 3600);
    let of = |(place, shape): (u64, &'static Shape)| {
        (0..seeds).map(move |turn| {
            // Each shape has seeds of its own, so that no two scenarios share their demand.
            entry(shape, vms(shape), first + place * 1000 + turn, turn, duration)
        })
    };
    (0..).zip(&SHAPES).flat_map(of).collect()
}

/// The scenario of training with a number. There is no end of them, they are of all shapes in turn, and
/// none of them is ever judged on.
#[must_use]
pub fn training(number: u64) -> Entry {
    let seed = number % JUDGED;
    let shapes = SHAPES.len() as u64;
    let place = usize::try_from(seed % shapes).unwrap_or(0);
    let shape = &SHAPES[place];
    entry(shape, Some(shape.vms), seed, seed / shapes, Duration::from_secs(STANDARD_HOURS * 3600))
}

fn entry(shape: &'static Shape, vms: Option<usize>, seed: u64, turn: u64, duration: Duration) -> Entry {
    let mix = &MIXES[usize::try_from(turn % MIXES.len() as u64).unwrap_or(0)];
    let name = format!("{}, {}", shape.name, mix.name);
    Entry::new(name, seed, duration, move |duration| drawn(shape, vms, mix, seed, duration))
}

/// The least that demand is generated for, so that it is more than one value.
const LEAST_DEMAND: Duration = Duration::from_secs(3600);

fn drawn(
    shape: &Shape,
    vms: Option<usize>,
    mix: &Mix,
    seed: u64,
    duration: Duration,
) -> Result<Scenario, Refusal> {
    let host = parse_host(shape.host)?;
    let vms = vms.unwrap_or_else(|| default_vms(&host.topology));
    let parameters = Parameters::embedded()?;
    let traces = Generator::new(&parameters, seed).trace_set(vms * mix.choice, duration.max(LEAST_DEMAND));
    let traces = busiest(traces, vms);
    let draw =
        Draw { load: mix.load, churn: mix.churn, signal: mix.signal, ..Draw::new(vms, duration, seed) };
    let scenario = Scenario::draw(host.topology, host.capabilities, &traces, draw)?;
    Ok(scenario.with_description(shape.host))
}

/// So many of the series, those that ask for most CPU time, in their order.
fn busiest(mut traces: TraceSet, kept: usize) -> TraceSet {
    let asks = |series: &Series| -> f64 { series.cpu.iter().flatten().map(|share| f64::from(*share)).sum() };
    let mut order: Vec<(usize, f64)> = traces.series.iter().map(asks).enumerate().collect();
    order.sort_by(|a, b| b.1.total_cmp(&a.1));
    order.truncate(kept);
    order.sort_by_key(|(place, _)| *place);
    traces.series = order.into_iter().map(|(place, _)| traces.series[place].clone()).collect();
    traces
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn what_is_judged_on_is_never_trained_on() {
        let judged: BTreeSet<u64> = standard().iter().chain(&full()).map(Entry::seed).collect();
        assert_eq!(judged.len(), standard().len() + full().len(), "no seed serves twice");
        assert!(judged.iter().all(|seed| *seed >= JUDGED));
        for number in [0, 1, 999, JUDGED - 1, JUDGED, JUDGED + 1000, u64::MAX] {
            assert!(!judged.contains(&training(number).seed()));
        }
    }

    #[test]
    fn every_standard_scenario_can_be_made() {
        for entry in standard() {
            let scenario = entry.scenario().unwrap();
            assert_eq!((scenario.seed, scenario.duration), (entry.seed(), entry.duration()));
        }
        for number in 0..2 * SHAPES.len() as u64 {
            training(number).scenario().unwrap();
        }
    }
}
