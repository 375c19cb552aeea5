//! The guards of the control cycle: what comes from a policy is never trusted, and a host that cannot be
//! read is left alone.

#[path = "../../model/tests/common/mod.rs"]
mod common;

use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use common::{Host as Random, Tape, wishes};
use halcyon_control::{Config, Cycle, CycleError, Fallback, Mode, Outcome, Stopwatch};
use halcyon_hal::{Actuate, ActuateError, Inventory, MemoryJournal, Observe, ObserveError, Progress, Ticket};
use halcyon_model::{
    Assignment, ChangeKind, Control, Family, Generation, HostTime, MilliCpu, Proposal, Reason, Rule,
    Snapshot, Step, VmSample, VmWish, Wish, check,
};
use halcyon_policy::{Policy, View};

/// A host on which every change is made at once.
struct Instant {
    inventory: Arc<Inventory>,
    assignment: Assignment,
    now: HostTime,
    broken: bool,
    begun: Vec<(HostTime, Step)>,
}

impl Instant {
    fn new(host: Random, assignment: Assignment) -> Self {
        let Random { topology, vms, capabilities } = host;
        let inventory = Arc::new(Inventory { topology, vms, capabilities, profiles: Arc::default() });
        Self { inventory, assignment, now: HostTime::ZERO, broken: false, begun: Vec::new() }
    }
}

impl Observe for Instant {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        if self.broken {
            return Err(ObserveError { what: "anything".into(), source: None });
        }
        snapshot.at = self.now;
        snapshot.assignment.clone_from(&self.assignment);
        let sample = |spec: &halcyon_model::VmSpec| VmSample { vm: spec.id, ..VmSample::default() };
        snapshot.vms = self.inventory.vms.iter().map(sample).collect();
        Ok(())
    }
}

impl Actuate for Instant {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::ZERO
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.assignment.apply(step).expect("the cycle begins only what fits");
        if let Err(broken) = check(self.inventory.world(), &self.assignment) {
            panic!("after `{step}`: {broken}");
        }
        self.begun.push((self.now, step.clone()));
        Ok(Progress::Done)
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        unreachable!("nothing is ever under way")
    }
}

/// A clock that the policy itself turns on.
#[derive(Clone, Default)]
struct Clock(std::sync::Arc<std::sync::atomic::AtomicU64>);

impl Stopwatch for Clock {
    fn elapsed(&self) -> Duration {
        Duration::from_millis(self.0.load(std::sync::atomic::Ordering::Relaxed))
    }
}

/// A policy made of a function.
struct Says<F>(F);

impl<F: FnMut(&View<'_>) -> Proposal> Policy for Says<F> {
    fn name(&self) -> &'static str {
        "says"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        (self.0)(view)
    }
}

fn cpu_wish(view: &View<'_>, cores: f64) -> Proposal {
    let wish = |share: f64| Some(Wish { share, ceiling: 8000.0, reason: Reason::Fit });
    let vms = view.world.vms.iter().map(|spec| VmWish {
        vm: spec.id,
        cpu: wish(1000.0 * cores),
        ..VmWish::default()
    });
    Proposal { based_on: view.snapshot.generation, vms: vms.collect(), ..Proposal::default() }
}

