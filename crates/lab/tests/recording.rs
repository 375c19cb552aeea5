//! Recordings of simulated hosts: what the host gave comes back, and is run again as a scenario.

mod common;

use std::path::{Path, PathBuf};
use std::time::Duration;

use common::Still;
use halcyon_hal::Observe;
use halcyon_lab::train::{Lessons, Recordings};
use halcyon_lab::{Draw, Run, Scenario};
use halcyon_model::{ByteSize, Families, Generation, Snapshot, VmSpec};
use halcyon_sim::Guest;
use halcyon_sim::recording::{Ending, Reader, Replay, Tally, Writer};
use tempfile::TempDir;

const WALL: Duration = Duration::from_secs(1_700_000_000);

fn small() -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios/small.toml");
    Scenario::read(&path).expect("it comes with Halcyon")
}

/// But for what is the control cycle's.
fn plain(snapshot: &Snapshot) -> Snapshot {
    Snapshot { generation: Generation::default(), busy: Families::NONE, ..snapshot.clone() }
}

/// Records a host that nobody changes, and gives what it gave.
fn record(scenario: &Scenario, length: Duration) -> (Vec<u8>, Tally, Vec<Snapshot>) {
    let mut host = scenario.host().expect("it starts");
    let mut writer = Writer::new(Vec::new()).expect("memory");
    let (mut snapshot, mut all) = (Snapshot::default(), Vec::new());
    while host.now() < length {
        host.step();
        let inventory = host.inventory();
        host.observe(&mut snapshot).expect("it can be read");
        writer.write(&inventory, &snapshot, WALL + host.now()).expect("memory");
        all.push(snapshot.clone());
    }
    let (bytes, tally) = writer.finish().expect("memory");
    (bytes, tally, all)
}

fn file(folder: &TempDir, name: &str, bytes: &[u8]) -> PathBuf {
    let path = folder.path().join(name);
    std::fs::write(&path, bytes).expect("a file");
    path
}

#[test]
fn a_host_on_which_vms_come_and_go_and_much_is_changed_comes_back_to_the_bit() {
    let scenario = small();
    let mut run = Run::new(&scenario, "reactive", false).expect("it starts");
    let mut writer = Writer::new(Vec::new()).expect("memory");
    let (mut given, mut inventories) = (Vec::new(), Vec::new());
    while !run.is_over() {
        run.tick(&Still).expect("the cycle goes on");
        let (inventory, snapshot) = (run.host().inventory(), run.cycle().snapshot());
        writer.write(&inventory, snapshot, WALL).expect("memory");
        given.push(plain(snapshot));
        inventories.push(inventory);
    }
    assert!(given.windows(2).filter(|pair| pair[0].assignment != pair[1].assignment).count() > 20);
    assert!(given.iter().any(|snapshot| snapshot.vms.len() != given[0].vms.len()));
    let (bytes, _) = writer.finish().expect("memory");
    let path = Path::new("test.hrec");
    let reader = Reader::new(&bytes[..], path).expect("a recording");
    let mut replay = Replay::new(reader, path).expect("it has snapshots");
    let mut seen = Snapshot::default();
    for (snapshot, inventory) in given.iter().zip(&inventories) {
        let known = replay.inventory();
        assert_eq!((&known.vms, &known.topology), (&inventory.vms, &inventory.topology));
        assert!(known.profiles == inventory.profiles && known.capabilities == inventory.capabilities);
        replay.observe(&mut seen).expect("it is whole");
        assert_eq!(&seen, snapshot);
    }
    assert!(replay.is_over());
    assert_eq!(replay.reader().ending(), Some(Ending::Closed));
}

/// Work per second that a VM is asked for while it is there, in cores.
fn asked(guest: &Guest, until: Duration) -> f64 {
    let (from, to) = (guest.arrives.as_secs_f64(), guest.leaves.unwrap_or(until).as_secs_f64());
    let moments = (0..500).map(|at| from + (to - from) * (f64::from(at) + 0.5) / 500.0);
    moments.map(|at| guest.workload.demand.work_at(at)).sum::<f64>() / 500.0
}

