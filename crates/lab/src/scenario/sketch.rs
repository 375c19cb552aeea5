//! VMs drawn from a trace: what kind each is, which program it runs, and what it is asked to do.

use std::time::Duration;

use halcyon_model::profile::{self, GpuResponse, Profiles, Response};
use halcyon_model::topology::DeviceClass;
use halcyon_model::{Bandwidth, Bounds, ByteSize, DeviceId, DeviceWish, Topology, VmId, VmSpec, Weight};
use halcyon_sim::trace::Series;
use halcyon_sim::{Application, Demand, Guest, Workload};
use rand_pcg::Pcg32;

use super::gpus::{GpuBudget, GpuShare};
use super::kinds::Kind;
use super::lots::{below, between, micros, round4, round4_f32, uniform};
use super::series::{filled, mean, memory_use, peak, shifted};
use super::sizes::Size;

/// Of so many VMs, one has no label that says which program it runs.
const UNLABELLED: usize = 5;

/// What a program makes of GPU slices where none was measured. A choice: a quarter of its time does not
/// depend on them, and it needs the memory of the smallest common instance.
pub(super) const ANY_GPU: GpuResponse =
    GpuResponse { whole: 7, fixed: 0.25, bandwidth: 0.3, memory: ByteSize::new(5_000_000_000) };

/// What all sketches of a draw have in common.
pub(super) struct Studio<'a> {
    pub(super) profiles: &'a Profiles,
    pub(super) interval: Duration,
    pub(super) gpus: GpuBudget,
    /// How many of a hundred VMs are to use a GPU, while there is room.
    pub(super) gpu_share: f64,
}

/// A VM before its size is known.
pub(super) struct Sketch<'a> {
    series: &'a Series,
    pub(super) activity: Vec<f32>,
    pub(super) memory_use: Vec<f32>,
    pub(super) kind: &'static Kind,
    program: Option<&'a profile::Application>,
    gpu: Option<GpuShare>,
    label: Option<String>,
    /// vCPUs against the others'.
    pub(super) size: f64,
    /// vCPUs that it has whatever the others have: as many as feed its share of a GPU, where that was
    /// measured.
    pub(super) cores: Option<f64>,
    /// Device traffic against that of its kind.
    io: f64,
}

impl<'a> Studio<'a> {
    pub(super) fn new(topology: &Topology, profiles: &'a Profiles, interval: Duration, vms: usize) -> Self {
        let gpus = GpuBudget::of(topology);
        #[allow(clippy::cast_precision_loss)]
        let gpu_share = (1.25 * f64::from(gpus.room()) / vms.max(1) as f64).min(0.4);
        Self { profiles, interval, gpus, gpu_share }
    }

    /// Draws what a VM is that does this over time.
    pub(super) fn draw(
        &mut self,
        series: &'a Series,
        activity: &[f32],
        turn: usize,
        random: &mut Pcg32,
    ) -> Sketch<'a> {
        let activity = shifted(activity, turn);
        let size = [2.0, 4.0, 4.0, 8.0, 8.0, 16.0][below(random, 6)];
        // A series of GPU use alone is that of a VM with a GPU, where the host has one.
        let only_gpu = !series.cpu.iter().any(Option::is_some);
        let wants_gpu = uniform(random) < self.gpu_share || only_gpu && self.gpus.room() > 0;
        let gpu = if wants_gpu { self.gpu_program(random) } else { None };
        let kind = Kind::draw(&activity, gpu.is_some(), random);
        let fed = |(program, share): &(Option<&profile::Application>, GpuShare)| {
            let busiest = peak(&activity).max(0.05);
            Some(share.peak * (*program)?.response.cpu_per_gpu? / busiest)
        };
        let cores = gpu.as_ref().and_then(fed);
        let (program, gpu) = match gpu {
            Some((program, share)) => (program, Some(share)),
            None => (self.program(kind, random), None),
        };
        let named = below(random, UNLABELLED) > 0;
        let label = match program {
            Some(program) => named.then(|| program.name.clone()),
            None => Some(kind.name.into()),
        };
        Sketch {
            memory_use: memory_use(series, &activity, self.interval, random),
            series,
            activity,
            kind,
            program,
            gpu,
            label,
            cores,
            size: series.cores.filter(|cores| cores.is_finite() && *cores > 0.0).unwrap_or(size),
            io: between(random, 0.5, 1.5),
        }
    }

    /// One of the programs that stand for a kind, or else any.
    fn program(&self, kind: &Kind, random: &mut Pcg32) -> Option<&'a profile::Application> {
        let plain = |response: &Response| response.gpu.is_none() && response.cpu_per_gpu.is_none();
        let plain = || self.profiles.iter().filter(|program| plain(&program.response));
        let stands = |program: &&profile::Application| {
            kind.programs.iter().any(|start| program.name.starts_with(start))
        };
        let suited: Vec<_> = plain().filter(stands).collect();
        let all = if suited.is_empty() { plain().collect() } else { suited };
        let lot = below(random, all.len());
        all.get(lot).copied()
    }

    /// A program that runs on an instance of the host's GPUs, with its share of them.
    fn gpu_program(&mut self, random: &mut Pcg32) -> Option<(Option<&'a profile::Application>, GpuShare)> {
        let runs =
            |program: &&profile::Application| program.response.gpu.is_some_and(|gpu| self.gpus.can_run(&gpu));
        let all: Vec<_> = self.profiles.iter().filter(runs).collect();
        let lot = below(random, all.len());
        let program = all.get(lot).copied();
        let response = program.and_then(|program| program.response.gpu).unwrap_or(ANY_GPU);
        Some((program, self.gpus.take(&response, random)?))
    }

    /// A sketch of a VM that is described: its program by the name of its application, its kind by that
    /// name or else its objective.
    pub(super) fn for_spec(
        &self,
        spec: &VmSpec,
        series: &'a Series,
        activity: &[f32],
        turn: usize,
        random: &mut Pcg32,
    ) -> Sketch<'a> {
        let activity = shifted(activity, turn);
        let program = spec.application.as_deref().and_then(|name| self.profiles.get(name));
        let response = program.and_then(|program| program.response.gpu).unwrap_or(ANY_GPU);
        let gpu = (spec.gpu_slices.limit > 0).then(|| GpuShare {
            slices: spec.gpu_slices,
            peak: 0.8 * response.speed(spec.gpu_slices.limit.min(response.whole)),
        });
        Sketch {
            memory_use: memory_use(series, &activity, self.interval, random),
            series,
            activity,
            kind: Kind::of(spec),
            program,
            gpu,
            label: spec.application.clone(),
            cores: None,
            size: f64::from(spec.vcpus),
            io: 1.0,
        }
    }
}

