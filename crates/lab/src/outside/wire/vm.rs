//! VMs: what each is promised, and what was read of it.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::DeviceClass;

/// The least and the most that a VM may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Bounds<T> {
    /// What it holds at every instant.
    pub reservation: T,
    /// What it never exceeds.
    pub limit: T,
}

/// A VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vm {
    /// Its name: 1 to 64 characters out of a-z, A-Z, 0-9, `-`, `_`, `.` and `:`; no two VMs share one.
    pub name: String,
    /// Virtual CPUs, 1 to 1024.
    pub vcpus: u32,
    /// How much it counts against its neighbours, 1 to 10,000.
    #[serde(default = "usual_weight")]
    pub weight: u32,
    /// CPU time, in thousandths of a hardware thread. Left out: nothing, up to all its vCPUs.
    #[serde(default)]
    pub cpu_milli: Option<Bounds<u64>>,
    /// Memory, in bytes.
    pub memory_bytes: Bounds<u64>,
    /// Memory bandwidth, in bytes per second. Left out: nothing, up to all that a socket has.
    #[serde(default)]
    pub memory_bandwidth_bytes_per_s: Option<Bounds<u64>>,
    /// Devices that it must have or would like, each class once.
    #[serde(default)]
    pub devices: Vec<DeviceWish>,
    /// GPU compute slices. Left out: none.
    #[serde(default)]
    pub gpu_slices: Option<Bounds<u32>>,
    /// What it is judged by.
    #[serde(default)]
    pub objective: Objective,
    /// The name of its application profile, where known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub application: Option<String>,
}

const fn usual_weight() -> u32 {
    100
}

/// Devices of one class.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceWish {
    /// What kind.
    pub class: DeviceClass,
    /// How many.
    pub count: Bounds<u32>,
    /// Bandwidth of each, in bytes per second.
    pub bandwidth_bytes_per_s: Bounds<u64>,
}

/// What a VM is judged by.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Objective {
    /// 99 of 100 requests are to be answered within this time, in seconds.
    #[serde(rename = "latency_p99_s")]
    LatencyP99(f64),
    /// Work is to be done as fast as it would be alone.
    Throughput,
    /// Whatever is left is welcome.
    #[default]
    BestEffort,
}

/// What was read of one VM. Counters only ever grow, until a restart resets them.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Sample {
    /// The VM.
    pub vm: String,
    /// Counter: CPU time used, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_used_us: Option<u64>,
    /// Counter: time that its vCPUs were runnable and did not run, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_waited_us: Option<u64>,
    /// Counter: time that it stood still for memory, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_stalled_us: Option<u64>,
    /// Counter: time that it stood still for devices, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub io_stalled_us: Option<u64>,
    /// Counter: bytes moved to and from memory.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub memory_traffic_bytes: Option<u64>,
    /// Counter: time that its GPU slices were busy, in microseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gpu_busy_us: Option<u64>,
    /// Counters: bytes moved through the fabric, by device.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub device_bytes: Vec<DeviceBytes>,
    /// Memory that it has touched lately, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub working_set_bytes: Option<u64>,
    /// Last-level cache that it fills, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cache_bytes: Option<u64>,
    /// The 99th percentile of its response time lately, in seconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub p99_s: Option<f64>,
    /// Work waiting, in seconds of its own CPUs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backlog_s: Option<f64>,
    /// Until when it should not be asked again for memory that it refused, in seconds since the start.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refuses_memory_until_s: Option<f64>,
}

/// Bytes that one device moved for a VM.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct DeviceBytes {
    /// The device.
    pub device: u32,
    /// Bytes so far.
    pub bytes: u64,
}

/// What a policy sees of one VM.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Seen {
    /// What was read.
    #[serde(flatten)]
    pub sample: Sample,
    /// What happened since the snapshot before; empty in the first.
    pub rates: Rates,
}

/// Rates of one VM between two snapshots.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, JsonSchema)]
pub struct Rates {
    /// CPU time used, in thousandths of a hardware thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_used_milli: Option<u64>,
    /// CPU time waited for, in thousandths of a hardware thread.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_waited_milli: Option<u64>,
    /// Memory traffic, in bytes per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bandwidth_bytes_per_s: Option<u64>,
    /// Share of the time that it stood still for memory, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_stalled_share: Option<f64>,
    /// Share of the time that it stood still for devices, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub io_stalled_share: Option<f64>,
    /// Share of the time that its GPU slices were busy, 0 to 1.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gpu_busy_share: Option<f64>,
}
