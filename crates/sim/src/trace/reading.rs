//! One measurement of one VM, in Halcyon's own units: what every importer yields.

use std::sync::Arc;
use std::time::Duration;

use super::error::Problem;

/// What one VM did during one stretch of time. A `None` was not measured; it is never a zero.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The VM's name: 1 to 256 bytes without control characters.
    pub vm: Arc<str>,
    /// The start of the stretch, since the trace's epoch.
    pub time: Duration,
    /// How long the stretch is, where the trace says so.
    pub interval: Option<Duration>,
    /// Mean CPU use, as a share (0 to 1) of the VM's own vCPUs.
    pub cpu: Option<f64>,
    /// The highest CPU use within the stretch, as a share of the VM's own vCPUs.
    pub cpu_peak: Option<f64>,
    /// The number of vCPUs.
    pub cores: Option<f64>,
    /// Memory in use, in bytes.
    pub memory_bytes: Option<u64>,
    /// Memory that the VM was given, in bytes.
    pub memory_capacity_bytes: Option<u64>,
    /// Memory in use as a share (0 to 1) of what the VM was given.
    pub memory_util: Option<f64>,
    /// Bytes read from disks per second.
    pub disk_read_bytes_s: Option<f64>,
    /// Bytes written to disks per second.
    pub disk_write_bytes_s: Option<f64>,
    /// Bytes received from networks per second.
    pub net_rx_bytes_s: Option<f64>,
    /// Bytes sent to networks per second.
    pub net_tx_bytes_s: Option<f64>,
    /// Share of time (0 to 1) in which the GPU was busy.
    pub gpu_util: Option<f64>,
    /// GPU memory in use, in bytes.
    pub gpu_memory_bytes: Option<u64>,
}

impl Reading {
    /// A reading in which nothing was measured yet.
    #[must_use]
    pub fn new(vm: Arc<str>, time: Duration) -> Self {
        Self {
            vm,
            time,
            interval: None,
            cpu: None,
            cpu_peak: None,
            cores: None,
            memory_bytes: None,
            memory_capacity_bytes: None,
            memory_util: None,
            disk_read_bytes_s: None,
            disk_write_bytes_s: None,
            net_rx_bytes_s: None,
            net_tx_bytes_s: None,
            gpu_util: None,
            gpu_memory_bytes: None,
        }
    }

    /// The value of one column; memory use as a share is derived from bytes where only these exist.
    #[must_use]
    #[allow(clippy::cast_precision_loss)]
    pub fn column(&self, column: Column) -> Option<f64> {
        match column {
            Column::Cpu => self.cpu,
            Column::CpuPeak => self.cpu_peak,
            Column::MemoryUtil => self.memory_util.or_else(|| self.derived_memory_util()),
            Column::DiskRead => self.disk_read_bytes_s,
            Column::DiskWrite => self.disk_write_bytes_s,
            Column::NetRx => self.net_rx_bytes_s,
            Column::NetTx => self.net_tx_bytes_s,
            Column::GpuUtil => self.gpu_util,
            Column::GpuMemory => self.gpu_memory_bytes.map(|bytes| bytes as f64),
        }
    }

    #[allow(clippy::cast_precision_loss)]
    fn derived_memory_util(&self) -> Option<f64> {
        let capacity = self.memory_capacity_bytes.filter(|capacity| *capacity > 0)?;
        Some((self.memory_bytes? as f64 / capacity as f64).min(1.0))
    }

    /// The first value that the form does not allow.
    pub(crate) fn check(&self) -> Result<(), Problem> {
        let shares = [
            ("cpu", self.cpu),
            ("cpu_peak", self.cpu_peak),
            ("memory_util", self.memory_util),
            ("gpu_util", self.gpu_util),
        ];
        let amounts = [
            ("cores", self.cores),
            ("disk_read_bytes_s", self.disk_read_bytes_s),
            ("disk_write_bytes_s", self.disk_write_bytes_s),
            ("net_rx_bytes_s", self.net_rx_bytes_s),
            ("net_tx_bytes_s", self.net_tx_bytes_s),
        ];
        check_values(&shares, 1.0, "a share from 0 to 1")?;
        check_values(&amounts, f64::MAX, "an amount that is finite and not negative")
    }
}

fn check_values(values: &[(&str, Option<f64>)], most: f64, expected: &str) -> Result<(), Problem> {
    for (name, value) in values {
        match value {
            // A NaN is in no range, so it is refused too.
            Some(value) if !(0.0..=most).contains(value) => {
                return Err(Problem::new(format!("`{value}` as {name}"), expected));
            }
            _ => {}
        }
    }
    Ok(())
}

/// The measured quantities of a [`Reading`] that vary with time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Share of the VM's vCPUs.
    Cpu,
    /// Highest share within the stretch.
    CpuPeak,
    /// Share of the VM's memory.
    MemoryUtil,
    /// Bytes per second.
    DiskRead,
    /// Bytes per second.
    DiskWrite,
    /// Bytes per second.
    NetRx,
    /// Bytes per second.
    NetTx,
    /// Share of time.
    GpuUtil,
    /// Bytes.
    GpuMemory,
}

impl Column {
    /// Every column, in the order of the form.
    pub const ALL: [Self; 9] = [
        Self::Cpu,
        Self::CpuPeak,
        Self::MemoryUtil,
        Self::DiskRead,
        Self::DiskWrite,
        Self::NetRx,
        Self::NetTx,
        Self::GpuUtil,
        Self::GpuMemory,
    ];

    /// The column's name in the form on disk.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::CpuPeak => "cpu_peak",
            Self::MemoryUtil => "memory_util",
            Self::DiskRead => "disk_read_bytes_s",
            Self::DiskWrite => "disk_write_bytes_s",
            Self::NetRx => "net_rx_bytes_s",
            Self::NetTx => "net_tx_bytes_s",
            Self::GpuUtil => "gpu_util",
            Self::GpuMemory => "gpu_memory_bytes",
        }
    }
}
