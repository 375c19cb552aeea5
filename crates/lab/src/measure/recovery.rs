//! How fast a host is itself again after something happened: a load that jumps, a VM that arrives, a
//! hand-over of a device that fails.
//!
//! Demand is without bursts here, so that what moves the score after an event is the event and the policy.
//! The score is that of each second: the mean utility of all VMs of which anything is asked, by weight. It
//! has recovered when it is within 2 % of its steady value and stays there; the steady value is its mean
//! over the two minutes that begin one minute after the event. Since a policy that does nothing is steady
//! at once, the steady value stands beside the time.

use std::fmt;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_hal::StepState;
use halcyon_model::describe::parse_host;
use halcyon_model::profile::Response;
use halcyon_model::{Bandwidth, Bounds, ByteSize, MilliCpu, Objective, Step, VmId, VmSpec, Weight};
use halcyon_sim::{Application, Demand, Guest, Parameters, SimHost, Workload};
use serde::Serialize;

use crate::bench::{Refusal, standard};
use crate::run::Run;
use crate::scenario::{Draw, Scenario};
use crate::still::Still;

/// How near the steady score is near enough, as a share of it.
const NEAR: f64 = 0.02;
/// When the event is.
const EVENT: usize = 300;
/// The score must stay near until so many seconds after the event; then the steady time begins.
const STAYS: usize = 60;
/// How long the steady time lasts.
const STEADY: usize = 120;
/// A failed hand-over is judged by the score in so many seconds before it began, and watched so long.
const AROUND: usize = 20;
/// Scores that are told second by second.
const FIRST: usize = 10;

/// One event under one policy.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Recovery {
    /// `load-step`, `arrival`, `arrival-memory` or `failed-hand-over`.
    pub event: String,
    /// The policy.
    pub policy: String,
    /// Which of the variants of the event.
    pub variant: u64,
    /// The score before.
    pub before: f64,
    /// The lowest score after.
    pub lowest: f64,
    /// The steady score.
    pub steady: f64,
    /// Seconds until it was near that and stayed; nothing if that took longer than a minute, or for a
    /// failed hand-over longer than 20 s.
    pub seconds: Option<u64>,
    /// In how many of the first ten seconds the heuristic decided instead of the policy.
    pub fallbacks: usize,
    /// The scores of the first ten seconds from the event on.
    pub first: Vec<f64>,
}

/// How recoveries went.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct RecoveryReport {
    /// The version of this form: 1.
    pub schema: u32,
    /// One for each event, policy and variant.
    pub recoveries: Vec<Recovery>,
}

/// Variants of each event.
const VARIANTS: u64 = 6;

/// Lets every policy live through every event.
///
/// # Errors
/// When there is no such policy, or a run cannot go on.
pub fn recovery(policies: &[&str]) -> Result<RecoveryReport, Refusal> {
    let mut recoveries = Vec::new();
    for (event, scenario) in [
        ("load-step", load_step as fn(u64) -> Result<Scenario, Refusal>),
        ("arrival", |variant| arrival(variant, false)),
        ("arrival-memory", |variant| arrival(variant, true)),
    ] {
        for policy in policies {
            for variant in 0..VARIANTS {
                let seconds = scores(&scenario(variant)?, policy)?;
                recoveries.push(judge(event, policy, variant, &seconds));
            }
        }
    }
    for policy in policies {
        for variant in 0..3 {
            recoveries.extend(failures(policy, variant)?);
        }
    }
    Ok(RecoveryReport { schema: 1, recoveries })
}

/// A run, second by second.
#[derive(Default)]
struct Seconds {
    scores: Vec<f64>,
    /// Whether the heuristic decided.
    fallbacks: Vec<bool>,
    /// Hand-overs of devices that failed: the seconds in which they began and ended.
    failed: Vec<(usize, usize)>,
}

fn scores(scenario: &Scenario, policy: &str) -> Result<Seconds, Refusal> {
    let mut run = Run::stoppable(scenario, policy, false, &AtomicBool::new(false))?;
    let (mut seconds, mut began) = (Seconds::default(), None);
    while !run.is_over() {
        let outcome = run.tick(&Still)?;
        let now = seconds.scores.len();
        seconds.scores.push(score(run.host(), run.specs()));
        seconds.fallbacks.push(outcome.fallback.is_some());
        for event in &outcome.events {
            if !matches!(event.step, Step::Detach { .. } | Step::Attach { .. }) {
                continue;
            }
            match event.state {
                StepState::Started => began = Some(now),
                StepState::Failed => seconds.failed.push((began.unwrap_or(now), now)),
                _ => {}
            }
        }
    }
    Ok(seconds)
}

