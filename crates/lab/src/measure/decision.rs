//! How long the learned policy takes for a whole decision, and for the parts of it that can be told apart.
//!
//! A run goes on as it always does, and every cycle's decision is timed where the cycle times it: from the
//! snapshot to the approved plan. After each, features and network run once more by themselves on what was
//! just seen, and so does a rival's network, so that whatever disturbs the machine disturbs all alike.

use std::fmt;
use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_hal::Observe;
use halcyon_model::Families;
use halcyon_policy::learned::embedded_network;
use halcyon_policy::{Batch, Features, Learned, NetworkError, Scratch, View};
use serde::Serialize;

use super::host::grown;
use crate::bench::Refusal;
use crate::run::{Run, RunError};

/// By how much a rival's outputs may differ from ours, against the larger of one and the output.
pub const MOST_DIFFERENCE: f32 = 1e-4;
/// Cycles before the first that counts, until buffers have grown and histories are full.
const WARM_UP: u32 = 100;

/// Another way to compute the same network.
pub trait Rival {
    /// What people call it.
    fn name(&self) -> &'static str;

    /// Computes the network's outputs for a batch; this is what is timed.
    ///
    /// # Errors
    /// When it cannot.
    fn forward(&mut self, batch: &Batch<'_>) -> Result<(), Refusal>;

    /// What it computed last: the same numbers in the same order as [`halcyon_policy::Network::forward`].
    fn outputs(&self) -> &[f32];
}

/// How long one part took, in microseconds.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// Which part.
    pub name: String,
    /// What half of the times did not exceed.
    pub p50_us: f64,
    /// What 99 of 100 did not exceed.
    pub p99_us: f64,
    /// The longest.
    pub most_us: f64,
}

/// How long decisions took at one size.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct DecisionTime {
    /// How many VMs.
    pub vms: usize,
    /// How many decisions were timed.
    pub decisions: u32,
    /// In how many of them something was changed.
    pub plans: u32,
    /// The whole decision, then its parts, then the rival.
    pub parts: Vec<Part>,
    /// The largest difference between the rival's outputs and ours, against the larger of one and the
    /// output; nothing without a rival.
    pub difference: Option<f32>,
}

/// Times `decisions` decisions of a run on a [`grown`] host with so many VMs.
///
/// # Errors
/// When the run cannot go on, or a rival fails or computes something else.
pub fn decision_time(
    vms: usize,
    decisions: u32,
    clock: &dyn Stopwatch,
    mut rival: Option<&mut dyn Rival>,
) -> Result<DecisionTime, Refusal> {
    let lasts = Duration::from_secs(u64::from(WARM_UP + decisions)).max(Duration::from_secs(3600));
    let scenario = grown(vms, lasts, 1)?;
    let mut run = Run::of(&scenario, "learned", Box::new(Learned::embedded()?), false)?;
    let mut again = Again::new(clock)?;
    let mut times: [Vec<Duration>; 4] = Default::default();
    let (mut plans, mut difference) = (0, None);
    for cycle in 0..WARM_UP + decisions {
        let outcome = run.tick(clock)?;
        let [features, network] = again.run(&run)?;
        let theirs = match &mut rival {
            Some(rival) => {
                let (took, differs) = again.rival(&mut **rival)?;
                difference = Some(differs.max(difference.unwrap_or(0.0)));
                took
            }
            None => Duration::ZERO,
        };
        if cycle >= WARM_UP {
            plans += u32::from(outcome.plan.is_some());
            let took = [outcome.decision, features, network, theirs];
            times.iter_mut().zip(took).for_each(|(times, took)| times.push(took));
        }
    }
    let names = ["decision", "features", "network"].into_iter().chain(rival.map(|rival| rival.name()));
    let parts = names.zip(times).map(|(name, times)| part(name, times)).collect();
    Ok(DecisionTime { vms, decisions, plans, parts, difference })
}

/// Parts of a decision, run once more by themselves.
struct Again<'a> {
    clock: &'a dyn Stopwatch,
    network: halcyon_policy::Network,
    features: Features,
    scratch: Scratch,
    ours: Vec<f32>,
}

impl<'a> Again<'a> {
    fn new(clock: &'a dyn Stopwatch) -> Result<Self, NetworkError> {
        let network = embedded_network()?;
        let (features, scratch) = (Features::default(), Scratch::default());
        Ok(Self { clock, network, features, scratch, ours: Vec::new() })
    }

    /// How long features and network took.
    fn run(&mut self, run: &Run) -> Result<[Duration; 2], RunError> {
        let inventory = run.host().inventory();
        let view = View {
            world: inventory.world(),
            snapshot: run.cycle().snapshot(),
            history: run.cycle().history(),
            frozen: Families::NONE,
            profiles: &inventory.profiles,
        };
        let began = self.clock.elapsed();
        self.features.observe(&view);
        let between = self.clock.elapsed();
        let batch = batch(&self.features);
        let outputs = self.network.forward(&batch, &mut self.scratch).unwrap_or_default();
        let end = self.clock.elapsed();
        self.ours.clear();
        self.ours.extend_from_slice(outputs);
        Ok([between.saturating_sub(began), end.saturating_sub(between)])
    }

    /// How long a rival took for the same, and how much its outputs differ.
    fn rival(&self, rival: &mut dyn Rival) -> Result<(Duration, f32), Refusal> {
        let began = self.clock.elapsed();
        rival.forward(&batch(&self.features))?;
        let took = self.clock.elapsed().saturating_sub(began);
        let theirs = rival.outputs();
        if theirs.len() != self.ours.len() {
            return Err(
                format!("{} has {} outputs, not {}", rival.name(), theirs.len(), self.ours.len()).into()
            );
        }
        let differs = |(ours, theirs): (&f32, &f32)| (ours - theirs).abs() / ours.abs().max(1.0);
        let mut most = 0.0_f32;
        for difference in self.ours.iter().zip(theirs).map(differs) {
            if difference.is_nan() || difference > MOST_DIFFERENCE {
                return Err(format!("{} differs by {difference} from our outputs", rival.name()).into());
            }
            most = most.max(difference);
        }
        Ok((took, most))
    }
}

fn batch(features: &Features) -> Batch<'_> {
    Batch { features: &features.per_vm, host: &features.host, socket: &features.socket }
}

fn part(name: &str, mut times: Vec<Duration>) -> Part {
    times.sort_unstable();
    let at = |hundredths: usize| {
        let rank = (hundredths * times.len()).div_ceil(100).saturating_sub(1);
        times.get(rank).map_or(0.0, |time| time.as_secs_f64() * 1e6)
    };
    Part { name: name.into(), p50_us: at(50), p99_us: at(99), most_us: at(100) }
}

impl fmt::Display for DecisionTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{} VMs, {} decisions, {} of them with changes; µs",
            self.vms, self.decisions, self.plans
        )?;
        writeln!(f, "  {:<24} {:>10} {:>10} {:>10} {:>12}", "", "p50", "p99", "longest", "of network")?;
        let network = self.parts.iter().find(|part| part.name == "network").map_or(0.0, |part| part.p50_us);
        for part in &self.parts {
            let Part { name, p50_us, p99_us, most_us } = part;
            let ratio = part.p50_us / network.max(1e-3);
            writeln!(f, "  {name:<24} {p50_us:>10.1} {p99_us:>10.1} {most_us:>10.1} {ratio:>11.2}×")?;
        }
        match self.difference {
            Some(most) => writeln!(f, "  outputs differ by {most:.1e} at most"),
            None => Ok(()),
        }
    }
}
