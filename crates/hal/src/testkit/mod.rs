//! What every driver is held to, and drivers that fail on demand.
//!
//! [`conforms`] tries a driver step by step: done means done, again does no harm, back leads back, nothing
//! else changes. [`withstands`] puts an executor above it and a wrapper between that is slow, busy,
//! refuses, lies, forgets or dies: the machine has to end as it was or as it was to be. [`storm`] does so
//! with one random plan after the other, and with the program dying at random moments.

mod faulty;
mod storm;

pub use faulty::{Fault, Faulty};
pub use storm::{Weather, storm};

use std::time::Duration;

use halcyon_model::{
    Assignment, Families, Generation, HostTime, Plan, Proposal, Standing, Step, VmId, World, approve, check,
    diff,
};

use crate::executor::Executor;
use crate::host::{Actuate, ActuateError, Progress, Ticket};
use crate::journal::MemoryJournal;

/// A driver on a machine that can be tried: a tree in a temporary folder, a peer that speaks the real
/// protocol, the simulated host.
pub trait Subject {
    /// The host and its VMs.
    fn world(&self) -> World<'_>;

    /// The driver.
    fn driver(&mut self) -> &mut dyn Actuate;

    /// What the machine holds, read anew. What the driver under test does not read stays as in `believed`.
    fn held(&mut self, believed: &Assignment) -> Assignment;

    /// Steps that can be made from the start, each by itself: every kind that the driver makes, and every
    /// way in which it does so. The start is what [`held`](Subject::held) says of a new subject.
    fn steps(&mut self) -> Vec<Step>;

    /// Lets this much time pass for the machine; on a real one, a moment.
    fn pass(&mut self, time: Duration);

    /// What all believe at the start, before anything was read.
    fn believed(&self) -> Assignment;
}

/// How long one poll of a change under way stands for.
const TICK: Duration = Duration::from_millis(100);

fn start<S: Subject>(subject: &mut S) -> Assignment {
    let believed = subject.believed();
    subject.held(&believed)
}

/// Runs a step to its end.
fn run<S: Subject>(subject: &mut S, step: &Step) -> Result<Progress, ActuateError> {
    let patience = subject.driver().estimate(step) * 3 + Duration::from_secs(10);
    let mut progress = subject.driver().begin(step)?;
    let mut waited = Duration::ZERO;
    while let Progress::UnderWay(ticket) = progress {
        assert!(waited <= patience, "`{step}` has no end: {waited:?} went by, three times the estimate");
        subject.pass(TICK);
        waited += TICK;
        progress = subject.driver().poll(ticket);
    }
    Ok(progress)
}

fn done<S: Subject>(subject: &mut S, step: &Step, what: &str) {
    match run(subject, step) {
        Ok(Progress::Done) => {}
        other => panic!("{what}: `{step}` ended as {other:?}"),
    }
}

/// Holds a driver to the contract of [`Actuate`] and of reading.
///
/// # Panics
/// When it breaks it, with the step and the rule.
pub fn conforms<S: Subject>(make: impl Fn() -> S) {
    let steps = make().steps();
    assert!(!steps.is_empty(), "a driver that makes no step is none");
    for step in &steps {
        there_and_back(&mut make(), step);
        names_nobody_harmed(&mut make(), step);
    }
    together(&mut make(), &steps);
    a_ticket_of_nobody_is_answered(&mut make());
}

fn there_and_back<S: Subject>(subject: &mut S, step: &Step) {
    let before = start(subject);
    assert_eq!(subject.held(&before), before, "reading twice gives the same");
    assert!(before.matches(step), "`{step}` can be made from the start");
    let mut after = before.clone();
    after.apply(step).expect("it matches");
    done(subject, step, "forwards");
    assert_ne!(subject.held(&before), before, "`{step}` was done and shows nowhere");
    assert_eq!(subject.held(&after), after, "`{step}` does what it says and nothing else");
    done(subject, step, "a second time");
    assert_eq!(subject.held(&after), after, "`{step}` made twice is as made once");
    let back = step.inverse();
    done(subject, &back, "back");
    assert_ne!(subject.held(&after), after, "`{back}` was done and shows nowhere");
    assert_eq!(subject.held(&before), before, "`{back}` leads back");
    done(subject, &back, "back a second time");
    assert_eq!(subject.held(&before), before, "`{back}` made twice is as made once");
}

/// A step for a VM that there is not changes nothing and is no success.
fn names_nobody_harmed<S: Subject>(subject: &mut S, step: &Step) {
    let before = start(subject);
    let Some(nobody) = for_vm(step, VmId(u32::MAX)) else { return };
    let ended = run(subject, &nobody);
    assert!(!matches!(ended, Ok(Progress::Done)), "`{nobody}` was done for a VM that there is not");
    assert_eq!(subject.held(&before), before, "`{nobody}` changed something");
}

