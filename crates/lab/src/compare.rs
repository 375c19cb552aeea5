//! Several policies on the same scenarios, side by side, in the form that reports and JSON share.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::digest::{Digest, Timings};
use crate::run::RunResult;
use crate::statistics::{half_width, mean, p5};

/// A mean with its spread over scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// 5th percentile.
    pub p5: f64,
    /// 95 % confidence interval of the mean, not above 1, which no utility exceeds. With one scenario
    /// nothing is known of it, and both ends are the mean.
    pub ci95: [f64; 2],
}

/// A share of the gap between the static assignment and the clairvoyant, over scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Mean; nothing where there is no gap.
    pub mean: Option<f64>,
    /// 5th percentile.
    pub p5: Option<f64>,
    /// The gain of all scenarios together over the gap of all together. A scenario with next to no gap
    /// says little, and here it weighs little.
    pub pooled: Option<f64>,
}

/// The mean difference to another policy on the same scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Difference {
    /// Mean.
    pub mean: f64,
    /// 95 % confidence interval; nothing with fewer than two scenarios.
    pub ci95: Option<[f64; 2]>,
}

/// How long decisions took, in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Decisions {
    /// Median.
    pub p50: f64,
    /// 99th percentile.
    pub p99: f64,
}

/// One policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Row {
    /// Its name.
    pub policy: String,
    /// Mean utility, weighted by VM, less the cost of changes.
    pub utility: Spread,
    /// (U − U static) / (U clairvoyant − U static).
    pub gap_recovered: Summary,
    /// How much more utility than `reactive` on the same scenarios, if that ran.
    pub against_reactive: Option<Difference>,
    /// How far below what nothing can exceed, in percent of that.
    pub bound_gap_pct: Option<f64>,
    /// Share of windows that missed their objective, in percent.
    pub violations_pct: f64,
    /// Utility of the VM that does worst, mean over scenarios.
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

/// Policies side by side.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Comparison {
    /// The version of this form.
    pub schema: u32,
    /// How many scenarios.
    pub scenarios: usize,
    /// The seed of the first.
    pub seed: u64,
    /// How far the clairvoyant is below what nothing can exceed, in percent of the latter.
    pub bound_gap_pct: Option<f64>,
    /// All hosts together.
    pub policies: Vec<Row>,
    /// Each host by name.
    pub by_host: BTreeMap<String, Vec<Row>>,
}

/// Compares the results of the same policies on several scenarios; `results` has one list for each
/// scenario, with the host's name.
#[must_use]
pub fn compare(seed: u64, results: &[(String, Vec<RunResult>)]) -> Comparison {
    let digests: Vec<(&str, Vec<Digest>)> =
        results.iter().map(|(host, runs)| (host.as_str(), runs.iter().map(Digest::from).collect())).collect();
    let runs: Vec<(&str, &[Digest])> = digests.iter().map(|(host, runs)| (*host, runs.as_slice())).collect();
    compare_digests(seed, &runs)
}

/// The same for what is kept of runs.
pub(crate) fn compare_digests(seed: u64, scenarios: &[(&str, &[Digest])]) -> Comparison {
    let mut hosts: BTreeMap<String, Vec<&[Digest]>> = BTreeMap::new();
    for (host, runs) in scenarios {
        hosts.entry((*host).to_string()).or_default().push(runs);
    }
    let all: Vec<&[Digest]> = scenarios.iter().map(|(_, runs)| *runs).collect();
    let gaps: Vec<f64> = all.iter().filter_map(|runs| below_bound(by_policy(runs, "clairvoyant")?)).collect();
    Comparison {
        schema: 1,
        scenarios: scenarios.len(),
        seed,
        bound_gap_pct: (!gaps.is_empty()).then(|| mean(&gaps)),
        policies: rows(&all),
        by_host: hosts.into_iter().map(|(host, runs)| (host, rows(&runs))).collect(),
    }
}

pub(crate) fn by_policy<'a>(runs: &'a [Digest], policy: &str) -> Option<&'a Digest> {
    runs.iter().find(|run| run.policy == policy)
}

fn below_bound(run: &Digest) -> Option<f64> {
    (run.bound > 0.0).then(|| 100.0 * (run.bound - run.utility) / run.bound)
}

/// Below this the static assignment is as good as it gets, and shares of the gap say nothing.
const NO_GAP: f64 = 1e-4;

/// Gains over the static assignment, each with the gap that could have been gained.
pub(crate) fn gap_recovered(pairs: &[(f64, f64)]) -> Summary {
    let shares: Vec<f64> =
        pairs.iter().filter(|(_, gap)| *gap > NO_GAP).map(|(gain, gap)| gain / gap).collect();
    let known = |value: f64| (!shares.is_empty()).then_some(value);
    let gain = mean(&pairs.iter().map(|(gain, _)| *gain).collect::<Vec<f64>>());
    let gap = mean(&pairs.iter().map(|(_, gap)| *gap).collect::<Vec<f64>>());
    let pooled = (gap > NO_GAP).then(|| gain / gap);
    Summary { mean: known(mean(&shares)), p5: known(p5(&shares)), pooled }
}

/// What a policy gained in a scenario, and what could have been gained.
fn gain(runs: &[Digest], run: &Digest) -> Option<(f64, f64)> {
    let least = by_policy(runs, "static")?.utility;
    Some((run.utility - least, by_policy(runs, "clairvoyant")?.utility - least))
}

fn rows(scenarios: &[&[Digest]]) -> Vec<Row> {
    let policies = scenarios.first().map_or(&[][..], |runs| *runs);
    policies.iter().map(|first| row(scenarios, &first.policy)).collect()
}

