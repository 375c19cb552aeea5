//! What the learned policy sees does not depend on the order of the VMs or the size of the host, says
//! what it does not know, and is a number within bounds whatever was read.

use std::path::Path;
use std::time::Duration;

use halcyon_model::profile::{GpuResponse, Response};
use halcyon_model::topology::Parts;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, ChangeKind, ClassId, Control, DeviceId, Grant, MilliCpu, NodeId,
    Objective, ObjectiveSignal, Snapshot, SocketId, Topology, VmCounters, VmId, VmSample, VmSpec,
};
use halcyon_policy::features::{HOST_TABLE, Likely, MOST, TABLE};
use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::{Parameters, Tensor};
use halcyon_policy::{Card, Features, Learned, Need, Network, Policy, Shape, View};
use proptest::prelude::*;

mod support;

use support::random::{Host, Tape, capabilities, config, families, tape};
use support::{Bench, host, program, vm, vm_with};

fn view(bench: &Bench) -> View<'_> {
    View {
        world: bench.world(),
        snapshot: &bench.snapshot,
        history: &bench.history,
        frozen: bench.frozen,
        profiles: &bench.profiles,
    }
}

fn observe(bench: &Bench) -> Features {
    let mut features = Features::default();
    features.observe(&view(bench));
    features
}

fn value(features: &Features, position: usize, name: &str) -> f32 {
    features.row(position)[TABLE.iter().position(|feature| feature.name == name).expect(name)]
}

/// A random host on which every VM is numbered by its position and has a program or none.
fn random_bench(tape: &mut Tape) -> Bench {
    let (Host { topology, mut vms, capabilities }, mut assignment) = Host::admitted(tape);
    let old: Vec<VmId> = vms.iter().map(|spec| spec.id).collect();
    within_reason(&mut vms, &mut assignment);
    rename(&mut assignment, |vm| VmId::at(old.iter().position(|known| *known == vm).expect("known")));
    for (position, spec) in vms.iter_mut().enumerate() {
        spec.id = VmId::at(position);
        spec.application = tape.chance(3, 4).then(|| format!("program-{}", tape.below(4)));
    }
    let mut programs: Vec<_> = (0..3)
        .map(|index| program(&format!("program-{index}"), 0.5, 20.0, 4.0 + f64::from(index), 2.0))
        .collect();
    let gpu = GpuResponse { whole: 7, fixed: 0.2, bandwidth: 0.3, memory: ByteSize::gib(5) };
    programs[0].response =
        Response { gpu: Some(gpu), paging: Some(40.0), cpu_per_gpu: Some(2.0), ..programs[0].response };
    let mut bench = Bench::of(topology, vms, capabilities, assignment).with_programs(programs);
    bench.frozen = families(tape);
    bench
}

/// Some random VMs have no limit, of which there is no double.
fn within_reason(vms: &mut [VmSpec], assignment: &mut Assignment) {
    let (cpu, memory, bandwidth) = (MilliCpu::cores(512), ByteSize::gib(1 << 14), Bandwidth::gb_per_s(4000));
    for spec in vms {
        spec.cpu.limit = spec.cpu.limit.min(cpu);
        spec.memory.limit = spec.memory.limit.min(memory);
        spec.memory_bandwidth.limit = spec.memory_bandwidth.limit.min(bandwidth);
    }
    for holding in &mut assignment.holdings {
        holding.cpu.ceiling = holding.cpu.ceiling.min(cpu);
        holding.memory_bandwidth.ceiling = holding.memory_bandwidth.ceiling.min(bandwidth);
    }
    for device in &mut assignment.devices {
        device.bandwidth.ceiling = device.bandwidth.ceiling.min(bandwidth);
    }
}

