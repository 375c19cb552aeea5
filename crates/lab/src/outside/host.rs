//! A world from outside as a host that the control cycle observes and changes.
//!
//! ```text
//!  receive ─► (cycle: poll, inventory, observe, begin …) ─► answer
//!  vms? snapshot                                            plan: the steps begun
//! ```
//!
//! What is held follows from the start and from what became of the steps, so that a world need not
//! repeat it; where it does, it has to agree. A world that takes no time for a kind of change is taken at
//! its word: such steps are done when they are begun.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Inventory, Observe, ObserveError, Progress, Ticket};
use halcyon_model::{Assignment, HostTime, Snapshot, Step, VmId, VmSample, check};

use super::error::{Flaw, OutsideError, Role, ensure, printable};
use super::message::{read, receive, send};
use super::opened::{Opened, difference, held};
use super::peer::{Limits, Peer};
use super::wire::{self, SCHEMA, StepState};
use super::{decode, encode};

/// What a world sent in its turn.
pub(super) enum Turn {
    /// A snapshot: it waits for the plan.
    Snapshot,
    /// Scores: it is over.
    Scores(wire::Scores),
}

/// A step that the next plan has.
struct Begun {
    id: u64,
    step: Step,
    calls_off: Option<u64>,
}

/// A world from outside.
pub(super) struct OutsideHost {
    peer: Peer,
    inventory: Arc<Inventory>,
    names: decode::Names,
    /// Every VM that was ever there.
    known: BTreeMap<String, VmId>,
    held: Assignment,
    samples: Vec<VmSample>,
    at: Option<HostTime>,
    duration: Duration,
    step: Duration,
    cycle: u64,
    next: u64,
    under_way: BTreeMap<u64, Step>,
    ended: BTreeMap<u64, Progress>,
    begun: Vec<Begun>,
    changes: u64,
}

impl OutsideHost {
    /// Starts a world and reads what there is.
    pub(super) fn start(
        command: &str,
        limits: Limits,
        environment: &[(&str, String)],
    ) -> Result<Self, OutsideError> {
        let mut peer = Peer::start(Role::World, command, limits, environment)?;
        let (_, line) = receive(&mut peer, &[wire::IsWorld::TEXT])?;
        let opened = read(&line).and_then(|world| Opened::new(&world));
        let Opened { inventory, names, held, duration, step } =
            opened.map_err(|flaw| peer.flaw(line.number, flaw))?;
        let known = inventory.vms.iter().map(|spec| (spec.name.clone(), spec.id)).collect();
        Ok(Self {
            peer,
            inventory: Arc::new(inventory),
            names,
            known,
            held,
            samples: Vec::new(),
            at: None,
            duration,
            step,
            cycle: 0,
            next: 1,
            under_way: BTreeMap::new(),
            ended: BTreeMap::new(),
            begun: Vec::new(),
            changes: 0,
        })
    }

    /// Simulated time since the start.
    pub(super) fn now(&self) -> HostTime {
        self.at.unwrap_or_default()
    }

    /// What people call the host.
    pub(super) fn name(&self) -> &str {
        self.inventory.topology.name()
    }

    /// How many VMs there are or were.
    pub(super) fn ever(&self) -> usize {
        self.known.len()
    }

    /// How long the run is to last.
    pub(super) fn duration(&self) -> Duration {
        self.duration
    }

    /// Steps begun so far.
    pub(super) fn changes(&self) -> u64 {
        self.changes
    }

    /// The number of a VM that is or was there.
    pub(super) fn known(&self, name: &str) -> Option<VmId> {
        self.known.get(name).copied()
    }

    /// Reads until it is Halcyon's turn.
    pub(super) fn receive(&mut self) -> Result<Turn, OutsideError> {
        use wire::{IsScores, IsSnapshot, IsVms};
        let all = [IsSnapshot::TEXT, IsScores::TEXT, IsVms::TEXT];
        let (mut kind, mut line) = receive(&mut self.peer, &all)?;
        if kind == IsVms::TEXT {
            let taken = read(&line).and_then(|vms| self.take_vms(&vms));
            taken.map_err(|flaw| self.peer.flaw(line.number, flaw))?;
            (kind, line) = receive(&mut self.peer, &all[..2])?;
        }
        let turn = if kind == IsScores::TEXT {
            read(&line).and_then(|scores| self.check_scores(&scores).map(|()| Turn::Scores(scores)))
        } else {
            read(&line).and_then(|snapshot| self.take_snapshot(&snapshot).map(|()| Turn::Snapshot))
        };
        turn.map_err(|flaw| self.peer.flaw(line.number, flaw))
    }

