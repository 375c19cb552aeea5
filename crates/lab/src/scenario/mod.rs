//! A host, the VMs on it, what they are asked to do, and the seed: all that a run depends on.

mod cut;
mod draw;
mod file;
mod gpus;
mod kinds;
mod lots;
mod outline;
mod recording;
mod series;
mod sizes;
mod sketch;

use std::sync::Arc;
use std::time::Duration;

use halcyon_model::profile::Profiles;
use halcyon_model::{
    AdmissionError, Assignment, Capabilities, ChangeKind, Control, Families, Snapshot, Topology, Violations,
    VmSpec, World, admit, project,
};
use halcyon_policy::{History, Policy, Static, View};
use halcyon_sim::trace::{Series, TraceSet};
use halcyon_sim::{Guest, Parameters, SimHost};

pub use draw::{Draw, default_vms};
pub use file::{FileError, MOST_SCENARIO_BYTES, SCHEMA};
use lots::stream;
pub use outline::{Course, Devices, Kinds, Objectives, Outline, Resource};
pub(crate) use outline::{MOMENTS, asked};
use series::activity;
use sizes::{sizes, working_set_factor};
use sketch::{Sketch, Studio};

/// All that a run depends on.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// Where the demand comes from.
    pub source: String,
    /// The host.
    pub topology: Topology,
    /// What can be changed on it.
    pub capabilities: Capabilities,
    /// Its VMs, by id.
    pub guests: Vec<Guest>,
    /// What policies may know of the programs that the VMs run.
    pub profiles: Arc<Profiles>,
    /// What those hold that are there at the start: the static assignment.
    pub start: Assignment,
    /// The constants of the model.
    pub parameters: Parameters,
    /// The seed of everything random in a run.
    pub seed: u64,
    /// How long a run lasts.
    pub duration: Duration,
    /// The text that describes the host, where it is known; only then can the scenario be written.
    pub description: Option<Arc<str>>,
}

