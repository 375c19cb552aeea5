//! What becomes of changes when guests are stubborn, slow, silent, busy or gone.

use std::time::Duration;

use halcyon_hal::{Actuate, Progress};
use halcyon_host::qmp::fake::Trouble;
use halcyon_model::{Bandwidth, ByteSize, DeviceId, Grant, NodeId, Step, VmId};

use crate::site::{GIB, Site, site};

fn memory(from: u64, to: u64) -> Step {
    Step::SetMemory { vm: VmId(0), node: NodeId(0), from: ByteSize::gib(from), to: ByteSize::gib(to) }
}

fn moved() -> Grant<Bandwidth> {
    Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::mb_per_s(500) }
}

fn detach(vm: u32, device: u32) -> Step {
    Step::Detach { vm: VmId(vm), devices: vec![(DeviceId(device), moved())] }
}

fn attach(vm: u32, device: u32) -> Step {
    Step::Attach { vm: VmId(vm), devices: vec![(DeviceId(device), moved())] }
}

fn owner(site: &mut Site, device: usize) -> Option<VmId> {
    site.assembly.read().expect("it can be read");
    site.assembly.held().devices[device].owner
}

#[test]
fn a_guest_that_needs_its_memory_keeps_it_and_does_not_give_it_late() {
    let mut site = site();
    site.fakes[0].machine().guest().needs = 3 * GIB;
    let Progress::Refused { why } = site.run(&memory(4, 2)) else { panic!("it cannot give so much") };
    assert!(why.contains("3GiB"), "{why}");
    assert_eq!(site.fakes[0].machine().actual(), 4 * GIB, "it has all that it had");
    site.fakes[0].machine().guest().needs = GIB;
    std::thread::sleep(Duration::from_millis(100));
    assert_eq!(site.fakes[0].machine().actual(), 4 * GIB, "nothing moves behind everybody's back");
    assert_eq!(site.run(&memory(4, 2)), Progress::Done);
}

#[test]
fn a_guest_that_owes_an_answer_is_asked_no_other_and_believed_when_it_speaks() {
    let mut site = site();
    site.assembly.read().expect("it can be read");
    site.fakes[0].misbehave(Trouble::Silent);
    let asked = |site: &Site| site.fakes[0].machine().executed.get("query-balloon").copied().unwrap_or(0);
    let before = asked(&site);
    while asked(&site) == before {
        site.assembly.read().expect("it can be read");
        std::thread::sleep(Duration::from_millis(1));
    }
    for _ in 0..20 {
        site.assembly.read().expect("it can be read");
    }
    assert!(asked(&site) <= before + 2, "{} questions", asked(&site) - before);
    assert_eq!(site.assembly.held().holdings[0].total_memory(), ByteSize::gib(4), "it is as it was");
    site.fakes[0].misbehave(Trouble::None);
    // The connection is made anew first.
    while site.run(&memory(4, 2)) != Progress::Done {
        std::thread::sleep(Duration::from_millis(1));
    }
    site.assembly.read().expect("it can be read");
    assert_eq!(site.assembly.held().holdings[0].total_memory(), ByteSize::gib(2));
}

#[test]
fn a_device_that_takes_its_time_is_waited_for() {
    let mut site = site();
    for busy in [0, 3] {
        {
            let machine = &mut site.fakes[0].machine();
            machine.guest().lets_go_after = Some(Duration::from_millis(120));
            machine.guest().is_native = true;
            machine.guest().busy = busy;
        }
        assert_eq!(site.run(&detach(0, 0)), Progress::Done);
        assert_eq!((owner(&mut site, 0), site.fakes[0].machine().nodes()), (None, vec![]));
        assert_eq!(site.run(&attach(0, 0)), Progress::Done);
        assert_eq!(owner(&mut site, 0), Some(VmId(0)));
    }
}

