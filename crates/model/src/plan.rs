//! A plan: a proposal that passed the checker, numbered, complete, each change with its reason.

use crate::assignment::Assignment;
use crate::check::{Findings, Rule, Violations, check};
use crate::diff::Diff;
use crate::ids::{DeviceId, Generation};
use crate::proposal::{Proposal, Reason};
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

/// Turns a difference into a plan, if it breaks no rule.
///
/// # Errors
/// Every rule that the plan would break.
pub fn approve(
    world: World<'_>,
    standing: Standing,
    proposal: &Proposal,
    difference: Diff,
) -> Result<Plan, Violations> {
    check(world, &difference.reached)?;
    let mut findings = Findings::default();
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

/// Finds the wish behind a step.
struct Reasons<'a> {
    proposal: &'a Proposal,
    by_vm: Vec<u32>,
}

impl<'a> Reasons<'a> {
    fn new(proposal: &'a Proposal) -> Self {
        let mut by_vm: Vec<u32> = (0..).take(proposal.vms.len()).collect();
        by_vm.sort_by_key(|index| proposal.vms[*index as usize].vm);
        Self { proposal, by_vm }
    }

    fn find(&self, step: &Step) -> Reason {
        self.try_find(step).unwrap_or_default()
    }

    fn try_find(&self, step: &Step) -> Option<Reason> {
        let wish = || {
            let vms = &self.proposal.vms;
            let found = self.by_vm.binary_search_by_key(&step.vm()?, |index| vms[*index as usize].vm).ok()?;
            Some(&vms[self.by_vm[found] as usize])
        };
        match step {
            Step::SetCpu { .. } => Some(wish()?.cpu?.reason),
            Step::SetMemoryBandwidth { .. } => Some(wish()?.memory_bandwidth?.reason),
            Step::Place { .. } => Some(wish()?.socket?.1),
            Step::SetMemory { .. } | Step::MigrateMemory { .. } => Some(wish()?.memory.as_ref()?.reason),
            Step::SetClass { .. } => Some(wish()?.class?.1),
            Step::Detach { devices, .. } | Step::Attach { devices, .. } => {
                let moved =
                    |wish: &&crate::proposal::DeviceMove| devices.iter().any(|(id, _)| *id == wish.device);
                self.proposal.devices.iter().find(moved).map(|wish| wish.reason)
            }
            Step::SetDeviceBandwidth { device, .. } => self
                .proposal
                .device_bandwidth
                .iter()
                .find(|(id, _)| id == device)
                .map(|(_, wish)| wish.reason),
            Step::SetLink { link, .. } => {
                self.proposal.links.iter().find(|wish| wish.link == *link).map(|wish| wish.reason)
            }
            Step::CreateInstance { .. } | Step::DestroyInstance { .. } => {
                self.proposal.gpu_instances.as_ref().map(|(_, reason)| *reason)
            }
            Step::CreateClass { .. } | Step::RemoveClass { .. } | Step::SetMask { .. } => None,
        }
    }
}
