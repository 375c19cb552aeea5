//! Whole runs: every policy keeps the rules at every step, and odd scenarios run or say why not.

mod common;

use std::time::Duration;

use common::{HOUR, Still, draw, generated, on_demo_host, run, scenario, traced};
use halcyon_lab::{POLICIES, Run, ScenarioError};
use halcyon_model::{World, check};

#[test]
fn every_policy_keeps_the_rules_at_every_step() {
    let scenario = scenario(16, HOUR, 3);
    let vms: Vec<_> = scenario.guests.iter().map(|guest| guest.spec.clone()).collect();
    let world = World { topology: &scenario.topology, vms: &vms, capabilities: &scenario.capabilities };
    for policy in POLICIES {
        let mut run = Run::new(&scenario, policy, false).expect("the run starts");
        while !run.is_over() {
            let outcome = run.tick(&Still).expect("the cycle goes on");
            assert!(outcome.fallback.is_none(), "{policy}: {:?}", outcome.fallback);
            if let Err(broken) = check(world, run.host().assignment()) {
                panic!("{policy} at {:?}: {broken}", run.host().now());
            }
        }
        assert!(run.cycle().executor().stuck().is_empty());
        let result = run.finish();
        assert!(result.score.utility <= result.score.bound && result.score.worst_vm >= 0.0);
    }
}

#[test]
fn one_seed_gives_one_result() {
    for policy in ["reactive", "clairvoyant"] {
        let result = || run(&scenario(12, HOUR, 9), policy);
        let (first, second) = (result(), result());
        assert!(first.score == second.score && first.limit_cycles == second.limit_cycles);
        assert!(first.changes_per_hour.to_bits() == second.changes_per_hour.to_bits());
    }
}

#[test]
fn policies_that_do_not_look_at_demand_settle() {
    for policy in ["static", "reservation", "proportional"] {
        let scenario = scenario(16, HOUR, 2);
        let mut run = Run::new(&scenario, policy, false).expect("the run starts");
        let mut last = Duration::ZERO;
        while !run.is_over() {
            let outcome = run.tick(&Still).expect("the cycle goes on");
            last = if outcome.plan.is_some() { run.host().now() } else { last };
        }
        assert!(last < Duration::from_secs(900), "{policy} still plans after {last:?}");
    }
}

#[test]
fn a_daily_rhythm_makes_no_limit_cycles_in_a_week() {
    let day: Vec<f32> = (0..288_u16).map(|at| 0.85 - 0.8 * (f32::from(at) / 144.0 - 1.0).abs()).collect();
    let shifted = |by: usize| {
        let mut day = day.clone();
        day.rotate_left(by);
        day
    };
    let traces = traced(&[day.clone(), shifted(72), shifted(144), shifted(200)], Duration::from_secs(300));
    let mut scenario = on_demo_host(&traces, draw(8, 7 * 24 * HOUR, 4)).expect("the VMs fit");
    scenario.parameters.burst_sigma = 0.02;
    scenario.parameters.surge_height = 1.0;
    // On a host that is full to the brim, memory that one VM gives up is wanted by the next at once.
    for guest in &mut scenario.guests {
        guest.workload.demand.working_set.iter_mut().for_each(|size| *size *= 0.8);
    }
    let result = run(&scenario, "reactive");
    assert_eq!(result.limit_cycles, 0);
    assert_eq!(result.fallbacks, 0);
}

#[test]
fn no_vm_and_one_vm_run() {
    for vms in [0, 1] {
        for policy in POLICIES {
            let traces = generated(1, HOUR, 1);
            let scenario = on_demo_host(&traces, draw(vms, HOUR / 4, 1)).expect("the VMs fit");
            let result = run(&scenario, policy);
            assert_eq!(result.score.vms.len(), vms);
            assert!(result.score.utility.is_finite() && result.score.utility <= result.score.bound);
        }
    }
}

#[test]
fn a_thousand_vms_are_turned_away_from_a_host_that_is_too_small() {
    let small = include_str!("../../../examples/hosts/small.toml");
    let small = halcyon_model::describe::parse_host(small).expect("a host");
    let (traces, draw) = (generated(32, HOUR, 1), draw(1024, HOUR, 1));
    let drawn = halcyon_lab::Scenario::draw(small.topology, small.capabilities, &traces, draw);
    let Err(ScenarioError::Admission(error)) = drawn else { panic!("they cannot all fit") };
    assert!(error.to_string().contains("lower its reservation or the number of VMs"), "{error}");
}

/// How long it takes is measured by `cargo bench -p halcyon-lab -- growth`.
#[test]
fn a_thousand_vms_run_on_a_host_that_is_large_enough() {
    let large = common::TWO_SOCKET.replace("cores = 24", "cores = 1000").replace("256GiB", "8192GiB");
    let large = halcyon_model::describe::parse_host(&large).expect("still a host");
    let traces = generated(64, HOUR, 1);
    for policy in POLICIES {
        let scenario = halcyon_lab::Scenario::draw(
            large.topology.clone(),
            large.capabilities.clone(),
            &traces,
            draw(1024, Duration::from_secs(120), 1),
        );
        let result = run(&scenario.expect("the VMs fit"), policy);
        assert_eq!(result.score.vms.len(), 1024);
    }
}

#[test]
fn a_trace_that_is_too_short_repeats() {
    let traces = traced(&[vec![0.2, 0.9, 0.4], vec![0.6]], Duration::from_secs(60));
    let scenario = on_demo_host(&traces, draw(6, HOUR, 1)).expect("the VMs fit");
    assert!(run(&scenario, "reactive").score.utility > 0.5);
}

#[test]
fn vms_of_which_nothing_is_asked_lose_nothing() {
    let traces = traced(&[vec![0.0; 60], vec![0.0; 60]], Duration::from_secs(60));
    let scenario = on_demo_host(&traces, draw(4, HOUR, 1)).expect("the VMs fit");
    for policy in POLICIES {
        let score = run(&scenario, policy).score;
        assert!(score.utility > 0.99 && score.utility <= score.bound, "{policy}: {score:?}");
        assert!(score.violations == 0.0);
    }
}

#[test]
fn a_trace_without_readings_is_refused_by_name() {
    let mut traces = traced(&[vec![0.5]], Duration::from_secs(60));
    traces.series[0].cpu = vec![None; 5];
    let error = on_demo_host(&traces, draw(4, HOUR, 1)).expect_err("nothing to run");
    assert!(error.to_string().contains("the trace test has no VM with demand"), "{error}");
}
