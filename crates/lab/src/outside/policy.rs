//! A policy from outside: told what there is and what was seen, it answers with what it wants.
//!
//! A decision cannot fail, so a peer that does leaves what is wrong in a [`Fault`] and wants nothing from
//! then on; whoever runs the cycle looks there after every tick and stops. The heuristic never decides in
//! its place: a figure in a comparison is the policy's own, or there is none.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use halcyon_control::{Outcome, Stopwatch};
use halcyon_model::{HostTime, Proposal, VmCounters, VmId, VmRates, VmSpec};
use halcyon_policy::{Policy, View};

use super::error::{OutsideError, Role};
use super::message::{read, receive, send};
use super::peer::Peer;
use super::wire::{self, SCHEMA};
use super::world::{Outside, OutsideRunError};
use super::{decode, encode};
use crate::run::{Run, RunResult};
use crate::scenario::Scenario;

/// The name of a policy from outside in results.
pub const EXTERNAL: &str = "external";

/// Where a policy from outside puts what stops a run.
#[derive(Debug, Clone, Default)]
pub struct Fault(Arc<Mutex<Option<OutsideError>>>);

impl Fault {
    /// What stops the run, if anything does.
    #[must_use]
    pub fn take(&self) -> Option<OutsideError> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn put(&self, error: OutsideError) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(error);
    }
}

/// A policy from outside.
pub struct ExternalPolicy {
    /// Nothing once it failed.
    peer: Option<Peer>,
    fault: Fault,
    cycle: u64,
    told: Vec<VmSpec>,
    /// As they are when nothing was changed yet: later views leave out what was changed just now.
    changes: BTreeMap<wire::ChangeKind, wire::Change>,
    names: decode::Names,
    seen_at: Option<HostTime>,
    seen: BTreeMap<VmId, VmCounters>,
}

impl ExternalPolicy {
    /// Starts its command.
    ///
    /// # Errors
    /// When it cannot be started.
    pub fn start(policy: &Outside) -> Result<Self, OutsideError> {
        let peer = Peer::start(Role::Policy, &policy.command, policy.limits, &policy.environment())?;
        Ok(Self {
            peer: Some(peer),
            fault: Fault::default(),
            cycle: 0,
            told: Vec::new(),
            changes: BTreeMap::new(),
            names: decode::Names::default(),
            seen_at: None,
            seen: BTreeMap::new(),
        })
    }

    /// Where it puts what stops the run.
    #[must_use]
    pub fn fault(&self) -> Fault {
        self.fault.clone()
    }

    fn ask(&mut self, peer: &mut Peer, view: &View<'_>) -> Result<Proposal, OutsideError> {
        if self.cycle == 0 || self.told != view.world.vms {
            self.tell(peer, view)?;
        }
        self.cycle += 1;
        send(peer, &self.snapshot(view))?;
        let (_, line) = receive(peer, &[wire::IsProposal::TEXT])?;
        let taken = read(&line).and_then(|form: wire::Proposal| {
            if form.cycle != self.cycle {
                let problem =
                    format!("is {} where {} was due; answer every snapshot once", form.cycle, self.cycle);
                return Err(super::error::Flaw::new("cycle", problem));
            }
            let based_on = view.snapshot.generation;
            decode::proposal(view.world.topology, view.world.vms, &self.names, based_on, &form)
        });
        taken.map_err(|flaw| peer.flaw(line.number, flaw))
    }

    fn tell(&mut self, peer: &mut Peer, view: &View<'_>) -> Result<(), OutsideError> {
        self.names = decode::Names::of(view.world.vms).map_err(|name| peer.same_name(&name))?;
        self.told = view.world.vms.to_vec();
        if self.cycle == 0 {
            self.changes = encode::changes(view.world.capabilities);
        }
        let world = wire::PolicyWorld {
            schema: SCHEMA,
            kind: wire::IsWorld::Is,
            host: encode::host(view.world.topology),
            changes: self.changes.clone(),
            vms: view.world.vms.iter().map(encode::vm).collect(),
        };
        send(peer, &world)
    }

    fn snapshot(&mut self, view: &View<'_>) -> wire::PolicySnapshot {
        let (vms, snapshot) = (view.world.vms, view.snapshot);
        let elapsed = self.seen_at.map(|before| snapshot.at.saturating_sub(before));
        let seen = snapshot.vms.iter().map(|sample| {
            let before = self.seen.get(&sample.vm).zip(elapsed);
            let rates = before.map(|(before, elapsed)| VmRates::between(before, &sample.counters, elapsed));
            wire::Seen {
                sample: encode::sample(vms, sample),
                rates: rates.as_ref().map(encode::rates).unwrap_or_default(),
            }
        });
        let seen = seen.collect();
        self.seen = snapshot.vms.iter().map(|sample| (sample.vm, sample.counters.clone())).collect();
        self.seen_at = Some(snapshot.at);
        let open = encode::KINDS.iter().filter(|(kind, _)| {
            view.world.capabilities.allows(*kind) && !view.frozen.contains(kind.family())
        });
        wire::PolicySnapshot {
            schema: SCHEMA,
            kind: wire::IsSnapshot::Is,
            cycle: self.cycle,
            at_s: snapshot.at.as_secs_f64(),
            changeable: open.map(|(_, kind)| *kind).collect(),
            held: encode::held(vms, &snapshot.assignment),
            vms: seen,
        }
    }
}

impl Policy for ExternalPolicy {
    fn name(&self) -> &'static str {
        EXTERNAL
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        if let Some(mut peer) = self.peer.take() {
            match self.ask(&mut peer, view) {
                Ok(proposal) => {
                    self.peer = Some(peer);
                    return proposal;
                }
                Err(error) => self.fault.put(error),
            }
        }
        Proposal { based_on: view.snapshot.generation, ..Proposal::default() }
    }
}

/// A run under way on the simulated host, of a policy from outside.
pub struct PolicyRun {
    run: Run,
    fault: Fault,
}

impl PolicyRun {
    /// Starts the policy on a scenario, under a name; `record` keeps what happens for a report.
    ///
    /// # Errors
    /// When the command cannot be started, the start is not feasible, or two VMs have one name.
    pub fn new(
        scenario: &Scenario,
        name: &str,
        policy: &Outside,
        record: bool,
    ) -> Result<Self, OutsideRunError> {
        let specs: Vec<VmSpec> = scenario.guests.iter().map(|guest| guest.spec.clone()).collect();
        decode::Names::of(&specs).map_err(|name| OutsideRunError::SameName { name })?;
        let policy = ExternalPolicy::start(policy)?;
        let fault = policy.fault();
        Ok(Self { run: Run::of(scenario, name, Box::new(policy), record)?, fault })
    }

    /// The run.
    #[must_use]
    pub fn run(&self) -> &Run {
        &self.run
    }

    /// Whether the scenario's time is over.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.run.is_over()
    }

    /// Lets one step of time pass and runs one cycle.
    ///
    /// # Errors
    /// When the policy is dead, slow or wrong, or the cycle cannot be completed.
    pub fn tick(&mut self, stopwatch: &dyn Stopwatch) -> Result<Outcome, OutsideRunError> {
        let outcome = self.run.tick(stopwatch)?;
        self.fault.take().map_or(Ok(outcome), |error| Err(error.into()))
    }

    /// How the run did so far.
    #[must_use]
    pub fn finish(self) -> RunResult {
        self.run.finish()
    }
}
