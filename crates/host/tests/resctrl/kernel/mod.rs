//! A kernel's resctrl that lives in memory: it takes, refuses and rounds as the real one does, can be told to
//! fail, and lets threads begin and end.

mod files;
mod shape;

pub(crate) use shape::Shape;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use halcyon_host::resctrl::{Clock, Threads};
use halcyon_model::VmId;
use rustix::io::Errno;

/// Values by domain, by the name of the resource.
pub(crate) type Lines = BTreeMap<&'static str, BTreeMap<u32, u32>>;

/// How long ids stay in limbo: the kernel looks after them once a second.
const LIMBO: Duration = Duration::from_secs(1);

/// When a command fails that should not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Fault {
    /// Before it did anything.
    Before,
    /// After it was done.
    After,
}

#[derive(Debug, Clone, Default)]
pub(crate) struct Group {
    pub(crate) lines: Lines,
    /// The counting groups in it.
    pub(crate) counted: BTreeSet<String>,
}

pub(crate) struct State {
    pub(crate) shape: Shape,
    pub(crate) now: Duration,
    pub(crate) groups: BTreeMap<String, Group>,
    /// Where each thread is: its group of control, and the counting group in it.
    pub(crate) tasks: BTreeMap<u32, (String, Option<String>)>,
    /// The threads that VMs are listed with; the list may be late.
    pub(crate) vms: BTreeMap<VmId, BTreeSet<u32>>,
    /// Until when ids are in limbo.
    pub(crate) limbo: Vec<Duration>,
    pub(crate) status: String,
    /// What becomes of the next commands.
    pub(crate) faults: VecDeque<Option<Fault>>,
    /// How many reads go well before one fails.
    pub(crate) good_reads: Option<u32>,
    /// Files that say something else.
    pub(crate) lies: BTreeMap<String, String>,
    pub(crate) commands: Vec<String>,
}

#[derive(Clone)]
pub(crate) struct Kernel {
    root: PathBuf,
    state: Arc<Mutex<State>>,
}

/// What a kernel holds that is not a matter of counting.
pub(crate) type Truth = (BTreeMap<String, Lines>, BTreeMap<u32, String>);

impl Kernel {
    pub(crate) fn new(shape: Shape) -> Self {
        let root = PathBuf::from("/sys/fs/resctrl");
        let default = Group { lines: shape.everything(), ..Group::default() };
        let state = State {
            shape,
            now: Duration::ZERO,
            groups: BTreeMap::from([(String::new(), default)]),
            tasks: BTreeMap::new(),
            vms: BTreeMap::new(),
            limbo: Vec::new(),
            status: "ok\n".into(),
            faults: VecDeque::new(),
            good_reads: None,
            lies: BTreeMap::new(),
            commands: Vec::new(),
        };
        Self { root, state: Arc::new(Mutex::new(state)) }
    }

    pub(crate) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    pub(crate) fn clock(&self) -> Clock {
        let kernel = self.clone();
        Box::new(move || kernel.state().now)
    }

    pub(crate) fn pass(&self, time: Duration) {
        let mut state = self.state();
        state.now += time;
        let now = state.now;
        state.limbo.retain(|until| *until > now);
    }

    /// A thread of a VM begins, in a group.
    pub(crate) fn spawn(&self, vm: u32, thread: u32, group: &str) {
        let mut state = self.state();
        state.tasks.insert(thread, (group.to_owned(), None));
        state.vms.entry(VmId(vm)).or_default().insert(thread);
    }

    /// A thread ends, but the list of threads still has it.
    pub(crate) fn kill(&self, thread: u32) {
        self.state().tasks.remove(&thread);
    }

    pub(crate) fn truth(&self) -> Truth {
        let state = self.state();
        let groups = state.groups.iter().map(|(name, group)| (name.clone(), group.lines.clone())).collect();
        let tasks = state.tasks.iter().map(|(thread, (group, _))| (*thread, group.clone())).collect();
        (groups, tasks)
    }

    pub(crate) fn value(&self, group: &str, line: &str, domain: u32) -> u32 {
        self.state().groups[group].lines[line][&domain]
    }

    pub(crate) fn group_of(&self, thread: u32) -> String {
        self.state().tasks[&thread].0.clone()
    }

    /// Fails the command after next ones that go well.
    pub(crate) fn fail_after(&self, good: usize, fault: Fault) {
        let mut faults: VecDeque<_> = std::iter::repeat_n(None, good).collect();
        faults.push_back(Some(fault));
        self.state().faults = faults;
    }
}

impl Threads for Kernel {
    fn of(&self, vm: VmId) -> Option<Vec<u32>> {
        Some(self.state().vms.get(&vm)?.iter().copied().collect())
    }
}

impl State {
    /// A command of the driver, which may be made to fail.
    fn command(
        &mut self,
        what: String,
        run: impl FnOnce(&mut Self) -> Result<(), (Errno, String)>,
    ) -> io::Result<()> {
        self.commands.push(what);
        let fault = self.faults.pop_front().flatten();
        if fault == Some(Fault::Before) {
            return Err(Errno::IO.into());
        }
        let ended = run(self);
        self.status = match &ended {
            Ok(()) => "ok\n".into(),
            Err((_, why)) => format!("{why}\n"),
        };
        ended.map_err(|(errno, _)| io::Error::from(errno))?;
        if fault == Some(Fault::After) { Err(Errno::IO.into()) } else { Ok(()) }
    }

