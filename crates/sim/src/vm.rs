//! One VM in the simulator: what it wants, what it got, and what became of its requests.

use std::time::Duration;

use halcyon_model::profile::CacheEffect;
use halcyon_model::{HostTime, Objective, ObjectiveSignal, Topology, VmSpec};

use crate::load::{Burst, Workload};
use crate::parameters::Parameters;
use crate::queue::Service;
use crate::score::{VmScore, Window};

/// By how much a VM that waits for devices tries to do more than it could before.
const PROBE: f64 = 1.1;
/// It tries at least so much, in cores.
const LEAST_FED: f64 = 0.02;

/// What the simulator knows of one VM.
#[derive(Debug)]
pub(crate) struct Vm {
    pub(crate) workload: Workload,
    pub(crate) leaves: Option<HostTime>,
    signal: bool,
    burst: Burst,
    /// How long its demand is still above what the trace says, in seconds.
    surge_s: f64,
    /// Work that arrives, in cores.
    pub(crate) arrival: f64,
    pub(crate) working_set: f64,
    /// Memory that it can use now, in bytes.
    pub(crate) memory: f64,
    /// Cache that it fills, in bytes.
    pub(crate) cache: f64,
    pub(crate) effect: CacheEffect,
    /// Work per second of one core, 0 to 1: cache, distance and paging.
    pub(crate) efficiency: f64,
    pub(crate) paging: f64,
    pub(crate) cpu_wanted: f64,
    pub(crate) cpu: f64,
    /// CPU time that it could have had, in cores.
    pub(crate) cpu_within_reach: f64,
    /// What its throttle lets through now, in bytes per second.
    pub(crate) throttle: f64,
    pub(crate) memory_traffic: f64,
    /// Memory traffic per unit of work without any cache, in bytes.
    pub(crate) most_traffic: f64,
    /// Speed that is left after waiting for memory, as a share.
    pub(crate) memory_factor: f64,
    pub(crate) io_wanted: f64,
    pub(crate) io: f64,
    /// GPU time that it asks for, in whole GPUs.
    pub(crate) gpu_wanted: f64,
    /// Speed of its slices together, in whole GPUs.
    pub(crate) gpu: f64,
    /// Time for which its slices cannot be used.
    pub(crate) gpu_down_s: f64,
    /// Work that its devices and GPU slices can feed, in cores.
    fed: f64,
    /// Time that it has still to stand still.
    pub(crate) stall_s: f64,
    pub(crate) backlog: f64,
    backlog_alone: f64,
    alone: Alone,
    pub(crate) counters: Counters,
    pub(crate) published: Counters,
    p99_s: f64,
    window: Window,
    window_alone: Window,
    pub(crate) utility: Option<f64>,
    pub(crate) score: VmScore,
    pub(crate) refuses_until: Option<HostTime>,
}

/// What a VM could do with all its limits and the host to itself.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Alone {
    /// Work per second, in cores at full speed.
    work: f64,
    /// Of one core, 0 to 1.
    speed: f64,
    /// GPU time of one unit of work, in seconds.
    gpu_s: f64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counters {
    pub(crate) cpu_used_us: f64,
    pub(crate) cpu_waited_us: f64,
    pub(crate) memory_stalled_us: f64,
    pub(crate) io_stalled_us: f64,
    pub(crate) memory_bytes: f64,
    pub(crate) gpu_busy_us: f64,
}

impl Alone {
    pub(crate) fn new(
        topology: &Topology,
        spec: &VmSpec,
        workload: &Workload,
        parameters: &Parameters,
    ) -> Self {
        let application = &workload.application;
        let per = |rate: f64, need: f64| if need > 0.0 { rate / need } else { f64::INFINITY };
        let caches = topology.sockets().iter().map(|socket| socket.cache.as_ref().map(|cache| cache.size));
        let cache = caches.map(|size| size.map_or(f64::INFINITY, |size| size.as_f64())).fold(0.0, f64::max);
        let effect = application.response.cache.effect(cache);
        let devices: f64 = spec
            .devices
            .iter()
            .map(|wish| {
                let of_class = topology.fabric().devices.iter().filter(|device| device.class == wish.class);
                let fastest = of_class.map(|device| device.bandwidth).max().unwrap_or_default();
                f64::from(wish.count.limit) * wish.bandwidth.limit.min(fastest).as_f64()
            })
            .sum();
        let cpu = spec.cpu.limit.as_f64() / 1000.0 * effect.speed;
        let memory = per(spec.memory_bandwidth.limit.as_f64(), effect.traffic);
        let io = per(parameters.paravirtual_bytes_s + devices, application.io_bytes);
        let slices = application.response.gpu.map_or(0.0, |gpu| {
            let (slices, whole) = (spec.gpu_slices.limit, gpu.whole.max(1));
            f64::from(slices / whole) + gpu.speed(slices % whole)
        });
        let gpu = per(slices, application.gpu_seconds);
        let gpu_s = if application.gpu_seconds > 0.0 { application.gpu_seconds } else { 0.0 };
        Self { work: cpu.min(memory).min(io).min(gpu), speed: effect.speed, gpu_s }
    }
}