/// Why there is no such scenario.
#[derive(Debug, thiserror::Error)]
pub enum ScenarioError {
    /// The trace has nothing to run.
    #[error(
        "the trace {trace} has no VM with demand; choose another, or leave --trace out for generated demand"
    )]
    Empty {
        /// The trace.
        trace: String,
    },
    /// It cannot be drawn by this.
    #[error("{what}")]
    Draw {
        /// What is wrong and what would be right.
        what: String,
    },
    /// The VMs do not fit the host.
    #[error("the VMs do not fit the host")]
    Admission(#[from] AdmissionError),
    /// The start could not be laid out.
    #[error("the static assignment is not feasible")]
    Start(#[from] Violations),
}

impl Scenario {
    /// Draws VMs for a host: each takes a series of the trace as its demand, a kind, a measured program of
    /// `profiles` that stands for the kind, and a size. All sizes together come to `draw.overcommit` times
    /// the host's CPUs, or else ask for `draw.load` of them on average.
    ///
    /// Where a trace has fewer VMs than asked for, its series serve again, shifted in time. Where it has
    /// no CPU column, GPU use stands in for it. Every figure is rounded to what a scenario's file holds.
    ///
    /// # Errors
    /// When the trace holds no demand, a figure of `draw` makes no sense, or the VMs do not fit the host.
    pub fn draw_with(
        topology: Topology,
        capabilities: Capabilities,
        traces: &TraceSet,
        profiles: Arc<Profiles>,
        draw: Draw,
    ) -> Result<Self, ScenarioError> {
        if let Some(what) = draw.fault() {
            return Err(ScenarioError::Draw { what });
        }
        let series = known_series(traces)?;
        let (mut studio, mut random) =
            (Studio::new(&topology, &profiles, traces.interval, draw.vms), stream(draw.seed, 1));
        let sketches: Vec<Sketch<'_>> = (0..draw.vms)
            .map(|position| {
                let (from, activity) = &series[position % series.len()];
                studio.draw(from, activity, position / series.len(), &mut random)
            })
            .collect();
        let sizes = sizes(&topology, &sketches, &draw, &mut random);
        let factor = working_set_factor(&topology, &sketches, &sizes);
        let place = (&topology, traces.interval);
        let guests = sketches.into_iter().zip(&sizes).enumerate();
        let mut guests: Vec<Guest> = guests
            .map(|(at, (sketch, size))| sketch.into_guest(at, size, factor, place, &mut random))
            .collect();
        draw::live(&mut guests, &draw);
        let scenario = Self::new(traces.source.clone(), topology, capabilities, guests, draw)?;
        Ok(Self { profiles, ..scenario })
    }

    /// As [`Scenario::draw_with`], with the profiles that are built in.
    ///
    /// # Errors
    /// As [`Scenario::draw_with`].
    pub fn draw(
        topology: Topology,
        capabilities: Capabilities,
        traces: &TraceSet,
        draw: Draw,
    ) -> Result<Self, ScenarioError> {
        Self::draw_with(topology, capabilities, traces, built_in(), draw)
    }

    /// Gives VMs that are described the series of a trace as their demand, in order. How their programs
    /// respond follows from the profile that their application names; what they need for each unit of
    /// work from the kind of that name, or else of their objective.
    ///
    /// # Errors
    /// When the trace holds no demand, or the VMs do not fit the host.
    pub fn of_vms(
        topology: Topology,
        capabilities: Capabilities,
        specs: Vec<VmSpec>,
        traces: &TraceSet,
        draw: Draw,
    ) -> Result<Self, ScenarioError> {
        let series = known_series(traces)?;
        let (profiles, mut random) = (built_in(), stream(draw.seed, 1));
        let studio = Studio::new(&topology, &profiles, traces.interval, specs.len());
        let guests = specs.into_iter().enumerate().map(|(position, spec)| {
            let (from, activity) = &series[position % series.len()];
            let sketch = studio.for_spec(&spec, from, activity, position / series.len(), &mut random);
            let (cores, memory) = (f64::from(spec.vcpus), spec.memory.limit.as_f64());
            let workload = sketch.workload(cores, memory, 1.0, traces.interval);
            Guest::new(spec, workload)
        });
        let mut guests: Vec<Guest> = guests.collect();
        draw::live(&mut guests, &draw);
        let scenario = Self::new(traces.source.clone(), topology, capabilities, guests, draw)?;
        Ok(Self { profiles, ..scenario })
    }

    /// The same scenario, where the text that describes its host is known.
    #[must_use]
    pub fn with_description(mut self, host: &str) -> Self {
        self.description = Some(Arc::from(host));
        self
    }

    /// The simulated host at the start of a run.
    ///
    /// # Errors
    /// When the start is not feasible.
    pub fn host(&self) -> Result<SimHost, Violations> {
        let host = SimHost::new(
            self.topology.clone(),
            self.capabilities.clone(),
            self.guests.clone(),
            self.start.clone(),
            self.parameters.clone(),
            self.seed,
        )?;
        Ok(host.with_profiles(Arc::clone(&self.profiles)))
    }

    /// A scenario of given VMs, ordered by id, starting from the static assignment.
    ///
    /// # Errors
    /// When the VMs do not fit the host.
    pub fn new(
        source: String,
        topology: Topology,
        capabilities: Capabilities,
        guests: Vec<Guest>,
        draw: Draw,
    ) -> Result<Self, ScenarioError> {
        let there = guests.iter().filter(|guest| guest.arrives.is_zero());
        let specs: Vec<VmSpec> = there.map(|guest| guest.spec.clone()).collect();
        let start = start(&topology, &specs, &capabilities)?;
        Ok(Self {
            source,
            topology,
            capabilities,
            guests,
            profiles: Arc::default(),
            start,
            parameters: Parameters::default(),
            seed: draw.seed,
            duration: draw.duration,
            description: None,
        })
    }
}

/// What is known of programs without anybody's doing.
fn built_in() -> Arc<Profiles> {
    crate::profiles::embedded()
}

/// The series of a trace that say what a VM does.
fn known_series(traces: &TraceSet) -> Result<Vec<(&Series, Vec<f32>)>, ScenarioError> {
    let known = traces.series.iter().filter_map(|series| Some((series, activity(series)?)));
    let known: Vec<_> = known.collect();
    let empty = || ScenarioError::Empty { trace: traces.source.clone() };
    if known.is_empty() { Err(empty()) } else { Ok(known) }
}

/// The static assignment, as it stands before anything runs: nothing is changed, so nothing costs.
fn start(
    topology: &Topology,
    vms: &[VmSpec],
    capabilities: &Capabilities,
) -> Result<Assignment, ScenarioError> {
    let capabilities = before_boot(capabilities);
    let world = World { topology, vms, capabilities: &capabilities };
    let mut snapshot = Snapshot { assignment: admit(world)?, ..Snapshot::default() };
    let history = History::new();
    let (profiles, mut policy) = (Profiles::default(), Static::default());
    // Devices are handed out in the first round and their bandwidth in the second.
    for _ in 0..2 {
        let view = View {
            world,
            snapshot: &snapshot,
            history: &history,
            frozen: Families::NONE,
            profiles: &profiles,
        };
        let proposal = policy.decide(&view);
        snapshot.assignment = project(world, &snapshot.assignment, Families::NONE, &proposal);
    }
    halcyon_model::check(world, &snapshot.assignment)?;
    Ok(snapshot.assignment)
}

/// Before VMs boot everything can be set, in the steps that the host's mechanisms know.
fn before_boot(capabilities: &Capabilities) -> Capabilities {
    ChangeKind::ALL.into_iter().fold(Capabilities::free(), |free, kind| {
        let granularity = capabilities.get(kind).map_or(1, |control| control.granularity);
        free.with(kind, Some(Control { granularity, ..Control::FREE }))
    })
}
