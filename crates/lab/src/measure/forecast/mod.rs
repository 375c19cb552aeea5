//! How good the network's forecasts are, by themselves.
//!
//! ```text
//!  scenario ─► run under the learned policy ─► what was seen, step by step
//!                         │                                 │ what came
//!                         └─► what was foreseen ────────────┴─► losses, coverage
//! ```
//!
//! They are judged by the loss that they are trained with, against forecasters that know nothing but the
//! quantity's own past. Demand of real traces is nothing that the network was trained on: its training
//! knows generated demand only.

mod judge;
mod rival;
mod watch;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use halcyon_policy::Network;
use halcyon_policy::learned::{HORIZONS, QUANTITIES};
use serde::Serialize;

use crate::bench::{BenchError, Entry, Refusal};
use crate::statistics::mean;
use judge::{ALPHAS, Grid, METHODS, Sums, WARM_UP_S, judge, judge_alphas};

/// The shortest run in which anything can be judged.
pub const SHORTEST_FORECAST: Duration = Duration::from_secs(2 * WARM_UP_S as u64);
/// The network is asked so often, and never more than [`MOST_ORIGINS`] times a run.
const EVERY: Duration = Duration::from_secs(10);
const MOST_ORIGINS: u32 = 1000;

/// How one method did.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MethodRow {
    /// `network`, `last`, `seasonal` or `ewma`.
    pub method: String,
    /// Mean pinball loss over the quantiles .1, .5 and .9, in shares of the most that there can be.
    pub pinball: Option<f64>,
    /// The share of what came that lay between the quantiles .1 and .9; 0.8 is right.
    pub coverage: Option<f64>,
}

/// One quantity until one horizon, all scenarios together.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastRow {
    /// The quantity.
    pub quantity: String,
    /// How far ahead, in seconds; what is foreseen is the mean until then.
    pub horizon_s: f64,
    /// Forecasts that were judged, of each method the same ones.
    pub forecasts: u64,
    /// Every method.
    pub methods: Vec<MethodRow>,
    /// By how much less the network's loss is than that of the best of the others, as a share; below 0 it
    /// is more.
    pub gain: Option<f64>,
    /// Scenarios in which the network's loss is below that of each of the others, of those with any.
    pub ahead_in: usize,
    /// Scenarios with any forecast of this kind.
    pub scenarios: usize,
    /// The weight of the newest value in `ewma`.
    pub alpha: f32,
    /// The share of the forecasts of `seasonal` without a day before, for which it repeats the last value.
    pub without_day: f64,
}

/// One scenario, by the mean loss over all quantities and horizons that it has.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastCase {
    /// The scenario.
    pub scenario: String,
    /// Its seed.
    pub seed: u64,
    /// The network's loss.
    pub network: f64,
    /// That of repeating the last value.
    pub last: f64,
}

/// How good forecasts are.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct ForecastReport {
    /// The version of this form: 1.
    pub schema: u32,
    /// The network's name.
    pub model: String,
    /// By quantity and horizon; those of which nothing was seen are left out.
    pub rows: Vec<ForecastRow>,
    /// By scenario.
    pub cases: Vec<ForecastCase>,
}

/// Judges a network's forecasts on `entries`. The rivals' weights are tuned on `tuning`, which should be
/// scenarios of training. Nothing if it was stopped on the way.
///
/// # Errors
/// When a scenario cannot be made or run, or is too short to judge anything.
pub fn forecasts(
    network: &Network,
    entries: &[Entry],
    tuning: &[Entry],
    threads: usize,
    stop: &AtomicBool,
) -> Result<Option<ForecastReport>, BenchError> {
    let tried = on_each(tuning, threads, stop, |entry| {
        let (course, step_s) = watched(network, entry)?;
        Ok(judge_alphas(&course, step_s))
    })?;
    let alphas = best_alphas(&tried);
    let found = on_each(entries, threads, stop, |entry| {
        let (course, step_s) = watched(network, entry)?;
        Ok(judge(&course, step_s, &alphas))
    })?;
    if stop.load(Ordering::Relaxed) {
        return Ok(None);
    }
    let places =
        || (0..QUANTITIES.len()).flat_map(|quantity| (0..HORIZONS.len()).map(move |h| (quantity, h)));
    let rows = places().filter_map(|(quantity, horizon)| {
        let cells: Vec<_> = found.iter().map(|grid| &grid[quantity][horizon]).collect();
        row((quantity, horizon), &cells, alphas[quantity][horizon])
    });
    let cases = entries.iter().zip(&found).map(|(entry, grid)| {
        let loss = |method: usize| {
            let cells = places().filter_map(|(quantity, horizon)| grid[quantity][horizon][method].loss());
            mean(&cells.collect::<Vec<_>>())
        };
        ForecastCase { scenario: entry.name().into(), seed: entry.seed(), network: loss(0), last: loss(1) }
    });
    let model = network.card().model.clone();
    Ok(Some(ForecastReport { schema: 1, model, rows: rows.collect(), cases: cases.collect() }))
}

