//! Random hosts under random demand: nothing carries more than it can, nothing lies idle that somebody
//! wants, and devices share their tree of links max-min fairly.

#[path = "../../model/tests/common/mod.rs"]
mod common;

use std::time::Duration;

use common::{Host, Tape, config, tape, wishes};
use halcyon_hal::Observe;
use halcyon_model::profile::Response;
use halcyon_model::{
    Assignment, Capabilities, DeviceId, Families, Objective, Snapshot, check, diff, project,
};
use halcyon_sim::{Application, Demand, Guest, Parameters, SimHost, VmState, Workload};
use proptest::prelude::*;

fn guests(tape: &mut Tape, host: &Host, devices_only: bool) -> Vec<Guest> {
    let guest = |spec: &halcyon_model::VmSpec| {
        let cores = spec.cpu.limit.as_f64().min(64_000.0) / 1000.0;
        let memory = spec.memory.limit.as_f64().min(64e9);
        let work = (0..4).map(|_| (1.5 * cores * tape.share()) as f32).collect();
        let working_set = (0..4).map(|_| (memory * tape.share()) as f32).collect();
        let mut spec = spec.clone();
        if tape.chance(1, 2) {
            spec.objective = *tape.pick(&[Objective::Throughput, Objective::BestEffort]);
        }
        let memory_bytes = if devices_only { 0.0 } else { *tape.pick(&[0.0, 1e9, 30e9]) };
        let io_bytes = if devices_only { *tape.pick(&[1e7, 1e9, 2e10]) } else { 0.0 };
        let response = Response::flat(memory_bytes);
        let request = Duration::from_millis(1 + tape.between(0, 40));
        let application =
            Application { name: "random".into(), request, io_bytes, gpu_seconds: 0.0, response };
        let demand = Demand { interval: Duration::from_secs(15), work, working_set };
        Guest::new(spec, Workload { application, demand })
    };
    host.vms.iter().map(guest).collect()
}

fn simulated(tape: &mut Tape, devices_only: bool) -> (Host, SimHost) {
    let (mut host, mut held) = Host::admitted(tape);
    host.capabilities = Capabilities::free();
    for _ in 0..2 {
        let proposal = wishes::plausible(tape, host.world(), &held);
        let target = project(host.world(), &held, Families::NONE, &proposal);
        held = diff(host.world(), &held, &target).reached;
    }
    let guests = guests(tape, &host, devices_only);
    host.vms = guests.iter().map(|guest| guest.spec.clone()).collect();
    let parameters = Parameters {
        paravirtual_bytes_s: 0.0,
        counter_noise: 0.0,
        counter_lag: false,
        window: Duration::from_secs(10),
        ..Parameters::default()
    };
    let sim = SimHost::new(host.topology.clone(), Capabilities::free(), guests, held, parameters, 3);
    (host, sim.expect("the start is feasible"))
}

fn nothing_is_exceeded(host: &Host, held: &Assignment, states: &[VmState]) -> Result<(), TestCaseError> {
    for socket in host.topology.sockets() {
        let capacity = socket.cpu().as_f64() / 1000.0;
        let here = || held.holdings.iter().zip(states).filter(|(holding, _)| holding.socket == socket.id);
        let used: f64 = here().map(|(_, state)| state.cpu).sum();
        prop_assert!(used <= capacity * (1.0 + 1e-9) + 1e-9, "{used} of {capacity} cores");
        let wants_more = here().any(|(holding, state)| {
            state.cpu + 1e-6 < state.cpu_wanted.min(holding.cpu.ceiling.as_f64() / 1000.0)
        });
        prop_assert!(!wants_more || used > capacity - 1e-6, "{used} of {capacity} cores while VMs wait");
    }
    for node in host.topology.nodes() {
        let carried: f64 = held
            .holdings
            .iter()
            .zip(states)
            .map(|(holding, state)| {
                let part = holding.memory_on(node.id).as_f64() / holding.total_memory().as_f64().max(1.0);
                state.memory_traffic * part
            })
            .sum();
        prop_assert!(carried <= node.bandwidth.as_f64() * (1.0 + 1e-9) + 1.0, "{carried} on {}", node.name);
    }
    for (holding, state) in held.holdings.iter().zip(states) {
        // A throttle knows steps of a tenth of the socket's channels.
        let step = host.topology.memory_bandwidth(holding.socket).as_f64() / 10.0;
        let ceiling = (holding.memory_bandwidth.ceiling.as_f64() / step).ceil() * step;
        prop_assert!(state.memory_traffic <= ceiling * (1.0 + 1e-9));
        prop_assert!(state.utility.is_none_or(|utility| (0.0..=1.0).contains(&utility)), "{state:?}");
        prop_assert!(state.backlog >= 0.0 && state.cpu >= 0.0 && state.cpu.is_finite());
    }
    Ok(())
}

