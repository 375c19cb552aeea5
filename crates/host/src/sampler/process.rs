//! The process of a VM: who it is, what it used, and how long its threads waited for a CPU.
//!
//! An id is given to another process once its own has ended, so nothing of a process counts unless the time
//! at which it was started is the one that was seen first. Forms: the kernel's `filesystems/proc.rst` and
//! `scheduler/sched-stats.rst`.

use std::path::Path;
use std::time::Duration;

use halcyon_model::HostTime;

use super::guest::{Paces, Process};
use super::source::{Kind, Moment, SampleError, Source};
use super::threads::{Ran, Threads};
use crate::kept::Kept;

/// More than `/proc/PID/stat` has.
const MOST_STAT: usize = 16 << 10;

/// In which units the kernel counts.
#[derive(Debug, Clone, Copy)]
pub(super) struct Units {
    pub(super) ticks_per_second: u64,
    pub(super) page_bytes: u64,
}

/// What `/proc/PID/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ProcessStat {
    pub(super) minor_faults: u64,
    pub(super) major_faults: u64,
    /// Ticks used by all threads, those that ended among them.
    pub(super) used_ticks: u64,
    pub(super) started_ticks: u64,
    pub(super) resident_pages: u64,
}

/// When a process was started, in ticks since boot; none where there is no such process.
pub(crate) fn started_ticks(proc: &Path, pid: u32) -> Option<u64> {
    use std::io::Read;
    let mut text = String::new();
    let file = std::fs::File::open(proc.join(pid.to_string()).join("stat")).ok()?;
    file.take(MOST_STAT as u64).read_to_string(&mut text).ok()?;
    ProcessStat::of(&text).map(|stat| stat.started_ticks)
}

impl ProcessStat {
    fn of(text: &str) -> Option<Self> {
        // The name is in brackets and may hold brackets and blanks itself. What follows is field 3 on.
        let (_, rest) = text.rsplit_once(')')?;
        let mut stat = [0; 22];
        for (place, word) in stat.iter_mut().zip(rest.split_ascii_whitespace()).skip(1) {
            // Some before the last one that counts here may be negative.
            *place = word.parse::<i128>().ok()?;
        }
        let field = |number: usize| u64::try_from(stat[number - 3]).ok();
        let words = rest.split_ascii_whitespace().count();
        (words >= 22).then_some(())?;
        Some(Self {
            minor_faults: field(10)?,
            major_faults: field(12)?,
            used_ticks: field(14)?.checked_add(field(15)?)?,
            started_ticks: field(22)?,
            resident_pages: field(24)?,
        })
    }
}

#[derive(Debug)]
pub(super) struct ProcessSource {
    pid: u32,
    started_ticks: Option<u64>,
    file: Kept,
    stat: Source<ProcessStat>,
    threads: Threads,
    ran: Source<Ran>,
    /// When threads were last looked at, and what their group had used by then.
    seen: Option<(HostTime, Duration)>,
}

impl ProcessSource {
    /// Reads all threads where CPU time is wanted that no group counts, otherwise those that matter for
    /// waiting alone.
    pub(super) fn new(proc: &Path, process: &Process, wants_used: bool) -> Self {
        let folder = proc.join(process.pid.to_string());
        Self {
            pid: process.pid,
            started_ticks: process.started_ticks,
            file: Kept::new(folder.join("stat")),
            stat: Source::new(Kind::Process),
            threads: Threads::new(process.pid, folder.join("task"), &process.vcpus, wants_used),
            ran: Source::new(Kind::Threads),
            seen: None,
        }
    }

