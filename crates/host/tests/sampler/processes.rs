//! Processes and threads that end, begin, and take the numbers of others.

use halcyon_host::cgroup::Version;
use std::sync::Arc;

use halcyon_host::nvml::{GpuProcess, GpuReading, Reading};
use halcyon_host::sampler::{Guest, Kind, Paces, Process, Sampler};
use halcyon_model::{MilliCpu, VmRates};

use crate::tree::{PID, Tree, VM, ms};

fn guest(vcpus: &[u32]) -> Guest {
    Guest { process: Some(Tree::process(vcpus)), ..Guest::new(VM) }
}

#[test]
fn cpu_time_is_that_of_all_threads_and_waiting_that_of_vcpus() {
    let tree = Tree::new();
    let mut host = tree.host(guest(&[4001]));
    let before = host.now().counters;
    assert_eq!((before.cpu_used_us, before.cpu_waited_us), (Some(15_000), Some(2000)));
    tree.write_thread(PID, 4000, 60_000_000, 9_000_000);
    tree.write_thread(PID, 4001, 55_000_000, 2_500_000);
    let after = host.after(100).counters;
    let rates = VmRates::between(&before, &after, ms(100));
    assert_eq!(rates.cpu, Some(MilliCpu::cores(1)));
    assert_eq!(rates.cpu_waited, Some(MilliCpu::new(5)));
    assert_eq!(tree.host(guest(&[])).now().counters.cpu_waited_us, Some(11_500), "all, where none is named");
}

#[test]
fn a_thread_that_ends_keeps_its_part_and_a_new_one_adds_to_it() {
    let tree = Tree::new();
    let mut host = tree.host(guest(&[]));
    host.now();
    tree.remove("proc/4000/task/4001");
    for _ in 0..30 {
        let counters = host.after(100).counters;
        assert_eq!((counters.cpu_used_us, counters.cpu_waited_us), (Some(15_000), Some(2000)));
    }
    tree.write_thread(PID, 4002, 1_000_000, 500_000);
    let counters = host.after(1100).counters;
    assert_eq!((counters.cpu_used_us, counters.cpu_waited_us), (Some(16_000), Some(2500)));
    // The same number again, for another thread: counted from nothing.
    tree.write_thread(PID, 4002, 300_000, 0);
    let counters = host.after(100).counters;
    assert_eq!((counters.cpu_used_us, counters.cpu_waited_us), (Some(16_300), Some(2500)));
    assert_eq!(host.sampler.troubles().count(), 0);
}

#[test]
fn a_vcpu_that_is_unplugged_keeps_its_part_and_one_that_never_was_is_named() {
    let tree = Tree::new();
    tree.write_thread(PID, 4002, 0, 7_000_000);
    let mut host = tree.host(guest(&[4001, 4002]));
    assert_eq!(host.now().counters.cpu_waited_us, Some(9000));
    tree.remove("proc/4000/task/4002");
    assert_eq!(host.after(5000).counters.cpu_waited_us, Some(9000));
    assert_eq!(host.sampler.troubles().count(), 0);
    let mut host = tree.host(guest(&[4001, 4999]));
    assert_eq!(host.after(3000).counters.cpu_waited_us, None, "a sum without all of its parts is none");
    assert!(
        host.why(Kind::Threads).is_some_and(|why| why.contains("4999") && why.contains("query-cpus-fast"))
    );
}

#[test]
fn short_threads_that_nobody_saw_show_in_the_time_of_the_process() {
    let tree = Tree::new();
    let path = tree.path("proc/4000/stat");
    let stat = std::fs::read_to_string(&path).expect("it is read").replace(" 7 0 1 0 ", " 7 0 80 20 ");
    std::fs::write(&path, stat).expect("it is written");
    assert_eq!(tree.host(guest(&[])).now().counters.cpu_used_us, Some(1_000_000), "100 ticks of 10 ms");
}

#[test]
fn another_process_under_the_same_id_is_not_taken_for_it() {
    let tree = Tree::new();
    let mut host = tree.host(guest(&[]));
    assert_eq!(host.now().counters.cpu_used_us, Some(15_000));
    tree.remove("proc/4000");
    let gone = host.after(1500);
    assert_eq!((gone.counters.cpu_used_us, gone.counters.cpu_waited_us), (None, None));
    tree.write_process(PID, 9999, &[(4000, 1, 1)]);
    for _ in 0..30 {
        assert_eq!(host.after(100).counters.cpu_used_us, None);
    }
    assert!(host.why(Kind::Process).is_some_and(|why| why.contains("4000") && why.contains("anew")));
    host.sampler.track(Guest {
        process: Some(Process { started_ticks: Some(9999), ..Tree::process(&[]) }),
        ..Guest::new(VM)
    });
    assert_eq!(host.after(100).counters.cpu_waited_us, Some(0));
}

#[test]
fn a_process_that_changes_between_two_looks_at_it_is_noticed_by_its_threads() {
    let tree = Tree::new();
    let mut host = tree.host(guest(&[4001]));
    host.after(1100);
    // Replaced at once, long before the state of the process is due again.
    tree.write_process(PID, 9999, &[(4000, 1, 1), (4001, 1, 1)]);
    assert_eq!(host.after(100).counters.cpu_waited_us, None);
    assert_eq!(host.after(100).counters.cpu_used_us, None);
}

#[test]
fn a_start_time_that_is_known_beforehand_is_held_against_the_first_reading() {
    let tree = Tree::new();
    let process = Process { started_ticks: Some(1), ..Tree::process(&[]) };
    let mut host = tree.host(Guest { process: Some(process), ..Guest::new(VM) });
    assert_eq!(host.after(2000).counters.cpu_used_us, None);
}

#[test]
fn what_threads_waited_for_is_seen_as_soon_as_their_group_has_run() {
    let tree = Tree::new();
    let group = Some(tree.group(Version::V2));
    let mut host = tree.host(Guest { group, ..guest(&[4001]) });
    host.after(1500);
    tree.write("cg/cpu.stat", "usage_usec 1500100\n");
    tree.write_thread(PID, 4001, 5_100_000, 2_600_000);
    assert_eq!(host.after(100).counters.cpu_waited_us, Some(2600));
    // A kernel whose group does not count what the thread does: seen a little later.
    tree.write_thread(PID, 4001, 5_200_000, 2_700_000);
    assert_eq!(host.after(1100).counters.cpu_waited_us, Some(2700));
}

#[test]
fn gpu_time_grows_with_what_the_process_does_on_it() {
    let tree = Tree::new();
    let mut sampler = Sampler::new(tree.roots(), Paces::default());
    let mut number = 0;
    sampler = sampler.with_gpus(move || {
        number += 1;
        let process = GpuProcess { pid: PID, busy_percent: Some(25), ..GpuProcess::default() };
        let gpu = GpuReading { processes: vec![process], ..GpuReading::default() };
        Some(Arc::new(Reading { number, gpus: vec![gpu], ..Reading::default() }))
    });
    sampler.track(guest(&[]));
    let mut samples = Vec::new();
    let mut busy = |now| {
        sampler.sample(ms(now), &mut samples);
        samples[0].counters.gpu_busy_us
    };
    assert_eq!(busy(0), Some(0));
    let after: Vec<u64> = (1..=50).filter_map(|sweep| busy(sweep * 100)).collect();
    assert_eq!(after.len(), 50);
    assert!(after.is_sorted() && *after.last().expect("there are some") > 900_000, "{after:?}");
    assert!(after[49] <= 1_250_000, "a quarter of five seconds at most: {after:?}");
}
