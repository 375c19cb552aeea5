//! The kinds of VMs that a drawn scenario has.

use std::time::Duration;

use halcyon_model::{Objective, VmSpec};
use rand::Rng;
use rand_pcg::Pcg32;

use super::lots;

/// A kind of VM. Service figures — the time of a request, traffic per unit of work, memory per vCPU, how
/// common the kind is — are choices, of the order that such services show on servers. How the programs
/// respond to cache and GPU slices is measured: it comes from the profiles.
#[derive(Debug, PartialEq)]
pub(super) struct Kind {
    pub(super) name: &'static str,
    /// Of a hundred VMs that use no GPU, or of a hundred that do.
    pub(super) share: u32,
    pub(super) objective: Objective,
    /// The weights that its VMs have, each as often as another.
    pub(super) weights: &'static [u32],
    /// Work of one request, in milliseconds of one core.
    pub(super) request_ms: f64,
    /// Memory traffic per unit of work where no program is known, in bytes.
    pub(super) memory_bytes: f64,
    /// Device traffic per unit of work, in bytes.
    pub(super) io_bytes: f64,
    /// The most NVMe devices and network functions that it can use.
    pub(super) devices: (u32, u32),
    /// CPU time reserved against the others', as a share of its limit.
    pub(super) reserved: f64,
    /// Memory of each vCPU against the others'.
    pub(super) memory: f64,
    /// Whether it uses a GPU.
    pub(super) gpu: bool,
    /// How the names of the programs begin that stand for it.
    pub(super) programs: &'static [&'static str],
}

const fn latency(us: u64) -> Objective {
    Objective::Latency { p99: Duration::from_micros(us) }
}

const PLAIN: Kind = Kind {
    name: "web",
    share: 25,
    objective: latency(16_000),
    weights: &[100, 150, 200],
    request_ms: 5.0,
    memory_bytes: 0.8e9,
    io_bytes: 15.0e6,
    devices: (0, 1),
    reserved: 1.0,
    memory: 2.0,
    gpu: false,
    // Much code and small working sets, and one that walks trees.
    programs: &["xalancbmk", "perlbench", "perlbmk", "gcc06", "gobmk", "povray"],
};

/// All kinds; those with a GPU come last.
pub(super) const KINDS: [Kind; 8] = [
    PLAIN,
    Kind {
        name: "key-value",
        share: 15,
        objective: latency(650),
        weights: &[150, 200],
        request_ms: 0.2,
        memory_bytes: 1.5e9,
        io_bytes: 30.0e6,
        memory: 6.0,
        // Pointers all over memory: what cache helps most.
        programs: &["mcf", "omnetpp", "astar", "twolf", "gcc06"],
        ..PLAIN
    },
    Kind {
        name: "database",
        share: 17,
        objective: latency(6_500),
        weights: &[150, 200],
        request_ms: 2.0,
        memory_bytes: 2.0e9,
        io_bytes: 150.0e6,
        devices: (1, 0),
        memory: 8.0,
        programs: &["omnetpp", "mcf", "vortex", "vpr", "xalancbmk", "gap"],
        ..PLAIN
    },
    Kind {
        name: "analytics",
        share: 17,
        objective: Objective::Throughput,
        weights: &[100, 150],
        request_ms: 200.0,
        memory_bytes: 5.0e9,
        io_bytes: 80.0e6,
        devices: (2, 0),
        reserved: 0.5,
        memory: 4.0,
        // Scans that stream, next to models that stay in cache if it is large enough.
        programs: &["sphinx3", "cactusADM", "milc", "leslie3d", "zeusmp", "wrf", "GemsFDTD"],
        ..PLAIN
    },
    Kind {
        name: "batch",
        share: 14,
        objective: Objective::Throughput,
        weights: &[50, 100],
        request_ms: 1000.0,
        memory_bytes: 1.0e9,
        io_bytes: 10.0e6,
        devices: (0, 0),
        reserved: 0.2,
        programs: &["bzip2", "gzip", "hmmer", "h264ref", "calculix", "tonto", "sjeng", "cactusADM", "gcc06"],
        ..PLAIN
    },
    Kind {
        name: "stream",
        share: 12,
        objective: Objective::BestEffort,
        weights: &[50],
        request_ms: 1000.0,
        memory_bytes: 5.0e9,
        io_bytes: 5.0e6,
        devices: (0, 0),
        reserved: 0.0,
        // Passes over more memory than any cache holds: neighbours that pollute.
        programs: &["libquantum", "milc", "swim", "applu", "leslie3d", "GemsFDTD"],
        ..PLAIN
    },
    Kind {
        name: "training",
        share: 55,
        objective: Objective::Throughput,
        weights: &[50, 100, 150],
        request_ms: 500.0,
        memory_bytes: 1.0e9,
        io_bytes: 40.0e6,
        devices: (1, 0),
        reserved: 0.3,
        memory: 4.0,
        gpu: true,
        programs: &[],
    },
    Kind {
        name: "inference",
        share: 45,
        objective: latency(150_000),
        weights: &[150, 200],
        request_ms: 15.0,
        memory_bytes: 1.0e9,
        io_bytes: 20.0e6,
        memory: 3.0,
        gpu: true,
        programs: &[],
        ..PLAIN
    },
];

impl Kind {
    /// Draws a kind for a VM that does this over time.
    ///
    /// Whoever answers requests in time leaves room for bursts: a VM that runs at its limit often does
    /// work that can wait.
    pub(super) fn draw(activity: &[f32], gpu: bool, random: &mut Pcg32) -> &'static Self {
        let mut sorted = activity.to_vec();
        sorted.sort_by(f32::total_cmp);
        let busy = sorted.get(sorted.len() * 9 / 10).is_some_and(|high| *high > 0.6);
        let fits =
            |kind: &&Self| kind.gpu == gpu && !(busy && matches!(kind.objective, Objective::Latency { .. }));
        let kinds: Vec<&Self> = KINDS.iter().filter(fits).collect();
        let mut lot = random.next_u32() % kinds.iter().map(|kind| kind.share).sum::<u32>().max(1);
        for kind in &kinds {
            if lot < kind.share {
                return kind;
            }
            lot -= kind.share;
        }
        &KINDS[0]
    }

    /// The kind of a VM that is described: by its application's name, or else its objective.
    pub(super) fn of(spec: &VmSpec) -> &'static Self {
        let named = KINDS.iter().find(|kind| Some(kind.name) == spec.application.as_deref());
        let alike =
            |kind: &&Self| std::mem::discriminant(&kind.objective) == std::mem::discriminant(&spec.objective);
        named.or_else(|| KINDS.iter().find(alike)).unwrap_or(&KINDS[0])
    }

    /// Draws a weight and an objective; the objective is up to half as long again as the kind's, and
    /// leaves room for a request's own time, `elsewhere_s` on a GPU included.
    pub(super) fn promise(&self, cores: f64, elsewhere_s: f64, random: &mut Pcg32) -> (u32, Objective) {
        let weight = self.weights[lots::below(random, self.weights.len())];
        let slack = [0.75, 1.0, 1.0, 1.5][lots::below(random, 4)];
        let Objective::Latency { p99 } = self.objective else { return (weight, self.objective) };
        let alone = self.request_ms / cores.min(1.0) / 1000.0 + elsewhere_s;
        let p99 = (p99.as_secs_f64() * slack).max(3.0 * alone);
        (weight, Objective::Latency { p99: lots::micros(p99) })
    }
}