impl Vm {
    pub(crate) fn new(
        workload: Workload,
        burst: Burst,
        memory: f64,
        alone: Alone,
        (leaves, signal): (Option<HostTime>, bool),
    ) -> Self {
        Self {
            effect: workload.application.response.cache.effect(0.0),
            most_traffic: workload.application.response.cache.effect(0.0).traffic,
            workload,
            leaves,
            signal,
            burst,
            surge_s: 0.0,
            arrival: 0.0,
            working_set: 0.0,
            memory,
            cache: 0.0,
            efficiency: 1.0,
            paging: 1.0,
            cpu_wanted: 0.0,
            cpu: 0.0,
            cpu_within_reach: 0.0,
            throttle: 0.0,
            memory_traffic: 0.0,
            memory_factor: 1.0,
            io_wanted: 0.0,
            io: 0.0,
            gpu_wanted: 0.0,
            gpu: 0.0,
            gpu_down_s: 0.0,
            fed: f64::INFINITY,
            stall_s: 0.0,
            backlog: 0.0,
            backlog_alone: 0.0,
            alone,
            counters: Counters::default(),
            published: Counters::default(),
            p99_s: 0.0,
            window: Window::default(),
            window_alone: Window::default(),
            utility: None,
            score: VmScore::default(),
            refuses_until: None,
        }
    }

    /// Demand at a moment: the trace's, and what it does inside the trace's interval.
    pub(crate) fn arrive(&mut self, at_s: f64, critical: bool, parameters: &Parameters) {
        let seconds = parameters.step.as_secs_f64();
        let mut factor = self.burst.next_factor(parameters.burst_sigma, parameters.burst_rho);
        if critical {
            self.surge_s -= seconds;
            let every = parameters.surge_every.as_secs_f64();
            if self.surge_s <= 0.0 && self.burst.chance(seconds / every) {
                self.surge_s = parameters.surge_length.as_secs_f64();
            }
            if self.surge_s > 0.0 {
                factor *= parameters.surge_height;
            }
            factor /= parameters.mean_surge();
        }
        self.arrival = self.workload.demand.work_at(at_s) * factor;
        self.working_set = self.workload.demand.working_set_at(at_s);
    }

    /// CPU time that it could use in a step of `seconds`, in cores, before any limit but its vCPUs. A VM
    /// that waits for a device or a GPU is not runnable: it asks for little more than what kept those busy
    /// before.
    pub(crate) fn wants(&self, seconds: f64) -> f64 {
        let work = (self.arrival + self.backlog / seconds).min(PROBE * self.fed);
        work / (self.efficiency * self.memory_factor).max(1e-6)
    }

    /// Takes note of how much work devices and GPU can feed, in cores: all that it asks for, as long as
    /// they keep up.
    fn note_feed(&mut self) {
        let application = &self.workload.application;
        let fed = |got: f64, wanted: f64, need: f64| {
            let short = need > 0.0 && got < 0.999 * wanted;
            if short { got / need } else { f64::INFINITY }
        };
        let io = fed(self.io, self.io_wanted, application.io_bytes);
        let gpu =
            if application.gpu_seconds > 0.0 { self.gpu / application.gpu_seconds } else { f64::INFINITY };
        self.fed = io.min(gpu).max(LEAST_FED);
    }

    /// Turns what it got into work done, requests answered and counters.
    pub(crate) fn work(&mut self, spec: &VmSpec, parameters: &Parameters, seconds: f64) {
        self.published = self.counters;
        let stalled = self.stall_s.min(seconds);
        self.stall_s -= stalled;
        let awake = 1.0 - stalled / seconds;
        let part = |got: f64, wanted: f64| if wanted > 0.0 { (got / wanted).min(1.0) } else { 1.0 };
        let io_factor = part(self.io, self.io_wanted).min(part(self.gpu, self.gpu_wanted));
        let speed = self.efficiency * self.memory_factor * io_factor * awake;
        let (arrived, waiting) = (self.arrival * seconds, self.backlog);
        let done = (self.cpu * speed * seconds).min(waiting + arrived);
        self.backlog = waiting + arrived - done;
        self.note_feed();
        self.judge(spec, parameters, seconds, speed, waiting, done);
        self.count(seconds, io_factor, awake);
    }

