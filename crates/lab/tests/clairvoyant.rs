//! Whoever knows the future is not beaten by those who do not, and nobody exceeds the certified bound.

mod common;

use std::time::Duration;

use common::{HOUR, draw, generated, run, scenario};
use halcyon_lab::bench::policies;
use halcyon_lab::{Draw, Scenario, bound};
use halcyon_model::describe::parse_host;

/// How much less than the best of the others counts as equal.
const EQUAL: f64 = 0.003;

fn nobody_is_better(scenario: &Scenario, name: &str) {
    let most = bound(scenario).utility;
    let utilities: Vec<(&str, f64)> =
        policies().into_iter().map(|policy| (policy, run(scenario, policy).score.utility)).collect();
    let (_, clairvoyant) = utilities[utilities.len() - 1];
    for (policy, utility) in &utilities {
        assert!(*utility <= most, "{name}: {policy} has {utility}, the bound is {most}");
        assert!(clairvoyant >= utility * (1.0 - EQUAL), "{name}: {policy} in {utilities:?}");
    }
}

#[test]
fn nobody_beats_the_clairvoyant_or_the_bound() {
    for seed in [1, 2] {
        nobody_is_better(&scenario(10, HOUR / 2, seed), &format!("two-socket, seed {seed}"));
    }
}

#[test]
fn nor_where_vms_come_and_go_and_all_is_short() {
    let hosts = [
        include_str!("../../../examples/hosts/small.toml"),
        include_str!("../../../examples/hosts/gpu-box.toml"),
    ];
    for (host, seed) in hosts.into_iter().zip(5..) {
        let host = parse_host(host).expect("the hosts are described well");
        let name = host.topology.name().to_string();
        let duration = Duration::from_secs(1500);
        let traces = generated(10, HOUR, seed);
        let draw = Draw { load: 1.2, churn: 0.5, memory_overcommit: 2.5, ..draw(10, duration, seed) };
        let scenario = Scenario::draw(host.topology, host.capabilities, &traces, draw).expect("the VMs fit");
        nobody_is_better(&scenario, &name);
    }
}
