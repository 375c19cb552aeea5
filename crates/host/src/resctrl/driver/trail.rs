//! What was changed on the way through a step, so that it can be led back.

use super::super::error::Error;
use super::super::files::Files;
use super::super::schemata::Schemata;
use super::super::tree::Tree;
use crate::error_chain;
use halcyon_hal::Progress;
use rustix::io::Errno;

/// How often leading back tries one thing.
const TRIES: u32 = 3;

enum Back {
    Schemata { group: String, old: Schemata },
    Task { group: String, thread: u32 },
    Remove { group: String },
    Rename { from: String, to: String },
}

/// The changes of one step. Each is written down before it is made: one that failed may have been made.
#[derive(Default)]
pub(super) struct Trail {
    back: Vec<Back>,
}

impl Trail {
    /// Changes what differs. Domains that are not there, as their CPUs are offline, are left out.
    pub(super) fn write<F: Files>(
        &mut self,
        tree: &Tree<F>,
        group: &str,
        wanted: &Schemata,
    ) -> Result<(), Error> {
        let now = tree.schemata(group)?;
        let (mut new, mut old) = (Schemata::default(), Schemata::default());
        for (resource, values) in &wanted.lines {
            for (domain, value) in values {
                if let Some(there) = now.get(*resource, *domain).filter(|there| there != value) {
                    new = new.with(*resource, *domain, *value);
                    old = old.with(*resource, *domain, there);
                }
            }
        }
        if new.is_empty() {
            return Ok(());
        }
        self.back.push(Back::Schemata { group: group.to_owned(), old });
        tree.set_schemata(group, &new)
    }

    /// Moves a thread; one that ended meanwhile needs no moving.
    pub(super) fn put<F: Files>(
        &mut self,
        tree: &Tree<F>,
        thread: u32,
        from: String,
        to: &str,
    ) -> Result<(), Error> {
        self.back.push(Back::Task { group: from, thread });
        tree.put_task(to, thread).map(drop)
    }

    /// Moves a group that counts, with its threads. False where that was not possible.
    pub(super) fn rename<F: Files>(&mut self, tree: &Tree<F>, from: String, to: String) -> bool {
        let ended = tree.rename(&from, &to);
        self.back.push(Back::Rename { from, to });
        ended.is_ok()
    }

    pub(super) fn make<F: Files>(&mut self, tree: &Tree<F>, group: &str) -> Result<(), Error> {
        self.back.push(Back::Remove { group: group.to_owned() });
        tree.make(group)
    }

    /// Leads everything back after an error. What could not be begun leaves the machine as it was; what
    /// could not be led back has failed.
    pub(super) fn lead_back<F: Files>(self, tree: &Tree<F>, error: &Error) -> Result<Progress, String> {
        let why = error_chain(&error);
        let stuck: Vec<String> = self
            .back
            .into_iter()
            .rev()
            .filter_map(|back| back.make_good(tree).err())
            .map(|error| error_chain(&error))
            .collect();
        match stuck.first() {
            None => Err(why),
            Some(first) => Ok(Progress::Failed { why: format!("{why}; and to lead it back: {first}") }),
        }
    }
}

impl Back {
    fn make_good<F: Files>(&self, tree: &Tree<F>) -> Result<(), Error> {
        let mut tries = 1;
        loop {
            match self.try_once(tree) {
                Err(_) if tries < TRIES => tries += 1,
                ended => return ended,
            }
        }
    }

    fn try_once<F: Files>(&self, tree: &Tree<F>) -> Result<(), Error> {
        match self {
            Self::Schemata { group, old } => tree.set_schemata(group, old),
            Self::Task { group, thread } => tree.put_task(group, *thread).map(drop),
            // A kernel that cannot move it has not moved it, and what is in its old place need not go there.
            Self::Rename { from, to } => match tree.rename(to, from) {
                Err(error) if error.is_gone() || error.is(Errno::PERM) || error.is(Errno::EXIST) => Ok(()),
                other => other,
            },
            Self::Remove { group } => match tree.remove(group) {
                Err(error) if error.is_gone() => Ok(()),
                other => other,
            },
        }
    }
}
