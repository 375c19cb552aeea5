//! What one row is made of: a VM with all that is known of it at one moment.

use std::time::Duration;

use halcyon_model::profile::{CacheEffect, CacheResponse, Response};
use halcyon_model::topology::{Cache, Socket};
use halcyon_model::{DeviceClass, Holding, HostTime, Objective, VmSample, VmSpec};

use super::tally::{NodeTally, SocketTally, Tally, VmTally};
use super::{Likely, share};
use crate::{Day, Estimate, Span, View};

/// How far ahead yesterday is asked.
pub(super) const AHEAD: Duration = Duration::from_secs(900);
/// What a program's traffic is counted from, as a share of one core's part of the memory bandwidth.
const LEAST_TRAFFIC: f64 = 1e-3;

/// What was seen of a VM before, by what is measured of it now as well.
#[derive(Debug, Default)]
pub(super) struct Readings<'a> {
    pub(super) cpu: Option<&'a Estimate>,
    pub(super) waited: Option<&'a Estimate>,
    pub(super) working_set: Option<&'a Estimate>,
    pub(super) memory_stalled: Option<&'a Estimate>,
    pub(super) bandwidth: Option<&'a Estimate>,
    pub(super) cache: Option<&'a Estimate>,
    pub(super) devices: Option<&'a Estimate>,
    pub(super) io_stalled: Option<&'a Estimate>,
    pub(super) gpu: Option<&'a Estimate>,
}

impl<'a> Readings<'a> {
    fn new(sample: &VmSample, known: &'a Estimate) -> Self {
        let counters = &sample.counters;
        let of = |read: bool, last: Option<f64>| (read && last.is_some()).then_some(known);
        Self {
            cpu: of(counters.cpu_used_us.is_some(), known.cpu.last()),
            waited: of(counters.cpu_waited_us.is_some(), known.cpu_waited),
            working_set: of(sample.working_set.is_some(), known.working_set.last()),
            memory_stalled: of(counters.memory_stalled_us.is_some(), known.memory_stalled.last()),
            bandwidth: of(counters.memory_bytes.is_some(), known.memory_bandwidth.last()),
            cache: of(sample.cache.is_some(), known.cache.last()),
            devices: of(!counters.device_bytes.is_empty(), known.devices.last()),
            io_stalled: of(counters.io_stalled_us.is_some(), known.io_stalled.last()),
            gpu: of(counters.gpu_busy_us.is_some(), known.gpu.last()),
        }
    }
}

/// A VM at one moment.
#[derive(Debug)]
pub(super) struct Vm<'a> {
    /// The index of its socket; the last one's for a VM on a socket that is not there.
    pub(super) place: usize,
    pub(super) spec: &'a VmSpec,
    pub(super) holding: Option<&'a Holding>,
    pub(super) sample: Option<&'a VmSample>,
    pub(super) readings: Readings<'a>,
    pub(super) tally: &'a Tally,
    pub(super) own: VmTally,
    pub(super) on: SocketTally,
    pub(super) home: NodeTally,
    /// Memory of all nodes that VMs can hold, in bytes.
    pub(super) host_memory: f64,
    pub(super) cache: Option<&'a Cache>,
    /// The ways that it may fill, and how many VMs of its socket may.
    pub(super) ways: u32,
    pub(super) sharers: u32,
    /// What it holds, in all and on its own socket's nodes, in bytes.
    pub(super) memory: f64,
    pub(super) memory_near: f64,
    /// Whether the program is its own and not one like it.
    pub(super) is_profiled: bool,
    pub(super) program: Option<Likely<'a>>,
    pub(super) now: HostTime,
    pub(super) since: HostTime,
    effects: Option<Effects>,
}

/// What a program does with all of its socket's cache, and with a part of it.
#[derive(Debug)]
struct Effects {
    of: CacheEffects,
    /// One core's part of the memory bandwidth, in bytes per second.
    core_bandwidth: f64,
}

/// The part of that which hardly ever changes, kept from one moment to the next with what it is of.
#[derive(Debug, Clone, Copy)]
pub(super) struct CacheEffects {
    response: CacheResponse,
    size: f64,
    whole: CacheEffect,
    /// With an eighth, a quarter and a half.
    parts: [CacheEffect; 3],
}