fn for_vm(step: &Step, vm: VmId) -> Option<Step> {
    Some(match step.clone() {
        Step::SetCpu { socket, from, to, .. } => Step::SetCpu { vm, socket, from, to },
        Step::SetMemoryBandwidth { socket, from, to, .. } => {
            Step::SetMemoryBandwidth { vm, socket, from, to }
        }
        Step::Place { from, to, .. } => Step::Place { vm, from, to },
        Step::SetMemory { node, from, to, .. } => Step::SetMemory { vm, node, from, to },
        Step::SetClass { from, to, .. } => Step::SetClass { vm, from, to },
        Step::Attach { devices, .. } => Step::Attach { vm, devices },
        _ => return None,
    })
}

/// Steps that do not touch the same thing may be under way together.
fn together<S: Subject>(subject: &mut S, steps: &[Step]) {
    let mut expected = start(subject);
    let mut chosen: Vec<&Step> = Vec::new();
    for step in steps {
        let apart = chosen.iter().all(|other| !other.touches_same(step) && other.vm() != step.vm());
        if apart && expected.apply(step).is_ok() {
            chosen.push(step);
        }
    }
    let begun: Vec<_> = chosen.iter().map(|step| (*step, subject.driver().begin(step))).collect();
    for (step, progress) in begun {
        let mut progress = progress.unwrap_or_else(|error| panic!("together: {error}"));
        let mut left = 10_000;
        while let Progress::UnderWay(ticket) = progress {
            subject.pass(TICK);
            progress = subject.driver().poll(ticket);
            left -= 1;
            assert!(left > 0, "together: `{step}` has no end");
        }
        assert_eq!(progress, Progress::Done, "together: `{step}`");
    }
    assert_eq!(subject.held(&expected), expected, "together");
}

fn a_ticket_of_nobody_is_answered<S: Subject>(subject: &mut S) {
    let progress = subject.driver().poll(Ticket(u64::MAX));
    assert!(matches!(progress, Progress::Failed { .. }), "a ticket that nobody has is {progress:?}");
}

/// Puts an executor above a driver that fails in every way: the machine ends as it was or as it was to be,
/// the executor comes to rest, and the checker is content at the end.
///
/// # Panics
/// When that does not hold, with the fault and the step.
pub fn withstands<S: Subject>(make: impl Fn() -> S) {
    for step in make().steps() {
        for fault in Fault::ALL {
            withstand(&mut make(), &step, fault);
        }
    }
}

fn withstand<S: Subject>(subject: &mut S, step: &Step, fault: Fault) {
    let before = start(subject);
    let mut target = before.clone();
    target.apply(step).expect("a step can be made from the start");
    let Some(plan) = plan(subject.world(), &before, &target) else { return };
    let mut executor = Executor::new(MemoryJournal::new(10_000));
    let mut now = HostTime::ZERO;
    executor.submit(&plan, now);
    let mut faulty = Faulty::new(fault);
    let mut held = before.clone();
    for tick in 0.. {
        assert!(tick < 10_000, "{fault:?}: `{step}` keeps the executor busy for ever");
        if executor.busy() == Families::NONE {
            break;
        }
        now += Duration::from_secs(1);
        subject.pass(TICK);
        executor.settle(now, &mut faulty.over(subject.driver())).expect("memory takes all");
        held = subject.held(&held);
        let (topology, vms, capabilities) = {
            let world = subject.world();
            (world.topology.clone(), world.vms.to_vec(), world.capabilities.clone())
        };
        let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
        let mut kept_up = held.clone();
        let driver = &mut faulty.over(subject.driver());
        executor.advance(now, world, &mut kept_up, driver).expect("memory takes all");
        held = kept_up;
    }
    (0..50).for_each(|_| subject.pass(TICK));
    // What machines show only roughly is what it may be, if that is so.
    held = subject.held(&held);
    let ended = [&before, &target].into_iter().any(|may_be| subject.held(may_be) == *may_be);
    assert!(ended, "{fault:?}: `{step}` left a mixture: {held:#?}");
    assert!(check(subject.world(), &held).is_ok(), "{fault:?}: `{step}` broke a rule");
    if !fault.is_lasting() {
        assert!(executor.stuck().is_empty(), "{fault:?}: `{step}` is stuck");
    }
}

/// The plan that leads from one assignment to another, if there is one.
#[must_use]
pub fn plan(world: World<'_>, from: &Assignment, to: &Assignment) -> Option<Plan> {
    let standing = Standing { snapshot: Generation(0), plan: Generation(0) };
    approve(world, standing, &Proposal::default(), from, diff(world, from, to)).ok()
}
