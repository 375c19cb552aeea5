//! Two runs in lockstep, the watched policy and the static assignment, and what is remembered of them
//! for showing. Nothing here changes a run: it ends as it would have ended unwatched.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_control::{Outcome, Stopwatch};
use halcyon_hal::StepState;
use halcyon_lab::{Explained, Run, RunError, Scenario};
use halcyon_model::{Assignment, ChangeKind, Holding, HostTime, Objective, Plan, VmId, VmSpec};
use halcyon_sim::{SimHost, VmState};

use super::host::host_rows;
use super::phrase::Names;
use super::scene::{Beside, Meter, Note, Point, Scene, Tempo, VmRow};

/// The policy that the watched one is compared with.
pub(super) const FIXED: &str = "static";

/// Share of requests that have to be in time, as in the score.
const IN_TIME: f64 = 0.99;

/// Notes that are kept.
const MOST_NOTES: usize = 1000;

/// Both runs.
pub(super) struct Stage {
    watched: Run,
    fixed: Run,
    of_watched: Track,
    of_fixed: Track,
    window: Duration,
    window_end: HostTime,
    duration: Duration,
    recent: Recent,
    notes: VecDeque<Arc<Note>>,
    shares: u64,
    shares_per_s: f64,
    curve: Arc<Vec<Point>>,
    why: Option<Arc<Explained>>,
}

