//! The search on one socket.
//!
//! ```text
//!   Waiting ──► Bootstrap: equal, then all for each group ──► Searching ──► Holding
//!      ▲                                             (no more to expect)      │
//!      └────────── load changed, or an objective is missed for a while ───────┘
//! ```

use halcyon_model::{HostTime, VmId};
use rand_pcg::Pcg32;

use super::CliteTuning;
use super::layout::{Division, Layout, below};
use super::score::{Base, Seen, mean, score};
use super::search::Search;

/// A load that differs by less than this, in thousandths of a core, is the same.
const LEAST_CHANGE: f64 = 200.0;

#[derive(Debug, Clone, Copy, Default, PartialEq)]
enum Phase {
    #[default]
    Waiting,
    /// How many samples were asked for.
    Bootstrap(usize),
    Searching,
    Holding,
}

/// What was seen of one sample.
#[derive(Debug, Clone)]
struct Sample {
    division: Division,
    /// Ordered by VM.
    seen: Vec<(VmId, Seen)>,
    /// How well each group did, 0 to 1.
    ratios: Vec<f64>,
}

impl Sample {
    fn of(&self, vm: VmId) -> Option<Seen> {
        let place = self.seen.binary_search_by_key(&vm, |(vm, _)| *vm).ok()?;
        Some(self.seen[place].1)
    }
}

/// What holding began with, and what was seen against it.
#[derive(Debug, Clone, Default)]
struct Watch {
    /// CPU demand by group, and score, when holding began.
    reference: Option<(Vec<f64>, Option<f64>)>,
    /// Readings in a row that differ.
    off: u32,
    since: HostTime,
}

/// The state of one socket.
#[derive(Debug)]
pub(super) struct Optimiser {
    phase: Phase,
    /// VMs by group; those that are not latency-critical are the last, if there are any.
    pub(super) groups: Vec<Vec<VmId>>,
    /// Whether the last group is of those that are not latency-critical.
    pub(super) others: bool,
    pub(super) layout: Layout,
    /// What is asked for now; nothing stands for by weight.
    pub(super) division: Option<Division>,
    samples: Vec<Sample>,
    base: Base,
    search: Search,
    watch: Watch,
    random: Pcg32,
}

impl Optimiser {
    pub(super) fn new(seed: u64, socket: usize) -> Self {
        Self {
            phase: Phase::Waiting,
            groups: Vec::new(),
            others: false,
            layout: Layout::default(),
            division: None,
            samples: Vec::new(),
            base: Base::new(),
            search: Search::default(),
            watch: Watch::default(),
            random: Pcg32::new(seed, socket as u64),
        }
    }

    pub(super) fn is_waiting(&self) -> bool {
        self.phase == Phase::Waiting
    }

    /// Starts over with these groups, from equal parts. With fewer than two, or nothing that can be
    /// divided, there is nothing to search.
    pub(super) fn start(
        &mut self,
        groups: Vec<Vec<VmId>>,
        others: bool,
        layout: Layout,
        tuning: &CliteTuning,
    ) {
        let searches = layout.groups > 1 && !layout.resources.is_empty();
        self.division = searches.then(|| layout.equal());
        self.phase = if searches { Phase::Bootstrap(1) } else { Phase::Holding };
        (self.groups, self.others, self.layout) = (groups, others, layout);
        self.samples.clear();
        self.base.clear();
        self.search = Search::new(tuning.margin);
        self.watch = Watch::default();
    }

    /// Takes in what was seen under the division that was asked for, and asks for the next.
    pub(super) fn advance(
        &mut self,
        now: HostTime,
        seen: Vec<(VmId, Seen)>,
        demand: &[f64],
        tuning: &CliteTuning,
    ) {
        match (self.phase, self.division.clone()) {
            (Phase::Bootstrap(asked), Some(division)) => {
                self.note(division, seen);
                if asked <= self.layout.groups {
                    self.division = Some(self.layout.favouring(asked - 1));
                    self.phase = Phase::Bootstrap(asked + 1);
                } else {
                    self.settle_base();
                    self.phase = Phase::Searching;
                    self.next(now, tuning);
                }
            }
            (Phase::Searching, Some(division)) => {
                self.note(division, seen);
                let value = self.samples.last().and_then(|sample| score(&sample.seen, &self.base));
                self.record(self.samples.len() - 1, value);
                self.next(now, tuning);
            }
            (Phase::Holding, Some(_)) => self.hold(now, &seen, demand, tuning),
            _ => {}
        }
    }

