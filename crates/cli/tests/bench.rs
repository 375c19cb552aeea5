//! `halcyon bench` as programs and people in a hurry meet it: its JSON, its exit codes, its messages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::time::Duration;

use halcyon_lab::{Draw, Scenario};
use halcyon_model::describe::parse_host;
use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::{Card, Features, Network, Shape};
use halcyon_sim::trace::generator::{Generator, Parameters};
use serde_json::Value;

const SMALL: &str = include_str!("../../../examples/hosts/small.toml");

fn halcyon(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.arg("bench").args(arguments).output().expect("the binary runs")
}

/// A small scenario as a file.
fn scenario(folder: &Path, name: &str, seed: u64) -> PathBuf {
    let host = parse_host(SMALL).expect("the small host is described well");
    let length = Duration::from_secs(300);
    let parameters = Parameters::embedded().expect("the embedded model is whole");
    let traces = Generator::new(&parameters, seed).trace_set(5, Duration::from_secs(3600));
    let draw = Draw::new(5, length, seed);
    let scenario = Scenario::draw(host.topology, host.capabilities, &traces, draw).expect("the VMs fit");
    let path = folder.join(name);
    let mut file = std::fs::File::create(&path).expect("a file in a temporary folder");
    scenario.with_description(SMALL).write(&mut file).expect("the scenario has a form");
    path
}

fn json(arguments: &[&str]) -> Value {
    let output = halcyon(&[&["--json", "-"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("nothing but JSON is on standard output")
}

/// The text without what may differ from run to run: decision times and memory.
fn fixed(mut value: Value) -> String {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.retain(|name, _| name != "decision_us" && name != "memory");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value.to_string()
}

fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = halcyon(arguments);
    assert!(output.stdout.is_empty(), "a failure leaves nothing on standard output");
    let message = String::from_utf8(output.stderr).expect("messages are text");
    assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
    (output.status.code(), message)
}

#[test]
fn the_json_is_the_same_for_any_number_of_threads_and_after_a_resume() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = scenario(folder.path(), "five.toml", 3);
    let file = file.to_str().expect("a UTF-8 path");
    let state = folder.path().join("state");
    let state = state.to_str().expect("a UTF-8 path");
    let common = ["--scenarios", file, "--seeds", "3"];
    let one = json(&[&common[..], &["--jobs", "1", "--state", state]].concat());
    assert_eq!((one["schema"].as_u64(), one["scenarios"].as_u64()), (Some(1), Some(3)));
    assert_eq!(one["seed"].as_u64(), Some(3), "the file's own seed comes first");
    for key in ["bound_gap_pct", "by_host", "by_resource", "cases", "memory", "policies", "runs"] {
        assert!(!one[key].is_null(), "{key}");
    }
    let four = json(&[&common[..], &["--jobs", "4"]].concat());
    let resumed = json(&[&common[..], &["--jobs", "2", "--resume", state]].concat());
    let one = fixed(one);
    assert_eq!(one, fixed(four));
    assert_eq!(one, fixed(resumed));
}

#[test]
fn files_are_written_whole_and_the_table_is_for_people() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    scenario(folder.path(), "a.toml", 1);
    scenario(folder.path(), "b.toml", 2);
    let path = |name: &str| folder.path().join(name).to_str().expect("a UTF-8 path").to_string();
    let (page, result) = (path("bench.html"), path("bench.json"));
    let output = halcyon(&[
        "--scenarios",
        folder.path().to_str().expect("a UTF-8 path"),
        "--policies",
        "reactive",
        "--html",
        &page,
        "--json",
        &result,
    ]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let table = String::from_utf8(output.stdout).expect("the table is text");
    for word in ["small, 2 scenario(s)", "static", "reactive", "clairvoyant", "MiB"] {
        assert!(table.contains(word), "{word} in {table}");
    }
    assert!(!table.contains("proportional"), "only what was asked for, and the yardsticks");
    let written: Value =
        serde_json::from_slice(&std::fs::read(&result).expect("the JSON is there")).expect("JSON");
    assert_eq!(written["cases"].as_array().map(Vec::len), Some(2));
    assert!(std::fs::read_to_string(&page).expect("the page is there").starts_with("<!DOCTYPE html>"));
}

/// A program among the examples, if there is a Python to run it.
fn example(name: &str) -> Option<String> {
    let python = Command::new("python3").arg("--version").output();
    if !python.is_ok_and(|python| python.status.success()) {
        eprintln!("skipped: there is no python3 to run the example with");
        return None;
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/outside").join(name);
    Some(format!("exec python3 '{}'", path.display()))
}

#[test]
fn a_policy_that_is_a_command_stands_beside_the_others() {
    let Some(command) = example("policy.py") else { return };
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = scenario(folder.path(), "five.toml", 3);
    let file = file.to_str().expect("a UTF-8 path");
    let common = ["--scenarios", file, "--policies", "reactive", "--no-clairvoyant"];
    let json = json(&[&common[..], &["--policy-cmd", &command]].concat());
    let rows = json["policies"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, ["static", "reactive", "external"]);
    let (code, message) = failure(&[&common[..], &["--policy-cmd", "exit 7"]].concat());
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("exit 7"), "{message}");
}

#[test]
fn a_world_that_is_a_command_takes_the_simulators_place() {
    let Some(command) = example("world.py") else { return };
    let json = json(&["--world-cmd", &command, "--seeds", "2", "--policies", "reactive"]);
    assert_eq!((json["scenarios"].as_u64(), json["seed"].as_u64()), (Some(2), Some(1)));
    assert_eq!(json["runs"].as_array().map(Vec::len), Some(4));
    let (code, message) = failure(&["--world-cmd", "exit 7"]);
    assert_eq!(code, Some(1), "{message}");
    assert!(message.contains("exit 7"), "{message}");
    let (code, _) = failure(&["--world-cmd", &command, "--policies", "clairvoyant"]);
    assert_eq!(code, Some(2));
}

#[test]
fn other_weights_change_the_learned_policy_and_nothing_else() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let text = |path: &Path| path.to_str().expect("a UTF-8 path").to_string();
    let path = text(&scenario(folder.path(), "one.toml", 3));
    let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../models/halcyon.safetensors");
    let others = folder.path().join("others.safetensors");
    let shape = Shape { features: Features::PER_VM, host: Features::HOST, width: 4, outputs: OUTPUTS };
    let network = Network::random(shape, 1).expect("a network of that shape");
    let network = network.named(Card { model: "others".into(), features: Features::digest() });
    std::fs::write(&others, network.write().expect("its file")).expect("a file");
    let state = text(&folder.path().join("state"));
    let with = |model: Option<&Path>| {
        let model = model.map(text);
        let model: Vec<&str> = model.iter().flat_map(|model| ["--model", model.as_str()]).collect();
        let rest =
            ["--scenarios", &path, "--policies", "reactive,learned", "--no-clairvoyant", "--state", &state];
        let report = json(&[&rest[..], &model].concat());
        let policies = report["runs"].as_array().expect("a row for each run").clone();
        policies.into_iter().map(fixed).collect::<Vec<_>>()
    };
    let (plain, same, different) = (with(None), with(Some(&shipped)), with(Some(&others)));
    assert_eq!(plain, same);
    assert_eq!(plain.len(), 3);
    assert_eq!(plain[..2], different[..2]);
    assert_ne!(plain[2], different[2], "results that were kept are not those of other weights");
    let (code, message) = failure(&["--scenarios", &path, "--model", &path]);
    assert!(code == Some(1) && message.contains("cannot use the weights"), "{message}");
}

