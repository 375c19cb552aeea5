//! A recording of a host as a scenario: the host and its VMs as they were, and what was asked of them.
//!
//! What each figure is derived from, and what a recording cannot tell, is said in `docs/src/recordings.md`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::describe::MOST_VMS;
use halcyon_model::profile::{GpuResponse, Response};
use halcyon_model::{Assignment, ByteSize, Objective, Snapshot, VmCounters, VmId, VmRates, VmSample, VmSpec};
use halcyon_sim::recording::{Ending, Reader};
use halcyon_sim::{Application, Demand, Guest, Parameters, Workload};

use super::draw::plugged;
use super::file::FileError;
use super::kinds::Kind;
use super::lots::micros;
use super::sketch::ANY_GPU;
use super::{Draw, Scenario};

/// The most intervals of all VMs together.
const MOST_CELLS: u64 = 1 << 22;
/// A year, as in a scenario's file.
const LONGEST: Duration = Duration::from_secs(8760 * 3600);
/// Demand known by intervals that are no longer has its bursts in it.
const BURSTS_SHOW: Duration = Duration::from_secs(10);
const SEED: u64 = 1;
/// What is asked of VMs that answer requests, as a multiple of what a request takes alone: as for the kinds.
const P99_OF_REQUEST: f64 = 3.25;

impl Scenario {
    /// Reads a recording, twice: once for its length and its VMs, and once for what they did.
    pub(super) fn of_recording(path: &Path) -> Result<Self, FileError> {
        let span = Span::of(path)?;
        let interval = span.interval();
        let mut watch = Watch { span: &span, interval, vms: BTreeMap::new() };
        let mut reader = Reader::open(path)?;
        let mut before = Snapshot::default();
        while reader.advance()? {
            let now = &reader.now().snapshot;
            if let Some(inventory) = reader.inventory() {
                watch.see(inventory, &before, now);
            }
            before.clone_from(now);
        }
        let guests = watch.guests();
        if guests.is_empty() {
            return Err(FileError::Recorded { path: path.into(), what: "has no VM in it".into() });
        }
        let draw = Draw::new(guests.len(), span.length(), SEED);
        let Inventory { topology, capabilities, profiles, .. } = Inventory::clone(&span.inventory);
        let scenario = Self::new(span.source(path), topology, capabilities, guests, draw)
            .map_err(|source| FileError::Start { path: path.into(), source })?;
        Ok(Self { profiles, parameters: parameters(interval), ..scenario })
    }
}

/// Bursts inside of intervals are the model's where the recording has none.
fn parameters(interval: Duration) -> Parameters {
    let usual = Parameters::default();
    if interval > BURSTS_SHOW {
        return usual;
    }
    Parameters { burst_sigma: 0.0, surge_height: 1.0, ..usual }
}

/// What a recording is about.
struct Span {
    begin: Duration,
    end: Duration,
    snapshots: u32,
    /// All that were ever there, by id and name: an id may be given again to another VM.
    vms: BTreeSet<(VmId, String)>,
    /// The host at the beginning.
    inventory: Arc<Inventory>,
    ending: Option<Ending>,
}

impl Span {
    fn of(path: &Path) -> Result<Self, FileError> {
        let wrong = |what: String| FileError::Recorded { path: path.into(), what };
        let mut reader = Reader::open(path)?;
        let mut span: Option<Self> = None;
        let mut known: Option<Arc<Inventory>> = None;
        while reader.advance()? {
            let (at, Some(inventory)) = (reader.now().snapshot.at, reader.inventory()) else { continue };
            let span = span.get_or_insert_with(|| Self {
                begin: at,
                end: at,
                snapshots: 0,
                vms: BTreeSet::new(),
                inventory: Arc::clone(inventory),
                ending: None,
            });
            if inventory.topology != span.inventory.topology {
                let hours = at.saturating_sub(span.begin).as_secs_f64() / 3600.0;
                return Err(wrong(format!(
                    "the host itself changed after {hours:.2} h, and a scenario has one host; record it anew"
                )));
            }
            span.end = at;
            span.snapshots = span.snapshots.saturating_add(1);
            if !known.as_ref().is_some_and(|known| Arc::ptr_eq(known, inventory)) {
                span.vms.extend(inventory.vms.iter().map(|spec| (spec.id, spec.name.clone())));
                known = Some(Arc::clone(inventory));
            }
            if span.vms.len() > MOST_VMS {
                return Err(wrong(format!("has more than {MOST_VMS} VMs; record for a shorter time")));
            }
        }
        let mut span = span.ok_or_else(|| wrong("holds no snapshot; record for longer".into()))?;
        span.ending = reader.ending();
        let length = span.end - span.begin;
        if length < Duration::from_secs(1) || length > LONGEST {
            let seconds = length.as_secs_f64();
            return Err(wrong(format!("lasts {seconds} s; a scenario lasts from a second to a year")));
        }
        Ok(span)
    }

    /// Whole seconds.
    fn length(&self) -> Duration {
        Duration::from_secs((self.end - self.begin).as_secs())
    }