    fn judge(
        &mut self,
        spec: &VmSpec,
        parameters: &Parameters,
        seconds: f64,
        speed: f64,
        waiting: f64,
        done: f64,
    ) {
        let (all, best) = self.judge_alone(spec, parameters, seconds);
        let good = match spec.objective {
            Objective::Latency { p99 } => {
                let limit = spec.cpu.limit.as_f64() / 1000.0;
                let gpu_s = if self.alone.gpu_s > 0.0 { self.alone.gpu_s / self.gpu.max(1e-6) } else { 0.0 };
                let (cores, middle) = (self.cpu_within_reach, (waiting + self.backlog) / 2.0);
                let here = self.service(cores, speed, middle, (PROBE * self.fed, gpu_s));
                if self.signal {
                    // A gauge of the last seconds, as monitoring has it.
                    self.p99_s += 0.3 * (here.p99() - self.p99_s);
                }
                // Whoever waits longer than this has gone away.
                self.backlog = self.backlog.min(parameters.patience.as_secs_f64() * limit);
                all * here.in_time(p99.as_secs_f64())
            }
            Objective::Throughput | Objective::BestEffort => done,
        };
        self.utility = (all > 0.0).then(|| (good / all).clamp(0.0, 1.0));
        self.window.add(good, all);
        self.window_alone.add(best, all);
    }

    /// Lets a step pass in the life that it would have alone: what counts as full utility, and how much of
    /// that it has there.
    fn judge_alone(&mut self, spec: &VmSpec, parameters: &Parameters, seconds: f64) -> (f64, f64) {
        let (arrived, waiting) = (self.arrival * seconds, self.backlog_alone);
        let done = self.work_alone(seconds);
        match spec.objective {
            Objective::Latency { p99 } => {
                let limit = spec.cpu.limit.as_f64() / 1000.0;
                let middle = (waiting + self.backlog_alone) / 2.0;
                let best = self.service(limit, self.alone.speed, middle, (f64::INFINITY, self.alone.gpu_s));
                self.backlog_alone = self.backlog_alone.min(parameters.patience.as_secs_f64() * limit);
                (arrived, arrived * best.in_time(p99.as_secs_f64()))
            }
            Objective::Throughput | Objective::BestEffort => (done, done),
        }
    }

    /// Lets a step pass while it waits at the door: what it is asked is lost, and counts as not served.
    pub(crate) fn wait(&mut self, spec: &VmSpec, parameters: &Parameters, at_s: f64) {
        self.arrive(at_s, matches!(spec.objective, Objective::Latency { .. }), parameters);
        let (all, best) = self.judge_alone(spec, parameters, parameters.step.as_secs_f64());
        self.utility = (all > 0.0).then_some(0.0);
        self.window.add(0.0, all);
        self.window_alone.add(best, all);
    }

    /// Lets a step pass in the life that it would have alone; the work that it does there.
    pub(crate) fn work_alone(&mut self, seconds: f64) -> f64 {
        let waiting = self.backlog_alone + self.arrival * seconds;
        let done = (self.alone.work * seconds).min(waiting);
        self.backlog_alone = waiting - done;
        done
    }

    fn service(&self, cores: f64, speed: f64, backlog: f64, (fed, gpu_s): (f64, f64)) -> Service {
        let request = self.workload.application.request.as_secs_f64();
        let capacity = (cores * speed).min(fed);
        Service {
            arrival: self.arrival,
            capacity,
            cores,
            speed,
            backlog,
            request,
            elsewhere: gpu_s * request,
        }
    }

    fn count(&mut self, seconds: f64, io_factor: f64, awake: f64) {
        let us = seconds * 1e6;
        // A VM that waits for a device leaves its CPU alone.
        self.cpu *= io_factor * awake;
        self.memory_traffic *= io_factor * awake;
        let busy = if self.cpu_wanted > 1e-9 { 1.0 } else { 0.0 };
        self.counters.cpu_used_us += self.cpu * us;
        self.counters.cpu_waited_us += (self.cpu_wanted - self.cpu_within_reach).max(0.0) * us;
        self.counters.memory_stalled_us += (1.0 - self.paging) * busy * us;
        self.counters.io_stalled_us += (1.0 - io_factor * awake) * busy * us;
        self.counters.memory_bytes += self.memory_traffic * seconds;
        if self.gpu > 0.0 {
            self.counters.gpu_busy_us += (self.gpu_wanted / self.gpu).min(1.0) * us;
        }
    }

    /// Ends the window that is open.
    pub(crate) fn close_window(&mut self, objective: Objective) {
        self.score.alone += self.window_alone.take().unwrap_or(0.0);
        self.window.close(objective, &mut self.score);
    }

    /// What monitoring of its requests says, where there is any.
    pub(crate) fn signal(&self, spec: &VmSpec) -> Option<ObjectiveSignal> {
        let critical = matches!(spec.objective, Objective::Latency { .. });
        (self.signal && critical).then(|| ObjectiveSignal {
            p99: Duration::try_from_secs_f64(self.p99_s).ok(),
            backlog_s: Some(self.backlog / self.cpu_within_reach.max(1e-3)),
        })
    }
}