    fn rmids_used(&self) -> usize {
        self.groups.values().map(|group| 1 + group.counted.len()).sum()
    }

    fn take_rmid(&self) -> Result<(), (Errno, String)> {
        let used = self.rmids_used();
        if used + self.limbo.len() < self.shape.rmids {
            Ok(())
        } else if self.limbo.is_empty() {
            Err((Errno::NOSPC, "Out of RMIDs".into()))
        } else {
            Err((Errno::BUSY, String::new()))
        }
    }

    fn make(&mut self, path: &str) -> Result<(), (Errno, String)> {
        if let Some((group, name)) = path.split_once("mon_groups/") {
            let group = group.trim_end_matches('/');
            if !self.groups.contains_key(group) {
                return Err((Errno::NOENT, String::new()));
            }
            if self.groups[group].counted.contains(name) {
                return Err((Errno::EXIST, String::new()));
            }
            self.take_rmid()?;
            self.groups.get_mut(group).unwrap().counted.insert(name.into());
            return Ok(());
        }
        if self.groups.contains_key(path) {
            return Err((Errno::EXIST, String::new()));
        }
        if self.groups.len() >= self.shape.closids {
            return Err((Errno::NOSPC, "Out of CLOSIDs".into()));
        }
        self.take_rmid()?;
        let lines = self.shape.everything();
        self.groups.insert(path.into(), Group { lines, ..Group::default() });
        Ok(())
    }

    fn remove(&mut self, path: &str) -> Result<(), (Errno, String)> {
        let until = self.now + LIMBO;
        if let Some((group, name)) = path.split_once("mon_groups/") {
            let group = group.trim_end_matches('/');
            let there = self.groups.get_mut(group).is_some_and(|group| group.counted.remove(name));
            if !there {
                return Err((Errno::NOENT, String::new()));
            }
            self.limbo.push(until);
            let inside = |at: &(String, Option<String>)| at.0 == group && at.1.as_deref() == Some(name);
            for at in self.tasks.values_mut().filter(|at| inside(at)) {
                at.1 = None;
            }
            return Ok(());
        }
        let Some(group) = self.groups.remove(path) else { return Err((Errno::NOENT, String::new())) };
        self.limbo.extend(std::iter::repeat_n(until, 1 + group.counted.len()));
        for at in self.tasks.values_mut().filter(|at| at.0 == path) {
            *at = (String::new(), None);
        }
        Ok(())
    }

    /// Counting groups only, and to another group of control only.
    fn rename(&mut self, from: &str, to: &str) -> Result<(), (Errno, String)> {
        if !self.shape.renames {
            return Err((Errno::PERM, String::new()));
        }
        let parts = |path: &str| {
            let (group, name) = path.split_once("mon_groups/").ok_or((Errno::PERM, String::new()))?;
            Ok((group.trim_end_matches('/').to_owned(), name.to_owned()))
        };
        let ((old, name), (new, other)) = (parts(from)?, parts(to)?);
        let there = |group: &str| self.groups.get(group).is_some_and(|it| it.counted.contains(&name));
        if name != other || !there(&old) || !self.groups.contains_key(&new) {
            return Err((Errno::NOENT, String::new()));
        }
        if there(&new) {
            return Err((Errno::EXIST, String::new()));
        }
        self.groups.entry(old.clone()).or_default().counted.remove(&name);
        self.groups.entry(new.clone()).or_default().counted.insert(name.clone());
        let moved = |at: &(String, Option<String>)| at.0 == old && at.1.as_deref() == Some(&name);
        self.tasks.values_mut().filter(|at| moved(at)).for_each(|at| at.0.clone_from(&new));
        Ok(())
    }

    fn put(&mut self, path: &str, text: &str) -> Result<(), (Errno, String)> {
        let thread: u32 =
            text.trim().parse().map_err(|_| (Errno::INVAL, format!("Task list parsing error {text}")))?;
        let (group, counted) = match path.split_once("mon_groups/") {
            Some((group, name)) => (group.trim_end_matches('/'), Some(name)),
            None => (path, None),
        };
        let there =
            self.groups.get(group).is_some_and(|it| counted.is_none_or(|name| it.counted.contains(name)));
        if !there {
            return Err((Errno::NOENT, String::new()));
        }
        let Some(at) = self.tasks.get_mut(&thread) else {
            return Err((Errno::SRCH, format!("No task {thread}")));
        };
        if counted.is_some() && at.0 != group {
            return Err((Errno::INVAL, "Can't move task to different control group".into()));
        }
        *at = (group.into(), counted.map(str::to_owned));
        Ok(())
    }

    fn set(&mut self, group: &str, text: &str) -> Result<(), (Errno, String)> {
        let Some(now) = self.groups.get(group) else { return Err((Errno::NOENT, String::new())) };
        let lines = self.shape.changed(&now.lines, text).map_err(|why| (Errno::INVAL, why))?;
        self.groups.get_mut(group).unwrap().lines = lines;
        Ok(())
    }
}