#[test]
fn run_again_it_has_the_same_vms_and_asks_for_what_was_asked() {
    let folder = TempDir::new().expect("a folder");
    // There is enough of everything, so that nobody waits.
    let draw = Draw { load: 0.1, memory_overcommit: 0.5, churn: 0.5, ..common::draw(12, common::HOUR, 5) };
    let scenario = common::on_demo_host(&common::generated(12, common::HOUR, 5), draw).expect("the VMs fit");
    let (bytes, ..) = record(&scenario, scenario.duration);
    let path = file(&folder, "light.hrec", &bytes);
    let replayed = Scenario::read(&path).expect("a scenario");
    assert_eq!(replayed.source, "recording light.hrec");
    assert_eq!((&replayed.topology, replayed.seed), (&scenario.topology, 1));
    assert_eq!(replayed.profiles, scenario.profiles);
    assert_eq!(replayed.duration, scenario.duration - Duration::from_secs(1));
    assert_eq!(replayed.guests.len(), scenario.guests.len());
    assert!(scenario.guests.iter().any(|guest| guest.leaves.is_some() || !guest.arrives.is_zero()));
    for guest in &replayed.guests {
        let was = scenario.guests.iter().find(|was| was.spec.name == guest.spec.name).expect("it was there");
        assert_eq!(VmSpec { id: was.spec.id, ..guest.spec.clone() }, was.spec, "what it is promised");
        assert_eq!(guest.signal, was.signal);
        assert!(guest.arrives.abs_diff(was.arrives) <= Duration::from_secs(2), "{guest:?}");
        assert_eq!(guest.leaves.is_some(), was.leaves.is_some(), "{}", guest.spec.name);
        let (now, then) = (asked(guest, replayed.duration), asked(was, scenario.duration));
        println!("{:<14} asked {then:.3} cores, recorded {now:.3}", guest.spec.name);
        assert!((now - then).abs() < 0.2 * then + 0.02, "{}: {now} and {then}", guest.spec.name);
    }
    // Twice the same, to the byte: as a scenario, and on the simulated host that it makes.
    let again = Scenario::read(&path).expect("a scenario");
    assert_eq!(again, replayed);
    let minutes = Duration::from_secs(600);
    assert_eq!(record(&replayed, minutes).0, record(&again, minutes).0);
}

#[test]
fn a_torn_recording_says_so_and_is_run_as_far_as_it_goes() {
    let (folder, scenario) = (TempDir::new().expect("a folder"), small());
    let (bytes, ..) = record(&scenario, Duration::from_secs(120));
    let path = file(&folder, "torn.hrec", &bytes[..bytes.len() * 9 / 10]);
    let torn = Scenario::read(&path).expect("a scenario");
    assert!(torn.source.starts_with("recording torn.hrec (torn off at byte"), "{}", torn.source);
    assert!(torn.duration < Duration::from_secs(119) && torn.duration > Duration::from_secs(60));
    let mut damaged = bytes.clone();
    damaged[bytes.len() / 3] ^= 0x10;
    let error = Scenario::read(&file(&folder, "damaged.hrec", &damaged)).expect_err("damaged");
    assert!(error.to_string().contains("damaged.hrec: frame"), "{error}");
    let error = Scenario::read(&file(&folder, "empty.hrec", &bytes[..16])).expect_err("nothing in it");
    assert!(error.to_string().contains("holds no snapshot"), "{error}");
}

/// The figures that the documentation states; another form that takes more fails here.
#[test]
fn a_vm_takes_few_bytes_in_each_snapshot() {
    let mut scenario = common::scenario(64, common::HOUR, 5);
    scenario.parameters.step = Duration::from_millis(100);
    let (all, tally, given) = record(&scenario, Duration::from_secs(300));
    // As on a real host: whole pages once a second, and nobody who measures response times.
    let mut host = scenario.host().expect("it starts");
    host.step();
    let inventory = host.inventory();
    let mut writer = Writer::new(Vec::new()).expect("memory");
    let mut slow = given[0].clone();
    for (cycle, snapshot) in given.iter().enumerate() {
        if cycle % 10 == 0 {
            slow.clone_from(snapshot);
        }
        let mut snapshot = snapshot.clone();
        for (sample, slow) in snapshot.vms.iter_mut().zip(&slow.vms) {
            sample.working_set = slow.working_set.map(|size| size.floor_to(ByteSize::new(4096)));
            (sample.cache, sample.signal) = (slow.cache, None);
            sample.counters.memory_bytes = slow.counters.memory_bytes;
            sample.counters.device_bytes.clone_from(&slow.counters.device_bytes);
        }
        writer.write(&inventory, &snapshot, WALL).expect("memory");
    }
    let (real, _) = writer.finish().expect("memory");
    for (what, bytes, most) in [("all", all, 17.0), ("slow", real, 8.0)] {
        #[allow(clippy::cast_precision_loss)]
        let each = bytes.len() as f64 / tally.samples as f64;
        println!("{what}: {} samples, {} bytes, {each:.2} for each", tally.samples, bytes.len());
        let words = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"));
        let (mut at, mut content, mut stored, mut frames) = (16, 0_u64, 0_u64, 0);
        while at < bytes.len() {
            content += u64::from(words(at + 16));
            stored += u64::from(words(at + 20));
            frames += 1;
            at += 32 + words(at + 20) as usize;
        }
        println!("  {frames} frames, {content} bytes before and {stored} after deflating");
        assert!(each < most, "{what} {each}");
    }
}

#[test]
fn what_is_learned_from_a_recording_ends_where_what_is_held_back_begins() {
    let (folder, scenario) = (TempDir::new().expect("a folder"), small());
    let (bytes, ..) = record(&scenario, scenario.duration);
    let replayed = Scenario::read(&file(&folder, "small.hrec", &bytes)).expect("a scenario");
    assert_eq!(replayed.longest_interval(), Duration::from_secs(1));
    let lessons = Recordings::new(vec![replayed], Duration::from_secs(900)).expect("two hours are enough");
    assert_eq!(lessons.length(), Duration::from_secs(900));
    for number in 0..4 {
        let part = lessons.scenario(number, lessons.length()).expect("a part of it");
        assert!(part.host().is_ok() && part.seed == number);
    }
}
