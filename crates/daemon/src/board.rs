//! What a daemon shows of itself: written once a cycle, read by whoever asks. The cycle hands over what it
//! has; forms that people and programs read are made only when somebody asks.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use halcyon_api::{Change, Changes, Cycle, Mode, Plan, Status, StepEvent, Trail, Vm};
use halcyon_hal::{Event, Inventory, StepState};
use halcyon_model::{ByteSize, HostTime, MilliCpu, Names, Snapshot, Step, VmId, VmRates, VmSpec};
use halcyon_policy::Explanation;
use halcyon_policy::explain::text::{facts, headline};

use crate::recent::Recent;
use crate::trail::{Figures, Trails};

/// Plans that are remembered.
const PLANS: usize = 100;
/// Events that are remembered of one plan.
const EVENTS: usize = 5000;

/// What a daemon shows.
#[derive(Debug)]
pub struct Board(Mutex<Shown>);

/// How cycles went.
#[derive(Debug, Default)]
pub(crate) struct Pace {
    pub(crate) count: u64,
    pub(crate) missed: u64,
    pub(crate) failed: u64,
    pub(crate) late: Recent,
    pub(crate) took: Recent,
    pub(crate) decision: Recent,
}

/// All of it.
#[derive(Debug)]
pub(crate) struct Shown {
    pub(crate) host: String,
    pub(crate) mode: Mode,
    pub(crate) policy: String,
    pub(crate) period: Duration,
    pub(crate) uptime: Duration,
    pub(crate) fallback: Option<String>,
    pub(crate) trouble: Option<String>,
    /// Why the configuration was not taken when it was read last.
    pub(crate) refused: Option<String>,
    pub(crate) stuck: Vec<String>,
    /// What keeps VMs from being managed or measured in part.
    pub(crate) notices: Vec<String>,
    /// What VMs do.
    pub(crate) states: BTreeMap<VmId, &'static str>,
    pub(crate) pace: Pace,
    changes: Changes,
    names: Names,
    inventory: Arc<Inventory>,
    snapshot: Snapshot,
    /// The snapshot that rates are counted from: of about a second ago.
    before: Snapshot,
    rates: BTreeMap<VmId, VmRates>,
    trails: Trails,
    plans: VecDeque<Plan>,
    /// The steps of the newest plan.
    steps: Vec<Step>,
}

impl Board {
    /// A board of a host that was not looked at yet.
    #[must_use]
    pub fn new(host: &str, inventory: Arc<Inventory>) -> Self {
        let shown = Shown {
            host: host.into(),
            mode: Mode::Observe,
            policy: String::new(),
            period: Duration::ZERO,
            uptime: Duration::ZERO,
            fallback: None,
            trouble: None,
            refused: None,
            stuck: Vec::new(),
            notices: Vec::new(),
            states: BTreeMap::new(),
            pace: Pace::default(),
            changes: Changes::default(),
            names: Names::new(&inventory.topology, &inventory.vms),
            inventory,
            snapshot: Snapshot::default(),
            before: Snapshot::default(),
            rates: BTreeMap::new(),
            trails: Trails::default(),
            plans: VecDeque::new(),
            steps: Vec::new(),
        };
        Self(Mutex::new(shown))
    }

    pub(crate) fn shown(&self) -> MutexGuard<'_, Shown> {
        // Whatever a panic left half written is figures, and the next cycle writes them again.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How the daemon is.
    #[must_use]
    pub fn status(&self) -> Status {
        self.shown().status()
    }

    /// Its VMs.
    #[must_use]
    pub fn vms(&self) -> Vec<Vm> {
        self.shown().vms()
    }

    /// Plans that changed something, or would have, oldest first.
    #[must_use]
    pub fn plans(&self) -> Vec<Plan> {
        self.shown().plans.iter().cloned().collect()
    }

    /// The newest of them.
    #[must_use]
    pub fn plan(&self) -> Option<Plan> {
        self.shown().plans.back().cloned()
    }