impl Stage {
    /// Starts both runs.
    pub(super) fn new(
        scenario: &Scenario,
        policy: &str,
        record: bool,
        stop: &AtomicBool,
    ) -> Result<Self, RunError> {
        let window = scenario.parameters.window;
        Ok(Self {
            watched: Run::stoppable(scenario, policy, record, stop)?,
            fixed: Run::new(scenario, FIXED, record)?,
            of_watched: Track::default(),
            of_fixed: Track::default(),
            window,
            window_end: window,
            duration: scenario.duration,
            recent: Recent::default(),
            notes: VecDeque::new(),
            shares: 0,
            shares_per_s: 0.0,
            curve: Arc::default(),
            why: None,
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.watched.is_over()
    }

    /// Both runs, as far as they came.
    pub(super) fn into_runs(self) -> Vec<Run> {
        vec![self.watched, self.fixed]
    }

    /// Lets one step of time pass in both runs. If asked why, explains the plan that was made in it; tells
    /// whether there was one.
    pub(super) fn tick(&mut self, stopwatch: &dyn Stopwatch, asked: bool) -> Result<bool, RunError> {
        let outcome = self.watched.tick(stopwatch)?;
        let explained = asked.then(|| Explained::of(&self.watched, &outcome)).flatten();
        let told = explained.is_some();
        self.why = explained.map(Arc::new).or(self.why.take());
        self.fixed.tick(stopwatch)?;
        self.recent.add(self.watched.host());
        self.take_notes(&outcome);
        let now = self.watched.host().now();
        if now >= self.window_end {
            self.window_end += self.window;
            self.close_window(now);
        }
        Ok(told)
    }

    #[allow(clippy::cast_precision_loss)]
    fn close_window(&mut self, now: HostTime) {
        let specs = self.watched.specs();
        let utility = Beside {
            watched: self.of_watched.close(self.watched.host(), specs),
            fixed: self.of_fixed.close(self.fixed.host(), specs),
        };
        Arc::make_mut(&mut self.curve).push(Point { at_s: now.as_secs_f64(), utility });
        self.shares_per_s = self.shares as f64 / self.window.as_secs_f64();
        self.shares = 0;
    }

    fn take_notes(&mut self, outcome: &Outcome) {
        let host = self.watched.host();
        let names = Names { topology: host.topology(), vms: self.watched.specs() };
        let at = host.now();
        // Shares change all the time; their number says more than their words.
        let changes = outcome.plan.as_ref().map_or(&[][..], Plan::changes);
        let (shares, rest): (Vec<_>, Vec<_>) =
            changes.iter().partition(|change| is_share(change.step.kind()));
        self.shares += shares.len() as u64;
        let told = names.changes(&rest).into_iter();
        let mut notes: Vec<Note> = told.map(|(what, why)| Note { at, what, why, bad: false }).collect();
        for event in &outcome.events {
            if let Some(note) = &event.note {
                let what = format!("{}: {}", event.became(), names.step(&event.step));
                let bad = matches!(event.state, StepState::Failed | StepState::Stuck);
                notes.push(Note { at, what, why: note.clone(), bad });
            }
        }
        self.notes.extend(notes.into_iter().map(Arc::new));
        let surplus = self.notes.len().saturating_sub(MOST_NOTES);
        self.notes.drain(..surplus);
    }

    /// All that is to be shown now. Flows and CPU time are means since the last scene.
    pub(super) fn scene(&mut self, tempo: Tempo) -> Scene {
        let host = self.watched.host();
        let means = self.recent.means(host);
        let vms = self.vm_rows(&means);
        let scene = Scene {
            host: host.topology().name().into(),
            policy: self.watched.policy().into(),
            now: host.now(),
            duration: self.duration,
            tempo,
            utility: Beside { watched: host.score().utility, fixed: self.fixed.host().score().utility },
            violating: Beside {
                watched: vms.iter().filter(|vm| vm.violating.watched).count(),
                fixed: vms.iter().filter(|vm| vm.violating.fixed).count(),
            },
            judged: self.watched.specs().iter().filter(|spec| is_judged(spec)).count(),
            host_rows: host_rows(host, self.watched.specs(), &means),
            vms,
            notes: self.notes.iter().rev().cloned().collect(),
            shares_per_s: self.shares_per_s,
            curve: Arc::clone(&self.curve),
            why: self.why.clone(),
        };
        self.recent.restart(host, means);
        scene
    }

    /// The VMs that are due under the watched policy; those at the door hold nothing.
    fn vm_rows(&self, means: &Means) -> Vec<VmRow> {
        let host = self.watched.host();
        let states: BTreeMap<VmId, (VmState, VmMean)> =
            host.states().zip(&means.vms).map(|(state, mean)| (state.vm, (state, *mean))).collect();
        let (watched, fixed) = (now(host), now(self.fixed.host()));
        let rows = self.watched.specs().iter().filter_map(|spec| {
            let utility = Beside {
                watched: self.of_watched.utility(spec.id, *watched.get(&spec.id)?),
                fixed: self.of_fixed.utility(spec.id, fixed.get(&spec.id).copied().flatten()),
            };
            let (state, mean) = states.get(&spec.id).copied().unzip();
            Some(row(spec, host.assignment(), state, mean.unwrap_or_default(), utility))
        });
        rows.collect()
    }
}

/// The utility of each VM that is due in the present step.
fn now(host: &SimHost) -> BTreeMap<VmId, Option<f64>> {
    host.states().map(|state| (state.vm, state.utility)).chain(host.at_the_door()).collect()
}

fn row(
    spec: &VmSpec,
    held: &Assignment,
    state: Option<VmState>,
    mean: VmMean,
    utility: Beside<Option<f64>>,
) -> VmRow {
    let held = held.holdings.binary_search_by_key(&spec.id, |held| held.vm).map(|at| &held.holdings[at]).ok();
    let cores = |of: fn(&Holding) -> f64| held.map_or(0.0, of) / 1000.0;
    let misses = |utility: Option<f64>| is_judged(spec) && utility.is_some_and(|now| now < IN_TIME);
    VmRow {
        name: spec.name.clone(),
        objective: spec.objective,
        cpu: Meter {
            used: mean.cpu,
            wanted: mean.cpu_wanted,
            share: Some(cores(|held| held.cpu.share.as_f64())),
            ceiling: cores(|held| held.cpu.ceiling.as_f64()),
            whole: spec.cpu.limit.as_f64() / 1000.0,
        },
        memory_bytes: held.map_or(0.0, |held| held.total_memory().as_f64()),
        working_set_bytes: state.map_or(0.0, |state| state.working_set),
        io_bytes_s: mean.io,
        backlog_s: state.map_or(0.0, |state| state.backlog),
        utility,
        violating: Beside { watched: misses(utility.watched), fixed: misses(utility.fixed) },
    }
}

fn is_judged(spec: &VmSpec) -> bool {
    matches!(spec.objective, Objective::Latency { .. })
}

fn is_share(kind: ChangeKind) -> bool {
    matches!(kind, ChangeKind::Cpu | ChangeKind::MemoryBandwidth | ChangeKind::DeviceBandwidth)
}

/// What a run's score said of each VM when the last window closed.
#[derive(Debug, Default)]
struct Track {
    sums: BTreeMap<VmId, (f64, u64)>,
    /// Utility in the last window; empty before the first has closed.
    last: BTreeMap<VmId, Option<f64>>,
}

impl Track {
    /// Closes a window and tells the host's utility in it. A VM of which nothing was asked has all it wants.
    fn close(&mut self, host: &SimHost, specs: &[VmSpec]) -> f64 {
        for (id, vm) in host.score().vms {
            let before = self.sums.insert(id, (vm.utility, vm.windows)).unwrap_or_default();
            self.last.insert(id, (vm.windows > before.1).then_some(vm.utility - before.0));
        }
        let (mut sum, mut weights) = (0.0, 0.0);
        for spec in specs {
            let utility = self.last.get(&spec.id).copied().flatten();
            sum += spec.weight.as_f64() * utility.unwrap_or(1.0);
            weights += spec.weight.as_f64();
        }
        if weights > 0.0 { sum / weights } else { 1.0 }
    }

    /// In the last window, or now if there was none yet.
    fn utility(&self, vm: VmId, now: Option<f64>) -> Option<f64> {
        self.last.get(&vm).copied().unwrap_or(now)
    }
}

/// One VM, on average since the last scene.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct VmMean {
    pub(super) cpu: f64,
    pub(super) cpu_wanted: f64,
    pub(super) io: f64,
    pub(super) memory_traffic: f64,
    pub(super) working_set: f64,
}

/// The host, on average since the last scene.
#[derive(Debug, Clone, Default)]
pub(super) struct Means {
    /// In the order of the VMs that are there.
    pub(super) vms: Vec<VmMean>,
    /// By device, in bytes per second.
    pub(super) flows: Vec<f64>,
}

/// Sums since the last scene: a single step shows bursts that nobody could follow at hundreds of steps
/// a second.
#[derive(Debug, Default)]
struct Recent {
    sums: BTreeMap<VmId, VmMean>,
    steps: u32,
    since: HostTime,
    moved: Vec<f64>,
    shown: Option<Means>,
}

impl Recent {
    fn add(&mut self, host: &SimHost) {
        self.steps += 1;
        for state in host.states() {
            let sum = self.sums.entry(state.vm).or_default();
            sum.cpu += state.cpu;
            sum.cpu_wanted += state.cpu_wanted;
            sum.io += state.io;
            sum.memory_traffic += state.memory_traffic;
            sum.working_set += state.working_set;
        }
    }

