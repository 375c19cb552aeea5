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