fn row(scenarios: &[&[Digest]], policy: &str) -> Row {
    let runs: Vec<(&[Digest], &Digest)> =
        scenarios.iter().filter_map(|runs| Some((*runs, by_policy(runs, policy)?))).collect();
    let each = |value: &dyn Fn(&Digest) -> f64| runs.iter().map(|(_, run)| value(run)).collect::<Vec<f64>>();
    let gains: Vec<(f64, f64)> = runs.iter().filter_map(|(all, run)| gain(all, run)).collect();
    let below: Vec<f64> = runs.iter().filter_map(|(_, run)| below_bound(run)).collect();
    let mut timings = Timings::default();
    runs.iter().for_each(|(_, run)| timings.add(&run.timings));
    Row {
        policy: policy.into(),
        utility: spread(&each(&|run| run.utility)),
        gap_recovered: gap_recovered(&gains),
        against_reactive: against(&runs, "reactive"),
        bound_gap_pct: (!below.is_empty()).then(|| mean(&below)),
        violations_pct: 100.0 * mean(&each(&|run| run.violations)),
        worst_vm: mean(&each(&|run| run.worst_vm)),
        changes_per_hour: mean(&each(&|run| run.changes_per_hour)),
        limit_cycles: runs.iter().map(|(_, run)| run.limit_cycles).sum(),
        fallbacks: runs.iter().map(|(_, run)| run.fallbacks).sum(),
        decision_us: Decisions { p50: timings.at_share(0.50), p99: timings.at_share(0.99) },
    }
}

/// The mean utility over scenarios. Only its mean is bounded by 1 as well, so only the upper end is cut.
fn spread(values: &[f64]) -> Spread {
    let (mean, half) = (mean(values), half_width(values).unwrap_or(0.0));
    Spread { mean, p5: p5(values), ci95: [mean - half, (mean + half).min(1.0).max(mean)] }
}

fn against(runs: &[(&[Digest], &Digest)], other: &str) -> Option<Difference> {
    let pair = |(all, run): &(&[Digest], &Digest)| Some(run.utility - by_policy(all, other)?.utility);
    let differences: Vec<f64> = runs.iter().filter_map(pair).collect();
    let mean = mean(&differences);
    let ci95 = half_width(&differences).map(|half| [mean - half, mean + half]);
    (!differences.is_empty()).then_some(Difference { mean, ci95 })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(policy: &str, utility: f64) -> Digest {
        Digest {
            policy: policy.into(),
            utility,
            bound: 1.0,
            violations: 0.0,
            worst_vm: 0.5,
            changes_per_hour: 0.0,
            limit_cycles: 0,
            fallbacks: 1,
            timings: Timings::of(&[64, 96, 127]),
        }
    }

    fn three(shift: f64) -> Vec<Digest> {
        let runs = [("static", 0.5), ("reactive", 0.7), ("clairvoyant", 0.9)];
        runs.map(|(policy, utility)| result(policy, utility + shift)).to_vec()
    }

    #[test]
    fn the_gap_is_zero_for_static_and_one_for_the_clairvoyant() {
        let (first, second) = (three(0.0), three(0.02));
        let comparison = compare_digests(7, &[("host", first.as_slice()), ("host", second.as_slice())]);
        let gaps: Vec<_> = comparison.policies.iter().map(|row| row.gap_recovered.mean.unwrap()).collect();
        assert!((gaps[0] - 0.0).abs() < 1e-9 && (gaps[1] - 0.5).abs() < 1e-9 && (gaps[2] - 1.0).abs() < 1e-9);
        assert!((comparison.bound_gap_pct.unwrap() - 9.0).abs() < 1e-9);
        let row = &comparison.policies[0];
        assert!((row.utility.mean - 0.51).abs() < 1e-9 && (row.utility.p5 - 0.5).abs() < 1e-9);
        assert!((row.utility.ci95[1] - 0.51 - 12.706 * 0.01).abs() < 1e-6);
        assert!((row.decision_us.p50 - 0.096).abs() < 1e-9);
        assert_eq!((row.fallbacks, comparison.by_host["host"].len()), (2, 3));
    }

    #[test]
    fn differences_are_between_pairs_and_no_interval_passes_one() {
        let (first, second) = (three(0.0), three(0.099));
        let comparison = compare_digests(7, &[("a", first.as_slice()), ("b", second.as_slice())]);
        let difference = comparison.policies[2].against_reactive.unwrap();
        // Scenarios differ far more than policies do within each; a paired difference does not mind.
        let [low, high] = difference.ci95.unwrap();
        assert!((difference.mean - 0.2).abs() < 1e-9 && (high - low).abs() < 1e-9);
        assert!((comparison.policies[2].utility.ci95[1] - 1.0).abs() < 1e-9);
        assert_eq!(comparison.by_host["a"][0].against_reactive.unwrap().ci95, None);
    }

    #[test]
    fn a_scenario_with_next_to_no_gap_weighs_little_in_the_pooled_share() {
        let summary = gap_recovered(&[(0.05, 0.10), (-0.002, 0.001)]);
        assert!((summary.mean.unwrap() - (0.5 - 2.0) / 2.0).abs() < 1e-9);
        assert!((summary.pooled.unwrap() - 0.048 / 0.101).abs() < 1e-9);
    }

    #[test]
    fn without_a_gap_nothing_is_claimed() {
        let runs = [result("static", 0.5), result("clairvoyant", 0.5)];
        let comparison = compare_digests(7, &[("host", &runs)]);
        assert_eq!(comparison.policies[0].gap_recovered, Summary { mean: None, p5: None, pooled: None });
        assert_eq!(comparison.policies[0].against_reactive, None);
    }
}
