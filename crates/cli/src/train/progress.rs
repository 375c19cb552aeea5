//! How far a training is: a bar on a terminal and a line for each round; both on standard error.

use std::io::IsTerminal;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use halcyon_lab::train::{Row, Training};
use indicatif::{ProgressBar, ProgressStyle};

use super::card::signed;
use super::folder::Folder;

pub(super) struct Progress {
    bar: ProgressBar,
    plain: bool,
    started: Instant,
    work: u64,
    worked: AtomicU64,
    /// Rounds that are over.
    rounds: AtomicU64,
}

impl Progress {
    pub(super) fn new(training: &Training) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let work = training.work_left();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(work) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan} {percent:>3} %  {msg}  {eta} left") {
            bar.set_style(style);
        }
        let rounds = training.recipe().course.rounds();
        let done = training.rows().last().map_or(0, |row| row.round);
        bar.set_message(format!("{done} of {rounds} rounds"));
        bar.enable_steady_tick(Duration::from_millis(200));
        let (worked, rounds) = (AtomicU64::new(0), AtomicU64::new(done as u64));
        Self { bar, plain, started: Instant::now(), work, worked, rounds }
    }

    pub(super) fn worked(&self, more: u64) {
        self.bar.inc(more);
        self.worked.fetch_add(more, Ordering::Relaxed);
    }

    /// A line for each round that was not seen yet.
    pub(super) fn rounds(&self, training: &Training, seen: usize) {
        let rounds = training.recipe().course.rounds();
        let best = training.best().map(|(round, _)| round);
        for row in &training.rows()[seen.min(training.rows().len())..] {
            let left = if self.plain { format!("; about {} left", time(self.left())) } else { String::new() };
            let line = line(row, rounds, best == Some(row.round));
            self.bar.suspend(|| eprintln!("halcyon: {line}{left}"));
            self.bar.set_message(format!("{} of {rounds} rounds", row.round));
            self.rounds.store(row.round as u64, Ordering::Relaxed);
        }
    }

    /// Seconds that it will take, about.
    #[allow(clippy::cast_precision_loss)]
    fn left(&self) -> f64 {
        let worked = self.worked.load(Ordering::Relaxed);
        let left = self.work.saturating_sub(worked) as f64 / worked.max(1) as f64;
        left * self.started.elapsed().as_secs_f64()
    }

    pub(super) fn finish(&self) {
        self.bar.finish_and_clear();
    }

    pub(super) fn interrupted(&self, folder: &Folder) -> ExitCode {
        self.finish();
        let rounds = self.rounds.load(Ordering::Relaxed);
        super::interrupted(folder, Some(usize::try_from(rounds).unwrap_or(0)))
    }
}

/// A round as people read it.
fn line(row: &Row, rounds: usize, best: bool) -> String {
    let what = if row.round == 0 {
        "to begin with".into()
    } else {
        format!("round {} of {rounds} ({})", row.round, row.kind)
    };
    let losses: Vec<String> = row.losses.iter().map(|(name, loss)| format!("{name} {loss:.4}")).collect();
    let losses = if losses.is_empty() { String::new() } else { format!("loss {}; ", losses.join(", ")) };
    let runs = row.utility.map_or_else(String::new, |utility| format!("its runs {utility:.4}; "));
    let half = row.half_width.map_or_else(String::new, |half| format!(" ±{half:.4}"));
    let best = if best { ", the best so far" } else { "" };
    format!(
        "{what}: {losses}{runs}held-out utility {:.4}, {}{half} against reactive{best}; {}",
        row.score,
        signed(row.score - row.reactive),
        time(row.seconds)
    )
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
