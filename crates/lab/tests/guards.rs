//! The learned policy in the control cycle, with forecasts that are bad on purpose, answers that come late,
//! and a clock that jumps. Nothing here depends on trained weights.

mod common;

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::{HOUR, Still, draw, generated, scenario};
use halcyon_control::{Config, Cycle, Fallback, Stopwatch};
use halcyon_hal::{Actuate, ActuateError, Inventory, MemoryJournal, Observe, ObserveError, Progress, Ticket};
use halcyon_lab::{Run, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_model::{Family, HostTime, Proposal, Snapshot, Step, check};
use halcyon_policy::features::HOST_TABLE;
use halcyon_policy::learned::{FORECASTS, OUTPUTS};
use halcyon_policy::network::{Parameters, Tensor};
use halcyon_policy::{Card, Doubt, Features, Learned, Network, Policy, Reactive, Shape, View};
use halcyon_sim::SimHost;

/// A network that foresees the last value, and half of the limit more in every forecast while the feature
/// `gpu_frozen` is set. It asks for what is used.
fn fickle() -> Network {
    let shape = Shape { features: Features::PER_VM, host: Features::HOST, width: 1, outputs: OUTPUTS };
    let mut values = vec![0.0; shape.parameters()];
    let switch = HOST_TABLE.iter().position(|feature| feature.name == "gpu_frozen").expect("there is one");
    values[shape.range(Tensor::HostWeight).start + switch] = 1.0;
    values[shape.range(Tensor::EncoderWeight).start] = 1.0;
    let outputs = shape.range(Tensor::OutputWeight).start;
    values[outputs..outputs + FORECASTS].fill(0.5);
    let card = Card { model: "fickle".into(), features: Features::digest() };
    Network::new(card, Parameters::new(shape, values).expect("as many as it takes"))
}

/// The learned policy with a switch that spoils its forecasts.
struct Spoilt {
    learned: Learned,
    spoil: Arc<AtomicBool>,
}

impl Policy for Spoilt {
    fn name(&self) -> &'static str {
        "learned"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        // The host has no GPUs, so nothing else changes by it.
        let spoil = self.spoil.load(Ordering::Relaxed);
        let frozen = if spoil { view.frozen.with(Family::Gpu) } else { view.frozen };
        self.learned.decide(&View { frozen, ..*view })
    }

    fn doubt(&self) -> Option<Doubt> {
        self.learned.doubt()
    }
}

#[test]
fn bad_forecasts_hand_over_to_the_heuristic_with_the_reason_until_they_are_good_again() {
    let host = parse_host(include_str!("../../../examples/hosts/small.toml")).expect("it is described well");
    let scenario = Scenario::draw(host.topology, host.capabilities, &generated(6, HOUR, 5), draw(6, HOUR, 5));
    let scenario = scenario.expect("the VMs fit");
    let spoil = Arc::new(AtomicBool::new(false));
    let policy = Spoilt { learned: Learned::new(fickle()), spoil: Arc::clone(&spoil) };
    let mut run = Run::of(&scenario, "learned", Box::new(policy), false).expect("it starts");
    let mut pass = |seconds: u32| -> Vec<Option<Fallback>> {
        (0..seconds).map(|_| run.tick(&Still).expect("it goes on").fallback).collect()
    };
    let found = pass(300);
    let first = found.iter().flatten().next();
    assert!(first.is_none(), "the last value is as good as itself: {first:?}");
    spoil.store(true, Ordering::Relaxed);
    let found = pass(600);
    let first = found.iter().position(Option::is_some).expect("they are far off");
    assert!((10..300).contains(&first), "{first}");
    for fallback in &found[first..] {
        let Some(Fallback::Doubt(Doubt::Worse { ratio })) = fallback else { panic!("{fallback:?}") };
        assert!(*ratio > 1.5, "{ratio}");
    }
    spoil.store(false, Ordering::Relaxed);
    let found = pass(1800);
    let back = found.iter().position(Option::is_none).expect("it is trusted again");
    assert!(back > 10 && found[back..].iter().all(Option::is_none), "{back}");
}

