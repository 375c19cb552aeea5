//! What a scenario comes to, for people and scripts: who is on the host, what they ask of it together.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::{Bounds, DeviceClass, Objective, VmSpec};
use halcyon_sim::Guest;
use serde::Serialize;

use super::Scenario;
use super::sizes::{host_cores, host_memory};

/// How many moments a course over time has.
pub(crate) const MOMENTS: u32 = 120;

const GIB: f64 = 1_073_741_824.0;

/// What a scenario comes to.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Outline {
    /// The version of this form: 1.
    pub schema: u32,
    /// The host's name.
    pub host: String,
    /// Where the demand comes from.
    pub source: String,
    /// The seed of runs.
    pub seed: u64,
    /// How long a run lasts.
    pub hours: f64,
    /// How many VMs.
    pub vms: usize,
    /// How many of them arrive after the start.
    pub arrive_later: usize,
    /// How many of them leave before the end.
    pub leave_earlier: usize,
    /// How many have their response times measured.
    pub measured: usize,
    /// How many run a program of which policies do not know the name.
    pub unlabelled: usize,
    /// How many are judged by what.
    pub objectives: Objectives,
    /// The VMs by kind.
    pub kinds: Vec<Kinds>,
    /// What is there and what is asked for.
    pub resources: Vec<Resource>,
    /// Devices that VMs can own, by class.
    pub devices: Vec<Devices>,
    /// What all VMs together ask for over time.
    pub course: Course,
}

/// How many VMs are judged by what.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
pub struct Objectives {
    /// Answers in time.
    pub latency: usize,
    /// The shortest and the longest time in which 99 of 100 answers are wanted, in milliseconds.
    pub p99_ms: Option<(f64, f64)>,
    /// Work done.
    pub throughput: usize,
    /// Whatever is left.
    pub best_effort: usize,
}

/// The VMs of one kind.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Kinds {
    /// Its name.
    pub kind: String,
    /// How many.
    pub vms: usize,
    /// What they may have at most, in cores.
    pub cpu: f64,
    /// What they may have at most, in GiB.
    pub memory_gib: f64,
    /// The programs that they are known to run.
    pub programs: Vec<String>,
}

/// What there is of a resource and what is asked of it, in its unit.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Resource {
    /// Its name.
    pub resource: &'static str,
    /// The unit of all figures.
    pub unit: &'static str,
    /// What VMs can share.
    pub capacity: f64,
    /// The limits of all VMs; nothing where they have none.
    pub limits: Option<f64>,
    /// The reservations of all VMs.
    pub reserved: f64,
    /// What all VMs ask for on average; nothing where that is not known in this unit.
    pub mean: Option<f64>,
    /// What all VMs ask for at the busiest of the moments in [`Course`].
    pub peak: Option<f64>,
}

/// The devices of one class.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Devices {
    /// The class.
    pub class: DeviceClass,
    /// How many VMs can own.
    pub there: usize,
    /// How many VMs must have.
    pub reserved: u32,
    /// How many VMs could use.
    pub wanted: u32,
}

/// What all VMs together ask for, at moments of equal distance.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Course {
    /// The distance of two moments, in seconds.
    pub step_s: f64,
    /// VMs that are there.
    pub vms: Vec<usize>,
    /// Work that arrives, in cores.
    pub cpu: Vec<f64>,
    /// Working sets, in GiB.
    pub memory_gib: Vec<f64>,
    /// Memory traffic, if everybody had all the cache that helps, in GB/s.
    pub memory_traffic_gb_s: Vec<f64>,
    /// Device traffic, in GB/s.
    pub device_traffic_gb_s: Vec<f64>,
    /// GPU time, in whole GPUs.
    pub gpu: Vec<f64>,
}