    /// What VMs held and used, a point each `every` seconds; of one VM where one is named. None where there
    /// is no such VM or no such scale.
    #[must_use]
    pub fn history(&self, every: u32, vm: Option<&str>) -> Option<Vec<Trail>> {
        let shown = self.shown();
        let vms = shown.inventory.vms.iter().filter(|spec| vm.is_none_or(|vm| spec.name == vm));
        let trail = |spec: &VmSpec| {
            let points = shown.trails.points(spec.id, every)?;
            Some(Trail { vm: spec.name.clone(), every_s: every.into(), points })
        };
        let trails: Vec<Trail> = vms.map(trail).collect::<Option<_>>()?;
        (vm.is_none() || !trails.is_empty()).then_some(trails)
    }
}

impl Shown {
    fn status(&self) -> Status {
        let Pace { count, missed, failed, late, took, decision } = &self.pace;
        Status {
            schema: halcyon_api::SCHEMA,
            version: env!("CARGO_PKG_VERSION").into(),
            host: self.host.clone(),
            mode: self.mode,
            policy: self.policy.clone(),
            fallback: self.fallback.clone(),
            uptime_s: self.uptime.as_secs_f64(),
            vms: self.inventory.vms.len(),
            cycle: Cycle {
                period_ms: self.period.as_secs_f64() * 1e3,
                count: *count,
                missed: *missed,
                failed: *failed,
                late_us: late.spread(),
                took_us: took.spread(),
                decision_us: decision.spread(),
            },
            changes: self.changes,
            stuck: self.stuck.iter().map(|step| self.names.replace(step)).collect(),
            trouble: self.trouble.clone().or_else(|| self.refused.clone()),
            notices: self.notices.clone(),
        }
    }

    fn vms(&self) -> Vec<Vm> {
        let held = &self.snapshot.assignment;
        let samples = self.snapshot.vms.iter().map(|sample| (sample.vm, sample)).collect::<BTreeMap<_, _>>();
        let fabric = self.inventory.topology.fabric();
        let row = |spec: &VmSpec| {
            let holding = held.holding(spec.id)?;
            let sample = samples.get(&spec.id);
            let rates = self.rates.get(&spec.id);
            let devices = held.devices.iter().zip(&fabric.devices);
            let own = devices.filter(|(holding, _)| holding.owner == Some(spec.id));
            let signal = sample.and_then(|sample| sample.signal);
            Some(Vm {
                id: spec.id.0,
                name: spec.name.clone(),
                state: self.states.get(&spec.id).map(|state| (*state).into()),
                cpu_share_milli: holding.cpu.share.get(),
                cpu_ceiling_milli: holding.cpu.ceiling.get(),
                cpu_used_milli: rates.and_then(|rates| rates.cpu).map(MilliCpu::get),
                cpu_waited_milli: rates.and_then(|rates| rates.cpu_waited).map(MilliCpu::get),
                memory_bytes: holding.total_memory().get(),
                working_set_bytes: sample.and_then(|sample| sample.working_set).map(ByteSize::get),
                memory_stalled: rates.and_then(|rates| rates.memory_stalled),
                memory_bytes_per_s: rates.and_then(|rates| rates.memory_bandwidth).map(|rate| rate.get()),
                cache_bytes: sample.and_then(|sample| sample.cache).map(ByteSize::get),
                devices: own.map(|(_, device)| device.name.clone()).collect(),
                p99_ms: signal.and_then(|signal| signal.p99).map(|p99| p99.as_secs_f64() * 1e3),
                refuses_memory_until_s: sample
                    .and_then(|sample| sample.refuses_memory_until)
                    .map(|until| until.as_secs_f64()),
            })
        };
        self.inventory.vms.iter().filter_map(row).collect()
    }