/// The heuristic of these tests wants two cores for everybody.
fn cycle(policy: impl FnMut(&View<'_>) -> Proposal + Send + 'static, config: Config) -> Cycle<MemoryJournal> {
    let heuristic: Box<dyn Policy + Send> = Box::new(Says(|view: &View<'_>| cpu_wish(view, 2.0)));
    Cycle::new(Box::new(Says(policy)), heuristic, MemoryJournal::new(64), config)
}

/// One VM on the demo host.
fn plain() -> Instant {
    let text = include_str!("../../../examples/hosts/two-socket.toml");
    let described = halcyon_model::describe::parse_host(text).expect("the demo host is described well");
    let vms = include_str!("one-vm.toml");
    let vms = halcyon_model::describe::parse_vms(vms, &described.topology).expect("a VM");
    let host =
        Random { topology: described.topology, vms, capabilities: halcyon_model::Capabilities::free() };
    let start = halcyon_model::admit(host.world()).expect("it fits");
    Instant::new(host, start)
}

fn tick(cycle: &mut Cycle<MemoryJournal>, host: &mut Instant, clock: &Clock) -> Outcome {
    host.now += Duration::from_millis(100);
    let now = host.now;
    cycle.tick(host, now, clock).expect("the cycle goes on")
}

fn share(host: &Instant) -> MilliCpu {
    host.assignment.holdings[0].cpu.share
}

#[test]
fn a_good_policy_has_its_way() {
    let (mut host, clock) = (plain(), Clock::default());
    let mut cycle = cycle(
        |view| cpu_wish(view, 5.0),
        Config { deadline: Some(Duration::from_millis(50)), ..Config::default() },
    );
    let outcome = tick(&mut cycle, &mut host, &clock);
    assert_eq!((outcome.fallback, share(&host)), (None, MilliCpu::cores(5)));
    let plan = outcome.plan.expect("something changed");
    assert_eq!((plan.generation(), plan.based_on()), (Generation(1), Generation(1)));
    assert!(tick(&mut cycle, &mut host, &clock).plan.is_none(), "nothing more to do");
}

#[test]
fn advice_begins_nothing_and_observing_asks_nobody() {
    let (mut host, clock) = (plain(), Clock::default());
    let before = host.assignment.clone();
    let mode = |mode| Config { mode, ..Config::default() };
    let mut cycle = cycle(|view| cpu_wish(view, 5.0), mode(Mode::Advise));
    for number in 1..4 {
        let outcome = tick(&mut cycle, &mut host, &clock);
        let plan = outcome.plan.expect("there is something to advise");
        assert_eq!(plan.generation(), Generation(number), "each has a number of its own");
        assert_eq!((&host.assignment, host.begun.len(), outcome.events.len()), (&before, 0, 0));
    }
    assert_eq!(cycle.executor().journal().entries().count(), 0);
    cycle.reconfigure(mode(Mode::Observe));
    assert!(tick(&mut cycle, &mut host, &clock).plan.is_none());
    assert_eq!(cycle.snapshot().vms.len(), 1, "it is watched all the same");
    cycle.reconfigure(mode(Mode::Act));
    tick(&mut cycle, &mut host, &clock);
    assert_eq!(share(&host), MilliCpu::cores(5));
}

#[test]
fn figures_that_are_not_numbers_are_the_heuristics_turn() {
    for figure in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let (mut host, clock) = (plain(), Clock::default());
        let mut cycle = cycle(move |view| cpu_wish(view, figure), Config::default());
        let outcome = tick(&mut cycle, &mut host, &clock);
        assert_eq!((outcome.fallback, share(&host)), (Some(Fallback::NotFinite), MilliCpu::cores(2)));
    }
}

#[test]
fn a_decision_after_the_deadline_is_the_heuristics_turn() {
    for (slow_ms, late) in [(50, false), (51, true)] {
        let (mut host, clock) = (plain(), Clock::default());
        let turned = clock.clone();
        let slow = move |view: &View<'_>| {
            turned.0.fetch_add(slow_ms, std::sync::atomic::Ordering::Relaxed);
            cpu_wish(view, 5.0)
        };
        let mut cycle =
            cycle(slow, Config { deadline: Some(Duration::from_millis(50)), ..Config::default() });
        let outcome = tick(&mut cycle, &mut host, &clock);
        let expected = late.then(|| Fallback::Late { took: Duration::from_millis(slow_ms) });
        assert_eq!(outcome.fallback, expected);
        assert_eq!(share(&host), MilliCpu::cores(if late { 2 } else { 5 }));
        assert_eq!(outcome.decision, Duration::from_millis(slow_ms));
    }
}

#[test]
fn an_answer_to_an_old_snapshot_is_the_heuristics_turn() {
    let (mut host, clock) = (plain(), Clock::default());
    let stale = |view: &View<'_>| Proposal { based_on: Generation(0), ..cpu_wish(view, 5.0) };
    let mut cycle = cycle(stale, Config::default());
    let outcome = tick(&mut cycle, &mut host, &clock);
    let Some(Fallback::Refused(violations)) = outcome.fallback else { panic!("{:?}", outcome.fallback) };
    assert_eq!(violations.0[0].rule, Rule::Generation);
    assert_eq!(share(&host), MilliCpu::cores(2));
}

#[test]
fn a_host_that_cannot_be_read_is_left_as_it_is() {
    let (mut host, clock) = (plain(), Clock::default());
    let asked = Arc::new(std::sync::atomic::AtomicU64::new(0));
    let count = Arc::clone(&asked);
    let ask = move |view: &View<'_>| {
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        cpu_wish(view, 5.0)
    };
    let mut cycle = cycle(ask, Config::default());
    let before = host.assignment.clone();
    host.broken = true;
    for _ in 0..3 {
        let error = cycle.tick(&mut host, Duration::from_secs(1), &clock).expect_err("it cannot be read");
        assert!(matches!(error, CycleError::Observe(_)));
    }
    assert!(host.begun.is_empty() && host.assignment == before);
    assert_eq!(asked.load(std::sync::atomic::Ordering::Relaxed), 0);
    host.broken = false;
    tick(&mut cycle, &mut host, &clock);
    assert_eq!(share(&host), MilliCpu::cores(5), "and goes on once it can be");
}

