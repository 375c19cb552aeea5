//! Threads come and go, and are counted by VM.

use halcyon_hal::{Actuate, Driver, Progress};
use halcyon_host::resctrl::{Usage, vm_group};
use halcyon_model::{ByteSize, ClassId, VmId};

use crate::fixture::{create, done, host, join};
use crate::kernel::Shape;

#[test]
fn threads_that_begin_elsewhere_are_brought_after_their_vm() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    done(&mut driver, &create(1, [1, 1]));
    done(&mut driver, &join(0, 0, 1));
    kernel.spawn(0, 150, "");
    let followed = driver.follow().unwrap();
    assert_eq!((followed.moved, followed.faults.len()), (1, 0));
    assert_eq!(kernel.group_of(150), "halcyon-1");
    kernel.spawn(0, 151, "");
    driver.read(&mut held).unwrap();
    assert_eq!(kernel.group_of(151), "halcyon-1", "reading follows as well");
    assert_eq!(held.holdings[0].class, ClassId(1));
}

#[test]
fn a_thread_that_ended_is_no_error() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    done(&mut driver, &create(1, [1, 1]));
    kernel.kill(101);
    done(&mut driver, &join(0, 0, 1));
    assert_eq!([100, 102].map(|thread| kernel.group_of(thread)), ["halcyon-1", "halcyon-1"]);
    driver.read(&mut held).unwrap();
    assert_eq!(held.holdings[0].class, ClassId(1));
}

#[test]
fn groups_of_others_are_left_alone() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    halcyon_host::resctrl::Files::make(&kernel, "db-team").unwrap();
    halcyon_host::resctrl::Files::make(&kernel, "halcyon-07").unwrap();
    for thread in 100..103 {
        kernel.state().tasks.insert(thread, ("db-team".into(), None));
    }
    done(&mut driver, &create(1, [1, 1]));
    let ended = driver.begin(&join(0, 0, 1)).unwrap();
    assert!(matches!(&ended, Progress::Refused { why } if why.contains("somebody else")), "{ended:?}");
    driver.read(&mut held).unwrap();
    assert_eq!(kernel.group_of(100), "db-team");
    assert_eq!(held.holdings[0].class, ClassId(0), "what is believed stays");
    let groups = driver.tree().groups().unwrap();
    assert_eq!(groups.foreign, ["db-team", "halcyon-07"], "only the names that Halcyon gives are its own");
    assert_eq!(driver.tree().classes().unwrap(), 13);
}

#[test]
fn each_vm_is_counted_under_its_class() {
    let (kernel, mut driver, _) = host(Shape::intel());
    assert_eq!(vm_group(ClassId(0), VmId(2)), "mon_groups/halcyon-vm2");
    done(&mut driver, &create(1, [1, 1]));
    done(&mut driver, &join(2, 0, 1));
    let counted = |group: &str| kernel.state().groups[group].counted.iter().cloned().collect::<Vec<_>>();
    assert_eq!(counted("halcyon-1"), ["halcyon-vm2"]);
    assert_eq!(counted(""), ["halcyon-vm0", "halcyon-vm1", "halcyon-vm3"]);
    let mib = Some(ByteSize::mib(1));
    let one = Usage { occupancy: mib, total_bytes: Some(5000), local_bytes: Some(4000) };
    assert_eq!(driver.usage(VmId(2)).unwrap(), Some(vec![one; 2]));
    assert_eq!(driver.usage(VmId(9)).unwrap(), None);
    let lie = "halcyon-1/mon_groups/halcyon-vm2/mon_data/mon_L3_02/mbm_total_bytes";
    for nothing in ["Unavailable\n", "Unassigned\n", "Error\n"] {
        kernel.state().lies.insert(lie.into(), nothing.into());
        let usage = driver.usage(VmId(2)).unwrap().unwrap();
        assert_eq!((usage[0].total_bytes, usage[1].total_bytes), (Some(5000), None), "{nothing}");
        assert_eq!(Usage::sum(usage).total_bytes, None, "what is missing is not zero");
    }
    kernel.state().lies.insert(lie.into(), "12 monkeys".into());
    let error = driver.usage(VmId(2)).unwrap_err().to_string();
    assert!(error.contains("12 monkeys") && error.contains("mon_L3_02"), "{error}");
}

#[test]
fn a_vm_keeps_its_count_when_it_changes_class() {
    for (renames, given_back) in [(true, 0), (false, 1)] {
        let (kernel, mut driver, _) = host(Shape { renames, ..Shape::intel() });
        done(&mut driver, &create(1, [1, 1]));
        done(&mut driver, &join(2, 0, 1));
        assert!((300..303).all(|thread| kernel.group_of(thread) == "halcyon-1"));
        assert!(kernel.state().groups["halcyon-1"].counted.contains("halcyon-vm2"));
        assert_eq!(kernel.state().limbo.len(), given_back, "older kernels give an id back for each move");
    }
}

#[test]
fn a_vm_that_went_is_not_counted_any_more() {
    let (kernel, mut driver, mut held) = host(Shape::intel());
    held.holdings.retain(|holding| holding.vm != VmId(3));
    driver.read(&mut held).unwrap();
    assert!(!kernel.state().groups[""].counted.contains("halcyon-vm3"));
}

#[test]
fn a_count_that_cannot_be_had_yet_is_had_later() {
    let (kernel, mut driver, mut held) = host(Shape { rmids: 19, ..Shape::intel() });
    for vm in 0..4 {
        halcyon_host::resctrl::Files::remove(&kernel, &vm_group(ClassId(0), VmId(vm))).unwrap();
    }
    kernel.state().limbo.extend([std::time::Duration::from_secs(1); 14]);
    done(&mut driver, &join(0, 0, 0));
    driver.read(&mut held).unwrap();
    assert_eq!(driver.usage(VmId(0)).unwrap(), None, "what is not counted is not zero");
    assert_eq!(driver.follow().unwrap().faults.len(), 0);
    kernel.pass(std::time::Duration::from_secs(2));
    driver.follow().unwrap();
    assert!(driver.usage(VmId(0)).unwrap().is_some());
}

#[test]
fn counting_leaves_ids_for_the_classes() {
    let (kernel, mut driver, _) = host(Shape { rmids: 17, ..Shape::intel() });
    assert_eq!(kernel.state().groups[""].counted.len(), 2, "of 17 ids, 15 are for classes");
    for class in 1..15 {
        done(&mut driver, &create(class, [1, 1]));
    }
}
