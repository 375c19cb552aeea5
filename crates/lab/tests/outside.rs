//! Worlds and policies from outside: the examples run, and peers that are dead, slow or wrong are named.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use common::{HOUR, Still, scenario};
use halcyon_lab::RunResult;
use halcyon_lab::outside::{Limits, Outside, OutsideRunError, PolicyRun, WorldRun, schemas};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Whether there is a python3; without it, tests that need one say so and pass.
fn python(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        println!("skipped: {test} needs python3");
    }
    there
}

fn outside(command: &str) -> Outside {
    Outside { command: command.into(), limits: Limits::default(), seed: 1 }
}

fn example(name: &str) -> Outside {
    outside(&format!("exec python3 '{}'", root().join("examples/outside").join(name).display()))
}

fn run_world(world: &Outside, policy: &str) -> Result<RunResult, OutsideRunError> {
    let mut run = WorldRun::new(world, policy)?;
    while !run.is_over() {
        run.tick(&Still)?;
    }
    Ok(run.finish().expect("a run that is over has scores"))
}

fn run_policy(policy: &Outside, duration: Duration) -> Result<RunResult, OutsideRunError> {
    let mut run = PolicyRun::new(&scenario(8, duration, 3), "mine", policy, false)?;
    while !run.is_over() {
        run.tick(&Still)?;
    }
    Ok(run.finish())
}

#[test]
fn the_example_world_is_better_off_with_a_policy() {
    if !python("the example world") {
        return;
    }
    let world = example("world.py");
    let fixed = run_world(&world, "static").expect("the world runs");
    let reactive = run_world(&world, "reactive").expect("the world runs");
    println!("static {} reactive {}", fixed.score.utility, reactive.score.utility);
    assert!(reactive.score.utility > fixed.score.utility, "{:?} {:?}", reactive.score, fixed.score);
    assert!(reactive.changes_per_hour > 0.0 && reactive.fallbacks == 0);
    assert_eq!(reactive.score.vms.len(), 3);
    let again = run_world(&world, "reactive").expect("the world runs");
    assert_eq!(again.score, reactive.score, "one seed gives one result");
}

#[test]
fn the_example_policy_runs_an_hour() {
    if !python("the example policy") {
        return;
    }
    let mine = run_policy(&example("policy.py"), HOUR).expect("the policy runs");
    let fixed = common::run(&scenario(8, HOUR, 3), "static");
    println!("static {} policy.py {}", fixed.score.utility, mine.score.utility);
    assert!(mine.score.utility > 0.3 && mine.score.utility <= mine.score.bound);
    assert!(mine.changes_per_hour > 0.0 && mine.fallbacks == 0 && mine.policy == "mine");
    assert_eq!(mine.decisions_ns.len(), 3600);
}
