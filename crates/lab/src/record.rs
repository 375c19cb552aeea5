//! What happened in a run, thinned out to one entry a window, for people to look at.

use std::time::Duration;

use halcyon_hal::Event;
use halcyon_model::{Assignment, HostTime, Plan, Step, VmId, VmSpec};
use halcyon_sim::SimHost;

/// The most notes that are kept; a run with more keeps the first ones and counts the others.
const MOST_NOTES: usize = 20_000;

/// One VM over time, a mean for each window.
#[derive(Debug, Clone, Default)]
pub struct Track {
    /// Its name.
    pub name: String,
    /// CPU time that it wanted, in cores.
    pub cpu_wanted: Vec<f32>,
    /// CPU time that it used, in cores.
    pub cpu_used: Vec<f32>,
    /// CPU share that it held, in cores.
    pub cpu_share: Vec<f32>,
    /// Its working set, in GiB.
    pub working_set_gib: Vec<f32>,
    /// Memory that it held, in GiB.
    pub memory_gib: Vec<f32>,
    /// Device traffic that it wanted, in MB/s.
    pub io_wanted_mb_s: Vec<f32>,
    /// Device traffic that it had, in MB/s.
    pub io_mb_s: Vec<f32>,
    /// Its utility, 0 to 1; one while nothing is asked of it.
    pub utility: Vec<f32>,
}

/// A change and why it was made, or what became of it.
#[derive(Debug, Clone)]
pub struct Note {
    /// When.
    pub at: HostTime,
    /// The VM that feels it first, if it concerns one VM.
    pub vm: Option<VmId>,
    /// The kind of change.
    pub kind: &'static str,
    /// What.
    pub what: String,
    /// Why; or what the machine said.
    pub why: String,
}

/// What happened in a run.
#[derive(Debug, Clone, Default)]
pub struct Record {
    /// The end of each window, in seconds.
    pub at_s: Vec<f64>,
    /// The host's utility in each window, weighted by VM.
    pub utility: Vec<f64>,
    /// The VMs.
    pub vms: Vec<Track>,
    /// Changes of devices, links, memory, placement and GPUs, and whatever was refused or failed.
    pub notes: Vec<Note>,
    /// Who holds what when the run is over.
    pub end: Assignment,
    /// Notes that were not kept.
    pub more_notes: u64,
    sums: Vec<[f64; 8]>,
    steps: f64,
    window_end: HostTime,
}

impl Record {
    pub(crate) fn new(specs: &[VmSpec], window: Duration) -> Self {
        let track = |spec: &VmSpec| Track { name: spec.name.clone(), ..Track::default() };
        let vms = specs.iter().map(track).collect();
        Self { vms, sums: vec![[0.0; 8]; specs.len()], window_end: window, ..Self::default() }
    }

    /// Takes note of a step of the host.
    pub(crate) fn step(&mut self, host: &SimHost, specs: &[VmSpec], window: Duration) {
        const GIB: f64 = 1024.0 * 1024.0 * 1024.0;
        let mut here = host.states().zip(&host.assignment().holdings).peekable();
        for (sum, spec) in self.sums.iter_mut().zip(specs) {
            // VMs come and go; both lists are ordered by id. Nothing is asked of who is not there, unless
            // it waits at the door.
            let Some((state, held)) = here.next_if(|(state, _)| state.vm == spec.id) else {
                let waits = host.at_the_door().find(|(vm, _)| *vm == spec.id);
                sum[7] += waits.and_then(|(_, utility)| utility).unwrap_or(1.0);
                continue;
            };
            let now = [
                state.cpu_wanted,
                state.cpu,
                held.cpu.share.as_f64() / 1000.0,
                state.working_set / GIB,
                held.total_memory().as_f64() / GIB,
                state.io_wanted / 1e6,
                state.io / 1e6,
                state.utility.unwrap_or(1.0),
            ];
            sum.iter_mut().zip(now).for_each(|(sum, now)| *sum += now);
        }
        self.steps += 1.0;
        if host.now() >= self.window_end {
            self.window_end += window;
            self.close(host.now(), specs);
        }
    }

    #[allow(clippy::cast_possible_truncation)]
    fn close(&mut self, now: HostTime, specs: &[VmSpec]) {
        let (mut utility, mut weights) = (0.0, 0.0);
        for ((sum, track), spec) in self.sums.iter_mut().zip(&mut self.vms).zip(specs) {
            let means = sum.map(|value| value / self.steps);
            utility += spec.weight.as_f64() * means[7];
            weights += spec.weight.as_f64();
            let columns = [
                &mut track.cpu_wanted,
                &mut track.cpu_used,
                &mut track.cpu_share,
                &mut track.working_set_gib,
                &mut track.memory_gib,
                &mut track.io_wanted_mb_s,
                &mut track.io_mb_s,
                &mut track.utility,
            ];
            columns.into_iter().zip(means).for_each(|(column, mean)| column.push(mean as f32));
            *sum = [0.0; 8];
        }
        self.at_s.push(now.as_secs_f64());
        self.utility.push(if weights > 0.0 { utility / weights } else { 1.0 });
        self.steps = 0.0;
    }

    /// Takes note of what is planned and of what did not work.
    pub(crate) fn plan(
        &mut self,
        at: HostTime,
        plan: Option<&Plan>,
        events: &[Event],
        name: &dyn Fn(&str) -> String,
    ) {
        use halcyon_model::ChangeKind::{Cpu, MemoryBandwidth};
        for change in plan.map_or(&[][..], Plan::changes) {
            let kind = change.step.kind();
            // Shares change all the time; the tracks show them better than words.
            if !matches!(kind, Cpu | MemoryBandwidth) {
                self.note(at, &change.step, name(&change.step.to_string()), change.reason.to_string());
            }
        }
        for event in events {
            if let Some(note) = &event.note {
                let what = format!("{} {}", name(&event.step.to_string()), event.became());
                self.note(event.at, &event.step, what, note.clone());
            }
        }
    }

    fn note(&mut self, at: HostTime, step: &Step, what: String, why: String) {
        if self.notes.len() < MOST_NOTES {
            self.notes.push(Note { at, vm: step.vm(), kind: step.kind().name(), what, why });
        } else {
            self.more_notes += 1;
        }
    }
}
