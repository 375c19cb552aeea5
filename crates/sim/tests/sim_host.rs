//! The physics of the simulated host, as a person would expect it of a machine.

use std::time::Duration;

use halcyon_hal::{Actuate, Observe, Progress};
use halcyon_model::describe::parse_host;
use halcyon_model::profile::Response;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, ChangeKind, Control, DeviceClass, DeviceHolding,
    DeviceId, DeviceWish, Grant, Lanes, LinkId, MilliCpu, NodeId, Objective, Snapshot, Step, Topology, VmId,
    VmSpec, Weight, World, admit, check,
};
use halcyon_sim::{Application, Demand, Guest, Parameters, SimHost, VmState, Workload};
use proptest::prelude::*;

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

fn topology() -> Topology {
    parse_host(TWO_SOCKET).expect("the demo host is described well").topology
}

/// A program that moves so many bytes per unit of work, whatever cache it holds.
fn moving(traffic: f64) -> Response {
    Response::flat(traffic)
}

fn guest(id: u32, work: &[f32], objective: Objective) -> Guest {
    let count = Bounds { reservation: 0, limit: 1 };
    let bandwidth = Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(6) };
    let spec = VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: vec![DeviceWish { class: DeviceClass::Nvme, count, bandwidth }],
        gpu_slices: Bounds::default(),
        objective,
        application: None,
    };
    let application = Application {
        name: "test".into(),
        request: Duration::from_millis(5),
        io_bytes: 0.0,
        gpu_seconds: 0.0,
        response: moving(1.0e9),
    };
    let working_set = vec![8.0 * 1024.0 * 1024.0 * 1024.0; work.len()];
    let demand = Demand { interval: Duration::from_secs(60), work: work.to_vec(), working_set };
    Guest::new(spec, Workload { application, demand })
}

const LATENCY: Objective = Objective::Latency { p99: Duration::from_millis(30) };

/// Every VM has plenty.
fn plenty(topology: &Topology, guests: &[Guest]) -> Assignment {
    let specs: Vec<VmSpec> = guests.iter().map(|guest| guest.spec.clone()).collect();
    let capabilities = Capabilities::free();
    let mut start = admit(World { topology, vms: &specs, capabilities: &capabilities }).expect("the VMs fit");
    for holding in &mut start.holdings {
        holding.cpu = Grant { share: MilliCpu::cores(4), ceiling: MilliCpu::cores(8) };
        holding.memory = vec![(NodeId(holding.socket.0), ByteSize::gib(16))];
    }
    start
}

fn calm() -> Parameters {
    Parameters { burst_sigma: 0.0, counter_noise: 0.0, device_failure: 0.0, ..Parameters::default() }
}

fn host(guests: Vec<Guest>, parameters: Parameters, change: impl FnOnce(&mut Assignment)) -> SimHost {
    host_with(guests, parameters, halcyon_model::describe::typical(), change)
}

fn host_with(
    guests: Vec<Guest>,
    parameters: Parameters,
    capabilities: Capabilities,
    change: impl FnOnce(&mut Assignment),
) -> SimHost {
    let topology = topology();
    let mut start = plenty(&topology, &guests);
    change(&mut start);
    SimHost::new(topology, capabilities, guests, start, parameters, 7).expect("the start is feasible")
}

fn run(host: &mut SimHost, seconds: u32) {
    (0..seconds).for_each(|_| host.step());
}

fn state(host: &SimHost, position: usize) -> VmState {
    host.states().nth(position).expect("there is such a VM")
}

fn utility(mut host: SimHost, seconds: u32) -> f64 {
    run(&mut host, seconds);
    let score = host.score();
    assert!(score.utility <= score.bound + 1e-9, "{score:?}");
    score.utility
}

#[test]
fn one_seed_gives_one_result_to_the_bit_and_another_seed_another() {
    let hour = |seed| {
        let guests: Vec<Guest> = (0..6).map(|id| guest(id, &[2.0, 7.0, 4.0], LATENCY)).collect();
        let topology = topology();
        let start = plenty(&topology, &guests);
        let capabilities = Capabilities::free();
        let mut host = SimHost::new(topology, capabilities, guests, start, Parameters::default(), seed)
            .expect("feasible");
        let mut snapshot = Snapshot::default();
        let mut seen = Vec::new();
        for _ in 0..3600 {
            host.step();
            host.observe(&mut snapshot).expect("can be read");
            seen.push((host.states().collect::<Vec<_>>(), snapshot.clone()));
        }
        (seen, host.score())
    };
    let (first, second, other) = (hour(1), hour(1), hour(2));
    assert!(first == second);
    assert!(first.1 != other.1);
}

