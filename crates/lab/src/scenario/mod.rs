//! A host, the VMs on it, what they are asked to do, and the seed: all that a run depends on.

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
use rand::SeedableRng;
use rand_pcg::Pcg32;

use sketch::{Sizes, Sketch, activity};

/// All that a run depends on.
#[derive(Debug, Clone)]
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
    /// What they hold at the start: the static assignment.
    pub start: Assignment,
    /// The constants of the model.
    pub parameters: Parameters,
    /// The seed of everything random in a run.
    pub seed: u64,
    /// How long a run lasts.
    pub duration: Duration,
}

/// What to draw a scenario by.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Draw {
    /// How many VMs.
    pub vms: usize,
    /// How long a run lasts.
    pub duration: Duration,
    /// The seed.
    pub seed: u64,
    /// Mean CPU demand of all VMs, as a share of the host.
    pub load: f64,
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
    /// The VMs do not fit the host.
    #[error("the VMs do not fit the host")]
    Admission(#[from] AdmissionError),
    /// The start could not be laid out.
    #[error("the static assignment is not feasible")]
    Start(#[from] Violations),
}

impl Scenario {
    /// Draws VMs for a host: each takes a series of the trace as its demand, a kind, and a size such
    /// that all of them together ask for `draw.load` of the host on average.
    ///
    /// Where a trace has fewer VMs than asked for, its series serve again, shifted in time. Where it has
    /// no CPU column, GPU use stands in for it.
    ///
    /// # Errors
    /// When the trace holds no demand, or the VMs do not fit the host.
    pub fn draw(
        topology: Topology,
        capabilities: Capabilities,
        traces: &TraceSet,
        draw: Draw,
    ) -> Result<Self, ScenarioError> {
        let series = known_series(traces)?;
        let mut random = Pcg32::seed_from_u64(draw.seed);
        let sketches: Vec<Sketch<'_>> = (0..draw.vms)
            .map(|position| {
                let (from, activity) = &series[position % series.len()];
                Sketch::draw(from, activity, position / series.len(), &mut random)
            })
            .collect();
        let sizes = Sizes::of(&topology, &sketches, draw.load);
        let guests: Vec<Guest> = sketches
            .into_iter()
            .enumerate()
            .map(|(position, sketch)| sketch.into_guest(position, &sizes, &topology, traces.interval))
            .collect();
        Self::new(traces.source.clone(), topology, capabilities, guests, draw)
    }

    /// Gives VMs that are described the series of a trace as their demand, in order. What their programs
    /// need for each unit of work follows from the name of their application, or else their objective.
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
        let guests = specs.into_iter().enumerate().map(|(position, spec)| {
            let (from, activity) = &series[position % series.len()];
            let sketch = Sketch::for_spec(&spec, from, activity, position / series.len());
            let workload =
                sketch.workload(f64::from(spec.vcpus), spec.memory.limit.as_f64(), traces.interval);
            Guest::new(spec, workload)
        });
        let guests = guests.collect();
        Self::new(traces.source.clone(), topology, capabilities, guests, draw)
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
        let specs: Vec<VmSpec> = guests.iter().map(|guest| guest.spec.clone()).collect();
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
        })
    }
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
