//! What is certified as out of reach is out of reach, on every host, for every policy.

mod common;
#[path = "common/small.rs"]
mod small;

use std::time::Duration;

use common::run;
use halcyon_lab::bench::policies;
use halcyon_lab::{Draw, Scenario, bound};
use halcyon_model::{ByteSize, MilliCpu, Objective, Weight};
use small::{HOSTS, calm, drawn, given, minutes, plain};

/// Rounding in a score.
const ROUNDING: f64 = 1e-9;

fn nobody_exceeds(scenario: &Scenario, names: &[&str], what: &str) {
    let most = bound(scenario).utility;
    assert!((0.0..=1.0).contains(&most), "{what}: {most}");
    for policy in names {
        let reached = run(scenario, policy).score.utility;
        assert!(reached <= most + ROUNDING, "{what}: {policy} reaches {reached}, certified is {most}");
    }
}

#[test]
fn no_policy_exceeds_it_on_any_host_calm_or_crowded() {
    let mixes = [
        ("calm", calm()),
        ("busy", Draw { load: 0.9, churn: 0.3, signal: 0.5, ..calm() }),
        ("crowded", Draw { load: 1.3, churn: 0.5, memory_overcommit: 2.5, ..calm() }),
    ];
    for (seed, (host, vms)) in (1..).zip(HOSTS) {
        for (mix, draw) in mixes {
            let scenario = drawn(host, vms, minutes(10), seed, draw);
            let name = scenario.topology.name().to_owned();
            nobody_exceeds(&scenario, &policies(), &format!("{name}, {mix}, seed {seed}"));
        }
    }
}

/// Any draw at all; a run need not last whole windows.
#[test]
fn no_policy_exceeds_it_in_odd_draws() {
    for seed in 100..130_u64 {
        let (host, vms) = HOSTS[usize::try_from(seed % 6).expect("small")];
        let part = |divisor: u64, parts: u64| (seed * 7919 / divisor % parts) as f64 / parts as f64;
        let draw = Draw {
            load: 0.3 + 1.7 * part(3, 11),
            memory_overcommit: 1.0 + 2.0 * part(5, 7),
            churn: part(7, 5),
            signal: part(11, 3),
            ..calm()
        };
        let vms = 2 + usize::try_from(seed).expect("small") % vms;
        let duration = Duration::from_secs(300 + seed * 37 % 200);
        let scenario = drawn(host, vms, duration, seed, draw);
        let what = format!("{}, seed {seed}, {draw:?}", scenario.topology.name());
        nobody_exceeds(&scenario, &["static", "proportional", "reactive", "proxmox", "parties"], &what);
    }
}

const LATENCY: Objective = Objective::Latency { p99: Duration::from_millis(30) };

fn weighing(mut guest: halcyon_sim::Guest, weight: u32) -> halcyon_sim::Guest {
    guest.spec.weight = Weight::new(weight).expect("a weight");
    guest
}

/// Who is there for five seconds of a window cannot take a minute's worth of CPU from the others.
#[test]
fn a_vm_takes_nothing_while_it_is_not_there() {
    let batch = plain(0, 15, 30.0, Objective::Throughput);
    let mut late = weighing(plain(1, 15, 7.0, LATENCY), 200);
    late.arrives = Duration::from_secs(55);
    nobody_exceeds(&given(vec![batch.clone(), late.clone()], minutes(1)), &["static", "reactive"], "late");
    late.arrives = Duration::ZERO;
    late.leaves = Some(Duration::from_secs(65));
    nobody_exceeds(&given(vec![batch, late], minutes(2)), &["static", "reactive"], "early");
}

/// What a VM reserves is for others until it arrives, also in the window in which it does.
#[test]
fn reserved_memory_is_free_until_whoever_reserved_it_arrives() {
    let needy = |id| {
        let mut guest = plain(id, 4, 1.0, Objective::Throughput);
        guest.spec.memory.limit = ByteSize::gib(28);
        guest.workload.demand.working_set = vec![27.0e9; 4];
        guest
    };
    let mut late = plain(1, 1, 0.5, Objective::Throughput);
    late.spec.memory.reservation = ByteSize::gib(4);
    late.arrives = Duration::from_secs(59);
    late.workload.demand.working_set = vec![4.0e9; 4];
    let scenario = given(vec![needy(0), late], minutes(1));
    nobody_exceeds(&scenario, &["static", "reactive"], "memory");
}

/// A VM that leaves within the last window closes a window that the run does not.
#[test]
fn a_run_may_end_within_a_window() {
    let batch = plain(0, 15, 30.0, Objective::Throughput);
    // Asked for more than it can do until it is nearly over, so that its last window is its best.
    let mut early = weighing(plain(1, 15, 30.0, Objective::Throughput), 200);
    early.workload.demand.interval = Duration::from_secs(10);
    early.workload.demand.work = [vec![30.0; 5], vec![0.5; 10]].concat();
    early.leaves = Some(Duration::from_secs(118));
    let scenario = given(vec![batch, early], Duration::from_secs(119));
    nobody_exceeds(&scenario, &["static", "reactive"], "within a window");
}

/// Whoever is not let in counts as not served, so that nobody gains by keeping VMs out.
#[test]
fn vms_that_wait_at_the_door_count() {
    let mut crowd: Vec<_> = (0..4).map(|id| plain(id, 8, 8.0, Objective::Throughput)).collect();
    for guest in &mut crowd {
        guest.spec.cpu.reservation = MilliCpu::cores(3);
    }
    let mut late = plain(4, 4, 4.0, Objective::Throughput);
    late.spec.cpu.reservation = MilliCpu::cores(4);
    late.arrives = Duration::from_secs(60);
    for leaves in [None, Some(Duration::from_secs(240))] {
        let late = halcyon_sim::Guest { leaves, ..late.clone() };
        let scenario = given(crowd.iter().cloned().chain([late]).collect(), minutes(5));
        let score = run(&scenario, "static").score;
        assert_eq!(score.vms.len(), 5, "all count: {score:?}");
        nobody_exceeds(&scenario, &["static", "reactive"], "at the door");
    }
}
