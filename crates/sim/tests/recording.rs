//! What is recorded comes back bit for bit, whatever it was; what is damaged is told or left out, and never
//! made up.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use flate2::Crc;
use halcyon_hal::{Inventory, Observe};
use halcyon_model::describe::{parse_host, parse_vms};
use halcyon_model::{
    Assignment, ByteSize, CacheMask, ClassId, DeviceHolding, DeviceId, Grant, Holding, MilliCpu, NodeId,
    ObjectiveSignal, Snapshot, SocketId, VmCounters, VmId, VmSample,
};
use halcyon_sim::recording::{self, Ending, ReadError, Reader, Replay, WriteError, Writer};
use halcyon_sim::trace::{self, Reading, TraceFormat};
use proptest::prelude::*;

const HOST: &str = include_str!("../../../examples/hosts/two-socket.toml");
const VMS: &str = "[[vm]]\nname = \"a\"\nvcpus = 2\nmemory = { reservation = \"1GiB\", limit = \"4GiB\" }\n\
                   [[vm]]\nname = \"b\"\nvcpus = 4\nmemory = { reservation = \"1GiB\", limit = \"8GiB\" }\n\
                   objective = { latency_p99_ms = 2.5 }\napplication = \"mcf06\"\n\
                   [[vm.device]]\nclass = \"nvme\"\n";
const WALL: Duration = Duration::new(1_700_000_000, 123_456_789);

fn inventory(vms: usize) -> Arc<Inventory> {
    let host = parse_host(HOST).unwrap();
    let mut specs = parse_vms(VMS, &host.topology).unwrap();
    specs.truncate(vms);
    Arc::new(Inventory {
        vms: specs,
        topology: host.topology,
        capabilities: host.capabilities,
        profiles: Arc::default(),
    })
}

fn empty(inventory: &Inventory, at: Duration) -> Snapshot {
    let fabric = inventory.topology.fabric();
    let devices = vec![DeviceHolding::default(); fabric.devices.len()];
    let assignment = Assignment { devices, links: fabric.default_links(), ..Assignment::default() };
    Snapshot { at, assignment, ..Snapshot::default() }
}

/// A host that is read every 100 ms; every figure grows at a pace of its own.
fn steady(count: u32) -> (Arc<Inventory>, Vec<Snapshot>) {
    let inventory = inventory(2);
    let one = |cycle: u32| {
        let sample = |vm: u32| VmSample {
            vm: VmId(vm),
            counters: VmCounters {
                cpu_used_us: Some(1000 * u64::from(cycle * (vm + 1)) * 37),
                cpu_waited_us: Some(1000 * u64::from(cycle) * u64::from(vm)),
                device_bytes: vec![(DeviceId(0), 4096 * u64::from(cycle))],
                ..VmCounters::default()
            },
            working_set: (cycle % 7 != 3).then(|| ByteSize::mib(512)),
            signal: Some(ObjectiveSignal { p99: None, backlog_s: Some(0.125 * f64::from(cycle)) }),
            ..VmSample::default()
        };
        let snapshot = empty(&inventory, Duration::from_millis(100 * u64::from(cycle)));
        Snapshot { vms: vec![sample(0), sample(1)], ..snapshot }
    };
    let all = (1..=count).map(one).collect();
    (inventory, all)
}

fn written(inventory: &Arc<Inventory>, snapshots: &[Snapshot]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new()).unwrap();
    for snapshot in snapshots {
        writer.write(inventory, snapshot, WALL + snapshot.at).unwrap();
    }
    writer.finish().unwrap().0
}

fn read(bytes: &[u8]) -> Result<(Vec<Snapshot>, Ending), ReadError> {
    let mut reader = Reader::new(bytes, Path::new("test.hrec"))?;
    let mut all = Vec::new();
    while reader.advance()? {
        all.push(reader.now().snapshot.clone());
    }
    Ok((all, reader.ending().unwrap()))
}

