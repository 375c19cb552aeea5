//! What each step does to the tree, and what is read afterwards.

use std::time::Duration;

use halcyon_hal::{Actuate, Driver, Progress};
use halcyon_host::resctrl::Setup;
use halcyon_model::{CacheMask, ChangeKind, ClassId, Placement, SocketId, Step, VmId};

use crate::fixture::{create, done, driver, driver_with, gb, host, join, limit, made, mask, setup, upto};
use crate::kernel::Shape;

#[test]
fn a_vm_gets_a_class_with_masks_of_its_own() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    done(&mut driver, &create(1, [0b11, 0b1100]));
    done(&mut driver, &join(1, 0, 1));
    assert_eq!(kernel.value("halcyon-1", "L3", 0), 0b11);
    assert_eq!(kernel.value("halcyon-1", "L3", 2), 0b1100, "the second socket's cache has the id 2");
    assert!((200..203).all(|thread| kernel.group_of(thread) == "halcyon-1"));
    assert_eq!(kernel.group_of(1), "", "the host's own threads stay");
    driver.read(&mut held).unwrap();
    assert_eq!(held.classes[1], Some(vec![CacheMask(0b11), CacheMask(0b1100)]));
    assert_eq!(held.holdings[1].class, ClassId(1));
    done(&mut driver, &mask(1, 1, 0b1100, 0b11100));
    assert_eq!(kernel.value("halcyon-1", "L3", 2), 0b11100);
    assert_eq!(kernel.value("halcyon-1", "L3", 0), 0b11);
}

#[test]
fn code_and_data_get_the_same_mask() {
    let (kernel, mut driver, _) = host(Shape { cdp: true, ..Shape::intel() });
    assert!(driver.tree().info().l3.unwrap().code_and_data);
    done(&mut driver, &create(1, [0b111, 0b1]));
    for line in ["L3CODE", "L3DATA"] {
        assert_eq!(kernel.value("halcyon-1", line, 0), 0b111);
        assert_eq!(kernel.value("halcyon-1", line, 2), 0b1);
    }
}

#[test]
fn a_mask_of_a_socket_goes_to_all_its_caches() {
    let (kernel, mut driver, _) = host(Shape::amd());
    done(&mut driver, &create(3, [0xf, 0xf0]));
    let values = [0, 1, 8, 9].map(|id| kernel.value("halcyon-3", "L3", id));
    assert_eq!(values, [0xf, 0xf, 0xf0, 0xf0]);
}

#[test]
fn vms_of_a_class_share_its_limit() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    made(&mut driver, &mut held, &create(1, [0xff, 0xff]));
    for vm in [0, 2] {
        made(&mut driver, &mut held, &join(vm, 0, 1));
        made(&mut driver, &mut held, &limit(vm, 50, 13));
    }
    assert_eq!(kernel.value("halcyon-1", "MB", 0), 30, "26 GB/s of 100 in steps of ten");
    assert_eq!(kernel.value("halcyon-1", "MB", 2), 100, "nobody of the class is there");
    driver.read(&mut held).unwrap();
    for vm in [0, 2] {
        assert_eq!(held.holdings[vm].memory_bandwidth, upto(13), "the belief fits what the machine says");
    }
    made(&mut driver, &mut held, &join(2, 1, 0));
    assert_eq!(kernel.value("halcyon-1", "MB", 0), 20, "the limit is that of who is left");
    assert_eq!(kernel.value("", "MB", 0), 20, "and the other took its own along");
}

#[test]
fn a_limit_that_somebody_else_set_is_read_as_it_is() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    made(&mut driver, &mut held, &create(1, [0xff, 0xff]));
    for vm in [0, 2] {
        made(&mut driver, &mut held, &join(vm, 0, 1));
    }
    made(&mut driver, &mut held, &limit(0, 50, 30));
    made(&mut driver, &mut held, &limit(2, 50, 10));
    driver.read(&mut held).unwrap();
    kernel.state().groups.get_mut("halcyon-1").unwrap().lines.get_mut("MB").unwrap().insert(0, 80);
    driver.read(&mut held).unwrap();
    let ceilings = [0, 2].map(|vm: usize| held.holdings[vm].memory_bandwidth.ceiling);
    assert_eq!(ceilings, [gb(60), gb(20)], "80 GB/s, divided as 30 to 10");
}

