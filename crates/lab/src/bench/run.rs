//! All policies on all scenarios, on several threads. Which thread does what depends on chance; what
//! comes of it does not.

use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use halcyon_control::Stopwatch;
use halcyon_policy::NAMES;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::job::{Policies, Refusal, Setting};
use super::resource::Resource;
use super::set::Entry;
use super::store::{Key, Store, StoreError, scenario_hash};
use crate::bound::bound;
use crate::digest::Digest;
use crate::run::RunError;
use crate::scenario::Scenario;

/// Why a bench ended early.
#[derive(Debug, thiserror::Error)]
pub enum BenchError {
    /// A scenario could not be made.
    #[error("the scenario {name}, seed {seed}, cannot be made")]
    Scenario {
        /// The scenario.
        name: String,
        /// Its seed.
        seed: u64,
        /// Why.
        source: Refusal,
    },
    /// A policy could not be started, or cannot go on.
    #[error("the policy {name} cannot be used")]
    Policy {
        /// The policy.
        name: String,
        /// Why.
        source: Refusal,
    },
    /// A run ended early.
    #[error("a run of {policy} stopped")]
    Run {
        /// The policy.
        policy: String,
        /// Why.
        source: RunError,
    },
    /// A run on a world from outside ended early.
    #[error("a run on the world, seed {seed}, stopped")]
    World {
        /// The seed that it was given.
        seed: u64,
        /// Why.
        source: Refusal,
    },
    /// A result could not be kept.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// What is to be run.
pub struct Plan<'a> {
    /// The scenarios.
    pub entries: &'a [Entry],
    /// The policies, in the order of reports.
    pub policies: &'a [String],
    /// Resources that are to be changed alone as well, in runs of their own.
    pub alone: &'a [Resource],
    /// Where policies come from.
    pub make: &'a dyn Policies,
    /// How many threads.
    pub threads: usize,
    /// Where results are kept, if they are.
    pub store: Option<&'a Store>,
}

/// What happens while a bench runs.
#[derive(Debug)]
pub enum Event<'a> {
    /// More of [`Plan::work`] is done.
    Worked(u64),
    /// A run is over; it was `kept` if its result was there from an earlier time.
    Done {
        /// Whether it was there.
        kept: bool,
    },
    /// A result that is there cannot be used, and is made again.
    Again(&'a StoreError),
}

/// What came of one scenario.
#[derive(Debug, Clone, PartialEq)]
pub struct Case {
    /// The scenario's name.
    pub name: String,
    /// The host's name.
    pub host: String,
    /// The seed.
    pub seed: u64,
    /// How many VMs.
    pub vms: usize,
    /// How long the run was, if that is known beforehand.
    pub duration: Option<Duration>,
    /// The utility that no policy can exceed.
    pub bound: f64,
    /// Every policy, in the order of the plan.
    pub runs: Vec<Digest>,
    /// The same where only one resource could be changed, for resources that the host can change.
    pub alone: Vec<(Resource, Vec<Digest>)>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
struct Job<'a> {
    entry: usize,
    task: Task<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Task<'a> {
    /// What no policy can exceed.
    Bound,
    /// A policy, with one resource alone or with all.
    Policy { name: &'a str, alone: Option<Resource> },
}

impl<'a> Plan<'a> {
    /// Jobs by scenario, so that few scenarios are in memory at a time; the clairvoyant takes longest and
    /// goes first.
    fn jobs(&self) -> Vec<Job<'a>> {
        let with =
            |alone: Option<Resource>| self.policies.iter().map(move |name| Task::Policy { name, alone });
        let mut tasks: Vec<Task<'a>> = with(None).chain([Task::Bound]).collect();
        tasks.extend(self.alone.iter().flat_map(|resource| with(Some(*resource))));
        tasks.sort_by_key(|task| std::cmp::Reverse(self.tries(task)));
        let of = |entry| tasks.iter().map(move |task| Job { entry, task: *task });
        (0..self.entries.len()).flat_map(of).collect()
    }

    /// How many runs.
    #[must_use]
    pub fn runs(&self) -> usize {
        self.jobs().len()
    }

    /// How much there is to do, in simulated seconds of a policy that does not try things out.
    #[must_use]
    pub fn work(&self) -> u64 {
        self.jobs().iter().map(|job| self.work_of(job)).sum()
    }