/// Not a number is not equal to itself, but its bits are.
fn bits(snapshots: &[Snapshot]) -> Vec<(Vec<Option<u64>>, Snapshot)> {
    let bits = |snapshot: &Snapshot| {
        let mut plain = snapshot.clone();
        let backlog = |sample: &mut VmSample| sample.signal.as_mut()?.backlog_s.take().map(f64::to_bits);
        (plain.vms.iter_mut().map(backlog).collect(), plain)
    };
    snapshots.iter().map(bits).collect()
}

/// A frame as the documentation describes it, around any content.
fn frame(kind: u8, number: u32, durable: u32, content: &[u8]) -> Vec<u8> {
    let check = |bytes: &[u8]| {
        let mut crc = Crc::new();
        crc.update(bytes);
        crc.sum().to_le_bytes()
    };
    let length = u32::try_from(content.len()).unwrap().to_le_bytes();
    let mut head = vec![0xf5, b'F', b'R', b'M', kind, 0, 0, 0];
    for word in [number.to_le_bytes(), durable.to_le_bytes(), length, length, check(content)] {
        head.extend_from_slice(&word);
    }
    head.extend_from_slice(&check(&head));
    [&head[..], content].concat()
}

/// Where frames begin.
fn frames(bytes: &[u8]) -> Vec<usize> {
    let mut starts = Vec::new();
    let mut at = 16;
    while at < bytes.len() {
        starts.push(at);
        let stored = u32::from_le_bytes(bytes[at + 20..at + 24].try_into().unwrap());
        at += 32 + stored as usize;
    }
    starts
}

#[test]
fn what_a_host_gave_comes_back_with_its_inventory_and_clock() {
    let (inventory, snapshots) = steady(45);
    let bytes = written(&inventory, &snapshots);
    assert!(recording::begins(&bytes));
    let mut reader = Reader::new(&bytes[..], Path::new("test.hrec")).unwrap();
    for snapshot in &snapshots {
        assert!(reader.advance().unwrap());
        assert_eq!(&reader.now().snapshot, snapshot);
        assert_eq!(reader.now().wall, WALL + snapshot.at);
        let read = reader.inventory().unwrap();
        assert_eq!(read.topology, inventory.topology);
        assert_eq!((&read.vms, &read.capabilities), (&inventory.vms, &inventory.capabilities));
    }
    assert!(!reader.advance().unwrap());
    assert_eq!(reader.ending(), Some(Ending::Closed));
    assert_eq!(bytes, written(&inventory, &snapshots), "the same twice");
}

#[test]
fn vms_that_come_and_go_bring_a_new_inventory() {
    let (two, mut snapshots) = steady(30);
    let one = inventory(1);
    for snapshot in &mut snapshots[10..20] {
        snapshot.vms.truncate(1);
    }
    let mut writer = Writer::new(Vec::new()).unwrap();
    let of = |place: usize| if (10..20).contains(&place) { &one } else { &two };
    for (place, snapshot) in snapshots.iter().enumerate() {
        writer.write(of(place), snapshot, WALL).unwrap();
    }
    let (bytes, tally) = writer.finish().unwrap();
    assert_eq!((tally.snapshots, tally.samples, tally.bytes), (30, 50, bytes.len() as u64));
    let mut replay = Replay::new(Reader::new(&bytes[..], Path::new("r")).unwrap(), Path::new("r")).unwrap();
    let mut seen = Snapshot::default();
    for (place, snapshot) in snapshots.iter().enumerate() {
        assert!(!replay.is_over());
        assert_eq!(replay.inventory().vms, of(place).vms, "before it is observed, as a host's");
        replay.observe(&mut seen).unwrap();
        assert_eq!(&seen, snapshot);
    }
    assert!(replay.is_over());
    assert!(replay.observe(&mut seen).is_err());
}

