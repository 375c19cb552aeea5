//! Worlds and policies from outside: the examples run, and peers that are dead, slow or wrong are named.

mod common;

use std::path::PathBuf;
use std::process::Command;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use common::{HOUR, Still, scenario};
use halcyon_hal::StepState;
use halcyon_lab::RunResult;
use halcyon_lab::outside::{
    ExternalPolicy, Limits, Outside, OutsideRunError, PolicyRun, WorldRun, on_world, schemas,
};
use halcyon_model::{MemoryWish, NodeId, Proposal, Reason, VmSpec, VmWish, Wish};
use halcyon_policy::{Policy, View};

fn root() -> PathBuf {
    PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// Whether there is a python3; without it, tests that need one say so and pass.
fn python(test: &str) -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: {test} needs python3");
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

/// A world that takes its time: steps end one or two cycles after they began, some are refused and some
/// fail, a VM goes and another comes, and what is held is said every time.
const SLOW: &str = r#"
import json, sys
def send(kind, **fields):
    print(json.dumps({"schema": 1, "type": kind, **fields}), flush=True)
GIB, STEPS = 1 << 30, 300
def vm(name):
    return {"name": name, "vcpus": 4, "cpu_milli": {"reservation": 100, "limit": 4000},
            "memory_bytes": {"reservation": GIB, "limit": 6 * GIB}, "objective": {"latency_p99_s": 0.1}}
def has(name, cpu):
    return {"vm": name, "cpu_milli": {"share": cpu, "ceiling": cpu}, "memory": [{"node": 0, "bytes": GIB}]}
names, held = ["a", "b"], {"vms": [has("a", 1000), has("b", 1000)]}
host = {"name": "slow", "sockets": [{"name": "s", "cores": 6}],
        "memory": [{"name": "m", "on": {"socket": 0}, "bytes": 10 * GIB, "bandwidth_bytes_per_s": 10**10}]}
send("world", host=host, changes={"cpu": {"latency_s": 1}, "memory": {"latency_s": 2, "granularity": 1 << 20}},
     vms=[vm(n) for n in names], held=held, duration_s=STEPS, step_s=1)
used, open_steps, seen = {n: 0 for n in "abc"}, {}, 0
def put(step):
    holding = next(v for v in held["vms"] if v["vm"] == step["vm"])
    if step["do"] == "set_cpu":
        assert holding["cpu_milli"] == step["from_milli"], (holding, step)
        holding["cpu_milli"] = step["to_milli"]
    else:
        assert step["do"] == "set_memory" and holding["memory"][0]["bytes"] == step["from_bytes"], (holding, step)
        holding["memory"][0]["bytes"] = step["to_bytes"]
for cycle in range(1, STEPS + 1):
    reports = []
    if cycle == 150:
        names = ["a", "c"]
        held["vms"] = [v for v in held["vms"] if v["vm"] == "a"] + [has("c", 100)]
        open_steps = {i: s for i, s in open_steps.items() if s["vm"] != "b"}
        send("vms", vms=[vm(n) for n in names], held=held)
    for i, step in list(open_steps.items()):
        step["age"] += 1
        if step["age"] > i % 3:
            state = "refused" if i % 5 == 0 else "failed" if i % 7 == 0 else "done"
            if state == "done":
                put(step)
            reports.append({"id": i, "state": state})
            del open_steps[i]
        else:
            reports.append({"id": i, "state": "under_way"})
    for n in names:
        used[n] += (4 if (cycle // 40) % 2 == "abc".index(n) % 2 else 1) * 100000
    send("snapshot", cycle=cycle, at_s=cycle, steps=reports, held=held,
         vms=[{"vm": n, "cpu_used_us": used[n], "working_set_bytes": GIB + used[n] // 100} for n in names])
    plan = json.loads(sys.stdin.readline())
    assert plan["cycle"] == cycle and plan["schema"] == 1
    for step in plan["steps"]:
        if "calls_off" in step:
            del open_steps[step["calls_off"]]
        else:
            step["age"] = 0
            open_steps[step["id"]] = step
            seen += 1
assert seen > 0
send("scores", utility=0.5, violations=0.25, vms=[{"vm": n, "utility": 0.5} for n in "abc"])
"#;

/// Wants something else every time.
#[derive(Default)]
struct Restless(u64);

impl Policy for Restless {
    fn name(&self) -> &'static str {
        "restless"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let mut draw = || {
            self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f64::from(u32::try_from(self.0 >> 40).expect("24 bits")) / f64::from(1 << 24)
        };
        let reason = Reason::Fit;
        let mut wish = |spec: &VmSpec| VmWish {
            vm: spec.id,
            cpu: Some(Wish { share: 4000.0 * draw(), ceiling: 4000.0, reason }),
            memory: Some(MemoryWish { nodes: vec![(NodeId(0), 7e9 * draw())], reason }),
            ..VmWish::default()
        };
        let vms = view.world.vms.iter().map(&mut wish).collect();
        Proposal { based_on: view.snapshot.generation, vms, ..Proposal::default() }
    }
}

#[test]
fn steps_that_take_time_are_refused_or_fail_and_vms_that_come_and_go_are_followed() {
    if !python("a world that takes its time") {
        return;
    }
    let world = outside(&format!("exec python3 -c '{SLOW}'"));
    let mut run = WorldRun::of(&world, "restless", Box::new(Restless::default()), None).expect("it opens");
    let (mut refused, mut undone) = (0, 0);
    while !run.is_over() {
        if let Some(outcome) = run.tick(&Still).expect("both agree to the end") {
            refused += outcome.events.iter().filter(|event| event.state == StepState::Refused).count();
            undone += outcome.events.iter().filter(|event| event.state == StepState::Undone).count();
        }
    }
    assert!(run.cycle().executor().stuck().is_empty());
    let result = run.finish().expect("it is over");
    println!("{} changes an hour, {refused} refused, {undone} undone", result.changes_per_hour);
    assert!(result.changes_per_hour > 1200.0 && refused > 5 && undone > refused);
    assert!((result.score.violations - 0.25).abs() < 1e-9 && result.score.vms.len() == 3);
}

#[test]
fn policies_are_compared_on_a_world_from_outside() {
    if !python("the example world") {
        return;
    }
    let policies = ["static", "reactive", "mine"].map(String::from);
    let mine = ("mine", example("policy.py"));
    let go = AtomicBool::new(false);
    let results = on_world(&example("world.py"), &policies, Some((mine.0, &mine.1)), &Still, &go);
    let (host, results) = results.expect("all run").expect("nobody stopped it");
    let comparison = halcyon_lab::compare(1, &[(host, results)]);
    let names: Vec<_> = comparison.policies.iter().map(|row| row.policy.as_str()).collect();
    assert_eq!(names, ["static", "reactive", "mine"]);
    assert!(comparison.by_host.contains_key("toy") && comparison.bound_gap_pct.is_none());
    let stopped = on_world(&example("world.py"), &policies, None, &Still, &AtomicBool::new(true));
    assert!(stopped.expect("nothing went wrong").is_none());
}

#[test]
fn a_policy_and_a_world_from_outside_meet() {
    if !python("the example world and the example policy") {
        return;
    }
    let policy = ExternalPolicy::start(&example("policy.py")).expect("it starts");
    let fault = policy.fault();
    let mut run =
        WorldRun::of(&example("world.py"), "mine", Box::new(policy), Some(fault)).expect("it opens");
    while !run.is_over() {
        run.tick(&Still).expect("both go on");
    }
    assert!(run.finish().expect("it is over").score.utility > 0.5);
}

/// `HALCYON_WRITE_SCHEMAS=1 cargo test -p halcyon-lab --test outside schemas` writes them anew.
#[test]
fn the_schemas_in_the_documentation_are_those_of_this_program() {
    let folder = root().join("docs/schema");
    let write = std::env::var_os("HALCYON_WRITE_SCHEMAS").is_some();
    for (name, _, text) in schemas() {
        let path = folder.join(name);
        if write {
            std::fs::create_dir_all(&folder).expect("the folder can be made");
            std::fs::write(&path, &text).expect("the schema can be written");
        }
        let there = std::fs::read_to_string(&path).unwrap_or_default();
        assert!(there == text, "{} is out of date; set HALCYON_WRITE_SCHEMAS=1 once", path.display());
    }
    let known = schemas().len();
    assert_eq!(std::fs::read_dir(&folder).expect("the folder is there").count(), known, "one file for each");
}
