//! Random plans on random machines that refuse, fail and fall silent at random: the checker is content at
//! every moment (the machine asks it after each operation), and each transaction ends in its old or its
//! new state.

#[path = "../../model/tests/common/mod.rs"]
mod common;
mod fake;

use common::{Host, Tape, config, shuffle, tape, wishes};
use fake::{Bench, Play};
use halcyon_hal::{StepState, Stuck};
use halcyon_model::{Assignment, Families, Family, Plan, diff, project};
use proptest::prelude::*;

/// The chances that a random step does not simply work.
#[derive(Debug, Clone, Copy)]
struct Trouble {
    slow: u32,
    refused: u32,
    failed: u32,
    undo_failed: u32,
}

fn play(tape: &mut Tape, trouble: Trouble) -> Play {
    let polls = u32::try_from(tape.below(6)).expect("small");
    match u32::try_from(tape.below(100)).expect("small") {
        chance if chance < trouble.slow => Play::After(polls),
        chance if chance < trouble.slow + trouble.refused => Play::RefuseAfter(polls),
        chance if chance < trouble.slow + trouble.refused + trouble.failed => {
            *tape.pick(&[Play::HalfAfter(polls), Play::FailAfter(polls), Play::Error, Play::Silent])
        }
        _ => Play::Done,
    }
}

fn script(tape: &mut Tape, bench: &mut Bench<'_>, plan: &Plan, trouble: Trouble) {
    for change in plan.changes() {
        bench.machine.script(&change.step, &[play(tape, trouble)]);
        let mut plays = vec![Play::After(u32::try_from(tape.below(3)).expect("small"))];
        while plays.len() < 5 && tape.chance(trouble.undo_failed, 100) {
            plays.insert(
                0,
                *tape.pick(&[Play::Error, Play::FailAfter(2), Play::RefuseAfter(1), Play::Silent]),
            );
        }
        bench.machine.script(&change.step.inverse(), &plays);
    }
}

fn target(tape: &mut Tape, host: &Host, held: &Assignment) -> Assignment {
    let proposal = wishes::plausible(tape, host.world(), held);
    let mut target = project(host.world(), held, Families::NONE, &proposal);
    if tape.chance(1, 2) {
        shuffle::shuffle(tape, host, &mut target);
    }
    target
}

/// Whether what a family's steps change is alike in both.
fn alike(family: Family, a: &Assignment, b: &Assignment) -> bool {
    a.clone().keeping(b, Families::NONE.with(family)) == *a
}

/// Compares the machine with what the journal says became of the plan.
fn judge(bench: &Bench<'_>, before: &Assignment, plan: &Plan) -> Result<(), TestCaseError> {
    let now = &bench.machine.assignment;
    for family in Family::ALL {
        let tasks = || {
            let of_plan = bench.executor.journal().of_plan(plan.generation());
            of_plan.filter(move |(_, step, _)| step.family() == family)
        };
        let states: Vec<StepState> = tasks().map(|(_, _, state)| state).collect();
        let failed = bench.events.iter().any(|event| {
            event.plan == plan.generation()
                && event.step.family() == family
                && event.state == StepState::Failed
        });
        prop_assert!(states.iter().all(|state| state.is_settled()), "{family:?} {states:?}");
        if states.contains(&StepState::Stuck) {
            continue;
        }
        if failed {
            prop_assert!(
                alike(family, now, before),
                "{family:?} is not back: {:#?}",
                bench
                    .events
                    .iter()
                    .filter(|e| e.step.family() == family)
                    .map(|e| format!("{} {:?} {:?}", e.step, e.state, e.note))
                    .collect::<Vec<_>>()
            );
        } else if states.iter().all(|state| *state == StepState::Succeeded) {
            let accepted = plan.changes().iter().filter(|change| change.step.family() == family).count();
            prop_assert!(accepted != states.len() || alike(family, now, plan.target()), "{family:?}");
        } else {
            let mut expected = before.clone();
            let done: Vec<_> = tasks().filter(|(_, _, state)| *state == StepState::Succeeded).collect();
            done.iter().for_each(|(_, step, _)| drop(expected.apply(step)));
            prop_assert!(alike(family, now, &expected), "{family:?} holds more or less than was done");
        }
    }
    Ok(())
}

fn rounds(tape: &mut Tape, trouble: Trouble) -> Result<(), TestCaseError> {
    let (mut host, start) = Host::admitted(tape);
    host.capabilities = halcyon_model::Capabilities::free();
    let first = target(tape, &host, &start);
    let start = diff(host.world(), &start, &first).reached;
    let mut bench = Bench::new(host.world(), start);
    for _ in 0..4 {
        let before = bench.machine.assignment.clone();
        let mut target = target(tape, &host, &before);
        keep_fixed_devices(&host, &before, &mut target);
        let plan = bench.plan_for(&target);
        script(tape, &mut bench, &plan, trouble);
        let stuck_before = bench.executor.stuck().to_vec();
        bench.submit(&plan);
        bench.settle();
        judge(&bench, &before, &plan)?;
        for (_, step, _) in bench.executor.journal().of_plan(plan.generation()) {
            let quarantined = stuck_before.iter().any(|stuck: &Stuck| stuck.step.touches_same(step));
            prop_assert!(!quarantined, "`{step}` touches what is in quarantine");
        }
        prop_assert!(trouble.undo_failed > 0 || bench.executor.stuck().is_empty());
    }
    Ok(())
}

/// A plan that moved them would be refused.
fn keep_fixed_devices(host: &Host, before: &Assignment, target: &mut Assignment) {
    for (_, members) in host.topology.fabric().groups() {
        let fixed = |device: &halcyon_model::DeviceId| {
            !host.topology.fabric().devices[device.index()].hot_plug
                && before.devices[device.index()].owner != target.devices[device.index()].owner
        };
        if members.iter().any(fixed) {
            target.devices.clone_from(&before.devices);
            target.links.clone_from(&before.links);
            return;
        }
    }
}

proptest! {
    #![proptest_config(config(80))]

    #[test]
    fn slow_and_unwilling_machines_end_where_the_journal_says(mut tape in tape(6000)) {
        rounds(&mut tape, Trouble { slow: 60, refused: 20, failed: 0, undo_failed: 0 })?;
    }

    #[test]
    fn failures_lead_back_to_the_old_state(mut tape in tape(6000)) {
        rounds(&mut tape, Trouble { slow: 50, refused: 10, failed: 10, undo_failed: 0 })?;
    }

    #[test]
    fn machines_that_cannot_be_led_back_stay_feasible(mut tape in tape(6000)) {
        rounds(&mut tape, Trouble { slow: 40, refused: 10, failed: 15, undo_failed: 50 })?;
    }
}
