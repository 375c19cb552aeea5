//! Misses, cycles and memory traffic against bytes of cache.
//!
//! With half and steepness given, misses and cycles per instruction are both straight lines over the
//! curve between 0 and 1, and have a closed solution. So only those two are searched for: on a grid, then
//! by halving steps around its best point.

use std::collections::BTreeMap;

use halcyon_model::profile::{CacheResponse, Fit};

use super::numbers::{Line, line, median, rounded};
use super::table::CacheRow;

/// Where the table comes from.
pub(super) const SOURCE: &str = "pbbcache/cachesim (GPL-3.0, facts only): a SPEC program alone with 1 to 11 \
                                 ways of 2.5 MiB of last-level cache";

/// Bytes of one way: 11 ways of 27.5 MiB. The table's own occupancy comes to 2.4 to 2.6 MB per way where
/// programs fill them.
const WAY: f64 = 2.5 * 1024.0 * 1024.0;
/// Bytes of a cache line.
const LINE_BYTES: f64 = 64.0;
/// What a relative error of misses counts beside one of cycles, in squares: cycles are what a program
/// feels, and misses are measured less well.
const MISSES_WEIGHT: f64 = 0.02;
/// Steepness that is looked at. Half of the fall lies between one way and twice the most ways: what is
/// outside was not measured.
const STEEPNESS: (f64, f64) = (0.3, 20.0);
const MOST_OVER_MEASURED: f64 = 2.0;
const GRID: u32 = 48;
const REFINEMENTS: u32 = 120;
/// More misses per 1,000 instructions, and cycles for each of them, than any program has; fewer cycles per
/// instruction than any machine needs.
const MOST_MISSES: f64 = 1e5;
const MOST_CYCLES: f64 = 1e2;
const LEAST_CYCLES: f64 = 0.01;
/// The most that is put down to one miss: a page.
const MOST_BYTES_PER_MISS: f64 = 4096.0;

/// Errors at each point of one program.
pub(super) struct Errors {
    pub(super) ipc: Vec<f64>,
    pub(super) misses: Vec<f64>,
    pub(super) bandwidth: Vec<f64>,
}

/// The clock of the machine: what turns misses per cycle into the bandwidth that the table gives for
/// misses alone, at the middle of all rows in which misses are more than rounding.
pub(super) fn clock(programs: &BTreeMap<String, Vec<CacheRow>>) -> f64 {
    let counted = programs.values().flatten().filter(|row| row.llcmpki >= Fit::LEAST_MISSES);
    let clocks = counted.map(|row| row.llcm_bandwidth * 1e6 / (row.llcmpki / 1000.0 * row.ipc * LINE_BYTES));
    let mut clocks: Vec<f64> = clocks.filter(|clock| (1e8..=1e10).contains(clock)).collect();
    clocks.sort_by(f64::total_cmp);
    rounded(median(&clocks).unwrap_or(2e9))
}

/// Fits one program.
pub(super) fn fit(rows: &[CacheRow], clock: f64) -> (CacheResponse, Errors) {
    let best = search(rows);
    let mut response = best.response(rows, clock);
    response.bytes_per_miss = rounded(bytes_per_miss(rows, &response));
    let errors = errors(rows, &response);
    (response, errors)
}

fn bytes(row: &CacheRow) -> f64 {
    f64::from(row.nr_ways) * WAY
}

/// One shape of the curve with the lines that go best with it.
#[derive(Clone, Copy)]
struct Candidate {
    half: f64,
    steepness: f64,
    misses: Line,
    cycles: Line,
}

impl Candidate {
    /// No response to cache at all.
    fn flat(rows: &[CacheRow]) -> Self {
        let mean = |of: &dyn Fn(&CacheRow) -> f64, unit| line(rows.iter().map(|row| (0.0, of(row))), unit);
        Self {
            half: WAY,
            steepness: 1.0,
            misses: mean(&|row| row.llcmpki, Fit::LEAST_MISSES),
            cycles: mean(&|row| 1.0 / row.ipc, 0.0),
        }
    }

    /// The lines of a shape; nothing if they make no program that could be.
    fn new(rows: &[CacheRow], half: f64, steepness: f64) -> Option<Self> {
        let left = |row: &CacheRow| 1.0 / (1.0 + libm::pow(bytes(row) / half, steepness));
        let points = rows.iter().map(|row| (left(row), row));
        let misses = line(points.clone().map(|(x, row)| (x, row.llcmpki)), Fit::LEAST_MISSES);
        let cycles = line(points.map(|(x, row)| (x, 1.0 / row.ipc)), 0.0);
        let candidate = Self { half, steepness, misses, cycles };
        let possible = misses.slope > 0.0
            && misses.base + misses.slope <= MOST_MISSES
            && candidate.per_miss() <= MOST_CYCLES
            && candidate.other_cycles() >= LEAST_CYCLES;
        possible.then_some(candidate)
    }