/// What a VM asks for at a moment, if it is there: cores of work, GiB of working set, GB/s of memory and of
/// device traffic, and whole GPUs.
pub(crate) fn asked(guest: &Guest, at_s: f64) -> Option<[f64; 5]> {
    let now = Duration::from_secs_f64(at_s);
    if now < guest.arrives || guest.leaves.is_some_and(|leaves| leaves <= now) {
        return None;
    }
    let (application, demand) = (&guest.workload.application, &guest.workload.demand);
    let work = demand.work_at(at_s);
    let traffic = application.response.cache.effect(f64::MAX).traffic;
    Some([
        work,
        demand.working_set_at(at_s) / GIB,
        work * traffic / 1e9,
        work * application.io_bytes / 1e9,
        work * application.gpu_seconds,
    ])
}

impl Scenario {
    /// What the scenario comes to.
    #[must_use]
    pub fn outline(&self) -> Outline {
        let course = self.course();
        let count =
            |wanted: &dyn Fn(&Guest) -> bool| self.guests.iter().filter(|guest| wanted(guest)).count();
        Outline {
            schema: 1,
            host: self.topology.name().to_owned(),
            source: self.source.clone(),
            seed: self.seed,
            hours: self.duration.as_secs_f64() / 3600.0,
            vms: self.guests.len(),
            arrive_later: count(&|guest| !guest.arrives.is_zero()),
            leave_earlier: count(&|guest| guest.leaves.is_some_and(|leaves| leaves < self.duration)),
            measured: count(&|guest| guest.signal),
            unlabelled: count(&|guest| guest.spec.application.is_none()),
            objectives: self.objectives(),
            kinds: self.kinds(),
            resources: self.resources(&course),
            devices: self.devices(),
            course,
        }
    }

    fn course(&self) -> Course {
        let step_s = self.duration.as_secs_f64() / f64::from(MOMENTS);
        let mut course = Course { step_s, ..Course::default() };
        for moment in 0..MOMENTS {
            let at = step_s * (f64::from(moment) + 0.5);
            let (mut vms, mut sums) = (0, [0.0; 5]);
            for asked in self.guests.iter().filter_map(|guest| asked(guest, at)) {
                vms += 1;
                sums.iter_mut().zip(asked).for_each(|(sum, asked)| *sum += asked);
            }
            let [cpu, memory, traffic, devices, gpu] = sums;
            course.vms.push(vms);
            course.cpu.push(cpu);
            course.memory_gib.push(memory);
            course.memory_traffic_gb_s.push(traffic);
            course.device_traffic_gb_s.push(devices);
            course.gpu.push(gpu);
        }
        course
    }

    fn objectives(&self) -> Objectives {
        let mut all = Objectives::default();
        for guest in &self.guests {
            match guest.spec.objective {
                Objective::Latency { p99 } => {
                    let ms = p99.as_secs_f64() * 1000.0;
                    let (least, most) = all.p99_ms.unwrap_or((ms, ms));
                    all.p99_ms = Some((least.min(ms), most.max(ms)));
                    all.latency += 1;
                }
                Objective::Throughput => all.throughput += 1,
                Objective::BestEffort => all.best_effort += 1,
            }
        }
        all
    }

    fn kinds(&self) -> Vec<Kinds> {
        let mut kinds: BTreeMap<&str, Kinds> = BTreeMap::new();
        for Guest { spec, workload, .. } in &self.guests {
            let name = &workload.application.name;
            let kind = kinds.entry(name).or_insert_with(|| Kinds {
                kind: name.clone(),
                vms: 0,
                cpu: 0.0,
                memory_gib: 0.0,
                programs: Vec::new(),
            });
            kind.vms += 1;
            kind.cpu += spec.cpu.limit.as_f64() / 1000.0;
            kind.memory_gib += spec.memory.limit.as_f64() / GIB;
            kind.programs.extend(spec.application.clone());
        }
        let mut kinds: Vec<Kinds> = kinds.into_values().collect();
        for kind in &mut kinds {
            kind.programs.sort();
            kind.programs.dedup();
        }
        kinds
    }