#[test]
fn amd_counts_in_eighths_of_a_gigabyte() {
    let (kernel, mut driver, _) = host(Shape::amd());
    done(&mut driver, &create(1, [0xff, 0xff]));
    done(&mut driver, &join(0, 0, 1));
    done(&mut driver, &limit(0, 50, 10));
    assert_eq!([0, 1, 8, 9].map(|id| kernel.value("halcyon-1", "MB", id)), [80, 80, 2048, 2048]);
}

#[test]
fn the_host_has_room_in_the_default_group() {
    let (kernel, _, mut held) = host(Shape::intel());
    let mut driver = driver_with(&kernel, Setup { host_bandwidth: gb(20), ..setup(&Shape::intel()) });
    driver.read(&mut held).unwrap();
    made(&mut driver, &mut held, &limit(0, 50, 10));
    made(&mut driver, &mut held, &limit(2, 50, 10));
    assert_eq!(kernel.value("", "MB", 0), 40, "10 and 10, and 20 for the host itself");
    driver.read(&mut held).unwrap();
    assert_eq!(held.holdings[0].memory_bandwidth.ceiling, gb(10));
}

#[test]
fn placement_is_offered_only_beside_a_driver_that_places() {
    let (kernel, alone, _) = host(Shape::intel());
    assert!(!alone.capabilities().allows(ChangeKind::Placement));
    let beside = driver_with(&kernel, Setup { joins_placement: true, ..setup(&Shape::intel()) });
    assert!(beside.capabilities().allows(ChangeKind::Placement));
}

#[test]
fn a_move_to_another_socket_takes_the_limit_along() {
    let (kernel, mut driver, held) = host(Shape::intel());
    done(&mut driver, &create(1, [0xff, 0xff]));
    done(&mut driver, &join(0, 0, 1));
    done(&mut driver, &limit(0, 50, 40));
    let from = Placement { memory_bandwidth: upto(40), ..Placement::from_holding(&held.holdings[0]) };
    let to = Placement { socket: SocketId(1), memory_bandwidth: upto(20), ..from };
    let before = kernel.state().commands.len();
    done(&mut driver, &Step::Place { vm: VmId(0), from, to });
    assert_eq!(kernel.state().commands.len(), before + 1, "both sockets change with one write");
    assert_eq!([0, 2].map(|id| kernel.value("halcyon-1", "MB", id)), [100, 20]);
}

#[test]
fn no_class_left_is_a_refusal_that_names_who_has_them() {
    let (kernel, mut driver, _) = host(Shape { closids: 3, ..Shape::intel() });
    halcyon_host::resctrl::Files::make(&kernel, "db-team").unwrap();
    assert_eq!(driver.tree().classes().unwrap(), 2, "of three, one is taken");
    done(&mut driver, &create(1, [1, 1]));
    let before = kernel.truth();
    let Ok(Progress::Refused { why }) = driver.begin(&create(2, [1, 1])) else { panic!("it is full") };
    assert!(why.contains("db-team") && why.contains("Out of CLOSIDs"), "{why}");
    assert_eq!(kernel.truth(), before);
}

#[test]
fn ids_in_limbo_are_waited_for() {
    let (kernel, mut driver, _) = host(Shape { rmids: 4, ..Shape::intel() });
    kernel.state().limbo = vec![Duration::from_secs(2); 3];
    let Ok(Progress::UnderWay(ticket)) = driver.begin(&create(1, [1, 1])) else { panic!("busy") };
    assert_eq!(driver.begin(&create(1, [1, 1])), Ok(Progress::UnderWay(ticket)), "twice is once");
    let mut progress = Progress::UnderWay(ticket);
    let mut polls = 0;
    while let Progress::UnderWay(ticket) = progress {
        kernel.pass(Duration::from_millis(100));
        progress = driver.poll(ticket);
        polls += 1;
        assert!(polls < 100);
    }
    assert_eq!(progress, Progress::Done);
    assert_eq!(kernel.value("halcyon-1", "L3", 0), 1);
    let tries = kernel.state().commands.iter().filter(|what| what.starts_with("mkdir")).count();
    assert!(tries < 10, "pauses grow: {tries} attempts");
    assert!(matches!(driver.poll(ticket), Progress::Failed { .. }), "a ticket is spent");
}

#[test]
fn limbo_without_end_is_a_refusal_and_leaves_nothing() {
    let (kernel, mut driver, _) = host(Shape { rmids: 4, ..Shape::intel() });
    kernel.state().limbo = vec![Duration::from_secs(3600); 3];
    let before = kernel.truth();
    let Ok(mut progress) = driver.begin(&create(1, [1, 1])) else { panic!("it is no error") };
    while let Progress::UnderWay(ticket) = progress {
        kernel.pass(Duration::from_millis(100));
        progress = driver.poll(ticket);
    }
    assert!(matches!(&progress, Progress::Refused { why } if why.contains("limbo")), "{progress:?}");
    assert!(kernel.state().now < driver.estimate(&create(1, [1, 1])) * 3, "before anybody gives up on it");
    assert_eq!(kernel.truth(), before);
}

