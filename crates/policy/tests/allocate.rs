//! The learned policy as a function: what it answers is feasible, what cannot be is refused with the VM and
//! the field, and the order in which VMs are told does not matter.

#[path = "../../model/tests/common/mod.rs"]
mod random;

use std::time::Duration;

use halcyon_model::describe::{Host, parse_host};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, Capabilities, ChangeKind, DeviceClass, DeviceWish, MilliCpu, Objective,
    VmId, VmSpec, World, admit, check,
};
use halcyon_policy::allocate::LEAST_INTERVAL;
use halcyon_policy::{
    AllocateError, Allocation, Allocator, Fallback, Holds, Measured, Network, Shape, SystemState, VmData,
    allocate_resources,
};
use proptest::prelude::*;
use random::{Tape, config, tape};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

fn small() -> Host {
    parse_host(include_str!("../../../examples/hosts/small.toml")).expect("it comes with Halcyon")
}

fn state(seconds: u64) -> SystemState {
    SystemState::new(small(), Duration::from_secs(seconds))
}

fn drives(reservation: u32, limit: u32) -> DeviceWish {
    DeviceWish {
        class: DeviceClass::Nvme,
        count: Bounds { reservation, limit },
        bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(3) },
    }
}

fn vm(name: &str) -> VmData {
    let memory = Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(12) };
    VmData { objective: Objective::Throughput, ..VmData::new(name, 8, memory) }
}

fn busy(name: &str, cores: f64, gib: f64) -> VmData {
    let measured =
        Measured { cpu_cores: Some(cores), working_set_bytes: Some(gib * GIB), ..Measured::default() };
    VmData { measured, ..vm(name) }
}

/// The specification that a VM's data come to, for the checker.
fn spec(vm: &VmData, id: VmId, host: &Host) -> VmSpec {
    let sockets = host.topology.sockets().iter();
    let all = sockets.map(|socket| host.topology.memory_bandwidth(socket.id)).max().expect("a socket");
    let open = Bounds { reservation: Bandwidth::ZERO, limit: all };
    VmSpec {
        id,
        name: vm.name.clone(),
        vcpus: vm.vcpus,
        weight: vm.weight,
        cpu: vm.cpu,
        memory: vm.memory,
        memory_bandwidth: vm.memory_bandwidth.unwrap_or(open),
        devices: vm.devices.clone(),
        gpu_slices: vm.gpu_slices,
        objective: vm.objective,
        application: vm.application.clone(),
    }
}

/// That the checker passes an allocation, with the VMs as they were told and nothing of the allocator's own.
fn verdict(vms: &[VmData], host: &Host, allocation: &Allocation) -> Result<(), TestCaseError> {
    let id = |vm: &VmData| allocation.id(&vm.name).expect("every VM is answered");
    let mut specs: Vec<VmSpec> = vms.iter().map(|vm| spec(vm, id(vm), host)).collect();
    specs.sort_by_key(|spec| spec.id);
    let world = World { topology: &host.topology, vms: &specs, capabilities: &host.capabilities };
    let names: Vec<&str> = allocation.vms().iter().map(|vm| vm.name.as_str()).collect();
    prop_assert_eq!(names, vms.iter().map(|vm| vm.name.as_str()).collect::<Vec<_>>());
    check(world, allocation.assignment()).map_err(|broken| TestCaseError::fail(format!("{broken:#?}")))
}

#[test]
fn at_once_the_busy_have_more_than_the_idle() {
    let vms = [busy("idle", 0.1, 1.0), busy("busy", 7.0, 8.0)];
    let allocation = allocate_resources(&vms, &state(0)).unwrap();
    verdict(&vms, &small(), &allocation).unwrap();
    let (idle, busy) = (allocation.vm("idle").unwrap(), allocation.vm("busy").unwrap());
    assert!(busy.cpu.share.get() > 4 * idle.cpu.share.get(), "{} and {}", busy.cpu, idle.cpu);
    assert!(busy.memory > ByteSize::gib(7) && busy.memory > idle.memory, "{}", busy.memory);
    assert_eq!((allocation.fallback(), allocation.vm("nobody")), (None, None));
    assert!(busy.reasons.iter().any(|reason| reason.kind == ChangeKind::Cpu), "{:?}", busy.reasons);
    assert_eq!(busy.reasons[0].vm.as_deref(), Some("busy"));
    assert_eq!(allocation.plan().unwrap().target(), allocation.assignment());
}

