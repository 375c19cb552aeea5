//! Resources that VMs share in hardware: cache, throttles, GPU slices; and VMs that come and go.

use std::time::Duration;

use halcyon_hal::{Actuate, Observe, Progress};
use halcyon_model::describe::{Host, parse_host};
use halcyon_model::profile::{CacheResponse, GpuResponse, Response};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, CacheMask, Capabilities, ClassId, GpuId, GpuInstance, Grant,
    MilliCpu, NodeId, Objective, SocketId, Step, VmId, VmSpec, Weight, World, admit, check,
};
use halcyon_sim::{Application, Demand, Guest, Parameters, SimHost, VmState, Workload};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

fn host_file() -> Host {
    parse_host(TWO_SOCKET).expect("the demo host is described well")
}

/// Half of its avoidable misses are gone with 6 MB.
fn sensitive() -> Response {
    let cache = CacheResponse {
        limit_misses: 1.0,
        least_misses: 1.0,
        most_misses: 30.0,
        half: 6e6,
        steepness: 2.0,
        cycles: 0.6,
        cycles_per_miss: 40.0,
        bytes_per_miss: 64.0,
        clock: 2.1e9,
        footprint: None,
    };
    Response { cache, ..Response::flat(0.0) }
}

fn streaming() -> Response {
    Response::flat(5e9)
}

fn guest(id: u32, work: f32, response: Response) -> Guest {
    let spec = VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(100), limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(4), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(400) },
        devices: Vec::new(),
        gpu_slices: Bounds { reservation: 0, limit: 7 },
        objective: Objective::Throughput,
        application: None,
    };
    let application = Application {
        name: "test".into(),
        request: Duration::from_millis(5),
        io_bytes: 0.0,
        gpu_seconds: if response.gpu.is_some() { 1.0 } else { 0.0 },
        response,
    };
    let demand =
        Demand { interval: Duration::from_secs(60), work: vec![work; 4], working_set: vec![2.0e9; 4] };
    Guest::new(spec, Workload { application, demand })
}

fn calm() -> Parameters {
    Parameters {
        burst_sigma: 0.0,
        counter_noise: 0.0,
        surge_height: 1.0,
        window: Duration::from_secs(10),
        ..Parameters::default()
    }
}

/// All VMs on the first socket with plenty.
fn simulated(guests: Vec<Guest>, change: impl FnOnce(&mut Assignment)) -> SimHost {
    let Host { topology, .. } = host_file();
    let present = guests.iter().filter(|guest| guest.arrives.is_zero());
    let specs: Vec<VmSpec> = present.map(|guest| guest.spec.clone()).collect();
    let capabilities = Capabilities::free();
    let world = World { topology: &topology, vms: &specs, capabilities: &capabilities };
    let mut start = admit(world).expect("the VMs fit");
    for holding in &mut start.holdings {
        holding.socket = SocketId(0);
        holding.cpu = Grant { share: MilliCpu::cores(4), ceiling: MilliCpu::cores(8) };
        holding.memory = vec![(NodeId(0), ByteSize::gib(8))];
    }
    change(&mut start);
    SimHost::new(topology, capabilities, guests, start, calm(), 7).expect("the start is feasible")
}

fn states_after(host: &mut SimHost, steps: u32) -> Vec<VmState> {
    (0..steps).for_each(|_| host.step());
    host.states().collect()
}

#[test]
fn a_streaming_neighbour_costs_cache_until_it_is_fenced_in() {
    let alone = states_after(&mut simulated(vec![guest(0, 4.0, sensitive())], |_| {}), 60)[0].cache_speed;
    let guests = || vec![guest(0, 4.0, sensitive()), guest(1, 4.0, streaming())];
    let shared = states_after(&mut simulated(guests(), |_| {}), 60)[0].cache_speed;
    let fenced = simulated(guests(), |start| {
        let full = start.classes[0].clone().expect("the first class is in use");
        let ways = full[0].ways();
        let split = |mask: u32| {
            let mut masks = full.clone();
            masks[0] = CacheMask(mask);
            Some(masks)
        };
        start.classes[1] = split(0b11);
        start.classes[0] = split(CacheMask::full(ways).0 & !0b11);
        start.holdings[1].class = ClassId(1);
    });
    let mut fenced = fenced;
    let fenced = states_after(&mut fenced, 60)[0].cache_speed;
    assert!(alone > fenced && fenced > shared + 0.05, "alone {alone}, fenced {fenced}, shared {shared}");
}