#[test]
fn a_writer_that_is_killed_loses_a_second_at_the_most() {
    let (inventory, snapshots) = steady(97);
    let mut writer = Writer::new(Vec::new()).unwrap();
    for snapshot in &snapshots {
        writer.write(&inventory, snapshot, WALL).unwrap();
    }
    writer.close().unwrap();
    let whole = writer.finish().unwrap().0;
    let end = *frames(&whole).last().unwrap();
    let (all, ending) = read(&whole[..end]).unwrap();
    assert_eq!((all.len(), ending), (97, Ending::Unclosed));
    let last = frames(&whole)[frames(&whole).len() - 2];
    let (all, ending) = read(&whole[..last]).unwrap();
    assert!((87..97).contains(&all.len()) && ending == Ending::Unclosed, "{} {ending:?}", all.len());
}

#[test]
fn every_truncation_gives_what_stands_before_it() {
    let (inventory, snapshots) = steady(60);
    let bytes = written(&inventory, &snapshots);
    let starts = frames(&bytes);
    let mut last = 0;
    for length in 0..bytes.len() {
        match read(&bytes[..length]) {
            Err(error) => assert!(length < 16 && error.to_string().contains("no recording"), "{error}"),
            Ok((read, ending)) => {
                assert!(read.len() >= last && read == snapshots[..read.len()]);
                last = read.len();
                let whole = length == 16 || starts.contains(&length);
                let at = starts.iter().copied().rfind(|start| *start <= length).unwrap_or(16);
                let torn = Ending::Torn { at: at as u64, bytes: (length - at) as u64 };
                assert_eq!(ending, if whole { Ending::Unclosed } else { torn });
            }
        }
    }
    assert_eq!(last, snapshots.len());
}

#[test]
fn damage_to_what_was_on_disk_is_an_error_and_to_the_rest_a_torn_tail() {
    let (inventory, snapshots) = steady(200);
    let bytes = written(&inventory, &snapshots);
    let starts = frames(&bytes);
    let damaged = |frame: usize| {
        let mut bytes = bytes.clone();
        bytes[starts[frame] + 40] ^= 1;
        read(&bytes)
    };
    let error = damaged(3).unwrap_err().to_string();
    assert!(error.contains("test.hrec: frame 3 at byte") && error.contains("changed since"), "{error}");
    // What follows was written before anything said that this one was on disk.
    let (read, ending) = damaged(starts.len() - 2).unwrap();
    assert!(read == snapshots[..read.len()] && read.len() >= 190, "{}", read.len());
    assert!(matches!(ending, Ending::Torn { at, .. } if at == starts[starts.len() - 2] as u64), "{ending:?}");
    let mut lost = bytes.clone();
    lost.drain(starts[2]..starts[3]);
    let error = complaint(&lost);
    assert!(error.contains("frames were lost"), "{error}");
    let followed = [&bytes[..], b"more"].concat();
    assert!(complaint(&followed).contains("follows the end"));
}

fn complaint(bytes: &[u8]) -> String {
    read(bytes).unwrap_err().to_string()
}

#[test]
fn what_cannot_have_been_is_refused_by_the_writer_and_by_the_reader() {
    let (inventory, snapshots) = steady(3);
    let mut writer = Writer::new(Vec::new()).unwrap();
    writer.write(&inventory, &snapshots[1], WALL).unwrap();
    let refused = |writer: &mut Writer<Vec<u8>>, snapshot: &Snapshot| {
        let Err(WriteError::Unfit { what }) = writer.write(&inventory, snapshot, WALL) else {
            panic!("taken")
        };
        what
    };
    assert!(refused(&mut writer, &snapshots[0]).contains("clock went back"));
    let mut odd = snapshots[2].clone();
    odd.vms.reverse();
    assert!(refused(&mut writer, &odd).contains("not in order"));
    let mut odd = snapshots[2].clone();
    odd.vms[0].counters.device_bytes[0].0 = DeviceId(9999);
    assert!(refused(&mut writer, &odd).contains("does not have"));
    let mut odd = snapshots[2].clone();
    odd.assignment.devices.pop();
    assert!(refused(&mut writer, &odd).contains("tables"));
    writer.write(&inventory, &snapshots[2], WALL).unwrap();
    let (read, _) = read(&writer.finish().unwrap().0).unwrap();
    assert_eq!(read, snapshots[1..], "what was refused left no trace");

    let head = &written(&inventory, &snapshots)[..16];
    let made = |frames: &[Vec<u8>]| complaint(&[head, &frames.concat()].concat());
    assert!(made(&[frame(2, 0, 0, &[1, 0])]).contains("without a key frame"));
    assert!(made(&[frame(3, 0, 0, &[9])]).contains("states 9 snapshots"));
    assert!(made(&[frame(1, 0, 0, &[0, 0])]).contains("ends too early"));
    let mut newer = head.to_vec();
    newer[8] = 2;
    let mut crc = Crc::new();
    crc.update(&newer[..12]);
    newer[12..].copy_from_slice(&crc.sum().to_le_bytes());
    assert!(complaint(&newer).contains("version 2"));
}