fn rename(assignment: &mut Assignment, name: impl Fn(VmId) -> VmId) {
    assignment.holdings.iter_mut().for_each(|holding| holding.vm = name(holding.vm));
    assignment.holdings.sort_by_key(|holding| holding.vm);
    assignment.devices.iter_mut().for_each(|device| device.owner = device.owner.map(&name));
    assignment.gpu_instances.iter_mut().for_each(|instance| instance.owner = name(instance.owner));
}

/// What was read of random use, second by second, in whole units.
fn random_samples(tape: &mut Tape, bench: &Bench, seconds: usize) -> Vec<Vec<VmSample>> {
    let mut samples: Vec<VmSample> = bench.snapshot.vms.clone();
    (0..seconds)
        .map(|_| {
            for (sample, spec) in samples.iter_mut().zip(&bench.vms) {
                use_of(tape, sample, spec, &bench.snapshot.assignment);
            }
            samples.clone()
        })
        .collect()
}

fn use_of(tape: &mut Tape, sample: &mut VmSample, spec: &VmSpec, held: &Assignment) {
    let counters = &mut sample.counters;
    let grow = |counter: &mut Option<u64>, by: u64| *counter = Some(counter.unwrap_or(0) + by);
    grow(&mut counters.cpu_used_us, 1000 * tape.between(0, spec.cpu.limit.get().min(64_000)));
    grow(&mut counters.cpu_waited_us, 1000 * tape.between(0, 500));
    grow(&mut counters.memory_stalled_us, tape.between(0, 1_000_000));
    grow(&mut counters.io_stalled_us, tape.between(0, 1_000_000));
    grow(&mut counters.memory_bytes, tape.between(0, 20_000_000_000));
    grow(&mut counters.gpu_busy_us, tape.between(0, 1_000_000));
    for (device, _) in held.devices_of(spec.id) {
        let by = tape.between(0, 1_000_000_000);
        match counters.device_bytes.iter_mut().find(|(known, _)| *known == device) {
            Some((_, bytes)) => *bytes += by,
            None => counters.device_bytes.push((device, by)),
        }
    }
    sample.working_set = Some(ByteSize::new(tape.between(0, spec.memory.limit.get().min(1 << 40))));
    sample.cache = Some(ByteSize::new(tape.between(0, 1 << 25)));
    sample.signal = tape.chance(1, 2).then(|| ObjectiveSignal {
        p99: Some(Duration::from_millis(tape.between(1, 1000))),
        backlog_s: Some(tape.share()),
    });
}

fn replay(bench: &mut Bench, seconds: &[Vec<VmSample>]) {
    for samples in seconds {
        bench.snapshot.at += Duration::from_secs(1);
        bench.snapshot.vms.clone_from(samples);
        bench.history.record(&bench.snapshot);
    }
}