    /// As fine as the model's step and the recording are, and no finer than fits into memory.
    fn interval(&self) -> Duration {
        let seconds = self.length().as_secs().max(1);
        let apart = seconds.div_ceil(u64::from(self.snapshots.max(2) - 1)).clamp(1, 86_400);
        let fits = |interval: &u64| {
            (seconds / interval + 1).saturating_mul(self.vms.len().max(1) as u64) <= MOST_CELLS
        };
        let finer = std::iter::successors(Some(apart), |interval| Some(interval * 2));
        Duration::from_secs(finer.into_iter().find(fits).unwrap_or(86_400).min(86_400))
    }

    fn source(&self, path: &Path) -> String {
        let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
        match self.ending {
            Some(ending @ (Ending::Torn { .. } | Ending::Unclosed)) => format!("recording {name} ({ending})"),
            _ => format!("recording {name}"),
        }
    }
}

/// A mean over the part of an interval that is known.
#[derive(Debug, Clone, Copy, Default)]
struct Cell {
    sum: f64,
    seconds: f64,
}

/// What was seen of one VM.
struct Seen {
    spec: VmSpec,
    first: Duration,
    last: Duration,
    work: Vec<Cell>,
    working_set: Vec<Cell>,
    signal: bool,
    response: Option<Response>,
    /// Of all the time that it was watched: work in seconds of a core, bytes, and seconds of a whole GPU.
    done: f64,
    memory_bytes: Option<f64>,
    device_bytes: f64,
    gpu_seconds: Option<f64>,
}

struct Watch<'a> {
    span: &'a Span,
    interval: Duration,
    vms: BTreeMap<(VmId, String), Seen>,
}

impl Watch<'_> {
    fn see(&mut self, inventory: &Inventory, before: &Snapshot, now: &Snapshot) {
        for sample in &now.vms {
            let spec = inventory.vms.binary_search_by_key(&sample.vm, |spec| spec.id);
            let Ok(spec) = spec.map(|place| &inventory.vms[place]) else { continue };
            let seen = self.vms.entry((spec.id, spec.name.clone())).or_insert_with(|| {
                let known = spec.application.as_deref().and_then(|name| inventory.profiles.get(name));
                Seen::new(spec, known.map(|known| known.response), now.at)
            });
            seen.last = now.at;
            seen.signal |= sample.signal.is_some();
            let was = before.vms.binary_search_by_key(&sample.vm, |sample| sample.vm);
            let elapsed = now.at.saturating_sub(before.at);
            if let Ok(place) = was
                && !elapsed.is_zero()
                && seen.first < now.at
            {
                let from = before.at.saturating_sub(self.span.begin);
                let held = Held::of(inventory, &now.assignment, sample.vm);
                seen.add((&before.vms[place], sample), held, (from, elapsed), self.interval);
            }
        }
    }

    fn guests(self) -> Vec<Guest> {
        let intervals = self.span.length().as_secs().div_ceil(self.interval.as_secs()).max(1);
        let intervals = usize::try_from(intervals).unwrap_or(1);
        let all = self.vms.into_values().enumerate();
        all.map(|(place, seen)| seen.guest(VmId::at(place), self.span, self.interval, intervals)).collect()
    }
}

/// What a VM held that says how to read its counters.
struct Held {
    memory: ByteSize,
    slices: u32,
}

impl Held {
    fn of(inventory: &Inventory, assignment: &Assignment, vm: VmId) -> Self {
        let own = assignment.gpu_instances.iter().filter(|instance| instance.owner == vm);
        let compute = own.filter_map(|instance| {
            let gpu = inventory.topology.gpus().get(instance.gpu.index())?;
            Some(gpu.profiles.get(instance.profile as usize)?.compute)
        });
        let memory = assignment.holding(vm).map(halcyon_model::Holding::total_memory);
        Self { memory: memory.unwrap_or_default(), slices: compute.fold(0, u32::saturating_add) }
    }
}

impl Seen {
    fn new(spec: &VmSpec, response: Option<Response>, at: Duration) -> Self {
        Self {
            spec: spec.clone(),
            first: at,
            last: at,
            work: Vec::new(),
            working_set: Vec::new(),
            signal: false,
            response,
            done: 0.0,
            memory_bytes: None,
            device_bytes: 0.0,
            gpu_seconds: None,
        }
    }

    /// Takes in what happened between two samples.
    fn add(
        &mut self,
        (was, is): (&VmSample, &VmSample),
        held: Held,
        (from, elapsed): (Duration, Duration),
        interval: Duration,
    ) {
        let seconds = elapsed.as_secs_f64();
        let rates = VmRates::between(&was.counters, &is.counters, elapsed);
        if let Some(used) = rates.cpu {
            let most = f64::from(self.spec.vcpus);
            let wanted = (used + rates.cpu_waited.unwrap_or_default()).as_f64() / 1000.0;
            let speed = self.speed(is.cache);
            put(&mut self.work, wanted.min(most) * speed, (from, elapsed), interval);
            self.done += used.as_f64() / 1000.0 * speed * seconds;
            if let Some(traffic) = rates.memory_bandwidth {
                *self.memory_bytes.get_or_insert(0.0) += traffic.as_f64() * seconds;
            }
            self.device_bytes += device_bytes(&was.counters, &is.counters);
            if let Some(busy) = rates.gpu {
                *self.gpu_seconds.get_or_insert(0.0) +=
                    busy.min(1.0) * whole_gpus(self.gpu(), held.slices) * seconds;
            }
        }
        let set = is.working_set.unwrap_or(held.memory);
        put(&mut self.working_set, set.as_f64(), (from, elapsed), interval);
    }

