//! Control groups: drivers on trees that look like the kernel's, what is found in them, and the kernel's own.

mod drivers;
mod kernel;
mod layouts;
mod site;

use std::fs;
use std::time::Duration;

use halcyon_hal::testkit::{Subject, conforms, storm, withstands};
use halcyon_hal::{
    Actuate, Executor, MemoryJournal, Observe, OpenStep, OpenTransaction, Progress, StepState, Unfinished,
};
use halcyon_host::cgroup::{CgroupError, CpuFiles, Limit, Version};
use halcyon_model::{Generation, Grant, MilliCpu, SocketId, Step, VmId};

use site::{Site, site};

#[test]
fn cpu_time_placement_and_disks_keep_the_contract_of_drivers() {
    for version in [Version::V1, Version::V2] {
        conforms(|| site(version));
        withstands(|| site(version));
    }
}

fn set_cpu(site: &Site, share: u64, ceiling: u64) -> Step {
    let held = &site.start.holdings[0];
    let to = Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(ceiling) };
    Step::SetCpu { vm: VmId(0), socket: held.socket, from: held.cpu, to }
}

#[test]
fn what_the_files_say_after_a_step_is_what_the_kernel_wants() {
    let mut two = site(Version::V2);
    let step = set_cpu(&two, 2000, 3000);
    assert_eq!(two.assembly.begin(&step), Ok(Progress::Done));
    let read = |site: &Site, name: &str| fs::read_to_string(site.file(0, name)).expect("it is there");
    // The socket has 22 of 24 threads for VMs.
    assert_eq!((read(&two, "cpu.max").as_str(), read(&two, "cpu.weight").as_str()), ("300000 100000", "909"));
    let whole = set_cpu(&two, 2000, 1_000_000);
    assert_eq!(two.assembly.begin(&whole), Ok(Progress::Done));
    assert_eq!(read(&two, "cpu.max"), "max 100000");
    let mut one = site(Version::V1);
    let step = set_cpu(&one, 2000, 3000);
    assert_eq!(one.assembly.begin(&step), Ok(Progress::Done));
    assert_eq!(
        (read(&one, "cpu.cfs_quota_us").as_str(), read(&one, "cpu.shares").as_str()),
        ("300000", "2000")
    );
}

#[test]
fn what_somebody_else_wrote_is_read_as_the_nearest_that_it_can_mean() {
    let mut site = site(Version::V2);
    fs::write(site.file(0, "cpu.max"), "150000 50000\n").expect("it is written");
    fs::write(site.file(0, "cpu.weight"), "5000\n").expect("it is written");
    let believed = site.believed();
    let held = site.held(&believed);
    let time = site.time(SocketId(0)).get();
    assert_eq!(held.holdings[0].cpu.ceiling, MilliCpu::new(3000));
    assert_eq!(held.holdings[0].cpu.share, MilliCpu::new((time / 2).min(3000)));
    assert_eq!(held.holdings[1], believed.holdings[1], "the others stay as they are believed to be");
}

#[test]
fn a_step_that_fails_half_way_is_led_back() {
    let mut site = site(Version::V2);
    let before = fs::read_to_string(site.file(0, "cpu.weight")).expect("it is there");
    // The quota cannot be written: it is a folder.
    fs::remove_file(site.file(0, "cpu.max")).expect("it is there");
    fs::create_dir(site.file(0, "cpu.max")).expect("it is made");
    let step = set_cpu(&site, 40_000, 41_000);
    let error = site.assembly.begin(&step).expect_err("it cannot be written");
    assert!(error.to_string().contains("cpu.max"), "{error}");
    assert_eq!(fs::read_to_string(site.file(0, "cpu.weight")).expect("it is there"), before);
}