    /// Cycles per miss per instruction: cycles can only follow misses that vary.
    fn per_miss(&self) -> f64 {
        if self.misses.slope > 0.0 { self.cycles.slope / self.misses.slope } else { 0.0 }
    }

    /// Cycles that do not come from misses.
    fn other_cycles(&self) -> f64 {
        self.cycles.base - self.per_miss() * self.misses.base
    }

    fn cost(&self) -> f64 {
        self.cycles.squares + MISSES_WEIGHT * self.misses.squares
    }

    fn response(&self, rows: &[CacheRow], clock: f64) -> CacheResponse {
        let Self { half, steepness, misses, .. } = *self;
        let footprint = rows.iter().map(|row| row.llc_usage_kb * 1024.0).fold(0.0, f64::max);
        let limit = rounded(misses.base);
        let mut response = CacheResponse {
            limit_misses: limit,
            least_misses: limit,
            most_misses: rounded(misses.base + misses.slope).max(limit),
            half: rounded(half),
            steepness: rounded(steepness),
            cycles: rounded(self.other_cycles()),
            cycles_per_miss: rounded(self.per_miss() * 1000.0),
            bytes_per_miss: LINE_BYTES,
            clock,
            footprint: Some(rounded(footprint)),
        };
        let most = rows.iter().map(bytes).fold(0.0, f64::max);
        response.least_misses = rounded(response.misses(most)).clamp(limit, response.most_misses);
        response
    }
}

/// The best shape: the best of a grid, then of ever smaller steps around it.
fn search(rows: &[CacheRow]) -> Candidate {
    let mut search = Search {
        rows,
        most: rows.iter().map(bytes).fold(WAY, f64::max) * MOST_OVER_MEASURED,
        place: [0.5, 0.5],
        best: Candidate::flat(rows),
    };
    let share = |index: u32| f64::from(index) / f64::from(GRID);
    for half in 0..=GRID {
        for steepness in 0..=GRID {
            search.visit([share(half), share(steepness)]);
        }
    }
    let mut step = 1.0 / f64::from(GRID);
    for _ in 0..REFINEMENTS {
        let [half, steepness] = search.place;
        let before = search.best.cost();
        for [right, up] in [[1.0, 0.0], [-1.0, 0.0], [0.0, 1.0], [0.0, -1.0], [1.0, 1.0], [-1.0, -1.0]] {
            search.visit([half + right * step, steepness + up * step]);
        }
        if search.best.cost() >= before {
            step /= 2.0;
        }
    }
    search.best
}

struct Search<'a> {
    rows: &'a [CacheRow],
    most: f64,
    /// Half and steepness of the best, as shares of the way through their ranges.
    place: [f64; 2],
    best: Candidate,
}

impl Search<'_> {
    fn visit(&mut self, place: [f64; 2]) {
        let place = place.map(|share| share.clamp(0.0, 1.0));
        let along = |(low, high): (f64, f64), share: f64| low * libm::pow(high / low, share);
        let half = along((WAY, self.most), place[0]);
        let found = Candidate::new(self.rows, half, along(STEEPNESS, place[1]));
        if let Some(found) = found.filter(|found| found.cost() < self.best.cost()) {
            (self.best, self.place) = (found, place);
        }
    }
}

/// Bytes that move per miss, by the measured bandwidth: lines that are written back and fetched ahead are
/// counted with the misses.
fn bytes_per_miss(rows: &[CacheRow], response: &CacheResponse) -> f64 {
    let per_byte = CacheResponse { bytes_per_miss: 1.0, ..*response };
    let (mut along, mut square) = (0.0, 0.0);
    for row in rows {
        let unit = bandwidth(row).max(Fit::LEAST_BANDWIDTH);
        let x = per_byte.bandwidth(bytes(row)) / unit;
        along += x * bandwidth(row) / unit;
        square += x * x;
    }
    // Where nothing misses, nothing is known of what a miss moves.
    if square > 1e-18 { (along / square).min(MOST_BYTES_PER_MISS) } else { LINE_BYTES }
}

fn bandwidth(row: &CacheRow) -> f64 {
    row.bandwidth_mbps * 1e6
}

fn errors(rows: &[CacheRow], response: &CacheResponse) -> Errors {
    let error = |got: f64, measured: f64, unit: f64| (got - measured).abs() / measured.max(unit);
    let each = |of: &dyn Fn(&CacheRow) -> f64| rows.iter().map(of).collect();
    Errors {
        ipc: each(&|row| error(response.instructions_per_cycle(bytes(row)), row.ipc, 0.0)),
        misses: each(&|row| error(response.misses(bytes(row)), row.llcmpki, Fit::LEAST_MISSES)),
        bandwidth: each(&|row| error(response.bandwidth(bytes(row)), bandwidth(row), Fit::LEAST_BANDWIDTH)),
    }
}