#[test]
fn nothing_measured_and_no_vms_are_answered_too() {
    let vms = [vm("new"), vm("newer")];
    let allocation = allocate_resources(&vms, &state(0)).unwrap();
    verdict(&vms, &small(), &allocation).unwrap();
    assert!(allocate_resources(&[], &state(0)).unwrap().vms().is_empty());
}

#[test]
fn devices_and_their_lanes_are_told() {
    let vms = [VmData { devices: vec![drives(1, 1)], ..busy("disk", 2.0, 2.0) }, busy("none", 2.0, 2.0)];
    let allocation = allocate_resources(&vms, &state(0)).unwrap();
    let (disk, none) = (&allocation.vms()[0], &allocation.vms()[1]);
    assert_eq!((disk.devices.len(), disk.pci_lanes, disk.devices[0].lanes.get()), (1, 4, 4));
    assert_eq!((none.devices.len(), none.pci_lanes, none.cache_ways), (0, 0, None));
    assert_eq!((disk.socket.as_str(), disk.memory_nodes[0].0.as_str()), ("s0", "m0"));
}

#[test]
fn what_is_answered_is_where_the_next_call_starts_unless_it_is_told_otherwise() {
    let vms = [busy("a", 7.0, 10.0), busy("b", 7.0, 10.0)];
    let mut allocator = Allocator::new().unwrap();
    let first = allocator.allocate(&vms, &state(0)).unwrap();
    let second = allocator.allocate(&vms, &state(1)).unwrap();
    let start = second.plan().map_or(second.assignment().clone(), halcyon_model::Plan::start);
    assert_eq!(start, *first.assignment());
    // Another allocator is told, and knows the VMs by name though it gives them other ids.
    let told = SystemState { current: Some(first.clone()), ..state(9) };
    let mut swapped = vms.clone();
    swapped.reverse();
    let other = Allocator::new().unwrap().allocate(&swapped, &told).unwrap();
    let start = other.plan().map_or(other.assignment().clone(), halcyon_model::Plan::start);
    assert_eq!(start, *first.assignment());
    // What is measured on the machine wins over both.
    let mut vms = vms;
    vms[0].holds = Holds { cpu_cores: Some(2.0), memory_bytes: Some(3.0 * GIB), devices: None };
    let third = allocator.allocate(&vms, &state(2)).unwrap();
    let id = third.id("a").unwrap();
    let start = third.plan().unwrap().start();
    let held = start.holding(id).unwrap();
    assert_eq!((held.cpu.share, held.total_memory()), (MilliCpu::cores(2), ByteSize::gib(3)));
    assert_eq!(start.holding(third.id("b").unwrap()), second.assignment().holding(second.id("b").unwrap()));
}

#[test]
fn held_devices_are_believed() {
    let wish = vec![drives(0, 1)];
    let mut vms = [
        VmData { devices: wish.clone(), ..busy("a", 1.0, 2.0) },
        VmData { devices: wish, ..busy("b", 1.0, 2.0) },
    ];
    let devices = |names: &[&str]| Some(names.iter().map(|name| (*name).to_owned()).collect());
    vms[0].holds.devices = devices(&["nvme1"]);
    vms[1].holds.devices = devices(&["nvme0"]);
    let allocation = allocate_resources(&vms, &state(0)).unwrap();
    let names =
        |vm: usize| allocation.vms()[vm].devices.iter().map(|it| it.name.as_str()).collect::<Vec<_>>();
    assert_eq!([names(0), names(1)], [["nvme1"], ["nvme0"]]);
    vms[0].holds.devices = devices(&["nvme0", "nvme1"]);
    vms[1].holds.devices = devices(&[]);
    let refused = allocate_resources(&vms, &state(0)).unwrap_err();
    assert!(matches!(refused, AllocateError::Held(_)), "{refused}");
    assert!(refused.to_string().contains("a has 2 nvme devices, not 0 to 1"), "{refused}");
}