    fn work_of(&self, job: &Job<'_>) -> u64 {
        self.entries[job.entry].duration().as_secs() * (1 + self.tries(&job.task))
    }

    /// About how many runs a task takes beside its own.
    #[allow(clippy::unused_self)]
    fn tries(&self, task: &Task<'_>) -> u64 {
        match task {
            Task::Policy { name: "clairvoyant", .. } => 2 * NAMES.len() as u64,
            _ => 0,
        }
    }
}

/// Runs everything; nothing if it was stopped on the way.
///
/// # Errors
/// When a scenario or policy cannot be made, a run cannot go on, or results cannot be kept.
pub fn run(
    plan: &Plan<'_>,
    stopwatch: &(dyn Stopwatch + Sync),
    watch: &(dyn Fn(Event<'_>) + Sync),
    stop: &AtomicBool,
) -> Result<Option<Vec<Case>>, BenchError> {
    let jobs = plan.jobs();
    let setting = Setting { policies: plan.make, stopwatch, stop };
    let (next, failed) = (AtomicUsize::new(0), AtomicBool::new(false));
    let drawn: Vec<Mutex<Option<Facts>>> = plan.entries.iter().map(|_| Mutex::new(None)).collect();
    let done: Mutex<Vec<(usize, Done)>> = Mutex::new(Vec::with_capacity(jobs.len()));
    std::thread::scope(|scope| {
        for _ in 0..plan.threads.clamp(1, jobs.len().max(1)) {
            scope.spawn(|| {
                let worker = Worker { plan, setting: &setting, drawn: &drawn, watch };
                let mut last = None;
                while !failed.load(Ordering::Relaxed) && !setting.is_stopped() {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { return };
                    let outcome = worker.job(job, &mut last);
                    failed.fetch_or(outcome.is_err(), Ordering::Relaxed);
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, outcome));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    let done = done.into_iter().map(|(index, outcome)| Ok((index, outcome?)));
    let done: Vec<(usize, Option<Made>)> = done.collect::<Result<_, BenchError>>()?;
    // What was stopped on its way must not pass for a result.
    if setting.is_stopped() {
        return Ok(None);
    }
    Ok(Some(cases(plan, &jobs, drawn, done)))
}

/// What a job comes to: nothing where there is nothing to run.
type Done = Result<Option<Made>, BenchError>;

enum Made {
    Bound(f64),
    Run(Digest),
}

/// What is remembered of a scenario when it is gone.
struct Facts {
    host: String,
    vms: usize,
    duration: Duration,
    hash: String,
    /// The scenario as long as somebody uses it.
    scenario: std::sync::Weak<Scenario>,
}

struct Worker<'a> {
    plan: &'a Plan<'a>,
    setting: &'a Setting<'a>,
    drawn: &'a [Mutex<Option<Facts>>],
    watch: &'a (dyn Fn(Event<'_>) + Sync),
}

/// The scenario that a worker used last, by its entry.
type Last = Option<(usize, Arc<Scenario>, String)>;

impl Worker<'_> {
    fn job(&self, job: &Job<'_>, last: &mut Last) -> Done {
        if last.as_ref().is_none_or(|(entry, ..)| *entry != job.entry) {
            // Whoever is done with a scenario lets go of it before it takes another.
            *last = None;
            let (scenario, hash) = self.scenario(job.entry)?;
            *last = Some((job.entry, scenario, hash));
        }
        let Some((_, scenario, hash)) = last else { return Ok(None) };
        match job.task {
            Task::Bound => {
                let made = self.keep(job, "bound", true, scenario, hash, || {
                    (self.watch)(Event::Worked(self.plan.work_of(job)));
                    Ok(Some(bound(scenario).utility))
                });
                Ok(made?.map(Made::Bound))
            }
            Task::Policy { name, alone: None } => Ok(self.policy(job, name, scenario, hash)?.map(Made::Run)),
            Task::Policy { name, alone: Some(resource) } => {
                let Some(scenario) = resource.alone(scenario) else {
                    self.done(job, false);
                    return Ok(None);
                };
                Ok(self.policy(job, name, &scenario, &scenario_hash(&scenario))?.map(Made::Run))
            }
        }
    }

    fn policy(
        &self,
        job: &Job<'_>,
        name: &str,
        scenario: &Scenario,
        hash: &str,
    ) -> Result<Option<Digest>, BenchError> {
        let each = 1 + self.plan.tries(&job.task);
        let advanced = |seconds| (self.watch)(Event::Worked(each * seconds));
        let make = || self.setting.digest(scenario, name, &advanced);
        self.keep(job, name, self.plan.make.is_fixed(name), scenario, hash, make)
    }

    /// Says that all work of a job is done without any.
    fn done(&self, job: &Job<'_>, kept: bool) {
        (self.watch)(Event::Worked(self.plan.work_of(job)));
        (self.watch)(Event::Done { kept });
    }

    /// A scenario, made if nobody has it in hand.
    fn scenario(&self, index: usize) -> Result<(Arc<Scenario>, String), BenchError> {
        let mut drawn = self.drawn[index].lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(facts) = drawn.as_ref()
            && let Some(scenario) = facts.scenario.upgrade()
        {
            return Ok((scenario, facts.hash.clone()));
        }
        let scenario = Arc::new(self.plan.entries[index].scenario()?);
        let hash = scenario_hash(&scenario);
        *drawn = Some(Facts {
            host: scenario.topology.name().to_string(),
            vms: scenario.guests.len(),
            duration: scenario.duration,
            hash: hash.clone(),
            scenario: Arc::downgrade(&scenario),
        });
        Ok((scenario, hash))
    }

    /// Takes the result that is there, or makes it and keeps it.
    fn keep<T: Serialize + DeserializeOwned>(
        &self,
        job: &Job<'_>,
        name: &str,
        fixed: bool,
        scenario: &Scenario,
        hash: &str,
        make: impl FnOnce() -> Result<Option<T>, BenchError>,
    ) -> Result<Option<T>, BenchError> {
        let key = Key { scenario: hash.into(), seed: scenario.seed, policy: name.into() };
        let store = self.plan.store.filter(|_| fixed);
        match store.map_or(Ok(None), |store| store.load(&key)) {
            Ok(Some(found)) => {
                self.done(job, true);
                return Ok(Some(found));
            }
            Ok(None) => {}
            Err(error) => (self.watch)(Event::Again(&error)),
        }
        let Some(made) = make()? else { return Ok(None) };
        if let Some(store) = store {
            store.save(key, &made)?;
        }
        (self.watch)(Event::Done { kept: false });
        Ok(Some(made))
    }
}

/// Puts results where they belong.
fn cases(
    plan: &Plan<'_>,
    jobs: &[Job<'_>],
    drawn: Vec<Mutex<Option<Facts>>>,
    done: Vec<(usize, Option<Made>)>,
) -> Vec<Case> {
    let case = |(entry, facts): (&Entry, Mutex<Option<Facts>>)| {
        let facts = facts.into_inner().unwrap_or_else(PoisonError::into_inner);
        let (host, vms, duration) =
            facts.map_or_else(Default::default, |facts| (facts.host, facts.vms, Some(facts.duration)));
        let (name, seed) = (entry.name().to_string(), entry.seed());
        Case { name, host, seed, vms, duration, bound: f64::INFINITY, runs: Vec::new(), alone: Vec::new() }
    };
    let mut cases: Vec<Case> = plan.entries.iter().zip(drawn).map(case).collect();
    for (index, made) in done {
        let (job, Some(made)) = (jobs[index], made) else { continue };
        let case = &mut cases[job.entry];
        match (job.task, made) {
            (_, Made::Bound(bound)) => case.bound = bound,
            (Task::Policy { alone: Some(resource), .. }, Made::Run(digest)) => {
                match case.alone.iter_mut().find(|(known, _)| *known == resource) {
                    Some((_, runs)) => runs.push(digest),
                    None => case.alone.push((resource, vec![digest])),
                }
            }
            (_, Made::Run(digest)) => case.runs.push(digest),
        }
    }
    let place = |run: &Digest| plan.policies.iter().position(|policy| *policy == run.policy);
    for case in &mut cases {
        // What each run knows is what its VMs would reach alone, which can be less still.
        case.bound = case.runs.iter().map(|run| run.bound).fold(case.bound, f64::min);
        case.runs.iter_mut().for_each(|run| run.bound = case.bound);
        case.runs.sort_by_key(place);
        case.alone.iter_mut().for_each(|(_, runs)| runs.sort_by_key(place));
        case.alone.sort_by_key(|(resource, _)| *resource);
    }
    cases
}
