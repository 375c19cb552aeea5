//! What a person would notice of Heracles: best-effort work grows into what is left, and is gone when an
//! objective is missed.
mod plant;

use halcyon_model::Assignment;
use halcyon_policy::{Heracles, HeraclesTuning};
use plant::{Does, Plant, batch, best_effort as scavenger, critical, keeps_every_rule, response_ms, ways};

/// Two latency-critical VMs and three that are best-effort.
fn plant() -> Plant {
    let vms = vec![critical(0), critical(1), scavenger(2), scavenger(3), scavenger(4)];
    Plant::new(Box::new(Heracles::default()), vms)
}

/// The latency-critical VMs answer at once as long as the others, who use up to 18 of 22 cores, leave them
/// `wanted`.
fn crowded_by(wanted: f64, used: u64) -> impl Fn(usize, &Assignment) -> Does {
    move |position, held| {
        let others: f64 = held.holdings[2..].iter().map(|holding| holding.cpu.ceiling.as_f64()).sum();
        let p99_ms = (position < 2).then(|| response_ms(wanted, 22_000.0 - others.min(18_000.0)));
        Does { p99_ms, used_milli: used, traffic: 1_000_000_000, ..Does::default() }
    }
}

fn best_effort(plant: &Plant) -> f64 {
    (2..5).map(|position| plant.held(position).cpu.ceiling.as_f64()).sum()
}

#[test]
fn with_slack_best_effort_work_grows_and_stops_where_slack_is_small() {
    let mut plant = plant();
    // Response time rises slowly, so that a core more or less is no cliff.
    let slowly = |position: usize, held: &Assignment| {
        let others: f64 = held.holdings[2..].iter().map(|holding| holding.cpu.ceiling.as_f64()).sum();
        let p99_ms = (position < 2).then_some(5.0 + others.min(22_000.0) / 1250.0);
        Does { p99_ms, used_milli: 1000, traffic: 1_000_000_000, ..Does::default() }
    };
    // At first nothing is held back, an objective is missed, and there is nothing for five minutes.
    plant.run(300, slowly);
    assert!((best_effort(&plant) - 3000.0).abs() < 1.0, "{}", best_effort(&plant));
    plant.run(120, slowly);
    let grown = best_effort(&plant);
    assert!(grown > 16_000.0 && grown < 18_000.0, "{grown}");
    for _ in 0..300 {
        plant.tick(slowly);
        assert!((best_effort(&plant) - grown).abs() < 1.0, "it rests");
    }
}

#[test]
fn a_missed_objective_takes_everything_and_growth_is_taken_up_again_after_the_cooldown() {
    let mut plant = plant();
    plant.run(200, crowded_by(2000.0, 1000));
    let grown = best_effort(&plant);
    plant.run(16, |position, _| Does {
        p99_ms: (position < 2).then_some(50.0),
        used_milli: 1000,
        ..Does::default()
    });
    let cut = best_effort(&plant);
    // A core each.
    assert!(grown > 6000.0 && (cut - 3000.0).abs() < 1.0, "{grown} → {cut}");
    assert!(ways(&plant.snapshot.assignment, 2) <= 2);
    plant.run(250, crowded_by(2000.0, 1000));
    assert!((best_effort(&plant) - cut).abs() < 1.0, "it cools down");
    plant.run(150, crowded_by(2000.0, 1000));
    assert!(best_effort(&plant) > 4000.0, "{}", best_effort(&plant));
}

#[test]
fn a_vm_that_is_slow_by_itself_does_not_keep_the_others_down_for_ever() {
    let mut plant = plant();
    let one_slow = |position: usize, held: &Assignment| {
        let others: f64 = held.holdings[2..].iter().map(|holding| holding.cpu.ceiling.as_f64()).sum();
        let p99_ms = match position {
            0 => Some(100.0),
            1 => Some(2.0 + others.min(22_000.0) / 2000.0),
            _ => None,
        };
        Does { p99_ms, used_milli: 1000, traffic: 1_000_000_000, ..Does::default() }
    };
    plant.run(300, one_slow);
    assert!((best_effort(&plant) - 3000.0).abs() < 1.0, "{}", best_effort(&plant));
    plant.run(200, one_slow);
    assert!(best_effort(&plant) > 10_000.0, "{}", best_effort(&plant));
}