fn assert_alike(what: &str, left: &[f32], right: &[f32]) -> Result<(), TestCaseError> {
    prop_assert_eq!(left.len(), right.len());
    let names = if left.len() == TABLE.len() { &TABLE[..] } else { &HOST_TABLE[..] };
    for ((left, right), feature) in left.iter().zip(right).zip(names) {
        prop_assert!((left - right).abs() < 1e-5, "{what}: {}: {left} and {right}", feature.name);
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(256))]

    #[test]
    fn another_order_of_vms_is_another_order_of_rows(mut tape in tape(4000)) {
        let mut bench = random_bench(&mut tape);
        let seconds = random_samples(&mut tape, &bench, 12);
        let mut other = random_bench_like(&bench);
        let count = bench.vms.len();
        let mut order: Vec<usize> = (0..count).collect();
        tape.shuffle(&mut order);
        // The VM at `position` goes to `order[position]`.
        let name = |vm: VmId| VmId::at(order[vm.index()]);
        rename(&mut other.snapshot.assignment, name);
        other.vms.iter_mut().for_each(|spec| spec.id = name(spec.id));
        other.vms.sort_by_key(|spec| spec.id);
        let moved: Vec<Vec<VmSample>> = seconds.iter().map(|samples| {
            let mut samples = samples.clone();
            samples.iter_mut().for_each(|sample| sample.vm = name(sample.vm));
            samples.sort_by_key(|sample| sample.vm);
            samples
        }).collect();
        replay(&mut bench, &seconds);
        replay(&mut other, &moved);
        let (features, permuted) = (observe(&bench), observe(&other));
        for (position, place) in order.iter().enumerate() {
            assert_alike(&format!("VM {position}"), features.row(position), permuted.row(*place))?;
            prop_assert_eq!(features.socket[position], permuted.socket[*place]);
        }
        assert_alike("host", &features.host, &permuted.host)?;
        let (told, permuted) = (needs(&bench), needs(&other));
        for (position, place) in order.iter().enumerate() {
            assert_same_need(&told[position], &permuted[*place], 1.0)?;
        }
    }

    #[test]
    fn a_host_of_twice_the_size_looks_the_same(mut tape in tape(4000)) {
        let mut bench = random_bench(&mut tape);
        let mut seconds = random_samples(&mut tape, &bench, 12);
        let mut other = twice(&bench);
        replay(&mut bench, &seconds);
        seconds.iter_mut().flatten().for_each(twice_the_use);
        replay(&mut other, &seconds);
        let (features, scaled) = (observe(&bench), observe(&other));
        for position in 0..bench.vms.len() {
            assert_alike(&format!("VM {position}"), features.row(position), scaled.row(position))?;
        }
        assert_alike("host", &features.host, &scaled.host)?;
        for (told, scaled) in needs(&bench).iter().zip(&needs(&other)) {
            assert_same_need(told, scaled, 2.0)?;
        }
    }

    #[test]
    fn whatever_is_read_gives_numbers_within_bounds(mut tape in tape(4000)) {
        let mut bench = random_bench(&mut tape);
        let mut features = Features::default();
        for seconds in [1, 1, 300, 86_400, u64::MAX / 4] {
            let mut samples = random_samples(&mut tape, &bench, 1).remove(0);
            samples.iter_mut().for_each(|sample| hostile_sample(&mut tape, sample));
            hostile_specs(&mut tape, &mut bench);
            hostile_holdings(&mut tape, &mut bench.snapshot);
            bench.snapshot.at = bench.snapshot.at.saturating_add(Duration::from_secs(seconds));
            bench.snapshot.vms = samples;
            if tape.chance(1, 4) {
                bench.snapshot.vms.pop();
            }
            bench.history.record(&bench.snapshot);
            features.observe(&view(&bench));
            let response = Response::flat(f64::INFINITY);
            prop_assert_eq!(features.per_vm.len(), bench.vms.len() * Features::PER_VM);
            prop_assert_eq!(features.host.len(), Features::HOST);
            assert_bounded(&features)?;
            features.observe_with(&view(&bench), &|_| Some(Likely { response: &response, confidence: f64::NAN }));
            assert_bounded(&features)?;
            prop_assert!(features.socket.iter().all(|socket| *socket < bench.topology.sockets().len()));
            // Back to a VM per sample, so that the next round has something to spoil.
            bench.snapshot.vms = bench.vms.iter()
                .map(|spec| VmSample { vm: spec.id, ..VmSample::default() }).collect();
        }
    }
}

/// What an untrained network asks for: far from what is held, so that a difference would be seen.
fn needs(bench: &Bench) -> Vec<Need> {
    let shape = Shape { features: Features::PER_VM, host: Features::HOST, width: 16, outputs: OUTPUTS };
    let mut values = Parameters::random(shape, 3).expect("the shape is permitted").values().to_vec();
    values[shape.range(Tensor::OutputWeight)].iter_mut().for_each(|weight| *weight *= 10.0);
    let parameters = Parameters::new(shape, values).expect("none is too large");
    let mut learned = Learned::new(Network::new(Card::default(), parameters));
    learned.decide(&view(bench));
    learned.needs().to_vec()
}

