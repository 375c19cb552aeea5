//! What the threads of a process used and waited for, as sums that never go down: a thread that ended keeps
//! its part.

use std::collections::BTreeSet;
use std::io;
use std::path::PathBuf;
use std::time::Duration;

use super::source::{Due, Kind, Moment, SampleError};
use crate::kept::Kept;

/// More than `schedstat` has: three numbers.
const MOST_SCHEDSTAT: usize = 256;
/// A process with more threads is no hypervisor.
const MOST_THREADS: usize = 4096;

/// What threads used and waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Ran {
    /// By all threads; none where not all are looked at.
    pub(super) used: Option<Duration>,
    /// By those of vCPUs.
    pub(super) waited: Duration,
}

#[derive(Debug, Clone, Copy, Default)]
struct Counts {
    used_ns: u64,
    waited_ns: u64,
}

impl Counts {
    fn of(text: &str) -> Option<Self> {
        let mut words = text.split_ascii_whitespace().map(str::parse);
        let counts = Self { used_ns: words.next()?.ok()?, waited_ns: words.next()?.ok()? };
        words.next()?.ok().map(|_: u64| counts)
    }

    const fn add(&mut self, other: Self) {
        self.used_ns = self.used_ns.saturating_add(other.used_ns);
        self.waited_ns = self.waited_ns.saturating_add(other.waited_ns);
    }

    const fn is_below(self, other: Self) -> bool {
        self.used_ns < other.used_ns || self.waited_ns < other.waited_ns
    }
}

#[derive(Debug)]
struct Thread {
    tid: u32,
    file: Kept,
    is_vcpu: bool,
    /// What it last said; none before it said anything.
    said: Option<Counts>,
}

#[derive(Debug)]
pub(super) struct Threads {
    pid: u32,
    folder: PathBuf,
    /// Those that were named and have not ended.
    vcpus: BTreeSet<u32>,
    are_all_vcpus: bool,
    wants_all: bool,
    live: Vec<Thread>,
    /// Of threads that are no more: those of vCPUs, and others.
    ended: [Counts; 2],
    listed: Due,
    is_suspicious: bool,
}

impl Threads {
    pub(super) fn new(pid: u32, folder: PathBuf, vcpus: &[u32], wants_used: bool) -> Self {
        let vcpus: BTreeSet<u32> = vcpus.iter().copied().take(MOST_THREADS).collect();
        Self {
            pid,
            folder,
            are_all_vcpus: vcpus.is_empty(),
            wants_all: wants_used || vcpus.is_empty(),
            vcpus,
            live: Vec::new(),
            ended: Default::default(),
            listed: Due::default(),
            is_suspicious: false,
        }
    }

    /// What all threads used and waited for until now; which threads there are is looked at every `pace`.
    pub(super) fn read(
        &mut self,
        at: Moment,
        pace: Duration,
        buffer: &mut String,
    ) -> Result<Ran, SampleError> {
        if self.listed.is(at.now) {
            self.list()?;
            self.listed.done(at, Kind::Threads, pace);
        }
        let mut index = 0;
        while let Some(thread) = self.live.get_mut(index) {
            match thread.read(buffer) {
                Ok(counts) => {
                    if let Some(before) = thread.said.filter(|before| counts.is_below(*before)) {
                        // Another thread has its id by now.
                        self.is_suspicious = true;
                        self.ended[usize::from(thread.is_vcpu)].add(before);
                    }
                    thread.said = Some(counts);
                    index += 1;
                }
                Err(SampleError::Read { source, .. }) if is_gone(&source) => self.end(index)?,
                Err(error) => return Err(error),
            }
        }
        Ok(self.sum())
    }

    /// Whether something was odd enough since the last call to ask whether the process is still the same.
    pub(super) const fn take_suspicion(&mut self) -> bool {
        std::mem::replace(&mut self.is_suspicious, false)
    }

    fn end(&mut self, index: usize) -> Result<(), SampleError> {
        self.is_suspicious = true;
        let thread = self.live.swap_remove(index);
        match thread.said {
            Some(said) => {
                self.vcpus.remove(&thread.tid);
                self.ended[usize::from(thread.is_vcpu)].add(said);
            }
            // A vCPU that never was is an error of whoever named it; others may end before they are read.
            None if self.vcpus.contains(&thread.tid) => {
                self.listed.at_once();
                return Err(SampleError::NoThread { pid: self.pid, tid: thread.tid });
            }
            None => {}
        }
        Ok(())
    }

    fn sum(&self) -> Ran {
        let [mut others, mut vcpus] = self.ended;
        for thread in &self.live {
            let sum = if thread.is_vcpu { &mut vcpus } else { &mut others };
            sum.add(thread.said.unwrap_or_default());
        }
        let used = Duration::from_nanos(others.used_ns.saturating_add(vcpus.used_ns));
        Ran { used: self.wants_all.then_some(used), waited: Duration::from_nanos(vcpus.waited_ns) }
    }

    fn list(&mut self) -> Result<(), SampleError> {
        let mut tids = self.vcpus.clone();
        if self.wants_all {
            self.add_all(&mut tids)?;
        }
        for index in (0..self.live.len()).rev() {
            if !tids.contains(&self.live[index].tid) {
                self.end(index)?;
            }
        }
        let known: BTreeSet<u32> = self.live.iter().map(|thread| thread.tid).collect();
        for tid in tids.difference(&known).copied() {
            let file = Kept::new(self.folder.join(tid.to_string()).join("schedstat"));
            let is_vcpu = self.are_all_vcpus || self.vcpus.contains(&tid);
            self.live.push(Thread { tid, file, is_vcpu, said: None });
        }
        Ok(())
    }

    fn add_all(&self, tids: &mut BTreeSet<u32>) -> Result<(), SampleError> {
        let failed = |error| SampleError::read(&self.folder, error);
        for entry in std::fs::read_dir(&self.folder).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            tids.extend(name.to_str().and_then(|name| name.parse::<u32>().ok()));
            if tids.len() > MOST_THREADS {
                return Err(SampleError::Not("it has more than 4096 threads, which no hypervisor has"));
            }
        }
        Ok(())
    }
}

impl Thread {
    fn read(&mut self, buffer: &mut String) -> Result<Counts, SampleError> {
        let Self { file, .. } = self;
        file.read(MOST_SCHEDSTAT, buffer).map_err(|error| SampleError::read(file.path(), error))?;
        Counts::of(buffer).ok_or_else(|| {
            SampleError::odd(file.path(), buffer, "`NANOSECONDS-RUN NANOSECONDS-WAITED SLICES`")
        })
    }
}

fn is_gone(error: &io::Error) -> bool {
    let gone = [rustix::io::Errno::NOENT, rustix::io::Errno::SRCH, rustix::io::Errno::NODEV];
    gone.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}