#[test]
fn a_high_load_takes_everything_before_an_objective_is_missed() {
    let mut plant = plant();
    plant.run(100, crowded_by(1000.0, 1000));
    assert!(best_effort(&plant) > 6000.0);
    plant.run(32, crowded_by(1000.0, 10_000));
    assert!((best_effort(&plant) - 3000.0).abs() < 1.0, "{}", best_effort(&plant));
}

#[test]
fn memory_traffic_is_kept_below_the_limit() {
    let mut plant = plant();
    // Five bytes of traffic for each nanosecond of a core; the channels carry 100 GB/s.
    let hungry = |position: usize, held: &Assignment| {
        let ceiling = held.holdings[position].cpu.ceiling.get().min(16_000);
        let p99_ms = (position < 2).then_some(3.0);
        let (used, traffic) = if position < 2 { (1000, 10_000_000) } else { (ceiling, ceiling * 10_000_000) };
        Does { p99_ms, used_milli: used, traffic, ..Does::default() }
    };
    plant.run(200, hungry);
    let mut worst = 0.0_f64;
    for _ in 0..200 {
        plant.tick(hungry);
        worst = worst.max(best_effort(&plant) * 10_000_000.0);
    }
    assert!(worst <= 91e9, "{worst}");
}

#[test]
fn cache_that_helps_best_effort_work_is_given_and_other_cache_is_taken_back() {
    let mut helped = plant();
    // Each way saves traffic and makes the others faster.
    helped.run(60, |position, held| {
        let ways = u64::from(ways(held, 2));
        let p99_ms = (position < 2).then_some(3.0);
        Does {
            p99_ms,
            used_milli: 1000 + 100 * ways,
            traffic: 5_000_000_000 - 200_000_000 * ways,
            ..Does::default()
        }
    });
    assert!(ways(&helped.snapshot.assignment, 2) >= 8, "{}", ways(&helped.snapshot.assignment, 2));
    let mut not = plant();
    not.run(60, crowded_by(1000.0, 1000));
    assert!(ways(&not.snapshot.assignment, 2) <= 3, "{}", ways(&not.snapshot.assignment, 2));
}

#[test]
fn a_vm_that_is_to_get_on_is_not_taken_from() {
    let vms = vec![critical(0), batch(1), scavenger(2), scavenger(3)];
    let mut plant = Plant::new(Box::new(Heracles::default()), vms);
    let missed = |position: usize, _: &Assignment| Does {
        p99_ms: (position == 0).then_some(90.0),
        used_milli: 4000,
        ..Does::default()
    };
    plant.run(60, missed);
    assert_eq!(plant.held(1).cpu.ceiling.as_f64(), 16_000.0);
    assert_eq!(plant.held(2).cpu.ceiling.as_f64(), 1000.0);
    assert!((plant.share(0) - 10_000.0).abs() < 1.0 && (plant.share(1) - 10_000.0).abs() < 1.0);
}

#[test]
fn without_best_effort_work_there_is_nothing_to_control() {
    let mut plant = Plant::new(Box::new(Heracles::default()), (0..4).map(critical).collect());
    let calm = |_: usize, _: &Assignment| Does { p99_ms: Some(90.0), used_milli: 1000, ..Does::default() };
    plant.run(60, calm);
    for position in 0..4 {
        assert!((plant.share(position) - 5500.0).abs() < 1.0, "{}", plant.share(position));
    }
}

#[test]
fn the_thresholds_are_the_published_ones() {
    let tuning = HeraclesTuning::default();
    assert_eq!((tuning.poll.as_secs(), tuning.step.as_secs()), (15, 2));
    assert_eq!((tuning.cut_below, tuning.growth_above, tuning.memory_limit), (0.05, 0.10, 0.90));
}

#[test]
fn on_any_host_the_rules_are_kept() {
    keeps_every_rule("heracles");
}
