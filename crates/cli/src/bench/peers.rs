//! Worlds and policies from outside, in a bench.

use std::sync::atomic::AtomicBool;
use std::time::Duration;

use anyhow::Result;
use halcyon_control::Stopwatch;
use halcyon_lab::bench::{BuiltIn, Case, Policies};
use halcyon_lab::outside::{Beside, Limits, Outside, WorldPlan};

use super::Args;

/// A deadline on the command line, in seconds.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give seconds, such as 10 or 0.5".to_string())?;
    if (0.01..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("give 0.01 to 86400 seconds".into())
    }
}

fn outside(args: &Args, command: &str) -> Outside {
    let limits = Limits { deadline: args.peer_deadline, ..Limits::default() };
    Outside { command: command.into(), limits, seed: 1 }
}

/// Where policies come from.
pub(super) fn policies(args: &Args) -> Box<dyn Policies> {
    match &args.policy_cmd {
        Some(command) => Box::new(Beside(outside(args, command))),
        None => Box::new(BuiltIn),
    }
}

/// What came of all policies on a world from outside, if there is one; nothing in it if it was
/// interrupted.
pub(super) fn on_world(
    args: &Args,
    policies: &[String],
    stopwatch: &dyn Stopwatch,
    stop: &AtomicBool,
) -> Option<Result<Option<Vec<Case>>>> {
    let world = outside(args, args.world_cmd.as_ref()?);
    let policy = args.policy_cmd.as_ref().map(|command| outside(args, command));
    let plan = WorldPlan { world: &world, seeds: args.seeds, policies, policy: policy.as_ref() };
    let all = policies.len() * args.seeds as usize;
    let done = |done: usize| eprintln!("halcyon: {done} of {all} runs on the world are over");
    let cases = plan.run(stopwatch, &done, stop);
    if matches!(cases, Ok(None)) {
        eprintln!("halcyon: interrupted; nothing was kept");
    }
    Some(cases.map_err(Into::into))
}
