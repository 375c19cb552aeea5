//! What QEMU and guests say, and peers that do not.

use std::time::{Duration, Instant};

use halcyon_host::qmp::fake::{FakeQemu, Guest as FakeGuest, Trouble};
use halcyon_host::qmp::{Bus, Client};
use halcyon_host::sampler::{Counted, Guest, Kind, WorkingSetFrom};
use halcyon_model::{ByteSize, VmSample};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::tree::{DISK, Host, NIC, Tree};

const BALLOON: &str = "/machine/peripheral/balloon0";

struct Site {
    _folder: TempDir,
    _bus: Bus,
    fake: FakeQemu,
    client: Client,
    host: Host,
}

fn blocks(read: u64) -> Value {
    let stats = json!({ "rd_bytes": read, "wr_bytes": 24, "rd_operations": 5, "wr_operations": 6 });
    let qdev = "/machine/peripheral/disk0/virtio-backend";
    json!([{ "device": "", "node-name": "node0", "qdev": qdev, "stats": stats }])
}

fn said(updated: u64, available: u64) -> Value {
    let stats = json!({ "stat-total-memory": 4096, "stat-available-memory": available, "stat-major-faults": 3,
                        "stat-free-memory": 1, "stat-swap-in": u64::MAX });
    json!({ "stats": stats, "last-update": updated })
}

/// A VM that is all there, behind a QEMU whose balloon does not ask its guest for statistics yet.
fn site() -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let fake = FakeQemu::start(&folder.path().join("a.qmp"), FakeGuest::default()).expect("a socket");
    set(&fake, "query-blockstats", blocks(1000));
    set(&fake, &interval(), json!(0));
    set(&fake, &statistics(), said(0, 0));
    let bus = Bus::start().expect("a thread");
    let client = bus.client(fake.socket());
    client.wait_connected(Duration::from_secs(20)).expect("it connects");
    let tree = Tree::new();
    let guest = Guest {
        qmp: Some(client.clone()),
        balloon: Some(BALLOON.into()),
        devices: vec![(DISK, Counted::Block("disk0".into())), (NIC, Counted::Interface("tap0".into()))],
        ..tree.guest()
    };
    let host = tree.host(guest);
    // Without its files every other source fails, which must not matter here.
    Site { _folder: folder, _bus: bus, fake, client, host }
}

fn interval() -> String {
    format!("{BALLOON} guest-stats-polling-interval")
}

fn statistics() -> String {
    format!("{BALLOON} guest-stats")
}

fn set(fake: &FakeQemu, name: &str, answer: Value) {
    fake.machine().answers.insert(name.into(), answer);
}