    /// The means; without a step since the last scene, those that were shown then.
    fn means(&self, host: &SimHost) -> Means {
        if self.steps == 0
            && let Some(shown) = &self.shown
        {
            return shown.clone();
        }
        let steps = f64::from(self.steps.max(1));
        let seconds = host.now().saturating_sub(self.since).as_secs_f64().max(1e-9);
        let mean = |sum: VmMean| VmMean {
            cpu: sum.cpu / steps,
            cpu_wanted: sum.cpu_wanted / steps,
            io: sum.io / steps,
            memory_traffic: sum.memory_traffic / steps,
            working_set: sum.working_set / steps,
        };
        let sums = host.states().map(|state| self.sums.get(&state.vm).copied().unwrap_or_default());
        let vms = sums.map(mean).collect();
        let moved = moved(host);
        let before = |index: usize| self.moved.get(index).copied().unwrap_or(0.0);
        let flows = moved.iter().enumerate().map(|(index, now)| (now - before(index)) / seconds).collect();
        Means { vms, flows }
    }

    fn restart(&mut self, host: &SimHost, shown: Means) {
        self.shown = Some(shown);
        self.sums.clear();
        self.steps = 0;
        self.since = host.now();
        self.moved = moved(host);
    }
}

fn moved(host: &SimHost) -> Vec<f64> {
    host.topology().fabric().devices.iter().map(|device| host.device_bytes(device.id)).collect()
}
