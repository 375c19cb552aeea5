//! The program dies before and after every record of the journal, again and again, and what it left is
//! taken up: each family ends in its old or its new state, and the checker is content at every moment.

#[path = "../../model/tests/common/mod.rs"]
mod common;
mod fake;

use common::{Host, Tape, config, wishes};
use fake::{Bench, Play};
use halcyon_model::{Assignment, Capabilities, Families, Family, Plan, Step, diff, project};
use proptest::prelude::*;

fn is_old_or_new(now: &Assignment, old: &Assignment, new: &Assignment) -> bool {
    Family::ALL.into_iter().all(|family| {
        let alike = |other: &Assignment| now.clone().keeping(other, Families::NONE.with(family)) == *now;
        alike(old) || alike(new)
    })
}

/// Ticks until everything came to rest or the program is dead.
fn settle(bench: &mut Bench<'_>) {
    for _ in 0..20_000 {
        let idle = bench.is_idle();
        if bench.executor.journal().is_dead() {
            return;
        }
        // Once more when all is over: how it ended is written down then.
        bench.tick();
        if idle {
            return;
        }
    }
    panic!("busy for ever: {:#?}", bench.executor);
}

/// A plan that the executor carries out, on a machine whose changes go as `plays` says.
fn plan(tape: &mut Tape, host: &Host, bench: &mut Bench<'_>, plays: &[Play]) -> Plan {
    let before = bench.machine.assignment.clone();
    let proposal = wishes::plausible(tape, host.world(), &before);
    let target = project(host.world(), &before, Families::NONE, &proposal);
    let plan = bench.plan_for(&target);
    for change in plan.changes() {
        let play = *tape.pick(plays);
        bench.machine.script(&change.step, &[play]);
        let back = [Play::Done, Play::After(2)];
        bench.machine.script(&change.step.inverse(), &[*tape.pick(&back)]);
    }
    plan
}

fn host(tape: &mut Tape) -> (Host, Assignment) {
    let (mut host, start) = Host::admitted(tape);
    host.capabilities = Capabilities::free();
    let proposal = wishes::plausible(tape, host.world(), &start);
    let first = project(host.world(), &start, Families::NONE, &proposal);
    let start = diff(host.world(), &start, &first).reached;
    (host, start)
}

/// Runs one plan with a death at one record, and another soon after the restart; false when the plan was
/// over before.
fn die_at(
    seed: &[u32],
    plays: &[Play],
    (record, written): (usize, bool),
    again: Option<usize>,
) -> Result<bool, TestCaseError> {
    let mut tape = Tape::new(seed.to_vec());
    let (host, start) = host(&mut tape);
    let mut bench = Bench::new(host.world(), start.clone()).dying_at(record, written);
    let plan = plan(&mut tape, &host, &mut bench, plays);
    bench.submit(&plan);
    settle(&mut bench);
    if !bench.executor.journal().is_dead() {
        return Ok(false);
    }
    let mut coin = record;
    let mut lands = |_: &Step| {
        coin = coin.wrapping_mul(31).wrapping_add(7);
        coin % 3 != 0
    };
    bench.restart(again.map(|record| (record, !written)), &mut lands);
    settle(&mut bench);
    if bench.executor.journal().is_dead() {
        bench.restart(None, &mut lands);
        settle(&mut bench);
    }
    let now = &bench.machine.assignment;
    prop_assert!(
        is_old_or_new(now, &start, plan.target()),
        "dead at record {record} ({written}), then {again:?}: a mixture\n{}",
        bench.events.iter().map(|event| format!("{} {}\n", event.step, event.became())).collect::<String>()
    );
    prop_assert!(bench.executor.stuck().is_empty());
    Ok(true)
}

fn at_every_record(seed: &[u32], plays: &[Play]) -> Result<(), TestCaseError> {
    for written in [false, true] {
        for again in [None, Some(0), Some(1), Some(3)] {
            let mut record = 0;
            while die_at(seed, plays, (record, written), again)? {
                record += 1;
            }
        }
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(20))]

    #[test]
    fn a_death_at_any_record_leaves_the_old_plan_or_the_new_one(seed in proptest::collection::vec(any::<u32>(), 3000)) {
        at_every_record(&seed, &[Play::Done, Play::After(1), Play::After(4)])?;
    }

    #[test]
    fn also_where_changes_fail(seed in proptest::collection::vec(any::<u32>(), 3000)) {
        let plays = [Play::Done, Play::Done, Play::After(2), Play::HalfAfter(2), Play::FailAfter(1), Play::Error];
        at_every_record(&seed, &plays)?;
    }
}
