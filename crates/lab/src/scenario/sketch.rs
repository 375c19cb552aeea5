//! VMs drawn from a trace: what kind each is, how large, and what it is asked to do.

use std::time::Duration;

use halcyon_model::profile::Response;
use halcyon_model::topology::DeviceClass;
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, DeviceWish, MilliCpu, Objective, Topology, VmId, VmSpec, Weight,
};
use halcyon_sim::trace::Series;
use halcyon_sim::{Application, Demand, Guest, Workload};
use rand::Rng;
use rand_pcg::Pcg32;

/// A kind of VM, as a drawn scenario has them. The figures are choices, of the order that the programs
/// named show on servers; measured response curves are to replace them.
struct Kind {
    name: &'static str,
    /// Of a hundred VMs.
    share: u32,
    objective: Objective,
    weight: u32,
    request_ms: f64,
    memory_bytes: f64,
    io_bytes: f64,
    /// The most NVMe devices and network functions that it can use.
    devices: (u32, u32),
    /// CPU time reserved, as a share of its limit.
    reserved: f64,
    /// Memory of each vCPU against the others'.
    memory: f64,
}

const fn latency(ms: u64) -> Objective {
    Objective::Latency { p99: Duration::from_millis(ms) }
}

const KINDS: [Kind; 4] = [
    Kind {
        name: "web",
        share: 40,
        objective: latency(30),
        weight: 200,
        request_ms: 5.0,
        memory_bytes: 0.8e9,
        io_bytes: 15.0e6,
        devices: (0, 1),
        reserved: 0.10,
        memory: 2.0,
    },
    Kind {
        name: "database",
        share: 20,
        objective: latency(20),
        weight: 200,
        request_ms: 2.0,
        memory_bytes: 2.0e9,
        io_bytes: 150.0e6,
        devices: (1, 0),
        reserved: 0.10,
        memory: 8.0,
    },
    Kind {
        name: "analytics",
        share: 25,
        objective: Objective::Throughput,
        weight: 100,
        request_ms: 200.0,
        memory_bytes: 5.0e9,
        io_bytes: 80.0e6,
        devices: (2, 0),
        reserved: 0.05,
        memory: 4.0,
    },
    Kind {
        name: "batch",
        share: 15,
        objective: Objective::BestEffort,
        weight: 50,
        request_ms: 1000.0,
        memory_bytes: 1.0e9,
        io_bytes: 10.0e6,
        devices: (0, 0),
        reserved: 0.0,
        memory: 2.0,
    },
];

/// Mean working set of all VMs, as a share of the host's memory.
const MEMORY_LOAD: f64 = 0.72;

/// What all VMs may have at most, as a multiple of what the host has.
const OVERCOMMIT: f64 = 5.0;

/// What a VM of the trace does over time, 0 to 1; gaps are filled with what came before.
pub(super) fn activity(series: &Series) -> Option<Vec<f32>> {
    let known = |column: &[Option<f32>]| column.iter().any(Option::is_some);
    let column = if known(&series.cpu) { series.cpu.as_slice() } else { series.gpu_util.as_deref()? };
    known(column).then(|| filled(column))
}

fn filled(column: &[Option<f32>]) -> Vec<f32> {
    let mut last = column.iter().flatten().next().copied().unwrap_or(0.0);
    let fill = |value: &Option<f32>| {
        last = value.unwrap_or(last);
        last
    };
    column.iter().map(fill).collect()
}

/// A VM before its size is known.
pub(super) struct Sketch<'a> {
    series: &'a Series,
    activity: Vec<f32>,
    kind: &'static Kind,
    /// vCPUs against the others'.
    size: f64,
    /// How much of its memory is in use whatever it does, 0 to 1.
    resident: f64,
}

pub(super) struct Sizes {
    vcpus: f64,
    most_vcpus: f64,
    memory: f64,
    most_memory: f64,
}

