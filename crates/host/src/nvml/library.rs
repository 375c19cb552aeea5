//! Reading through the library itself.

use std::collections::BTreeMap;
use std::ffi::OsStr;

use nvml_wrapper::enum_wrappers::device::{PcieUtilCounter, TemperatureSensor};
use nvml_wrapper::enums::device::UsedGpuMemory;
use nvml_wrapper::error::NvmlError;
use nvml_wrapper::struct_wrappers::device::ProcessInfo;
use nvml_wrapper::{Device, Nvml};

use super::reading::{GpuProcess, GpuReading, Mig, MigInstance, Reading};

/// More than a host has, and more instances than a GPU can be divided into: the driver is not believed more.
const MOST: u32 = 256;

/// Why there is nothing to read GPUs with.
#[derive(Debug, thiserror::Error)]
#[error(
    "NVIDIA GPUs cannot be read: the driver's management library (libnvidia-ml.so.1) is not there or does not \
     start; on a host with NVIDIA GPUs install their driver, on any other this is as it should be"
)]
pub struct NvmlUnavailable {
    #[from]
    source: NvmlError,
}

/// The library, loaded.
#[derive(Debug)]
pub struct Library {
    nvml: Nvml,
    number: u64,
    /// By index of the GPU, until when its processes are known, in microseconds of the driver's clock.
    seen_us: BTreeMap<u32, u64>,
}

impl Library {
    /// Looks for the library and starts it.
    ///
    /// # Errors
    /// When it is not there, or finds no driver.
    pub fn open() -> Result<Self, NvmlUnavailable> {
        // A driver without its files for development has the name with the version only.
        let versioned = Nvml::builder().lib_path(OsStr::new("libnvidia-ml.so.1")).init();
        let nvml = match versioned {
            Err(NvmlError::LibloadingError(_)) => Nvml::init()?,
            other => other?,
        };
        Ok(Self { nvml, number: 0, seen_us: BTreeMap::new() })
    }

    /// Reads all GPUs. May last some tenths of a second, and longer while a GPU wakes up.
    pub fn read(&mut self) -> Reading {
        self.number += 1;
        let driver = self.nvml.sys_driver_version().ok();
        let mut reading = Reading { number: self.number, driver, ..Reading::default() };
        let count = match self.nvml.device_count() {
            Ok(count) => count.min(MOST),
            Err(error) => {
                reading.troubles.push(format!("GPUs cannot be counted: {error}"));
                0
            }
        };
        for index in 0..count {
            match self.nvml.device_by_index(index) {
                Ok(device) => reading.gpus.push(gpu(&device, self.seen_us.entry(index).or_default())),
                Err(error) => reading.troubles.push(format!("GPU {index} cannot be read: {error}")),
            }
        }
        reading
    }
}

/// Keeps the first real error of a GPU; that it does not have something is none.
struct Trouble(Option<String>);

impl Trouble {
    fn ok<T>(&mut self, what: &str, result: Result<T, NvmlError>) -> Option<T> {
        let absent = |error: &NvmlError| {
            matches!(
                error,
                NvmlError::NotSupported
                    | NvmlError::NotFound
                    | NvmlError::FailedToLoadSymbol(_)
                    | NvmlError::FunctionNotFound
            )
        };
        match result {
            Ok(value) => Some(value),
            Err(error) => {
                if !absent(&error) {
                    self.0.get_or_insert_with(|| format!("{what}: {error}"));
                }
                None
            }
        }
    }
}