/// The score of the present second.
fn score(host: &SimHost, specs: &[VmSpec]) -> f64 {
    let here = host.states().map(|state| (state.vm, state.utility));
    let weighed = here.chain(host.at_the_door()).filter_map(|(vm, utility)| {
        let known = specs.binary_search_by_key(&vm, |spec| spec.id).ok()?;
        Some((utility?, specs[known].weight.as_f64()))
    });
    let (sum, weights) =
        weighed.fold((0.0, 0.0), |(sum, all), (utility, weight)| (sum + weight * utility, all + weight));
    if weights > 0.0 { sum / weights } else { 1.0 }
}

fn judge(event: &str, policy: &str, variant: u64, seconds: &Seconds) -> Recovery {
    let scores = &seconds.scores;
    let mean = |values: &[f64]| crate::statistics::mean(values);
    let after = &scores[EVENT..];
    let steady = mean(&after[STAYS..STAYS + STEADY]);
    Recovery {
        event: event.into(),
        policy: policy.into(),
        variant,
        before: mean(&scores[EVENT - STAYS..EVENT]),
        lowest: after.iter().copied().fold(1.0, f64::min),
        steady,
        seconds: near_from(&after[..STAYS], steady),
        fallbacks: fallbacks(seconds, EVENT),
        first: after[..FIRST].to_vec(),
    }
}

fn fallbacks(seconds: &Seconds, from: usize) -> usize {
    seconds.fallbacks.iter().skip(from).take(FIRST).filter(|fallback| **fallback).count()
}

/// The first second from which on all scores are near the steady one.
fn near_from(scores: &[f64], steady: f64) -> Option<u64> {
    let is_far = |score: &f64| (score - steady).abs() > NEAR * steady;
    let from = scores.iter().rposition(is_far).map_or(0, |last| last + 1);
    (from < scores.len()).then_some(from as u64)
}

/// Without bursts and surges.
fn even(parameters: &Parameters) -> Parameters {
    Parameters { burst_sigma: 0.0, surge_height: 1.0, ..parameters.clone() }
}

const SMALL: &str = include_str!("../../../../examples/hosts/small.toml");

fn on_small_host(guests: Vec<Guest>, seed: u64) -> Result<Scenario, Refusal> {
    let host = parse_host(SMALL)?;
    let lasts = Duration::from_secs((EVENT + STAYS + STEADY) as u64 + 1);
    let draw = Draw::new(guests.len(), lasts, seed);
    let scenario = Scenario::new("recovery".into(), host.topology, host.capabilities, guests, draw)?;
    Ok(Scenario { parameters: even(&scenario.parameters), ..scenario })
}

/// Cores of the small host that VMs can have.
fn cores() -> Result<f64, Refusal> {
    let host = parse_host(SMALL)?;
    Ok(host.topology.sockets().iter().map(|socket| socket.cpu().as_f64()).sum::<f64>() / 1000.0)
}

/// One VM that answers requests is asked three times as much from one second to the next, on a host that is
/// then asked for more than it has.
fn load_step(variant: u64) -> Result<Scenario, Refusal> {
    let cores = cores()?;
    let before = cores * (0.06 + 0.02 * variant as f64);
    let jumps = series(|second| if second < EVENT { before } else { 3.0 * before });
    let mut guests = vec![guest(0, 0.75 * cores, jumps, 1.0, Objective::Latency { p99: P99 })];
    guests.extend(neighbours(cores)?);
    on_small_host(guests, 1 + variant)
}

/// A VM that answers requests arrives; with `memory`, its working set is far above what it is promised, and
/// others hold the memory.
fn arrival(variant: u64, memory: bool) -> Result<Scenario, Refusal> {
    let cores = cores()?;
    let asked = series(|_| cores * (0.15 + 0.03 * variant as f64));
    let mut guests = neighbours(cores)?;
    let working_set = if memory { 6.0 } else { 0.5 };
    let mut comer = guest(9, 0.6 * cores, asked, working_set, Objective::Latency { p99: P99 });
    comer.arrives = Duration::from_secs(EVENT as u64);
    guests.push(comer);
    on_small_host(guests, 1 + variant)
}

const P99: Duration = Duration::from_millis(50);

/// What is there anyway: a VM that answers requests, one that computes, and two that do so in what is left.
fn neighbours(cores: f64) -> Result<Vec<Guest>, Refusal> {
    let steady = |share: f64| series(move |_| share * cores);
    Ok(vec![
        guest(1, 0.4 * cores, steady(0.15), 2.0, Objective::Latency { p99: P99 }),
        guest(2, 0.5 * cores, steady(0.25), 2.0, Objective::Throughput),
        guest(3, 0.5 * cores, steady(0.6), 1.0, Objective::BestEffort),
        guest(4, 0.5 * cores, steady(0.6), 1.0, Objective::BestEffort),
    ])
}

