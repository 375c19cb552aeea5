//! The learned policy with what it rests on spoilt: counters, the clock, and its own answers. Nothing here
//! depends on trained weights.

use std::time::Duration;

use halcyon_model::{ByteSize, HostTime, ObjectiveSignal, VmSample};
use halcyon_policy::learned::{FORECASTS, HORIZONS, OUTPUTS, QUANTILES};
use halcyon_policy::{Doubt, Features, Learned, Network, Policy, Shape, View};
use proptest::prelude::*;

mod support;

use halcyon_policy::learned::Guard;
use support::random::{Host, Tape, config, tape};
use support::{Bench, hold_out, host, vm};

const SHAPE: Shape = Shape { features: Features::PER_VM, host: Features::HOST, width: 24, outputs: OUTPUTS };

fn untrained(seed: u64) -> Learned {
    Learned::new(Network::random(SHAPE, seed).expect("the shape is permitted"))
}

fn view(bench: &Bench) -> View<'_> {
    View {
        world: bench.world(),
        snapshot: &bench.snapshot,
        history: &bench.history,
        frozen: bench.frozen,
        profiles: &bench.profiles,
    }
}

fn hostile_sample(tape: &mut Tape, sample: &mut VmSample) {
    let huge = |tape: &mut Tape| *tape.pick(&[0, 1, 1000, 1 << 40, u64::MAX / 2, u64::MAX]);
    let counters = &mut sample.counters;
    let all = [
        &mut counters.cpu_used_us,
        &mut counters.cpu_waited_us,
        &mut counters.memory_stalled_us,
        &mut counters.io_stalled_us,
        &mut counters.memory_bytes,
        &mut counters.gpu_busy_us,
    ];
    for counter in all {
        *counter = tape.chance(4, 5).then(|| huge(tape));
    }
    sample.working_set = tape.chance(4, 5).then(|| ByteSize::new(huge(tape)));
    sample.cache = tape.chance(4, 5).then(|| ByteSize::new(huge(tape)));
    sample.refuses_memory_until = tape.chance(1, 4).then_some(Duration::MAX);
    sample.signal = tape.chance(1, 2).then(|| ObjectiveSignal {
        p99: Some(*tape.pick(&[Duration::ZERO, Duration::MAX])),
        backlog_s: Some(*tape.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300])),
    });
}

/// A clock that stands still, goes on, goes back or jumps.
fn hostile_time(tape: &mut Tape, now: HostTime) -> HostTime {
    match tape.below(6) {
        0 => now,
        1 => now.saturating_sub(Duration::from_secs(tape.between(0, 1 << 20))),
        2 => HostTime::ZERO,
        3 => now.saturating_add(Duration::from_secs(tape.between(0, u64::MAX / 4))),
        4 => HostTime::MAX,
        _ => now.saturating_add(Duration::from_secs(1)),
    }
}

proptest! {
    #![proptest_config(config(64))]

    #[test]
    fn it_holds_out_on_random_hosts(mut tape in tape(6000), seed in any::<u64>()) {
        hold_out(&mut tape, &mut untrained(seed))?;
    }

    #[test]
    fn absurd_counters_and_clocks_give_what_is_feasible(mut tape in tape(6000), seed in any::<u64>()) {
        let (Host { topology, vms, capabilities }, assignment) = Host::admitted(&mut tape);
        let mut bench = Bench::of(topology, vms, capabilities, assignment);
        let mut learned = untrained(seed);
        for _ in 0..12 {
            bench.snapshot.at = hostile_time(&mut tape, bench.snapshot.at);
            bench.snapshot.vms.iter_mut().for_each(|sample| hostile_sample(&mut tape, sample));
            bench.history.record(&bench.snapshot);
            let proposal = bench.decide(&mut learned);
            for need in learned.needs() {
                let told = [need.cpu, need.memory, need.memory_enough, need.memory_rank, need.traffic, need.gpu];
                prop_assert!(told.iter().all(|value| value.is_finite() && *value >= 0.0), "{need:?}");
            }
            // Feasible, or this panics.
            bench.snapshot.assignment = bench.target(&proposal);
        }
    }
}

/// Two VMs of which one uses now more, now less, and a guard that watches forecasts of it.
struct Watched {
    bench: Bench,
    guard: Guard,
    features: Features,
}

impl Watched {
    fn new() -> Self {
        let bench = Bench::new(host(1), vec![vm(0), vm(1)]);
        Self { bench, guard: Guard::default(), features: Features::default() }
    }

    /// A second passes, and forecasts of CPU use are `off` by so much of the limit.
    fn second(&mut self, off: f32) -> Option<Doubt> {
        let second = self.bench.snapshot.at.as_secs();
        let swings = if second / 10 % 2 == 0 { 1.0 } else { 1.2 };
        self.bench.pass(1, |position| (if position == 0 { swings } else { 1.0 }, ByteSize::gib(1)));
        self.judge(off)
    }

