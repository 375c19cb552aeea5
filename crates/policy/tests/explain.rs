//! Plans that explain themselves: with needs and forecasts made by hand, and with whatever an untrained
//! network says on random hosts.

use halcyon_model::topology::{MemoryKind, MemoryNode, Parts, Socket};
use halcyon_model::{
    Assignment, Bandwidth, ByteSize, ChangeKind, Control, Generation, Grant, MilliCpu, NodeId, Plan,
    Proposal, Reason, SocketId, Standing, Step, Topology, VmId, VmWish, Wish, approve, diff, project,
};
use halcyon_policy::explain::{Driver, Explanation, Known, RunnerUp, explain};
use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::{Features, Learned, Need, Network, Policy, Shape, View};
use proptest::prelude::*;
use std::time::Duration;

mod support;

use support::random::{Host, config, tape};
use support::{Bench, vm};

fn view(bench: &Bench) -> View<'_> {
    View {
        world: bench.world(),
        snapshot: &bench.snapshot,
        history: &bench.history,
        frozen: bench.frozen,
        profiles: &bench.profiles,
    }
}

/// The plan that a proposal comes to, as the control cycle makes it.
fn plan(bench: &Bench, proposal: &Proposal) -> Plan {
    let held = &bench.snapshot.assignment;
    let target = project(bench.world(), held, bench.frozen, proposal);
    let standing = Standing { snapshot: bench.snapshot.generation, plan: Generation::default() };
    let difference = diff(bench.world(), held, &target);
    approve(bench.world(), standing, proposal, held, difference).expect("what was projected is approved")
}

/// One socket of four cores with 16 GiB.
fn small_host() -> Topology {
    let socket = SocketId(0);
    Topology::new(Parts {
        name: "host".into(),
        sockets: vec![Socket {
            id: socket,
            name: "left".into(),
            cores: 4,
            threads_per_core: 1,
            host_cpu: MilliCpu::ZERO,
            cache: None,
        }],
        nodes: vec![MemoryNode {
            id: NodeId(0),
            name: "near".into(),
            kind: MemoryKind::Dram { socket },
            capacity: ByteSize::gib(16),
            host_memory: ByteSize::ZERO,
            bandwidth: Bandwidth::gb_per_s(100),
        }],
        distances: vec![vec![10]],
        ..Parts::default()
    })
    .expect("a coherent host")
}

/// Three VMs of which the first holds half a core and has used it up for half a minute; changes of CPU
/// time take 2 s, and cost 0.5 s.
fn starved() -> Bench {
    let control = Control { latency: Duration::from_secs(2), cost_s: 0.5, ..Control::FREE };
    let mut bench = Bench::new(small_host(), vec![vm(0), vm(1), vm(2)]);
    bench.capabilities = bench.capabilities.clone().with(ChangeKind::Cpu, Some(control));
    for (holding, share) in bench.snapshot.assignment.holdings.iter_mut().zip([500, 2500, 1000]) {
        holding.cpu = Grant { share: MilliCpu::new(share), ceiling: MilliCpu::cores(4) };
    }
    let uses = [0.5, 1.0, 1.0];
    (0..30).for_each(|_| bench.pass(1, |position| (uses[position], ByteSize::gib(1))));
    bench
}

fn cpu(vm: u32, share: f64, reason: Reason) -> VmWish {
    VmWish { vm: VmId(vm), cpu: Some(Wish { share, ceiling: 4000.0, reason }), ..VmWish::default() }
}

/// The first VM gets a core and a half more, from the second.
fn relieved(bench: &Bench) -> Vec<Explanation> {
    let needs: Vec<Need> = [2000.0, 800.0, 1600.0]
        .into_iter()
        .enumerate()
        .map(|(position, cpu)| Need { cpu, ..Need::as_held(&view(bench), position) })
        .collect();
    let mut outputs = vec![0.0; 3 * OUTPUTS];
    // CPU use of the first VM over the next 60 s, in shares of its limit of four cores, less what is seen.
    outputs[6..9].copy_from_slice(&[0.25, 0.40, 0.125]);
    let demand = Reason::Demand { expected: 0.5 };
    let proposal = Proposal {
        based_on: bench.snapshot.generation,
        vms: vec![cpu(0, 2000.0, demand), cpu(1, 1000.0, Reason::Fit), cpu(2, 1000.0, Reason::Fit)],
        ..Proposal::default()
    };
    let plan = plan(bench, &proposal);
    explain(&view(bench), &plan, Known { needs: &needs, outputs: &outputs })
}