#[test]
fn a_batch_vm_with_the_host_to_itself_scores_one() {
    for objective in [Objective::Throughput, Objective::BestEffort] {
        for work in [0.5, 7.5, 40.0] {
            let lone = host(vec![guest(0, &[work], objective)], Parameters::default(), |start| {
                start.holdings[0].cpu.share = MilliCpu::cores(8);
            });
            let score = utility(lone, 600);
            assert!((score - 1.0).abs() < 1e-9, "{work}: {score}");
        }
    }
}

#[test]
fn an_idle_host_is_content_and_nothing_is_missed() {
    let mut idle = host(vec![guest(0, &[0.0], LATENCY)], calm(), |_| {});
    run(&mut idle, 600);
    let score = idle.score();
    assert!((score.utility - 1.0).abs() < 1e-12 && score.violations == 0.0 && score.vms[0].1.windows == 0);
}

#[test]
fn memory_below_the_working_set_hurts_and_the_more_the_worse() {
    let with = |gib| {
        host(vec![guest(0, &[4.0], Objective::Throughput)], calm(), move |start| {
            start.holdings[0].memory[0].1 = ByteSize::gib(gib);
        })
    };
    let scores: Vec<f64> = [16, 8, 7, 6, 4].map(|gib| utility(with(gib), 300)).to_vec();
    assert!((scores[0] - scores[1]).abs() < 1e-12, "{scores:?}");
    assert!(scores[1..].windows(2).all(|pair| pair[0] > pair[1] + 0.01), "{scores:?}");
}

#[test]
fn memory_on_the_other_socket_is_slower() {
    let on = |node| {
        host(vec![guest(0, &[7.9], Objective::Throughput)], calm(), move |start| {
            start.holdings[0].memory = vec![(NodeId(node), ByteSize::gib(16))];
        })
    };
    let (near, far, farther) = (utility(on(0), 300), utility(on(1), 300), utility(on(2), 300));
    assert!(near > far + 0.05 && far > farther + 0.01, "{near} {far} {farther}");
}

#[test]
fn a_bad_minute_is_paid_for_later() {
    let demand = [4.0, 4.0, 7.5, 0.5, 4.0, 4.0];
    let mut tight = host(vec![guest(0, &demand, Objective::Throughput)], calm(), |start| {
        start.holdings[0].cpu = Grant::fixed(MilliCpu::cores(4));
    });
    run(&mut tight, 170);
    let waiting = state(&tight, 0);
    assert!(waiting.backlog > 60.0, "{waiting:?}");
    run(&mut tight, 50);
    let later = state(&tight, 0);
    assert!(later.arrival < 1.1 && later.cpu > 3.9, "it works off what waits: {later:?}");
    run(&mut tight, 100);
    assert!(state(&tight, 0).backlog < waiting.backlog);
}

#[test]
fn throttle_and_full_channels_both_slow_down() {
    // Eight cores at 20 GB/s each on channels of 100 GB/s.
    let heavy = |ceiling_gb: u64| {
        let mut guest = guest(0, &[8.0], Objective::Throughput);
        guest.workload.application.response = moving(20.0e9);
        let mut host = host(vec![guest], calm(), |start| {
            start.holdings[0].memory_bandwidth.ceiling = Bandwidth::gb_per_s(ceiling_gb);
            // A quarter of its memory is behind the CXL link of 12 GB/s.
            start.holdings[0].memory = vec![(NodeId(0), ByteSize::gib(12)), (NodeId(2), ByteSize::gib(4))];
        });
        run(&mut host, 60);
        state(&host, 0).memory_traffic
    };
    // The slowest node sets the pace: 12 GB/s through a quarter of the pages.
    assert!((heavy(100) - 48.0e9).abs() < 1e6, "{}", heavy(100));
    assert!((heavy(40) - 40.0e9).abs() < 1e6, "{}", heavy(40));
}

fn set_memory(host: &SimHost, vm: usize, gib: u64) -> Step {
    let holding = &host.assignment().holdings[vm];
    let (node, from) = holding.memory[0];
    Step::SetMemory { vm: holding.vm, node, from, to: ByteSize::gib(gib) }
}

/// Steps until a change has ended; how long that took.
fn land(host: &mut SimHost, step: &Step) -> (Progress, u32) {
    let ticket = match host.begin(step).expect("can be begun") {
        Progress::UnderWay(ticket) => ticket,
        progress => return (progress, 0),
    };
    for seconds in 1..1000 {
        host.step();
        match host.poll(ticket) {
            Progress::UnderWay(_) => {}
            progress => return (progress, seconds),
        }
    }
    panic!("`{step}` never lands");
}