fn watched(network: &Network, entry: &Entry) -> Result<(watch::Course, f64), BenchError> {
    let refused =
        |source: Refusal| BenchError::Scenario { name: entry.name().into(), seed: entry.seed(), source };
    if entry.duration() < SHORTEST_FORECAST {
        let least = SHORTEST_FORECAST.as_secs();
        return Err(refused(format!("it lasts less than {least} s, too short to judge forecasts").into()));
    }
    let scenario = entry.scenario()?;
    let step = scenario.parameters.step;
    let every = EVERY.max(scenario.duration / MOST_ORIGINS).as_secs_f64() / step.as_secs_f64();
    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    let course = watch::watch(&scenario, network, every.round().max(1.0) as usize);
    let failed = |source| BenchError::Run { policy: "learned".into(), source };
    Ok((course.map_err(failed)?, step.as_secs_f64()))
}

/// Runs `work` on every entry, on several threads; the order of the results is that of the entries. After
/// a stop some are missing.
fn on_each<T: Send>(
    entries: &[Entry],
    threads: usize,
    stop: &AtomicBool,
    work: impl Fn(&Entry) -> Result<T, BenchError> + Sync,
) -> Result<Vec<T>, BenchError> {
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let done = Mutex::new(Vec::with_capacity(entries.len()));
    std::thread::scope(|scope| {
        for _ in 0..threads.clamp(1, entries.len().max(1)) {
            scope.spawn(|| {
                while !failed.load(Ordering::Relaxed) && !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(entry) = entries.get(index) else { return };
                    let outcome = work(entry);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    done.into_iter().map(|(_, outcome)| outcome).collect()
}

/// The best weight for every quantity and horizon.
fn best_alphas(tried: &[Grid<[Sums; ALPHAS.len()]>]) -> Grid<f32> {
    std::array::from_fn(|quantity| {
        std::array::from_fn(|horizon| {
            let loss = |place: usize| {
                let mut sums = Sums::default();
                tried.iter().for_each(|grid| sums.merge(&grid[quantity][horizon][place]));
                sums.loss().unwrap_or(f64::INFINITY)
            };
            let best = (0..ALPHAS.len()).min_by(|a, b| loss(*a).total_cmp(&loss(*b)));
            ALPHAS[best.unwrap_or(0)]
        })
    })
}

fn row(
    (quantity, horizon): (usize, usize),
    cells: &[&[Sums; METHODS.len()]],
    alpha: f32,
) -> Option<ForecastRow> {
    let mut sums = [Sums::default(); METHODS.len()];
    for cell in cells {
        sums.iter_mut().zip(*cell).for_each(|(sums, cell)| sums.merge(cell));
    }
    let best = |cell: &[Sums; METHODS.len()]| cell[1..].iter().filter_map(Sums::loss).reduce(f64::min);
    let gain = |cell: &[Sums; METHODS.len()]| Some(1.0 - cell[0].loss()? / best(cell)?.max(1e-12));
    let gains: Vec<f64> = cells.iter().filter_map(|cell| gain(cell)).collect();
    #[allow(clippy::cast_precision_loss)]
    let without_day = sums[2].without as f64 / sums[2].count.max(1) as f64;
    (sums[0].count > 0).then(|| ForecastRow {
        quantity: QUANTITIES[quantity].into(),
        horizon_s: HORIZONS[horizon],
        forecasts: sums[0].count,
        methods: METHODS
            .iter()
            .zip(&sums)
            .map(|(name, sums)| MethodRow {
                method: (*name).into(),
                pinball: sums.loss(),
                coverage: sums.coverage(),
            })
            .collect(),
        gain: gain(&sums),
        ahead_in: gains.iter().filter(|gain| **gain > 0.0).count(),
        scenarios: gains.len(),
        alpha,
        without_day,
    })
}

impl fmt::Display for ForecastReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "forecasts of {}, {} scenario(s)", self.model, self.cases.len())?;
        writeln!(f, "pinball loss × 10⁴ and, in brackets, coverage of the interval from .1 to .9 in %")?;
        write!(f, "  {:<17} {:>6} {:>9}", "quantity", "ahead", "forecasts")?;
        METHODS.iter().try_for_each(|method| write!(f, " {method:>15}"))?;
        writeln!(f, " {:>9} {:>8} {:>6}", "gain", "ahead in", "alpha")?;
        for row in &self.rows {
            write!(f, "  {:<17} {:>4} s {:>9}", row.quantity, row.horizon_s, row.forecasts)?;
            for method in &row.methods {
                let (loss, coverage) = (method.pinball.unwrap_or(0.0), method.coverage.unwrap_or(0.0));
                let cell = format!("{:.2} ({:.1})", 1e4 * loss, 100.0 * coverage);
                write!(f, " {cell:>15}")?;
            }
            let gain = row.gain.map_or_else(|| "–".into(), |gain| format!("{:+.1} %", 100.0 * gain));
            let ahead = format!("{}/{}", row.ahead_in, row.scenarios);
            writeln!(f, " {gain:>9} {ahead:>8} {:>6}", row.alpha)?;
        }
        let without = self.rows.iter().map(|row| row.without_day).fold(0.0, f64::max);
        if without > 0.0 {
            writeln!(
                f,
                "seasonal repeats the last value where no day was seen before: in {:.0} % of its forecasts",
                100.0 * without
            )?;
        }
        writeln!(
            f,
            "Quantiles of last, seasonal and ewma are those of their own errors of late. Gain: how much less the\n\
             network's loss is than that of the best of the others. Ahead in: scenarios where it is less."
        )
    }
}
