//! Peers in a bench: a policy from outside beside those that come with Halcyon, and a world from outside
//! instead of scenarios.

use std::sync::atomic::{AtomicBool, Ordering};

use halcyon_control::Stopwatch;

use super::policy::{EXTERNAL, ExternalPolicy};
use super::world::{Outside, OutsideRunError, WorldRun};
use crate::bench::{BuiltIn, Case, Chosen, Policies, Refusal};
use crate::digest::Digest;
use crate::scenario::Scenario;

/// The policies that come with Halcyon, and beside them one from outside as [`EXTERNAL`], started anew
/// for each run with the scenario's seed.
#[derive(Debug, Clone)]
pub struct Beside(pub Outside);

impl Policies for Beside {
    fn make(&self, name: &str, scenario: &Scenario, stop: &AtomicBool) -> Result<Chosen, Refusal> {
        if name != EXTERNAL {
            return BuiltIn.make(name, scenario, stop);
        }
        let policy = ExternalPolicy::start(&Outside { seed: scenario.seed, ..self.0.clone() })?;
        let fault = policy.fault();
        let fault = move || fault.take().map(|error| Box::new(error) as Refusal);
        Ok(Chosen { policy: Box::new(policy), fault: Some(Box::new(fault)) })
    }

    fn is_fixed(&self, name: &str) -> bool {
        // Nobody knows whether the command is still the same program.
        name != EXTERNAL
    }
}

/// Policies to be run on a world from outside.
#[derive(Debug, Clone, Copy)]
pub struct WorldPlan<'a> {
    /// The world, with its first seed.
    pub world: &'a Outside,
    /// How many seeds.
    pub seeds: u32,
    /// The policies, in the order of reports.
    pub policies: &'a [String],
    /// The one that is called [`EXTERNAL`].
    pub policy: Option<&'a Outside>,
}

impl WorldPlan<'_> {
    /// Runs every policy on every seed, each on a world of its own; nothing once `stop` is set. `done`
    /// hears how many runs are over. Nobody knows the future of such a world, so there is no bound but
    /// what the world itself says.
    ///
    /// # Errors
    /// When a peer is dead, slow or wrong, or there is no such policy.
    pub fn run(
        &self,
        stopwatch: &dyn Stopwatch,
        done: &dyn Fn(usize),
        stop: &AtomicBool,
    ) -> Result<Option<Vec<Case>>, OutsideRunError> {
        let mut cases: Vec<Case> = Vec::new();
        for turn in 0..u64::from(self.seeds) {
            let seed = self.world.seed.wrapping_add(turn);
            let mut case: Option<Case> = None;
            for (at, name) in self.policies.iter().enumerate() {
                let Some((run, digest)) = self.one(name, seed, stopwatch, stop)? else { return Ok(None) };
                let case = case.get_or_insert(Case { bound: digest.bound, ..run });
                case.bound = case.bound.min(digest.bound);
                case.runs.push(digest);
                done(cases.len() * self.policies.len() + at + 1);
            }
            cases.extend(case.map(|mut case| {
                case.runs.iter_mut().for_each(|run| run.bound = case.bound);
                case
            }));
        }
        Ok(Some(cases))
    }

    /// One policy on one seed: the world as it says it is, and what came of it.
    fn one(
        &self,
        name: &str,
        seed: u64,
        stopwatch: &dyn Stopwatch,
        stop: &AtomicBool,
    ) -> Result<Option<(Case, Digest)>, OutsideRunError> {
        let world = Outside { seed, ..self.world.clone() };
        let mut run = match self.policy.filter(|_| name == EXTERNAL) {
            Some(command) => {
                let policy = ExternalPolicy::start(&Outside { seed, ..command.clone() })?;
                let fault = policy.fault();
                WorldRun::of(&world, name, Box::new(policy), Some(fault))?
            }
            None => WorldRun::new(&world, name)?,
        };
        while !run.is_over() {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            run.tick(stopwatch)?;
        }
        let (host, vms, duration) = (run.host_name().to_string(), run.vms(), run.duration());
        let of = |result| {
            let digest = Digest::from(&result);
            let (runs, alone) = (Vec::new(), Vec::new());
            let case =
                Case { name: host.clone(), host, seed, vms, duration, bound: digest.bound, runs, alone };
            (case, digest)
        };
        Ok(run.finish().map(of))
    }
}
