//! The result of a bench for programs: the comparison, and every run that it was made of.

use std::collections::BTreeMap;

use serde::Serialize;

use super::run::Case;
use crate::compare::{Comparison, Decisions, Summary, by_policy, compare_digests, gap_recovered};
use crate::digest::Digest;

/// What a policy recovers of the gap with one resource alone, or with all together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ResourceRow {
    /// The policy.
    pub policy: String,
    /// (U − U static) / (U clairvoyant − U static), all three with that resource alone.
    pub gap_recovered: Summary,
    /// What it gains over the static assignment, mean over scenarios.
    pub gain: f64,
    /// In how many scenarios the host could change it.
    pub scenarios: usize,
}

/// One scenario.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ScenarioRow {
    /// Its name.
    pub scenario: String,
    /// The host's name.
    pub host: String,
    /// The seed.
    pub seed: u64,
    /// How many VMs.
    pub vms: usize,
    /// How long, if that is known.
    pub hours: Option<f64>,
    /// The utility that nothing can exceed.
    pub bound: Option<f64>,
}

/// One run.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RunRow {
    /// The scenario's name.
    pub scenario: String,
    /// The host's name.
    pub host: String,
    /// The seed.
    pub seed: u64,
    /// The policy.
    pub policy: String,
    /// Mean utility, weighted by VM, less the cost of changes.
    pub utility: f64,
    /// (U − U static) / (U clairvoyant − U static).
    pub gap_recovered: Option<f64>,
    /// Share of windows that missed their objective, in percent.
    pub violations_pct: f64,
    /// Utility of the VM that does worst.
    pub worst_vm: f64,
    /// Changes begun per simulated hour.
    pub changes_per_hour: f64,
    /// Grants found swinging to and fro.
    pub limit_cycles: u64,
    /// Decisions that the heuristic made instead of the policy.
    pub fallbacks: u64,
    /// How long decisions took.
    pub decision_us: Decisions,
}

/// Memory of the whole bench. What one policy takes of it cannot be told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Memory {
    /// The most that the process had resident, in bytes, if that is known.
    pub process_peak_rss_bytes: Option<u64>,
}

/// The result of a bench.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Policies side by side.
    #[serde(flatten)]
    pub comparison: Comparison,
    /// What each policy recovers with each resource alone, and `together`.
    pub by_resource: BTreeMap<String, Vec<ResourceRow>>,
    /// Every scenario.
    pub cases: Vec<ScenarioRow>,
    /// Every run in which everything could be changed.
    pub runs: Vec<RunRow>,
    /// Memory of the whole bench.
    pub memory: Memory,
}

impl Report {
    /// Compares what came of a bench.
    #[must_use]
    pub fn new(cases: &[Case], memory: Memory) -> Self {
        let runs: Vec<(&str, &[Digest])> =
            cases.iter().map(|case| (case.host.as_str(), case.runs.as_slice())).collect();
        let seed = cases.first().map_or(0, |case| case.seed);
        Self {
            comparison: compare_digests(seed, &runs),
            by_resource: by_resource(cases),
            cases: cases.iter().map(scenario_row).collect(),
            runs: cases.iter().flat_map(|case| case.runs.iter().map(|run| run_row(case, run))).collect(),
            memory,
        }
    }
}

fn scenario_row(case: &Case) -> ScenarioRow {
    ScenarioRow {
        scenario: case.name.clone(),
        host: case.host.clone(),
        seed: case.seed,
        vms: case.vms,
        hours: case.duration.map(|duration| duration.as_secs_f64() / 3600.0),
        bound: case.bound.is_finite().then_some(case.bound),
    }
}

fn run_row(case: &Case, run: &Digest) -> RunRow {
    RunRow {
        scenario: case.name.clone(),
        host: case.host.clone(),
        seed: case.seed,
        policy: run.policy.clone(),
        utility: run.utility,
        gap_recovered: gain(&case.runs, run).and_then(|gain| gap_recovered(&[gain]).mean),
        violations_pct: 100.0 * run.violations,
        worst_vm: run.worst_vm,
        changes_per_hour: run.changes_per_hour,
        limit_cycles: run.limit_cycles,
        fallbacks: run.fallbacks,
        decision_us: Decisions { p50: run.timings.at_share(0.50), p99: run.timings.at_share(0.99) },
    }
}

/// What a run gained over the static assignment, and what the clairvoyant of the same runs gained. Where
/// VMs come and go, the static assignment changes things as well, so with one resource alone it is not
/// what it is with all.
fn gain(runs: &[Digest], run: &Digest) -> Option<(f64, f64)> {
    let least = by_policy(runs, "static")?.utility;
    Some((run.utility - least, by_policy(runs, "clairvoyant")?.utility - least))
}

fn by_resource(cases: &[Case]) -> BTreeMap<String, Vec<ResourceRow>> {
    let mut ways: BTreeMap<&str, Vec<&[Digest]>> = BTreeMap::new();
    for case in cases {
        ways.entry("together").or_default().push(&case.runs);
        for (resource, runs) in &case.alone {
            ways.entry(resource.name()).or_default().push(runs);
        }
    }
    ways.into_iter().map(|(name, runs)| (name.to_string(), resource_rows(&runs))).collect()
}

fn resource_rows(scenarios: &[&[Digest]]) -> Vec<ResourceRow> {
    let policies = scenarios.first().map_or(&[][..], |runs| *runs);
    let row = |policy: &Digest| {
        let pair = |runs: &&[Digest]| gain(runs, by_policy(runs, &policy.policy)?);
        let pairs: Vec<(f64, f64)> = scenarios.iter().filter_map(pair).collect();
        let gains: Vec<f64> = pairs.iter().map(|(gain, _)| *gain).collect();
        ResourceRow {
            policy: policy.policy.clone(),
            gap_recovered: gap_recovered(&pairs),
            gain: crate::statistics::mean(&gains),
            scenarios: pairs.len(),
        }
    };
    policies.iter().map(row).collect()
}