impl<'a> Vm<'a> {
    pub(super) fn new(
        view: &View<'a>,
        tally: &'a Tally,
        position: usize,
        is_profiled: bool,
        program: Option<Likely<'a>>,
        kept: &mut Option<CacheEffects>,
    ) -> Self {
        let (world, assignment) = (view.world, &view.snapshot.assignment);
        let sockets = world.topology.sockets();
        let holding = assignment.holdings.get(position);
        let place = holding.map_or(0, |holding| holding.socket.index()).min(sockets.len().saturating_sub(1));
        let sample = view.snapshot.vms.get(position);
        let known = view.history.estimate(position);
        let on = tally.sockets.get(place).copied().unwrap_or_default();
        let class = holding.map(|holding| holding.class.index());
        let masks = class.and_then(|class| assignment.classes.get(class)?.as_ref());
        let response = program.map(|found| found.response);
        Self {
            place,
            spec: &world.vms[position],
            holding,
            sample,
            readings: sample
                .zip(known)
                .map_or_else(Readings::default, |(now, known)| Readings::new(now, known)),
            tally,
            own: tally.vms.get(position).copied().unwrap_or_default(),
            on,
            home: tally.nodes.get(on.home).copied().unwrap_or_default(),
            host_memory: tally.nodes.iter().map(|node| node.memory).sum(),
            cache: sockets.get(place).and_then(|socket| socket.cache.as_ref()),
            ways: masks.and_then(|masks| masks.get(place)).map_or(0, |mask| mask.ways()),
            sharers: class.map_or(0, |class| tally.members(place, class)),
            memory: holding.map_or(0.0, |holding| holding.total_memory().as_f64()),
            memory_near: holding.map_or(0.0, |holding| near(view, holding, place)),
            is_profiled,
            program,
            now: view.snapshot.at,
            since: view.history.since(position).unwrap_or(view.snapshot.at),
            effects: response
                .and_then(|response| Effects::new(response, sockets.get(place)?, on.bandwidth, kept)),
        }
    }

    /// As a share of the VM's CPU limit.
    pub(super) fn of_cpu(&self, milli: f64) -> f64 {
        share(milli, self.spec.cpu.limit.as_f64())
    }

    /// As a share of the VM's memory limit.
    pub(super) fn of_memory(&self, bytes: f64) -> f64 {
        share(bytes, self.spec.memory.limit.as_f64())
    }

    /// CPU time used and waited for, as a share of the limit.
    pub(super) fn cpu(&self, read: impl Fn(&Estimate) -> Option<f64>) -> f64 {
        self.of_cpu(self.readings.cpu.and_then(read).unwrap_or(0.0))
    }

    /// Its mean over a span, as a share of the limit.
    pub(super) fn cpu_mean(&self, span: Span) -> f64 {
        self.cpu(|known| known.trends.cpu.mean(span).or(known.cpu.last()))
    }

    /// Working set, as a share of the limit.
    pub(super) fn working_set(&self, read: impl Fn(&Estimate) -> Option<f64>) -> f64 {
        self.of_memory(self.readings.working_set.and_then(read).unwrap_or(0.0))
    }

    /// Its mean over a span, as a share of the limit.
    pub(super) fn working_set_mean(&self, span: Span) -> f64 {
        self.working_set(|known| known.trends.working_set.mean(span).or(known.working_set.last()))
    }

    /// Memory traffic, as a share of the bandwidth of its socket.
    pub(super) fn bandwidth(&self, read: impl Fn(&Estimate) -> Option<f64>) -> f64 {
        share(self.readings.bandwidth.and_then(read).unwrap_or(0.0), self.on.bandwidth)
    }

    /// What its devices move, as a share of what they may.
    pub(super) fn traffic(&self, read: impl Fn(&Estimate) -> Option<f64>) -> f64 {
        share(self.readings.devices.and_then(read).unwrap_or(0.0), self.own.device_bandwidth)
    }

    /// The most devices of a class that it can use.
    pub(super) fn wish(&self, class: DeviceClass) -> f64 {
        self.spec.wish(class).map_or(0.0, |wish| f64::from(wish.count.limit))
    }

