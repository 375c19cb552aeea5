//! Every example host carries the load that is ordinary for it.

mod common;

use common::{HOUR, generated};
use halcyon_lab::{Draw, Scenario, default_vms};
use halcyon_model::describe::parse_host;
use halcyon_model::topology::Socket;
use halcyon_model::{ByteSize, MilliCpu, Objective, Topology, World, check};

const HOSTS: [(&str, &str); 6] = [
    ("small", include_str!("../../../examples/hosts/small.toml")),
    ("two-socket", include_str!("../../../examples/hosts/two-socket.toml")),
    ("gpu-box", include_str!("../../../examples/hosts/gpu-box.toml")),
    ("nvme-storage", include_str!("../../../examples/hosts/nvme-storage.toml")),
    ("cxl-pool", include_str!("../../../examples/hosts/cxl-pool.toml")),
    ("density", include_str!("../../../examples/hosts/density.toml")),
];

fn draw(text: &str, overcommit: f64, seed: u64) -> Scenario {
    let host = parse_host(text).expect("an example is described well");
    let vms = default_vms(&host.topology);
    let traces = generated(vms, 2 * HOUR, seed);
    let draw = Draw { overcommit: Some(overcommit), churn: 0.2, ..Draw::new(vms, 2 * HOUR, seed) };
    Scenario::draw(host.topology, host.capabilities, &traces, draw).expect("the VMs fit")
}

fn cpu(topology: &Topology) -> f64 {
    topology.sockets().iter().map(Socket::cpu).sum::<MilliCpu>().as_f64()
}

#[test]
fn every_host_is_named_after_its_file_and_carries_its_default_load_overcommitted() {
    for (name, text) in HOSTS {
        for (overcommit, seed) in [(2.0, 1), (3.0, 2), (4.0, 3)] {
            let scenario = draw(text, overcommit, seed);
            assert_eq!(scenario.topology.name(), name);
            let vms: Vec<_> = scenario.guests.iter().map(|guest| guest.spec.clone()).collect();
            let there = scenario.guests.iter().filter(|guest| guest.arrives.is_zero());
            let first: Vec<_> = there.map(|guest| guest.spec.clone()).collect();
            let world =
                World { topology: &scenario.topology, vms: &first, capabilities: &scenario.capabilities };
            check(world, &scenario.start).expect("the start is feasible");
            assert_eq!(scenario.host().expect("it starts").assignment(), &scenario.start);
            let there = cpu(&scenario.topology);
            let limits: MilliCpu = vms.iter().map(|spec| spec.cpu.limit).sum();
            let got = limits.as_f64() / there;
            assert!((got / overcommit - 1.0).abs() < 0.1, "{name}: {got:.2} instead of {overcommit}");
            let reserved: MilliCpu = vms.iter().map(|spec| spec.cpu.reservation).sum();
            let share = reserved.as_f64() / there;
            assert!((0.05..=0.41).contains(&share), "{name}: {share:.2} of the CPUs are reserved");
        }
    }
}

#[test]
fn working_sets_fill_most_of_the_memory_and_move_against_each_other() {
    for (name, text) in HOSTS {
        let scenario = draw(text, 3.0, 5);
        let there: ByteSize = scenario.topology.nodes().iter().map(|node| node.available()).sum();
        let limits: ByteSize = scenario.guests.iter().map(|guest| guest.spec.memory.limit).sum();
        let over = limits.as_f64() / there.as_f64();
        assert!((1.4..=1.61).contains(&over), "{name}: memory limits are {over:.2} of the host");
        let sets = scenario.guests.iter().map(|guest| &guest.workload.demand.working_set);
        let mean = |set: &Vec<f32>| set.iter().map(|v| f64::from(*v)).sum::<f64>() / set.len() as f64;
        let most = |set: &Vec<f32>| f64::from(set.iter().copied().fold(0.0, f32::max));
        let (means, peaks) = sets.fold((0.0, 0.0), |(a, b), set| (a + mean(set), b + most(set)));
        let (means, peaks) = (means / there.as_f64(), peaks / there.as_f64());
        assert!((0.8..=0.98).contains(&means), "{name}: working sets are {means:.2} of the host");
        assert!(peaks > means + 0.12, "{name}: {means:.2} on average, {peaks:.2} if all peaked at once");
    }
}

#[test]
fn the_density_host_carries_256_vms_and_the_demo_host_32() {
    let default = |text| default_vms(&parse_host(text).expect("a host").topology);
    assert_eq!((default(HOSTS[5].1), default(HOSTS[1].1)), (256, 32));
}

#[test]
fn gpu_vms_are_drawn_where_there_are_gpus_and_ask_for_what_some_slice_gives() {
    for (name, text) in HOSTS {
        let scenario = draw(text, 3.0, 7);
        let has = !scenario.topology.gpus().is_empty();
        let users: Vec<_> =
            scenario.guests.iter().filter(|guest| guest.workload.application.gpu_seconds > 0.0).collect();
        assert_eq!(!users.is_empty(), has, "{name}");
        for guest in users {
            let slices = guest.spec.gpu_slices;
            assert!(slices.reservation >= 1 && slices.limit >= slices.reservation);
            let gpu = guest.workload.application.response.gpu.expect("it responds to slices");
            let work = guest.workload.demand.work.iter().copied().fold(0.0, f32::max);
            let wanted = f64::from(work) * guest.workload.application.gpu_seconds;
            assert!(wanted <= gpu.speed(slices.limit) * 1.001, "{name}: {} wants {wanted}", guest.spec.name);
        }
    }
}

#[test]
fn churn_and_signals_are_as_drawn() {
    let scenario = draw(HOSTS[5].1, 3.0, 1);
    let moving =
        scenario.guests.iter().filter(|guest| !guest.arrives.is_zero() || guest.leaves.is_some()).count();
    assert!((30..=75).contains(&moving), "{moving} of 256 come or go");
    for guest in &scenario.guests {
        assert_eq!(guest.signal, matches!(guest.spec.objective, Objective::Latency { .. }));
        assert!(guest.leaves.is_none_or(|leaves| guest.arrives < leaves && leaves < scenario.duration));
    }
}
