//! Whoever knows the future is not beaten by those who do not.

mod common;
#[path = "common/small.rs"]
mod small;

use common::run;
use halcyon_lab::bench::policies;
use halcyon_lab::{Draw, Scenario};
use small::{HOSTS, calm, drawn, minutes};

/// How much less than the best of the others counts as equal.
const EQUAL: f64 = 0.003;

fn nobody_is_better(scenario: &Scenario, what: &str) {
    let result = run(scenario, "clairvoyant");
    let (clairvoyant, certified) = (result.score.utility, result.score.bound);
    assert!(clairvoyant <= certified + 1e-9, "{what}: {clairvoyant} of {certified}");
    for policy in policies() {
        let utility = run(scenario, policy).score.utility;
        assert!(clairvoyant >= utility * (1.0 - EQUAL), "{what}: {policy} {utility}, {clairvoyant}");
    }
}

#[test]
fn nobody_beats_the_clairvoyant() {
    for (seed, (host, vms)) in (21..).zip(HOSTS) {
        let scenario = drawn(host, vms, minutes(12), seed, Draw { load: 0.9, ..calm() });
        nobody_is_better(&scenario, &format!("{}, seed {seed}", scenario.topology.name()));
    }
}

#[test]
fn nor_when_vms_come_and_go_and_the_host_is_overloaded() {
    for (seed, (host, vms)) in (41..).zip(HOSTS) {
        let draw = Draw { load: 1.2, churn: 0.5, signal: 0.3, ..calm() };
        let scenario = drawn(host, vms, minutes(12), seed, draw);
        nobody_is_better(&scenario, &format!("{}, seed {seed}", scenario.topology.name()));
    }
}

/// Noticeably better than what is decided without knowing: there is something to be known.
#[test]
fn knowing_the_future_is_worth_something() {
    let (host, _) = HOSTS[1];
    let scenario = drawn(host, 20, minutes(30), 3, Draw { load: 0.9, ..calm() });
    let [clairvoyant, reactive, none] =
        ["clairvoyant", "reactive", "static"].map(|policy| run(&scenario, policy).score.utility);
    assert!(clairvoyant > none + 0.01, "{clairvoyant} against {none} of static");
    assert!(clairvoyant >= reactive, "{clairvoyant} against {reactive} of reactive");
}
