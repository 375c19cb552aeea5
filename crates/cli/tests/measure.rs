//! `halcyon bench forecasts | decision-time | recovery`: what they print, and what they refuse.

use std::process::{Command, Output};

use serde_json::Value;

fn halcyon(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.arg("bench").args(arguments).output().expect("the binary runs")
}

fn text(arguments: &[&str]) -> String {
    let output = halcyon(arguments);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("what is printed is text")
}

fn json(arguments: &[&str]) -> Value {
    serde_json::from_str(&text(&[arguments, &["--json"]].concat())).expect("nothing but JSON")
}

fn failure(arguments: &[&str]) -> String {
    let output = halcyon(arguments);
    assert!(!output.status.success() && output.stdout.is_empty());
    String::from_utf8(output.stderr).expect("messages are text")
}

#[test]
fn decisions_are_timed_with_their_parts() {
    let found = json(&["decision-time", "--vms", "6", "--decisions", "20"]);
    let parts = found[0]["parts"].as_array().expect("there are parts");
    let names: Vec<&str> = parts.iter().filter_map(|part| part["name"].as_str()).collect();
    assert_eq!(names, ["decision", "features", "network"]);
    for part in parts {
        let at = |name: &str| part[name].as_f64().expect("a figure");
        assert!(at("p50_us") > 0.0 && at("p50_us") <= at("p99_us") && at("p99_us") <= at("most_us"));
    }
    let text = text(&["decision-time", "--vms", "6", "--decisions", "20", "--cpu-time"]);
    assert!(text.contains("6 VMs, 20 decisions"), "{text}");
}

#[test]
fn recoveries_are_the_same_every_time() {
    let run = || json(&["recovery", "--policies", "static,reactive"]);
    let found = run();
    assert_eq!(found, run());
    let recoveries = found["recoveries"].as_array().expect("there are some");
    for event in ["load-step", "arrival", "arrival-memory"] {
        let of_event = recoveries.iter().filter(|found| found["event"] == event);
        assert_eq!(of_event.clone().count(), 12, "{event}");
        let hit = |found: &Value| found["lowest"].as_f64() < found["before"].as_f64();
        assert!(of_event.clone().all(hit), "an event that does nothing is none: {event}");
    }
}

#[test]
fn what_makes_no_sense_is_refused() {
    assert!(failure(&["forecasts", "--hours", "0.1"]).contains("1200 s"));
    assert!(failure(&["forecasts", "/no/such/trace"]).contains("/no/such/trace"));
    assert!(failure(&["recovery", "--policies", "nobody"]).contains("there is no policy `nobody`"));
    assert!(failure(&["decision-time", "--vms", "1"]).contains("2..=4096"));
    assert!(failure(&["--standard", "forecasts"]).contains("cannot be used"));
}
