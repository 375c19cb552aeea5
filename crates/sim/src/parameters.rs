//! The constants of the performance model. Each names its source, or says that it is a choice.

use std::time::Duration;

/// What a scenario may change about the model.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    /// Simulated time of one step.
    pub step: Duration,
    /// Over how long a VM's utility is taken. A choice: short enough to see what a person would notice.
    pub window: Duration,
    /// Spread of demand around the trace inside its interval, as a share of it. A choice, within what
    /// 1-second samples of servers show; the traces are means over minutes.
    pub burst_sigma: f64,
    /// Correlation of that spread from one second to the next. A choice.
    pub burst_rho: f64,
    /// How often a VM that answers requests sees a surge of them, on average. A choice: flash crowds are
    /// within the minutes over which the traces are means.
    pub surge_every: Duration,
    /// How long a surge lasts. A choice.
    pub surge_length: Duration,
    /// Demand in a surge, as a multiple. A choice.
    pub surge_height: f64,
    /// How many steps a memory-bandwidth throttle knows between none and all of a socket's bandwidth: Intel
    /// MBA has steps of 10 %. What is asked for is rounded up to a step; a cap of 4,000 MB/s let 13,634
    /// through on a socket of about 136 GB/s (intel-cmt-cat issue 277).
    pub throttle_steps: f64,
    /// How long a throttle takes to bite; until then it lets more through (seconds were seen in
    /// intel-cmt-cat issue 185).
    pub throttle_settles: Duration,
    /// How much a hit in the last-level cache counts against a throttle, compared with a miss: the delay
    /// sits between core and cache, so that hits wait as well. A choice.
    pub throttle_hits: f64,
    /// Speed that all others on the socket lose when all of it is throttled to nothing, where cores have
    /// two threads: both share the larger delay. A choice.
    pub throttle_spill: f64,
    /// How long an instance of a GPU goes on before it can be taken from a VM that keeps it busy. A choice,
    /// of the order of a training step or a batch of requests and its clean-up.
    pub gpu_drain: Duration,
    /// Slow-down of a VM whose memory is all one NUMA hop (distance 21) away. Remote access takes about
    /// 1.4 to 1.7 times as long on two-socket servers; a typical program feels about a third of that.
    pub remote_slowdown: f64,
    /// Slow-down per share of the working set that is not in memory. With k, a VM that misses a tenth
    /// runs at 1 / (1 + k/10) of its speed. A choice for paging to an NVMe disk.
    pub paging_slowdown: f64,
    /// How long requests wait before whoever sent them gives up, in time of the VM's own CPUs. A choice.
    pub patience: Duration,
    /// How fast a balloon inflates. 512 to 256 MiB took 1.5 s on QEMU 10.0 under TCG.
    pub balloon_inflate_bytes_s: f64,
    /// How fast it deflates. 256 to 512 MiB took 0.3 s there.
    pub balloon_deflate_bytes_s: f64,
    /// How fast pages move between nodes. A choice, below what one core copies.
    pub migrate_bytes_s: f64,
    /// How long a guest resists before its refusal is known. A choice; an unreachable balloon target
    /// was silent for 30 s in the lab.
    pub refusal_after: Duration,
    /// For how long it is not asked again.
    pub refusal_rest: Duration,
    /// The share of device hand-overs that fail. A choice.
    pub device_failure: f64,
    /// What a VM moves through the host's own storage and network when it owns no device. A choice.
    pub paravirtual_bytes_s: f64,
    /// Error of counters, as a share of what they count in one step. A choice.
    pub counter_noise: f64,
    /// By how many steps counters lag behind, 0 or 1.
    pub counter_lag: bool,
}

impl Default for Parameters {
    fn default() -> Self {
        Self {
            step: Duration::from_secs(1),
            window: Duration::from_secs(60),
            burst_sigma: 0.25,
            burst_rho: 0.9,
            surge_every: Duration::from_secs(1800),
            surge_length: Duration::from_secs(20),
            surge_height: 1.6,
            throttle_steps: 10.0,
            throttle_settles: Duration::from_secs(2),
            throttle_hits: 0.3,
            throttle_spill: 0.1,
            gpu_drain: Duration::from_secs(3),
            remote_slowdown: 0.15,
            paging_slowdown: 20.0,
            patience: Duration::from_secs(10),
            balloon_inflate_bytes_s: 170.0 * 1024.0 * 1024.0,
            balloon_deflate_bytes_s: 850.0 * 1024.0 * 1024.0,
            migrate_bytes_s: 1.0e9,
            refusal_after: Duration::from_secs(5),
            refusal_rest: Duration::from_secs(60),
            device_failure: 0.01,
            paravirtual_bytes_s: 150.0e6,
            counter_noise: 0.01,
            counter_lag: true,
        }
    }
}

impl Parameters {
    /// Mean demand of a VM with surges against one without.
    pub(crate) fn mean_surge(&self) -> f64 {
        let (every, length) = (self.surge_every.as_secs_f64(), self.surge_length.as_secs_f64());
        1.0 + (self.surge_height - 1.0) * length / (every + length)
    }
}
