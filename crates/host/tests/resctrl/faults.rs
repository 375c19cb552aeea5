//! Each step, failing at each of its commands: the machine is as before, or as the step says.

use halcyon_hal::{Actuate, Driver, Progress};
use halcyon_model::{Assignment, ClassId, Step};

use crate::fixture::{Driven, create, done, host, join, limit, mask};
use crate::kernel::{Fault, Kernel, Shape};

/// Class 1 with VMs 0 and 2, class 2 without anybody.
fn prepared(renames: bool) -> (Kernel, Driven, Assignment) {
    let (kernel, mut driver, mut held) = host(Shape { renames, ..Shape::intel() });
    done(&mut driver, &create(1, [0b11, 0b11]));
    done(&mut driver, &create(2, [0b1100, 0b1100]));
    done(&mut driver, &join(0, 0, 1));
    done(&mut driver, &join(2, 0, 1));
    done(&mut driver, &limit(0, 50, 20));
    driver.read(&mut held).unwrap();
    (kernel, driver, held)
}

fn steps() -> Vec<Step> {
    vec![
        create(5, [1, 1]),
        create(2, [0, 0]).inverse(),
        mask(1, 0, 0b11, 0b111),
        join(0, 1, 2),
        join(2, 1, 0),
        limit(0, 20, 40),
    ]
}

#[test]
fn a_step_that_goes_wrong_half_way_leads_back() {
    for (step, renames) in steps().into_iter().flat_map(|step| [(step.clone(), true), (step, false)]) {
        let (kernel, mut driver, _) = prepared(renames);
        let before = kernel.state().commands.len();
        done(&mut driver, &step);
        let commands = kernel.state().commands.len() - before;
        let wanted = kernel.truth();
        assert!(commands > 0);
        for fault in [Fault::Before, Fault::After] {
            for good in 0..commands {
                let (kernel, mut driver, mut held) = prepared(renames);
                let start = kernel.truth();
                kernel.fail_after(good, fault);
                let ended = driver.begin(&step);
                let place = format!("`{step}`, {fault:?} command {good}: {ended:?}");
                match ended {
                    Ok(Progress::Done) => assert_eq!(kernel.truth(), wanted, "{place}"),
                    Err(_) => assert_eq!(kernel.truth(), start, "{place}"),
                    _ => panic!("{place}"),
                }
                kernel.state().faults.clear();
                driver.read(&mut held).unwrap();
                done(&mut driver, &step);
                assert_eq!(kernel.truth(), wanted, "{place}, and once more");
            }
        }
    }
}

#[test]
fn what_cannot_be_led_back_has_failed_and_is_read_as_it_is() {
    let (kernel, mut driver, mut held) = prepared(false);
    let faults = [None, None].into_iter().chain([Some(Fault::Before); 40]).collect();
    kernel.state().faults = faults;
    let ended = driver.begin(&join(0, 1, 2)).unwrap();
    assert!(matches!(&ended, Progress::Failed { why } if why.contains("lead it back")), "{ended:?}");
    kernel.state().faults.clear();
    driver.read(&mut held).unwrap();
    let groups = [100, 101, 102].map(|thread| kernel.group_of(thread));
    assert_eq!(groups, ["halcyon-1"; 3], "most of its threads are still there, the others follow");
    assert_eq!(held.holdings[0].class, ClassId(1));
}

#[test]
fn reading_that_fails_changes_nothing() {
    for step in steps() {
        for good in 0..20 {
            let (kernel, mut driver, _) = prepared(false);
            let start = kernel.truth();
            kernel.state().good_reads = Some(good);
            if driver.begin(&step).is_err() {
                assert_eq!(kernel.truth(), start, "`{step}` with read {good} failing");
            }
        }
    }
}

#[test]
fn one_unreadable_class_does_not_hide_the_others() {
    let (kernel, mut driver, mut held) = prepared(false);
    let believed = held.clone();
    kernel.state().lies.insert("halcyon-1/schemata".into(), "L3:0=zz\n".into());
    driver.read(&mut held).unwrap();
    assert_eq!(held, believed, "what cannot be read stays as believed");
    kernel.state().lies.insert("tasks".into(), "12\nmonkeys\n".into());
    let error = driver.read(&mut held).unwrap_err();
    let cause = std::error::Error::source(&error).unwrap().to_string();
    assert!(cause.contains("monkeys") && cause.contains("/sys/fs/resctrl/tasks"), "{cause}");
    assert_eq!(held, believed);
}