#[test]
fn the_cache_is_divided_and_not_multiplied() {
    let guests = (0..12).map(|id| guest(id, 1.0, if id % 3 == 0 { streaming() } else { sensitive() }));
    let mut host = simulated(guests.collect(), |start| {
        start.holdings.iter_mut().for_each(|holding| holding.cpu.share = MilliCpu::new(500));
    });
    let filled: f64 = states_after(&mut host, 60).iter().map(|state| state.cache).sum();
    let size = host.topology().sockets()[0].cache.as_ref().expect("the host has one").size.as_f64();
    assert!((filled / size - 1.0).abs() < 0.01, "{filled} of {size}");
}

#[test]
fn a_throttle_is_coarse_and_late() {
    let mut host = simulated(vec![guest(0, 8.0, streaming())], |_| {});
    let before = states_after(&mut host, 5)[0].memory_traffic;
    let socket = host.topology().memory_bandwidth(SocketId(0)).as_f64();
    let from = host.assignment().holdings[0].memory_bandwidth;
    let to = Grant { ceiling: Bandwidth::from_f64(0.01 * socket), ..from };
    let step = Step::SetMemoryBandwidth { vm: VmId(0), socket: SocketId(0), from, to };
    assert_eq!(host.begin(&step).expect("can be begun"), Progress::Done);
    let soon = states_after(&mut host, 1)[0].memory_traffic;
    let later = states_after(&mut host, 30)[0].memory_traffic;
    assert!(soon > later && soon > 0.5 * before.min(socket), "{before} {soon} {later}");
    assert!((later - 0.1 * socket).abs() < 0.001 * socket, "a tenth is the least: {later} of {socket}");
}

fn with_gpu() -> Response {
    let gpu = GpuResponse { whole: 7, fixed: 0.2, bandwidth: 0.0, memory: ByteSize::gib(5) };
    Response { gpu: Some(gpu), ..sensitive() }
}

/// An instance of so many compute slices at the start of the GPU.
fn instance(host: &Host, compute: u32) -> GpuInstance {
    let profiles = &host.topology.gpus()[0].profiles;
    let profile = profiles.iter().position(|profile| profile.compute == compute).expect("there is one");
    GpuInstance { gpu: GpuId(0), start: 0, profile: profile as u32, owner: VmId(0) }
}

#[test]
fn gpu_work_goes_at_the_speed_of_the_slices() {
    let utility = |compute: Option<u32>| {
        let mut host = simulated(vec![guest(0, 1.0, with_gpu())], |start| {
            start.gpu_instances =
                compute.map(|compute| instance(&host_file(), compute)).into_iter().collect();
        });
        (0..60).for_each(|_| host.step());
        host.score().utility
    };
    let (none, one, three, seven) = (utility(None), utility(Some(1)), utility(Some(3)), utility(Some(7)));
    assert!(none < 1e-6 && none < one && one < three && three < seven, "{none} {one} {three} {seven}");
    let expected = with_gpu().gpu.map_or(0.0, |gpu| gpu.speed(1));
    assert!((one - expected).abs() < 0.05, "{one} with one slice, {expected} expected");
}

#[test]
fn an_instance_that_is_in_use_is_drained_first() {
    let taken = |work: f32| {
        let held = instance(&host_file(), 3);
        let mut host = simulated(vec![guest(0, work, with_gpu())], |start| start.gpu_instances = vec![held]);
        (0..5).for_each(|_| host.step());
        let destroy = Step::DestroyInstance { instance: held };
        match host.begin(&destroy).expect("can be begun") {
            Progress::UnderWay(ticket) => {
                let mut steps = 0;
                while matches!(host.poll(ticket), Progress::UnderWay(_)) {
                    host.step();
                    steps += 1;
                }
                steps
            }
            _ => 0,
        }
    };
    assert_eq!(taken(0.0), 0, "nobody uses it");
    assert!(taken(1.0) >= 3, "it ends what it is at");
}

