//! One source of one VM: when it is due, what it last gave, and why it gives nothing.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halcyon_model::{HostTime, VmId};
use rustix::io::Errno;

use crate::cgroup::CgroupError;
use crate::qmp::QmpError;
use crate::resctrl;

/// A source that gave nothing is asked again after this time at the earliest.
const RETRY: Duration = Duration::from_secs(1);
/// Sweeps come a little early or late; what is due so soon is due.
const SLACK: Duration = Duration::from_millis(25);

/// What is read of a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum Kind {
    GroupCpu,
    CpuPressure,
    MemoryPressure,
    IoPressure,
    GroupMemory,
    GroupMemoryDetail,
    GroupDisks,
    Process,
    Threads,
    Blocks,
    GuestMemory,
    Cache,
    Interfaces,
    Links,
    Gpus,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::GroupCpu => "CPU time of the control group",
            Self::CpuPressure => "CPU pressure",
            Self::MemoryPressure => "memory pressure",
            Self::IoPressure => "I/O pressure",
            Self::GroupMemory => "memory of the control group",
            Self::GroupMemoryDetail => "memory of the control group in detail",
            Self::GroupDisks => "disks of the control group",
            Self::Process => "process",
            Self::Threads => "threads",
            Self::Blocks => "block devices",
            Self::GuestMemory => "guest statistics",
            Self::Cache => "cache and memory bandwidth",
            Self::Interfaces => "network interfaces",
            Self::Links => "PCIe links",
            Self::Gpus => "GPUs",
        })
    }
}

/// Why a source gives nothing, as the last attempt found it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trouble {
    /// Whose.
    pub vm: VmId,
    /// Which.
    pub source: Kind,
    /// What is wrong and what to do.
    pub why: String,
}

