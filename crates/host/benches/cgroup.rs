//! From a decision to its effect: one plan that changes the CPU time of 64 VMs, from `submit` until every
//! file is written, with the journal on disk and in memory, on a tree in a temporary folder and on the
//! kernel's own.
//!
//! `cargo bench -p halcyon-host`
#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halcyon_hal::{
    Assembly, Driver, Executor, Inventory, Journal, MemoryJournal, Observe, Room, SqliteJournal,
};
use halcyon_host::cgroup::{Controller, CpuDriver, Group, NumberList, SocketCpus, Tree, Version};
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, Capabilities, Generation, Grant, MilliCpu, Objective, Plan, Proposal,
    Standing, VmId, VmSpec, Weight, World, admit, approve, diff,
};

const HOST: &str = include_str!("../../../examples/hosts/density.toml");
const VMS: usize = 64;
const PLANS: usize = 500;

fn vm(id: usize) -> VmSpec {
    let none = Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::ZERO };
    VmSpec {
        id: VmId::at(id),
        name: format!("bench-{id}"),
        vcpus: 4,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(100), limit: MilliCpu::cores(4) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(1) },
        memory_bandwidth: none,
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

/// A host of 64 VMs over these groups.
fn assembly(groups: &[Group]) -> Assembly {
    let topology = parse_host(HOST).expect("the example is described well").topology;
    let vms: Vec<VmSpec> = (0..VMS).map(vm).collect();
    let capabilities = Capabilities::free();
    let start =
        admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).expect("they fit");
    let socket = |socket: &halcyon_model::topology::Socket| SocketCpus {
        cpus: NumberList::default(),
        nodes: None,
        time: socket.cpu(),
    };
    let sockets = topology.sockets().iter().map(socket).collect();
    let groups: BTreeMap<VmId, Group> = (0..VMS).map(|vm| (VmId::at(vm), groups[vm].clone())).collect();
    let drivers: Vec<Box<dyn Driver>> = vec![Box::new(CpuDriver::new(groups, sockets))];
    let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
    Assembly::new(inventory, drivers, start, || Duration::ZERO)
}

/// Half of the VMs give up time that the other half gets, and back again in the next plan.
fn plan(host: &Assembly, number: u64) -> Plan {
    let (inventory, held) = (host.inventory(), host.held());
    let mut target = held.clone();
    for (index, holding) in target.holdings.iter_mut().enumerate() {
        let share = if (index as u64 + number).is_multiple_of(2) { 300 } else { 200 };
        holding.cpu = Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(4 * share + number % 7) };
    }
    let standing = Standing { snapshot: Generation(0), plan: Generation(number) };
    let difference = diff(inventory.world(), held, &target);
    let plan = approve(inventory.world(), standing, &Proposal::default(), held, difference);
    let plan = plan.expect("the plan keeps the rules");
    assert!(plan.changes().len() == VMS, "{} changes", plan.changes().len());
    plan
}

fn measure(what: &str, groups: &[Group], journal: impl Journal) {
    let mut host = assembly(groups);
    host.read().expect("it can be read");
    let mut executor = Executor::new(journal);
    let mut times = Vec::with_capacity(PLANS);
    for number in 0..PLANS as u64 + 20 {
        let plan = plan(&host, number);
        let (inventory, mut held) = (host.inventory(), host.held().clone());
        executor.settle(Duration::ZERO, &mut host).expect("nothing is under way");
        let began = Instant::now();
        executor.submit(&plan, Duration::ZERO);
        executor.advance(Duration::ZERO, inventory.world(), &mut held, &mut host).expect("it is carried out");
        times.push(began.elapsed());
        assert_eq!(held, *plan.target(), "all of it is done");
    }
    times.drain(..20);
    print(what, times);
}

fn print(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let at = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e3;
    println!("{what:<58} p50 {:7.3} ms   p90 {:7.3} ms   p99 {:7.3} ms", at(50), at(90), at(99));
}

fn both(what: &str, groups: &[Group]) {
    let folder = tempfile::tempdir().expect("a folder");
    measure(&format!("{what}, journal in memory"), groups, MemoryJournal::new(10_000));
    let (journal, _) =
        SqliteJournal::open(&folder.path().join("journal.db"), Room::DEFAULT).expect("it opens");
    measure(&format!("{what}, journal on disk"), groups, journal);
}

fn on_files() {
    let folder = tempfile::tempdir().expect("a folder");
    let group = |vm: usize| {
        let path = folder.path().join(format!("vm-{vm}"));
        fs::create_dir(&path).expect("a folder");
        for (name, text) in [("cpu.max", "max 100000\n"), ("cpu.weight", "100\n")] {
            fs::write(path.join(name), text).expect("a file");
        }
        Group::new(&format!("vm-{vm}"), BTreeMap::from([(Controller::Cpu, (Version::V2, path))]))
    };
    let groups: Vec<Group> = (0..VMS).map(group).collect();
    both("64 VMs on a tree in a temporary folder", &groups);
}

fn on_the_kernel() {
    let tree = Tree::open(Path::new("/sys/fs/cgroup"), Path::new("/proc"));
    let name = |vm: usize| format!("bench-{}-{vm}", std::process::id());
    let groups: Result<Vec<Group>, _> = (0..VMS).map(|vm| tree.make(&name(vm))).collect();
    match groups {
        Ok(groups) if tree.version(Controller::Cpu).is_some() => {
            both("64 VMs on the kernel's control groups", &groups);
            groups.iter().for_each(|group| drop(tree.remove(group)));
        }
        _ => println!("the kernel's control groups: skipped, none can be made on this machine"),
    }
}

/// What no journal on this disk can be faster than: as much as one plan's record has, appended and
/// synchronised.
fn on_disk_alone() {
    let mut file = tempfile::tempfile().expect("a file");
    let record = [7; 20 * 1024];
    let times = (0..PLANS).map(|_| {
        let began = Instant::now();
        file.write_all(&record).and_then(|()| file.sync_data()).expect("it is written");
        began.elapsed()
    });
    print("the disk alone: 20 KiB appended and synchronised", times.collect());
}

fn main() {
    on_disk_alone();
    on_files();
    on_the_kernel();
}
