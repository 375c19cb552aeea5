//! How far a bench is: a bar on a terminal, a line now and then elsewhere; both on standard error.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use halcyon_lab::bench::{Event, Plan};
use indicatif::{ProgressBar, ProgressStyle};

pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    started: Instant,
    work: u64,
    worked: AtomicU64,
    /// Work that was there from an earlier time, and says nothing of how fast this one is.
    shown: AtomicU64,
    runs: usize,
    done: AtomicUsize,
    kept: AtomicUsize,
}

impl Progress {
    pub(super) fn new(plan: &Plan<'_>) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let (runs, work) = (plan.runs(), plan.work());
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(work) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan} {percent:>3} %  {msg}  {eta} left") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        let zero = || AtomicUsize::new(0);
        let (worked, shown) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { bar, plain, started: Instant::now(), work, worked, shown, runs, done: zero(), kept: zero() }
    }

    pub(super) fn hear(&self, event: &Event<'_>) {
        match event {
            Event::Worked(more) => {
                self.bar.inc(*more);
                self.worked.fetch_add(*more, Ordering::Relaxed);
                self.line();
            }
            Event::Done { kept } => {
                let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
                self.kept.fetch_add(usize::from(*kept), Ordering::Relaxed);
                self.bar.set_message(format!("{done} of {} runs", self.runs));
            }
            Event::Again(error) => {
                self.bar.suspend(|| eprintln!("halcyon: {error}; it is made again"));
            }
        }
    }

    /// A line for each tenth, where nobody watches a bar.
    fn line(&self) {
        let worked = self.worked.load(Ordering::Relaxed);
        let tenth = worked * 10 / self.work.max(1);
        if !self.plain || self.shown.fetch_max(tenth, Ordering::Relaxed) >= tenth {
            return;
        }
        #[allow(clippy::cast_precision_loss)]
        let left = self.work.saturating_sub(worked) as f64 / worked.max(1) as f64;
        let left = left * self.started.elapsed().as_secs_f64();
        let done = self.done.load(Ordering::Relaxed);
        eprintln!("halcyon: {} % ({done} of {} runs), about {} left", tenth * 10, self.runs, time(left));
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
        let kept = self.kept.load(Ordering::Relaxed);
        if kept > 0 {
            eprintln!("halcyon: {kept} of {} runs were there already", self.runs);
        }
    }

    /// What is left of an interrupted bench.
    pub(super) fn kept(&self, folder: Option<&Path>) -> String {
        let done = self.done.load(Ordering::Relaxed);
        match folder {
            Some(folder) => format!(
                "{done} of {} runs are kept in {}; the same command goes on from there",
                self.runs,
                folder.display()
            ),
            None => "nothing was kept; with --state DIR it would go on from where it stopped".into(),
        }
    }
}

fn time(seconds: f64) -> String {
    if seconds < 90.0 {
        format!("{seconds:.0} s")
    } else if seconds < 5400.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.1} h", seconds / 3600.0)
    }
}