    /// Answers the snapshot with the steps begun since; `reason` says why.
    pub(super) fn answer(&mut self, reason: impl Fn(&Step) -> Option<String>) -> Result<(), OutsideError> {
        let vms = &self.inventory.vms;
        let begun = std::mem::take(&mut self.begun);
        let steps = begun.iter().map(|begun| wire::Begun {
            id: begun.id,
            step: encode::step(vms, &begun.step),
            calls_off: begun.calls_off,
            reason: reason(&begun.step),
        });
        let plan = wire::Plan {
            schema: SCHEMA,
            kind: wire::IsPlan::Is,
            cycle: self.cycle,
            steps: steps.collect(),
            target: (!begun.is_empty()).then(|| encode::held(vms, &self.target())),
        };
        send(&mut self.peer, &plan)
    }

    /// What is held once all that is under way is done.
    fn target(&self) -> Assignment {
        let mut target = self.held.clone();
        for step in self.under_way.values() {
            // What does not fit any more will be answered by the world.
            let _ = target.apply(step);
        }
        target
    }

    fn take_vms(&mut self, form: &wire::Vms) -> Result<(), Flaw> {
        let Inventory { topology, capabilities, profiles, .. } = &*self.inventory;
        let mut names = self.names.clone();
        let vms = decode::vms(&mut names, topology, &form.vms)?;
        let (topology, capabilities) = (topology.clone(), capabilities.clone());
        let inventory = Inventory { topology, vms, capabilities, profiles: Arc::clone(profiles) };
        let held = held(&inventory, &names, &form.held)?;
        let gone = |step: &Step| step.vm().is_some_and(|vm| inventory.world().position(vm).is_none());
        for (id, _) in self.under_way.extract_if(.., |_, step| gone(step)) {
            self.ended.insert(id, Progress::Refused { why: "the VM is gone".into() });
        }
        self.known.extend(inventory.vms.iter().map(|spec| (spec.name.clone(), spec.id)));
        (self.inventory, self.names, self.held) = (Arc::new(inventory), names, held);
        Ok(())
    }

    fn take_snapshot(&mut self, form: &wire::Snapshot) -> Result<(), Flaw> {
        let due = self.cycle + 1;
        ensure(
            form.cycle == due,
            || "cycle".into(),
            || format!("is {} where {due} was due; send one snapshot for each plan", form.cycle),
        )?;
        let at = decode::time(|| "at_s".into(), form.at_s)?;
        ensure(
            self.at.is_none_or(|before| at > before),
            || "at_s".into(),
            || format!("is {}, which is not after the snapshot before", form.at_s),
        )?;
        let cycles = self.duration.as_secs_f64() / self.step.as_secs_f64() + 1.0;
        #[allow(clippy::cast_precision_loss)]
        let most = at <= self.duration + self.step && due as f64 <= cycles;
        ensure(
            most,
            || "at_s".into(),
            || {
                let (duration, step) = (self.duration.as_secs_f64(), self.step.as_secs_f64());
                format!(
                    "is {}, but the run is to last {duration} s in steps of {step} s; send scores",
                    form.at_s
                )
            },
        )?;
        let Inventory { topology, vms, .. } = &*self.inventory;
        let devices = topology.fabric().devices.len();
        self.samples = decode::samples(devices, vms, &self.names, &form.vms)?;
        let failed = self.take_reports(&form.steps)?;
        if let Some(said) = &form.held {
            self.agree(&failed, said)?;
        }
        (self.at, self.cycle) = (Some(at), due);
        Ok(())
    }

    /// Notes what became of steps, and gives those that went wrong.
    fn take_reports(&mut self, reports: &[wire::StepReport]) -> Result<Vec<Step>, Flaw> {
        let mut failed = Vec::new();
        for (at, report) in reports.iter().enumerate() {
            let id = report.id;
            ensure(
                self.under_way.contains_key(&id),
                || format!("steps[{at}].id"),
                || {
                    format!(
                        "is {id}, but no such step is under way; report each once, and none without latency"
                    )
                },
            )?;
            if report.state == StepState::UnderWay {
                continue;
            }
            let Some(step) = self.under_way.remove(&id) else { continue };
            let why = || report.why.as_deref().map_or_else(|| "the world does not say why".into(), printable);
            let progress = match report.state {
                StepState::UnderWay => continue,
                StepState::Refused => Progress::Refused { why: why() },
                StepState::Done => match self.held.apply(&step) {
                    Ok(()) => Progress::Done,
                    Err(mismatch) => Progress::Failed { why: mismatch.to_string() },
                },
                StepState::Failed => {
                    failed.push(step);
                    Progress::Failed { why: why() }
                }
            };
            self.ended.insert(id, progress);
        }
        Ok(failed)
    }