fn gpu(device: &Device<'_>, seen_us: &mut u64) -> GpuReading {
    let mut trouble = Trouble(None);
    let pci = trouble.ok("PCI address", device.pci_info());
    let address =
        pci.and_then(|pci| format!("{:04x}:{:02x}:{:02x}.0", pci.domain, pci.bus, pci.device).parse().ok());
    let busy = trouble.ok("utilisation", device.utilization_rates());
    let memory = trouble.ok("memory", device.memory_info());
    let mig = trouble.ok("MIG mode", device.mig_mode());
    let mig = mig.map(|mode| Mig { is_enabled: mode.current == 1, will_be_enabled: mode.pending == 1 });
    let mut carried = |direction| {
        let kilobytes = trouble.ok("PCIe throughput", device.pcie_throughput(direction))?;
        Some(u64::from(kilobytes) * 1000)
    };
    let (received, sent) = (carried(PcieUtilCounter::Receive), carried(PcieUtilCounter::Send));
    GpuReading {
        name: trouble.ok("name", device.name()),
        uuid: trouble.ok("UUID", device.uuid()),
        address,
        busy_percent: busy.as_ref().map(|busy| busy.gpu),
        memory_busy_percent: busy.as_ref().map(|busy| busy.memory),
        memory_total_bytes: memory.as_ref().map(|memory| memory.total),
        memory_used_bytes: memory.as_ref().map(|memory| memory.used),
        pcie_received_bytes_s: received,
        pcie_sent_bytes_s: sent,
        link_generation: trouble.ok("PCIe generation", device.current_pcie_link_gen()),
        link_width: trouble.ok("PCIe width", device.current_pcie_link_width()),
        most_link_generation: trouble.ok("PCIe generation at most", device.max_pcie_link_gen()),
        most_link_width: trouble.ok("PCIe width at most", device.max_pcie_link_width()),
        mig,
        mig_instances: if mig.is_some_and(|mig| mig.is_enabled) { instances(device) } else { Vec::new() },
        power_milliwatts: trouble.ok("power", device.power_usage()),
        power_limit_milliwatts: trouble.ok("power limit", device.enforced_power_limit()),
        temperature_celsius: trouble.ok("temperature", device.temperature(TemperatureSensor::Gpu)),
        processes: processes(device, seen_us, &mut trouble),
        trouble: trouble.0,
    }
}

fn instances(device: &Device<'_>) -> Vec<MigInstance> {
    let most = device.mig_device_count().unwrap_or(0).min(MOST);
    // Numbers without an instance are left out by the driver with an error.
    let instances = (0..most).filter_map(|index| device.mig_device_by_index(index).ok());
    instances
        .map(|instance| {
            let attributes = instance.attributes().ok();
            let memory = instance.memory_info().ok();
            MigInstance {
                uuid: instance.uuid().ok(),
                compute_slices: attributes.as_ref().map(|has| has.compute_instance_slice_count),
                gpu_slices: attributes.as_ref().map(|has| has.gpu_instance_slice_count),
                multiprocessors: attributes.as_ref().map(|has| has.multiprocessor_count),
                memory_total_bytes: memory.as_ref().map(|memory| memory.total),
                memory_used_bytes: memory.as_ref().map(|memory| memory.used),
            }
        })
        .collect()
}

fn processes(device: &Device<'_>, seen_us: &mut u64, trouble: &mut Trouble) -> Vec<GpuProcess> {
    let compute = trouble.ok("compute processes", device.running_compute_processes());
    let graphics = trouble.ok("graphics processes", device.running_graphics_processes());
    let busy = busy(device, seen_us);
    let process = |info: ProcessInfo| GpuProcess {
        pid: info.pid,
        memory_bytes: match info.used_gpu_memory {
            UsedGpuMemory::Used(bytes) => Some(bytes),
            UsedGpuMemory::Unavailable => None,
        },
        gpu_instance: info.gpu_instance_id,
        compute_instance: info.compute_instance_id,
        // A process that is on it and did nothing was not sampled.
        busy_percent: busy.as_ref().map(|busy| busy.get(&info.pid).copied().unwrap_or(0)),
    };
    let all = compute.into_iter().chain(graphics).flatten();
    let mut processes: Vec<GpuProcess> = all.map(process).collect();
    let key = |process: &GpuProcess| (process.pid, process.gpu_instance, process.compute_instance);
    processes.sort_by_key(key);
    // One that computes and draws is in both lists.
    processes.dedup_by_key(|process| key(process));
    processes
}

/// How busy each process kept the multiprocessors since the reading before, as the mean of the driver's
/// samples. None where the driver does not sample; nothing where nobody did anything.
fn busy(device: &Device<'_>, seen_us: &mut u64) -> Option<BTreeMap<u32, u32>> {
    let samples = match device.process_utilization_stats(*seen_us) {
        Ok(samples) => samples,
        Err(NvmlError::NotFound) => Vec::new(),
        Err(_) => return None,
    };
    let mut sums: BTreeMap<u32, (u64, u64)> = BTreeMap::new();
    for sample in samples.iter().filter(|sample| sample.timestamp > *seen_us) {
        let (sum, count) = sums.entry(sample.pid).or_default();
        (*sum, *count) = (*sum + u64::from(sample.sm_util.min(100)), *count + 1);
    }
    *seen_us = samples.iter().map(|sample| sample.timestamp).fold(*seen_us, u64::max);
    let mean = |(sum, count): (u64, u64)| u32::try_from(sum / count.max(1)).unwrap_or(100);
    Some(sums.into_iter().map(|(pid, of)| (pid, mean(of))).collect())
}