impl Sketch<'_> {
    /// Bytes through devices per unit of work: as traced, where the trace has it.
    fn io_bytes(&self, cores: f64) -> f64 {
        let columns = [
            &self.series.disk_read_bytes_s,
            &self.series.disk_write_bytes_s,
            &self.series.net_rx_bytes_s,
            &self.series.net_tx_bytes_s,
        ];
        let traced: f64 = columns.into_iter().flatten().map(|column| mean(&filled(column))).sum();
        let work = mean(&self.activity) * cores;
        if traced > 0.0 && work > 0.0 { traced / work } else { self.kind.io_bytes * self.io }
    }

    /// What its program makes of cache and GPU slices.
    fn response(&self) -> Response {
        let flat = Response::flat(self.kind.memory_bytes);
        let known = self.program.map_or(flat, |program| program.response);
        Response { gpu: self.gpu.map(|_| known.gpu.unwrap_or(ANY_GPU)), ..known }
    }

    /// GPU time per unit of work, such that the busiest moment asks for what its share is sized by.
    fn gpu_seconds(&self, cores: f64) -> f64 {
        let busiest = peak(&self.activity) * cores;
        match self.gpu {
            Some(share) if busiest > 0.0 => share.peak / busiest,
            Some(share) => share.peak,
            None => 0.0,
        }
    }

    /// What it is asked to do and what that needs, if it has so many cores and so much memory.
    pub(super) fn workload(&self, cores: f64, memory: f64, factor: f64, interval: Duration) -> Workload {
        let set = |share: &f32| round4_f32((f64::from(*share) * factor).min(1.0) * memory);
        let demand = Demand {
            interval,
            work: self.activity.iter().map(|share| round4_f32(f64::from(*share) * cores)).collect(),
            working_set: self.memory_use.iter().map(set).collect(),
        };
        let application = Application {
            name: self.kind.name.into(),
            request: micros(self.kind.request_ms / 1000.0),
            io_bytes: round4(self.io_bytes(cores)),
            gpu_seconds: round4(self.gpu_seconds(cores)),
            response: self.response(),
        };
        Workload { application, demand }
    }

    /// The VM, with how much it counts and what it is judged by.
    pub(super) fn into_guest(
        self,
        position: usize,
        size: &Size,
        factor: f64,
        (topology, interval): (&Topology, Duration),
        random: &mut Pcg32,
    ) -> Guest {
        let workload = self.workload(size.cores(), size.memory.as_f64(), factor, interval);
        let application = &workload.application;
        let elsewhere = application.response.gpu.map_or(0.0, |gpu| {
            // What can be kept with half of the slices that it may have.
            let slices =
                self.gpu.map_or(1, |share| share.slices.limit.div_ceil(2).max(share.slices.reservation));
            application.request.as_secs_f64() * application.gpu_seconds / gpu.speed(slices.max(1))
        });
        let (weight, objective) = self.kind.promise(size.cores(), elsewhere, random);
        let widest = topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).min();
        let spec = VmSpec {
            id: VmId::at(position),
            name: format!("{}-{position}", self.kind.name),
            vcpus: size.vcpus,
            weight: Weight::new(weight).unwrap_or_default(),
            cpu: Bounds { reservation: size.cpu_reserved, limit: size.cpu },
            memory: Bounds { reservation: size.memory_reserved, limit: size.memory },
            memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: widest.unwrap_or_default() },
            devices: wishes(self.kind, topology),
            gpu_slices: self.gpu.map_or_else(Bounds::default, |share| share.slices),
            objective,
            application: self.label,
        };
        Guest::new(spec, workload)
    }
}

/// What a kind would like of the classes of devices that the host has for VMs.
fn wishes(kind: &Kind, topology: &Topology) -> Vec<DeviceWish> {
    let fabric = topology.fabric();
    let there = |class: DeviceClass| {
        let of_class = |at: &usize| fabric.devices[*at].class == class;
        (0..fabric.devices.len()).filter(of_class).any(|at| fabric.is_assignable(DeviceId::at(at)))
    };
    let wish = |(class, most): (DeviceClass, u32)| DeviceWish {
        class,
        count: Bounds { reservation: 0, limit: most },
        bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(8) },
    };
    [(DeviceClass::Nvme, kind.devices.0), (DeviceClass::Nic, kind.devices.1)]
        .into_iter()
        .filter(|(class, most)| *most > 0 && there(*class))
        .map(wish)
        .collect()
}
