//! `halcyon record` and what takes its files, as a person meets them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Longer than anything here takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios/small.toml")
}

/// A folder with the configuration of a host whose steps, and so cycles, take a tenth of a second.
fn folder() -> TempDir {
    let folder = tempfile::tempdir().expect("a folder");
    let text = std::fs::read_to_string(scenario()).expect("it comes with Halcyon");
    let text = text.replacen("[model]\n", "[model]\nstep_s = 0.1\n", 1);
    assert!(text.contains("step_s"));
    std::fs::write(folder.path().join("fast.toml"), text).expect("a file");
    let config = "[host]\nkind = \"sim\"\nscenario = \"fast.toml\"\n";
    std::fs::write(folder.path().join("halcyon.toml"), config).expect("a file");
    folder
}

fn halcyon(folder: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
    command.current_dir(folder).args(args).stdin(Stdio::null()).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Records until the file has that many bytes, and then sends a signal.
fn cut_off(folder: &Path, name: &str, bytes: u64, signal: Signal) -> Output {
    let child: Child = Command::new(env!("CARGO_BIN_EXE_halcyon"))
        .args(["record", "--config", "halcyon.toml", "-o", name])
        .current_dir(folder)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    let began = Instant::now();
    while std::fs::metadata(folder.join(name)).map_or(0, |file| file.len()) < bytes {
        assert!(began.elapsed() < PATIENCE, "{name} does not grow");
        std::thread::sleep(Duration::from_millis(20));
    }
    let pid = Pid::from_raw(i32::try_from(child.id()).expect("a number")).expect("not zero");
    kill_process(pid, signal).expect("it is there");
    child.wait_with_output().expect("it ends")
}

#[test]
fn what_was_recorded_is_shown_replayed_and_never_replaced() {
    let folder = folder();
    let folder = folder.path();
    let output = halcyon(folder, &["record", "--config", "halcyon.toml", "-o", "it.hrec", "--for", "2s"]);
    assert!(output.status.success(), "{}", text(&output.stderr));
    assert!(text(&output.stderr).contains("recording fast to it.hrec"), "{}", text(&output.stderr));
    let said = text(&output.stdout);
    assert!(said.starts_with("21 snapshots over 2.0 s written to it.hrec"), "{said}");
    assert!(said.contains("per VM and snapshot"), "{said}");
    let before = std::fs::read(folder.join("it.hrec")).expect("a file");
    let again = halcyon(folder, &["record", "--config", "halcyon.toml", "-o", "it.hrec", "--for", "1s"]);
    assert_eq!(again.status.code(), Some(1));
    assert!(text(&again.stderr).contains("it.hrec exists"), "{}", text(&again.stderr));
    assert_eq!(std::fs::read(folder.join("it.hrec")).expect("a file"), before);

    let shown = text(&halcyon(folder, &["trace", "show", "it.hrec"]).stdout);
    for part in [
        "format    recording",
        "host      small",
        "7 VMs",
        "snapshots 21",
        "every 0.100 s",
        "end       closed",
    ] {
        assert!(shown.contains(part), "{part}: {shown}");
    }
    let shown = halcyon(folder, &["scenario", "show", "it.hrec"]);
    assert!(text(&shown.stdout).contains("recording it.hrec"), "{shown:?}");
    let replay = || {
        let args = ["demo", "--trace", "it.hrec", "--vms", "7", "--hours", "0.05", "--json"];
        let output = halcyon(folder, &args);
        assert!(output.status.success(), "{}", text(&output.stderr));
        let mut json: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        for policy in json["policies"].as_array_mut().into_iter().flatten() {
            policy["decision_us"] = serde_json::Value::Null;
        }
        json["by_host"] = serde_json::Value::Null;
        json
    };
    assert_eq!(replay(), replay());
    let imported = halcyon(folder, &["trace", "import", "it.hrec", "-o", "it.csv"]);
    assert!(text(&imported.stdout).contains("140 readings written"), "{imported:?}");
    let short = halcyon(folder, &["train", "--from", "it.hrec", "-o", "new"]);
    assert_eq!(short.status.code(), Some(1));
    assert!(
        text(&short.stderr).contains("cannot learn from it.hrec: the recording lasts 0 min"),
        "{short:?}"
    );
}

#[test]
fn a_recorder_that_is_told_to_end_closes_its_file_and_one_that_is_killed_leaves_it_whole() {
    let folder = folder();
    let folder = folder.path();
    let output = cut_off(folder, "ended.hrec", 8_000, Signal::TERM);
    assert!(output.status.success(), "{output:?}");
    assert!(text(&output.stdout).contains("written to ended.hrec"), "{output:?}");
    let shown = text(&halcyon(folder, &["trace", "show", "ended.hrec"]).stdout);
    assert!(shown.contains("end       closed"), "{shown}");

    cut_off(folder, "killed.hrec", 8_000, Signal::KILL);
    let output = halcyon(folder, &["trace", "show", "killed.hrec"]);
    let shown = text(&output.stdout);
    assert!(output.status.success(), "{output:?}");
    assert!(shown.contains("not closed") || shown.contains("torn off"), "{shown}");

    let whole = std::fs::read(folder.join("ended.hrec")).expect("a file");
    std::fs::write(folder.join("torn.hrec"), &whole[..whole.len() - 100]).expect("a file");
    let args = ["demo", "--trace", "torn.hrec", "--vms", "2", "--hours", "0.05", "--json"];
    let output = halcyon(folder, &args);
    assert!(
        output.status.success() && text(&output.stderr).contains("a torn tail was left out"),
        "{output:?}"
    );
    let mut damaged = whole.clone();
    damaged[60] ^= 1;
    std::fs::write(folder.join("damaged.hrec"), damaged).expect("a file");
    let output = halcyon(folder, &["trace", "show", "damaged.hrec"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(text(&output.stderr).contains("damaged.hrec: frame 0 at byte 16"), "{output:?}");
}

#[test]
fn mistakes_are_named_and_leave_no_file() {
    let folder = folder();
    let folder = folder.path();
    for (args, code, says) in [
        (&["--config", "none.toml", "-o", "x.hrec"][..], 1, "none.toml"),
        (&["--config", "halcyon.toml", "-o", "no/such/x.hrec"], 1, "cannot write no/such/x.hrec"),
        (&["--config", "halcyon.toml", "-o", "x.hrec", "--for", "soon"], 2, "is not a time such as 90s"),
        (&["--config", "halcyon.toml"], 2, "--output"),
    ] {
        let output = halcyon(folder, &[&["record"], args].concat());
        assert_eq!(output.status.code(), Some(code), "{args:?}: {output:?}");
        assert!(text(&output.stderr).contains(says), "{args:?}: {}", text(&output.stderr));
        assert!(!folder.join("x.hrec").exists());
    }
}