    /// `group_used` is what the group of the process has used, where that is known: as long as it stays the
    /// same no thread has run, so that the scheduler has nothing new to say of any, and they are not read.
    pub(super) fn refresh(
        &mut self,
        at: Moment,
        paces: &Paces,
        group_used: Option<Duration>,
        buffer: &mut String,
    ) {
        self.refresh_stat(at, paces.process, buffer);
        if self.stat.value().is_none() {
            // Whose threads they are is not known.
            self.ran.forget();
            return;
        }
        if !self.ran.is_due(at.now) {
            return;
        }
        let is_recent = |seen: HostTime| seen <= at.now && at.now - seen < paces.process;
        let is_same = |(seen, used)| Some(used) == group_used && is_recent(seen);
        if self.ran.value().is_some() && self.seen.is_some_and(is_same) {
            self.ran.stand(at, paces.cpu);
            return;
        }
        self.seen = group_used.map(|used| (at.now, used));
        let read = self.threads.read(at, paces.process, buffer);
        if self.threads.take_suspicion() {
            self.stat.forget();
            self.refresh_stat(at, paces.process, buffer);
            if self.stat.value().is_none() {
                self.ran.forget();
                return;
            }
        }
        self.ran.set(at, paces.cpu, read.map(Some));
    }

    fn refresh_stat(&mut self, at: Moment, pace: Duration, buffer: &mut String) {
        let Self { pid, started_ticks, file, stat, .. } = self;
        stat.refresh(at, pace, |_| {
            file.read(MOST_STAT, buffer).map_err(|error| SampleError::read(file.path(), error))?;
            let stat = ProcessStat::of(buffer);
            let stat = stat.ok_or_else(|| SampleError::odd(file.path(), buffer, "the state of a process"))?;
            if *started_ticks.get_or_insert(stat.started_ticks) != stat.started_ticks {
                return Err(SampleError::Another { pid: *pid });
            }
            Ok(Some(stat))
        });
    }

    pub(super) fn stat(&self) -> Option<&ProcessStat> {
        self.stat.value()
    }

    /// CPU time that all threads used. The threads say it finely but leave out those that were never seen;
    /// the process leaves none out but counts in ticks.
    pub(super) fn used(&self, units: Units) -> Option<Duration> {
        let ticks = self.stat.value()?.used_ticks;
        let by_ticks = u128::from(ticks) * 1_000_000_000 / u128::from(units.ticks_per_second.max(1));
        let by_ticks = Duration::from_nanos(u64::try_from(by_ticks).ok()?);
        let by_threads = self.ran.value().and_then(|ran| ran.used);
        Some(by_threads.map_or(by_ticks, |fine| fine.max(by_ticks)))
    }

    /// Time that vCPUs were runnable and did not run.
    pub(super) fn waited(&self) -> Option<Duration> {
        self.ran.value().map(|ran| ran.waited)
    }

    pub(super) fn troubles(&self) -> impl Iterator<Item = (Kind, &str)> {
        [self.stat.trouble(), self.ran.trouble()].into_iter().flatten()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Linux 6.18, `cat /proc/self/stat` of a program called `a) (b`.
    const STAT: &str = "4242 (a) (b) S 1 4242 4242 0 -1 4194304 123 0 7 0 15 5 0 0 20 0 9 0 987654 11493376 \
                        256 18446744073709551615 1 1 0 0 0 0 0 0 0 0 0 0 17 1 0 0 0 0 0 0 0 0 0 0 0 0 0\n";

    #[test]
    fn the_state_of_a_process_is_read_whatever_its_name() {
        let expected = ProcessStat {
            minor_faults: 123,
            major_faults: 7,
            used_ticks: 20,
            started_ticks: 987_654,
            resident_pages: 256,
        };
        assert_eq!(ProcessStat::of(STAT), Some(expected));
        for text in ["", "1 (x) S", "1 x S 1 2 3", &STAT.replace("987654", "x"), &STAT[..60]] {
            assert_eq!(ProcessStat::of(text), None, "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,60}|[0-9]{1,5} \\([a-z) (]{0,9}\\) [SRZ]( -?[0-9]{1,25}){0,60}") {
            let _ = ProcessStat::of(&text);
        }
    }
}