#[test]
fn vms_come_and_go_and_keep_what_they_hold() {
    let mut allocator = Allocator::new().unwrap();
    let (a, b, c) = (busy("a", 6.0, 11.0), busy("b", 6.0, 11.0), busy("c", 6.0, 9.0));
    let mut at = 0;
    let mut step = |vms: &[VmData]| {
        at += 1;
        let allocation = allocator.allocate(vms, &state(at)).unwrap();
        verdict(vms, &small(), &allocation).unwrap();
        allocation
    };
    let two = step(&[b.clone(), c.clone()]);
    let three = step(&[a.clone(), b.clone(), c.clone()]);
    assert_eq!(two.id("c"), three.id("c"));
    let start = three.plan().map_or(three.assignment().clone(), halcyon_model::Plan::start);
    let (before, after) = (two.vm("c").unwrap(), start.holding(three.id("c").unwrap()).unwrap());
    assert_eq!(after.total_memory(), before.memory, "there is room beside what is held");
    let left = step(&[c.clone(), a.clone()]);
    assert_eq!((left.id("a"), left.id("b")), (three.id("a"), None));
    let back = step(&[a, b, c]);
    assert_ne!(back.id("b"), three.id("b"), "who comes back is somebody new");
}

#[test]
fn who_comes_gets_its_reservation_out_of_what_others_hold_beyond_theirs() {
    let full = |name: &str| VmData {
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(30) },
        ..busy(name, 8.0, 29.0)
    };
    let mut allocator = Allocator::new().unwrap();
    let before = allocator.allocate(&[full("first")], &state(0)).unwrap();
    assert!(before.vms()[0].memory > ByteSize::gib(25), "{}", before.vms()[0].memory);
    let second = VmData {
        memory: Bounds { reservation: ByteSize::gib(20), limit: ByteSize::gib(20) },
        ..busy("second", 1.0, 18.0)
    };
    let vms = [full("first"), second];
    let mut rigid = state(1);
    rigid.host.capabilities = Capabilities::free().with(ChangeKind::Memory, None);
    let refused = allocator.allocate(&vms, &rigid).unwrap_err();
    let text = "`first` would have to give something up, and the host cannot change memory";
    assert!(refused.to_string().contains(text), "{refused}");
    let after = allocator.allocate(&vms, &state(1)).unwrap();
    verdict(&vms, &small(), &after).unwrap();
    assert_eq!(after.vms()[1].memory, ByteSize::gib(20));
}

#[test]
fn what_a_host_cannot_change_is_not_changed() {
    let mut fixed = state(0);
    fixed.host.capabilities = Capabilities::none();
    let vms = [busy("a", 7.0, 9.0), busy("b", 0.1, 1.0)];
    let allocation = allocate_resources(&vms, &fixed).unwrap();
    assert_eq!(allocation.plan(), None);
    assert_eq!(allocation.vms()[0].memory, ByteSize::gib(1), "as it was admitted");
    // A limit below what is held, where nothing can be given up, has no answer.
    let held = SystemState { current: Some(allocate_resources(&vms, &state(0)).unwrap()), ..fixed };
    let mut vms = vms;
    vms[0].memory = Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(2) };
    let refused = allocate_resources(&vms, &held).unwrap_err();
    assert!(matches!(refused, AllocateError::Infeasible(_)), "{refused}");
    assert!(refused.to_string().contains("a memory"), "{refused}");
}

/// The complaint about two VMs, the second of which is changed.
fn complaint(change: impl Fn(&mut VmData)) -> String {
    let mut vms = [busy("first", 1.0, 1.0), busy("web", 1.0, 1.0)];
    change(&mut vms[1]);
    allocate_resources(&vms, &state(0)).expect_err("it cannot be").to_string()
}

