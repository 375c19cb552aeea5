//! Plans of a real run, explained.

use std::path::Path;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_lab::{Explained, Scenario, explain};
use halcyon_policy::Learned;
use halcyon_policy::explain::Driver;

fn small() -> Scenario {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../examples/scenarios/small.toml");
    Scenario::read(&path).expect("it comes with Halcyon")
}

fn explained(seconds: u64, vm: Option<&str>, stop: bool) -> Option<Explained> {
    let learned = Learned::embedded().expect("weights of this version");
    explain(&small(), learned, Duration::from_secs(seconds), vm, &AtomicBool::new(stop)).expect("it runs")
}

#[test]
fn the_last_plan_is_explained_and_alike_again() {
    let found = explained(90, None, false).expect("something changed");
    assert!(!found.changes.is_empty() && found.at <= Duration::from_secs(90));
    if found.fallback.is_none() {
        assert!(found.changes.iter().all(|change| change.driver != Driver::Reason), "{found:#?}");
    }
    let again = explained(90, None, false).expect("something changed");
    assert_eq!((found.at, found.changes), (again.at, again.changes));
}

#[test]
fn the_last_plan_for_a_vm_concerns_it_and_who_is_stopped_says_nothing() {
    let last = explained(90, None, false).expect("something changed");
    let name = last.changes.iter().find_map(|change| change.vm.clone()).expect("it is a VM's");
    let found = explained(90, Some(&name), false).expect("it was changed");
    assert!(found.changes.iter().any(|change| change.vm.as_ref() == Some(&name)));
    assert!(found.at <= last.at);
    assert!(explained(90, Some("nobody"), false).is_none());
    assert!(explained(90, None, true).is_none());
}
