//! The tree of groups: what is in it, who is in them, and the commands that change it.

use std::collections::BTreeSet;
use std::io;

use halcyon_model::{ClassId, VmId};

use super::error::{Error, start_of};
use super::files::{Entry, Files};
use super::info::{Info, parse_number};
use super::schemata::Schemata;

/// The most bytes of a file that holds a few values.
pub(super) const SMALL: usize = 64 << 10;
/// The most bytes of a list of threads: two million of them.
const TASKS: usize = 16 << 20;
/// Groups of the hardware are counted in tens; a file that says more is not believed.
const MOST_CLASSES: u32 = 4096;

/// The groups of control that there are beside the default one.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Groups {
    /// Those of Halcyon, by class.
    pub own: Vec<ClassId>,
    /// Those of anybody else, by name.
    pub foreign: Vec<String>,
}

/// A mounted resctrl.
#[derive(Debug)]
pub struct Tree<F> {
    files: F,
    info: Info,
}

/// The group of a class of service, as a path below the root; the default group is the root.
#[must_use]
pub fn class_group(class: ClassId) -> String {
    if class.0 == 0 { String::new() } else { format!("halcyon-{}", class.0) }
}

/// The group that counts what one VM does, as a path below the root.
#[must_use]
pub fn vm_group(class: ClassId, vm: VmId) -> String {
    path(&class_group(class), &format!("mon_groups/halcyon-{vm}"))
}

/// The class of a group, if its name is one that [`class_group`] gives.
fn class_of(name: &str) -> Option<ClassId> {
    let digits = name.strip_prefix("halcyon-")?;
    let class = ClassId(parse_number(digits).filter(|class| *class > 0)?);
    (class_group(class) == name).then_some(class)
}

pub(super) fn path(group: &str, file: &str) -> String {
    if group.is_empty() { file.to_owned() } else { format!("{group}/{file}") }
}

/// The thread ids of a `tasks` file, one for each line.
///
/// # Errors
/// The first line that is none.
pub fn parse_tasks(text: &str) -> Result<BTreeSet<u32>, &str> {
    let lines = text.lines().filter(|line| !line.trim().is_empty());
    lines.map(|line| parse_number(line).ok_or(line)).collect()
}

impl<F: Files> Tree<F> {
    /// Opens a mounted resctrl, and reads what the processor can do.
    ///
    /// # Errors
    /// When it is not mounted, may not be read, or says of itself what cannot be.
    pub fn open(files: F) -> Result<Self, Error> {
        let mut tree = Self { files, info: Info::default() };
        let mounted = match tree.list("") {
            Ok(entries) => entries.iter().any(|entry| entry.name == "info" && entry.is_folder),
            Err(error) if error.is_gone() => false,
            Err(error) => return Err(error),
        };
        if !mounted {
            return Err(Error::NotMounted { root: tree.files.root().to_owned() });
        }
        tree.info = Info::read(&tree)?;
        if tree.info.classes > MOST_CLASSES {
            let found = tree.info.classes.to_string();
            return Err(tree.form("info", &found, "a number of groups that a processor can have"));
        }
        Ok(tree)
    }

    /// What the processor can do.
    #[must_use]
    pub fn info(&self) -> &Info {
        &self.info
    }

