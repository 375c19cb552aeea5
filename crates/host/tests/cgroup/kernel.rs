//! The kernel's own control groups, where this machine lets us make some.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use halcyon_hal::Actuate;
use halcyon_hal::testkit::{conforms, withstands};
use halcyon_host::cgroup::{
    CgroupError, Controller, CpuDriver, CpuFiles, CpuMax, Group, IoMax, Layout, Limit, NumberList,
    SocketCpus, Tree, Trigger, Version,
};
use halcyon_model::{Grant, MilliCpu, SocketId, Step, VmId};

use super::site::assemble;

/// A process that never rests.
struct Busy(Child);

impl Drop for Busy {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

struct Made {
    tree: Tree,
    group: Group,
}

impl Drop for Made {
    fn drop(&mut self) {
        // The kernel takes a moment to let go of who was in it.
        for _ in 0..100 {
            let inside = self.group.folders().filter_map(|(_, folder)| std::fs::read_dir(folder).ok());
            // What is no group is not removed this way.
            inside.flatten().flatten().for_each(|entry| drop(std::fs::remove_dir(entry.path())));
            if self.tree.remove(&self.group).is_ok() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

/// A group of the kernel's that has the controller, or none where that cannot be.
#[allow(clippy::print_stdout, reason = "a test that is left out says so")]
fn made(what: &str, controller: Controller) -> Option<Made> {
    let tree = Tree::open(Path::new("/sys/fs/cgroup"), Path::new("/proc"));
    let group = tree.version(controller).and_then(|_| {
        let group = tree.make(&format!("test-{}-{what}", std::process::id()));
        group.inspect_err(|error| println!("{error}")).ok()
    });
    if group.is_none() {
        println!("skipped: no control group with {controller:?} can be made on this machine");
    }
    group.map(|group| Made { tree, group })
}

/// CPU time of a process, of `/proc/PID/stat`, in ticks of a hundredth of a second.
fn used(pid: u32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    let rest = stat.rsplit(')').next().unwrap_or_default();
    rest.split_whitespace().skip(11).take(2).filter_map(|ticks| ticks.parse::<u64>().ok()).sum()
}

#[test]
fn a_busy_process_gets_its_quota_of_the_kernel_and_no_more() {
    let Some(made) = made("quota", Controller::Cpu) else { return };
    let busy = Command::new("sh").args(["-c", "while :; do :; done"]).stdout(Stdio::null()).spawn();
    let busy = Busy(busy.expect("a shell"));
    let pid = busy.0.id();
    made.group.take_process(pid).expect("it is moved");
    assert!(made.group.threads(Controller::Cpu).expect("they are read").contains(&pid));
    let socket = SocketCpus { cpus: NumberList::default(), nodes: None, time: MilliCpu::cores(64) };
    let mut driver = CpuDriver::new(BTreeMap::from([(VmId(0), made.group.clone())]), vec![socket]);
    let mut shares = Vec::new();
    for _ in 0..3 {
        // A weight that other work on the machine does not starve.
        let to = Grant { share: MilliCpu::cores(8), ceiling: MilliCpu::new(200) };
        let step = Step::SetCpu { vm: VmId(0), socket: SocketId(0), from: Grant::default(), to };
        driver.begin(&step).expect("the kernel takes it");
        let (before, began) = (used(pid), Instant::now());
        std::thread::sleep(Duration::from_secs(1));
        #[allow(clippy::cast_precision_loss)]
        shares.push((used(pid) - before) as f64 / 100.0 / began.elapsed().as_secs_f64());
        if shares.last().is_some_and(|share| (0.02..0.25).contains(share)) {
            break;
        }
    }
    let last = shares.last().copied().unwrap_or_default();
    assert!((0.02..0.25).contains(&last), "a quota of 0.2 CPUs gave {shares:?}");
    let throttled = made.group.cpu_stat().expect("it is read").throttled;
    assert!(throttled.is_some_and(|time| !time.is_zero()), "the kernel held it back");
    drop(busy);
}

#[test]
fn the_kernels_own_groups_keep_the_contract_of_drivers() {
    let Some(first) = made("probe", Controller::Cpuset) else { return };
    let (Ok(cpus), Ok(nodes)) = (first.group.cpus(), first.group.nodes()) else { return };
    let [one, other, ..] = *cpus.0.as_slice() else {
        println!("skipped: a guest can move between two CPUs only where there are two");
        return;
    };
    if !first.group.has(Controller::Cpu) {
        println!("skipped: no hierarchy has CPU time");
        return;
    }
    let count = Cell::new(0);
    let site = || {
        let homes = [0, 1].map(|vm| {
            count.set(count.get() + 1);
            made(&format!("{}-{vm}", count.get()), Controller::Cpu).expect("the first could be made")
        });
        let groups: Vec<Group> = homes.iter().map(|home| home.group.clone()).collect();
        let (version, root) = groups[0].folder(Controller::Cpu).expect("it has one");
        let root = (version, root.to_path_buf());
        let sockets = [one, other].map(|cpu| (NumberList(vec![cpu]), nodes.clone()));
        assemble(groups, sockets, BTreeMap::new(), root, Box::new(homes))
    };
    conforms(site);
    withstands(site);
}

#[test]
fn a_period_changes_without_a_moment_of_more() {
    let Some(made) = made("period", Controller::Cpu) else { return };
    let Ok((version, folder)) = made.group.folder(Controller::Cpu) else { return };
    // The kernel refuses a group more than its parent has, and so every moment of more.
    let inner = folder.join("inner");
    std::fs::create_dir(&inner).expect("a group");
    let inner = Group::new("inner", BTreeMap::from([(Controller::Cpu, (version, inner))]));
    let max = |quota, period_us| CpuMax { quota_us: Limit::At(quota), period_us };
    let mut outer = CpuFiles::of(&made.group).expect("it has them");
    let before = outer.max().expect("it is read");
    outer.set_max(before, max(1_000_000, 1_000_000)).expect("one CPU");
    let mut files = CpuFiles::of(&inner).expect("it has them");
    let mut before = files.max().expect("it is read");
    for max in [max(1_000_000, 1_000_000), max(100_000, 100_000), max(20_000, 50_000), max(900_000, 900_000)]
    {
        files.set_max(before, max).expect("no more than the parent has");
        assert_eq!(files.max().expect("it is read"), max);
        before = max;
    }
    for odd in [max(500, 500), max(1_000_000, 2_000_000), max(500, 100_000), max(2_000_000_000, 1000)] {
        // Some kernels take more than the parent has in version 2.
        if let Err(error) = files.set_max(before, odd) {
            assert_eq!(files.max().expect("it is read"), before, "led back after: {error}");
            assert!(error.to_string().contains("cpu."), "{error}");
        } else {
            files.set_max(odd, before).expect("it was so before");
        }
    }
    made.tree.remove(&inner).expect("nothing is in it");
}

#[test]
fn a_guest_with_groups_inside_moves_as_a_whole_and_keeps_pins_that_it_can_keep() {
    let Some(made) = made("inside", Controller::Cpuset) else { return };
    let Ok((version, folder)) = made.group.folder(Controller::Cpuset) else { return };
    let inside = |name: &str| {
        let path = folder.join(name);
        std::fs::create_dir(&path).expect("a group");
        Group::new(name, BTreeMap::from([(Controller::Cpuset, (version, path))]))
    };
    let all = made.group.cpus().expect("they are read");
    let (Version::V1, [first, second, ..]) = (version, all.0.as_slice()) else {
        println!("skipped: needs version 1 and two CPUs");
        return;
    };
    let (first, second) = (NumberList(vec![*first]), NumberList(vec![*second]));
    let (free, pinned, other) = (inside("emulator"), inside("vcpu0"), inside("vcpu1"));
    free.set_cpus(&all).expect("the kernel takes them");
    pinned.set_cpus(&first).expect("the kernel takes it");
    other.set_cpus(&second).expect("the kernel takes it");
    made.group.set_cpus(&first).expect("all of it moves");
    for group in [&made.group, &free, &pinned, &other] {
        assert_eq!(group.cpus().expect("they are read"), first, "{group:?}");
    }
    let nowhere = NumberList(vec![60_000]);
    let error = made.group.set_cpus(&nowhere).expect_err("there is no such CPU");
    assert!(error.to_string().contains("cpuset.cpus"), "{error}");
    for group in [&made.group, &free, &pinned, &other] {
        assert_eq!(group.cpus().expect("they are read"), first, "led back: {group:?}");
    }
    made.group.set_cpus(&all).expect("it may run everywhere");
    assert_eq!(pinned.cpus().expect("they are read"), first, "a pin that fits stays");
    [&free, &pinned, &other].iter().for_each(|group| made.tree.remove(group).expect("nothing is in it"));
    made.group.set_cpus(&NumberList::default()).expect("nobody is in it");
    assert_eq!(made.group.cpus().expect("they are read"), NumberList::default());
}

#[test]
fn limits_of_disks_and_memory_are_read_as_they_were_set() {
    let Some(made) = made("limits", Controller::Memory) else { return };
    let group = &made.group;
    for limit in [Limit::At(64 << 20), Limit::At(32 << 20), Limit::None] {
        group.set_memory_max(limit).expect("nobody is in it");
        assert_eq!(group.memory_max().expect("it is read"), limit);
        group.set_memory_high(limit).expect("nobody is in it");
        assert_eq!(group.memory_high().expect("it is read"), limit);
    }
    let disks = std::fs::read_dir("/sys/block").into_iter().flatten().flatten();
    let numbers = disks.filter_map(|disk| std::fs::read_to_string(disk.path().join("dev")).ok());
    let numbers = numbers.filter_map(|text| {
        let (major, minor) = text.trim().split_once(':')?;
        Some((major.parse().ok()?, minor.parse().ok()?))
    });
    let (Some(disk), true) = (numbers.min(), group.has(Controller::Io)) else {
        println!("skipped: no disk, or no controller for disks");
        return;
    };
    let none = IoMax::none(disk);
    let both = IoMax { read_bytes: Limit::At(5 << 20), write_bytes: Limit::At(3 << 20), ..none };
    let other = IoMax { writes: Limit::At(120), write_bytes: Limit::At(7 << 20), ..none };
    for max in [both, other, none] {
        group.set_io_max(max).expect("the kernel knows the disk");
        assert_eq!(group.io_max(disk).expect("it is read"), max);
    }
    let error = group.set_io_max(IoMax { disk: (4095, 1), ..both }).expect_err("there is no such disk");
    assert!(error.to_string().contains("there is no such disk"), "{error}");
}

#[test]
fn a_busy_process_is_adopted_with_its_threads_and_let_go() {
    let Some(made) = made("adopt", Controller::Cpu) else { return };
    let busy = Command::new("sh").args(["-c", "while :; do :; done"]).spawn();
    let busy = Busy(busy.expect("a shell"));
    let pid = busy.0.id();
    let name = format!("test-{}-adopt", std::process::id());
    let (group, layout) = made.tree.adopt(pid, &name).expect("it moves");
    if layout == Layout::Own && group == made.group {
        assert!(group.threads(Controller::Cpu).expect("they are read").contains(&pid));
        let (found, layout) = made.tree.find(pid).expect("it runs");
        let folder = |group: &Group| group.folder(Controller::Cpu).map(|(_, path)| path.to_path_buf()).ok();
        assert_eq!((folder(&found), layout), (folder(&group), Layout::Own), "and is found there");
    }
    drop(busy);
    assert!(made.tree.find(pid).is_err(), "who has ended is nowhere");
}

/// A process with one thread that never rests beside its first, which sleeps.
#[allow(clippy::print_stdout, reason = "a test that is left out says so")]
fn two_threads() -> Option<Busy> {
    let program = "import threading, time\ndef busy():\n while True: pass\n\
                   threading.Thread(target=busy, daemon=True).start()\ntime.sleep(600)";
    let Ok(child) = Command::new("python3").args(["-c", program]).spawn() else {
        println!("skipped: python3 is not installed");
        return None;
    };
    let busy = Busy(child);
    for _ in 0..1000 {
        if threads_of(busy.0.id()).len() == 2 {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Some(busy)
}

fn threads_of(pid: u32) -> Vec<u32> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let mut tasks: Vec<u32> =
        tasks.filter_map(|task| task.file_name().to_str().and_then(|name| name.parse().ok())).collect();
    tasks.sort_unstable();
    tasks
}

fn is_split_and_joined(group: &Group, busy: &Busy) {
    let pid = busy.0.id();
    group.take_process(pid).expect("it moves");
    let threads = threads_of(pid);
    let vcpu = *threads.iter().find(|thread| **thread != pid).expect("it has two");
    let split = group.split(&[vcpu]).expect("it is split");
    let (version, vcpus) = split.quota_folder().expect("it has one");
    let part = |folder: &Path| {
        Group::new("part", BTreeMap::from([(Controller::Cpu, (version, folder.to_path_buf()))]))
            .threads(Controller::Cpu)
            .expect("they are read")
    };
    assert_eq!(part(vcpus), [vcpu]);
    assert_eq!(part(&vcpus.with_file_name("rest")), [pid]);
    assert_eq!(split.split(&[vcpu]).expect("it is so already"), split);
    let other = split.split(&[pid]).expect("a vCPU went and another came");
    assert_eq!(part(other.quota_folder().expect("it has one").1), [pid]);
    let joined = other.join().expect("all are together");
    assert_eq!(&joined, group);
    assert_eq!(part(group.folder(Controller::Cpu).expect("it has one").1), threads);
}

#[test]
#[allow(clippy::print_stdout, reason = "a test that is left out says so")]
fn vcpus_are_parted_from_the_rest_and_joined_again() {
    let Some(busy) = two_threads() else { return };
    if let Some(made) = made("split", Controller::Cpu) {
        is_split_and_joined(&made.group, &busy);
        let split = made.group.split(&threads_of(busy.0.id())[1..]).expect("it is split");
        let mut files = CpuFiles::of(&split).expect("it has them");
        let before = files.max().expect("it is read");
        let max = CpuMax { quota_us: Limit::At(20_000), period_us: 100_000 };
        files.set_max(before, max).expect("it is taken");
        let whole = CpuFiles::of(&made.group).expect("it has them").max().expect("it is read");
        assert_eq!(whole.quota_us, Limit::None, "the rest is not held back");
        split.join().expect("all are together");
    }
    let folder = Path::new("/sys/fs/cgroup/unified").join(format!("halcyon-split-{}", std::process::id()));
    if std::fs::create_dir(&folder).is_ok() && folder.join("cgroup.type").exists() {
        let group = Group::new("split", BTreeMap::from([(Controller::Cpu, (Version::V2, folder.clone()))]));
        is_split_and_joined(&group, &busy);
    } else {
        println!("skipped: no group of version 2 can be made on this machine");
    }
    drop(busy);
    (0..100).find(|_| {
        std::thread::sleep(Duration::from_millis(10));
        std::fs::remove_dir(&folder).is_ok() || !folder.exists()
    });
}

#[test]
fn who_watches_a_group_is_told_when_it_is_gone() {
    let folder = Path::new("/sys/fs/cgroup/unified").join(format!("halcyon-test-{}", std::process::id()));
    if std::fs::create_dir(&folder).is_err() || !folder.join("cpu.pressure").exists() {
        println!("skipped: no group of version 2 that measures pressure can be made on this machine");
        drop(std::fs::remove_dir(&folder));
        return;
    }
    let group = Group::new("watched", BTreeMap::from([(Controller::Cpu, (Version::V2, folder.clone()))]));
    let (stalled, window) = (Duration::from_millis(20), Duration::from_secs(2));
    let watch = Trigger { stalled, window, all: false }.watch(&group, Controller::Cpu);
    let pressure = group.pressure(Controller::Cpu);
    let waited = watch.as_ref().map(|watch| watch.wait(Duration::from_millis(10)).ok());
    std::fs::remove_dir(&folder).expect("nothing is in it");
    assert_eq!(waited.ok(), Some(Some(false)), "nobody is in it");
    assert_eq!(pressure.expect("it is read").some.total, Duration::ZERO);
    let gone = watch.expect("it was set").wait(Duration::from_secs(5));
    assert!(matches!(gone, Err(CgroupError::Gone { path }) if path == folder));
    assert!(matches!(group.pressure(Controller::Cpu), Err(CgroupError::Gone { .. })));
}

#[test]
fn waiting_for_cpu_time_wakes_whoever_watches() {
    // Whole multiples of two seconds are what everybody may ask for.
    let (stalled, window) = (Duration::from_millis(20), Duration::from_secs(2));
    let trigger = Trigger { stalled, window, all: false };
    let watch = match trigger.watch_file("/proc/pressure/cpu".into()) {
        Ok(watch) => watch,
        Err(CgroupError::Failed { what: "open", .. } | CgroupError::Gone { .. }) => {
            println!("skipped: this kernel does not measure pressure, or tells others of it");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let count = 4 * std::thread::available_parallelism().map_or(1, usize::from);
    let busy = |_| Command::new("sh").args(["-c", "while :; do :; done"]).spawn().map(Busy);
    let busy: Vec<_> = (0..count).map(busy).collect::<Result<_, _>>().expect("shells");
    assert!(watch.wait(Duration::from_secs(10)).expect("it is watched"), "so many cannot all run");
    drop(busy);
    let window = Duration::from_secs(20);
    let long = Trigger { stalled, window, all: false }.watch_file("/proc/pressure/cpu".into());
    let error = long.expect_err("a window of 20 s is not read as one of 2 s");
    assert!(error.to_string().contains("does not take this value"), "{error}");
}