/// What each device moved between two snapshots a second apart.
fn rates(before: &Snapshot, after: &Snapshot, devices: usize) -> Vec<f64> {
    let mut rates = vec![0.0; devices];
    for (before, after) in before.vms.iter().zip(&after.vms) {
        let moved = before.counters.device_bytes.iter().zip(&after.counters.device_bytes);
        for ((device, from), (_, to)) in moved {
            rates[device.index()] = (to - from) as f64;
        }
    }
    rates
}

/// A flow has all that it wants, or there is a full link on its way on which nobody moves more: that is
/// what max-min fair means (Bertsekas and Gallager, "Data Networks", 6.5.2).
fn is_max_min(
    host: &Host,
    held: &Assignment,
    states: &[VmState],
    rates: &[f64],
) -> Result<(), TestCaseError> {
    let fabric = host.topology.fabric();
    let slack = |amount: f64| 4.0 + amount * 1e-6;
    let carried = |link: halcyon_model::LinkId| -> f64 {
        let below = (0..rates.len()).filter(|index| fabric.route(DeviceId::at(*index)).contains(&link));
        below.map(|index| rates[index]).sum()
    };
    for link in &fabric.links {
        let capacity = held.link(link.id).bandwidth().as_f64();
        prop_assert!(carried(link.id) <= capacity + slack(capacity), "{} over {capacity}", carried(link.id));
    }
    for (index, rate) in rates.iter().enumerate() {
        let (device, holding) = (DeviceId::at(index), held.devices[index]);
        let Some(owner) = holding.owner else { continue };
        let position = host.world().position(owner).expect("the owner is a VM");
        let owned = held.devices_of(owner).filter(|(id, _)| !fabric.route(*id).is_empty()).count();
        let most = holding.bandwidth.ceiling.min(fabric.devices[index].bandwidth).as_f64();
        let wanted = (states[position].io_wanted / owned as f64).min(most);
        let held_up = fabric.route(device).iter().any(|link| {
            let capacity = held.link(*link).bandwidth().as_f64();
            let others = (0..rates.len()).filter(|other| fabric.route(DeviceId::at(*other)).contains(link));
            let most = others.map(|other| rates[other]).fold(0.0, f64::max);
            carried(*link) + slack(capacity) >= capacity && most <= rate + slack(*rate)
        });
        prop_assert!(*rate <= wanted + slack(wanted), "{rate} of {wanted}");
        prop_assert!(*rate + slack(wanted) >= wanted || held_up, "{rate} of {wanted} in {rates:?}");
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(150))]

    #[test]
    fn cpu_and_memory_channels_are_shared_without_waste_or_overdraft(mut tape in tape(5000)) {
        let (host, mut sim) = simulated(&mut tape, false);
        for _ in 0..60 {
            sim.step();
            let states: Vec<VmState> = sim.states().collect();
            nothing_is_exceeded(&host, sim.assignment(), &states)?;
        }
        prop_assert!(check(host.world(), sim.assignment()).is_ok());
        let score = sim.score();
        prop_assert!(score.utility <= score.bound + 1e-9, "{score:?}");
        for (vm, score) in score.vms {
            prop_assert!((0.0..=1.0).contains(&score.mean()) && score.mean() <= score.bound() + 1e-9, "{vm}");
        }
    }

    #[test]
    fn devices_share_their_links_max_min_fairly(mut tape in tape(5000)) {
        let (host, mut sim) = simulated(&mut tape, true);
        let devices = host.topology.fabric().devices.len();
        let (mut before, mut after) = (Snapshot::default(), Snapshot::default());
        sim.observe(&mut before).expect("can be read");
        for _ in 0..20 {
            sim.step();
            sim.observe(&mut after).expect("can be read");
            let states: Vec<VmState> = sim.states().collect();
            is_max_min(&host, sim.assignment(), &states, &rates(&before, &after, devices))?;
            std::mem::swap(&mut before, &mut after);
        }
        let score = sim.score();
        prop_assert!(score.utility <= score.bound + 1e-9, "{score:?}");
    }
}
