//! Random hosts, VMs, capabilities and proposals for the property tests.
//!
//! All of them are read off a [`Tape`] of random numbers. A tape that runs out yields zeros, and zero
//! always means the plainest choice, so that proptest's shrinking of the tape shrinks the case.
#![allow(dead_code)]

pub(crate) mod capabilities;
pub(crate) mod drift;
pub(crate) mod host;
pub(crate) mod shuffle;
pub(crate) mod wishes;

use halcyon_model::{Assignment, Capabilities, Families, Family, Topology, VmSpec, World, admit, check};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::RngSeed;

/// Random numbers that a case is made from.
#[derive(Debug, Clone)]
pub(crate) struct Tape {
    values: Vec<u32>,
    at: usize,
}

impl Tape {
    pub(crate) fn new(values: Vec<u32>) -> Self {
        Self { values, at: 0 }
    }

    fn next(&mut self) -> u32 {
        let value = self.values.get(self.at).copied().unwrap_or(0);
        self.at += 1;
        value
    }

    /// A number from 0 to `end` − 1.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        self.next() as usize % end.max(1)
    }

    /// A number from `least` to `most`.
    pub(crate) fn between(&mut self, least: u64, most: u64) -> u64 {
        let wide = u64::from(self.next()) << 32 | u64::from(self.next());
        least + wide.checked_rem((most - least).saturating_add(1)).unwrap_or(wide)
    }

    /// True in `times` of `of` cases, and when the tape has run out, false.
    pub(crate) fn chance(&mut self, times: u32, of: u32) -> bool {
        self.next() % of >= of - times
    }

    /// From 0 up to and without 1.
    pub(crate) fn share(&mut self) -> f64 {
        f64::from(self.next()) / 4_294_967_296.0
    }

    pub(crate) fn pick<'a, T>(&mut self, from: &'a [T]) -> &'a T {
        &from[self.below(from.len())]
    }

    pub(crate) fn shuffle<T>(&mut self, list: &mut [T]) {
        for index in (1..list.len()).rev() {
            list.swap(index, self.below(index + 1));
        }
    }
}

pub(crate) fn tape(most: usize) -> impl Strategy<Value = Tape> {
    vec(any::<u32>(), most / 2..=most).prop_map(Tape::new)
}

/// A seed of its own for repeatable runs; `PROPTEST_RNG_SEED` and `PROPTEST_CASES` override.
pub(crate) fn config(cases: u32) -> ProptestConfig {
    let mut config = ProptestConfig { failure_persistence: None, ..ProptestConfig::default() };
    if std::env::var_os("PROPTEST_CASES").is_none() {
        config.cases = cases;
    }
    if std::env::var_os("PROPTEST_RNG_SEED").is_none() {
        config.rng_seed = RngSeed::Fixed(0x4a1c);
    }
    config
}

/// A host with VMs that fit on it.
#[derive(Debug, Clone)]
pub(crate) struct Host {
    pub(crate) topology: Topology,
    pub(crate) vms: Vec<VmSpec>,
    pub(crate) capabilities: Capabilities,
}

impl Host {
    /// A host with VMs whose reservations may be too much for it.
    pub(crate) fn crowded(tape: &mut Tape) -> Self {
        let topology = host::topology(tape);
        let vms = host::vms(tape, &topology);
        let capabilities = capabilities::capabilities(tape);
        Self { topology, vms, capabilities }
    }

    /// A host from which VMs that do not fit were turned away, and what the others hold at first.
    pub(crate) fn admitted(tape: &mut Tape) -> (Self, Assignment) {
        let mut host = Self::crowded(tape);
        loop {
            match admit(host.world()) {
                Ok(assignment) => return (host, assignment),
                Err(refused) => host.vms.retain(|spec| spec.name != refused.vm),
            }
        }
    }

    pub(crate) fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    pub(crate) fn assert_feasible(&self, assignment: &Assignment, when: &str) -> Result<(), TestCaseError> {
        check(self.world(), assignment)
            .map_err(|broken| TestCaseError::fail(format!("{when}: {:#?}", broken.0)))
    }
}

pub(crate) fn families(tape: &mut Tape) -> Families {
    if !tape.chance(1, 4) {
        return Families::NONE;
    }
    Family::ALL.into_iter().fold(
        Families::NONE,
        |set, family| {
            if tape.chance(1, 2) { set.with(family) } else { set }
        },
    )
}