    fn note(&mut self, division: Division, seen: Vec<(VmId, Seen)>) {
        self.samples.push(Sample { division, seen, ratios: Vec::new() });
    }

    /// What each VM did in the sample in which its group had everything; only then is the bootstrap scored.
    fn settle_base(&mut self) {
        for (group, members) in self.groups.iter().enumerate() {
            let Some(sample) = self.samples.get(group + 1) else { continue };
            self.base.extend(members.iter().filter_map(|vm| Some((*vm, sample.of(*vm)?))));
        }
        for place in 0..self.samples.len() {
            let value = score(&self.samples[place].seen, &self.base);
            self.record(place, value);
        }
    }

    fn record(&mut self, place: usize, value: Option<f64>) {
        let sample = &self.samples[place];
        let ratio = |vm: &VmId| sample.of(*vm)?.ratio(self.base.get(vm));
        let ratios: Vec<f64> =
            self.groups.iter().map(|members| mean(members.iter().filter_map(ratio)).unwrap_or(0.0)).collect();
        let point = self.layout.point(&sample.division);
        self.samples[place].ratios = ratios;
        // What could not be measured is as bad as the worst.
        self.search.record(point, value.unwrap_or(f64::NAN));
    }

    fn next(&mut self, now: HostTime, tuning: &CliteTuning) {
        let best = self.search.best();
        let enough =
            best.is_none_or(|(_, value)| value >= tuning.good_enough) || self.samples.len() >= tuning.samples;
        if !enough {
            let candidates = self.candidates(tuning);
            let points: Vec<Vec<f64>> =
                candidates.iter().map(|division| self.layout.point(division)).collect();
            // What few samples promise is not to be relied on, and a missed objective is no place to stop.
            let stays =
                self.samples.len() < tuning.least_samples || best.is_some_and(|(_, value)| value < 0.5);
            let chosen = self.search.choose(&points);
            let worth = |(_, promise): &(usize, f64)| stays || *promise >= tuning.least_improvement;
            if let Some((place, _)) = chosen.filter(worth) {
                self.division = candidates.into_iter().nth(place);
                return;
            }
        }
        self.division = best.map(|(place, _)| self.samples[place].division.clone());
        self.phase = Phase::Holding;
        self.watch = Watch { since: now, ..Watch::default() };
    }

    /// Divisions that were not tried: drawn at random, and the neighbours of the best.
    ///
    /// One time in four the group that did best in some sample keeps what it had there, so that the search
    /// is among fewer dimensions ("dropout-copy").
    fn candidates(&mut self, tuning: &CliteTuning) -> Vec<Division> {
        let copies = below(&mut self.random, 4) == 0;
        let count = u32::try_from(self.samples.len()).unwrap_or(u32::MAX);
        let from = &self.samples[below(&mut self.random, count) as usize];
        let mut happiest = 0;
        for (group, ratio) in from.ratios.iter().enumerate() {
            if *ratio > from.ratios[happiest] {
                happiest = group;
            }
        }
        let kept = copies.then_some((&from.division, happiest));
        let mut found: Vec<Division> =
            (0..tuning.candidates).map(|_| self.layout.random(&mut self.random, kept)).collect();
        if let Some((best, _)) = self.search.best() {
            found.extend(self.layout.neighbours(&self.samples[best].division));
        }
        found.retain(|division| self.samples.iter().all(|sample| sample.division != *division));
        found
    }

    /// Waits for a reason to search again.
    fn hold(&mut self, now: HostTime, seen: &[(VmId, Seen)], demand: &[f64], tuning: &CliteTuning) {
        let value = score(seen, &self.base);
        let Some((reference, before)) = &self.watch.reference else {
            self.watch.reference = Some((demand.to_vec(), value));
            return;
        };
        let moved = |(now, then): (&f64, &f64)| (now - then).abs() > tuning.load_change * then + LEAST_CHANGE;
        let missed = value.is_some_and(|value| value < 0.5) && before.is_some_and(|before| before >= 0.5);
        let off = missed || demand.iter().zip(reference).any(moved);
        self.watch.off = if off { self.watch.off + 1 } else { 0 };
        if self.watch.off >= tuning.patience && now >= self.watch.since + tuning.rest {
            self.phase = Phase::Waiting;
        }
    }
}