    /// Takes what a cycle saw.
    pub(crate) fn see(&mut self, inventory: &Arc<Inventory>, snapshot: &Snapshot) {
        if !Arc::ptr_eq(&self.inventory, inventory) {
            self.inventory = Arc::clone(inventory);
            self.names = Names::new(&inventory.topology, &inventory.vms);
            let there = |vm: VmId| inventory.vms.iter().any(|spec| spec.id == vm);
            self.trails.keep(there);
            self.rates.retain(|vm, _| there(*vm));
        }
        self.snapshot.clone_from(snapshot);
        let elapsed = snapshot.at.saturating_sub(self.before.at);
        if self.before.vms.is_empty() {
            self.before.clone_from(snapshot);
        } else if elapsed >= Duration::from_secs(1) {
            self.count_rates(elapsed);
            self.before.clone_from(snapshot);
        }
    }

    fn count_rates(&mut self, elapsed: Duration) {
        let before: BTreeMap<VmId, _> =
            self.before.vms.iter().map(|sample| (sample.vm, &sample.counters)).collect();
        let at_s = self.snapshot.at.as_secs_f64();
        for sample in &self.snapshot.vms {
            let Some(before) = before.get(&sample.vm) else { continue };
            let rates = VmRates::between(before, &sample.counters, elapsed);
            let holding = self.snapshot.assignment.holding(sample.vm);
            #[allow(clippy::cast_possible_truncation)]
            let figure = |value: Option<f64>| value.map_or(f32::NAN, |value| value as f32);
            let figures: Figures = [
                figure(holding.map(|holding| holding.cpu.ceiling.as_f64())),
                figure(rates.cpu.map(MilliCpu::as_f64)),
                figure(rates.cpu_waited.map(MilliCpu::as_f64)),
                figure(holding.map(|holding| holding.total_memory().as_f64())),
                figure(sample.working_set.map(ByteSize::as_f64)),
            ];
            self.trails.take(sample.vm, at_s, &figures);
            self.rates.insert(sample.vm, rates);
        }
    }

    /// Takes a plan and why it is as it is. Advice that says the same as the last is not told twice.
    pub(crate) fn plan(
        &mut self,
        at: HostTime,
        plan: &halcyon_model::Plan,
        carried_out: bool,
        explain: impl FnOnce() -> Vec<Explanation>,
    ) {
        let steps = plan.changes().iter().map(|change| &change.step);
        if steps.clone().eq(&self.steps) && !carried_out {
            return;
        }
        self.steps = steps.cloned().collect();
        self.changes.plans += 1;
        if self.plans.len() == PLANS {
            self.plans.pop_front();
        }
        self.plans.push_back(Plan {
            number: plan.generation().0,
            at_s: at.as_secs_f64(),
            carried_out,
            fallback: self.fallback.clone(),
            changes: explain().iter().map(change).collect(),
            events: Vec::new(),
        });
    }

    /// Takes what became of steps.
    pub(crate) fn events(&mut self, events: &[Event]) {
        for event in events {
            match event.state {
                StepState::Succeeded => self.changes.done += 1,
                StepState::Refused => self.changes.refused += 1,
                StepState::Failed | StepState::Stuck => self.changes.failed += 1,
                _ => {}
            }
            let plan = self.plans.iter_mut().rev().find(|plan| plan.number == event.plan.0);
            let Some(plan) = plan.filter(|plan| plan.events.len() < EVENTS) else { continue };
            plan.events.push(StepEvent {
                at_s: event.at.as_secs_f64(),
                step: self.names.replace(&event.step.to_string()),
                became: event.became().into(),
                note: event.note.clone(),
            });
        }
    }
}

fn change(explanation: &Explanation) -> Change {
    Change {
        vm: explanation.vm.clone(),
        kind: explanation.kind.to_string(),
        part: explanation.part.clone(),
        from: explanation.from.clone(),
        to: explanation.to.clone(),
        headline: headline(explanation),
        why: facts(explanation).into_iter().map(|(what, fact)| (what.into(), fact)).collect(),
    }
}