    /// What the world says is held has to be what the steps led to; a step that went wrong may be in
    /// effect all the same.
    fn agree(&mut self, failed: &[Step], said: &wire::Held) -> Result<(), Flaw> {
        let Inventory { topology, vms, .. } = &*self.inventory;
        let said = decode::held(topology, vms, &self.names, said)?;
        for step in failed.iter().filter(|step| said.matches(&step.inverse()) && !said.matches(step)) {
            let _ = self.held.apply(step);
        }
        if said == self.held {
            return Ok(());
        }
        check(self.inventory.world(), &said).map_err(|broken| Flaw::new("held", broken.to_string()))?;
        let (field, what) = difference(vms, &self.held, &said);
        let problem = format!("{what}; take the steps of each plan, and report those that take time");
        Err(Flaw::new(field, problem))
    }

    fn check_scores(&self, form: &wire::Scores) -> Result<(), Flaw> {
        let reached = self.at.is_some_and(|at| at + self.step * 2 >= self.duration);
        ensure(reached, String::new, || {
            let (now, all) = (self.now().as_secs_f64(), self.duration.as_secs_f64());
            format!("scores come at {now} s of the {all} s that the run is to last")
        })?;
        let part = |field: &str, value: f64, least: f64| {
            ensure(
                (least..=1.0).contains(&value),
                || field.into(),
                || format!("is {value}; it must be from {least} to 1"),
            )
        };
        part("utility", form.utility, -1e6)?;
        part("violations", form.violations, 0.0)?;
        form.bound.map_or(Ok(()), |bound| part("bound", bound, form.utility))?;
        let mut open = self.known.clone();
        for (at, vm) in form.vms.iter().enumerate() {
            part(&format!("vms[{at}].utility"), vm.utility, 0.0)?;
            ensure(
                open.remove(&vm.vm).is_some(),
                || format!("vms[{at}].vm"),
                || format!("`{}` was never there, or is there twice", printable(&vm.vm)),
            )?;
        }
        ensure(
            open.is_empty(),
            || "vms".into(),
            || format!("nothing is said of VM `{}`", open.keys().next().map_or("", String::as_str)),
        )
    }
}

impl Observe for OutsideHost {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        snapshot.at = self.now();
        snapshot.assignment.clone_from(&self.held);
        snapshot.vms.clone_from(&self.samples);
        Ok(())
    }
}

impl Actuate for OutsideHost {
    fn estimate(&self, step: &Step) -> Duration {
        self.inventory.capabilities.get(step.kind()).map_or(Duration::ZERO, |control| control.latency)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refuse = |why: &str| Err(ActuateError { step: step.to_string(), why: why.into() });
        let Some(control) = self.inventory.capabilities.get(step.kind()).copied() else {
            return refuse("this world cannot change that");
        };
        let gone = |vm| self.inventory.world().position(vm).is_none();
        if step.vm().is_some_and(gone) {
            // Only what is led back gets here, and with its VM all of it is gone.
            return Ok(Progress::Done);
        }
        let inverse = step.inverse();
        let found =
            |wanted: &Step| self.under_way.iter().find(|(_, step)| *step == wanted).map(|(id, _)| *id);
        if let Some(called_off) = found(&inverse) {
            self.under_way.remove(&called_off);
            self.push(step, Some(called_off));
            return Ok(Progress::Done);
        }
        if let Some(id) = found(step) {
            return Ok(Progress::UnderWay(Ticket(id)));
        }
        if !self.held.matches(step) {
            let there = self.held.matches(&inverse);
            return if there { Ok(Progress::Done) } else { refuse("it starts from another state") };
        }
        let id = self.push(step, None);
        if !control.latency.is_zero() {
            self.under_way.insert(id, step.clone());
            return Ok(Progress::UnderWay(Ticket(id)));
        }
        match self.held.apply(step) {
            Ok(()) => Ok(Progress::Done),
            Err(mismatch) => refuse(&mismatch.to_string()),
        }
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        if let Some(progress) = self.ended.remove(&ticket.0) {
            return progress;
        }
        if self.under_way.contains_key(&ticket.0) {
            return Progress::UnderWay(ticket);
        }
        Progress::Failed { why: "no such change is under way".into() }
    }
}

impl OutsideHost {
    fn push(&mut self, step: &Step, calls_off: Option<u64>) -> u64 {
        let id = self.next;
        self.next += 1;
        self.changes += 1;
        self.begun.push(Begun { id, step: step.clone(), calls_off });
        id
    }
}
