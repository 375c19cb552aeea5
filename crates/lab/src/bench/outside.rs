//! Policies and worlds that are programs of somebody else.

use std::sync::atomic::AtomicBool;

use halcyon_control::Stopwatch;

use super::job::{BuiltIn, Chosen, Policies, Refusal};
use super::run::{BenchError, Case};
use crate::digest::Digest;
use crate::outside::{ExternalPolicy, Outside, on_world};
use crate::scenario::Scenario;

/// The policies that come with Halcyon, and one that is a command.
#[derive(Debug, Clone)]
pub struct WithCommand {
    /// What the policy is called.
    pub name: String,
    /// The command; its seed is that of each run.
    pub command: Outside,
}

fn seeded(command: &Outside, seed: u64) -> Outside {
    Outside { seed, ..command.clone() }
}

impl Policies for WithCommand {
    fn make(&self, name: &str, scenario: &Scenario, stop: &AtomicBool) -> Result<Chosen, Refusal> {
        if name != self.name {
            return BuiltIn.make(name, scenario, stop);
        }
        let policy = ExternalPolicy::start(&seeded(&self.command, scenario.seed))?;
        let fault = policy.fault();
        let fault = move || fault.take().map(|error| Box::new(error) as Refusal);
        Ok(Chosen { policy: Box::new(policy), fault: Some(Box::new(fault)) })
    }

    /// Nobody knows what else the command depends on.
    fn is_fixed(&self, name: &str) -> bool {
        name != self.name
    }
}

/// Runs policies on a world that is a command, once for each seed, one after another; nothing if it was
/// stopped. `done` hears of each seed that is over.
///
/// # Errors
/// When the world or the policy that is a command is dead, slow or wrong, or there is no such policy.
pub fn world(
    command: &Outside,
    seeds: impl Iterator<Item = u64>,
    policies: &[String],
    mine: Option<&WithCommand>,
    stopwatch: &dyn Stopwatch,
    done: &dyn Fn(u64),
    stop: &AtomicBool,
) -> Result<Option<Vec<Case>>, BenchError> {
    let mut cases = Vec::new();
    for seed in seeds {
        let policy = mine.map(|mine| (mine.name.as_str(), seeded(&mine.command, seed)));
        let policy = policy.as_ref().map(|(name, command)| (*name, command));
        let ran = on_world(&seeded(command, seed), policies, policy, stopwatch, stop);
        let ran = ran.map_err(|source| BenchError::World { seed, source: Box::new(source) })?;
        let Some((host, results)) = ran else { return Ok(None) };
        let vms = results.first().map_or(0, |run| run.score.vms.len());
        let mut runs: Vec<Digest> = results.iter().map(Digest::from).collect();
        let bound = runs.iter().map(|run| run.bound).fold(f64::INFINITY, f64::min);
        runs.iter_mut().for_each(|run| run.bound = bound);
        cases.push(Case {
            name: host.clone(),
            host,
            seed,
            vms,
            duration: None,
            bound,
            runs,
            alone: Vec::new(),
        });
        done(seed);
    }
    Ok(Some(cases))
}
