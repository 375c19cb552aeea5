//! What is told to the allocator.

use std::time::Duration;

use halcyon_model::describe::Host;
use halcyon_model::profile::Profiles;
use halcyon_model::{Bandwidth, Bounds, ByteSize, DeviceWish, HostTime, MilliCpu, Objective, Weight};

use super::Allocation;

/// One VM: what it is allowed, what was just measured of it, and what it holds.
#[derive(Debug, Clone, PartialEq)]
pub struct VmData {
    /// What people call it. It is known by its name from one call to the next.
    pub name: String,
    /// Virtual CPUs, 1 to 1024.
    pub vcpus: u32,
    /// How much it counts against its neighbours.
    pub weight: Weight,
    /// CPU time.
    pub cpu: Bounds<MilliCpu>,
    /// Memory.
    pub memory: Bounds<ByteSize>,
    /// Memory bandwidth; `None` reserves nothing and allows all that a socket has.
    pub memory_bandwidth: Option<Bounds<Bandwidth>>,
    /// Devices that it must have or would like, each class at most once.
    pub devices: Vec<DeviceWish>,
    /// GPU compute slices.
    pub gpu_slices: Bounds<u32>,
    /// What it is judged by: response times, throughput, or nothing.
    pub objective: Objective,
    /// The name of its program in [`SystemState::profiles`], where known.
    pub application: Option<String>,
    /// What was measured of it since the last call.
    pub measured: Measured,
    /// What it holds now, where that is known and is not what it was given last.
    pub holds: Holds,
}

impl VmData {
    /// A VM of usual weight that may use all of its `vcpus` and is judged by nothing; nothing was measured
    /// of it yet.
    #[must_use]
    pub fn new(name: impl Into<String>, vcpus: u32, memory: Bounds<ByteSize>) -> Self {
        Self {
            name: name.into(),
            vcpus,
            weight: Weight::DEFAULT,
            cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(u64::from(vcpus)) },
            memory,
            memory_bandwidth: None,
            devices: Vec::new(),
            gpu_slices: Bounds::default(),
            objective: Objective::BestEffort,
            application: None,
            measured: Measured::default(),
            holds: Holds::default(),
        }
    }
}

/// What was measured of one VM since the last call, or, at the first, over the last second. What was not
/// measured is `None`, which is not the same as nothing used. Shares of time are from 0 to 1.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Measured {
    /// CPU time used, in cores.
    pub cpu_cores: Option<f64>,
    /// CPU time that it was runnable and did not get, in cores.
    pub cpu_waited_cores: Option<f64>,
    /// Memory that it has touched lately, in bytes.
    pub working_set_bytes: Option<f64>,
    /// Last-level cache that it fills, in bytes.
    pub cache_bytes: Option<f64>,
    /// Memory traffic, in bytes per second.
    pub memory_bytes_per_s: Option<f64>,
    /// Share of the time that it stood still for memory (PSI).
    pub memory_stalled: Option<f64>,
    /// Share of the time that it stood still for devices (PSI).
    pub io_stalled: Option<f64>,
    /// Share of the time that its GPU slices were busy.
    pub gpu_busy: Option<f64>,
    /// Traffic of disks, network interfaces and other devices through the fabric, in bytes per second, by
    /// the device's name; a device that is not listed was not measured.
    pub devices: Vec<(String, f64)>,
    /// The 99th percentile of its response times, in seconds.
    pub latency_p99_s: Option<f64>,
    /// Work waiting, in seconds of its own CPUs.
    pub backlog_s: Option<f64>,
}

/// What one VM holds now. What is `None` is what it was given last; at the first call, its reservation.
///
/// What is told here is fitted to bounds and host before anything is decided: a machine on which more is held
/// than there is cannot be described.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Holds {
    /// CPU time set aside for it, in cores.
    pub cpu_cores: Option<f64>,
    /// Memory, in bytes. Where on the host it lies is taken to be as near to its CPUs as there is room.
    pub memory_bytes: Option<f64>,
    /// The devices that it owns, by name, and no others. What shares an IOMMU group with one of them is
    /// taken to be owned with it.
    pub devices: Option<Vec<String>>,
}

/// The host, and what is held on it.
#[derive(Debug, Clone, PartialEq)]
pub struct SystemState {
    /// The host and what can be changed on it, from
    /// [`parse_host`](halcyon_model::describe::parse_host) or built in code.
    pub host: Host,
    /// When this was measured, since any fixed moment; at least [`LEAST_INTERVAL`] after the last call.
    pub at: HostTime,
    /// Who holds what now. `None` is what this allocator answered last; at the first call, that every VM
    /// holds its reservation.
    pub current: Option<Allocation>,
    /// What is known of the programs that VMs run.
    pub profiles: Profiles,
}

impl SystemState {
    /// A host of which nothing more is known.
    #[must_use]
    pub fn new(host: Host, at: HostTime) -> Self {
        Self { host, at, current: None, profiles: Profiles::default() }
    }
}

/// The least time between two calls; rates over less say nothing.
pub const LEAST_INTERVAL: Duration = Duration::from_millis(1);
