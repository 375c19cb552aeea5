//! The learned policy as a function: what was measured of VMs goes in, who is to hold what comes out.
//!
//! This is for whoever has measurements and means to change a host of their own and wants only the decision:
//! no daemon, no simulator, no clock and no machine is needed. The decision is the control cycle's own: the
//! network under guard with the heuristic behind it, projection, the order of steps, the checker
//! ([`Decider`]). What is answered keeps every rule of the checker; what cannot be answered is an
//! error that names the VM and the field.
//!
//! ```text
//!  VmData, SystemState ─► judge ─► start (what is held) ─► history ─► decide ─► check ─► Allocation
//! ```
//!
//! An [`Allocator`] remembers what it was told, which forecasts need, and what it answered, which it takes to
//! have been carried out unless it is told otherwise. [`allocate_resources`] decides once, without memory.
//!
//! ```
//! use std::time::Duration;
//!
//! use halcyon_model::describe::parse_host;
//! use halcyon_model::{Bounds, ByteSize, Objective};
//! use halcyon_policy::{Allocator, Measured, SystemState, VmData};
//!
//! let host = parse_host(
//!     r#"
//!     name = "small"
//!     [[socket]]
//!     name = "s0"
//!     cores = 8
//!     [[memory]]
//!     name = "m0"
//!     socket = "s0"
//!     capacity = "32GiB"
//!     bandwidth = "38.4GB/s"
//!     "#,
//! )?;
//! let memory = Bounds { reservation: ByteSize::gib(2), limit: ByteSize::gib(16) };
//! let latency = Objective::Latency { p99: Duration::from_millis(20) };
//! let mut vms = [
//!     VmData { objective: latency, ..VmData::new("web", 8, memory) },
//!     VmData::new("batch", 8, memory),
//! ];
//! let mut allocator = Allocator::new()?;
//! let mut state = SystemState::new(host, Duration::ZERO);
//! for second in 0..5 {
//!     state.at = Duration::from_secs(second);
//!     let measured = |cores| Measured {
//!         cpu_cores: Some(cores),
//!         working_set_bytes: Some(3e9),
//!         ..Measured::default()
//!     };
//!     (vms[0].measured, vms[1].measured) = (measured(5.0), measured(0.2));
//!     let allocation = allocator.allocate(&vms, &state)?;
//!     let share = |name| allocation.vm(name).map(|vm| vm.cpu.share);
//!     assert!(share("web") > share("batch"));
//! }
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod answer;
mod error;
mod input;
mod judge;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use halcyon_model::describe::MOST_VMS;
use halcyon_model::{
    Assignment, Families, Generation, HostTime, Snapshot, VmCounters, VmId, VmSample, VmSpec, World, check,
};

pub use answer::{Allocation, DeviceAllocation, VmAllocation};
pub use error::AllocateError;
pub use input::{Holds, LEAST_INTERVAL, Measured, SystemState, VmData};

use crate::decision::{Allowance, Decider, Decision};
use crate::features::Features;
use crate::{Explanation, History, Learned, Network, NetworkError, Reactive, View};

/// What the measurements of a first call are of: as long as a control cycle.
const FIRST: Duration = Duration::from_secs(1);
/// A clock shows less than a thousand years.
const FAR: Duration = Duration::from_secs(1000 * 366 * 86_400);

/// Decides who holds what, again and again.
///
/// One seedless, clockless value: the same calls get the same answers, on any machine.
pub struct Allocator {
    decider: Decider,
    history: History,
    ids: BTreeMap<String, VmId>,
    next: u32,
    generation: Generation,
    last: Option<(HostTime, Allocation)>,
}

/// What was told, held against what can be.
struct Judged {
    specs: Vec<VmSpec>,
    samples: Vec<VmSample>,
    held: Assignment,
}

impl Allocator {
    /// With the weights that come with Halcyon.
    ///
    /// # Errors
    /// When those are not of this version; a test rules that out.
    pub fn new() -> Result<Self, NetworkError> {
        Ok(Self::of(Learned::embedded()?))
    }

    /// With other weights, such as `halcyon train` writes; [`Network::parse`] reads them.
    ///
    /// # Errors
    /// When they were made for other features than this version has.
    pub fn with_model(network: Network) -> Result<Self, NetworkError> {
        Ok(Self::of(Learned::new(network.made_for(&Features::digest())?)))
    }

