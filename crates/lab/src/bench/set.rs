//! Which scenarios a bench runs: given ones, or drawn ones on hosts of different shapes.
//!
//! Policies that learn are trained on scenarios of [`training`] and judged on those of [`standard`] and
//! [`full`]. No seed of one is a seed of the others, so nothing is ever judged on what it was trained on.

use std::time::Duration;

use halcyon_model::describe::parse_host;
use halcyon_sim::trace::generator::{Generator, Parameters};

use super::job::Refusal;
use super::run::BenchError;
use crate::scenario::{Draw, Scenario};

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
    /// VMs in [`standard`].
    few: usize,
    /// VMs in [`full`].
    many: usize,
}

const SHAPES: [Shape; 2] = [
    Shape { name: "small", host: include_str!("../../../../examples/hosts/small.toml"), few: 8, many: 12 },
    Shape {
        name: "two-socket",
        host: include_str!("../../../../examples/hosts/two-socket.toml"),
        few: 24,
        many: 48,
    },
];

/// Mean CPU demand of all VMs as a share of the host, one seed after the other: with room, busy, and more
/// than busy.
const LOADS: [f64; 3] = [0.55, 0.7, 0.85];

/// Seeds from here on are for judging; those below are for training.
const JUDGED: u64 = 1 << 40;
/// Where the seeds of [`full`] begin.
const JUDGED_FULL: u64 = JUDGED + (1 << 20);

/// Seeds of each shape in [`standard`].
const STANDARD_SEEDS: u64 = 3;
const STANDARD_HOURS: u64 = 2;
/// Seeds of each shape in [`full`].
const FULL_SEEDS: u64 = 12;
const FULL_HOURS: u64 = 24;

/// The scenarios on which policies are compared: every host shape, several loads, in minutes.
#[must_use]
pub fn standard() -> Vec<Entry> {
    judged(JUDGED, STANDARD_SEEDS, STANDARD_HOURS, |shape| shape.few)
}

/// More, longer and larger scenarios, for who has hours.
#[must_use]
pub fn full() -> Vec<Entry> {
    judged(JUDGED_FULL, FULL_SEEDS, FULL_HOURS, |shape| shape.many)
}

fn judged(first: u64, seeds: u64, hours: u64, vms: fn(&Shape) -> usize) -> Vec<Entry> {
    let duration = Duration::from_secs(hours * 3600);
    let of = |(place, shape): (u64, &'static Shape)| {
        (0..seeds).map(move |turn| {
            // Each shape has seeds of its own, so that no two scenarios share their demand.
            entry(shape, vms(shape), first + place * 1024 + turn, turn, duration)
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
    entry(shape, shape.few, seed, seed / shapes, Duration::from_secs(STANDARD_HOURS * 3600))
}

fn entry(shape: &'static Shape, vms: usize, seed: u64, turn: u64, duration: Duration) -> Entry {
    let turn = usize::try_from(turn % LOADS.len() as u64).unwrap_or(0);
    let load = LOADS[turn];
    let name = format!("{} at {:.0} %", shape.name, 100.0 * load);
    let draw = Draw { vms, duration, seed, load };
    Entry::new(name, seed, duration, move |duration| drawn(shape, Draw { duration, ..draw }))
}

/// The least that demand is generated for, so that it is more than one value.
const LEAST_DEMAND: Duration = Duration::from_secs(3600);

fn drawn(shape: &Shape, draw: Draw) -> Result<Scenario, Refusal> {
    let host = parse_host(shape.host)?;
    let parameters = Parameters::embedded()?;
    let traces = Generator::new(&parameters, draw.seed).trace_set(draw.vms, draw.duration.max(LEAST_DEMAND));
    Ok(Scenario::draw(host.topology, host.capabilities, &traces, draw)?)
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
        for number in [0, 1, 999, JUDGED - 1, JUDGED, JUDGED + 1024, u64::MAX] {
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
