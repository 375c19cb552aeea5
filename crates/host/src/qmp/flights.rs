//! Changes under way, each known to whoever asked for it by a ticket.

use std::collections::BTreeMap;

use halcyon_hal::{Progress, Ticket};

/// Changes under way.
#[derive(Debug)]
pub(super) struct Flights<J> {
    jobs: BTreeMap<Ticket, J>,
    next: u64,
}

impl<J> Flights<J> {
    pub(super) const fn new() -> Self {
        Self { jobs: BTreeMap::new(), next: 0 }
    }

    /// One more.
    pub(super) fn start(&mut self, job: J) -> Ticket {
        let ticket = Ticket(self.next);
        self.next += 1;
        self.jobs.insert(ticket, job);
        ticket
    }

    pub(super) fn get(&self, ticket: Ticket) -> Option<&J> {
        self.jobs.get(&ticket)
    }

    pub(super) fn get_mut(&mut self, ticket: Ticket) -> Option<&mut J> {
        self.jobs.get_mut(&ticket)
    }

    /// Forgets those that whoever asks for something else now does not want any more.
    pub(super) fn forget(&mut self, unwanted: impl Fn(&J) -> bool) {
        self.jobs.retain(|_, job| !unwanted(job));
    }

    /// What is said of a ticket whose job has ended so, which spends it, or goes on.
    pub(super) fn answer(&mut self, ticket: Ticket, ended: Option<Progress>) -> Progress {
        if !self.jobs.contains_key(&ticket) {
            return Progress::Failed { why: "no such change is under way".into() };
        }
        let Some(progress) = ended else { return Progress::UnderWay(ticket) };
        self.jobs.remove(&ticket);
        progress
    }
}