#[test]
fn a_balloon_takes_time_and_is_refused_below_the_working_set() {
    let mut host = host(vec![guest(0, &[1.0], LATENCY)], calm(), |_| {});
    host.step();
    let shrink = set_memory(&host, 0, 10);
    let (progress, took) = land(&mut host, &shrink);
    // 6 GiB at 170 MiB/s.
    assert!(progress == Progress::Done && (36..=39).contains(&took), "{progress:?} after {took} s");
    let too_much = set_memory(&host, 0, 4);
    let before = host.assignment().clone();
    let (progress, _) = land(&mut host, &too_much);
    assert!(matches!(progress, Progress::Refused { .. }), "{progress:?}");
    assert_eq!(*host.assignment(), before);
    let mut snapshot = Snapshot::default();
    host.observe(&mut snapshot).expect("can be read");
    assert!(snapshot.vms[0].refuses_memory_until.is_some_and(|until| until > host.now()));
    let grow = set_memory(&host, 0, 16);
    let (progress, took) = land(&mut host, &grow);
    assert!(progress == Progress::Done && (7..=9).contains(&took), "{progress:?} after {took} s");
}

#[test]
fn a_change_that_is_called_off_leaves_the_guest_all_it_holds() {
    let demand = guest(0, &[4.0], Objective::Throughput);
    let mut host = host(vec![demand], calm(), |start| {
        start.devices[0] = DeviceHolding { owner: Some(VmId(0)), bandwidth: Grant::default() };
    });
    host.step();
    let detach = Step::Detach { vm: VmId(0), devices: vec![(DeviceId(0), Grant::default())] };
    let before = host.assignment().clone();
    for step in [set_memory(&host, 0, 9), detach] {
        assert!(matches!(host.begin(&step), Ok(Progress::UnderWay(_))));
        assert_eq!(host.begin(&step.inverse()), Ok(Progress::Done));
    }
    run(&mut host, 100);
    assert_eq!(*host.assignment(), before);
    // Were its memory still in the balloon, this would leave less than its working set.
    let shrink = set_memory(&host, 0, 9);
    assert_eq!(land(&mut host, &shrink).0, Progress::Done);
}

#[test]
fn a_device_move_interrupts_its_vm_is_charged_and_can_fail() {
    let attach = Step::Attach { vm: VmId(0), devices: vec![(DeviceId(0), Grant::default())] };
    let guests = || vec![guest(0, &[7.0], Objective::Throughput)];
    let hand_over = |failure: f64| {
        let mut host = host(guests(), Parameters { device_failure: failure, ..calm() }, |_| {});
        host.step();
        let (progress, _) = land(&mut host, &attach);
        (progress, host)
    };
    let (progress, moved) = hand_over(0.0);
    assert_eq!(progress, Progress::Done);
    assert_eq!(moved.assignment().devices[0].owner, Some(VmId(0)));
    assert!(state(&moved, 0).backlog > 1.0, "it stood still for a while: {:?}", state(&moved, 0));
    for _ in 0..3 {
        let (progress, host) = hand_over(1.0);
        assert!(matches!(progress, Progress::Failed { .. }), "{progress:?}");
        assert_eq!(host.assignment().devices[0].owner, None);
    }
    // One second of utility for one change, over a minute, of the only VM.
    let control = Control { cost_s: 1.0, ..Control::FREE };
    let capabilities = Capabilities::free().with(ChangeKind::Device, Some(control));
    let mut charged = host_with(guests(), calm(), capabilities, |_| {});
    assert_eq!(charged.begin(&attach), Ok(Progress::Done));
    run(&mut charged, 60);
    let score = charged.score();
    assert!((score.utility - (score.vms[0].1.mean() - 1.0 / 60.0)).abs() < 1e-12 && charged.changes() == 1);
}

#[test]
fn what_a_host_cannot_change_is_refused_before_it_begins() {
    let mut host = host_with(vec![guest(0, &[1.0], LATENCY)], calm(), Capabilities::none(), |_| {});
    let step = set_memory(&host, 0, 10);
    assert!(host.begin(&step).is_err());
    assert_eq!(host.changes(), 0);
}

