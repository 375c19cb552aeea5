//! What is not there, or is not what it should be, is none and harms nothing else.

use halcyon_host::cgroup::Version;
use halcyon_host::sampler::{Counted, Guest, Kind, Paces, Sampler};
use halcyon_model::{ByteSize, Lanes, LinkSpeed, VmCounters, VmSample};
use proptest::prelude::*;

use crate::tree::{DISK, NIC, PID, Tree, VM, ms};

fn whole() -> VmSample {
    VmSample {
        vm: VM,
        counters: VmCounters {
            cpu_used_us: Some(1_500_000),
            cpu_waited_us: Some(2000),
            memory_stalled_us: Some(22),
            io_stalled_us: Some(33),
            memory_bytes: Some(10_000),
            gpu_busy_us: None,
            device_bytes: vec![(DISK, 4608), (NIC, 1500)],
        },
        cache: Some(ByteSize::mib(2)),
        ..VmSample::default()
    }
}

#[test]
fn everything_that_a_host_says_of_a_vm_is_read() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    assert_eq!(host.now(), whole());
    assert_eq!(host.after(5000), whole());
    let detail = host.detail();
    assert_eq!(
        (detail.charged_bytes, detail.minor_faults, detail.major_faults),
        (Some(4_096_000), Some(123), Some(7))
    );
    assert!(detail.resident_bytes.is_some_and(|bytes| bytes >= 256 * 4096));
    assert_eq!(
        (detail.quota_periods, detail.throttled_periods, detail.throttled_us),
        (Some(40), Some(4), Some(250_000))
    );
    assert_eq!(
        (detail.cpu_stalled_us, detail.memory_stalled_full_us, detail.io_stalled_full_us),
        (Some(11), Some(2), Some(3))
    );
    assert_eq!(detail.local_memory_bytes, Some(20));
    assert_eq!((detail.disk_operations, detail.network_bytes), (vec![(DISK, 3)], vec![(NIC, 1000, 500)]));
    assert_eq!((detail.links[0].speed, detail.links[0].width), (Some(LinkSpeed::Gen3), Lanes::new(4)));
    assert_eq!(
        (detail.links[0].most_speed, detail.links[0].most_width),
        (Some(LinkSpeed::Gen4), Lanes::new(16))
    );
    assert_eq!(host.sampler.troubles().count(), 0);
}

#[test]
fn a_vm_of_which_nothing_is_known_gives_nothing_and_is_no_trouble() {
    let tree = Tree::new();
    let mut host = tree.host(Guest::new(VM));
    assert_eq!(host.after(3000), VmSample { vm: VM, ..VmSample::default() });
    assert_eq!(host.sampler.troubles().count(), 0);
    host.sampler.forget(VM);
    let mut samples = vec![whole()];
    host.sampler.sample(ms(9000), &mut samples);
    assert_eq!(samples, vec![]);
}

/// The sample without what one file gives.
fn without(file: &str) -> VmSample {
    let mut sample = whole();
    let counters = &mut sample.counters;
    match file {
        "cpu.stat" => counters.cpu_used_us = None,
        "memory.pressure" => counters.memory_stalled_us = None,
        "io.pressure" => counters.io_stalled_us = None,
        "io.stat" => counters.device_bytes.retain(|(device, _)| *device != DISK),
        "rx_bytes" | "tx_bytes" => counters.device_bytes.retain(|(device, _)| *device != NIC),
        "stat" | "schedstat" => counters.cpu_waited_us = None,
        "llc_occupancy" => sample.cache = None,
        "mbm_total_bytes" => counters.memory_bytes = None,
        _ => {}
    }
    sample
}

#[test]
fn each_file_that_is_missing_takes_its_own_figure_along() {
    let tree = Tree::new();
    for path in tree.files() {
        // A thread that is not a vCPU's does not matter.
        if path.ends_with("4000/task/4000/schedstat") {
            continue;
        }
        let before = std::fs::read(&path).expect("it is read");
        std::fs::remove_file(&path).expect("it is there");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        assert_eq!(tree.host(tree.guest()).after(3000), without(name), "{}", path.display());
        std::fs::write(&path, before).expect("it is written");
    }
}