#[test]
fn a_guest_that_missed_the_request_is_asked_again() {
    let mut site = site();
    site.fakes[0].machine().guest().misses = 1;
    assert_eq!(site.run(&detach(0, 0)), Progress::Done);
    assert_eq!(site.fakes[0].machine().executed["device_del"], 2);
}

#[test]
fn a_guest_that_never_lets_go_keeps_its_device_whole() {
    let mut site = site();
    site.fakes[0].machine().guest().lets_go_after = None;
    let Progress::Refused { why } = site.run(&detach(0, 0)) else { panic!("it never lets go") };
    assert!(why.contains("nv0"), "{why}");
    assert_eq!(site.fakes[0].machine().devices(), ["nv0"]);
    assert_eq!(site.fakes[0].machine().nodes(), ["n0"], "nothing was torn down under it");
    assert_eq!(owner(&mut site, 0), Some(VmId(0)));
    site.fakes[0].machine().guest_removes("nv0");
    assert_eq!(owner(&mut site, 0), None, "what the guest itself removed is seen");
    assert_eq!(site.run(&attach(2, 0)), Progress::Done);
}

#[test]
fn a_guest_that_is_no_more_holds_nothing() {
    let mut site = site();
    let gone = site.fakes.remove(0);
    let client = site.clients[0].clone();
    drop(gone);
    for _ in 0..2000 {
        if client.is_gone() {
            break;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    assert_eq!(site.run(&detach(0, 0)), Progress::Done);
    assert_eq!((owner(&mut site, 0), owner(&mut site, 1)), (None, Some(VmId(1))));
    assert_eq!(site.run(&attach(1, 0)), Progress::Done);
}

#[test]
fn a_guest_that_is_silent_keeps_what_it_is_believed_to_have() {
    let mut site = site();
    site.fakes[0].misbehave(Trouble::Silent);
    std::thread::sleep(Duration::from_millis(50));
    let began = std::time::Instant::now();
    assert_eq!(owner(&mut site, 0), Some(VmId(0)));
    assert!(began.elapsed() < Duration::from_secs(2), "a silent guest holds the reading up");
    assert!(matches!(site.run(&memory(4, 3)), Progress::Failed { .. }));
}

#[test]
fn two_owners_are_an_alarm_and_not_a_choice() {
    let mut site = site();
    let add = |vm: usize| {
        let part = crate::site::part(0);
        let mut device = part.add.clone();
        device.insert("id".into(), part.id.into());
        device.insert("bus".into(), "rp3".into());
        let Some(halcyon_host::qmp::Backend::Block { add: backend, .. }) = part.backend else {
            panic!("it has one")
        };
        let client = &site.clients[vm];
        client
            .run(halcyon_host::qmp::Command::blockdev_add(&backend), Duration::from_secs(1))
            .expect("it opens");
        client
            .run(halcyon_host::qmp::Command::device_add(&device), Duration::from_secs(1))
            .expect("it is added");
    };
    add(2);
    let error = site.assembly.read().expect_err("two have it");
    let text = error.to_string();
    assert!(text.contains("vm0") && text.contains("vm2") && text.contains("nv0"), "{text}");
}

#[test]
fn what_cannot_be_added_leaves_nothing_behind() {
    let mut site = site();
    site.fakes[2].machine().guest().ports.clear();
    let Progress::Failed { why } = site.run(&attach(2, 2)) else { panic!("there is no port") };
    assert!(why.contains("nic2"), "{why}");
    assert_eq!(site.fakes[2].machine().networks(), [""; 0]);
    let Progress::Failed { why } = site.run(&attach(2, 0)) else { panic!("there is no port") };
    assert!(why.contains("nv0"), "{why}");
    assert_eq!(site.fakes[2].machine().nodes(), [""; 0]);
    let refused = site.assembly.begin(&attach(9, 2)).expect_err("there is no such guest");
    assert!(refused.to_string().contains("vm9"), "{refused}");
}