    fn of(learned: Learned) -> Self {
        Self {
            decider: Decider::new(Box::new(learned), Box::new(Reactive::default())),
            history: History::new(),
            ids: BTreeMap::new(),
            next: 0,
            generation: Generation::default(),
            last: None,
        }
    }

    /// Decides who is to hold what, and remembers both what was told and what it answers. VMs are known by
    /// their names; they may come, go and be told in any order.
    ///
    /// A kind of change that has to rest on this host for a while (its `pace`) is not made again before.
    ///
    /// # Errors
    /// Whatever is wrong with what was told, with the VM and the field; that the reservations do not fit;
    /// that this host has no way to keep every rule.
    pub fn allocate(&mut self, vms: &[VmData], state: &SystemState) -> Result<Allocation, AllocateError> {
        let elapsed = self.elapsed(state.at)?;
        let (ids, next) = self.ids_of(vms)?;
        let judged = self.judge(vms, state, &ids, elapsed)?;
        // From here on it is remembered.
        self.next = next;
        let known = std::mem::replace(&mut self.ids, ids);
        self.remember_start(state, elapsed, &judged, &known);
        let (snapshot, decision, explanations) = self.decide(state, &judged);
        let world = world(state, &judged.specs);
        let assignment = decision.plan.as_ref().map_or(snapshot.assignment, |plan| plan.target().clone());
        check(world, &assignment).map_err(AllocateError::Infeasible)?;
        if let Some(plan) = &decision.plan {
            self.decider.number(plan);
            self.decider.begin(plan, snapshot.at);
        }
        let allocation = self.answer(vms, world, assignment, decision, explanations);
        self.last = Some((state.at, allocation.clone()));
        Ok(allocation)
    }

    /// The time that the measurements are of.
    fn elapsed(&self, at: HostTime) -> Result<Duration, AllocateError> {
        if at > FAR {
            return Err(AllocateError::Far { at });
        }
        let Some((last, _)) = &self.last else { return Ok(FIRST) };
        let elapsed = at.checked_sub(*last).filter(|elapsed| *elapsed >= LEAST_INTERVAL);
        elapsed.ok_or(AllocateError::Stale { at, last: *last, least: LEAST_INTERVAL })
    }

    /// The id of each VM by name: its own, or for those that came, in the order of their names, a new one.
    /// With it the id that comes next.
    fn ids_of(&self, vms: &[VmData]) -> Result<(BTreeMap<String, VmId>, u32), AllocateError> {
        if vms.len() > MOST_VMS {
            return Err(AllocateError::TooMany { found: vms.len(), most: MOST_VMS });
        }
        judge::names(vms)?;
        let taken: BTreeSet<VmId> = self.ids.values().copied().collect();
        let names: BTreeSet<&String> = vms.iter().map(|vm| &vm.name).collect();
        let mut next = self.next;
        let mut ids = BTreeMap::new();
        for name in names {
            let id = self.ids.get(name).copied().unwrap_or_else(|| {
                while taken.contains(&VmId(next)) {
                    next = next.wrapping_add(1);
                }
                let id = VmId(next);
                next = next.wrapping_add(1);
                id
            });
            ids.insert(name.clone(), id);
        }
        Ok((ids, next))
    }

    fn judge(
        &self,
        vms: &[VmData],
        state: &SystemState,
        ids: &BTreeMap<String, VmId>,
        elapsed: Duration,
    ) -> Result<Judged, AllocateError> {
        let topology = &state.host.topology;
        let devices = judge::devices(topology);
        let mut order: Vec<(VmId, &VmData)> =
            vms.iter().filter_map(|vm| Some((*ids.get(&vm.name)?, vm))).collect();
        order.sort_by_key(|(id, _)| *id);
        let mut specs = Vec::with_capacity(order.len());
        let mut samples = Vec::with_capacity(order.len());
        for (id, vm) in &order {
            specs.push(judge::spec(vm, *id, topology)?);
            samples.push(judge::sample(vm, *id, &devices, elapsed)?);
        }
        let vms: Vec<&VmData> = order.into_iter().map(|(_, vm)| vm).collect();
        let moved = vms
            .iter()
            .zip(&samples)
            .flat_map(|(vm, sample)| sample.counters.device_bytes.iter().map(|(device, _)| (*vm, *device)));
        judge::alone("measured.devices", moved, topology)?;
        let current = state.current.as_ref().or(self.last.as_ref().map(|(_, allocation)| allocation));
        let held = start::start(world(state, &specs), &vms, current, &devices)?;
        Ok(Judged { specs, samples, held })
    }