#[test]
fn vms_come_and_go_and_the_host_stays_feasible() {
    let mut late = guest(2, 2.0, sensitive());
    (late.arrives, late.leaves) = (Duration::from_secs(20), Some(Duration::from_secs(60)));
    // More than is free: the others hold all of the memory and of the CPU shares.
    late.spec.memory.reservation = ByteSize::gib(32);
    late.spec.cpu.reservation = MilliCpu::cores(6);
    let mut early = guest(1, 1.0, streaming());
    early.leaves = Some(Duration::from_secs(40));
    let mut host = simulated(vec![guest(0, 1.0, sensitive()), early, late], |_| {});
    let ids = |host: &SimHost| host.states().map(|state| state.vm.0).collect::<Vec<_>>();
    for (second, expected) in [(10, vec![0, 1]), (30, vec![0, 1, 2]), (50, vec![0, 2]), (70, vec![0])] {
        while host.now() < Duration::from_secs(second) {
            host.step();
            let inventory = host.inventory();
            check(inventory.world(), host.assignment()).expect("feasible at every instant");
        }
        assert_eq!(ids(&host), expected, "at {second} s");
    }
    assert_eq!(host.score().vms.len(), 3, "whoever left counts");
}

#[test]
fn a_vm_that_finds_no_free_memory_has_it_reclaimed_from_the_others() {
    let mut late = guest(1, 1.0, sensitive());
    late.arrives = Duration::from_secs(5);
    let mut first = guest(0, 1.0, sensitive());
    first.spec.memory.limit = ByteSize::gib(4096);
    let mut host = simulated(vec![first, late], |start| {
        let nodes = host_file().topology;
        start.holdings[0].memory = nodes.nodes().iter().map(|node| (node.id, node.available())).collect();
    });
    let held = host.assignment().holdings[0].total_memory();
    (0..10).for_each(|_| host.step());
    let after = &host.assignment().holdings;
    assert_eq!(after.len(), 2);
    assert_eq!(after[1].total_memory(), ByteSize::gib(4));
    assert_eq!(after[0].total_memory() + ByteSize::gib(4), held);
}

#[test]
fn a_vm_at_the_door_is_asked_and_not_served() {
    let mut first = guest(0, 1.0, sensitive());
    first.spec.cpu.reservation = MilliCpu::cores(4);
    let mut late = guest(2, 1.0, sensitive());
    late.arrives = Duration::from_secs(15);
    late.spec.cpu.reservation = MilliCpu::cores(1_000_000);
    let mut gone = Guest { leaves: Some(Duration::from_secs(35)), ..late.clone() };
    gone.spec.id = VmId(1);
    let mut idle = late.clone();
    (idle.spec.id, idle.arrives) = (VmId(3), Duration::from_secs(20));
    idle.workload.demand.work = vec![0.0; 4];
    let mut never = late.clone();
    (never.spec.id, never.arrives) = (VmId(4), Duration::from_secs(60));
    let mut host = simulated(vec![first, gone, late, idle, never], |_| {});
    (0..50).for_each(|_| host.step());
    let score = host.score();
    let windows = |vm: usize| (score.vms[vm].0.0, score.vms[vm].1.windows, score.vms[vm].1.mean());
    assert_eq!(score.vms.len(), 4, "whoever is not due does not count: {score:?}");
    assert_eq!(windows(1), (1, 3, 0.0), "it left without ever having been let in");
    assert_eq!(windows(2), (2, 4, 0.0), "it still waits");
    assert_eq!(windows(3), (3, 0, 1.0), "nothing was asked of it");
    assert!(score.worst_vm == 0.0 && score.utility < 0.51 && score.bound > 0.99, "{score:?}");
    assert_eq!(host.at_the_door().collect::<Vec<_>>(), [(VmId(2), Some(0.0)), (VmId(3), None)]);
}

#[test]
fn a_vm_that_is_let_in_late_missed_what_it_was_asked_before() {
    let mut first = guest(0, 1.0, sensitive());
    first.leaves = Some(Duration::from_secs(35));
    let mut late = guest(1, 1.0, sensitive());
    late.arrives = Duration::from_secs(10);
    // It fits as soon as the first has left, and not before.
    let nodes = host_file().topology;
    late.spec.memory.reservation = nodes.nodes().iter().map(|node| node.available()).sum();
    let mut host = simulated(vec![first, late], |_| {});
    (0..60).for_each(|_| host.step());
    let late = host.score().vms[1].1;
    let let_in = host.states().map(|state| state.vm.0).collect::<Vec<_>>();
    assert_eq!((let_in, late.windows), (vec![1], 5));
    assert!((1.0..=2.6).contains(&late.utility), "two windows and a half without it: {late:?}");
}
