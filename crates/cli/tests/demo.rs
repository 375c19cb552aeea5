//! `halcyon demo` as programs and people in a hurry meet it: its JSON, its exit codes, its messages.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use serde_json::Value;

fn halcyon(arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.args(arguments).output().expect("the binary runs")
}

fn demo(arguments: &[&str]) -> Value {
    let output = halcyon(&[&["demo", "--json"], arguments].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).expect("nothing but JSON is on standard output")
}

fn without_times(mut value: Value) -> Value {
    fn strip(value: &mut Value) {
        match value {
            Value::Object(fields) => {
                fields.remove("decision_us");
                fields.values_mut().for_each(strip);
            }
            Value::Array(items) => items.iter_mut().for_each(strip),
            _ => {}
        }
    }
    strip(&mut value);
    value
}

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

#[test]
fn one_seed_one_result_and_another_seed_another() {
    let first = without_times(demo(&["--seed", "7", "--hours", "0.5"]));
    assert_eq!(first, without_times(demo(&["--seed", "7", "--hours", "0.5"])));
    assert_ne!(first, without_times(demo(&["--seed", "8", "--hours", "0.5"])));
}

#[test]
fn the_json_has_the_documented_form() {
    let json = demo(&["--scenarios", "2", "--hours", "0.5"]);
    assert_eq!(keys(&json), ["bound_gap_pct", "by_host", "policies", "scenarios", "schema", "seed"]);
    assert_eq!((json["schema"].as_u64(), json["scenarios"].as_u64()), (Some(1), Some(2)));
    let rows = json["policies"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names, ["static", "reservation", "proportional", "reactive", "learned", "clairvoyant"]);
    for row in rows {
        let fields = [
            "against_reactive",
            "bound_gap_pct",
            "changes_per_hour",
            "decision_us",
            "fallbacks",
            "gap_recovered",
            "limit_cycles",
            "policy",
            "utility",
            "violations_pct",
            "worst_vm",
        ];
        assert_eq!(keys(row), fields);
        assert_eq!(keys(&row["utility"]), ["ci95", "mean", "p5"]);
        let [low, high] = [0, 1].map(|end| row["utility"]["ci95"][end].as_f64().expect("a number"));
        let mean = row["utility"]["mean"].as_f64().expect("a number");
        assert!(low <= mean && mean <= high && (0.0..=1.0).contains(&mean), "{row}");
    }
    assert_eq!(rows[0]["gap_recovered"]["mean"].as_f64(), Some(0.0));
    assert_eq!(rows[5]["gap_recovered"]["mean"].as_f64(), Some(1.0));
    assert_eq!(json["by_host"]["two-socket"].as_array().map(Vec::len), Some(6));
}

#[test]
fn following_demand_beats_the_static_assignment() {
    let json = demo(&["--hours", "1"]);
    let of = |index: usize| json["policies"][index]["utility"]["mean"].as_f64().expect("a number");
    assert!(of(3) > of(0), "reactive {} against static {}", of(3), of(0));
}

#[test]
fn a_real_trace_runs() {
    let data = std::env::var_os("HALCYON_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data"), PathBuf::from);
    let trace = data.join("traces/planetlab/20110303.tar.gz");
    if !trace.exists() {
        eprintln!("skipped: {} is not there; set HALCYON_DATA to the data's folder", trace.display());
        return;
    }
    let json =
        demo(&["--trace", trace.to_str().expect("a UTF-8 path"), "--format", "planetlab", "--hours", "0.5"]);
    assert_eq!(json["policies"].as_array().map(Vec::len), Some(6));
}

fn failure(arguments: &[&str]) -> (Option<i32>, String) {
    let output = halcyon(arguments);
    assert!(output.stdout.is_empty(), "a failure leaves nothing on standard output");
    let message = String::from_utf8(output.stderr).expect("messages are text");
    assert!(!message.contains("panicked") && !message.contains("backtrace"), "{message}");
    (output.status.code(), message)
}

