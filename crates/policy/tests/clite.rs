//! What a person would notice of CLITE: it finds a good division in a few samples, holds it, and looks again
//! when load changes; and that its optimiser is one.
mod plant;

use halcyon_model::{Assignment, Families, Family};
use halcyon_policy::{Clite, CliteTuning, GaussianProcess, Search, expected_improvement};
use plant::{Does, Plant, batch, critical, keeps_every_rule, response_ms, ways};
use rand::Rng;
use rand_pcg::Pcg32;

fn unit(random: &mut Pcg32) -> f64 {
    f64::from(random.next_u32()) / 4_294_967_296.0
}

fn point(random: &mut Pcg32) -> Vec<f64> {
    (0..3).map(|_| unit(random)).collect()
}

/// One hill with its top, 1, at (0.7, 0.2, 0.4), and a lower one elsewhere.
fn hills(at: &[f64]) -> f64 {
    let off = |top: [f64; 3]| at.iter().zip(top).map(|(x, top)| (x - top) * (x - top)).sum::<f64>();
    libm::exp(-6.0 * off([0.7, 0.2, 0.4])) + 0.6 * libm::exp(-10.0 * off([0.1, 0.9, 0.8]))
}

#[test]
fn the_process_goes_through_what_was_seen_and_is_unsure_elsewhere() {
    let points: Vec<Vec<f64>> = (0..9).map(|step| vec![f64::from(step) / 8.0]).collect();
    let values: Vec<f64> = points.iter().map(|at| libm::sin(6.0 * at[0])).collect();
    let process = GaussianProcess::fit(&points, &values).expect("finite");
    for (at, value) in points.iter().zip(&values) {
        let (mean, deviation) = process.predict(at);
        assert!((mean - value).abs() < 0.01 && deviation < 0.05, "{at:?}: {mean} ± {deviation}, {value}");
    }
    let (between, sure) = process.predict(&[0.43]);
    assert!((between - libm::sin(6.0 * 0.43)).abs() < 0.02, "{between}");
    let (_, unsure) = process.predict(&[2.5]);
    assert!(unsure > 10.0 * sure, "{unsure} {sure}");
}

#[test]
fn what_cannot_be_fitted_is_refused_and_what_is_seen_twice_is_not() {
    assert!(GaussianProcess::fit(&[], &[]).is_none());
    assert!(GaussianProcess::fit(&[vec![0.0]], &[f64::NAN]).is_none());
    assert!(GaussianProcess::fit(&[vec![0.0], vec![0.0, 1.0]], &[1.0, 2.0]).is_none());
    let twice = GaussianProcess::fit(&[vec![0.5], vec![0.5], vec![0.5]], &[1.0, 2.0, 1.5]).expect("noise");
    let (mean, deviation) = twice.predict(&[0.5]);
    assert!((mean - 1.5).abs() < 0.2 && deviation.is_finite(), "{mean} ± {deviation}");
}

#[test]
fn improvement_is_expected_of_what_is_good_or_unknown() {
    let promise = |mean, deviation| expected_improvement(mean, deviation, 1.0, 0.0);
    assert!((promise(1.5, 0.0) - 0.5).abs() < 1e-12 && promise(0.5, 0.0).abs() < 1e-12);
    // At the best itself: the deviation times the normal density at its middle.
    assert!((promise(1.0, 1.0) - 0.398_942_28).abs() < 1e-6);
    assert!(promise(0.9, 0.5) > promise(0.9, 0.1) && promise(0.5, 1e-3) < 1e-12);
}

/// What is best after 30 samples: five drawn, the others chosen.
fn searched(seed: u64) -> f64 {
    let (mut random, mut search) = (Pcg32::new(seed, 1), Search::new(0.01));
    for taken in 0..30 {
        let mut candidates: Vec<Vec<f64>> = (0..300).map(|_| point(&mut random)).collect();
        let chosen = if taken < 5 { Some((0, 0.0)) } else { search.choose(&candidates) };
        let at = candidates.swap_remove(chosen.expect("there are samples").0);
        let value = hills(&at);
        search.record(at, value);
    }
    search.best().expect("there are samples").1
}

