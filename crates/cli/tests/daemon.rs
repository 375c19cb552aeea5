//! `halcyon run` and those who ask it, as a person meets them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// Longer than anything here takes, on a machine that is busy.
const PATIENCE: Duration = Duration::from_secs(60);

struct Daemon {
    child: Child,
    folder: TempDir,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn scenario() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios/small.toml")
}

fn config(control: &str) -> String {
    format!("[host]\nkind = \"sim\"\nscenario = {:?}\n[control]\n{control}\n", scenario())
}

impl Daemon {
    fn start(control: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        std::fs::write(folder.path().join("halcyon.toml"), config(control)).expect("a file");
        let child = Command::new(env!("CARGO_BIN_EXE_halcyon"))
            .args(["run", "--config", "halcyon.toml", "--socket", "halcyon.sock"])
            .current_dir(folder.path())
            .stderr(std::fs::File::create(folder.path().join("log")).expect("a file"))
            .stdout(Stdio::null())
            .spawn()
            .expect("the program starts");
        let daemon = Self { child, folder };
        daemon.until(&["status", "--json"], |status| status["cycle"]["count"].as_u64() > Some(0));
        daemon
    }

    fn ask(&self, args: &[&str]) -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
        command.current_dir(self.folder.path()).env("HALCYON_SOCKET", "halcyon.sock").args(args);
        command.output().expect("the program starts")
    }

    fn json(&self, args: &[&str]) -> Option<Value> {
        serde_json::from_slice(&self.ask(args).stdout).ok()
    }

    fn text(&self, args: &[&str]) -> String {
        let output = self.ask(args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Asks until the answer is as it should be.
    fn until(&self, args: &[&str], good: impl Fn(&Value) -> bool) -> Value {
        let began = Instant::now();
        loop {
            let answer = self.json(args);
            if let Some(answer) = answer.as_ref().filter(|answer| good(answer)) {
                return answer.clone();
            }
            let log = std::fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
            assert!(began.elapsed() < PATIENCE, "{args:?} is {answer:?}\n{log}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn signal(&self, signal: Signal) {
        let pid = Pid::from_raw(i32::try_from(self.child.id()).expect("a number")).expect("not zero");
        kill_process(pid, signal).expect("it is there");
    }
}

#[test]
fn a_daemon_tells_what_it_sees_and_does_and_ends_cleanly() {
    let mut daemon = Daemon::start("mode = \"act\"");
    daemon.until(&["status", "--json"], |status| status["changes"]["done"].as_u64() > Some(0));
    let vms = daemon.until(&["vms", "--json"], |vms| vms[0]["cpu_used_milli"].is_u64());
    let vms = vms.as_array().expect("an array");
    let table = daemon.text(&["vms"]);
    assert!(vms.iter().all(|vm| vm["name"].as_str().is_some_and(|name| table.contains(name))), "{table}");
    let plan =
        daemon.until(&["plan", "--json"], |plan| plan["events"].as_array().is_some_and(|e| !e.is_empty()));
    assert_eq!(plan["carried_out"], true, "{plan}");
    assert!(daemon.text(&["plan"]).contains("what became of it"));
    let why = daemon.text(&["explain"]);
    assert!(why.contains("reason") && why.contains("cost"), "{why}");
    let status = daemon.text(&["status"]);
    assert!(status.contains("act: carries out") && status.contains("learned"), "{status}");
    let name = vms[0]["name"].as_str().expect("a name");
    let history = daemon.json(&["history", "--every", "1", "--vm", name, "--json"]).expect("JSON");
    assert!(history[0]["points"].as_array().is_some_and(|points| !points.is_empty()), "{history}");
    for (args, says) in [
        (&["history", "--vm", "a&b=c"][..], "there is no VM `a&b=c`"),
        (&["history", "--every", "7"][..], "ask for 1, 10 or 60"),
    ] {
        let output = daemon.ask(args);
        assert_eq!(output.status.code(), Some(1), "{args:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
    let second = daemon.ask(&["run", "--config", "halcyon.toml"]);
    assert_eq!(second.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another daemon listens"), "{second:?}");
    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().expect("it ends").success());
    assert!(!daemon.folder.path().join("halcyon.sock").exists());
    let output = daemon.ask(&["status"]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("halcyon.sock"), "{output:?}");
}

#[test]
fn advice_changes_nothing_and_the_mode_can_be_changed_without_a_new_start() {
    let daemon = Daemon::start("mode = \"advise\"\npolicy = \"reactive\"");
    let held = |vms: &Value| -> Vec<(u64, u64)> {
        let vms = vms.as_array().into_iter().flatten();
        vms.filter_map(|vm| Some((vm["cpu_ceiling_milli"].as_u64()?, vm["memory_bytes"].as_u64()?))).collect()
    };
    let before = held(&daemon.json(&["vms", "--json"]).expect("JSON"));
    let plan = daemon.until(&["plan", "--json"], Value::is_object);
    assert_eq!(
        (&plan["carried_out"], plan["events"].as_array().map(Vec::len)),
        (&Value::Bool(false), Some(0))
    );
    assert!(daemon.text(&["plan"]).starts_with("advice "));
    assert_eq!(held(&daemon.json(&["vms", "--json"]).expect("JSON")), before, "nothing was changed");
    let path = daemon.folder.path().join("halcyon.toml");
    for (text, says) in
        [("[host", "line 1"), (&config("mode = \"act\"").replace("small", "none"), "[host] changed")]
    {
        std::fs::write(&path, text).expect("a file");
        daemon.signal(Signal::HUP);
        let status = daemon.until(&["status", "--json"], |status| {
            status["trouble"].as_str().is_some_and(|trouble| trouble.contains(says))
        });
        assert_eq!(
            (&status["mode"], &status["policy"]),
            (&"advise".into(), &"reactive".into()),
            "all as before"
        );
    }
    std::fs::write(&path, config("mode = \"act\"")).expect("a file");
    daemon.signal(Signal::HUP);
    daemon.until(&["status", "--json"], |status| {
        status["mode"] == "act" && status["policy"] == "learned" && status["trouble"].is_null()
    });
    daemon.until(&["status", "--json"], |status| status["changes"]["done"].as_u64() > Some(0));
}

#[test]
fn what_cannot_be_started_says_why() {
    let folder = tempfile::tempdir().expect("a folder");
    for (text, says) in [
        ("[host]\nkind = \"sim\"\nscenario = \"none.toml\"", "none.toml"),
        (&config("policy = \"oracle\"")[..], "choose one of learned, static"),
        ("[host]\nkind = \"vax\"\nscenario = \"x\"", "halcyon.toml: line 2"),
    ] {
        std::fs::write(folder.path().join("halcyon.toml"), text).expect("a file");
        let mut command = Command::new(env!("CARGO_BIN_EXE_halcyon"));
        command.args(["run", "--config", "halcyon.toml", "--socket", "s"]).current_dir(folder.path());
        let output = command.output().expect("the program starts");
        assert_eq!(output.status.code(), Some(1), "{text}");
        assert!(String::from_utf8_lossy(&output.stderr).contains(says), "{output:?}");
    }
}
