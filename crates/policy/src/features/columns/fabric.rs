//! Devices and GPU slices.

use halcyon_model::DeviceClass;

use crate::Span;
use crate::features::table::{VmColumn, vm};
use crate::features::{bit, count};

/// Compute slices that count as a whole GPU.
const WHOLE: f64 = 7.0;

pub(super) const COLUMNS: [VmColumn; 19] = [
    vm("nvme_wished", "log2(1 + n)", "NVMe devices that it can use", |vm| count(vm.wish(DeviceClass::Nvme))),
    vm("nvme_held", "log2(1 + n)", "NVMe devices that it owns", |vm| count(f64::from(vm.own.nvme))),
    vm("nic_wished", "log2(1 + n)", "network interfaces that it can use", |vm| {
        count(vm.wish(DeviceClass::Nic))
    }),
    vm("nic_held", "log2(1 + n)", "network interfaces that it owns", |vm| count(f64::from(vm.own.nics))),
    vm("other_devices_held", "log2(1 + n)", "devices of other classes that it owns", |vm| {
        count(f64::from(vm.own.others))
    }),
    vm("devices_known", "bit", "what its devices move is measured", |vm| bit(vm.readings.devices.is_some())),
    vm("devices_last", "of its devices", "what they moved in the last cycle, of what they may", |vm| {
        vm.traffic(|known| known.devices.last())
    }),
    vm("devices_mean_5min", "of its devices", "its mean over 5 min", |vm| {
        vm.traffic(|known| known.trends.devices.mean(Span::Minutes5).or(known.devices.last()))
    }),
    vm("devices_p95", "of its devices", "its 95th percentile over the last 64 cycles", |vm| {
        vm.traffic(|known| known.devices.percentile(0.95))
    }),
    vm("io_stalled_known", "bit", "time stalled for devices is measured", |vm| {
        bit(vm.readings.io_stalled.is_some())
    }),
    vm("io_stalled_last", "of the time", "time stalled for devices, in the last cycle", |vm| {
        vm.readings.io_stalled.and_then(|known| known.io_stalled.last()).unwrap_or(0.0)
    }),
    vm("io_stalled_p75", "of the time", "its 75th percentile over the last 64 cycles", |vm| {
        vm.readings.io_stalled.and_then(|known| known.io_stalled.percentile(0.75)).unwrap_or(0.0)
    }),
    vm("gpu_held", "of 7 slices", "GPU compute slices that it holds", |vm| f64::from(vm.own.slices) / WHOLE),
    vm("gpu_reservation", "of 7 slices", "GPU compute slices that it is promised", |vm| {
        f64::from(vm.spec.gpu_slices.reservation) / WHOLE
    }),
    vm("gpu_limit", "of 7 slices", "GPU compute slices that it can use", |vm| {
        f64::from(vm.spec.gpu_slices.limit) / WHOLE
    }),
    vm("gpu_known", "bit", "how busy its slices are is measured", |vm| bit(vm.readings.gpu.is_some())),
    vm("gpu_last", "of the time", "time that its slices were busy, in the last cycle", |vm| {
        vm.readings.gpu.and_then(|known| known.gpu.last()).unwrap_or(0.0)
    }),
    vm("gpu_mean_5min", "of the time", "its mean over 5 min", |vm| {
        let mean = |known: &crate::Estimate| known.trends.gpu.mean(Span::Minutes5).or(known.gpu.last());
        vm.readings.gpu.and_then(mean).unwrap_or(0.0)
    }),
    vm("gpu_p90", "of the time", "its 90th percentile over the last 64 cycles", |vm| {
        vm.readings.gpu.and_then(|known| known.gpu.percentile(0.90)).unwrap_or(0.0)
    }),
];