    pub(super) fn response(&self) -> Option<&'a Response> {
        self.program.map(|found| found.response)
    }

    /// Whether it is known how its program responds to the cache of its socket.
    pub(super) fn knows_cache(&self) -> bool {
        self.effects.is_some()
    }

    /// Speed with a part of its socket's cache (0 an eighth, 1 a quarter, 2 a half), of that with all of it.
    pub(super) fn speed_with(&self, part: usize) -> f64 {
        self.effects.as_ref().map_or(0.0, |found| share(found.of.parts[part].speed, found.of.whole.speed))
    }

    /// Traffic with such a part, in doublings of that with all of the cache.
    pub(super) fn traffic_with(&self, part: usize) -> f64 {
        self.effects.as_ref().map_or(0.0, |found| {
            let least = LEAST_TRAFFIC * found.core_bandwidth;
            libm::log2(share(found.of.parts[part].traffic + least, found.of.whole.traffic + least))
        })
    }

    /// Traffic of the program on all CPU time that the VM may have, with all of the cache, as a share of
    /// the socket's memory bandwidth.
    pub(super) fn traffic_alone(&self) -> f64 {
        let cores = self.spec.cpu.limit.as_f64() / 1000.0;
        self.effects.as_ref().map_or(0.0, |found| share(found.of.whole.traffic * cores, self.on.bandwidth))
    }

    /// Speed of its program with GPU slices, of that on a whole GPU.
    pub(super) fn gpu_speed(&self, slices: u32) -> f64 {
        self.response().and_then(|response| response.gpu).map_or(0.0, |gpu| gpu.speed(slices))
    }

    /// CPU time of the last day at this time and a while ahead, as shares of the limit.
    pub(super) fn cpu_day(&self, ahead: Duration) -> Option<f64> {
        self.readings
            .cpu
            .and_then(|known| self.yesterday(&known.cpu_day, ahead))
            .map(|milli| self.of_cpu(milli))
    }

    /// Working set of the last day at this time and a while ahead, as shares of the limit.
    pub(super) fn working_set_day(&self, ahead: Duration) -> Option<f64> {
        let found = self.readings.working_set.and_then(|known| self.yesterday(&known.working_set_day, ahead));
        found.map(|bytes| self.of_memory(bytes))
    }

    fn yesterday(&self, day: &Day, ahead: Duration) -> Option<f64> {
        day.day_ago(self.now.saturating_add(ahead)).map(f64::from)
    }

    /// The 99th percentile of its response time as a share of its objective.
    pub(super) fn lateness(&self) -> Option<f64> {
        let Objective::Latency { p99 } = self.spec.objective else { return None };
        Some(share(self.sample?.signal?.p99?.as_secs_f64(), p99.as_secs_f64()))
    }

    pub(super) fn backlog(&self) -> Option<f64> {
        self.sample?.signal?.backlog_s
    }
}

/// Memory on nodes of the VM's own socket.
fn near(view: &View<'_>, holding: &Holding, place: usize) -> f64 {
    let nodes = view.world.topology.nodes();
    let is_near = |node: usize| {
        nodes.get(node).and_then(|node| node.socket()).is_some_and(|socket| socket.index() == place)
    };
    holding.memory.iter().filter(|(node, _)| is_near(node.index())).map(|(_, size)| size.as_f64()).sum()
}

impl Effects {
    fn new(
        response: &Response,
        socket: &Socket,
        bandwidth: f64,
        kept: &mut Option<CacheEffects>,
    ) -> Option<Self> {
        let size = socket.cache.as_ref()?.size.as_f64();
        let same =
            kept.filter(|kept| kept.response == response.cache && kept.size.to_bits() == size.to_bits());
        let of = same.unwrap_or_else(|| CacheEffects::of(response.cache, size));
        *kept = Some(of);
        Some(Self { of, core_bandwidth: share(bandwidth, socket.cpu().as_f64() / 1000.0) })
    }
}

impl CacheEffects {
    fn of(response: CacheResponse, size: f64) -> Self {
        let part = |share: f64| response.effect(share * size);
        Self { response, size, whole: part(1.0), parts: [0.125, 0.25, 0.5].map(part) }
    }
}