/// That needs are the same on a host that is larger by a factor: amounts grow with it, and what compares
/// VMs does not. What is added to memory, 128 MiB, and devices' traffic, which the host's own storage
/// carries, do not grow.
fn assert_same_need(told: &Need, scaled: &Need, factor: f64) -> Result<(), TestCaseError> {
    let alike = |name: &str, left: f64, right: f64, slack: f64| {
        prop_assert!((left - right).abs() <= 1e-3 * left.abs() + slack, "{name}: {left} and {right}");
        Ok(())
    };
    // The least that counts, of CPU time in thousandths and of memory in bytes.
    let mib = 1024.0 * 1024.0;
    let slack = if factor > 1.0 { 400.0 * mib } else { 1.0 };
    alike("cpu", factor * told.cpu, scaled.cpu, 2.0 * factor)?;
    alike("cpu rank", told.cpu_rank, scaled.cpu_rank, 0.0)?;
    alike("cpu band", told.cpu_band, scaled.cpu_band, 0.0)?;
    alike("cache", told.cache, scaled.cache, 0.0)?;
    alike("memory", factor * told.memory, scaled.memory, slack)?;
    alike("traffic", told.traffic, scaled.traffic, 0.0)?;
    alike("gpu", told.gpu, scaled.gpu, 0.0)?;
    alike("device rank", told.device_rank, scaled.device_rank, 0.0)
}

fn random_bench_like(bench: &Bench) -> Bench {
    let (topology, vms) = (bench.topology.clone(), bench.vms.clone());
    let assignment = bench.snapshot.assignment.clone();
    let mut other = Bench::of(topology, vms, bench.capabilities.clone(), assignment);
    (other.profiles, other.frozen) = (bench.profiles.clone(), bench.frozen);
    other
}

/// The same with twice of everything that is divided. What is counted in pieces stays.
fn twice(bench: &Bench) -> Bench {
    let mut other = random_bench_like(bench);
    other.topology = twice_the_host(&bench.topology);
    for spec in &mut other.vms {
        twice_bounds(&mut spec.cpu, |amount| amount + amount);
        twice_bounds(&mut spec.memory, |amount| amount + amount);
        twice_bounds(&mut spec.memory_bandwidth, |amount| amount + amount);
    }
    for holding in &mut other.snapshot.assignment.holdings {
        twice_grant(&mut holding.cpu, |amount| amount + amount);
        twice_grant(&mut holding.memory_bandwidth, |amount| amount + amount);
        holding.memory.iter_mut().for_each(|(_, size)| *size += *size);
    }
    for device in &mut other.snapshot.assignment.devices {
        twice_grant(&mut device.bandwidth, |amount| amount + amount);
    }
    let programs: Vec<_> = bench.profiles.iter().cloned().collect();
    other.with_programs(programs.into_iter().map(|mut program| {
        program.response.cache.half *= 2.0;
        program.response.cpu_per_gpu = program.response.cpu_per_gpu.map(|cores| 2.0 * cores);
        program
    }))
}

fn twice_bounds<T: Copy>(bounds: &mut Bounds<T>, twice: impl Fn(T) -> T) {
    *bounds = Bounds { reservation: twice(bounds.reservation), limit: twice(bounds.limit) };
}

fn twice_grant<T: Copy>(grant: &mut Grant<T>, twice: impl Fn(T) -> T) {
    *grant = Grant { share: twice(grant.share), ceiling: twice(grant.ceiling) };
}