#[allow(clippy::cast_precision_loss)]
fn mean(values: &[f32]) -> f64 {
    values.iter().map(|value| f64::from(*value)).sum::<f64>() / values.len().max(1) as f64
}

/// Whoever answers requests in time leaves room for bursts: a VM that runs at its limit often does work
/// that can wait.
fn kind(activity: &[f32], random: &mut Pcg32) -> &'static Kind {
    let mut sorted = activity.to_vec();
    sorted.sort_by(f32::total_cmp);
    let busy = sorted.get(sorted.len() * 9 / 10).is_some_and(|high| *high > 0.6);
    let fits = |kind: &&Kind| !(busy && matches!(kind.objective, Objective::Latency { .. }));
    let kinds: Vec<&Kind> = KINDS.iter().filter(fits).collect();
    let mut lot = random.next_u32() % kinds.iter().map(|kind| kind.share).sum::<u32>().max(1);
    for kind in &kinds {
        if lot < kind.share {
            return kind;
        }
        lot -= kind.share;
    }
    &KINDS[0]
}

/// The same demand at another time, for a VM that shares a series with another.
fn shifted(activity: &[f32], turn: usize) -> Vec<f32> {
    let mut activity = activity.to_vec();
    let shift = turn * activity.len() / 7 % activity.len().max(1);
    activity.rotate_left(shift);
    activity
}

impl<'a> Sketch<'a> {
    pub(super) fn draw(series: &'a Series, activity: &[f32], turn: usize, random: &mut Pcg32) -> Self {
        let kind = kind(activity, random);
        let drawn = [2.0, 4.0, 4.0, 8.0, 8.0, 16.0][random.next_u32() as usize % 6];
        let resident = 0.25 + 0.35 * f64::from(random.next_u32()) / f64::from(u32::MAX);
        Self {
            series,
            activity: shifted(activity, turn),
            kind,
            size: series.cores.unwrap_or(drawn),
            resident,
        }
    }

    /// A sketch of a VM that is described: its kind by its application's name, or else its objective.
    pub(super) fn for_spec(spec: &VmSpec, series: &'a Series, activity: &[f32], turn: usize) -> Self {
        let named = KINDS.iter().find(|kind| Some(kind.name) == spec.application.as_deref());
        let alike =
            |kind: &&Kind| std::mem::discriminant(&kind.objective) == std::mem::discriminant(&spec.objective);
        let kind = named.or_else(|| KINDS.iter().find(alike)).unwrap_or(&KINDS[0]);
        Self { series, activity: shifted(activity, turn), kind, size: f64::from(spec.vcpus), resident: 0.4 }
    }

    /// Its working set against its memory, over time.
    #[allow(clippy::cast_possible_truncation)]
    fn memory_use(&self) -> Vec<f32> {
        if let Some(column) = &self.series.memory_util
            && column.iter().any(Option::is_some)
        {
            return filled(column);
        }
        // Memory follows what a VM does, but slowly.
        let mut level = mean(&self.activity);
        let follow = |now: &f32| {
            level += 0.2 * (f64::from(*now) - level);
            (self.resident + (1.0 - self.resident) * level).min(1.0) as f32
        };
        self.activity.iter().map(follow).collect()
    }

    /// Bytes through devices per unit of work: as traced, where the trace has it.
    fn io_bytes(&self, vcpus: f64) -> f64 {
        let columns = [
            &self.series.disk_read_bytes_s,
            &self.series.disk_write_bytes_s,
            &self.series.net_rx_bytes_s,
            &self.series.net_tx_bytes_s,
        ];
        let traced: f64 = columns.into_iter().flatten().map(|column| mean(&filled(column))).sum();
        let work = mean(&self.activity) * vcpus;
        if traced > 0.0 && work > 0.0 { traced / work } else { self.kind.io_bytes }
    }

