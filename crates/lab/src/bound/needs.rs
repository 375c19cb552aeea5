//! What one VM can make of what it may hold, at its best.

use std::ops::Range;

use halcyon_model::topology::DeviceClass;
use halcyon_model::{Objective, VmSpec};
use halcyon_sim::{Application, Guest, Outlook, Service};

use super::prices::{Prices, Use};
use crate::scenario::Scenario;

/// Levels of arrivals that are told apart in a stretch; each counts as if all of it were as little as
/// its least.
const LEVELS: usize = 6;

/// Parts of the largest cache at which the grid is cut.
const CACHE_GRID: [f64; 15] =
    [0.0, 0.01, 0.02, 0.03, 0.045, 0.065, 0.09, 0.125, 0.17, 0.23, 0.31, 0.42, 0.56, 0.75, 1.0];

/// Shares of the working set that may be missing at which the grid is cut, from all to none.
const MISSING_GRID: [f64; 9] = [1.0, 0.5, 0.25, 0.12, 0.06, 0.03, 0.015, 0.007, 0.0];

/// One VM, as the relaxation sees it.
pub(super) struct Need {
    spec: VmSpec,
    application: Application,
    /// What one window of full utility is worth.
    worth: f64,
    seconds_per_step: f64,
    /// From when to when it is there, in seconds; nothing is certain of who may have to wait at the door.
    stays: (f64, f64),
    paging: f64,
    cores: f64,
    /// Bytes of cache, and speed and traffic with as much.
    caches: Vec<(f64, f64, f64)>,
    /// Numbers of NVMe and of other devices, and the traffic that they and the host carry together.
    devices: Vec<(f64, f64, f64)>,
    /// Compute slices, and the speed of the whole.
    slices: Vec<(f64, f64)>,
}

/// What is asked of a VM in a few windows.
#[derive(Debug, Clone, Default)]
pub(super) struct Stretch {
    windows: f64,
    levels: Vec<Level>,
    /// Steps of a whole window.
    per_window: f64,
    /// Whether it is there from beginning to end.
    whole: bool,
    /// Work that counts as full utility, in cores on average.
    asked: f64,
    working_set: f64,
}

/// Steps in which about as much arrives.
#[derive(Debug, Clone, Copy)]
struct Level {
    /// How many.
    steps: f64,
    /// The least work that arrives in any of them, in cores.
    least: f64,
    /// The most.
    most: f64,
    /// The share of all work of the stretch that arrives in them.
    share: f64,
}

/// What a VM may hold in the best case.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Choice {
    /// Worth, less what it costs at the prices; nothing at all is worth nothing.
    pub(super) net: f64,
    pub(super) value: f64,
    pub(super) takes: Use,
    pub(super) memory: f64,
}

#[derive(Debug, Clone, Copy)]
struct Config {
    speed: f64,
    traffic: f64,
    cache: f64,
    /// Memory above the reservation.
    memory: f64,
    disks: f64,
    others: f64,
    carried: f64,
    /// GPU slices above the reservation.
    slices: f64,
    gpu: f64,
}

impl Need {
    /// Of GPU slices it can never have more than `most_slices`.
    pub(super) fn new(scenario: &Scenario, guest: &Guest, worth: f64, most_slices: u32) -> Self {
        let (topology, parameters) = (&scenario.topology, &scenario.parameters);
        let spec = guest.spec.clone();
        let application = guest.workload.application.clone();
        let response = application.response.cache;
        let sizes =
            topology.sockets().iter().map(|socket| socket.cache.as_ref().map(|cache| cache.size.as_f64()));
        let largest = sizes.map(|size| size.unwrap_or(f64::INFINITY)).fold(0.0, f64::max);
        let at = |bytes: f64| {
            let effect = response.effect(bytes);
            (bytes, effect.speed, effect.traffic)
        };
        let responds = response.effect(0.0) != response.effect(f64::INFINITY) && largest.is_finite();
        let caches = if responds {
            CACHE_GRID.iter().map(|part| at(part * largest)).collect()
        } else {
            vec![at(f64::INFINITY)]
        };
        Self {
            worth,
            seconds_per_step: parameters.step.as_secs_f64(),
            stays: if guest.arrives.is_zero() {
                (0.0, guest.leaves.map_or(f64::INFINITY, |leaves| leaves.as_secs_f64()))
            } else {
                (f64::INFINITY, f64::INFINITY)
            },
            paging: application.response.paging.unwrap_or(parameters.paging_slowdown),
            cores: spec.cpu.limit.as_f64() / 1000.0,
            caches,
            devices: device_options(scenario, &spec, &application),
            slices: slice_options(&spec, &application, most_slices),
            spec,
            application,
        }
    }

