//! MoM's rules, in a closed loop: what was observed of the original is to be seen here as well.

mod support;

use halcyon_model::{ByteSize, Families, Family};
use halcyon_policy::{Mom, MomTuning};
use proptest::prelude::*;
use std::time::Duration;
use support::{Bench, hold_out, host_with_memory, random, vm};

/// Four guests of 16 GiB fill a host of 64 GiB; the first uses 2 GiB, the others more.
fn bench() -> Bench {
    Bench::new(host_with_memory(1, ByteSize::gib(64)), (0..4).map(vm).collect())
}

const USED_GIB: [u64; 4] = [2, 6, 8, 9];

/// The least and the greatest free share in the last ten minutes of an hour, and how often it crossed 0.2.
fn swings(bench: &mut Bench, tuning: MomTuning) -> (f64, f64, u32) {
    let mut policy = Mom::new(tuning);
    let (mut least, mut most, mut crossed) = (1.0_f64, 0.0_f64, 0);
    for second in 0..3600 {
        let before = bench.free_share();
        bench.tick(&mut policy, |position| (1.0, ByteSize::gib(USED_GIB[position])));
        let after = bench.free_share();
        if second >= 3000 {
            (least, most) = (least.min(after), most.max(after));
            crossed += u32::from((before < 0.2) != (after < 0.2));
        }
    }
    (least, most, crossed)
}

/// Observed: 0.17 to 0.22 and back, for ever.
#[test]
fn the_host_swings_around_the_threshold_for_ever() {
    let (least, most, crossed) = swings(&mut bench(), MomTuning::default());
    assert!((0.155..0.18).contains(&least) && (0.21..0.245).contains(&most), "{least} to {most}");
    assert!(crossed >= 50, "only {crossed} times in 600 s");
}

#[test]
fn with_a_sample_every_five_seconds_it_swings_wider() {
    let tuning = MomTuning { sample_interval: Duration::from_secs(5), ..MomTuning::default() };
    let (least, most, _) = swings(&mut bench(), tuning);
    assert!(least < 0.12 && most > 0.28, "{least} to {most}");
}

/// Observed: about 12 GiB, like its neighbours.
#[test]
fn a_guest_that_uses_little_keeps_as_much_as_its_neighbours() {
    let mut bench = bench();
    swings(&mut bench, MomTuning::default());
    let held: Vec<u64> = (0..4).map(|position| bench.held(position).get() >> 20).collect();
    assert!(held.iter().all(|size| size.abs_diff(12_800) < 1200), "{held:?} MiB");
    assert!(held.iter().all(|size| size.abs_diff(held[0]) < 100), "{held:?} MiB");
}

#[test]
fn a_guest_never_falls_below_what_it_uses_and_a_share_of_what_it_holds() {
    let mut bench = bench();
    let mut policy = Mom::default();
    for _ in 0..1200 {
        bench.tick(&mut policy, |position| (1.0, ByteSize::gib(if position == 3 { 13 } else { 4 })));
    }
    assert!(bench.held(3) > ByteSize::gib(14), "{}", bench.held(3));
}

#[test]
fn a_refusal_is_respected_and_asked_again_after_it() {
    let mut bench = bench();
    let mut policy = Mom::default();
    let use_of = |_| (1.0, ByteSize::gib(2));
    bench.tick(&mut policy, use_of);
    let until = Duration::from_secs(60);
    bench.snapshot.vms[1].refuses_memory_until = Some(until);
    while bench.snapshot.at < Duration::from_secs(55) {
        bench.tick(&mut policy, use_of);
    }
    assert_eq!(bench.held(1), ByteSize::gib(16), "it refuses");
    assert!(bench.held(0) < ByteSize::gib(15));
    bench.snapshot.assignment.holdings[0].memory[0].1 = ByteSize::gib(16);
    (0..30).for_each(|_| bench.tick(&mut policy, use_of));
    assert!(bench.held(1) < ByteSize::gib(16), "it may be asked again");
}

#[test]
fn what_is_frozen_is_left_alone_and_the_turn_is_not_lost() {
    let mut bench = bench();
    let mut policy = Mom::default();
    let use_of = |_| (1.0, ByteSize::gib(2));
    (0..5).for_each(|_| bench.tick(&mut policy, use_of));
    bench.frozen = Families::NONE.with(Family::Memory);
    for _ in 0..15 {
        bench.pass(1, use_of);
        assert!(bench.decide(&mut policy).vms.iter().all(|wish| wish.memory.is_none()));
    }
    bench.frozen = Families::NONE;
    bench.tick(&mut policy, use_of);
    assert!(bench.held(0) < ByteSize::gib(16));
}

proptest! {
    #![proptest_config(random::config(64))]
    #[test]
    fn any_host_stays_feasible(mut tape in random::tape(1500)) {
        hold_out(&mut tape, &mut Mom::default())?;
    }
}
