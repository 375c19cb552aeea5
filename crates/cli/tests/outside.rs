//! `halcyon bench` with a world and a policy from outside.

use std::process::{Command, Output};

use serde_json::Value;

fn bench(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.arg("bench").args(arguments).env("STEPS", "120").output().expect("the binary runs")
}

fn example(name: &str) -> String {
    format!("exec python3 '{}/../../examples/outside/{name}'", env!("CARGO_MANIFEST_DIR"))
}

fn python() -> bool {
    let there = Command::new("python3").arg("--version").output().is_ok_and(|out| out.status.success());
    if !there {
        eprintln!("skipped: the examples need python3");
    }
    there
}

#[test]
fn a_world_and_a_policy_from_outside_are_benched_as_any_other() {
    if !python() {
        return;
    }
    let (world, policy) = (example("world.py"), example("policy.py"));
    let output = bench(&[
        "--world-cmd",
        &world,
        "--policy-cmd",
        &policy,
        "--policies",
        "reactive",
        "--seeds",
        "2",
        "--json",
        "-",
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let result: Value = serde_json::from_slice(&output.stdout).expect("nothing but JSON");
    assert_eq!((result["scenarios"].as_u64(), result["cases"][1]["host"].as_str()), (Some(2), Some("toy")));
    let names: Vec<_> =
        result["policies"].as_array().expect("rows").iter().map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, [Some("static"), Some("reactive"), Some("external")]);
    let table = bench(&["--world-cmd", &world, "--policies", "reactive"]);
    assert!(String::from_utf8_lossy(&table.stdout).contains("toy, 1 scenario(s)"));
}

#[test]
fn a_peer_that_goes_wrong_ends_with_1_and_is_named() {
    let output = bench(&["--world-cmd", "echo broken >&2; exit 5"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("status 5") && message.contains("broken"), "{message}");
    let output =
        bench(&["--standard", "--no-clairvoyant", "--policy-cmd", "exit 6", "--policies", "reactive"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(message.contains("status 6") && output.stdout.is_empty(), "{message}");
    for (arguments, named) in [
        (&["--world-cmd", "true", "--policies", "clairvoyant"][..], "clairvoyant"),
        (&["--world-cmd", "true", "--standard"], "--standard"),
        (&["--world-cmd", "true", "--peer-deadline", "0"], "--peer-deadline"),
    ] {
        let output = bench(arguments);
        let message = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {message}");
        assert!(message.contains(named), "{message}");
    }
}