    #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
    pub(super) fn into_guest(
        self,
        position: usize,
        sizes: &Sizes,
        topology: &Topology,
        interval: Duration,
    ) -> Guest {
        let vcpus = (self.size * sizes.vcpus).round().clamp(1.0, sizes.most_vcpus);
        let least = 256.0 * 1024.0 * 1024.0;
        let memory = (self.size * self.kind.memory * sizes.memory).clamp(least, sizes.most_memory.max(least));
        let workload = self.workload(vcpus, memory, interval);
        let spec = self.spec(position, vcpus as u32, ByteSize::from_f64(memory), topology);
        Guest::new(spec, workload)
    }

    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn workload(&self, vcpus: f64, memory: f64, interval: Duration) -> Workload {
        let demand = Demand {
            interval,
            work: self.activity.iter().map(|share| share * vcpus as f32).collect(),
            working_set: self.memory_use().iter().map(|share| (f64::from(*share) * memory) as f32).collect(),
        };
        let application = Application {
            name: self.kind.name.into(),
            request: Duration::from_secs_f64(self.kind.request_ms / 1000.0),
            io_bytes: self.io_bytes(vcpus),
            gpu_seconds: 0.0,
            response: Response::flat(self.kind.memory_bytes),
        };
        Workload { application, demand }
    }

    fn spec(&self, position: usize, vcpus: u32, memory: ByteSize, topology: &Topology) -> VmSpec {
        let limit = MilliCpu::cores(u64::from(vcpus));
        let widest = topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).min();
        let wish = |class: DeviceClass, most: u32| DeviceWish {
            class,
            count: Bounds { reservation: 0, limit: most },
            bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(8) },
        };
        let wishes =
            [wish(DeviceClass::Nvme, self.kind.devices.0), wish(DeviceClass::Nic, self.kind.devices.1)];
        VmSpec {
            id: VmId::at(position),
            name: format!("{}-{position}", self.kind.name),
            vcpus,
            weight: Weight::new(self.kind.weight).unwrap_or_default(),
            cpu: Bounds { reservation: MilliCpu::from_f64(self.kind.reserved * limit.as_f64()), limit },
            memory: Bounds {
                reservation: ByteSize::from_f64(0.3 * memory.as_f64()).floor_to(ByteSize::mib(1)),
                limit: memory.floor_to(ByteSize::mib(1)),
            },
            memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: widest.unwrap_or_default() },
            devices: wishes.into_iter().filter(|wish| wish.count.limit > 0).collect(),
            gpu_slices: Bounds::default(),
            objective: self.kind.objective,
            application: Some(self.kind.name.into()),
        }
    }
}

impl Sizes {
    pub(super) fn of(topology: &Topology, sketches: &[Sketch<'_>], load: f64) -> Self {
        let sockets = topology.sockets();
        let cores: f64 = sockets.iter().map(|socket| socket.cpu().as_f64() / 1000.0).sum();
        let memory: f64 = topology.nodes().iter().map(|node| node.available().as_f64()).sum();
        let work: f64 = sketches.iter().map(|sketch| sketch.size * mean(&sketch.activity)).sum();
        let resident: f64 =
            sketches.iter().map(|sketch| sketch.size * sketch.kind.memory * mean(&sketch.memory_use())).sum();
        let size: f64 = sketches.iter().map(|sketch| sketch.size).sum();
        let most: f64 = sketches.iter().map(|sketch| sketch.size * sketch.kind.memory).sum();
        // Idle traces would need VMs so large that not even their reservations fit.
        let scale = |wanted: f64, used: f64, sold: f64, there: f64| {
            if used > 0.0 { (wanted * there / used).min(OVERCOMMIT * there / sold) } else { 1.0 }
        };
        Self {
            vcpus: scale(load, work, size, cores),
            most_vcpus: sockets
                .iter()
                .map(|socket| socket.cpu().as_f64() / 1000.0)
                .fold(1.0, f64::max)
                .floor(),
            most_memory: memory / 4.0,
            memory: scale(MEMORY_LOAD, resident, most, memory).min(2.0 * memory / most),
        }
    }
}
