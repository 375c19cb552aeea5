//! What Autopilot recommends, and what becomes of it on a host.

mod support;

use std::time::Duration;

use halcyon_model::{Bounds, ByteSize, Families, Family, MilliCpu, Objective};
use halcyon_policy::{Autopilot, AutopilotTuning};
use proptest::prelude::*;
use support::{Bench, hold_out, host, host_with_memory, random, vm};

const LATENCY: Objective = Objective::Latency { p99: Duration::from_millis(20) };

/// As published, but with windows of ten seconds and an hour of two minutes.
fn quick() -> Autopilot {
    Autopilot::new(AutopilotTuning {
        interval: Duration::from_secs(10),
        window: Duration::from_secs(10),
        hold: Duration::from_secs(120),
        peak_memory: Duration::from_secs(600),
        ..AutopilotTuning::default()
    })
}

/// Twelve VMs with four cores each: more than the socket has.
fn crowd(objective: impl Fn(u32) -> Objective) -> Bench {
    let vms = (0..12).map(|id| {
        let mut spec = vm(id);
        spec.objective = objective(id);
        spec
    });
    Bench::new(host(1), vms.collect())
}

fn share(bench: &Bench, position: usize) -> f64 {
    bench.snapshot.assignment.holdings[position].cpu.share.as_f64()
}

#[test]
fn serving_gets_a_high_percentile_and_batch_the_mean() {
    let mut bench = crowd(|id| if id < 6 { LATENCY } else { Objective::Throughput });
    let mut policy = quick();
    for second in 0..600 {
        // All are busy one second in five.
        let cores = if second % 5 == 0 { 3.0 } else { 0.5 };
        bench.tick(&mut policy, |_| (cores, ByteSize::gib(2)));
    }
    // 6 · 3 · 1.15 + 6 · 1 · 1.15 = 27.6 of 32 cores; what is in excess goes to all alike.
    let extra = (32_000.0 - 6.0 * 3450.0 - 6.0 * 1150.0) / 12.0;
    let (serving, batch) = (share(&bench, 0) - extra, share(&bench, 9) - extra);
    assert!((serving - 3450.0).abs() < 250.0, "{serving}");
    assert!((batch - 1150.0).abs() < 250.0, "{batch}");
    let all: f64 = (0..12).map(|position| share(&bench, position)).sum();
    assert!(all > 31_900.0, "nothing is left idle: {all}");
}

#[test]
fn a_latency_critical_vm_that_sleeps_keeps_a_core() {
    let mut bench = crowd(|id| if id < 2 { LATENCY } else { Objective::Throughput });
    let mut policy = quick();
    (0..200).for_each(|_| {
        bench.tick(&mut policy, |position| (if position < 2 { 0.02 } else { 4.0 }, ByteSize::gib(1)));
    });
    assert!(share(&bench, 0) >= 999.0 && share(&bench, 5) > 2900.0, "{}", share(&bench, 0));
}

#[test]
fn ceilings_stay_at_the_limits() {
    let mut bench = crowd(|_| Objective::Throughput);
    let mut policy = quick();
    (0..100).for_each(|_| bench.tick(&mut policy, |position| (position as f64 / 4.0, ByteSize::gib(1))));
    for holding in &bench.snapshot.assignment.holdings {
        assert_eq!(holding.cpu.ceiling, MilliCpu::cores(4));
    }
}

#[test]
fn before_anything_is_known_of_a_vm_it_counts_with_its_limit() {
    let mut bench = crowd(|_| Objective::Throughput);
    bench.tick(&mut Autopilot::default(), |_| (0.1, ByteSize::gib(1)));
    assert!((0..12).all(|position| (share(&bench, position) - 32_000.0 / 12.0).abs() < 2.0));
}

#[test]
fn limits_rise_at_once_and_fall_after_the_hour() {
    let mut bench = crowd(|_| LATENCY);
    let mut policy = quick();
    let busy = |position: usize| (if position == 0 { 3.5 } else { 0.5 }, ByteSize::gib(2));
    (0..100).for_each(|_| bench.tick(&mut policy, |_| (0.5, ByteSize::gib(2))));
    let calm = share(&bench, 0);
    (0..30).for_each(|_| bench.tick(&mut policy, busy));
    let risen = share(&bench, 0);
    assert!(risen > calm + 1000.0, "{calm} to {risen}");
    (0..100).for_each(|_| bench.tick(&mut policy, |_| (0.5, ByteSize::gib(2))));
    assert!(share(&bench, 0) > risen - 300.0, "still held: {}", share(&bench, 0));
}

/// Five VMs could use 80 GiB of 64.
fn short_of_memory() -> Bench {
    let vms = (0..5).map(|id| {
        let mut spec = vm(id);
        spec.objective = LATENCY;
        spec
    });
    Bench::new(host_with_memory(1, ByteSize::gib(64)), vms.collect())
}

#[test]
fn memory_follows_the_peak_with_a_margin_and_none_is_left_over() {
    let mut bench = short_of_memory();
    let mut policy = quick();
    let use_of = |position| (1.0, ByteSize::gib([13, 4, 4, 4, 4][position]));
    (0..200).for_each(|_| bench.tick(&mut policy, use_of));
    let held: Vec<f64> =
        (0..5).map(|position| bench.held(position).as_f64() / (1_u64 << 30) as f64).collect();
    assert!(held[0] > 14.9, "{held:?}");
    assert!(held[1..].iter().all(|size| *size >= 4.6 && *size < 13.0), "{held:?}");
    assert!(held.iter().sum::<f64>() > 60.0, "{held:?}");
}

#[test]
fn a_peak_is_remembered() {
    let mut bench = short_of_memory();
    let mut policy = quick();
    let rare = |second: u64| ByteSize::gib(if second % 300 == 5 { 12 } else { 3 });
    for second in 0..900 {
        bench.tick(&mut policy, |position| {
            (1.0, if position == 0 { rare(second) } else { ByteSize::gib(11) })
        });
        assert!(second < 10 || bench.held(0) > ByteSize::gib(12), "{second}: {}", bench.held(0));
    }
}

#[test]
fn what_is_frozen_waits_for_its_turn() {
    let mut bench = crowd(|_| LATENCY);
    let mut policy = quick();
    let use_of = |position: usize| (position as f64 / 3.0, ByteSize::gib(2));
    bench.frozen = Families::NONE.with(Family::Compute).with(Family::Memory);
    for _ in 0..30 {
        bench.pass(1, use_of);
        let proposal = bench.decide(&mut policy);
        assert!(proposal.vms.iter().all(|wish| wish.cpu.is_none() && wish.memory.is_none()));
    }
    bench.frozen = Families::NONE;
    bench.tick(&mut policy, use_of);
    assert!(share(&bench, 11) > share(&bench, 0) + 1000.0);
}

#[test]
fn a_reservation_is_kept_whatever_was_used() {
    let mut bench = crowd(|_| Objective::BestEffort);
    for spec in &mut bench.vms {
        spec.cpu = Bounds { reservation: MilliCpu::cores(2), limit: MilliCpu::cores(4) };
    }
    let mut policy = quick();
    (0..100).for_each(|_| bench.tick(&mut policy, |_| (0.0, ByteSize::ZERO)));
    assert!((0..12).all(|position| share(&bench, position) >= 2000.0));
}

proptest! {
    #![proptest_config(random::config(64))]
    #[test]
    fn any_host_stays_feasible(mut tape in random::tape(1500)) {
        hold_out(&mut tape, &mut quick())?;
    }
}
