//! A host made of drivers: each reads and changes its own, and a step goes to those that make its kind.
//!
//! Drivers are independent: what one has under way does not hold up another. Where a kind concerns several
//! (a device that is attached also gets its bandwidth), they make the step one after the other, in the
//! order in which they were given, and it is done when all have done it. When one of them cannot, the step
//! has failed and the executor leads it back through all of them, which does no harm to those that had
//! nothing to do.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use halcyon_model::{Assignment, Capabilities, ChangeKind, HostTime, Snapshot, Step, VmSample};

use crate::host::{Actuate, ActuateError, Driver, Inventory, Observe, ObserveError, Progress, Ticket};
use crate::journal::Unfinished;

/// A host made of drivers.
pub struct Assembly {
    inventory: Arc<Inventory>,
    drivers: Vec<Box<dyn Driver>>,
    /// By kind of change, the drivers that make it.
    makers: [Vec<usize>; ChangeKind::ALL.len()],
    /// What is held, as far as the last reading and what was done since tell.
    held: Assignment,
    clock: Box<dyn Fn() -> HostTime + Send>,
    flights: BTreeMap<u64, Flight>,
    next: u64,
}

/// A step that some drivers have still to make.
struct Flight {
    step: Step,
    /// The drivers that make it, those that are done left out; the first has it under way.
    left: Vec<usize>,
    ticket: Ticket,
}

/// Why drivers do not make a host.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("nothing on this host can change {kind}, and it is said to be changeable")]
pub struct AssemblyError {
    /// What.
    pub kind: ChangeKind,
}

impl Assembly {
    /// A host with this inventory, whose capabilities are narrowed to what the drivers offer, and these
    /// VMs holding `believed` until the machine says otherwise.
    #[must_use]
    pub fn new(
        inventory: Inventory,
        drivers: Vec<Box<dyn Driver>>,
        believed: Assignment,
        clock: impl Fn() -> HostTime + Send + 'static,
    ) -> Self {
        let offers: Vec<Capabilities> = drivers.iter().map(|driver| driver.capabilities()).collect();
        let makers = ChangeKind::ALL
            .map(|kind| (0..offers.len()).filter(|index| offers[*index].allows(kind)).collect::<Vec<_>>());
        let offered = |kind: ChangeKind| {
            let control = inventory.capabilities.get(kind).copied();
            control.filter(|_| !makers[kind as usize].is_empty())
        };
        let none = Capabilities::none();
        let capabilities = ChangeKind::ALL.into_iter().fold(none, |all, kind| all.with(kind, offered(kind)));
        let inventory = Arc::new(Inventory { capabilities, ..inventory });
        let (flights, clock) = (BTreeMap::new(), Box::new(clock));
        Self { inventory, drivers, makers, held: believed, clock, flights, next: 0 }
    }

    /// Whether the drivers can make every kind of change that `wanted` names.
    ///
    /// # Errors
    /// With the first kind that none of them makes.
    pub fn covers(&self, wanted: &Capabilities) -> Result<(), AssemblyError> {
        let missing = |kind: &ChangeKind| wanted.allows(*kind) && self.makers(*kind).is_empty();
        match ChangeKind::ALL.into_iter().find(missing) {
            Some(kind) => Err(AssemblyError { kind }),
            None => Ok(()),
        }
    }

    /// What is held, as read last and kept up with what was done since.
    #[must_use]
    pub fn held(&self) -> &Assignment {
        &self.held
    }

    /// Whether no change is under way.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.flights.is_empty()
    }

    /// Takes as believed what another source knows, such as a journal. The next reading corrects it.
    pub fn believe(&mut self, held: Assignment) {
        self.held = held;
    }

    /// Reads the machine with what a journal left unfinished in mind: of CPU time and bandwidth machines show
    /// only roughly how much it is, so each open step says what it may be, before it and after it.
    ///
    /// # Errors
    /// When a driver cannot be read at all.
    pub fn resume(&mut self, unfinished: &Unfinished) -> Result<(), ObserveError> {
        let base = self.held.clone();
        self.held = unfinished.reread(&base, |believed| {
            self.believe(believed);
            self.read().map(|()| self.held.clone())
        })?;
        Ok(())
    }

    /// Reads every driver's own.
    ///
    /// # Errors
    /// When one of them cannot be read at all; what the others said stays.
    pub fn read(&mut self) -> Result<(), ObserveError> {
        for driver in &mut self.drivers {
            driver.read(&mut self.held)?;
        }
        Ok(())
    }

    fn makers(&self, kind: ChangeKind) -> &[usize] {
        &self.makers[kind as usize]
    }

    /// Lets the drivers that are left make the step, until one takes its time or cannot.
    fn go_on(&mut self, step: &Step, mut left: Vec<usize>) -> Result<Progress, ActuateError> {
        while let Some(first) = left.first().copied() {
            match self.drivers[first].begin(step)? {
                Progress::Done => {
                    left.remove(0);
                }
                Progress::UnderWay(ticket) => {
                    let ours = self.next;
                    self.next += 1;
                    self.flights.insert(ours, Flight { step: step.clone(), left, ticket });
                    return Ok(Progress::UnderWay(Ticket(ours)));
                }
                other => return Ok(other),
            }
        }
        let _ = self.held.apply(step);
        Ok(Progress::Done)
    }
}

impl Observe for Assembly {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.read()?;
        snapshot.at = (self.clock)();
        snapshot.assignment.clone_from(&self.held);
        let vms = self.inventory.vms.iter();
        snapshot.vms = vms.map(|spec| VmSample { vm: spec.id, ..VmSample::default() }).collect();
        Ok(())
    }
}

impl Actuate for Assembly {
    fn estimate(&self, step: &Step) -> Duration {
        let makers = self.makers(step.kind());
        makers.iter().map(|index| self.drivers[*index].estimate(step)).sum()
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let makers = self.makers(step.kind()).to_vec();
        if makers.is_empty() {
            let why = "nothing on this host can change that".into();
            return Err(ActuateError { step: step.to_string(), why });
        }
        self.go_on(step, makers)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let Some(flight) = self.flights.get(&ticket.0) else {
            return Progress::Failed { why: "no such change is under way".into() };
        };
        match self.drivers[flight.left[0]].poll(flight.ticket) {
            Progress::UnderWay(_) => return Progress::UnderWay(ticket),
            Progress::Done => {}
            ended => {
                self.flights.remove(&ticket.0);
                return ended;
            }
        }
        let Some(Flight { step, left, .. }) = self.flights.remove(&ticket.0) else {
            return Progress::Failed { why: "no such change is under way".into() };
        };
        match self.go_on(&step, left[1..].to_vec()) {
            Ok(Progress::UnderWay(next)) => {
                // The ticket that was given out stays good.
                if let Some(flight) = self.flights.remove(&next.0) {
                    self.flights.insert(ticket.0, flight);
                }
                Progress::UnderWay(ticket)
            }
            Ok(ended) => ended,
            Err(error) => Progress::Failed { why: error.to_string() },
        }
    }
}

impl std::fmt::Debug for Assembly {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<_> = self.drivers.iter().map(|driver| driver.name()).collect();
        f.debug_struct("Assembly").field("drivers", &names).field("held", &self.held).finish_non_exhaustive()
    }
}
