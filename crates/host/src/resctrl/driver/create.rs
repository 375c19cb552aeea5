//! New classes, which may have to wait, and old ones.
//!
//! The hardware counts by ids that it has few of. One that is given back counts on while its lines are in
//! the cache; the kernel then says `EBUSY` to whoever wants a new group, and `ENOSPC` where all are in use.

use std::time::Duration;

use halcyon_hal::{Progress, Ticket};
use halcyon_model::{CacheMask, ClassId, HostTime, SocketId};
use rustix::io::Errno;

use super::super::error::Error;
use super::super::files::Files;
use super::super::schemata::Schemata;
use super::super::threads::Threads;
use super::super::tree::class_group;
use super::CacheDriver;
use super::trail::Trail;
use crate::error_chain;

/// The first pause between two attempts, and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(1));

/// A class that could not be made yet.
#[derive(Debug)]
pub(super) struct Waiting {
    class: ClassId,
    masks: Vec<CacheMask>,
    next: HostTime,
    pause: Duration,
    until: HostTime,
}

/// How an attempt ended that was not turned down.
enum Attempt {
    Ended(Progress),
    /// An id is in limbo.
    Busy,
}

impl<F: Files, T: Threads> CacheDriver<F, T> {
    pub(super) fn create(&mut self, class: ClassId, masks: &[CacheMask]) -> Result<Progress, String> {
        let sockets = self.setup.sockets.len();
        if class.0 == 0 || class.0 >= self.tree.info().classes {
            return Err(format!("{class} is none of the {} that the hardware has", self.tree.info().classes));
        }
        if masks.len() != sockets {
            return Err(format!("it has {} masks for {sockets} sockets", masks.len()));
        }
        if let Some((ticket, waiting)) = self.waiting.iter_mut().find(|(_, waiting)| waiting.class == class) {
            waiting.masks = masks.to_vec();
            return Ok(Progress::UnderWay(Ticket(*ticket)));
        }
        match self.attempt(class, masks)? {
            Attempt::Ended(progress) => Ok(progress),
            Attempt::Busy => {
                let now = (self.clock)();
                self.tickets += 1;
                let until = now.saturating_add(self.setup.patience);
                let next = now.saturating_add(PAUSE.0);
                let waiting = Waiting { class, masks: masks.to_vec(), next, pause: PAUSE.0, until };
                self.waiting.insert(self.tickets, waiting);
                Ok(Progress::UnderWay(Ticket(self.tickets)))
            }
        }
    }

    pub(super) fn create_again(&mut self, ticket: Ticket) -> Progress {
        let now = (self.clock)();
        let Some(mut waiting) = self.waiting.remove(&ticket.0) else {
            return Progress::Failed { why: format!("nothing is under way with ticket {}", ticket.0) };
        };
        if now < waiting.next {
            self.waiting.insert(ticket.0, waiting);
            return Progress::UnderWay(ticket);
        }
        match self.attempt(waiting.class, &waiting.masks) {
            Ok(Attempt::Ended(progress)) => progress,
            Ok(Attempt::Busy) if now >= waiting.until => Progress::Refused {
                why: format!(
                    "the hardware's ids were all in use or in limbo for {:?}: try again later",
                    self.setup.patience
                ),
            },
            Ok(Attempt::Busy) => {
                waiting.pause = (waiting.pause * 2).min(PAUSE.1);
                waiting.next = now.saturating_add(waiting.pause);
                self.waiting.insert(ticket.0, waiting);
                Progress::UnderWay(ticket)
            }
            // Nothing was changed, but the answer is to a change that was under way.
            Err(why) => Progress::Failed { why },
        }
    }

    fn attempt(&self, class: ClassId, masks: &[CacheMask]) -> Result<Attempt, String> {
        let group = class_group(class);
        let mut trail = Trail::default();
        let there = self.tree.groups().map_err(|error| error_chain(&error))?.own.contains(&class);
        if !there {
            match trail.make(&self.tree, &group) {
                Ok(()) => {}
                Err(error) if error.is(Errno::BUSY) => return Ok(Attempt::Busy),
                Err(error) if error.is(Errno::NOSPC) => {
                    return Ok(Attempt::Ended(Progress::Refused { why: self.full(&error) }));
                }
                Err(error) => return trail.lead_back(&self.tree, &error).map(Attempt::Ended),
            }
        }
        let mut wanted = self.throttles(class, &self.members);
        for (index, mask) in masks.iter().enumerate() {
            wanted = self.with_mask(wanted, SocketId::at(index), *mask);
        }
        match trail.write(&self.tree, &group, &wanted) {
            Ok(()) => Ok(Attempt::Ended(Progress::Done)),
            Err(error) => trail.lead_back(&self.tree, &error).map(Attempt::Ended),
        }
    }

    fn full(&self, error: &Error) -> String {
        let foreign = self.tree.groups().map(|groups| groups.foreign).unwrap_or_default();
        let others = match foreign.len() {
            0 => String::new(),
            some => {
                let names: Vec<&str> = foreign.iter().take(4).map(String::as_str).collect();
                format!("; {some} are taken by others ({})", names.join(", "))
            }
        };
        format!("no class of service is left{others}: {}", error_chain(&error))
    }

    pub(super) fn with_mask(&self, mut wanted: Schemata, socket: SocketId, mask: CacheMask) -> Schemata {
        for cache in self.setup.sockets.caches(socket) {
            for line in self.mask_lines() {
                wanted = wanted.with(*line, *cache, mask.0);
            }
        }
        wanted
    }

    pub(super) fn remove(&mut self, class: ClassId) -> Result<Progress, String> {
        if class.0 == 0 {
            return Err("the default group cannot be removed".into());
        }
        self.waiting.retain(|_, waiting| waiting.class != class);
        let survey = self.survey().map_err(|error| error_chain(&error))?;
        let Some(tasks) = survey.tasks.get(&class) else { return Ok(Progress::Done) };
        for vm in self.members.keys() {
            let threads = self.threads.of(*vm).unwrap_or_default();
            if threads.iter().any(|thread| tasks.contains(thread)) {
                return Err(format!("threads of {vm} are still in it"));
            }
        }
        match self.tree.remove(&class_group(class)) {
            Ok(()) => Ok(Progress::Done),
            Err(error) => match self.tree.groups() {
                // It went all the same.
                Ok(groups) if !groups.own.contains(&class) => Ok(Progress::Done),
                _ => Err(error_chain(&error)),
            },
        }
    }
}
