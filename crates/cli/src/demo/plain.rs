//! All policies on all scenarios, on all cores, with a progress bar or plain lines.

use std::io::IsTerminal;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use anyhow::Result;
use halcyon_control::Stopwatch;
use halcyon_lab::{Run, RunResult, Scenario};
use indicatif::{ProgressBar, ProgressStyle};

/// Steps between two looks at the stop flag and the progress bar.
const STRIDE: u64 = 256;

/// The results of every policy on every scenario, or nothing if it was stopped.
pub(super) type Results = Vec<(String, Vec<RunResult>)>;

/// `started` are runs of the first scenario that go on from where they are.
pub(super) fn run_all(
    scenarios: &[Scenario],
    policies: &[&str],
    started: Vec<Run>,
    record: bool,
    stopwatch: &(dyn Stopwatch + Sync),
    stop: &AtomicBool,
) -> Result<Option<Results>> {
    // The clairvoyant takes longest, so it goes first.
    let jobs: Vec<(usize, &str)> = (0..scenarios.len())
        .flat_map(|scenario| policies.iter().rev().map(move |policy| (scenario, *policy)))
        .collect();
    let total: u64 =
        scenarios.iter().map(|scenario| scenario.duration.as_secs() * policies.len() as u64).sum();
    let progress = Progress::new(total);
    let next = AtomicUsize::new(0);
    let started = Mutex::new(started);
    let done: Mutex<Vec<(usize, Result<Option<RunResult>>)>> = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        let workers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get).min(jobs.len());
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some((scenario, policy)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                    if stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let index = scenario * policies.len()
                        + policies.iter().position(|name| name == policy).unwrap_or(0);
                    // Only the first scenario is drawn in the report.
                    let run = match (*scenario == 0).then(|| take(&started, policy)).flatten() {
                        Some(run) => Ok(run),
                        None => Run::stoppable(&scenarios[*scenario], policy, record && *scenario == 0, stop),
                    };
                    let outcome =
                        run.map_err(Into::into).and_then(|run| run_one(run, stopwatch, stop, &progress));
                    if let Ok(mut done) = done.lock() {
                        done.push((index, outcome));
                    }
                }
            });
        }
    });
    progress.finish();
    // What was stopped on its way must not pass for a result.
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    collect(scenarios, policies.len(), done.into_inner().unwrap_or_default())
}

fn collect(
    scenarios: &[Scenario],
    policies: usize,
    mut done: Vec<(usize, Result<Option<RunResult>>)>,
) -> Result<Option<Results>> {
    done.sort_by_key(|(index, _)| *index);
    let runs: Option<Vec<RunResult>> =
        done.into_iter().map(|(_, outcome)| outcome).collect::<Result<Vec<_>>>()?.into_iter().collect();
    Ok(runs.map(|runs| {
        let mut runs = runs.into_iter();
        let of = |scenario: &Scenario| {
            (scenario.topology.name().to_string(), runs.by_ref().take(policies).collect())
        };
        scenarios.iter().map(of).collect()
    }))
}

fn take(started: &Mutex<Vec<Run>>, policy: &str) -> Option<Run> {
    let mut started = started.lock().ok()?;
    let found = started.iter().position(|run| run.policy() == policy)?;
    Some(started.swap_remove(found))
}

fn run_one(
    mut run: Run,
    stopwatch: &(dyn Stopwatch + Sync),
    stop: &AtomicBool,
    progress: &Progress,
) -> Result<Option<RunResult>> {
    progress.advance(run.host().now().as_secs());
    let mut steps = 0;
    while !run.is_over() {
        run.tick(stopwatch)?;
        steps += 1;
        if steps % STRIDE == 0 {
            if stop.load(Ordering::Relaxed) {
                return Ok(None);
            }
            progress.advance(STRIDE);
        }
    }
    Ok(Some(run.finish()))
}

/// A bar on a terminal, a line now and then elsewhere; both on standard error.
struct Progress {
    bar: ProgressBar,
    total: u64,
    plain: bool,
    done: AtomicUsize,
    shown: AtomicUsize,
}

impl Progress {
    fn new(total: u64) -> Self {
        let plain = !std::io::stderr().is_terminal();
        let bar = if plain { ProgressBar::hidden() } else { ProgressBar::new(total) };
        if let Ok(style) = ProgressStyle::with_template("{bar:40.cyan} {percent:>3} %  {eta} left") {
            bar.set_style(style);
        }
        bar.enable_steady_tick(Duration::from_millis(200));
        Self { bar, total, plain, done: AtomicUsize::new(0), shown: AtomicUsize::new(0) }
    }

    fn advance(&self, steps: u64) {
        self.bar.inc(steps);
        let steps = usize::try_from(steps).unwrap_or(0);
        let done = self.done.fetch_add(steps, Ordering::Relaxed) + steps;
        let tenth = done as u64 * 10 / self.total.max(1);
        let tenth = usize::try_from(tenth).unwrap_or(0);
        if self.plain && self.shown.fetch_max(tenth, Ordering::Relaxed) < tenth {
            eprintln!("halcyon: {} % of {} steps", tenth * 10, self.total);
        }
    }

    fn finish(&self) {
        self.bar.finish_and_clear();
    }
}