#[test]
fn the_search_finds_the_top_of_three_dimensions_in_thirty_samples_and_chance_does_not() {
    let (mut found, mut chance) = (0.0, 0.0);
    for seed in 0..20 {
        let one = searched(seed);
        assert!(one > 0.93, "seed {seed}: {one}");
        found += one / 20.0;
        let mut random = Pcg32::new(seed, 2);
        chance += (0..30).map(|_| hills(&point(&mut random))).fold(0.0, f64::max) / 20.0;
    }
    assert!(found > 0.97 && found > chance + 0.1, "{found} against {chance}");
}

/// One VM needs CPU, one needs cache, and the others do as much as they have CPU time and bandwidth for.
fn mixed(wanted: f64) -> impl Fn(usize, &Assignment) -> Does {
    move |position, held| {
        let holding = &held.holdings[position];
        let share = holding.cpu.share.as_f64();
        let p99_ms = match position {
            0 => Some(response_ms(wanted, share)),
            1 => Some(6.0 + 60.0 / f64::from(ways(held, 1).max(1)) + response_ms(1000.0, share)),
            _ => None,
        };
        let used = if position < 2 { 1000.0 } else { share };
        let moved = (used * 2e6).min(holding.memory_bandwidth.ceiling.as_f64());
        Does { p99_ms, used_milli: used as u64, traffic: moved as u64, ..Does::default() }
    }
}

fn plant() -> Plant {
    let vms = vec![critical(0), critical(1), batch(2), batch(3)];
    Plant::new(Box::new(Clite::default()), vms)
}

fn met(plant: &Plant, wanted: f64) -> bool {
    let answer = mixed(wanted);
    (0..2).all(|position| answer(position, &plant.snapshot.assignment).p99_ms.is_some_and(|p99| p99 <= 20.0))
}

#[test]
fn objectives_are_met_within_a_search_and_the_others_have_more_than_an_equal_part() {
    let mut plant = plant();
    plant.run(100, mixed(5000.0));
    assert!(met(&plant, 5000.0), "{:?}", plant.snapshot.assignment);
    let others = plant.share(2) + plant.share(3);
    assert!(others > 22_000.0 / 3.0, "{others}");
    let found = plant.snapshot.assignment.clone();
    plant.run(200, mixed(5000.0));
    assert!(plant.snapshot.assignment == found, "it holds what it found");
}

#[test]
fn a_change_of_load_starts_a_new_search() {
    let mut plant = plant();
    plant.run(150, mixed(3000.0));
    assert!(met(&plant, 3000.0));
    plant.run(200, mixed(9000.0));
    assert!(met(&plant, 9000.0), "{:?}", plant.snapshot.assignment);
}

#[test]
fn frozen_compute_is_left_alone_and_vms_may_come_and_go() {
    let mut plant = plant();
    plant.run(40, mixed(5000.0));
    plant.frozen = Families::NONE.with(Family::Compute);
    let before = plant.share(0);
    plant.run(20, mixed(5000.0));
    assert!((plant.share(0) - before).abs() < 1.0);
    plant.frozen = Families::NONE;
    let mut vms = plant.vms.clone();
    vms.pop();
    vms.push(batch(7));
    plant.replace(vms);
    plant.run(120, mixed(5000.0));
    assert!(met(&plant, 5000.0));
}

#[test]
fn one_seed_gives_one_course() {
    let course = |seed| {
        let vms = vec![critical(0), critical(1), batch(2), batch(3)];
        let mut plant = Plant::new(Box::new(Clite::new(CliteTuning { seed, ..CliteTuning::default() })), vms);
        (0..90).map(|_| plant.tick(mixed(5000.0))).collect::<Vec<_>>()
    };
    assert!(course(1) == course(1));
    assert!(course(1) != course(2));
}

#[test]
fn on_any_host_the_rules_are_kept() {
    keeps_every_rule("clite");
}
