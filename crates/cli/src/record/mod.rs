//! `halcyon record`: what is read of a host, cycle by cycle, in a file; nothing is decided or changed.

mod progress;
pub(crate) mod show;

use std::fs::File;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context, Result, bail};
use halcyon_daemon::{Config, Machine, Passed};
use halcyon_model::{HostTime, Snapshot};
use halcyon_sim::recording::{Tally, WriteError, Writer};

use crate::demo::print;
use crate::machine::machine;
use progress::Progress;

/// Record what is read of a host, and change nothing
///
/// Every cycle the raw counters of each VM, what it holds and the clock go into one file, until Ctrl-C, SIGTERM
/// or --for. The file can be replayed: `demo --trace FILE`, `scenario show FILE`, `train --from FILE` and all
/// that takes traces or scenarios. A recorder that is killed leaves a file that is whole up to the last second.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// The configuration, as `halcyon run` takes it; its mode, policy and socket do not matter here
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// The file to write. One that is there is never replaced or added to
    #[arg(short, long, value_name = "FILE")]
    output: PathBuf,
    /// Stop after so long, such as 90s, 10m, 24h or 7d
    #[arg(long = "for", value_name = "DURATION", value_parser = duration)]
    length: Option<Duration>,
}

/// A number and its unit.
fn duration(text: &str) -> Result<Duration, String> {
    let wrong = || format!("`{text}` is not a time such as 90s, 10m, 24h or 7d");
    let (digits, unit) = text.split_at(text.len() - text.chars().next_back().map_or(0, char::len_utf8));
    let seconds = match unit {
        "s" => 1,
        "m" => 60,
        "h" => 3600,
        "d" => 86_400,
        _ => return Err(wrong()),
    };
    let seconds = digits.parse::<u64>().ok().and_then(|count| count.checked_mul(seconds));
    let most = 3660 * 86_400;
    let length = seconds.filter(|seconds| (1..=most).contains(seconds)).map(Duration::from_secs);
    length.ok_or_else(|| format!("{}, from a second to ten years", wrong()))
}

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let config = Config::read(&args.config)?;
    let machine = machine(&config)?;
    let (end, stopped) = sync_channel(1);
    // Whoever asks for the end twice is asking for the same.
    ctrlc::set_handler(move || end.try_send(()).unwrap_or_default()).context("cannot watch for Ctrl-C")?;
    let file = create(&args.output)?;
    let failed = || format!("{} ends here; what was written before is whole", args.output.display());
    let writer = Writer::new(file).with_context(failed)?;
    let name = machine.name().to_owned();
    let recorder = Recorder {
        machine,
        writer,
        stopped,
        snapshot: Snapshot::default(),
        began: None,
        trouble: None,
        missed: 0,
        progress: Progress::new(&name, &args.output),
    };
    let (tally, lasted, missed) = recorder.run(config.period, args.length).with_context(failed)?;
    print(&said(&args.output, tally, lasted, missed))?;
    Ok(ExitCode::SUCCESS)
}

/// A file that was not there, so that nobody's recording is lost.
fn create(path: &Path) -> Result<File> {
    let tried = || format!("cannot write {}", path.display());
    let file = match File::options().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            bail!("{} exists; a recording is never replaced or added to: give another name", path.display())
        }
        file => file.with_context(tried)?,
    };
    // The name of a file is on disk when its folder is.
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).with_context(tried)?;
    Ok(file)
}

/// What came of it, in words.
fn said(path: &Path, tally: Tally, lasted: Duration, missed: u64) -> String {
    let missing = if missed > 0 { format!("; {missed} cycles were missed") } else { String::new() };
    format!(
        "{} snapshots over {} written to {}: {}{missing}\n",
        tally.snapshots,
        show::time(lasted),
        path.display(),
        show::size(tally.bytes, tally.samples),
    )
}

struct Recorder {
    machine: Box<dyn Machine>,
    writer: Writer<File>,
    stopped: Receiver<()>,
    snapshot: Snapshot,
    /// When the first snapshot was taken.
    began: Option<HostTime>,
    /// Why the last cycle was not recorded.
    trouble: Option<String>,
    missed: u64,
    progress: Progress,
}

impl Recorder {
    /// Records at a steady pace, as the daemon's cycles are: late ones do not shift those after them.
    fn run(
        mut self,
        wanted: Duration,
        length: Option<Duration>,
    ) -> Result<(Tally, Duration, u64), WriteError> {
        let mut due = Instant::now();
        while let Err(RecvTimeoutError::Timeout) =
            self.stopped.recv_timeout(due.saturating_duration_since(Instant::now()))
        {
            let period = self.machine.period(wanted);
            if self.machine.pass(period) == Passed::Over {
                self.progress.line("the scenario is over");
                break;
            }
            self.cycle()?;
            let lasted = self.lasted();
            self.progress.show(self.writer.tally(), lasted, self.snapshot.vms.len());
            if length.is_some_and(|length| lasted >= length) {
                break;
            }
            due += period;
            while due + period <= Instant::now() {
                due += period;
                self.missed += 1;
            }
        }
        self.progress.end();
        let (lasted, missed) = (self.lasted(), self.missed);
        let (_, tally) = self.writer.finish()?;
        Ok((tally, lasted, missed))
    }

    fn lasted(&self) -> Duration {
        self.began.map_or(Duration::ZERO, |began| self.snapshot.at.saturating_sub(began))
    }

    /// Reads the host once. What cannot be read or recorded is told once and missed; only a file that cannot
    /// be written ends it.
    fn cycle(&mut self) -> Result<(), WriteError> {
        let inventory = self.machine.inventory();
        let read = self.machine.observe(&mut self.snapshot).map_err(|error| {
            let cause =
                std::error::Error::source(&error).map_or_else(String::new, |cause| format!(": {cause}"));
            format!("{error}{cause}")
        });
        // Before 1970 it is a clock that was never set.
        let wall = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let trouble = match read.map(|()| self.writer.write(&inventory, &self.snapshot, wall)) {
            Ok(Ok(())) => {
                self.began.get_or_insert(self.snapshot.at);
                self.trouble = None;
                return Ok(());
            }
            Ok(Err(WriteError::Unfit { what })) => format!("what was read cannot be recorded: {what}"),
            Ok(Err(error)) => return Err(error),
            Err(error) => error,
        };
        self.missed += 1;
        // Nobody knows when the next one comes: what is there goes to the file.
        self.writer.close()?;
        if self.trouble.as_ref() != Some(&trouble) {
            self.progress.line(&format!("a cycle was missed: {trouble}"));
        }
        self.trouble = Some(trouble);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_a_unit() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs());
        assert_eq!([seconds("90s"), seconds("10m"), seconds("7d")], [Ok(90), Ok(600), Ok(604_800)]);
        for text in ["", "s", "90", "1.5h", "-1s", "0s", "99999999999d", "5µ"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }
}