/// Sweeps until something is so, for at most as long as nobody's machine is busy.
fn until(host: &mut Host, what: &str, mut is_so: impl FnMut(&VmSample, &Host) -> bool) -> VmSample {
    let began = Instant::now();
    loop {
        let sample = host.after(100);
        if is_so(&sample, host) {
            return sample;
        }
        assert!(began.elapsed() < Duration::from_secs(30), "{what} never came: {sample:?}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

fn disk(sample: &VmSample) -> Option<u64> {
    sample.counters.device_bytes.iter().find(|(device, _)| *device == DISK).map(|(_, bytes)| *bytes)
}

#[test]
fn block_devices_are_counted_by_qemu_and_the_sample_does_not_wait_for_it() {
    let mut site = site();
    let first = site.host.now();
    assert_eq!(disk(&first), None, "it was asked just now");
    until(&mut site.host, "an answer", |sample, _| disk(sample) == Some(1024));
    assert_eq!(site.host.detail().disk_operations, vec![(DISK, 11)]);
    set(&site.fake, "query-blockstats", blocks(5000));
    until(&mut site.host, "a newer answer", |sample, _| disk(sample) == Some(5024));
    set(&site.fake, "query-blockstats", json!([{ "qdev": "disk0", "stats": { "rd_bytes": "x" } }]));
    until(&mut site.host, "an answer without figures", |sample, _| disk(sample).is_none());
}

#[test]
fn a_guest_is_asked_for_statistics_and_believed_as_long_as_it_renews_them() {
    let mut site = site();
    until(&mut site.host, "the interval", |_, _| site.fake.machine().answers[&interval()] == json!(1));
    // What it said before anybody looked may be of any age.
    set(&site.fake, &statistics(), said(500, 96));
    site.host.after(1500);
    let sample = until(&mut site.host, "its statistics", |sample, _| {
        let updated = site.fake.machine().answers[&statistics()]["last-update"].as_u64().unwrap_or(0);
        set(&site.fake, &statistics(), said(updated + 1, 1096));
        sample.working_set == Some(ByteSize::new(3750))
    });
    assert_eq!(sample.working_set, Some(ByteSize::new(3750)));
    let detail = site.host.detail();
    assert_eq!(detail.working_set_from, Some(WorkingSetFrom::Guest));
    assert_eq!((detail.guest_major_faults, detail.guest_swapped_in_bytes), (Some(3), None));
    assert_eq!((detail.guest_total_bytes, detail.guest_available_bytes), (Some(4096), Some(1096)));
    // It says nothing new any more: the same answer comes each time.
    let renewed = site.host.now;
    until(&mut site.host, "the end of belief", |sample, _| sample.working_set.is_none());
    let believed = site.host.now.saturating_sub(renewed);
    assert!(believed > Duration::from_secs(2) && believed < Duration::from_secs(8), "{believed:?}");
    // A calendar that was set back is still a change.
    until(&mut site.host, "its statistics once more", |sample, _| {
        let updated = site.fake.machine().answers[&statistics()]["last-update"].as_u64().unwrap_or(0);
        set(&site.fake, &statistics(), said(updated.saturating_sub(1), 1096));
        sample.working_set.is_some()
    });
}

#[test]
fn statistics_that_are_never_renewed_are_never_believed_and_a_set_interval_stays() {
    let mut site = site();
    set(&site.fake, &interval(), json!(7));
    set(&site.fake, &statistics(), said(12_345, 96));
    let asked = |site: &Site| site.fake.machine().executed.get("qom-get").copied().unwrap_or(0);
    until(&mut site.host, "some answers", |sample, _| {
        assert_eq!(sample.working_set, None);
        site.fake.machine().executed.get("qom-get").copied().unwrap_or(0) > 5
    });
    assert_eq!(site.fake.machine().answers[&interval()], json!(7));
    assert!(asked(&site) > 5 && !site.fake.machine().executed.contains_key("qom-set"));
}

#[test]
fn a_peer_that_hangs_costs_its_own_figures_and_is_asked_one_thing_at_a_time() {
    for trouble in [Trouble::Silent, Trouble::NoGreeting] {
        let mut site = site();
        until(&mut site.host, "an answer", |sample, _| disk(sample).is_some());
        let before = site.client.connections();
        site.fake.misbehave(trouble);
        until(&mut site.host, "the trouble", |_, host| {
            host.sampler.troubles().any(|trouble| trouble.source == Kind::Blocks)
        });
        site.fake.machine().executed.clear();
        let mut sweeps = 0;
        until(&mut site.host, "many sweeps", |sample, _| {
            sweeps += 1;
            assert!(sample.counters.device_bytes.is_empty(), "nobody knows any more: {sample:?}");
            sweeps > 100
        });
        let asked: u64 = site.fake.machine().executed.values().sum();
        assert!(asked <= 4, "{asked} questions while none was answered");
        assert!(site.host.sampler.troubles().any(|trouble| trouble.why.contains("a.qmp")));
        site.fake.misbehave(Trouble::None);
        until(&mut site.host, "it answers again", |sample, _| disk(sample).is_some());
        assert!(site.client.connections() > before, "over a new connection");
    }
}

#[test]
fn a_qemu_that_was_started_anew_is_told_again_to_ask_its_guest() {
    let mut site = site();
    until(&mut site.host, "the interval", |_, _| site.fake.machine().answers[&interval()] == json!(1));
    let before = site.client.connections();
    set(&site.fake, &interval(), json!(0));
    set(&site.fake, "query-blockstats", blocks(7));
    site.fake.misbehave(Trouble::Repeats);
    until(&mut site.host, "another connection", |_, _| site.client.connections() > before);
    until(&mut site.host, "the interval", |_, _| site.fake.machine().answers[&interval()] == json!(1));
    until(&mut site.host, "its counters", |sample, _| disk(sample) == Some(31));
}

#[test]
fn a_socket_that_nobody_listens_on_gives_nothing_and_says_so() {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = Bus::start().expect("a thread");
    let tree = Tree::new();
    let guest = Guest {
        qmp: Some(bus.client(&folder.path().join("nobody.qmp"))),
        balloon: Some(BALLOON.into()),
        devices: vec![(DISK, Counted::Block("disk0".into()))],
        ..tree.guest()
    };
    let mut host = tree.host(guest);
    let sample = host.after(3000);
    assert_eq!((sample.counters.device_bytes, sample.working_set), (vec![], None));
    assert!(sample.counters.cpu_used_us.is_some());
    assert!(host.why(Kind::Blocks).is_some_and(|why| why.contains("nobody.qmp")));
    assert!(host.why(Kind::GuestMemory).is_some());
}