    /// Work that a second of CPU time does, with the cache that the VM fills.
    fn speed(&self, cache: Option<ByteSize>) -> f64 {
        let effect = self.response.zip(cache).map(|(known, cache)| known.cache.effect(cache.as_f64()));
        effect.map_or(1.0, |effect| effect.speed)
    }

    fn gpu(&self) -> GpuResponse {
        self.response.and_then(|known| known.gpu).unwrap_or(ANY_GPU)
    }

    fn application(&self) -> Application {
        let kind = Kind::of(&self.spec);
        let per_work = |amount: f64| if self.done > 0.0 { amount / self.done } else { 0.0 };
        let traffic = self.memory_bytes.map_or(kind.memory_bytes, per_work);
        let known = self.response.unwrap_or_else(|| Response::flat(traffic));
        let gpu_seconds = self.gpu_seconds.map_or(0.0, per_work);
        let gpu = (gpu_seconds > 0.0 || self.spec.gpu_slices.limit > 0).then(|| self.gpu());
        Application {
            name: kind.name.into(),
            request: self.request(kind),
            io_bytes: per_work(self.device_bytes),
            gpu_seconds,
            response: Response { gpu, ..known },
        }
    }

    /// The kind's, but no longer than leaves room for what is asked of it.
    fn request(&self, kind: &Kind) -> Duration {
        let usual = kind.request_ms / 1000.0;
        micros(match self.spec.objective {
            Objective::Latency { p99 } => usual.min(p99.as_secs_f64() / P99_OF_REQUEST),
            Objective::Throughput | Objective::BestEffort => usual,
        })
    }

    fn guest(self, id: VmId, span: &Span, interval: Duration, intervals: usize) -> Guest {
        let application = self.application();
        let usual = self.spec.memory.reservation.as_f64();
        let demand = Demand {
            interval,
            work: means(&self.work, intervals, 0.0),
            working_set: means(&self.working_set, intervals, usual),
        };
        let spec = VmSpec { id, ..self.spec };
        // What a VM must have plugged in before it boots is there from the start.
        let arrives = if plugged(&spec) { Duration::ZERO } else { self.first - span.begin };
        let gone = self.last < span.end;
        let leaves = gone.then(|| (self.last - span.begin).max(arrives + interval));
        Guest { arrives, leaves, signal: self.signal, ..Guest::new(spec, Workload { application, demand }) }
    }
}

/// Slices of one GPU or several, as so many whole ones by their speed.
fn whole_gpus(gpu: GpuResponse, slices: u32) -> f64 {
    let whole = gpu.whole.max(1);
    f64::from(slices / whole) + gpu.speed(slices % whole)
}

/// What all devices of a VM moved, where they were its own before and after.
#[allow(clippy::cast_precision_loss)]
fn device_bytes(was: &VmCounters, is: &VmCounters) -> f64 {
    let grown = |(device, bytes): &(halcyon_model::DeviceId, u64)| {
        let before = was.device_bytes.iter().find(|(other, _)| other == device);
        before.and_then(|(_, before)| bytes.checked_sub(*before)).unwrap_or(0)
    };
    is.device_bytes.iter().map(|counter| grown(counter) as f64).sum()
}

/// Adds a value to the intervals that it reaches into, by time.
fn put(cells: &mut Vec<Cell>, value: f64, (from, length): (Duration, Duration), interval: Duration) {
    let slot = |time: Duration| usize::try_from(time.as_nanos() / interval.as_nanos()).unwrap_or(usize::MAX);
    let (first, last) = (slot(from), slot(from + length));
    if cells.len() <= last {
        cells.resize(last + 1, Cell::default());
    }
    #[allow(clippy::cast_precision_loss)]
    let start = |slot: usize| slot as f64 * interval.as_secs_f64();
    for (place, cell) in cells.iter_mut().enumerate().take(last + 1).skip(first) {
        let begin = from.as_secs_f64().max(start(place));
        let seconds = ((from + length).as_secs_f64().min(start(place + 1)) - begin).max(0.0);
        cell.sum += value * seconds;
        cell.seconds += seconds;
    }
}

/// Means; what is not known is as what came before it, and at first as what comes first.
#[allow(clippy::cast_possible_truncation)]
fn means(cells: &[Cell], intervals: usize, otherwise: f64) -> Vec<f32> {
    let known = |cell: &Cell| (cell.seconds > 1e-9).then(|| cell.sum / cell.seconds);
    let mut last = cells.iter().find_map(known).unwrap_or(otherwise);
    let cell = |place: usize| cells.get(place).copied().unwrap_or_default();
    (0..intervals)
        .map(|place| {
            last = known(&cell(place)).unwrap_or(last);
            last as f32
        })
        .collect()
}
