//! Groups that go and come back, counters that are reset, clocks that step, VMs that change.

use halcyon_host::sampler::{Counted, Guest, Kind, Process, WorkingSetFrom};
use halcyon_model::{ByteSize, VmRates};

use crate::tree::{DISK, NIC, Tree, VM, ms};

#[test]
fn a_group_that_is_gone_gives_nothing_and_one_made_anew_is_read_again() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    let before = host.now().counters;
    tree.remove("cg");
    let gone = host.after(100).counters;
    assert_eq!((gone.cpu_used_us, gone.memory_stalled_us, gone.io_stalled_us), (None, None, None));
    assert_eq!(gone.device_bytes, vec![(NIC, 1500)]);
    assert_eq!(gone.cpu_waited_us, before.cpu_waited_us, "the rest goes on");
    assert!(host.why(Kind::GroupCpu).is_some_and(|why| why.contains("is gone")));
    tree.make_group();
    tree.write("cg/cpu.stat", "usage_usec 10\n");
    let after = host.after(1100).counters;
    assert_eq!(after.cpu_used_us, Some(10));
    assert_eq!(host.why(Kind::GroupCpu), None);
    let rates = VmRates::between(&before, &after, ms(1200));
    assert_eq!(rates.cpu, None, "what fell was reset");
}

#[test]
fn between_two_readings_the_last_one_stands() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    host.after(3000);
    tree.write_monitoring("mon_groups/halcyon-vm3", 0, "0", "19000");
    tree.write("cg/cpu.stat", "usage_usec 1600000\n");
    let sample = host.after(100);
    assert_eq!(sample.counters.cpu_used_us, Some(1_600_000), "ten times a second");
    let bytes: Vec<u64> = (0..12).filter_map(|_| host.after(100).counters.memory_bytes).collect();
    assert_eq!(bytes.len(), 12);
    assert_eq!(bytes.last(), Some(&20_000), "once a second");
    let changes = bytes.windows(2).filter(|pair| pair[0] != pair[1]).count();
    assert!(changes <= 1 && bytes.iter().all(|bytes| [10_000, 20_000].contains(bytes)));
}

#[test]
fn a_clock_that_steps_costs_no_figure() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    let first = host.after(1000);
    for (number, now) in [(1, ms(3_600_000)), (2, ms(50)), (3, ms(50)), (4, ms(0)), (5, ms(100))] {
        tree.write("cg/cpu.stat", format!("usage_usec {}\n", 2_000_000 + number));
        host.now = now;
        let sample = host.now();
        let used = sample.counters.cpu_used_us;
        // Twice at the same moment is one reading.
        assert_eq!(used, Some(2_000_000 + if number == 3 { 2 } else { number }), "at {now:?}");
        assert_eq!(sample.counters.memory_bytes, first.counters.memory_bytes);
    }
    tree.write_monitoring("mon_groups/halcyon-vm3", 0, "0", "50000");
    assert_eq!(host.after(1200).counters.memory_bytes, Some(51_000), "slow sources go on, too");
}

#[test]
fn a_vm_that_gets_a_device_or_another_class_keeps_its_counters() {
    let tree = Tree::new();
    let guest = Guest { group: None, process: Some(Tree::process(&[])), ..tree.guest() };
    let mut host = tree.host(guest.clone());
    host.now();
    tree.remove("proc/4000/task/4001");
    assert_eq!(host.after(1100).counters.cpu_used_us, Some(15_000));
    tree.write("net/tap1/statistics/rx_bytes", "1\n");
    tree.write("net/tap1/statistics/tx_bytes", "2\n");
    tree.write_monitoring("halcyon-4/mon_groups/halcyon-vm3", 0, "4096", "70");
    host.sampler.track(Guest {
        devices: vec![(DISK, Counted::Interface("tap1".into()))],
        monitoring: Some("halcyon-4/mon_groups/halcyon-vm3".into()),
        ..guest.clone()
    });
    let sample = host.after(100);
    assert_eq!(sample.counters.cpu_used_us, Some(15_000), "what the ended thread used is kept");
    assert_eq!(sample.counters.device_bytes, vec![(DISK, 3)]);
    assert_eq!((sample.counters.memory_bytes, sample.cache), (Some(70), Some(ByteSize::new(4096))));
    host.sampler
        .track(Guest { process: Some(Process { started_ticks: Some(777), ..Tree::process(&[]) }), ..guest });
    assert_eq!(host.after(100).counters.cpu_used_us, Some(10_000), "another process begins anew");
}

#[test]
fn pressure_of_a_group_is_seen_as_soon_as_the_host_has_some() {
    let tree = Tree::new();
    let write = |path: &str, total: u32| {
        tree.write(path, format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n"));
    };
    write("proc/pressure/memory", 100);
    let mut host = tree.host(tree.guest());
    assert_eq!(host.after(2000).counters.memory_stalled_us, Some(22));
    write("cg/memory.pressure", 50);
    write("proc/pressure/memory", 101);
    assert_eq!(host.after(100).counters.memory_stalled_us, Some(50));
    assert_eq!(host.after(1000).counters.memory_stalled_us, Some(50), "it stands while the host is calm");
    // The host's figure cannot be had any more: each is read.
    tree.remove("proc/pressure/memory");
    write("cg/memory.pressure", 60);
    assert_eq!(host.after(100).counters.memory_stalled_us, Some(60));
}

#[test]
fn the_working_set_is_what_the_kernel_finds_while_it_ages_pages_and_none_otherwise() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    assert_eq!(host.after(11_000).working_set, None, "nothing was aged since it is tracked");
    tree.write_memory_stat(150);
    assert_eq!(host.after(5100).working_set, Some(ByteSize::new(5120)));
    assert_eq!(host.detail().working_set_from, Some(WorkingSetFrom::KernelAgeing));
    assert_eq!(host.after(30_000).working_set, Some(ByteSize::new(5120)));
    assert_eq!(host.after(65_000).working_set, None, "too long ago");
    tree.write_memory_stat(0);
    assert_eq!(host.after(6000).working_set, None, "a counter that fell is no ageing");
}

#[test]
fn samples_come_in_the_order_of_vms_and_leave_nothing_of_others_behind() {
    let tree = Tree::new();
    let mut host = tree.host(tree.guest());
    host.sampler.track(Guest::new(halcyon_model::VmId(1)));
    let mut samples = Vec::new();
    host.sampler.sample(ms(0), &mut samples);
    host.sampler.sample(ms(100), &mut samples);
    assert_eq!(samples.iter().map(|sample| sample.vm.0).collect::<Vec<_>>(), [1, 3]);
    host.sampler.forget(VM);
    samples.reverse();
    host.sampler.sample(ms(200), &mut samples);
    assert_eq!(samples, vec![halcyon_model::VmSample { vm: halcyon_model::VmId(1), ..Default::default() }]);
}