    fn resources(&self, course: &Course) -> Vec<Resource> {
        let sum = |of: &dyn Fn(&VmSpec) -> f64| self.guests.iter().map(|guest| of(&guest.spec)).sum::<f64>();
        #[allow(clippy::cast_precision_loss)]
        let row = |resource, unit, capacity, limits, reserved, asked: &[f64]| Resource {
            resource,
            unit,
            capacity,
            limits,
            reserved,
            mean: Some(asked.iter().sum::<f64>() / asked.len().max(1) as f64),
            peak: Some(asked.iter().copied().fold(0.0, f64::max)),
        };
        let topology = &self.topology;
        let bandwidth: f64 = topology.nodes().iter().map(|node| node.bandwidth.as_f64() / 1e9).sum();
        let devices = self.assignable().map(|device| device.bandwidth.as_f64() / 1e9).sum();
        #[allow(clippy::cast_precision_loss)]
        let gpus = topology.gpus().len() as f64;
        let cpu = |bounds: fn(&VmSpec) -> f64| sum(&|spec| bounds(spec) / 1000.0);
        let memory = |bounds: fn(&VmSpec) -> f64| sum(&|spec| bounds(spec) / GIB);
        let mut rows = vec![
            row(
                "CPU",
                "cores",
                host_cores(topology),
                Some(cpu(|spec| spec.cpu.limit.as_f64())),
                cpu(|spec| spec.cpu.reservation.as_f64()),
                &course.cpu,
            ),
            row(
                "memory",
                "GiB",
                host_memory(topology) / GIB,
                Some(memory(|spec| spec.memory.limit.as_f64())),
                memory(|spec| spec.memory.reservation.as_f64()),
                &course.memory_gib,
            ),
            row(
                "memory traffic",
                "GB/s",
                bandwidth,
                None,
                sum(&|spec| spec.memory_bandwidth.reservation.as_f64() / 1e9),
                &course.memory_traffic_gb_s,
            ),
            row("device traffic", "GB/s", devices, None, 0.0, &course.device_traffic_gb_s),
        ];
        if gpus > 0.0 {
            rows.push(row("GPU time", "GPUs", gpus, None, 0.0, &course.gpu));
            rows.extend(self.slices());
        }
        rows
    }

    /// Compute slices; what is asked for is not known in slices, but in GPU time.
    fn slices(&self) -> Option<Resource> {
        let whole = |gpu: &halcyon_model::topology::Gpu| gpu.profiles.iter().map(|it| it.compute).max();
        let there: u32 = self.topology.gpus().iter().filter_map(whole).sum();
        let sum = |of: fn(Bounds<u32>) -> u32| {
            self.guests.iter().map(|guest| f64::from(of(guest.spec.gpu_slices))).sum::<f64>()
        };
        let (reserved, limits) = (sum(|slices| slices.reservation), sum(|slices| slices.limit));
        (limits > 0.0).then_some(Resource {
            resource: "GPU slices",
            unit: "slices",
            capacity: f64::from(there),
            limits: Some(limits),
            reserved,
            mean: None,
            peak: None,
        })
    }

    fn assignable(&self) -> impl Iterator<Item = &halcyon_model::topology::Device> {
        let fabric = self.topology.fabric();
        fabric.devices.iter().filter(|device| fabric.is_assignable(device.id))
    }

    fn devices(&self) -> Vec<Devices> {
        let one = |(class, _): (DeviceClass, &str)| {
            let there = self.assignable().filter(|device| device.class == class);
            let wishes = self.guests.iter().filter_map(|guest| guest.spec.wish(class));
            let (reserved, wanted) = wishes.fold((0_u32, 0_u32), |(reserved, wanted), wish| {
                (reserved + wish.count.reservation, wanted.saturating_add(wish.count.limit))
            });
            Devices { class, there: there.count(), reserved, wanted }
        };
        let all = DeviceClass::ALL.into_iter().map(one);
        all.filter(|devices| devices.there > 0 || devices.wanted > 0).collect()
    }
}