#[test]
fn counters_grow_lag_by_one_step_and_step_back_by_no_more_than_their_noise() {
    let read = |parameters: Parameters| {
        let mut host = host(vec![guest(0, &[3.0, 5.0], LATENCY)], parameters, |_| {});
        let mut snapshot = Snapshot::default();
        let mut seen = Vec::new();
        for _ in 0..300 {
            host.step();
            host.observe(&mut snapshot).expect("can be read");
            seen.push(snapshot.vms[0].counters.clone());
        }
        seen
    };
    let exact = read(Parameters { counter_lag: false, ..calm() });
    let late = read(calm());
    assert_eq!(late[1..], exact[..299], "late by one step");
    assert!(exact.windows(2).all(|pair| pair[0].cpu_used_us <= pair[1].cpu_used_us));
    let noisy = read(Parameters { counter_noise: 0.01, ..calm() });
    for pair in noisy.windows(2) {
        let (before, after) = (pair[0].cpu_used_us.expect("known"), pair[1].cpu_used_us.expect("known"));
        // 1 % of eight cores for a second, and the sum of four bytes is never further off than 3.5 σ.
        assert!(after + 2 * 280_000 > before, "{before} → {after}");
        assert!(pair[0].memory_bytes <= pair[1].memory_bytes);
    }
}

#[derive(Debug, Clone, Copy)]
struct Amounts {
    share: u64,
    ceiling: u64,
    memory_mib: u64,
    bandwidth_mb: u64,
    width: usize,
}

/// A lone VM that needs CPU, memory, channels and a device.
fn lone(amounts: Amounts, work: f32, objective: Objective) -> f64 {
    let mut guest = guest(0, &[work, 0.3 * work], objective);
    guest.workload.application.response = moving(4.0e9);
    guest.workload.application.io_bytes = 0.6e9;
    let parameters = Parameters { burst_sigma: 0.2, ..calm() };
    let host = host(vec![guest], parameters, |start| {
        let holding = &mut start.holdings[0];
        let share = amounts.share.min(amounts.ceiling);
        holding.cpu = Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(amounts.ceiling) };
        holding.memory[0].1 = ByteSize::mib(amounts.memory_mib);
        holding.memory_bandwidth.ceiling = Bandwidth::mb_per_s(amounts.bandwidth_mb);
        let bandwidth = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::gb_per_s(6) };
        start.devices[0] = DeviceHolding { owner: Some(VmId(0)), bandwidth };
        start.links[topology().fabric().route(DeviceId(0))[0].index()].width = Lanes::LEGAL[amounts.width];
    });
    utility(host, 240)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn more_of_anything_never_hurts_a_lone_vm(
        share in 10..8000_u64,
        ceiling in 100..8000_u64,
        memory_mib in 2048..12_000_u64,
        bandwidth_mb in 500..40_000_u64,
        width in 0..3_usize,
        work in 0.1..9.0_f32,
        batch in any::<bool>(),
    ) {
        let objective = if batch { Objective::Throughput } else { LATENCY };
        let less = Amounts { share, ceiling, memory_mib, bandwidth_mb, width };
        let base = lone(less, work, objective);
        prop_assert!((0.0..=1.0).contains(&base), "{base}");
        let more = [
            Amounts { share: share + 500, ceiling: less.ceiling.max(share + 500).min(8000), ..less },
            Amounts { ceiling: (ceiling + 700).min(8000), ..less },
            Amounts { memory_mib: memory_mib + 1000, ..less },
            Amounts { bandwidth_mb: bandwidth_mb * 2, ..less },
            Amounts { width: (width + 1).min(2), ..less },
        ];
        for more in more {
            let now = lone(more, work, objective);
            // A VM that waits for devices feels its way towards what they carry, so that it may be a hair off.
            prop_assert!(now >= base * 0.999 - 5e-4, "{base} with {less:?}, {now} with {more:?}");
        }
    }
}

#[test]
fn a_start_that_breaks_rules_is_refused() {
    let topology = topology();
    let guests = vec![guest(0, &[1.0], LATENCY)];
    let mut start = plenty(&topology, &guests);
    start.links[LinkId(0).index()].width = Lanes::unchecked(3);
    let vms: Vec<_> = guests.iter().map(|guest| guest.spec.clone()).collect();
    let capabilities = Capabilities::free();
    let world = World { topology: &topology, vms: &vms, capabilities: &capabilities };
    assert!(check(world, &start).is_err());
    assert!(SimHost::new(topology, Capabilities::free(), guests, start, calm(), 1).is_err());
}

/// What its devices carry limits what a VM can do, not how many vCPUs its requests find free.
#[test]
fn the_bound_holds_for_a_vm_that_is_held_up_by_its_devices() {
    let mut guest = guest(0, &[1.7], LATENCY);
    guest.spec.devices.clear();
    guest.workload.application.io_bytes = 75.0e6;
    let score = utility(host(vec![guest], calm(), |_| {}), 300);
    assert!(score > 0.9, "{score}");
}