    /// Enters the moment at which what was measured began. Of a VM that came and of which nothing was
    /// measured, that is now.
    fn remember_start(
        &mut self,
        state: &SystemState,
        elapsed: Duration,
        judged: &Judged,
        known: &BTreeMap<String, VmId>,
    ) {
        let was_there = |(spec, sample): &(&VmSpec, &VmSample)| {
            known.contains_key(&spec.name) || sample.counters != VmCounters::default()
        };
        let vms = judged.specs.iter().zip(&judged.samples).filter(was_there);
        self.history.record(&Snapshot {
            // The first call is told of a time before the first time stamp.
            at: state.at.saturating_add(FIRST).saturating_sub(elapsed),
            assignment: judged.held.clone(),
            vms: vms.map(|(_, sample)| at_start(sample)).collect(),
            ..Snapshot::default()
        });
    }

    fn decide(&mut self, state: &SystemState, judged: &Judged) -> (Snapshot, Decision, Vec<Explanation>) {
        self.generation = self.generation.next();
        let snapshot = Snapshot {
            generation: self.generation,
            at: state.at.saturating_add(FIRST),
            assignment: judged.held.clone(),
            vms: judged.samples.clone(),
            busy: Families::NONE,
        };
        self.history.record(&snapshot);
        let view = View {
            world: world(state, &judged.specs),
            snapshot: &snapshot,
            history: &self.history,
            frozen: Families::NONE,
            profiles: &state.profiles,
        };
        let decision = self.decider.decide(&view, snapshot.at, Allowance::ANY);
        let explain = |plan| self.decider.explain(&view, plan, decision.fallback.as_ref());
        let explanations = decision.plan.as_ref().map(explain).unwrap_or_default();
        (snapshot, decision, explanations)
    }

    /// In the order in which the VMs were told.
    fn answer(
        &self,
        vms: &[VmData],
        world: World<'_>,
        assignment: Assignment,
        decision: Decision,
        explanations: Vec<Explanation>,
    ) -> Allocation {
        let mut of: BTreeMap<Option<String>, Vec<Explanation>> = BTreeMap::new();
        for explanation in explanations {
            of.entry(explanation.vm.clone()).or_default().push(explanation);
        }
        let (mut answers, mut ids) = (Vec::with_capacity(vms.len()), Vec::with_capacity(vms.len()));
        for vm in vms {
            let id = self.ids.get(&vm.name).copied();
            let Some((id, position)) = id.and_then(|id| Some((id, world.position(id)?))) else { continue };
            let reasons = of.remove(&Some(vm.name.clone())).unwrap_or_default();
            answers.push(answer::of_vm(world, &assignment, position, reasons));
            ids.push(id);
        }
        let Decision { plan, fallback } = decision;
        let shared = of.remove(&None).unwrap_or_default();
        Allocation { vms: answers, ids, assignment, plan, fallback, shared }
    }
}

/// VMs on the host that was told.
fn world<'a>(state: &'a SystemState, vms: &'a [VmSpec]) -> World<'a> {
    World { topology: &state.host.topology, vms, capabilities: &state.host.capabilities }
}

/// What would have been read when what was measured began: every counter stood at zero.
fn at_start(sample: &VmSample) -> VmSample {
    let device_bytes = sample.counters.device_bytes.iter().map(|(device, _)| (*device, 0)).collect();
    let zero = Some(0);
    let counters = VmCounters {
        cpu_used_us: zero,
        cpu_waited_us: zero,
        memory_stalled_us: zero,
        io_stalled_us: zero,
        memory_bytes: zero,
        gpu_busy_us: zero,
        device_bytes,
    };
    VmSample { vm: sample.vm, counters, ..VmSample::default() }
}

/// Decides once who is to hold what, by the embedded weights and by nothing but what is told here.
///
/// Whoever asks again and again is better served by an [`Allocator`], which knows what was before and need
/// not read the weights each time.
///
/// # Errors
/// As [`Allocator::allocate`].
pub fn allocate_resources(
    vm_data: &[VmData],
    system_state: &SystemState,
) -> Result<Allocation, AllocateError> {
    Allocator::new()?.allocate(vm_data, system_state)
}

/// The page of the documentation, so that its examples are run.
#[cfg(doctest)]
#[doc = include_str!("../../../../docs/src/library.md")]
struct Page;