#[test]
fn no_kind_of_change_is_made_more_often_than_its_pace() {
    let pace_ms = |kind: ChangeKind| 100 * (1 + 7 * kind as u64);
    let mut tape = random_tape(77, 40_000);
    let (mut host, start) = loop {
        let (host, start) = Random::admitted(&mut tape);
        if host.vms.len() > 5 && host.topology.sockets().len() > 1 {
            break (host, start);
        }
    };
    host.capabilities = ChangeKind::ALL.into_iter().fold(halcyon_model::Capabilities::free(), |all, kind| {
        let pace = Duration::from_millis(pace_ms(kind));
        all.with(kind, Some(Control { pace, ..Control::FREE }))
    });
    let (mut host, clock) = (Instant::new(host, start), Clock::default());
    let restless = Cell::new(tape);
    let wish = move |view: &View<'_>| {
        let mut tape = restless.replace(Tape::new(Vec::new()));
        let held = &view.snapshot.assignment;
        let proposal =
            Proposal { based_on: view.snapshot.generation, ..wishes::plausible(&mut tape, view.world, held) };
        restless.set(tape);
        proposal
    };
    let mut cycle = cycle(wish, Config::default());
    for _ in 0..150 {
        tick(&mut cycle, &mut host, &clock);
    }
    for kind in ChangeKind::ALL {
        // Memory migrates in the course of a change of memory.
        let of_kind = |step: &Step| match kind.family() {
            Family::Memory => step.family() == Family::Memory,
            _ => step.kind() == kind,
        };
        let mut times: Vec<_> =
            host.begun.iter().filter(|(_, step)| of_kind(step)).map(|(at, _)| *at).collect();
        times.dedup();
        let pace = Duration::from_millis(if kind.family() == Family::Memory {
            pace_ms(ChangeKind::Memory)
        } else {
            pace_ms(kind)
        });
        assert!(times.windows(2).all(|pair| pair[1] - pair[0] >= pace), "{kind}: {times:?}");
    }
    let changed = |kind: ChangeKind| host.begun.iter().filter(|(_, step)| step.kind() == kind).count();
    assert!(changed(ChangeKind::Cpu) > 100 && changed(ChangeKind::Placement) > 2);
}

fn random_tape(mut seed: u64, length: usize) -> Tape {
    let next = |_| {
        // Knuth's MMIX generator.
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (seed >> 32) as u32
    };
    Tape::new((0..length).map(next).collect())
}

/// The machine itself asks the checker after every step.
#[test]
fn a_thousand_cycles_of_garbage_break_nothing() {
    let mut fallbacks = 0;
    for seed in 0..40 {
        let mut tape = random_tape(seed, 60_000);
        let (host, start) = Random::admitted(&mut tape);
        let (mut host, clock) = (Instant::new(host, start), Clock::default());
        let shared = Cell::new(tape);
        let mad = move |view: &View<'_>| {
            let mut tape = shared.replace(Tape::new(Vec::new()));
            let mut proposal = wishes::proposal(&mut tape, view.world, &view.snapshot.assignment);
            let stale = tape.chance(1, 20);
            proposal.based_on = if stale { Generation(0) } else { view.snapshot.generation };
            shared.set(tape);
            proposal
        };
        let mut cycle = cycle(mad, Config::default());
        for _ in 0..25 {
            fallbacks += u32::from(tick(&mut cycle, &mut host, &clock).fallback.is_some());
        }
        let world = host.inventory.world();
        assert!(check(world, &host.assignment).is_ok() && cycle.executor().stuck().is_empty());
    }
    assert!(fallbacks > 100, "{fallbacks}");
}