/// A stopwatch on which every look takes some time.
struct Slow(Cell<u32>, Duration);

impl Stopwatch for Slow {
    fn elapsed(&self) -> Duration {
        self.0.set(self.0.get() + 1);
        self.1 * self.0.get()
    }
}

#[test]
fn a_late_answer_is_the_heuristics() {
    let scenario = scenario(8, HOUR, 5);
    let config = Config { deadline: Some(Duration::from_millis(50)), ..Config::default() };
    for (look, late) in [(Duration::from_millis(51), true), (Duration::from_millis(5), false)] {
        let mut host = scenario.host().expect("it is feasible");
        let mut cycle = Cycle::new(
            Box::new(Learned::new(fickle())),
            Box::new(Reactive::default()),
            MemoryJournal::new(64),
            config,
        );
        let clock = Slow(Cell::new(0), look);
        for _ in 0..30 {
            host.step();
            let now = host.now();
            let outcome = cycle.tick(&mut host, now, &clock).expect("it goes on");
            match (&outcome.fallback, late) {
                (Some(Fallback::Late { took }), true) => assert!(*took > Duration::from_millis(50)),
                (None, false) => {}
                (found, _) => panic!("{found:?} with {look:?}"),
            }
        }
    }
}

/// A simulated host that is read with a clock of its own.
struct Clocked {
    host: SimHost,
    at: HostTime,
}

impl Observe for Clocked {
    fn inventory(&self) -> Arc<Inventory> {
        self.host.inventory()
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.host.observe(snapshot)?;
        snapshot.at = self.at;
        Ok(())
    }
}

impl Actuate for Clocked {
    fn estimate(&self, step: &Step) -> Duration {
        self.host.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.host.begin(step)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.host.poll(ticket)
    }
}

/// Plans that the cycle makes in ten minutes on a clock that is set by `set`, and in the five after.
fn plans(set: impl Fn(u64, HostTime) -> HostTime) -> (usize, usize) {
    let scenario = scenario(8, HOUR, 5);
    let mut host = Clocked { host: scenario.host().expect("it is feasible"), at: HostTime::ZERO };
    let learned = Box::new(Learned::new(fickle()));
    let mut cycle =
        Cycle::new(learned, Box::new(Reactive::default()), MemoryJournal::new(64), Config::default());
    let mut made = [0, 0];
    for second in 0..900 {
        host.host.step();
        host.at = set(second, host.at);
        let now = host.at;
        let outcome = cycle.tick(&mut host, now, &Still).expect("it goes on");
        check(host.inventory().world(), host.host.assignment()).expect("what is held stays feasible");
        made[usize::from(second >= 600)] += usize::from(outcome.plan.is_some());
    }
    (made[0], made[1])
}

#[test]
fn the_cycle_goes_on_whatever_the_clock_does() {
    let second = Duration::from_secs(1);
    let (usual, after) = plans(|_, at| at + second);
    assert!(usual > 10 && after > 5, "{usual}, {after}");
    // An hour back, half way: nothing waits for the clock to catch up.
    let (_, back) = plans(|now, at| if now == 600 { Duration::from_secs(5) } else { at + second });
    assert!(back * 2 > after, "{back} plans, {after} without the jump");
    let year = Duration::from_secs(365 * 86_400);
    let (_, ahead) = plans(|now, at| at + if now == 600 { year } else { second });
    assert!(ahead * 2 > after, "{ahead} plans, {after} without the jump");
    // Still, to and fro, and at the end of time: nothing breaks.
    plans(|now, at| if now < 300 { at + second } else { at });
    plans(|now, _| Duration::from_secs(if now % 2 == 0 { 1000 } else { 10 }));
    plans(|now, at| if now < 300 { at + second } else { HostTime::MAX });
}