    /// What is asked in some windows of the outlook.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn stretch(&self, outlook: &Outlook, windows: Range<usize>, per_window: usize) -> Stretch {
        let asked: Vec<f64> =
            outlook.asked[windows.clone()].iter().copied().filter(|asked| *asked > 1e-9).collect();
        let counted = asked.len() as f64;
        if asked.is_empty() {
            return Stretch::default();
        }
        let steps = windows.start * per_window..(windows.end * per_window).min(outlook.arrival.len());
        let seconds = |step: usize| step as f64 * self.seconds_per_step;
        let whole = self.stays.0 <= seconds(steps.start) && self.stays.1 >= seconds(steps.end);
        let mut arrivals: Vec<f32> =
            outlook.arrival[steps.clone()].iter().copied().filter(|arrival| *arrival > 0.0).collect();
        arrivals.sort_by(f32::total_cmp);
        let total: f64 = arrivals.iter().map(|arrival| f64::from(*arrival)).sum();
        let levels = arrivals.chunks(arrivals.len().div_ceil(LEVELS).max(1)).map(|level| {
            let sum: f64 = level.iter().map(|arrival| f64::from(*arrival)).sum();
            let (least, most) = (f64::from(level[0]), f64::from(level[level.len() - 1]));
            Level { steps: level.len() as f64, least, most, share: sum / total.max(1e-12) }
        });
        let sets = outlook.working_set[steps].iter().copied().filter(|size| *size > 0.0);
        Stretch {
            windows: counted,
            levels: levels.collect(),
            per_window: per_window as f64,
            whole,
            asked: asked.iter().sum::<f64>() / (counted * per_window as f64 * self.seconds_per_step),
            working_set: f64::from(sets.fold(f32::INFINITY, f32::min)),
        }
    }

    /// The best that it can make of a stretch at given prices. Uses are averages over its windows.
    pub(super) fn best(&self, stretch: &Stretch, prices: &Prices) -> Choice {
        if stretch.windows == 0.0 {
            return Choice::default();
        }
        match self.spec.objective {
            Objective::Latency { p99 } => self.best_in_time(stretch, prices, p99.as_secs_f64()),
            Objective::Throughput | Objective::BestEffort => self.best_throughput(stretch, prices),
        }
    }

    /// Every cell of the grid, at its best speed and its least use.
    fn configs(&self, working_set: f64) -> impl Iterator<Item = Config> {
        let reserved = self.spec.memory.reservation.as_f64();
        let most = (self.spec.memory.limit.as_f64() / working_set.max(1.0)).min(1.0);
        (0..self.caches.len()).flat_map(move |cell| {
            let (_, speed, traffic) = self.caches[cell];
            let cache = if cell == 0 { 0.0 } else { self.caches[cell - 1].0 };
            let cache = if self.caches.len() == 1 { 0.0 } else { cache };
            (1..MISSING_GRID.len()).flat_map(move |cut| {
                let missing = MISSING_GRID[cut].max(1.0 - most);
                let least = working_set * (1.0 - MISSING_GRID[cut - 1]);
                let speed = speed / (1.0 + self.paging * missing);
                let memory = (least - reserved).max(0.0);
                self.devices.iter().flat_map(move |(disks, others, carried)| {
                    self.slices.iter().map(move |(slices, gpu)| Config {
                        speed,
                        traffic,
                        cache,
                        memory,
                        disks: *disks,
                        others: *others,
                        carried: *carried,
                        slices: *slices,
                        gpu: *gpu,
                    })
                })
            })
        })
    }

    /// Each step takes the configuration that is best for it.
    fn best_in_time(&self, stretch: &Stretch, prices: &Prices, p99: f64) -> Choice {
        let worth = self.worth * stretch.windows;
        let mut best = vec![Choice::default(); stretch.levels.len()];
        for config in self.configs(stretch.working_set) {
            let held = self.held(&config);
            let rent = prices.cost(&held);
            for (level, best) in stretch.levels.iter().zip(&mut best) {
                let (arrival, share) = (level.least, level.share);
                let time = level.steps / stretch.per_window;
                // Nothing can be worth more than all of its requests in time.
                if worth * share - rent * time <= best.net {
                    continue;
                }
                let takes = Use {
                    cpu: arrival / config.speed.max(1e-9),
                    bandwidth: arrival * config.traffic,
                    ..held
                };
                let value = worth * share * self.in_time(&config, arrival, p99);
                let net = value - prices.cost(&takes) * time;
                if net > best.net {
                    *best = Choice {
                        net,
                        value,
                        takes: takes.scaled(time / stretch.windows),
                        memory: config.memory,
                    };
                }
            }
        }
        for (level, best) in stretch.levels.iter().zip(&mut best) {
            let rent = prices.cost(&Use { cpu: 1.0, ..Use::default() }) * level.steps / stretch.per_window;
            best.net = best.net.max(self.best_while_short(worth * level.share, rent, level.most, p99));
        }
        best.iter().fold(Choice::default(), |sum, level| sum.plus(level))
    }

    /// With nothing waiting from before, and all of its vCPUs within reach.
    fn in_time(&self, config: &Config, arrival: f64, p99: f64) -> f64 {
        let carried = self.per_work(config.carried, arrival, self.application.io_bytes);
        let computed = self.per_work(config.gpu, arrival, self.application.gpu_seconds);
        // What cannot be fed holds the VM back, and it tries a little more than that.
        let most = |rate: f64, need: f64| if need > 0.0 { 1.2 * rate / need } else { f64::INFINITY };
        let fed = most(config.carried, self.application.io_bytes)
            .min(most(config.gpu, self.application.gpu_seconds));
        let whole = self.cores * config.speed;
        let capacity = (whole * carried.min(computed)).max(whole.min(fed)).max(0.05);
        let speed = config.speed;
        let elsewhere = if self.application.gpu_seconds > 0.0 {
            self.application.gpu_seconds / config.gpu.max(1e-6) * self.application.request.as_secs_f64()
        } else {
            0.0
        };
        let service = Service {
            arrival,
            capacity,
            cores: self.cores,
            speed,
            backlog: 0.0,
            request: self.application.request.as_secs_f64(),
            elsewhere,
        };
        service.in_time(p99)
    }

    /// A VM that gets less CPU time than arrives answers next to none in time, but some: whoever is served
    /// finds the queue full, with a fiftieth of the capacity free. `rent` is the price of a core.
    fn best_while_short(&self, worth: f64, rent: f64, arrival: f64, p99: f64) -> f64 {
        let request = self.application.request.as_secs_f64();
        let rate = (p99 - request).max(0.0) * 0.02 / request;
        let net = |cores: f64| worth * (1.0 - libm::exp(-rate * cores)) - rent * cores;
        if rent <= 0.0 || rate <= 0.0 {
            return net(arrival).max(0.0);
        }
        net((libm::log(worth * rate / rent) / rate).clamp(0.0, arrival)).max(0.0)
    }

    /// How much of what it needs of a rate for its work it gets.
    fn per_work(&self, rate: f64, work: f64, need: f64) -> f64 {
        if need > 0.0 && work > 0.0 { (rate / (work * need)).min(1.0) } else { 1.0 }
    }

    /// It works all the time at the pace that it needs, or part of the time as fast as it can.
    fn best_throughput(&self, stretch: &Stretch, prices: &Prices) -> Choice {
        let worth = self.worth * stretch.windows;
        let mut best = Choice::default();
        for config in self.configs(stretch.working_set) {
            let held = self.held(&config);
            let rent = prices.cost(&held);
            let mut fastest = self.cores * config.speed;
            let mut bounded = |rate: f64, need: f64| {
                if need > 0.0 {
                    fastest = fastest.min(rate / need);
                }
            };
            bounded(config.carried, self.application.io_bytes);
            bounded(config.gpu, self.application.gpu_seconds);
            let work = fastest.min(stretch.asked);
            if work <= 0.0 {
                continue;
            }
            let value = worth * (work / stretch.asked).min(1.0);
            let work_use = Use {
                cpu: work / config.speed.max(1e-9),
                bandwidth: work * config.traffic,
                ..Use::default()
            };
            let time = work / fastest;
            let net = value - (prices.cost(&work_use) + rent * time) * stretch.windows;
            if net > best.net {
                let takes = Use { cpu: work_use.cpu, bandwidth: work_use.bandwidth, ..held };
                best = Choice { net, value, takes, memory: config.memory };
            }
        }
        best
    }

    fn held(&self, config: &Config) -> Use {
        Use {
            memory: config.memory,
            cache: config.cache,
            disks: config.disks,
            others: config.others,
            slices: config.slices,
            ..Use::default()
        }
    }

    pub(super) fn reserved_memory(&self) -> f64 {
        self.spec.memory.reservation.as_f64()
    }

    pub(super) fn reserved_slices(&self) -> f64 {
        f64::from(self.spec.gpu_slices.reservation)
    }
}