fn twice_the_host(topology: &Topology) -> Topology {
    let fabric = topology.fabric().clone();
    let (sockets, nodes) = (topology.sockets(), topology.nodes());
    let row = |socket: SocketId| nodes.iter().map(|node| topology.distance(socket, node.id)).collect();
    let mut parts = Parts {
        name: topology.name().into(),
        sockets: sockets.to_vec(),
        nodes: nodes.to_vec(),
        distances: sockets.iter().map(|socket| row(socket.id)).collect(),
        ports: fabric.ports,
        switches: fabric.switches,
        links: fabric.links,
        pools: fabric.pools,
        devices: fabric.devices,
        gpus: topology.gpus().to_vec(),
    };
    for socket in &mut parts.sockets {
        socket.cores *= 2;
        socket.host_cpu += socket.host_cpu;
        if let Some(cache) = &mut socket.cache {
            cache.size += cache.size;
        }
    }
    for node in &mut parts.nodes {
        node.capacity += node.capacity;
        node.host_memory += node.host_memory;
        node.bandwidth += node.bandwidth;
    }
    parts.devices.iter_mut().for_each(|device| device.bandwidth += device.bandwidth);
    Topology::new(parts).expect("as coherent as before")
}

fn twice_the_use(sample: &mut VmSample) {
    let counters = &mut sample.counters;
    let amounts = [&mut counters.cpu_used_us, &mut counters.cpu_waited_us, &mut counters.memory_bytes];
    amounts.into_iter().flatten().for_each(|amount| *amount *= 2);
    counters.device_bytes.iter_mut().for_each(|(_, bytes)| *bytes *= 2);
    sample.working_set = sample.working_set.map(|size| size + size);
    sample.cache = sample.cache.map(|size| size + size);
}

fn huge(tape: &mut Tape) -> u64 {
    *tape.pick(&[0, 1, 1000, 1 << 40, u64::MAX / 2, u64::MAX])
}

fn hostile_sample(tape: &mut Tape, sample: &mut VmSample) {
    let counters = &mut sample.counters;
    let all = [
        &mut counters.cpu_used_us,
        &mut counters.cpu_waited_us,
        &mut counters.memory_stalled_us,
        &mut counters.io_stalled_us,
        &mut counters.memory_bytes,
        &mut counters.gpu_busy_us,
    ];
    for counter in all {
        *counter = tape.chance(4, 5).then(|| huge(tape));
    }
    counters.device_bytes.push((DeviceId(u32::MAX), huge(tape)));
    counters.device_bytes.iter_mut().for_each(|(_, bytes)| *bytes = huge(tape));
    sample.working_set = tape.chance(4, 5).then(|| ByteSize::new(huge(tape)));
    sample.cache = tape.chance(4, 5).then(|| ByteSize::new(huge(tape)));
    sample.refuses_memory_until = Some(Duration::MAX);
    sample.signal = Some(ObjectiveSignal {
        p99: Some(*tape.pick(&[Duration::ZERO, Duration::MAX])),
        backlog_s: Some(*tape.pick(&[f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 1e300])),
    });
}

fn hostile_specs(tape: &mut Tape, bench: &mut Bench) {
    for spec in &mut bench.vms {
        let mut bounds = || (huge(tape), huge(tape));
        let (cpu, memory, bandwidth) = (bounds(), bounds(), bounds());
        spec.cpu = Bounds { reservation: MilliCpu::new(cpu.0), limit: MilliCpu::new(cpu.1) };
        spec.memory = Bounds { reservation: ByteSize::new(memory.0), limit: ByteSize::new(memory.1) };
        spec.memory_bandwidth =
            Bounds { reservation: Bandwidth::new(bandwidth.0), limit: Bandwidth::new(bandwidth.1) };
        spec.gpu_slices = Bounds { reservation: u32::MAX, limit: *tape.pick(&[0, u32::MAX]) };
        spec.objective = Objective::Latency { p99: *tape.pick(&[Duration::ZERO, Duration::MAX]) };
    }
    let cost_s = *tape.pick(&[f64::NAN, f64::INFINITY, -1.0, 0.0]);
    let control = Control { cost_s, latency: Duration::MAX, interruption: Duration::MAX, ..Control::FREE };
    bench.capabilities = capabilities::capabilities(tape).with(ChangeKind::Cpu, Some(control));
}