/// Why a source gives nothing.
#[derive(Debug, thiserror::Error)]
pub(super) enum SampleError {
    #[error(transparent)]
    Group(#[from] CgroupError),
    #[error(transparent)]
    Qmp(#[from] QmpError),
    #[error(transparent)]
    Cache(#[from] resctrl::Error),
    #[error("cannot read {}{hint}", path.display())]
    Read { path: PathBuf, hint: &'static str, source: io::Error },
    #[error("{} has `{found}` where {expected} should be", path.display())]
    Odd { path: PathBuf, found: String, expected: &'static str },
    #[error(
        "process {pid} is not the one that was tracked: the VM has ended; track it anew once it runs again"
    )]
    Another { pid: u32 },
    #[error("process {pid} has no thread {tid}: ask QEMU for its vCPUs (query-cpus-fast) and track it anew")]
    NoThread { pid: u32, tid: u32 },
    #[error("`{0}` is no name that may be looked for: it leads elsewhere")]
    Name(String),
    #[error("{0}")]
    Not(&'static str),
}

impl SampleError {
    pub(super) fn read(path: &Path, source: io::Error) -> Self {
        let hint = match source.raw_os_error().map(Errno::from_raw_os_error) {
            Some(Errno::NOENT | Errno::SRCH) => ": it is gone, or this kernel has no such file",
            Some(Errno::ACCESS | Errno::PERM) => ": Halcyon needs to be root",
            Some(Errno::MFILE) => ": too many files are open; raise LimitNOFILE of the service",
            _ => "",
        };
        Self::Read { path: path.into(), hint, source }
    }

    pub(super) fn odd(path: &Path, found: &str, expected: &'static str) -> Self {
        let clean = |c: char| if c.is_control() { ' ' } else { c };
        Self::Odd { path: path.into(), found: found.trim().chars().take(60).map(clean).collect(), expected }
    }
}

/// A moment at which a VM is read. Sources of the same pace are spread by VM and kind.
#[derive(Debug, Clone, Copy)]
pub(super) struct Moment {
    pub(super) now: HostTime,
    /// Whose turn it is.
    pub(super) vm: VmId,
}

/// When something is done next.
#[derive(Debug, Default)]
pub(super) struct Due {
    next: Option<HostTime>,
    last: HostTime,
}

impl Due {
    /// Whether it is time. A clock that went back makes everything due.
    pub(super) fn is(&self, now: HostTime) -> bool {
        now < self.last || self.next.is_none_or(|next| now + SLACK >= next)
    }

    /// It was done now. After the first time slow sources spread out, so that no sweep has to do all.
    pub(super) fn done(&mut self, at: Moment, kind: Kind, pace: Duration) {
        let spread = pace > 2 * SLACK + Duration::from_millis(100) && self.next.is_none();
        let tenths = 1 + (at.vm.0 % 10 + 3 * kind as u32) % 10;
        self.next = Some(at.now + if spread { pace * tenths / 10 } else { pace });
        self.last = at.now;
    }

    pub(super) fn at_once(&mut self) {
        self.next = None;
    }
}

/// What a source last gave.
#[derive(Debug)]
pub(super) struct Source<T> {
    kind: Kind,
    due: Due,
    value: Option<T>,
    why: Option<String>,
}

impl<T> Source<T> {
    pub(super) fn new(kind: Kind) -> Self {
        Self { kind, due: Due::default(), value: None, why: None }
    }

    pub(super) const fn value(&self) -> Option<&T> {
        self.value.as_ref()
    }

    pub(super) fn trouble(&self) -> Option<(Kind, &str)> {
        Some((self.kind, self.why.as_deref()?))
    }

    pub(super) fn is_due(&self, now: HostTime) -> bool {
        self.due.is(now)
    }

    /// Reads it where that is due. What failed gives nothing until it works again, and is tried less often.
    pub(super) fn refresh(
        &mut self,
        at: Moment,
        pace: Duration,
        read: impl FnOnce(Option<T>) -> Result<Option<T>, SampleError>,
    ) {
        if self.due.is(at.now) {
            let read = read(self.value.take());
            self.set(at, pace, read);
        }
    }

    /// What it gave stands for another interval, as it is known not to have changed.
    pub(super) fn stand(&mut self, at: Moment, pace: Duration) {
        self.due.done(at, self.kind, pace);
    }

    /// Takes what came of a reading.
    pub(super) fn set(&mut self, at: Moment, pace: Duration, read: Result<Option<T>, SampleError>) {
        match read {
            Ok(value) => {
                self.due.done(at, self.kind, pace);
                (self.value, self.why) = (value, None);
            }
            Err(error) => {
                self.due.done(at, self.kind, pace.max(RETRY));
                let why = crate::error_chain(&error);
                if self.why.as_ref() != Some(&why) {
                    tracing::debug!(vm = %at.vm, source = %self.kind, %why, "nothing to be read");
                }
                (self.value, self.why) = (None, Some(why));
            }
        }
    }

    /// What it gave does not stand any more; it is read again at once.
    pub(super) fn forget(&mut self) {
        self.value = None;
        self.due.at_once();
    }
}

/// A number that fills a whole file.
pub(super) fn number(path: &Path, text: &str) -> Result<u64, SampleError> {
    text.trim().parse().map_err(|_| SampleError::odd(path, text, "a number"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    #[test]
    fn slow_sources_spread_and_a_clock_that_steps_back_stops_none() {
        let mut firsts = [0; 10];
        for vm in 0..10 {
            let mut due = Due::default();
            assert!(due.is(ms(5000)), "the first time is at once");
            due.done(Moment { now: ms(5000), vm: VmId(vm) }, Kind::Process, ms(1000));
            let first =
                (1..=10).find(|tenth| due.is(ms(5000 + 100 * tenth))).expect("it comes within its pace");
            firsts[usize::try_from(first).expect("small") - 1] += 1;
            due.done(Moment { now: ms(6000), vm: VmId(vm) }, Kind::Process, ms(1000));
            assert!(!due.is(ms(6900)) && due.is(ms(6990)) && due.is(ms(9000)));
            assert!(due.is(ms(10)), "after a step back it does not wait for the old time");
        }
        assert_eq!(firsts, [1; 10]);
    }

    #[test]
    fn what_failed_stands_no_more_and_is_tried_less_often() {
        let mut source = Source::new(Kind::GroupCpu);
        let at = |now| Moment { now: ms(now), vm: VmId(0) };
        source.refresh(at(0), ms(100), |_| Ok(Some(7)));
        source.refresh(at(50), ms(100), |_| Ok(Some(8)));
        assert_eq!(source.value(), Some(&7));
        source.refresh(at(100), ms(100), |_| Err(SampleError::Not("it is away")));
        assert_eq!((source.value(), source.trouble()), (None, Some((Kind::GroupCpu, "it is away"))));
        source.refresh(at(900), ms(100), |_| Ok(Some(8)));
        assert_eq!(source.value(), None);
        source.refresh(at(1100), ms(100), |_| Ok(Some(9)));
        assert_eq!((source.value(), source.trouble()), (Some(&9), None));
    }
}