#[test]
fn a_starved_vm_gets_cpu_for_what_is_foreseen() {
    let bench = starved();
    let all = relieved(&bench);
    let found = all.iter().find(|found| found.vm.as_deref() == Some("guest-0")).expect("it gets more");
    assert_eq!((found.kind, found.part.as_str()), (ChangeKind::Cpu, "left"));
    assert_eq!(found.from, "0.50 cores (up to 4.00)");
    assert_eq!(found.to, "2.00 cores (up to 4.00)");
    let Driver::Forecast(forecast) = &found.driver else { panic!("{:?}", found.driver) };
    assert_eq!((forecast.quantity, forecast.horizon_s), ("cpu", 60.0));
    assert!((forecast.seen - 0.5).abs() < 0.01, "{forecast:?}");
    for (quantile, cores) in forecast.quantiles.iter().zip([1.0, 1.5, 2.1]) {
        assert!((quantile - cores).abs() < 0.01, "in order: {forecast:?}");
    }
    // From a quarter of its need to all of it.
    assert!(found.gain_s_per_min.is_some_and(|gain| (gain - 45.0).abs() < 1e-6), "{found:?}");
    assert_eq!(found.cost.takes, Duration::from_secs(2));
    assert!((found.cost.charged_s - 0.5).abs() < 1e-9);
    let Some(RunnerUp::Vm { name, unmet }) = &found.runner_up else { panic!("{:?}", found.runner_up) };
    assert!(name == "guest-2" && (unmet - 0.375).abs() < 1e-6, "{name} {unmet}");
}

#[test]
fn who_gives_it_is_under_the_pressure_of_the_others() {
    let bench = starved();
    let all = relieved(&bench);
    let found = all.iter().find(|found| found.vm.as_deref() == Some("guest-1")).expect("it gives");
    let Driver::Pressure(pressure) = &found.driver else { panic!("{:?}", found.driver) };
    assert!((pressure.needed.amount - 4.4).abs() < 1e-6 && pressure.there == Some(4.0), "{pressure:?}");
    assert_eq!(pressure.taker.as_deref(), Some("guest-0"));
    assert!(found.gain_s_per_min.is_some_and(|gain| gain.abs() < 1e-6), "it did not need it: {found:?}");
}

#[test]
fn without_needs_only_the_reason_is_known() {
    let bench = starved();
    let proposal = Proposal {
        based_on: bench.snapshot.generation,
        vms: vec![cpu(1, 1000.0, Reason::Fit)],
        ..Proposal::default()
    };
    let plan = plan(&bench, &proposal);
    let all = explain(&view(&bench), &plan, Known { needs: &[], outputs: &[] });
    assert_eq!(all.len(), plan.changes().len());
    for found in all {
        assert_eq!((&found.driver, found.gain_s_per_min), (&Driver::Reason, None));
        assert_eq!(found.runner_up, None);
    }
}

fn assert_sound(found: &Explanation) -> Result<(), TestCaseError> {
    if let Driver::Forecast(forecast) = &found.driver {
        let all = forecast.quantiles;
        prop_assert!(all.is_sorted() && all.iter().all(|value| value.is_finite()), "{forecast:?}");
    }
    prop_assert!(found.gain_s_per_min.is_none_or(f64::is_finite), "{found:?}");
    prop_assert!(found.need.as_ref().is_none_or(|need| need.amount.is_finite()), "{found:?}");
    if let Some(RunnerUp::Vm { name, unmet }) = &found.runner_up {
        prop_assert!(*unmet > 0.0 && *unmet <= 1.0 && found.vm.as_ref() != Some(name), "{found:?}");
    }
    Ok(())
}

/// A step and its explanation are of the same thing.
fn assert_fits(step: &Step, found: &Explanation, bench: &Bench) -> Result<(), TestCaseError> {
    prop_assert_eq!(step.kind(), found.kind);
    if let Some(vm) = step.vm() {
        let spec = bench.vms.iter().find(|spec| spec.id == vm);
        prop_assert_eq!(spec.map(|spec| &spec.name), found.vm.as_ref());
    }
    Ok(())
}

proptest! {
    #![proptest_config(config(48))]

    #[test]
    fn every_change_on_a_random_host_is_explained(mut tape in tape(6000), seed in any::<u64>()) {
        const SHAPE: Shape =
            Shape { features: Features::PER_VM, host: Features::HOST, width: 24, outputs: OUTPUTS };
        let (Host { topology, vms, capabilities }, assignment): (Host, Assignment) = Host::admitted(&mut tape);
        let mut bench = Bench::of(topology, vms, capabilities, assignment);
        let mut learned = Learned::new(Network::random(SHAPE, seed).expect("the shape is permitted"));
        for _ in 0..8 {
            let uses: Vec<f64> = bench.vms.iter().map(|_| 8.0 * tape.share()).collect();
            bench.pass(20, |position| (uses[position], ByteSize::gib(2)));
            let proposal = bench.decide(&mut learned);
            let plan = plan(&bench, &proposal);
            prop_assert_eq!(plan.start(), bench.snapshot.assignment.clone(), "changes undone lead back");
            let all = learned.explain(&view(&bench), &plan);
            prop_assert_eq!(all.len(), plan.changes().len());
            for (change, found) in plan.changes().iter().zip(&all) {
                assert_fits(&change.step, found, &bench)?;
                assert_sound(found)?;
            }
            bench.snapshot.assignment = plan.target().clone();
        }
    }
}