#[test]
fn garbage_and_groups_that_are_gone_are_named_and_harm_no_other() {
    let mut site = site(Version::V2);
    fs::write(site.file(0, "cpu.weight"), "\0\u{7f}many").expect("it is written");
    let believed = site.believed();
    assert_eq!(site.held(&believed), believed, "what cannot be read stays as it is believed to be");
    let error = CpuFiles::of(&site.groups[0]).expect("it has them").weight().expect_err("it is no number");
    assert!(
        error.to_string().contains("cpu.weight") && error.to_string().contains("not a number"),
        "{error}"
    );
    let folder = site.file(1, "").parent().expect("it has one").join("vm-1");
    fs::remove_dir_all(folder).expect("it is there");
    let mut gone = CpuFiles::of(&site.groups[1]).expect("it had them");
    assert!(matches!(gone.max(), Err(CgroupError::Gone { .. })));
    assert!(matches!(gone.set_weight(7), Err(CgroupError::Gone { .. })));
    let step =
        Step::SetCpu { vm: VmId(1), socket: SocketId(0), from: Grant::default(), to: Grant::default() };
    let error = site.assembly.begin(&step).expect_err("it is gone");
    assert!(error.to_string().contains("its VM has ended"), "{error}");
    assert!(
        site.groups[1].folders().all(|(_, folder)| !folder.exists()),
        "it was not made by being written to"
    );
}

#[test]
fn memory_and_statistics_of_both_versions() {
    for version in [Version::V1, Version::V2] {
        let site = site(version);
        let group = &site.groups[0];
        assert_eq!(group.memory().expect("it is read"), 1 << 30);
        assert_eq!(group.memory_max().expect("it is read"), Limit::None);
        group.set_memory_max(Limit::At(2 << 30)).expect("it is written");
        group.set_memory_high(Limit::None).expect("it is written");
        assert_eq!(group.set_memory_low(Limit::At(1 << 29)).is_ok(), version == Version::V2);
        assert_eq!(group.memory_max().expect("it is read"), Limit::At(2 << 30));
        let stat = group.cpu_stat().expect("it is read");
        assert_eq!(
            (stat.used.is_some(), stat.throttled.map(|time| time.as_micros())),
            (version == Version::V2, Some(7))
        );
        assert_eq!(group.pressure(halcyon_host::cgroup::Controller::Memory).is_ok(), version == Version::V2);
    }
}

/// A weight of 559 stands for several shares. Whoever comes after a crash knows from the journal which of
/// them was meant, and takes the step as done.
#[test]
fn after_a_crash_what_was_done_is_known_to_the_last_unit() {
    let (mut dead, mut next) = (site(Version::V2), site(Version::V2));
    let step = set_cpu(&dead, 1230, 3000);
    assert_eq!(dead.assembly.begin(&step), Ok(Progress::Done));
    for name in ["cpu.max", "cpu.weight"] {
        fs::copy(dead.file(0, name), next.file(0, name)).expect("it is copied");
    }
    let (index, state) = (0, StepState::Started);
    let open = OpenStep { index, step: step.clone(), state, begun: Some(0), before: None };
    let transaction = OpenTransaction { plan: Generation(7), family: step.family(), steps: vec![open] };
    let unfinished = Unfinished { transactions: vec![transaction], ..Unfinished::default() };
    next.assembly.resume(&unfinished).expect("it can be read");
    let mut held = next.assembly.held().clone();
    assert_eq!(held.holdings[0].cpu.share, MilliCpu::new(1230));
    let mut executor = Executor::resume(MemoryJournal::new(10), unfinished);
    let (inventory, now) = (next.assembly.inventory(), Duration::from_secs(1));
    let events = executor.advance(now, inventory.world(), &mut held, &mut next.assembly);
    let events = events.expect("memory takes all");
    assert_eq!(events.iter().map(|event| event.state).collect::<Vec<_>>(), [StepState::Succeeded]);
}

#[test]
fn random_plans_in_a_storm_end_as_the_old_plan_or_the_new_one() {
    for (seed, version) in (0..10).flat_map(|seed| [(seed, Version::V1), (seed, Version::V2)]) {
        let weather = storm(&mut site(version), 30, seed);
        println!("{weather:?}");
        assert!(weather.plans > 15 && weather.forward > 0 && weather.deaths > 0);
    }
}