impl Stretch {
    /// How many of its windows count.
    pub(super) fn windows(&self) -> f64 {
        self.windows
    }

    /// Whether the VM is there from beginning to end, so that others cannot have what it reserves.
    pub(super) fn whole(&self) -> bool {
        self.whole
    }
}

impl Choice {
    fn plus(&self, other: &Self) -> Self {
        Self {
            net: self.net + other.net,
            value: self.value + other.value,
            takes: self.takes.plus(&other.takes),
            memory: self.memory.max(other.memory),
        }
    }
}

/// From none to all that it may have; a VM whose traffic the host carries anyway needs none.
fn device_options(scenario: &Scenario, spec: &VmSpec, application: &Application) -> Vec<(f64, f64, f64)> {
    let mut options = vec![(0.0, 0.0, scenario.parameters.paravirtual_bytes_s)];
    if application.io_bytes <= 0.0 {
        return options;
    }
    for wish in &spec.devices {
        let fabric = scenario.topology.fabric();
        let of_class = fabric.devices.iter().filter(|device| device.class == wish.class);
        let fastest = of_class.map(|device| device.bandwidth).max().unwrap_or_default();
        let each = wish.bandwidth.limit.min(fastest).as_f64();
        let most = wish.count.limit;
        // Of very many, the last step takes all of them for the price of a few.
        let steps: Vec<(f64, f64)> = (0..=most.min(8))
            .map(|count| (f64::from(count), f64::from(if count == 8 { most } else { count })))
            .collect();
        let more = |(disks, others, carried): &(f64, f64, f64)| {
            let (disks, others, carried) = (*disks, *others, *carried);
            let with = |(count, real): &(f64, f64)| match wish.class {
                DeviceClass::Nvme => (disks + count, others, carried + real * each),
                _ => (disks, others + count, carried + real * each),
            };
            steps.iter().map(with).collect::<Vec<_>>()
        };
        options = options.iter().flat_map(more).collect();
    }
    options
}

/// From what it reserves, which it holds at every instant, to all that it may have: slices above the
/// reservation, and the speed of all of them.
fn slice_options(spec: &VmSpec, application: &Application, most: u32) -> Vec<(f64, f64)> {
    let Some(response) = application.response.gpu.filter(|_| application.gpu_seconds > 0.0) else {
        return vec![(0.0, 0.0)];
    };
    // Several instances may be faster than one of as many slices: the best of each slice counts.
    let per_slice = (1..=response.whole.max(1)).map(|slices| response.speed(slices) / f64::from(slices));
    let best = per_slice.fold(0.0, f64::max);
    let least = spec.gpu_slices.reservation;
    (least..=spec.gpu_slices.limit.min(most).min(64).max(least))
        .map(|slices| {
            let one = response.speed(slices.min(response.whole));
            let many = f64::from(slices) * best;
            (f64::from(slices - least), if slices <= 1 { one } else { many.max(one) })
        })
        .collect()
}
