//! A plan: a proposal that passed the checker, numbered, complete, each change with its reason.

use std::collections::BTreeMap;

use crate::assignment::Assignment;
use crate::check::{Findings, Rule, Violations, check};
use crate::diff::Diff;
use crate::ids::{DeviceId, Generation, LinkId, VmId};
use crate::proposal::{Proposal, Reason, VmWish};
use crate::step::Step;
use crate::world::World;

/// One step of a plan and why it is taken.
#[derive(Debug, Clone, PartialEq)]
pub struct Change {
    /// The step.
    pub step: Step,
    /// Why.
    pub reason: Reason,
}

/// What is going to be done. Only [`approve`] makes one.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    generation: Generation,
    based_on: Generation,
    target: Assignment,
    changes: Vec<Change>,
    deferred: Vec<Change>,
}

impl Plan {
    /// Its number.
    #[must_use]
    pub fn generation(&self) -> Generation {
        self.generation
    }

    /// The snapshot that it answers.
    #[must_use]
    pub fn based_on(&self) -> Generation {
        self.based_on
    }

    /// What is held once all its changes are made.
    #[must_use]
    pub fn target(&self) -> &Assignment {
        &self.target
    }

    /// What was held when it was made: what is held at its end, with its changes undone.
    #[must_use]
    pub fn start(&self) -> Assignment {
        let mut held = self.target.clone();
        for change in self.changes.iter().rev() {
            // What was approved leads from there to its end, and so back.
            let _ = held.apply(&change.step.inverse());
        }
        held
    }

    /// Its changes, in order.
    #[must_use]
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// What was wanted and has to wait, because no order of steps makes room for it.
    #[must_use]
    pub fn deferred(&self) -> &[Change] {
        &self.deferred
    }
}

/// What a plan is judged against besides the world.
#[derive(Debug, Clone, Copy)]
pub struct Standing {
    /// The newest snapshot.
    pub snapshot: Generation,
    /// The newest plan before this one.
    pub plan: Generation,
}

/// Turns a difference into a plan, if it breaks no rule and its steps lead from what is `held` to where it
/// says. That each state between the steps is feasible is the ledger's part, proven by property tests.
///
/// # Errors
/// Every rule that the plan would break.
pub fn approve(
    world: World<'_>,
    standing: Standing,
    proposal: &Proposal,
    held: &Assignment,
    difference: Diff,
) -> Result<Plan, Violations> {
    check(world, &difference.reached)?;
    let mut findings = Findings::default();
    let mut led_to = held.clone();
    let fits = difference.steps.iter().all(|step| led_to.apply(step).is_ok());
    findings.require(fits && led_to == difference.reached, Rule::Complete, || {
        "the steps do not lead from what is held to what is planned".into()
    });
    findings.require(proposal.based_on == standing.snapshot, Rule::Generation, || {
        format!("the proposal answers snapshot {}, the newest is {}", proposal.based_on, standing.snapshot)
    });
    for step in &difference.steps {
        findings.require(world.capabilities.allows(step.kind()), Rule::Capability, || {
            format!("`{step}` needs {}, which this host cannot change", step.kind())
        });
    }
    for device in difference.steps.iter().flat_map(moved_devices) {
        let device = &world.topology.fabric().devices[device.index()];
        findings
            .require(device.hot_plug, Rule::Capability, || format!("{} cannot be hot-plugged", device.name));
    }
    findings.into_result()?;
    let reasons = Reasons::new(proposal);
    let explain = |step: Step| Change { reason: reasons.find(&step), step };
    Ok(Plan {
        generation: standing.plan.next(),
        based_on: proposal.based_on,
        target: difference.reached,
        changes: difference.steps.into_iter().map(explain).collect(),
        deferred: difference.deferred.into_iter().map(explain).collect(),
    })
}

fn moved_devices(step: &Step) -> impl Iterator<Item = DeviceId> {
    let devices = match step {
        Step::Detach { devices, .. } | Step::Attach { devices, .. } => devices.as_slice(),
        _ => &[],
    };
    devices.iter().map(|(device, _)| *device)
}

/// Finds the wish behind a step: the first one for its subject, as the projection does.
struct Reasons<'a> {
    vms: BTreeMap<VmId, &'a VmWish>,
    moves: BTreeMap<DeviceId, Reason>,
    device_bandwidth: BTreeMap<DeviceId, Reason>,
    links: BTreeMap<LinkId, Reason>,
    gpu_instances: Option<Reason>,
}

fn first<K: Ord, V>(wishes: impl Iterator<Item = (K, V)>) -> BTreeMap<K, V> {
    let mut found = BTreeMap::new();
    for (subject, wish) in wishes {
        found.entry(subject).or_insert(wish);
    }
    found
}

impl<'a> Reasons<'a> {
    fn new(proposal: &'a Proposal) -> Self {
        let device_bandwidth = proposal.device_bandwidth.iter();
        Self {
            vms: first(proposal.vms.iter().map(|wish| (wish.vm, wish))),
            moves: first(proposal.devices.iter().map(|wish| (wish.device, wish.reason))),
            device_bandwidth: first(device_bandwidth.map(|(device, wish)| (*device, wish.reason))),
            links: first(proposal.links.iter().map(|wish| (wish.link, wish.reason))),
            gpu_instances: proposal.gpu_instances.as_ref().map(|(_, reason)| *reason),
        }
    }

    fn find(&self, step: &Step) -> Reason {
        self.try_find(step).unwrap_or_default()
    }

    fn try_find(&self, step: &Step) -> Option<Reason> {
        let wish = || self.vms.get(&step.vm()?);
        match step {
            Step::SetCpu { .. } => Some(wish()?.cpu?.reason),
            Step::SetMemoryBandwidth { .. } => Some(wish()?.memory_bandwidth?.reason),
            Step::Place { .. } => Some(wish()?.socket?.1),
            Step::SetMemory { .. } | Step::MigrateMemory { .. } => Some(wish()?.memory.as_ref()?.reason),
            Step::SetClass { .. } => Some(wish()?.class?.1),
            Step::Detach { devices, .. } | Step::Attach { devices, .. } => {
                devices.iter().find_map(|(device, _)| self.moves.get(device)).copied()
            }
            Step::SetDeviceBandwidth { device, .. } => self.device_bandwidth.get(device).copied(),
            Step::SetLink { link, .. } => self.links.get(link).copied(),
            Step::CreateInstance { .. } | Step::DestroyInstance { .. } => self.gpu_instances,
            Step::CreateClass { .. } | Step::RemoveClass { .. } | Step::SetMask { .. } => None,
        }
    }
}
