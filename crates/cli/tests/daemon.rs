//! `halcyon run` and those who ask it, as a person meets them.

use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use halcyon_host::qmp::fake::{FakeQemu, Guest, Trouble};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
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
        Self::run(tempfile::tempdir().expect("a folder"), &config(control))
    }

    fn run(folder: TempDir, config: &str) -> Self {
        std::fs::write(folder.path().join("halcyon.toml"), config).expect("a file");
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

/// A daemon on this host, whose guests are peers that speak QMP and whose control groups are an empty folder.
fn on_this_host(mode: &str, guests: impl FnOnce(&Path)) -> Daemon {
    let folder = tempfile::tempdir().expect("a folder");
    for name in ["vms", "cgroups"] {
        std::fs::create_dir(folder.path().join(name)).expect("a folder");
    }
    guests(&folder.path().join("vms"));
    let vms = "[[vm]]\nname = \"web\"\nvcpus = 1\nmemory = { reservation = \"64MiB\", limit = \"1GiB\" }\n";
    std::fs::write(folder.path().join("vms.toml"), vms).expect("a file");
    let host = "[host]\nkind = \"linux\"\nsockets = [\"vms\"]\nstate = \"state\"\ncgroups = \"cgroups\"\n";
    Daemon::run(folder, &format!("{host}vms = \"vms.toml\"\n[control]\nmode = \"{mode}\"\n"))
}

fn guest(folder: &Path, name: &str) -> FakeQemu {
    let size = 512 << 20;
    let guest = Guest { memory: size, needs: 64 << 20, ..Guest::default() };
    let guest = FakeQemu::start(&folder.join(format!("{name}.qmp")), guest).expect("a socket");
    guest.machine().answers.insert("query-name".into(), json!({ "name": name }));
    guest.machine().answers.insert("query-memory-size-summary".into(), json!({ "base-memory": size }));
    guest
}

fn names(vms: &Value) -> Vec<&str> {
    vms.as_array().into_iter().flatten().filter_map(|vm| vm["name"].as_str()).collect()
}

#[test]
fn guests_of_this_host_are_found_followed_and_keep_their_numbers() {
    let mut guests = Vec::new();
    let mut daemon =
        on_this_host("observe", |folder| guests.extend(["web", "db"].map(|name| guest(folder, name))));
    let folder = daemon.folder.path().join("vms");
    let vms = daemon.until(&["vms", "--json"], |vms| vms[1]["cpu_used_milli"].is_u64());
    assert_eq!(names(&vms), ["db", "web"], "numbers are given in the order of sockets");
    assert_eq!((&vms[0]["state"], &vms[0]["memory_bytes"]), (&json!("running"), &json!(512 << 20)));
    let web = vms[1]["id"].clone();
    let late = guest(&folder, "late");
    daemon.until(&["vms", "--json"], |vms| names(vms) == ["db", "web", "late"]);
    guests[0].machine().answers.insert("query-status".into(), json!({ "status": "paused" }));
    guests[0].machine().emit("STOP", json!({}));
    daemon.until(&["vms", "--json"], |vms| vms[1]["state"] == "paused");
    guests[1].misbehave(Trouble::Silent);
    daemon.until(&["vms", "--json"], |vms| vms[0]["state"] == "silent");
    drop(guests);
    daemon.until(&["vms", "--json"], |vms| names(vms) == ["late"]);
    let again = guest(&folder, "web");
    let twin = FakeQemu::start(&folder.join("x-twin.qmp"), Guest::default()).expect("a socket");
    twin.machine().answers.insert("query-name".into(), json!({ "name": "web" }));
    let vms = daemon.until(&["vms", "--json"], |vms| names(vms) == ["web", "late"]);
    assert_eq!(vms[0]["id"], web);
    let status = daemon.until(&["status", "--json"], |status| {
        let notices = status["notices"].as_array().into_iter().flatten();
        notices.filter_map(Value::as_str).any(|notice| notice.contains("another VM has this name"))
    });
    assert_eq!(status["trouble"], Value::Null, "{status}");
    daemon.signal(Signal::TERM);
    assert!(daemon.child.wait().expect("it ends").success());
    let asked = late.machine().executed.clone();
    assert!(!asked.contains_key("balloon") && !asked.contains_key("qom-set"), "{asked:?}");
    drop((again, twin));
}

#[test]
fn a_host_that_cannot_be_driven_is_told_with_its_file() {
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("vms.toml"), "[[vm]]\nname = \"a\"\nvcpus = 0\n").expect("a file");
    std::fs::create_dir(folder.path().join("state")).expect("a folder");
    for (host, says) in [
        ("sockets = [\"vms\"]\nvms = \"vms.toml\"", "vms.toml"),
        ("sockets = [\"vms\"]\ndescribe = \"none.toml\"", "none.toml"),
        ("sockets = [\"vms\"]\nstate = \"vms.toml/x\"", "host.state"),
        ("sockets = []", "host.sockets is missing"),
    ] {
        let state = if host.contains("state") { "" } else { "\nstate = \"state\"" };
        std::fs::write(
            folder.path().join("halcyon.toml"),
            format!("[host]\nkind = \"linux\"\n{host}{state}\n"),
        )
        .expect("a file");
        let output = Command::new(env!("CARGO_BIN_EXE_halcyon"))
            .args(["run", "--config", "halcyon.toml", "--socket", "s"])
            .current_dir(folder.path())
            .output()
            .expect("the program starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code() == Some(1) && said.contains(says), "{host}: {said}");
    }
}