#[test]
fn usage_errors_end_with_2_and_name_the_option() {
    for (arguments, named) in [
        (&["demo", "--policy", "lucky"][..], "proxmox"),
        (&["demo", "--hours", "-1"], "--hours"),
        (&["demo", "--hours", "NaN"], "--hours"),
        (&["demo", "--vms", "0"], "--vms"),
        (&["demo", "--speed", "never"], "max"),
        (&["demo", "--format", "planetlab"], "--trace"),
        (&["demo", "--trace", "x", "--format", "excel"], "planetlab"),
        (&["fly"], "fly"),
    ] {
        let (code, message) = failure(arguments);
        assert_eq!(code, Some(2), "{message}");
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn files_that_are_wrong_end_with_1_and_name_file_and_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("written");
        path.to_str().expect("a UTF-8 path").to_string()
    };
    let binary = write("binary.toml", b"name = \"a\"\n\xff\xfe");
    let broken = write("broken.toml", b"name = \"a\"\n[[socket]]\nname = \"s0\"\ncores = -4\n");
    let empty = write("empty.toml", b"");
    let words = write("words.csv", b"# halcyon-trace 1\nvm,time_s\nno numbers here\n");
    for (arguments, named) in [
        (["demo", "--host", &binary], "binary.toml: line 2"),
        (["demo", "--host", &broken], "broken.toml: line 4"),
        (["demo", "--host", &empty], "empty.toml: line 1"),
        (["demo", "--host", "/nowhere/host.toml"], "/nowhere/host.toml"),
        (["demo", "--vm-file", &empty], "empty.toml"),
        (["demo", "--trace", &words], "words.csv"),
        (["demo", "--trace", "/nowhere/trace"], "/nowhere/trace"),
    ] {
        let (code, message) = failure(&arguments);
        assert_eq!(code, Some(1), "{message}");
        assert!(message.contains(named), "{message}");
    }
}

#[test]
fn more_vms_than_the_host_can_keep_is_said_plainly() {
    let output = halcyon(&["demo", "--vms", "400", "--hours", "0.05"]);
    let message = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() || message.contains("lower its reservation"), "{message}");
}

#[test]
fn a_policy_that_is_named_is_compared_and_looked_at_first() {
    let folder = tempfile::tempdir().expect("a folder");
    let page = folder.path().join("report.html");
    let page_name = page.to_str().expect("a name");
    let json = demo(&["--hours", "0.1", "--vms", "4", "--policy", "proxmox", "--report", page_name]);
    let rows = json["policies"].as_array().expect("rows");
    let names: Vec<_> = rows.iter().filter_map(|row| row["policy"].as_str()).collect();
    assert_eq!(names.len(), 7);
    assert!(names.contains(&"proxmox") && names.last() == Some(&"clairvoyant"), "{names:?}");
    let page = std::fs::read_to_string(page).expect("the report");
    let (_, after) = page.split_once(" checked=\"\"").expect("one is looked at first");
    assert!(after.split_once("</label>").expect("a label").0.contains("proxmox"));
    assert!(page.contains("--policy proxmox"), "the command says so");
}

#[test]
fn a_trace_can_go_to_standard_output_and_nothing_is_named_dash() {
    let folder = tempfile::tempdir().expect("a folder");
    let run = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
        command.current_dir(folder.path()).args(arguments).output().expect("the binary runs")
    };
    let output = run(&["trace", "generate", "--vms", "2", "--hours", "1", "-o", "-"]);
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let written = run(&["trace", "generate", "--vms", "2", "--hours", "1", "-o", "a.csv"]);
    assert!(written.status.success());
    assert_eq!(std::fs::read(folder.path().join("a.csv")).expect("a file"), output.stdout);
    assert!(String::from_utf8_lossy(&output.stderr).contains("written to standard output"));
    let refused = run(&["scenario", "new", "--vms", "4", "--hours", "1", "-o", "-"]);
    assert!(!refused.status.success() && String::from_utf8_lossy(&refused.stderr).contains("`-` is no file"));
    assert!(!folder.path().join("-").exists());
}
