//! Which crate of the workspace may use which.
//!
//! The table is the layering of the design: left may use right. It is written out in full, with what
//! comes through another crate included, so that a broken arrow is a lookup and not a search. The
//! arrows into a crate that is not there yet stand in the table already.
//!
//! Development dependencies may go against the arrows, because a test may need what lies above, with
//! two exceptions that hold for tests too: a policy never sees `hal`, and `sim` never sees a policy. A
//! policy that could reach the machine, or a simulator that knew who drives it, would make every
//! measured figure doubtful.

use std::collections::{BTreeMap, BTreeSet};

/// The crates that each crate may use, names without `halcyon-`.
const MAY_USE: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("hal", &["model"]),
    ("policy", &["model"]),
    ("api", &["model"]),
    ("vdev", &["model"]),
    ("fabric", &["model"]),
    ("host", &["hal", "model"]),
    ("sim", &["hal", "model"]),
    ("control", &["hal", "policy", "model"]),
    ("lab", &["control", "sim", "hal", "policy", "model"]),
    ("daemon", &["control", "host", "sim", "api", "hal", "policy", "model"]),
    ("cli", &["daemon", "lab", "vdev", "api", "control", "host", "sim", "hal", "policy", "model"]),
    ("guests", &["daemon", "control", "host", "sim", "api", "hal", "policy", "model"]),
    ("bench", &["lab", "control", "sim", "hal", "policy", "model"]),
    ("xtask", &[]),
];

/// Pairs that must not meet even in a test, nor through a third crate.
const NEVER: &[(&str, &str)] = &[("policy", "hal"), ("sim", "policy")];

/// One workspace crate and the workspace crates that its manifest names.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Uses {
    /// Normal and build dependencies, optional and target-specific ones included.
    pub(crate) normal: BTreeSet<String>,
    /// Development dependencies.
    pub(crate) dev: BTreeSet<String>,
}

/// The workspace's own dependency graph, keyed by crate name without `halcyon-`.
pub(crate) type Graph = BTreeMap<String, Uses>;

/// Every broken arrow of `graph`, one sentence each; empty when the layering holds.
pub(crate) fn broken(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    for (name, uses) in graph {
        match MAY_USE.iter().find(|(left, _)| left == name) {
            Some((_, allowed)) => findings.extend(direct(name, uses, allowed)),
            None => findings.push(format!(
                "crate {name} is not in the layering: add it to MAY_USE in xtask/src/arrows.rs and to the design"
            )),
        }
    }
    findings.extend(forbidden_in_tests(graph));
    findings
}

fn direct(name: &str, uses: &Uses, allowed: &[&str]) -> Vec<String> {
    let mut findings = Vec::new();
    for used in &uses.normal {
        if !allowed.contains(&used.as_str()) {
            let may = if allowed.is_empty() { "no other crate".to_owned() } else { allowed.join(", ") };
            findings.push(format!("{name} uses {used}, which breaks the layering: {name} may use {may}"));
        }
    }
    for used in uses.dev.iter().filter(|used| ["cli", "xtask"].contains(&used.as_str())) {
        findings.push(format!("{name} uses {used} in its tests; nothing may depend on {used}"));
    }
    findings
}

/// Looks past the first crate: a test of `policy` that uses `control` would link `hal` as well.
fn forbidden_in_tests(graph: &Graph) -> Vec<String> {
    let mut findings = Vec::new();
    for (from, to) in NEVER {
        let Some(uses) = graph.get(*from) else { continue };
        for first in &uses.dev {
            if first == to || reaches(graph, first, to) {
                findings
                    .push(format!("{from} reaches {to} in its tests through {first}; not even a test may"));
            }
        }
    }
    findings
}

fn reaches(graph: &Graph, from: &str, to: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut open = vec![from];
    while let Some(name) = open.pop() {
        if name == to {
            return true;
        }
        if seen.insert(name)
            && let Some(uses) = graph.get(name)
        {
            open.extend(uses.normal.iter().map(String::as_str));
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    fn graph(edges: &[(&str, &[&str], &[&str])]) -> Graph {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect();
        edges
            .iter()
            .map(|(name, normal, dev)| ((*name).to_owned(), Uses { normal: set(normal), dev: set(dev) }))
            .collect()
    }

    #[test]
    fn the_designed_layering_is_accepted() {
        let everything: Vec<_> = MAY_USE.iter().map(|(name, uses)| (*name, *uses, &[][..])).collect();
        assert_eq!(broken(&graph(&everything)), Vec::<String>::new());
    }

    #[test]
    fn the_table_holds_what_comes_through_another_crate() {
        let allowed: BTreeMap<_, _> = MAY_USE.iter().copied().collect();
        for (name, uses) in MAY_USE {
            for through in uses.iter().flat_map(|used| allowed[used]) {
                assert!(uses.contains(through), "{name} gets {through} through another crate");
            }
        }
    }

    #[test]
    fn each_arrow_against_the_layering_is_named() {
        let bad = graph(&[
            ("model", &["hal"], &[]),
            ("policy", &["model", "hal"], &[]),
            ("sim", &["hal", "policy"], &[]),
            ("daemon", &["lab"], &[]),
            ("lab", &["cli"], &[]),
        ]);
        let findings = broken(&bad);
        for expected in
            ["model uses hal", "policy uses hal", "sim uses policy", "daemon uses lab", "lab uses cli"]
        {
            assert_eq!(findings.iter().filter(|line| line.starts_with(expected)).count(), 1, "{findings:?}");
        }
        assert_eq!(findings.len(), 5, "{findings:?}");
    }

    #[test]
    fn tests_may_look_up_but_not_across_the_two_walls() {
        let looser =
            graph(&[("model", &[], &["sim"]), ("sim", &["hal"], &[]), ("hal", &["model"], &["sim"])]);
        assert_eq!(broken(&looser), Vec::<String>::new());

        let walls = graph(&[
            ("control", &["hal", "policy", "model"], &[]),
            ("policy", &["model"], &["sim"]),
            ("sim", &["hal", "model"], &["control"]),
            ("hal", &["model"], &[]),
            ("model", &[], &["cli"]),
        ]);
        let findings = broken(&walls);
        assert!(findings.iter().any(|line| line.starts_with("policy reaches hal in its tests through sim")));
        assert!(
            findings.iter().any(|line| line.starts_with("sim reaches policy in its tests through control"))
        );
        assert!(findings.iter().any(|line| line.starts_with("model uses cli in its tests")));
        assert_eq!(findings.len(), 3, "{findings:?}");
    }

    #[test]
    fn a_crate_outside_the_table_is_a_finding() {
        let findings = broken(&graph(&[("gadget", &[], &[])]));
        assert!(findings[0].contains("gadget is not in the layering"), "{findings:?}");
    }
}