fn hostile_holdings(tape: &mut Tape, snapshot: &mut Snapshot) {
    let assignment = &mut snapshot.assignment;
    for holding in &mut assignment.holdings {
        holding.cpu = Grant { share: MilliCpu::new(huge(tape)), ceiling: MilliCpu::new(huge(tape)) };
        holding.memory_bandwidth.ceiling = Bandwidth::new(huge(tape));
        holding.memory.push((NodeId(*tape.pick(&[0, u32::MAX])), ByteSize::new(huge(tape))));
        holding.class = ClassId(*tape.pick(&[0, 1, u32::MAX]));
        holding.socket = SocketId(*tape.pick(&[0, u32::MAX]));
    }
    for device in &mut assignment.devices {
        device.bandwidth.ceiling = Bandwidth::new(huge(tape));
        device.owner = tape.chance(1, 2).then(|| VmId(*tape.pick(&[0, 1, u32::MAX])));
    }
    assignment.gpu_instances.iter_mut().for_each(|instance| instance.profile = *tape.pick(&[0, u32::MAX]));
    if tape.chance(1, 4) {
        assignment.holdings.pop();
        assignment.devices.pop();
        assignment.classes.pop();
    }
}

fn assert_bounded(features: &Features) -> Result<(), TestCaseError> {
    for (place, value) in features.per_vm.iter().enumerate() {
        let name = TABLE[place % Features::PER_VM].name;
        prop_assert!(f64::from(value.abs()) <= MOST, "{name}: {value}");
    }
    for (value, feature) in features.host.iter().zip(&HOST_TABLE) {
        prop_assert!(f64::from(value.abs()) <= MOST, "{}: {value}", feature.name);
    }
    Ok(())
}

/// What stands on each counter, after the bit that says whether it is read.
const MEASURED: [(&str, &[&str]); 9] = [
    (
        "cpu_known",
        &["cpu_last", "cpu_mean_4s", "cpu_mean_1h", "cpu_p95", "cpu_most", "cpu_sustained", "cpu_deviation"],
    ),
    ("waited_known", &["waited_last", "waited_mean_30s"]),
    ("bandwidth_known", &["bandwidth_last", "bandwidth_mean_5min", "bandwidth_p75", "bandwidth_at_ceiling"]),
    (
        "working_set_known",
        &[
            "working_set_last",
            "working_set_mean_30s",
            "working_set_p95",
            "working_set_most",
            "memory_headroom",
        ],
    ),
    ("memory_stalled_known", &["memory_stalled_last", "memory_stalled_p75"]),
    ("cache_known", &["cache_held"]),
    ("io_stalled_known", &["io_stalled_last", "io_stalled_p75"]),
    ("gpu_known", &["gpu_last", "gpu_mean_5min", "gpu_p90"]),
    ("lateness_known", &["lateness"]),
];

fn busy(sample: &mut VmSample, second: u64) {
    let counter = |rate: u64| Some(rate * (2 * second + second % 2));
    sample.counters = VmCounters {
        cpu_used_us: counter(1_500_000),
        cpu_waited_us: counter(200_000),
        memory_stalled_us: counter(100_000),
        io_stalled_us: counter(100_000),
        memory_bytes: counter(1 << 30),
        gpu_busy_us: counter(300_000),
        device_bytes: Vec::new(),
    };
    sample.working_set = Some(ByteSize::mib(1024 + 10 * second));
    sample.cache = Some(ByteSize::mib(3));
    sample.signal = Some(ObjectiveSignal { p99: Some(Duration::from_millis(7)), backlog_s: Some(0.5) });
}

