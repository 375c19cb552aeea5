//! Two runs in lockstep, the watched policy and the static assignment, and what is remembered of them
//! for showing. Nothing here changes a run: it ends as it would have ended unwatched.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use halcyon_control::{Outcome, Stopwatch};
use halcyon_lab::{Run, RunError, Scenario};
use halcyon_model::{ChangeKind, HostTime, Objective, Plan, VmSpec};
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
        })
    }

    pub(super) fn is_over(&self) -> bool {
        self.watched.is_over()
    }

    /// Both runs, as far as they came.
    pub(super) fn into_runs(self) -> Vec<Run> {
        vec![self.watched, self.fixed]
    }

    /// Lets one step of time pass in both runs.
    pub(super) fn tick(&mut self, stopwatch: &dyn Stopwatch) -> Result<(), RunError> {
        let outcome = self.watched.tick(stopwatch)?;
        self.fixed.tick(stopwatch)?;
        self.recent.add(self.watched.host());
        self.take_notes(&outcome);
        let now = self.watched.host().now();
        if now >= self.window_end {
            self.window_end += self.window;
            self.close_window(now);
        }
        Ok(())
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
                let became = if event.refused { "refused" } else { "failed" };
                let what = format!("{became}: {}", names.step(&event.step));
                notes.push(Note { at, what, why: note.clone(), bad: true });
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
        };
        self.recent.restart(host, means);
        scene
    }

    fn vm_rows(&self, means: &Means) -> Vec<VmRow> {
        let host = self.watched.host();
        let held = &host.assignment().holdings;
        let states = host.states().zip(self.fixed.host().states());
        let vms = self.watched.specs().iter().zip(held).zip(states).zip(&means.vms).enumerate();
        vms.map(|(position, (((spec, held), (state, fixed)), mean))| {
            let utility = Beside {
                watched: self.of_watched.utility(position, &state),
                fixed: self.of_fixed.utility(position, &fixed),
            };
            let misses = |utility: Option<f64>| is_judged(spec) && utility.is_some_and(|now| now < IN_TIME);
            VmRow {
                name: spec.name.clone(),
                objective: spec.objective,
                cpu: Meter {
                    used: mean.cpu,
                    wanted: mean.cpu_wanted,
                    share: Some(held.cpu.share.as_f64() / 1000.0),
                    ceiling: held.cpu.ceiling.as_f64() / 1000.0,
                    whole: spec.cpu.limit.as_f64() / 1000.0,
                },
                memory_bytes: held.total_memory().as_f64(),
                working_set_bytes: state.working_set,
                io_bytes_s: mean.io,
                backlog_s: state.backlog,
                utility,
                violating: Beside { watched: misses(utility.watched), fixed: misses(utility.fixed) },
            }
        })
        .collect()
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
    sums: Vec<(f64, u64)>,
    /// Utility in the last window; empty before the first has closed.
    last: Vec<Option<f64>>,
}

impl Track {
    /// Closes a window and tells the host's utility in it. A VM of which nothing was asked has all it wants.
    fn close(&mut self, host: &SimHost, specs: &[VmSpec]) -> f64 {
        let score = host.score();
        self.sums.resize(score.vms.len(), (0.0, 0));
        let windows = self.sums.iter_mut().zip(&score.vms).map(|(sum, (_, vm))| {
            let before = std::mem::replace(sum, (vm.utility, vm.windows));
            (vm.windows > before.1).then_some(vm.utility - before.0)
        });
        self.last = windows.collect();
        let (mut sum, mut weights) = (0.0, 0.0);
        for (spec, utility) in specs.iter().zip(&self.last) {
            sum += spec.weight.as_f64() * utility.unwrap_or(1.0);
            weights += spec.weight.as_f64();
        }
        if weights > 0.0 { sum / weights } else { 1.0 }
    }

    fn utility(&self, position: usize, state: &VmState) -> Option<f64> {
        self.last.get(position).copied().unwrap_or(state.utility)
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
    pub(super) vms: Vec<VmMean>,
    /// By device, in bytes per second.
    pub(super) flows: Vec<f64>,
}

/// Sums since the last scene: a single step shows bursts that nobody could follow at hundreds of steps
/// a second.
#[derive(Debug, Default)]
struct Recent {
    sums: Vec<VmMean>,
    steps: u32,
    since: HostTime,
    moved: Vec<f64>,
    shown: Option<Means>,
}

impl Recent {
    fn add(&mut self, host: &SimHost) {
        self.steps += 1;
        self.sums.resize(host.assignment().holdings.len(), VmMean::default());
        for (sum, state) in self.sums.iter_mut().zip(host.states()) {
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
        let vms = self.sums.iter().map(|sum| VmMean {
            cpu: sum.cpu / steps,
            cpu_wanted: sum.cpu_wanted / steps,
            io: sum.io / steps,
            memory_traffic: sum.memory_traffic / steps,
            working_set: sum.working_set / steps,
        });
        let mut vms: Vec<VmMean> = vms.collect();
        vms.resize(host.assignment().holdings.len(), VmMean::default());
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