    /// The groups of control that there are beside the default one.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn groups(&self) -> Result<Groups, Error> {
        let mut groups = Groups::default();
        for Entry { name, is_folder } in self.list("")? {
            if !is_folder || ["info", "mon_groups", "mon_data"].contains(&name.as_str()) {
                continue;
            }
            match class_of(&name).filter(|class| class.0 < self.info.classes) {
                Some(class) => groups.own.push(class),
                None => groups.foreign.push(name),
            }
        }
        groups.own.sort();
        Ok(groups)
    }

    /// How many classes of service there are for Halcyon, the default one with them: what the hardware has
    /// less what others took, but always enough to name each class that is in use.
    ///
    /// # Errors
    /// When the root cannot be listed.
    pub fn classes(&self) -> Result<u32, Error> {
        let groups = self.groups()?;
        let taken = u32::try_from(groups.foreign.len()).unwrap_or(u32::MAX);
        let named = groups.own.last().map_or(0, |last| last.0 + 1);
        Ok(self.info.classes.saturating_sub(taken).max(named))
    }

    /// What a group may use.
    ///
    /// # Errors
    /// When its file cannot be read or understood.
    pub fn schemata(&self, group: &str) -> Result<Schemata, Error> {
        let path = path(group, "schemata");
        let text = self.read(&path, SMALL)?;
        Schemata::parse(&text).map_err(|source| Error::Schemata { path: self.place(&path), source })
    }

    /// Changes what a group may use; what is not named stays. All of it is changed or nothing.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn set_schemata(&self, group: &str, schemata: &Schemata) -> Result<(), Error> {
        if schemata.is_empty() {
            return Ok(());
        }
        let path = path(group, "schemata");
        self.files.write(&path, &schemata.to_string()).map_err(|cause| self.access("write", &path, cause))
    }

    /// The threads in a group.
    ///
    /// # Errors
    /// When its file cannot be read or understood.
    pub fn tasks(&self, group: &str) -> Result<BTreeSet<u32>, Error> {
        let path = path(group, "tasks");
        let text = self.read(&path, TASKS)?;
        parse_tasks(&text).map_err(|line| self.form(&path, line, "a thread id"))
    }

    /// Puts a thread into a group. False when there is no such thread any more.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn put_task(&self, group: &str, thread: u32) -> Result<bool, Error> {
        let path = path(group, "tasks");
        // One for each write: the kernel stops at the first that it does not take.
        match self
            .files
            .write(&path, &format!("{thread}\n"))
            .map_err(|cause| self.access("write", &path, cause))
        {
            Ok(()) => Ok(true),
            Err(error) if error.is(rustix::io::Errno::SRCH) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Makes a group.
    ///
    /// # Errors
    /// What the kernel has against it: `ENOSPC` where all are taken, `EBUSY` where one is given back but
    /// its lines are still in the cache.
    pub fn make(&self, group: &str) -> Result<(), Error> {
        self.files.make(group).map_err(|cause| self.access("make", group, cause))
    }

    /// Removes a group; its threads fall to the group above it.
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn remove(&self, group: &str) -> Result<(), Error> {
        self.files.remove(group).map_err(|cause| self.access("remove", group, cause))
    }

    /// Moves a group that counts to another group of control, with its threads and what it counted (from
    /// Linux 6.4 on; before that the kernel refuses).
    ///
    /// # Errors
    /// What the kernel has against it.
    pub fn rename(&self, from: &str, to: &str) -> Result<(), Error> {
        self.files.rename(from, to).map_err(|cause| self.access("rename", from, cause))
    }

    pub(super) fn list(&self, path: &str) -> Result<Vec<Entry>, Error> {
        self.files.list(path).map_err(|cause| self.plain("list", path, cause))
    }

    pub(super) fn read(&self, path: &str, limit: usize) -> Result<String, Error> {
        self.files.read(path, limit).map_err(|cause| self.plain("read", path, cause))
    }

    pub(super) fn form(&self, path: &str, found: &str, expected: &'static str) -> Error {
        Error::Form { path: self.place(path), found: start_of(found), expected }
    }

    fn place(&self, path: &str) -> std::path::PathBuf {
        self.files.root().join(path)
    }

    fn plain(&self, operation: &'static str, path: &str, source: io::Error) -> Error {
        Error::Access { operation, path: self.place(path), status: None, source }
    }

    /// With what the kernel says of its last command, as the error alone rarely tells.
    fn access(&self, operation: &'static str, path: &str, source: io::Error) -> Error {
        let said = self.files.read("info/last_cmd_status", SMALL).ok();
        let status = said.map(|text| start_of(&text)).filter(|text| !text.is_empty() && text != "ok");
        Error::Access { operation, path: self.place(path), status, source }
    }
}