    fn judge(&mut self, off: f32) -> Option<Doubt> {
        let view = view(&self.bench);
        self.features.observe(&view);
        let mut outputs = vec![0.0; self.bench.vms.len() * OUTPUTS];
        for row in outputs.chunks_exact_mut(OUTPUTS) {
            row[..HORIZONS.len() * QUANTILES.len()].fill(off);
        }
        self.guard.judge(&view, &self.features, &outputs)
    }
}

#[test]
fn what_is_not_finite_or_not_whole_is_not_used() {
    let mut watched = Watched::new();
    assert_eq!(watched.second(0.0), None);
    let view = view(&watched.bench);
    let mut guard = Guard::default();
    for (place, wild) in [(0, f32::NAN), (FORECASTS, f32::INFINITY), (2 * OUTPUTS - 1, f32::NEG_INFINITY)] {
        let mut outputs = vec![0.0; 2 * OUTPUTS];
        outputs[place] = wild;
        assert_eq!(guard.judge(&view, &watched.features, &outputs), Some(Doubt::NotFinite));
    }
    for count in [0, OUTPUTS, 3 * OUTPUTS] {
        let outputs = vec![0.0; count];
        assert_eq!(guard.judge(&view, &watched.features, &outputs), Some(Doubt::NotFinite));
    }
}

#[test]
fn a_view_beyond_all_bounds_is_not_believed() {
    let mut watched = Watched::new();
    assert_eq!(watched.second(0.0), None);
    let edge = watched.features.per_vm.len() / 4;
    watched.features.per_vm[..=edge].fill(8.0);
    let outputs = vec![0.0; 2 * OUTPUTS];
    let doubt = watched.guard.judge(&view(&watched.bench), &watched.features, &outputs);
    assert!(matches!(doubt, Some(Doubt::Unfamiliar { share }) if share > 0.25), "{doubt:?}");
}

#[test]
fn bad_forecasts_raise_doubt_and_good_ones_lay_it_to_rest() {
    let mut watched = Watched::new();
    let first = (0..600).position(|_| watched.second(0.5).is_some()).expect("they are far off");
    assert!((120..=140).contains(&first), "after twelve judgements of ten seconds, not {first} s");
    let Some(Doubt::Worse { ratio }) = watched.second(0.5) else { panic!("they are worse") };
    assert!(ratio > 1.5, "{ratio}");
    let text = Doubt::Worse { ratio }.to_string();
    assert!(text.contains("times as far off as repeating the last value"), "{text}");
    let rested = (0..1200).position(|_| watched.second(0.0).is_none()).expect("they are good again");
    assert!(rested > 10, "one good forecast is no proof, {rested} s");
    assert!((0..600).all(|_| watched.second(0.0).is_none()));
}

#[test]
fn forecasts_are_not_judged_by_a_clock_that_jumps() {
    let mut watched = Watched::new();
    for _ in 0..40 {
        // Each jump comes before the ten seconds are over.
        for _ in 0..5 {
            assert_eq!(watched.second(0.5), None);
        }
        watched.bench.snapshot.at += Duration::from_secs(100_000);
        for _ in 0..5 {
            assert_eq!(watched.second(0.5), None);
        }
        watched.bench.snapshot.at -= Duration::from_secs(90_000);
    }
    // From the jump on, judgement goes on as before: it does not wait for the clock to catch up.
    let found = (0..600).position(|_| watched.second(0.5).is_some()).expect("they are far off");
    assert!(found <= 140, "{found} s");
}

#[test]
fn time_that_stands_still_and_vms_that_go_are_no_judgement() {
    let mut watched = Watched::new();
    assert_eq!(watched.second(0.5), None);
    for _ in 0..1000 {
        watched.bench.history.record(&watched.bench.snapshot.clone());
        assert_eq!(watched.judge(0.5), None);
    }
    watched.bench.remove(0);
    (0..8).for_each(|_| assert_eq!(watched.second(0.5), None));
    watched.bench.snapshot.at = HostTime::MAX;
    assert_eq!(watched.judge(0.5), None);
}

#[test]
fn needs_are_as_told_whatever_the_clock_does() {
    let mut bench = Bench::new(host(1), vec![vm(0), vm(1)]);
    let mut learned = untrained(7);
    for second in [1, 2, 3, u64::MAX / 2, 4, 5, 0, u64::MAX, 6] {
        bench.snapshot.at = Duration::from_secs(second);
        bench.history.record(&bench.snapshot);
        let proposal = learned.decide(&view(&bench));
        assert_eq!(learned.needs().len(), 2);
        bench.target(&proposal);
    }
}
