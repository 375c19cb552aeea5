//! One scenario looked at closely: a few policies run it once more, and everything is recorded.

use std::sync::atomic::AtomicBool;

use halcyon_control::Stopwatch;

use super::job::{Policies, Setting};
use super::run::{BenchError, Case};
use super::set::Entry;
use crate::compare::by_policy;
use crate::digest::Digest;
use crate::run::RunResult;
use crate::scenario::Scenario;

/// A scenario with recorded runs.
#[derive(Debug)]
pub struct Detail {
    /// The scenario's name.
    pub name: String,
    /// The scenario.
    pub scenario: Scenario,
    /// Its runs, in the order asked for.
    pub runs: Vec<RunResult>,
}

/// The scenario that tells most about why policies differ, and the policies to look at: that in which
/// the best policy and the static assignment are furthest apart. Nothing without both.
#[must_use]
pub fn telling(cases: &[Case]) -> Option<(usize, Vec<String>)> {
    let apart = |case: &Case| {
        let best = best(case)?;
        Some((best.utility - by_policy(&case.runs, "static")?.utility, best.policy.clone()))
    };
    let known = cases.iter().enumerate().filter_map(|(index, case)| Some((index, apart(case)?)));
    let (index, (_, best)) = known.max_by(|a, b| a.1.0.total_cmp(&b.1.0).then(b.0.cmp(&a.0)))?;
    let mut policies = vec!["static".to_string(), best];
    policies.extend(by_policy(&cases[index].runs, "clairvoyant").map(|run| run.policy.clone()));
    Some((index, policies))
}

/// The best run of a policy that does not know the future.
fn best(case: &Case) -> Option<&Digest> {
    let fair = |run: &&Digest| !matches!(run.policy.as_str(), "static" | "clairvoyant");
    case.runs.iter().filter(fair).max_by(|a, b| a.utility.total_cmp(&b.utility))
}

/// Runs policies on a scenario once more and records what happens; nothing if it was stopped.
///
/// # Errors
/// As [`super::run()`].
pub fn detail(
    entry: &Entry,
    names: &[String],
    policies: &dyn Policies,
    stopwatch: &(dyn Stopwatch + Sync),
    stop: &AtomicBool,
) -> Result<Option<Detail>, BenchError> {
    let scenario = entry.scenario()?;
    let setting = Setting { policies, stopwatch, stop };
    let runs: Vec<Result<Option<RunResult>, BenchError>> = std::thread::scope(|scope| {
        let (setting, scenario) = (&setting, &scenario);
        let started = names.iter().map(|name| scope.spawn(|| setting.run(scenario, name, true, &|_| {})));
        let started: Vec<_> = started.collect();
        let joined = started.into_iter().map(|run| run.join());
        joined.map(|run| run.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
    });
    let runs: Option<Vec<RunResult>> = runs.into_iter().collect::<Result<_, _>>()?;
    Ok(runs.map(|runs| Detail { name: entry.name().to_string(), scenario, runs }))
}