/// As the trace commands see it.
#[test]
fn as_a_trace_a_vm_wants_what_it_used_and_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("some.thing");
    let (inventory, mut snapshots) = steady(4);
    // VM a restarts: its counters begin anew, and nothing is known of the stretch before.
    snapshots[2].vms[0].counters.cpu_used_us = Some(5);
    std::fs::write(&path, written(&inventory, &snapshots)).unwrap();
    assert_eq!(trace::detect(&path).unwrap(), TraceFormat::Recording);
    assert!(recording::is_recording(&path));
    let readings: Vec<Reading> = trace::open(&path, None).unwrap().map(Result::unwrap).collect();
    let cpu = |name: &str| -> Vec<Option<f64>> {
        readings.iter().filter(|reading| &*reading.vm == name).map(|reading| reading.cpu).collect()
    };
    // 37 of 100 ms used by one of two vCPUs; then the restart; then 148 ms less the 5 µs from before.
    let [first, restart, _] = cpu("a")[..] else { panic!("{readings:?}") };
    assert!((first.unwrap() - 0.37 / 2.0).abs() < 1e-3 && restart.is_none());
    // 74 ms used and 1 ms waited for, of four vCPUs.
    assert!(cpu("b").iter().all(|cpu| (cpu.unwrap() - 0.75 / 4.0).abs() < 1e-3), "{:?}", cpu("b"));
    let b = readings.iter().find(|reading| &*reading.vm == "b").unwrap();
    assert_eq!((b.time, b.interval), (Duration::ZERO, Some(Duration::from_millis(100))));
    assert_eq!((b.memory_bytes, b.disk_read_bytes_s), (Some(512 << 20), Some(40_960.0)));
    assert_eq!((b.gpu_util, b.net_rx_bytes_s, b.cores), (None, None, Some(4.0)));
}

/// Any figure: none, small, at the end of its range, or anything.
fn figure() -> impl Strategy<Value = Option<u64>> {
    prop_oneof![
        Just(None),
        Just(Some(0)),
        (0..5000_u64).prop_map(Some),
        Just(Some(u64::MAX)),
        any::<Option<u64>>()
    ]
}

fn sample() -> impl Strategy<Value = VmSample> {
    let counters = proptest::collection::vec(figure(), 6);
    let times = (figure(), figure(), figure(), figure());
    let devices = proptest::collection::vec((0..4_u32, any::<u64>()), 0..3);
    (counters, times, devices, any::<bool>(), figure()).prop_map(
        |(counters, times, devices, signal, backlog)| {
            let time = |nanos: Option<u64>| nanos.map(Duration::from_nanos);
            VmSample {
                vm: VmId(0),
                counters: VmCounters {
                    cpu_used_us: counters[0],
                    cpu_waited_us: counters[1],
                    memory_stalled_us: counters[2],
                    io_stalled_us: counters[3],
                    memory_bytes: counters[4],
                    gpu_busy_us: counters[5],
                    device_bytes: devices
                        .into_iter()
                        .map(|(device, bytes)| (DeviceId(device), bytes))
                        .collect(),
                },
                working_set: times.0.map(ByteSize::new),
                cache: times.1.map(ByteSize::new),
                signal: signal
                    .then(|| ObjectiveSignal { p99: time(times.2), backlog_s: backlog.map(f64::from_bits) }),
                refuses_memory_until: time(times.3),
            }
        },
    )
}