#[test]
fn each_file_that_holds_nonsense_is_named_and_harms_nothing_else() {
    let tree = Tree::new();
    for path in tree.files() {
        if path.ends_with("4000/task/4000/schedstat") {
            continue;
        }
        let before = std::fs::read(&path).expect("it is read");
        let name = path.file_name().and_then(|name| name.to_str()).expect("a name");
        for nonsense in [&b""[..], b"x\0y\n", b"\xff\xfe", b"-1 -1 -1\n", &[b'9'; 100_000]] {
            std::fs::write(&path, nonsense).expect("it is written");
            let mut host = tree.host(tree.guest());
            let (sample, expected) = (host.after(3000), without(name));
            // A domain that cannot be understood takes the whole cache along, as one file could be any other.
            if path.to_string_lossy().contains("mon_L3") {
                assert_eq!(sample.counters.cpu_used_us, expected.counters.cpu_used_us);
                assert!(host.why(Kind::Cache).is_some_and(|why| why.contains(name)), "{name}");
            } else {
                assert_eq!(sample, expected, "{}", path.display());
            }
            let named = host.sampler.troubles().all(|trouble| trouble.why.contains(name));
            assert!(named, "{name}: {:?}", host.sampler.troubles().collect::<Vec<_>>());
        }
        std::fs::write(&path, before).expect("it is written");
    }
}

#[test]
fn counters_of_caches_that_cannot_be_had_are_none() {
    let tree = Tree::new();
    tree.write_monitoring("mon_groups/halcyon-vm3", 1, "Unavailable", "Unassigned");
    let mut host = tree.host(tree.guest());
    let sample = host.now();
    assert_eq!((sample.cache, sample.counters.memory_bytes), (None, None));
    assert_eq!(host.why(Kind::Cache), None);
    tree.write_monitoring("mon_groups/halcyon-vm3", 1, "0", "1");
    assert_eq!(host.after(2000).counters.memory_bytes, Some(9001));
}

#[test]
fn names_that_lead_elsewhere_are_refused() {
    let tree = Tree::new();
    tree.write("secret/statistics/rx_bytes", "1\n");
    tree.write("secret/statistics/tx_bytes", "1\n");
    for name in ["../secret", "..", "", "tap0/../../secret"] {
        let guest = Guest {
            devices: vec![(NIC, Counted::Interface(name.into()))],
            monitoring: Some("../resctrl/mon_groups/halcyon-vm3".into()),
            ..Guest::new(VM)
        };
        let mut host = tree.host(guest);
        let sample = host.now();
        assert_eq!(sample, VmSample { vm: VM, ..VmSample::default() }, "{name}");
        assert!(host.why(Kind::Interfaces).is_some() && host.why(Kind::Cache).is_some());
    }
}

#[test]
fn version_1_counts_cpu_time_where_it_has_the_account_and_has_no_pressure() {
    let tree = Tree::new();
    tree.write("cg/cpu.stat", "nr_periods 5\nnr_throttled 1\nthrottled_time 7000\n");
    tree.write("cg/memory.usage_in_bytes", "4096\n");
    tree.write("cg/blkio.throttle.io_service_bytes", "8:16 Read 1\n8:16 Write 2\n");
    tree.write("cg/blkio.throttle.io_serviced", "8:16 Read 1\n8:16 Write 1\n");
    let guest = Guest { group: Some(tree.group(Version::V1)), ..tree.guest() };
    let mut host = tree.host(guest.clone());
    let sample = host.now();
    assert_eq!(sample.counters.cpu_used_us, Some(15_000), "the process says it where the group does not");
    assert_eq!((sample.counters.memory_stalled_us, sample.counters.io_stalled_us), (None, None));
    assert_eq!(sample.counters.device_bytes, vec![(DISK, 3), (NIC, 1500)]);
    assert_eq!((host.detail().throttled_us, host.detail().charged_bytes), (Some(7), Some(4096)));
    assert_eq!(host.sampler.troubles().count(), 0);
    tree.write("cg/cpuacct.usage", "9000000\n");
    assert_eq!(tree.host(guest).now().counters.cpu_used_us, Some(9000));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn whatever_files_hold_nothing_panics(
        texts in proptest::collection::vec("\\PC{0,40}|([a-z_]{1,9}[ =:]-?[0-9]{1,22}[ \n]){0,9}|[0-9]{1,20}", 40),
    ) {
        let tree = Tree::new();
        let mut sampler = Sampler::new(tree.roots(), Paces::default());
        sampler.track(tree.guest());
        let mut samples = Vec::new();
        sampler.sample(ms(0), &mut samples);
        for (path, text) in tree.files().iter().zip(&texts) {
            std::fs::write(path, text).expect("it is written");
        }
        for sweep in 0..30 {
            sampler.sample(ms(sweep * 100), &mut samples);
        }
        prop_assert_eq!(samples.len(), 1);
        prop_assert!(PID > 0);
    }
}
