//! Several policies on the same scenarios, side by side, in the form that reports and JSON share.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::run::RunResult;

/// A mean with its spread over scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Spread {
    /// Mean.
    pub mean: f64,
    /// 5th percentile.
    pub p5: f64,
    /// 95 % confidence interval of the mean. With one scenario nothing is known of it, and both ends are
    /// the mean.
    pub ci95: [f64; 2],
}

/// A share of the gap between the static assignment and the clairvoyant, over scenarios.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Summary {
    /// Mean; nothing where there is no gap.
    pub mean: Option<f64>,
    /// 5th percentile.
    pub p5: Option<f64>,
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
    /// Share of windows that missed their objective, in percent.
    pub violations_pct: f64,
    /// Utility of the VM that does worst, mean over scenarios.
    pub worst_vm: f64,
    /// Changes begun per simulated hour.
    pub changes_per_hour: f64,
    /// Grants found swinging to and fro.
    pub limit_cycles: u64,
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
    let mut hosts: BTreeMap<String, Vec<&[RunResult]>> = BTreeMap::new();
    for (host, runs) in results {
        hosts.entry(host.clone()).or_default().push(runs);
    }
    let all: Vec<&[RunResult]> = results.iter().map(|(_, runs)| runs.as_slice()).collect();
    let gaps: Vec<f64> = all.iter().filter_map(|runs| bound_gap(runs)).collect();
    Comparison {
        schema: 1,
        scenarios: results.len(),
        seed,
        bound_gap_pct: (!gaps.is_empty()).then(|| mean(&gaps)),
        policies: rows(&all),
        by_host: hosts.into_iter().map(|(host, runs)| (host, rows(&runs))).collect(),
    }
}

fn by_policy<'a>(runs: &'a [RunResult], policy: &str) -> Option<&'a RunResult> {
    runs.iter().find(|run| run.policy == policy)
}

fn bound_gap(runs: &[RunResult]) -> Option<f64> {
    let best = &by_policy(runs, "clairvoyant")?.score;
    (best.bound > 0.0).then(|| 100.0 * (best.bound - best.utility) / best.bound)
}

/// Below this the static assignment is as good as it gets, and shares of the gap say nothing.
const NO_GAP: f64 = 1e-4;

fn gap_recovered(runs: &[RunResult], run: &RunResult) -> Option<f64> {
    let least = by_policy(runs, "static")?.score.utility;
    let most = by_policy(runs, "clairvoyant")?.score.utility;
    (most - least > NO_GAP).then(|| (run.score.utility - least) / (most - least))
}

fn rows(scenarios: &[&[RunResult]]) -> Vec<Row> {
    let policies = scenarios.first().map_or(&[][..], |runs| *runs);
    policies.iter().map(|first| row(scenarios, &first.policy)).collect()
}

#[allow(clippy::cast_precision_loss)]
fn row(scenarios: &[&[RunResult]], policy: &str) -> Row {
    let runs: Vec<(&[RunResult], &RunResult)> =
        scenarios.iter().filter_map(|runs| Some((*runs, by_policy(runs, policy)?))).collect();
    let each =
        |value: &dyn Fn(&RunResult) -> f64| runs.iter().map(|(_, run)| value(run)).collect::<Vec<f64>>();
    let utility = each(&|run| run.score.utility);
    let gaps: Vec<f64> = runs.iter().filter_map(|(all, run)| gap_recovered(all, run)).collect();
    let mut decisions: Vec<u32> = runs.iter().flat_map(|(_, run)| run.decisions_ns.iter().copied()).collect();
    decisions.sort_unstable();
    let known = |value: f64| (!gaps.is_empty()).then_some(value);
    Row {
        policy: policy.into(),
        utility: Spread { mean: mean(&utility), p5: p5(&utility), ci95: ci95(&utility) },
        gap_recovered: Summary { mean: known(mean(&gaps)), p5: known(p5(&gaps)) },
        violations_pct: 100.0 * mean(&each(&|run| run.score.violations)),
        worst_vm: mean(&each(&|run| run.score.worst_vm)),
        changes_per_hour: mean(&each(&|run| run.changes_per_hour)),
        limit_cycles: runs.iter().map(|(_, run)| run.limit_cycles).sum(),
        decision_us: Decisions { p50: at_share(&decisions, 0.50), p99: at_share(&decisions, 0.99) },
    }
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn at_share(sorted: &[u32], share: f64) -> f64 {
    let rank = (share * sorted.len().saturating_sub(1) as f64).round() as usize;
    sorted.get(rank).map_or(0.0, |ns| f64::from(*ns) / 1000.0)
}

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// Nearest rank.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn p5(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (0.05 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom (any table); beyond that, the normal.
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

#[allow(clippy::cast_precision_loss)]
fn ci95(values: &[f64]) -> [f64; 2] {
    let (count, middle) = (values.len(), mean(values));
    if count < 2 {
        return [middle, middle];
    }
    let squares: f64 = values.iter().map(|value| (value - middle) * (value - middle)).sum();
    let error = (squares / (count - 1) as f64 / count as f64).sqrt();
    let width = STUDENT.get(count - 2).copied().unwrap_or(1.960) * error;
    [middle - width, middle + width]
}

#[cfg(test)]
mod tests {
    use halcyon_sim::Score;

    use super::*;

    fn result(policy: &str, utility: f64) -> RunResult {
        RunResult {
            policy: policy.into(),
            score: Score { utility, bound: 1.0, violations: 0.0, worst_vm: 0.5, vms: Vec::new() },
            changes_per_hour: 0.0,
            limit_cycles: 0,
            decisions_ns: vec![1000, 2000, 3000],
            fallbacks: 0,
            record: None,
        }
    }

    #[test]
    fn the_gap_is_zero_for_static_and_one_for_the_clairvoyant() {
        let runs = |shift: f64| {
            let runs = [("static", 0.5), ("reactive", 0.7), ("clairvoyant", 0.9)];
            ("host".to_string(), runs.map(|(policy, utility)| result(policy, utility + shift)).to_vec())
        };
        let comparison = compare(7, &[runs(0.0), runs(0.02)]);
        let gaps: Vec<_> = comparison.policies.iter().map(|row| row.gap_recovered.mean.unwrap()).collect();
        assert!((gaps[0] - 0.0).abs() < 1e-9 && (gaps[1] - 0.5).abs() < 1e-9 && (gaps[2] - 1.0).abs() < 1e-9);
        assert!((comparison.bound_gap_pct.unwrap() - 9.0).abs() < 1e-9);
        let spread = comparison.policies[0].utility;
        assert!((spread.mean - 0.51).abs() < 1e-9 && (spread.p5 - 0.5).abs() < 1e-9);
        assert!((spread.ci95[1] - 0.51 - 12.706 * 0.01).abs() < 1e-6);
        assert!((comparison.policies[0].decision_us.p50 - 2.0).abs() < 1e-9);
        assert_eq!(comparison.by_host["host"].len(), 3);
    }

    #[test]
    fn without_a_gap_nothing_is_claimed() {
        let runs = [result("static", 0.5), result("clairvoyant", 0.5)].to_vec();
        let comparison = compare(7, &[("host".into(), runs)]);
        assert_eq!(comparison.policies[0].gap_recovered.mean, None);
    }
}