#[allow(clippy::cast_possible_truncation)]
fn series(at: impl Fn(usize) -> f64) -> Vec<f32> {
    (0..EVENT + STAYS + STEADY + 2).map(|second| at(second) as f32).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn guest(id: u32, cores: f64, work: Vec<f32>, working_set_gib: f64, objective: Objective) -> Guest {
    let vcpus = cores.ceil().max(1.0) as u32;
    let spec = VmSpec {
        id: VmId(id),
        name: format!("vm-{id}"),
        vcpus,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::new(250), limit: MilliCpu::cores(u64::from(vcpus)) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(8) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(30) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective,
        application: None,
    };
    let application = Application {
        name: "even".into(),
        request: Duration::from_millis(5),
        io_bytes: 0.0,
        gpu_seconds: 0.0,
        response: Response::flat(0.0),
    };
    let working_set = vec![(working_set_gib * 1_073_741_824.0) as f32; work.len()];
    let demand = Demand { interval: Duration::from_secs(1), work, working_set };
    Guest::new(spec, Workload { application, demand })
}

/// On the host for storage, where every hand-over of a device fails: each is judged by the score before it.
fn failures(policy: &str, variant: u64) -> Result<Vec<Recovery>, Refusal> {
    let entries = standard();
    let mut of_storage = entries.iter().filter(|entry| entry.name().starts_with("nvme-storage"));
    let Some(entry) = of_storage.nth(usize::try_from(variant)?) else { return Ok(Vec::new()) };
    let scenario = entry.scenario()?;
    let parameters = Parameters { device_failure: 1.0, ..even(&scenario.parameters) };
    let found = scores(&Scenario { parameters, duration: Duration::from_secs(1200), ..scenario }, policy)?;
    let judged = found.failed.iter().filter_map(|(began, ended)| {
        let before = found.scores.get(began.checked_sub(AROUND)?..*began)?;
        let after = found.scores.get(*ended..ended + AROUND)?;
        let steady = crate::statistics::mean(before);
        Some(Recovery {
            event: "failed-hand-over".into(),
            policy: policy.into(),
            variant,
            before: steady,
            lowest: found.scores[*began..ended + AROUND].iter().copied().fold(1.0, f64::min),
            steady,
            seconds: near_from(after, steady),
            fallbacks: fallbacks(&found, *ended),
            first: after[..FIRST].to_vec(),
        })
    });
    Ok(judged.collect())
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:<18} {:<12} {:>6} {:>8} {:>8} {:>8} {:>14} {:>14} {:>8} {:>9}",
            "event",
            "policy",
            "events",
            "before",
            "lowest",
            "steady",
            "seconds p50",
            "longest",
            "in 3 s",
            "fallbacks"
        )?;
        let mut kinds: Vec<(&str, &str)> = Vec::new();
        for found in &self.recoveries {
            let kind = (found.event.as_str(), found.policy.as_str());
            if !kinds.contains(&kind) {
                kinds.push(kind);
            }
        }
        for (event, policy) in kinds {
            let of_kind = |found: &&Recovery| found.event == event && found.policy == policy;
            let all: Vec<&Recovery> = self.recoveries.iter().filter(of_kind).collect();
            let mean = |of: fn(&Recovery) -> f64| {
                crate::statistics::mean(&all.iter().map(|found| of(found)).collect::<Vec<_>>())
            };
            let mut times: Vec<u64> = all.iter().map(|found| found.seconds.unwrap_or(u64::MAX)).collect();
            times.sort_unstable();
            let text = |time: u64| if time == u64::MAX { "never".into() } else { format!("{time} s") };
            let fast = times.iter().filter(|time| **time <= 3).count();
            writeln!(
                f,
                "{event:<18} {policy:<12} {:>6} {:>8.4} {:>8.4} {:>8.4} {:>14} {:>14} {:>8} {:>9}",
                all.len(),
                mean(|found| found.before),
                mean(|found| found.lowest),
                mean(|found| found.steady),
                text(times[(times.len() - 1) / 2]),
                text(times[times.len() - 1]),
                format!("{fast}/{}", times.len()),
                all.iter().map(|found| found.fallbacks).sum::<usize>(),
            )?;
        }
        writeln!(
            f,
            "Seconds until the score of each second was within 2 % of the steady one and stayed there. Read it\n\
             with the steady score: who does nothing is steady at once. Fallbacks: decisions of the heuristic in the\n\
             first ten seconds. The simulator knows no device that\n\
             breaks; hand-overs of devices can fail, and here all of them do."
        )
    }
}
