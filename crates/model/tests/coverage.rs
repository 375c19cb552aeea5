//! The random cases are not hollow: a good part of them changes things, in every way there is.

mod common;

use std::collections::BTreeMap;

use common::{Host, tape, wishes};
use halcyon_model::{Families, Step, diff, project};
use proptest::strategy::{Strategy, ValueTree};
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

const CASES: usize = 300;

fn name(step: &Step) -> &'static str {
    match step {
        Step::SetCpu { .. } => "SetCpu",
        Step::SetMemoryBandwidth { .. } => "SetMemoryBandwidth",
        Step::Place { .. } => "Place",
        Step::SetMemory { .. } => "SetMemory",
        Step::MigrateMemory { .. } => "MigrateMemory",
        Step::CreateClass { .. } => "CreateClass",
        Step::RemoveClass { .. } => "RemoveClass",
        Step::SetMask { .. } => "SetMask",
        Step::SetClass { .. } => "SetClass",
        Step::Detach { .. } => "Detach",
        Step::Attach { .. } => "Attach",
        Step::SetDeviceBandwidth { .. } => "SetDeviceBandwidth",
        Step::SetLink { .. } => "SetLink",
        Step::CreateInstance { .. } => "CreateInstance",
        Step::DestroyInstance { .. } => "DestroyInstance",
    }
}

/// In how many cases each kind of step is taken, and put off, in three plans one after another.
fn seen() -> BTreeMap<&'static str, usize> {
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &[7; 32]);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let mut cases = BTreeMap::new();
    for _ in 0..CASES {
        let mut tape = tape(5000).new_tree(&mut runner).expect("a tape").current();
        let (host, mut held) = Host::admitted(&mut tape);
        let first = held.clone();
        let mut kinds = BTreeMap::new();
        for _ in 0..3 {
            let proposal = wishes::plausible(&mut tape, host.world(), &held);
            let diff = diff(host.world(), &held, &project(host.world(), &held, Families::NONE, &proposal));
            diff.steps.iter().for_each(|step| *kinds.entry(name(step)).or_default() |= true);
            held = diff.reached;
        }
        common::shuffle::shuffle(&mut tape, &host, &mut held);
        let whole = diff(host.world(), &first, &held);
        if !whole.deferred.is_empty() {
            kinds.insert("deferred", true);
        }
        if whole
            .deferred
            .iter()
            .any(|step| matches!(step, Step::Detach { .. } | Step::DestroyInstance { .. }))
        {
            kinds.insert("hand-over deferred", true);
        }
        kinds.into_keys().for_each(|kind| *cases.entry(kind).or_default() += 1);
    }
    cases
}

#[test]
fn random_cases_change_things_of_every_kind() {
    let seen = seen();
    println!("of {CASES} cases: {seen:?}");
    let least = [
        ("SetCpu", 60),
        ("SetMemoryBandwidth", 60),
        ("Place", 20),
        ("SetMemory", 30),
        ("MigrateMemory", 25),
        ("CreateClass", 30),
        ("RemoveClass", 12),
        ("SetMask", 25),
        ("SetClass", 20),
        ("Detach", 15),
        ("Attach", 40),
        ("SetDeviceBandwidth", 35),
        ("SetLink", 60),
        ("CreateInstance", 30),
        ("DestroyInstance", 15),
        ("deferred", 15),
        ("hand-over deferred", 8),
    ];
    for (kind, percent) in least {
        let cases = seen.get(kind).copied().unwrap_or(0);
        assert!(cases * 100 >= percent * CASES, "{kind} in {cases} of {CASES} cases, not {percent} %");
    }
}