fn holding() -> impl Strategy<Value = Holding> {
    (any::<u64>(), 0..2_u32, 0..2_u32, any::<u64>()).prop_map(|(cpu, socket, class, memory)| Holding {
        vm: VmId(0),
        socket: SocketId(socket),
        cpu: Grant::fixed(MilliCpu::new(cpu)),
        memory_bandwidth: Grant::default(),
        memory: vec![(NodeId(0), ByteSize::new(memory))],
        class: ClassId(class),
    })
}

fn snapshot() -> impl Strategy<Value = Snapshot> {
    let vms = proptest::collection::btree_map(0..5_u32, sample(), 0..4);
    let holdings = proptest::collection::btree_map(0..5_u32, holding(), 0..4);
    (vms, holdings, any::<u32>(), any::<u32>()).prop_map(|(vms, holdings, mask, step)| {
        let inventory = inventory(2);
        let mut snapshot = empty(&inventory, Duration::from_nanos(step.into()));
        snapshot.vms = vms.into_iter().map(|(vm, sample)| VmSample { vm: VmId(vm), ..sample }).collect();
        let holdings = holdings.into_iter().map(|(vm, holding)| Holding { vm: VmId(vm), ..holding });
        snapshot.assignment.holdings = holdings.collect();
        snapshot.assignment.classes = vec![Some(vec![CacheMask(mask), CacheMask(1)]), None];
        snapshot.assignment.devices[0].owner = mask.is_multiple_of(2).then_some(VmId(mask));
        snapshot
    })
}

/// In the order of time.
fn course() -> impl Strategy<Value = Vec<Snapshot>> {
    proptest::collection::vec(snapshot(), 1..12).prop_map(|mut all| {
        let mut at = Duration::ZERO;
        for snapshot in &mut all {
            at += snapshot.at;
            snapshot.at = at;
        }
        all
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_course_of_snapshots_comes_back_to_the_bit(course in course()) {
        let (read, ending) = read(&written(&inventory(2), &course)).unwrap();
        prop_assert_eq!(bits(&read), bits(&course));
        prop_assert_eq!(ending, Ending::Closed);
    }

    #[test]
    fn a_flipped_bit_is_an_error_or_leaves_a_prefix(course in course(), at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = written(&inventory(2), &course);
        let at = at.index(bytes.len());
        bytes[at] ^= 1_u8 << bit;
        if let Ok((read, ending)) = read(&bytes) {
            prop_assert!(ending != Ending::Closed);
            prop_assert_eq!(bits(&read), bits(&course[..read.len()]));
        }
    }

    /// With check sums that are right: what somebody made up.
    #[test]
    fn made_up_frames_are_refused_or_read_and_never_more(
        course in course(),
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let inventory = inventory(2);
        let bytes = written(&inventory, &course);
        let mut made = bytes[..16].to_vec();
        for (number, start) in (0..).zip(frames(&bytes)) {
            let stored = u32::from_le_bytes(bytes[start + 20..start + 24].try_into().unwrap()) as usize;
            let mut content = bytes[start + 32..start + 32 + stored].to_vec();
            if bytes[start + 5] == 1 {
                let mut plain = Vec::new();
                std::io::Read::read_to_end(&mut flate2::read::DeflateDecoder::new(&content[..]), &mut plain).unwrap();
                content = plain;
            }
            for (place, byte) in &changes {
                let place = place.index(content.len());
                content[place] = *byte;
            }
            made.extend(frame(bytes[start + 4], number, 0, &content));
        }
        if let Ok((read, _)) = read(&made) {
            let _ = written(&inventory, &[]);
            prop_assert!(read.iter().all(|snapshot| snapshot.vms.len() <= 65_536));
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("made.hrec");
        std::fs::write(&path, &made).unwrap();
        let _ = trace::open(&path, None).map(|readings| readings.for_each(drop));
    }

    #[test]
    fn arbitrary_bytes_are_no_recording(bytes in proptest::collection::vec(any::<u8>(), 0..512)) {
        prop_assert!(read(&bytes).is_err());
    }
}