#[test]
fn what_vms_are_allowed_has_to_make_sense() {
    let cores = |reservation, limit| Bounds {
        reservation: MilliCpu::cores(reservation),
        limit: MilliCpu::cores(limit),
    };
    let gib =
        |reservation, limit| Bounds { reservation: ByteSize::gib(reservation), limit: ByteSize::gib(limit) };
    let rate = |reservation, limit| Bounds {
        reservation: Bandwidth::gb_per_s(reservation),
        limit: Bandwidth::gb_per_s(limit),
    };
    type Case = (Box<dyn Fn(&mut VmData)>, &'static str);
    let cases: Vec<Case> = vec![
        (Box::new(|vm| vm.name = "first".into()), "VM `first`, name: two VMs are called this"),
        (Box::new(|vm| vm.name = String::new()), "VM ``, name: a name has 1 to 64 characters"),
        (Box::new(|vm| vm.name = "\x1b[2J".into()), "VM ` [2J`, name:"),
        (Box::new(|vm| vm.vcpus = 0), "VM `web`, vcpus: are 0; a VM has 1 to 1024"),
        (
            Box::new(move |vm| vm.cpu = cores(3, 2)),
            "VM `web`, cpu: the reservation of 3 is above the limit of 2",
        ),
        (Box::new(move |vm| vm.cpu = cores(0, 0)), "VM `web`, cpu: a limit of 0 never runs"),
        (Box::new(move |vm| vm.cpu = cores(0, 9)), "VM `web`, cpu: the limit of 9 is above the VM's 8 vcpus"),
        (Box::new(move |vm| vm.memory = gib(2, 1)), "VM `web`, memory: the reservation of 2GiB is above"),
        (Box::new(move |vm| vm.memory = gib(0, 1)), "VM `web`, memory: a VM cannot live on 0B"),
        (
            Box::new(move |vm| vm.memory_bandwidth = Some(rate(2, 1))),
            "VM `web`, memory_bandwidth: the reservation",
        ),
        (
            Box::new(move |vm| vm.memory_bandwidth = Some(rate(0, 0))),
            "VM `web`, memory_bandwidth: a limit of 0",
        ),
        (
            Box::new(|vm| vm.gpu_slices = Bounds { reservation: 2, limit: 1 }),
            "VM `web`, gpu_slices: the reservation",
        ),
        (Box::new(|vm| vm.devices = vec![drives(0, 1); 2]), "VM `web`, devices: asks for nvme twice"),
        (
            Box::new(|vm| vm.devices = vec![drives(2, 1)]),
            "VM `web`, devices, count of nvme: the reservation of 2",
        ),
        (
            Box::new(move |vm| vm.devices = vec![DeviceWish { bandwidth: rate(2, 1), ..drives(0, 1) }]),
            "VM `web`, devices, bandwidth of nvme: the reservation",
        ),
        (
            Box::new(|vm| vm.objective = Objective::Latency { p99: Duration::ZERO }),
            "VM `web`, objective: no request is answered within no time",
        ),
        (Box::new(|vm| vm.application = Some("a b".into())), "VM `web`, application: a name has"),
        (Box::new(move |vm| vm.memory = gib(31, 31)), "`web` asks for 31GiB of memory, and 30GiB is left"),
        (Box::new(|vm| vm.devices = vec![drives(3, 3)]), "`web` asks for nvme of devices of a class"),
        (
            Box::new(|vm| vm.gpu_slices = Bounds { reservation: 1, limit: 1 }),
            "`web` asks for 1 of GPU slices",
        ),
    ];
    for (change, expected) in cases {
        let complaint = complaint(change);
        assert!(complaint.contains(expected), "{complaint:?} and not {expected:?}");
    }
    let many: Vec<VmData> = (0..10_001).map(|index| vm(&format!("vm-{index}"))).collect();
    let refused = allocate_resources(&many, &state(0)).unwrap_err();
    assert_eq!(refused.to_string(), "10001 VMs; one host runs at most 10000");
}

#[test]
fn what_was_measured_has_to_be_a_number_from_zero_up() {
    type Field = (&'static str, fn(&mut VmData) -> &mut Option<f64>);
    let amounts: [Field; 9] = [
        ("measured.cpu_cores", |vm| &mut vm.measured.cpu_cores),
        ("measured.cpu_waited_cores", |vm| &mut vm.measured.cpu_waited_cores),
        ("measured.working_set_bytes", |vm| &mut vm.measured.working_set_bytes),
        ("measured.cache_bytes", |vm| &mut vm.measured.cache_bytes),
        ("measured.memory_bytes_per_s", |vm| &mut vm.measured.memory_bytes_per_s),
        ("measured.latency_p99_s", |vm| &mut vm.measured.latency_p99_s),
        ("measured.backlog_s", |vm| &mut vm.measured.backlog_s),
        ("holds.cpu_cores", |vm| &mut vm.holds.cpu_cores),
        ("holds.memory_bytes", |vm| &mut vm.holds.memory_bytes),
    ];
    let shares: [Field; 3] = [
        ("measured.memory_stalled", |vm| &mut vm.measured.memory_stalled),
        ("measured.io_stalled", |vm| &mut vm.measured.io_stalled),
        ("measured.gpu_busy", |vm| &mut vm.measured.gpu_busy),
    ];
    let not_numbers = [f64::NAN, f64::INFINITY, -1.0];
    let wrong = amounts.iter().flat_map(|field| not_numbers.map(|value| (*field, value)));
    let wrong =
        wrong.chain(shares.iter().flat_map(|field| [f64::NAN, -0.1, 55.0].map(|value| (*field, value))));
    for ((name, field), value) in wrong {
        let complaint = complaint(|vm| *field(vm) = Some(value));
        assert!(complaint.starts_with(&format!("VM `web`, {name}: is {value}; give a")), "{complaint:?}");
    }
    let complaint = complaint(|vm| vm.measured.latency_p99_s = Some(1e30));
    assert!(complaint.starts_with("VM `web`, measured.latency_p99_s: "), "{complaint:?}");
}

#[test]
fn devices_have_to_be_there_and_be_told_of_once() {
    let told = |list: &[(&str, f64)]| list.iter().map(|(name, rate)| ((*name).to_owned(), *rate)).collect();
    for (list, expected) in [
        (vec![("sda", 1.0)], "VM `web`, measured.devices: the host has no device `sda`"),
        (vec![("nvme0", f64::NAN)], "VM `web`, measured.devices, nvme0: is NaN"),
        (vec![("nvme0", 1.0), ("nvme0", 1.0)], "VM `web`, measured.devices, nvme0: is listed twice"),
    ] {
        let complaint = complaint(|vm| vm.measured.devices = told(&list));
        assert!(complaint.contains(expected), "{complaint:?}");
    }
    let mut vms = [vm("first"), vm("web")];
    vms.iter_mut().for_each(|vm| vm.measured.devices = told(&[("nvme0", 1.0)]));
    let refused = allocate_resources(&vms, &state(0)).unwrap_err().to_string();
    assert_eq!(refused, "VM `web`, measured.devices: `nvme0` is told of `first` too");
    let held = |name: &str| Some(vec![name.to_owned()]);
    let complaint = complaint(|vm| vm.holds.devices = held("sda"));
    assert!(complaint.contains("VM `web`, holds.devices: the host has no device `sda`"), "{complaint:?}");
    let mut vms = [vm("first"), vm("web")];
    vms.iter_mut().for_each(|vm| vm.holds.devices = held("nvme0"));
    let refused = allocate_resources(&vms, &state(0)).unwrap_err().to_string();
    assert_eq!(refused, "VM `web`, holds.devices: `nvme0` is told of `first` too");
}

#[test]
fn time_goes_on_and_a_refusal_changes_nothing() {
    let mut allocator = Allocator::new().unwrap();
    let mut other = Allocator::new().unwrap();
    let vms = [busy("a", 3.0, 2.0), busy("b", 1.0, 2.0)];
    for at in 0..30 {
        let expected = other.allocate(&vms, &state(at)).unwrap();
        assert_eq!(allocator.allocate(&vms, &state(at)).unwrap(), expected);
        let early = SystemState { at: Duration::from_secs(at) + LEAST_INTERVAL / 2, ..state(0) };
        let refused = allocator.allocate(&vms, &early).unwrap_err();
        assert!(matches!(refused, AllocateError::Stale { .. }), "{refused}");
        let too_many = [busy("a", 3.0, 2.0), VmData { vcpus: 0, ..vm("c") }];
        assert!(allocator.allocate(&too_many, &state(at + 1)).is_err());
    }
    let far = SystemState { at: Duration::MAX, ..state(0) };
    assert!(matches!(allocator.allocate(&vms, &far), Err(AllocateError::Far { .. })));
}

#[test]
fn what_is_held_has_to_be_of_the_same_host() {
    let vms = [vm("a")];
    let elsewhere = parse_host(include_str!("../../../examples/hosts/gpu-box.toml")).unwrap();
    let there = allocate_resources(&vms, &SystemState::new(elsewhere, Duration::ZERO)).unwrap();
    let refused = allocate_resources(&vms, &SystemState { current: Some(there), ..state(0) }).unwrap_err();
    assert!(matches!(refused, AllocateError::Held(_)), "{refused}");
}

#[test]
fn weights_of_other_features_are_refused_and_a_doubted_network_is_not_used() {
    let shape = Shape { features: 3, host: 2, width: 4, outputs: 1 };
    let foreign = Network::random(shape, 1).unwrap();
    assert!(Allocator::with_model(foreign).is_err());
    let embedded = halcyon_policy::learned::embedded_network().unwrap();
    let card = embedded.card().clone();
    let mut allocator = Allocator::with_model(Network::random(shape, 1).unwrap().named(card)).unwrap();
    let vms = [busy("a", 6.0, 3.0), busy("b", 0.1, 1.0)];
    let allocation = allocator.allocate(&vms, &state(0)).unwrap();
    assert!(matches!(allocation.fallback(), Some(Fallback::Doubt(_))), "{:?}", allocation.fallback());
    verdict(&vms, &small(), &allocation).unwrap();
    assert!(allocation.vms()[0].cpu.share > allocation.vms()[1].cpu.share, "the heuristic decided");
    let mut same = Allocator::with_model(embedded).unwrap();
    assert_eq!(same.allocate(&vms, &state(0)).unwrap(), allocate_resources(&vms, &state(0)).unwrap());
}

/// A figure of any size, mostly of a sane one.
fn figure(tape: &mut Tape, most: f64) -> Option<f64> {
    match tape.below(8) {
        0 => None,
        1 => Some(0.0),
        2 => Some(f64::MAX),
        3 => Some(f64::MIN_POSITIVE),
        _ => Some(most * tape.share()),
    }
}

fn measured(tape: &mut Tape, host: &Host, taken: &mut Vec<String>) -> Measured {
    let share = |tape: &mut Tape| tape.chance(1, 2).then(|| tape.share());
    let mut devices = Vec::new();
    if let Some(device) = host.topology.fabric().devices.get(tape.below(12))
        && !taken.contains(&device.name)
    {
        taken.push(device.name.clone());
        devices.push((device.name.clone(), figure(tape, 1e10).unwrap_or(0.0)));
    }
    Measured {
        cpu_cores: figure(tape, 16.0),
        cpu_waited_cores: figure(tape, 2.0),
        working_set_bytes: figure(tape, 32.0 * GIB),
        cache_bytes: figure(tape, 32.0e6),
        memory_bytes_per_s: figure(tape, 1e10),
        memory_stalled: share(tape),
        io_stalled: share(tape),
        gpu_busy: share(tape),
        devices,
        latency_p99_s: tape.chance(1, 2).then(|| tape.share()),
        backlog_s: figure(tape, 4.0),
    }
}

/// What a random VM comes to as data; bounds of the generator that the model allows and data do not are
/// mended.
fn data(spec: &VmSpec) -> VmData {
    let vcpus = spec.vcpus.clamp(1, 1024);
    let all = MilliCpu::cores(u64::from(vcpus));
    let least = MilliCpu::new(1);
    let limit = spec.cpu.limit.clamp(least, all);
    let memory = spec.memory.reservation.max(ByteSize::mib(1));
    VmData {
        weight: spec.weight,
        cpu: Bounds { reservation: spec.cpu.reservation.min(limit), limit },
        memory_bandwidth: Some(spec.memory_bandwidth).filter(|bounds| !bounds.limit.is_zero()),
        devices: spec.devices.clone(),
        gpu_slices: spec.gpu_slices,
        objective: spec.objective,
        ..VmData::new(
            spec.name.clone(),
            vcpus,
            Bounds { reservation: memory, limit: spec.memory.limit.max(memory) },
        )
    }
}

/// Takes away those whose reservations do not fit.
fn turn_away(vms: &mut Vec<VmData>, host: &Host) {
    vms.sort_by(|one, other| one.name.cmp(&other.name));
    let refused = |vms: &[VmData]| {
        let specs: Vec<VmSpec> = vms
            .iter()
            .enumerate()
            .map(|(id, vm)| spec(vm, VmId(u32::try_from(id).expect("few")), host))
            .collect();
        let world = World { topology: &host.topology, vms: &specs, capabilities: &host.capabilities };
        admit(world).err().map(|refused| refused.vm)
    };
    while let Some(name) = refused(vms) {
        vms.retain(|vm| vm.name != name);
    }
}

proptest! {
    #![proptest_config(config(96))]

    /// Whatever finite figures come, on whatever host: an allocation that the checker passes, or an error.
    #[test]
    fn any_finite_input_is_answered_or_refused(mut tape in tape(4000)) {
        let crowded = tape.chance(1, 6);
        let found = if crowded { random::Host::crowded(&mut tape) } else { random::Host::admitted(&mut tape).0 };
        let host = Host { topology: found.topology, capabilities: found.capabilities };
        let mut everyone: Vec<VmData> = found.vms.iter().map(data).collect();
        if !crowded {
            turn_away(&mut everyone, &host);
        }
        let mut allocator = Allocator::new().expect("the embedded weights fit");
        let mut at = Duration::ZERO;
        for call in 0..6 {
            let mut taken = Vec::new();
            let mut vms: Vec<VmData> =
                everyone.iter().filter(|_| call == 0 || !tape.chance(1, 5)).cloned().collect();
            for vm in &mut vms {
                vm.measured = measured(&mut tape, &host, &mut taken);
                if call > 0 && tape.chance(1, 8) {
                    let Bounds { reservation, limit } = &mut vm.memory;
                    *limit = ByteSize::new(limit.get() / 2).max(*reservation);
                }
                if tape.chance(1, 4) {
                    vm.holds.cpu_cores = figure(&mut tape, 8.0);
                    vm.holds.memory_bytes = figure(&mut tape, 32.0 * GIB);
                }
            }
            tape.shuffle(&mut vms);
            at += Duration::from_millis(*tape.pick(&[1000, 1000, 1, 100_000, 40_000_000]));
            match allocator.allocate(&vms, &SystemState::new(host.clone(), at)) {
                Ok(allocation) => verdict(&vms, &host, &allocation)?,
                // Who was admitted once may not find room again after others have come and gone.
                Err(AllocateError::NoRoom { .. } | AllocateError::Admission(_)) if call > 0 => {}
                // A limit that fell cannot be kept where memory cannot be changed.
                Err(AllocateError::Infeasible(_)) if call > 0 && !host.capabilities.allows(ChangeKind::Memory) => {}
                // Crowded hosts have VMs that do not fit, or whose reservations are above their limits.
                Err(AllocateError::Vm { .. } | AllocateError::Admission(_)) if crowded => {}
                Err(refused) => return Err(TestCaseError::fail(refused.to_string())),
            }
        }
    }

    /// The order in which VMs are told does not matter.
    #[test]
    fn vms_in_another_order_get_the_same(mut tape in tape(2000)) {
        let found = random::Host::admitted(&mut tape).0;
        let host = Host { topology: found.topology, capabilities: found.capabilities };
        let mut vms: Vec<VmData> = found.vms.iter().map(data).collect();
        let (mut one, mut other) = (Allocator::new().expect("weights"), Allocator::new().expect("weights"));
        for call in 0..3 {
            let mut taken = Vec::new();
            for vm in &mut vms {
                vm.measured = measured(&mut tape, &host, &mut taken);
            }
            let state = SystemState::new(host.clone(), Duration::from_secs(call));
            let mut shuffled = vms.clone();
            tape.shuffle(&mut shuffled);
            let (Ok(one), Ok(other)) = (one.allocate(&vms, &state), other.allocate(&shuffled, &state)) else {
                break;
            };
            prop_assert_eq!(one.assignment(), other.assignment());
            for vm in one.vms() {
                prop_assert_eq!(Some(vm), other.vm(&vm.name));
            }
        }
    }
}