#[test]
fn mistakes_in_the_arguments_end_with_2() {
    for (arguments, named) in [
        (&["--standard", "--policies", "reactive,lucky"][..], "lucky"),
        (&["--standard", "--policies", "lucky"], "proportional"),
        (&[], "--standard"),
        (&["--scenarios"], "--scenarios"),
        (&["--standard", "--full"], "--full"),
        (&["--standard", "--jobs", "0"], "--jobs"),
        (&["--standard", "--hours", "-1"], "--hours"),
        (&["--scenarios", "x.toml", "--seeds", "0"], "--seeds"),
    ] {
        let (code, message) = failure(arguments);
        assert_eq!(code, Some(2), "{arguments:?}: {message}");
        assert!(message.contains(named), "{arguments:?}: {message}");
    }
}

#[test]
fn what_cannot_be_read_or_written_ends_with_1_and_is_named() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let path = |name: &str| folder.path().join(name).to_str().expect("a UTF-8 path").to_string();
    let (missing, empty, broken) = (path("missing.toml"), path("empty"), path("broken.toml"));
    std::fs::create_dir(&empty).expect("a folder");
    std::fs::write(&broken, "schema = ").expect("a file");
    let nowhere = path("no/such/result.json");
    for (arguments, named) in [
        (&["--scenarios", &missing][..], &missing),
        (&["--scenarios", &empty], &empty),
        (&["--scenarios", &broken], &broken),
        (&["--standard", "--json", &nowhere], &nowhere),
        (&["--standard", "--html", &broken], &broken),
        (&["--standard", "--state", &broken], &broken),
    ] {
        let (code, message) = failure(arguments);
        assert_eq!(code, Some(1), "{arguments:?}: {message}");
        assert!(message.contains(named.as_str()), "{arguments:?}: {message}");
    }
}