#[test]
fn what_is_not_measured_is_zero_and_says_so() {
    let objective = Objective::Latency { p99: Duration::from_millis(20) };
    let mut bench = Bench::new(host(2), (0..4).map(|id| VmSpec { objective, ..vm(id) }).collect());
    for second in 1..30 {
        bench.snapshot.at += Duration::from_secs(1);
        bench.snapshot.vms.iter_mut().for_each(|sample| busy(sample, second));
        // Of the second VM nothing was ever read, of the third nothing any more.
        bench.snapshot.vms[1] = VmSample { vm: VmId(1), ..VmSample::default() };
        if second == 29 {
            bench.snapshot.vms[2] = VmSample { vm: VmId(2), ..VmSample::default() };
        }
        bench.history.record(&bench.snapshot);
    }
    let features = observe(&bench);
    for (bit, names) in MEASURED {
        assert_eq!([0, 1, 2].map(|position| value(&features, position, bit)), [1.0, 0.0, 0.0], "{bit}");
        for name in names {
            let values = [0, 1, 2].map(|position| value(&features, position, name));
            assert!(values[0] != 0.0 && values[1..] == [0.0, 0.0], "{name}: {values:?}");
        }
    }
}

#[test]
fn figures_are_what_their_names_say() {
    let specs = vec![vm_with(0, "stencil"), vm(1)];
    let mut bench = Bench::new(host(1), specs).with_programs([program("stencil", 0.5, 30.0, 8.0, 2.0)]);
    let hour = |at: u64| (at / 3600 % 24) as f64;
    for minute in 1..=25 * 60_u64 {
        let cores = 0.1 * hour(minute * 60);
        bench.pass(60, |position| (cores, ByteSize::gib(2 + 2 * position as u64)));
    }
    let features = observe(&bench);
    let close = |position, name, expected: f64| {
        let found = f64::from(value(&features, position, name));
        assert!((found - expected).abs() < 1e-3, "{name}: {found} and not {expected}");
    };
    // It is one o'clock again; one core of ten is a fortieth of four cores.
    close(0, "cpu_last", 0.025);
    close(0, "cpu_day_known", 1.0);
    close(0, "day_sine", sine(1.0));
    close(0, "cpu_limit", -3.0);
    // A host sees no more of it than the gibibyte that is held.
    close(1, "working_set_last", 1.0 / 16.0);
    close(1, "working_set_day", 0.0);
    close(1, "age", log10_1p(24.0 * 3600.0 + 3540.0));
    close(1, "program_known", 0.0);
    close(0, "program_confidence", 1.0);
    close(0, "cache_ways", 1.0);
    assert!(value(&features, 0, "speed_cache_8th") < value(&features, 0, "speed_cache_half"));
    assert!(value(&features, 0, "traffic_cache_8th") > value(&features, 0, "traffic_cache_half"));
    let mut likely = Features::default();
    let response = Response::flat(1e9);
    likely.observe_with(&view(&bench), &|_| Some(Likely { response: &response, confidence: 0.5 }));
    assert_eq!([0, 1].map(|position| value(&likely, position, "program_confidence")), [1.0, 0.5]);
    assert_eq!(value(&likely, 1, "speed_cache_8th"), 1.0);
}

fn sine(hour: f64) -> f64 {
    (hour / 24.0 * std::f64::consts::TAU).sin()
}

fn log10_1p(seconds: f64) -> f64 {
    (1.0 + seconds).log10()
}

#[test]
fn the_tables_have_names_once_and_a_digest() {
    let mut names: Vec<&str> = TABLE.iter().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Features::PER_VM);
    let mut names: Vec<&str> = HOST_TABLE.iter().map(|feature| feature.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), Features::HOST);
    assert!(Features::digest().len() == 16 && Features::page().contains(&Features::digest()));
}

#[test]
fn the_page_of_the_documentation_is_that_of_the_tables() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/features.md");
    let page = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        page == Features::page(),
        "docs/src/features.md is out of date; run `cargo run -p halcyon-policy --example features > docs/src/features.md`"
    );
}
