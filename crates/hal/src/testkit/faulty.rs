//! A driver that fails in one way, in front of one that works.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::Step;

use crate::host::{Actuate, ActuateError, Progress, Ticket};

/// A way to fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// Every change takes some polls longer.
    Slow,
    /// The first attempts cannot begin.
    Busy,
    /// The first change is refused by the guest.
    Refuses,
    /// The first change goes wrong, and nothing was changed.
    Fails,
    /// The first change goes wrong, although it is in effect.
    Half,
    /// The first change is said to be done and is not.
    Lies,
    /// The first change is never answered, and never happens.
    Silent,
    /// The first change happens, and is never answered.
    Forgets,
    /// After the first change began, nothing is answered any more.
    Dies,
}

impl Fault {
    /// Every way.
    pub const ALL: [Self; 9] = [
        Self::Slow,
        Self::Busy,
        Self::Refuses,
        Self::Fails,
        Self::Half,
        Self::Lies,
        Self::Silent,
        Self::Forgets,
        Self::Dies,
    ];

    /// Whether it never goes away, so that a step may well be stuck.
    #[must_use]
    pub const fn is_lasting(self) -> bool {
        matches!(self, Self::Dies)
    }
}

/// Where tickets of our own begin, far from those of a driver.
const OURS: u64 = 1 << 62;
/// Polls that a slow change takes on top.
const SLOWER: u32 = 3;
/// Attempts that a busy driver turns away.
const BUSY: u32 = 2;

/// What the wrapper remembers between calls.
#[derive(Debug)]
pub struct Faulty {
    fault: Fault,
    /// Attempts before the first that goes wrong.
    well: u32,
    begun: u32,
    next: u64,
    held_back: BTreeMap<u64, (Step, u32)>,
    /// The driver's own tickets of changes that were held back.
    passed_on: BTreeMap<u64, Ticket>,
    half: Option<Ticket>,
}

impl Faulty {
    /// A wrapper that fails in this way at the first change.
    #[must_use]
    pub fn new(fault: Fault) -> Self {
        Self::later(fault, 0)
    }

    /// A wrapper that fails in this way after some attempts that went well.
    #[must_use]
    pub fn later(fault: Fault, well: u32) -> Self {
        Self {
            fault,
            well,
            begun: 0,
            next: OURS,
            held_back: BTreeMap::new(),
            passed_on: BTreeMap::new(),
            half: None,
        }
    }

    /// Stands in front of a driver for a while.
    pub fn over<'a>(&'a mut self, inner: &'a mut dyn Actuate) -> impl Actuate + 'a {
        Over { faulty: self, inner }
    }

    fn hold_back(&mut self, step: &Step, polls: u32) -> Progress {
        self.next += 1;
        self.held_back.insert(self.next, (step.clone(), polls));
        Progress::UnderWay(Ticket(self.next))
    }
}

struct Over<'a> {
    faulty: &'a mut Faulty,
    inner: &'a mut dyn Actuate,
}

fn wrong() -> Progress {
    Progress::Failed { why: "as the test says".into() }
}

impl Actuate for Over<'_> {
    fn estimate(&self, step: &Step) -> Duration {
        self.inner.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let begun = self.faulty.begun;
        self.faulty.begun += 1;
        let Some(turn) = begun.checked_sub(self.faulty.well) else { return self.inner.begin(step) };
        let error = || Err(ActuateError { step: step.to_string(), why: "as the test says".into() });
        match self.faulty.fault {
            Fault::Slow => Ok(self.faulty.hold_back(step, SLOWER)),
            Fault::Busy if turn < BUSY => error(),
            Fault::Refuses if turn == 0 => Ok(Progress::Refused { why: "as the test says".into() }),
            Fault::Fails if turn == 0 => Ok(wrong()),
            Fault::Lies if turn == 0 => Ok(Progress::Done),
            Fault::Silent if turn == 0 => Ok(self.faulty.hold_back(step, u32::MAX)),
            Fault::Half if turn == 0 => match self.inner.begin(step)? {
                Progress::UnderWay(ticket) => {
                    self.faulty.half = Some(ticket);
                    Ok(Progress::UnderWay(ticket))
                }
                _ => Ok(wrong()),
            },
            Fault::Forgets | Fault::Dies if turn == 0 => {
                self.inner.begin(step)?;
                Ok(self.faulty.hold_back(step, u32::MAX))
            }
            Fault::Dies => error(),
            _ => self.inner.begin(step),
        }
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        if let Some((step, left)) = self.faulty.held_back.get_mut(&ticket.0) {
            if *left == u32::MAX {
                return Progress::UnderWay(ticket);
            }
            if *left > 0 {
                *left -= 1;
                return Progress::UnderWay(ticket);
            }
            let step = step.clone();
            self.faulty.held_back.remove(&ticket.0);
            return match self.inner.begin(&step) {
                Ok(Progress::UnderWay(own)) => {
                    self.faulty.passed_on.insert(ticket.0, own);
                    Progress::UnderWay(ticket)
                }
                begun => begun.unwrap_or_else(|_| wrong()),
            };
        }
        if let Some(own) = self.faulty.passed_on.get(&ticket.0) {
            return match self.inner.poll(*own) {
                Progress::UnderWay(_) => Progress::UnderWay(ticket),
                ended => ended,
            };
        }
        let progress = self.inner.poll(ticket);
        if self.faulty.half == Some(ticket) && !matches!(progress, Progress::UnderWay(_)) {
            self.faulty.half = None;
            return wrong();
        }
        progress
    }
}
