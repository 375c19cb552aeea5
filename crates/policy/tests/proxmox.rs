//! Auto-ballooning: how the difference is spread, and what that does to a host.

mod support;

use std::time::Duration;

use halcyon_model::{Bounds, ByteSize, Families, Family, Weight};
use halcyon_policy::{Proxmox, ProxmoxGuest, ProxmoxTuning};
use proptest::prelude::*;
use support::{Bench, hold_out, host_with_memory, random, vm};

const MB: f64 = 1e6;

fn guest(balloon: f64, least: f64, free: f64, shares: f64) -> ProxmoxGuest {
    ProxmoxGuest {
        balloon: balloon * MB,
        least: least * MB,
        most: 2000.0 * MB,
        free: Some(free * MB),
        shares,
    }
}

/// Decimal megabytes, rounded.
fn spread(guests: &[ProxmoxGuest], goal_mb: f64) -> Vec<f64> {
    let tuning = ProxmoxTuning { dead_band: 10.0 * MB, step: 100.0 * MB, ..ProxmoxTuning::default() };
    tuning.spread(guests, goal_mb * MB).iter().map(|target| (target / MB).round()).collect()
}

#[test]
fn what_is_to_be_added_goes_by_shares_and_in_steps() {
    let guests = [guest(1000.0, 1000.0, 0.0, 2000.0), guest(1000.0, 1000.0, 0.0, 1000.0)];
    assert_eq!(spread(&guests, 9.0), [1000.0, 1000.0], "within the dead band");
    assert_eq!(spread(&guests, 90.0), [1060.0, 1030.0]);
    assert_eq!(spread(&guests, 150.0), [1100.0, 1050.0]);
    assert_eq!(spread(&guests, 270.0), [1100.0, 1090.0], "at most 100 MB at once");
}

#[test]
fn a_guest_at_its_bound_leaves_its_part_to_the_others() {
    let full = guest(2000.0, 2000.0, 0.0, 2000.0);
    assert_eq!(spread(&[full, guest(1000.0, 1000.0, 0.0, 1000.0)], 18.0), [2000.0, 1018.0]);
    assert_eq!(spread(&[full, guest(1007.0, 1000.0, 0.0, 1000.0)], 80.0), [2000.0, 1087.0]);
}

#[test]
fn the_pressed_grow_first_and_those_at_ease_shrink_first() {
    let (pressed, at_ease) = (guest(1300.0, 1000.0, 100.0, 1000.0), guest(1300.0, 1000.0, 800.0, 1000.0));
    assert_eq!(spread(&[pressed, at_ease], 60.0), [1360.0, 1300.0]);
    assert_eq!(spread(&[pressed, at_ease], -60.0), [1300.0, 1240.0]);
    // Nobody at ease has anything above its minimum: then the others give.
    let at_least = guest(1000.0, 1000.0, 800.0, 1000.0);
    assert_eq!(spread(&[pressed, at_least], -60.0), [1240.0, 1000.0]);
}

#[test]
fn without_shares_a_guest_is_left_alone() {
    let guests = [guest(1300.0, 1000.0, 0.0, 0.0), guest(1300.0, 1000.0, 0.0, 1000.0)];
    assert_eq!(spread(&guests, 50.0), [1300.0, 1350.0]);
    assert_eq!(spread(&guests, -50.0), [1300.0, 1250.0]);
    assert!(spread(&[], 50.0).is_empty());
}

#[test]
fn the_host_comes_to_four_fifths_and_rests_there() {
    let mut bench = Bench::new(host_with_memory(1, ByteSize::gib(64)), (0..4).map(vm).collect());
    let mut policy = Proxmox::default();
    for _ in 0..1000 {
        bench.tick(&mut policy, |_| (1.0, ByteSize::gib(4)));
    }
    let rested = bench.snapshot.assignment.clone();
    assert!((bench.free_share() - 0.2).abs() < 0.001, "{}", bench.free_share());
    (0..1000).for_each(|_| bench.tick(&mut policy, |_| (1.0, ByteSize::gib(4))));
    assert_eq!(bench.snapshot.assignment, rested);
}