#[test]
fn what_waits_is_taken_back_by_its_inverse() {
    let (kernel, mut driver, _) = host(Shape { rmids: 4, ..Shape::intel() });
    kernel.state().limbo = vec![Duration::from_secs(2); 3];
    let step = create(1, [1, 1]);
    let Ok(Progress::UnderWay(ticket)) = driver.begin(&step) else { panic!("busy") };
    done(&mut driver, &step.inverse());
    kernel.pass(Duration::from_secs(10));
    assert!(matches!(driver.poll(ticket), Progress::Failed { .. }));
    assert!(!kernel.state().groups.contains_key("halcyon-1"));
}

#[test]
fn a_mask_that_the_kernel_refuses_comes_with_its_reason() {
    let (kernel, mut driver, _) = host(Shape { min_ways: 2, ..Shape::intel() });
    done(&mut driver, &create(1, [0b11, 0b11]));
    let before = kernel.truth();
    let cases =
        [(0b101, "non-consecutive"), (0, "out of range"), (1 << 20, "out of range"), (1, "at least 2")];
    for (bits, reason) in cases {
        let error = driver.begin(&mask(1, 0, 0b11, bits)).unwrap_err();
        assert!(error.why.contains(reason), "{bits:b}: {}", error.why);
        let error = driver.begin(&create(2, [0b11, bits])).unwrap_err();
        assert!(error.why.contains(reason), "{bits:b}: {}", error.why);
        assert_eq!(kernel.truth(), before, "a group that got no masks is removed again");
    }
}

#[test]
fn a_crash_between_making_a_group_and_its_masks_is_read_as_it_is() {
    let (kernel, mut first, mut held) = host(Shape::intel());
    halcyon_host::resctrl::Files::make(&kernel, "halcyon-4").unwrap();
    first.read(&mut held).unwrap();
    let all = CacheMask(0x7fff);
    assert_eq!(held.classes[4], Some(vec![all, all]));
    let mut second = driver(&kernel);
    second.read(&mut held).unwrap();
    done(&mut second, &create(4, [1, 2]));
    second.read(&mut held).unwrap();
    assert_eq!(held.classes[4], Some(vec![CacheMask(1), CacheMask(2)]), "the group is taken over");
}

#[test]
fn a_class_with_a_vm_in_it_is_not_removed() {
    let (kernel, mut driver, _) = host(Shape::intel());
    done(&mut driver, &create(1, [1, 1]));
    done(&mut driver, &join(3, 0, 1));
    let error = driver.begin(&create(1, [1, 1]).inverse()).unwrap_err();
    assert!(error.why.contains("vm3"), "{}", error.why);
    done(&mut driver, &join(3, 1, 0));
    done(&mut driver, &create(1, [1, 1]).inverse());
    assert!(!kernel.state().groups.contains_key("halcyon-1"));
}

#[test]
fn only_what_the_processor_can_do_is_offered() {
    let (_, driver, _) = host(Shape::intel());
    let capabilities = driver.capabilities();
    for kind in ChangeKind::ALL {
        let ours = [ChangeKind::CacheMask, ChangeKind::CacheClass, ChangeKind::MemoryBandwidth];
        assert_eq!(capabilities.allows(kind), ours.contains(&kind), "{kind}");
    }
    let granularity = capabilities.get(ChangeKind::MemoryBandwidth).unwrap().granularity;
    assert_eq!(granularity, gb(10).get());
    let (_, mut without, _) = host(Shape { bandwidth: None, ..Shape::intel() });
    assert!(!without.capabilities().allows(ChangeKind::MemoryBandwidth));
    assert!(without.begin(&limit(0, 25, 10)).is_err());
    done(&mut without, &create(1, [1, 1]));
    done(&mut without, &join(0, 0, 1));
}

#[test]
fn ways_that_devices_use_are_told() {
    let (_, mut driver, _) = host(Shape::intel());
    let cache = driver.tree().info().l3.unwrap();
    assert_eq!(cache.shared_with_devices(CacheMask(0x7800)), CacheMask(0x6000));
    done(&mut driver, &create(1, [0x7800, 1]));
}
