//! The monitor on peers that speak QMP: guests that come, change, misbehave and end.

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use halcyon_host::qmp::fake::{FakeQemu, Guest, Trouble};
use halcyon_host::vm::{Change, Ending, Life, Monitor, Place};
use serde_json::{Value, json};

/// Far more than anything takes here.
const LIMIT: Duration = Duration::from_secs(30);

struct Site {
    folder: tempfile::TempDir,
    monitor: Monitor,
    began: Instant,
    /// All that happened so far and was not looked at.
    changes: Vec<Change>,
}

impl Site {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let places = vec![Place::Folder(folder.path().into())];
        let monitor = Monitor::new(places, Path::new("/proc")).expect("a thread");
        Self { folder, monitor, began: Instant::now(), changes: Vec::new() }
    }

    fn socket(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.qmp"))
    }

    fn guest(&self, name: &str) -> FakeQemu {
        FakeQemu::start(&self.socket(name), Guest::default()).expect("a socket")
    }

    /// Polls until something happened, and gives it; the rest is kept.
    fn until<T>(&mut self, what: &str, wanted: impl Fn(&Change) -> Option<T>) -> T {
        while self.began.elapsed() < LIMIT {
            self.changes.extend(self.monitor.poll(self.began.elapsed()));
            if let Some((index, found)) =
                self.changes.iter().enumerate().find_map(|(index, change)| Some((index, wanted(change)?)))
            {
                self.changes.drain(..=index);
                return found;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        panic!("never: {what}; instead {:?} {:?}", self.changes, self.troubles());
    }

    fn troubles(&self) -> Vec<String> {
        self.monitor.troubles(self.began.elapsed()).collect()
    }

    fn until_life(&mut self, wanted: Life) {
        self.until(&wanted.to_string(), |change| match change {
            Change::Life(_, life) if *life == wanted => Some(()),
            _ => None,
        });
    }

    fn until_end(&mut self) -> Ending {
        self.until("an end", |change| match change {
            Change::Went(_, ending) => Some(*ending),
            _ => None,
        })
    }
}

fn came(change: &Change) -> Option<std::sync::Arc<halcyon_host::vm::Instance>> {
    match change {
        Change::Came(instance) => Some(instance.clone()),
        _ => None,
    }
}

fn answer(guest: &FakeQemu, question: &str, answer: Value) {
    guest.machine().answers.insert(question.into(), answer);
}

fn status(guest: &FakeQemu, status: &str, event: &str) {
    answer(guest, "query-status", json!({ "status": status }));
    guest.machine().emit(event, json!({}));
}

#[test]
fn a_guest_says_who_it_is_and_its_life_is_followed_to_the_end() {
    let mut site = Site::new();
    let guest = site.guest("100");
    for (question, said) in [
        ("query-name", json!({ "name": "web\u{7}" })),
        ("query-uuid", json!({ "UUID": "6f1b1c2e-0000-4000-8000-000000000001" })),
        ("query-memory-size-summary", json!({ "base-memory": 2_147_483_648_u64, "plugged-memory": 0 })),
        ("query-blockstats", json!([{ "qdev": "/machine/peripheral/d0/virtio-backend" }, { "device": "" }])),
        ("qom-list", json!([{ "name": "b0", "type": "child<virtio-balloon-pci>" }])),
    ] {
        answer(&guest, question, said);
    }
    let instance = site.until("a guest", came);
    assert_eq!((instance.name.as_str(), instance.vcpus, instance.life), ("web?", 1, Life::Running));
    assert_eq!(instance.uuid.as_deref(), Some("6f1b1c2e-0000-4000-8000-000000000001"));
    assert_eq!((instance.boot_memory, instance.balloon_actual), (Some(2 << 30), Some(4 << 30)));
    assert_eq!(instance.balloon.as_deref(), Some("/machine/peripheral/b0"));
    assert_eq!(instance.disks, ["/machine/peripheral/d0/virtio-backend"]);
    let process = instance.process.as_ref().expect("it runs in this process");
    assert_eq!((process.pid, process.vcpus.len()), (std::process::id(), 1));
    assert!(process.started_ticks.is_some());

    status(&guest, "paused", "STOP");
    site.until_life(Life::Paused);
    status(&guest, "running", "RESUME");
    site.until_life(Life::Running);
    // No event tells of this one.
    answer(&guest, "query-status", json!({ "status": "guest-panicked" }));
    site.until_life(Life::Crashed);

    answer(&guest, "query-name", json!({ "name": "web2" }));
    status(&guest, "running", "RESET");
    site.until("a new start", |change| matches!(change, Change::Rebooted(_)).then_some(()));
    let renewed = site.until("its new name", |change| match change {
        Change::Renewed(instance) => Some(instance.name.clone()),
        _ => None,
    });
    assert_eq!(renewed, "web2");

    guest.machine().emit("SHUTDOWN", json!({ "guest": true, "reason": "guest-shutdown" }));
    answer(&guest, "query-status", json!({ "status": "shutdown" }));
    site.until_life(Life::ShutDown);
    drop(guest);
    assert_eq!(site.until_end(), Ending::ByGuest);

    let again = site.guest("100");
    assert_eq!(site.until("a guest under the same name", came).name, "100");
    drop(again);
    assert_eq!(site.until_end(), Ending::Vanished);
    assert_eq!(site.monitor.instances().count(), 0);
}

#[test]
fn a_guest_that_falls_silent_is_not_gone() {
    let mut site = Site::new();
    let guest = site.guest("quiet");
    let before = site.until("a guest", came);
    guest.misbehave(Trouble::Silent);
    site.until_life(Life::Silent);
    guest.misbehave(Trouble::None);
    site.until_life(Life::Running);
    assert!(site.changes.iter().all(|change| !matches!(change, Change::Went(..) | Change::Came(_))));
    let after = site.monitor.instances().next().expect("it is there");
    assert!(after.is_same_process(&before));
}

#[test]
fn what_is_no_guest_keeps_none_from_being_found_and_is_told() {
    let mut site = Site::new();
    std::fs::write(site.socket("a-file"), "").expect("it is written");
    // Bound, and nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(site.socket("left-behind")).expect("a socket"));
    let (mute, odd, empty) = (site.guest("mute"), site.guest("odd"), site.guest("empty"));
    mute.misbehave(Trouble::NoGreeting);
    odd.misbehave(Trouble::Garbage);
    answer(&empty, "query-cpus-fast", json!([]));
    let good = site.guest("z-good");
    assert_eq!(site.until("the good one", came).name, "z-good");
    let told =
        |site: &Site| ["mute", "odd", "empty"].map(|name| site.troubles().iter().any(|t| t.contains(name)));
    while told(&site) != [true; 3] {
        assert!(site.began.elapsed() < LIMIT, "{:?}", site.troubles());
        site.changes.extend(site.monitor.poll(site.began.elapsed()));
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(!site.troubles().iter().any(|trouble| trouble.contains("left-behind")), "{:?}", site.troubles());
    assert!(site.changes.iter().all(|change| !matches!(change, Change::Came(_))), "{:?}", site.changes);
    assert_eq!(site.monitor.instances().count(), 1);
    site.monitor.watch(vec![Place::Socket(site.socket("elsewhere"))]);
    assert_eq!(site.until_end(), Ending::LetGo);
    drop(good);
}