#[test]
fn memory_goes_by_weight_above_the_minima() {
    let mut vms: Vec<_> = (0..3).map(vm).collect();
    vms[2].weight = Weight::new(200).expect("in range");
    vms.iter_mut().for_each(|spec| spec.memory.limit = ByteSize::gib(64));
    let mut bench = Bench::new(host_with_memory(1, ByteSize::gib(64)), vms);
    let mut policy = Proxmox::default();
    (0..3000).for_each(|_| bench.tick(&mut policy, |_| (1.0, ByteSize::gib(40))));
    let above = |position| bench.held(position).as_f64() - ByteSize::gib(1).as_f64();
    assert!((above(2) / above(0) - 2.0).abs() < 0.05, "{} to {}", above(2), above(0));
}

/// The known complaint: the others' minima fill the host to its goal, so the pressed guest ends at its own
/// and pages for ever, next to 10 GiB that nobody holds.
#[test]
fn a_pressed_guest_stays_at_its_minimum_for_ever() {
    let mut vms: Vec<_> = (0..5).map(vm).collect();
    for spec in &mut vms[1..] {
        spec.memory = Bounds { reservation: ByteSize::gib(13), limit: ByteSize::gib(13) };
    }
    let mut bench = Bench::new(host_with_memory(1, ByteSize::gib(64)), vms);
    let mut policy = Proxmox::default();
    let use_of = |position| (1.0, ByteSize::gib(if position == 0 { 8 } else { 2 }));
    (0..2000).for_each(|_| bench.tick(&mut policy, use_of));
    for _ in 0..2000 {
        bench.tick(&mut policy, use_of);
        assert_eq!(bench.held(0), ByteSize::gib(1));
    }
    assert!(bench.free_share() > 0.15, "{}", bench.free_share());
}

#[test]
fn what_was_refused_or_frozen_is_asked_for_again() {
    let mut bench = Bench::new(host_with_memory(1, ByteSize::gib(64)), (0..4).map(vm).collect());
    let mut policy = Proxmox::default();
    let use_of = |_| (1.0, ByteSize::gib(4));
    bench.tick(&mut policy, use_of);
    let full = bench.held(0);
    bench.frozen = Families::NONE.with(Family::Memory);
    (0..20).for_each(|_| bench.tick(&mut policy, use_of));
    assert_eq!(bench.held(0), full);
    bench.frozen = Families::NONE;
    // Nothing of what is asked for comes true.
    let asked = (0..30).filter(|_| {
        bench.pass(1, use_of);
        bench.decide(&mut policy).vms.iter().any(|wish| wish.memory.is_some())
    });
    assert_eq!(asked.count(), 3);
    bench.snapshot.vms[0].refuses_memory_until = Some(bench.snapshot.at + Duration::from_secs(60));
    (0..50).for_each(|_| bench.tick(&mut policy, use_of));
    assert!(bench.held(0) == full && bench.held(1) < full);
}

proptest! {
    #![proptest_config(random::config(64))]
    #[test]
    fn any_host_stays_feasible(mut tape in random::tape(1500)) {
        hold_out(&mut tape, &mut Proxmox::default())?;
    }

    #[test]
    fn targets_stay_within_bounds_and_steps(
        raw in prop::collection::vec((0.0..4e9_f64, 0.0..8e9_f64, 0.0..1.0_f64, 0.0..1.0_f64, 0.0..3000.0_f64), 0..40),
        goal in -1e10..1e10_f64,
    ) {
        let guests: Vec<ProxmoxGuest> = raw
            .into_iter()
            .map(|(least, more, at, free, shares)| {
                let balloon = least + at * more;
                ProxmoxGuest { balloon, least, most: least + more, free: Some(free * balloon), shares }
            })
            .collect();
        let tuning = ProxmoxTuning::default();
        let targets = tuning.spread(&guests, goal);
        let moved: f64 = targets.iter().zip(&guests).map(|(target, guest)| target - guest.balloon).sum();
        // Nobody grows while the host is to shrink, and no more is taken than that.
        prop_assert!(goal > 0.0 || (moved <= 1.0 && moved >= goal - 1.0), "{moved} for {goal}");
        for (target, guest) in targets.iter().zip(&guests) {
            prop_assert!((target - guest.balloon).abs() <= tuning.step + 1.0);
            prop_assert!(*target >= guest.least - 1.0 && *target <= guest.most + 1.0);
        }
    }
}
