//! The features of the host, each with the code that computes it.

use halcyon_model::{ByteSize, ChangeKind, Control, DeviceClass, Family};

use super::table::{HostColumn, host};
use super::tally::{NodeTally, SocketTally, Tally};
use super::{bit, count, share};
use crate::View;

/// All of them, in order.
pub(super) const GROUPS: [&[HostColumn]; 3] = [&SUMS, &DEVICES, &CHANGES];

/// The host at one moment.
#[derive(Debug, Clone, Copy)]
pub(super) struct Host<'a> {
    pub(super) view: &'a View<'a>,
    pub(super) tally: &'a Tally,
}

impl Host<'_> {
    /// Of the CPU time of all sockets.
    fn of_cpu(&self, part: impl Fn(&SocketTally) -> f64) -> f64 {
        let sockets = || self.tally.sockets.iter();
        share(sockets().map(part).sum(), sockets().map(|socket| socket.cpu).sum())
    }

    fn memory(&self, part: impl Fn(&NodeTally) -> f64) -> f64 {
        self.tally.nodes.iter().map(part).sum()
    }

    /// Of the memory of all nodes.
    fn of_memory(&self, bytes: f64) -> f64 {
        share(bytes, self.memory(|node| node.memory))
    }

    fn held(&self) -> ByteSize {
        self.view.snapshot.assignment.holdings.iter().map(|holding| holding.total_memory()).sum()
    }

    fn bandwidth_loads(&self) -> impl Iterator<Item = f64> {
        self.tally.sockets.iter().map(|socket| share(socket.bandwidth_used, socket.bandwidth))
    }

    fn classes(&self) -> f64 {
        number(self.view.world.topology.cache_classes())
    }

    fn classes_used(&self) -> f64 {
        number(self.view.snapshot.assignment.classes.iter().flatten().count())
    }

    /// The fewest ways of a cache that can be divided; zero without one.
    fn ways(&self) -> f64 {
        let sockets = self.view.world.topology.sockets();
        let ways = sockets.iter().filter_map(|socket| socket.cache.as_ref()).map(|cache| cache.ways);
        f64::from(ways.min().unwrap_or(0))
    }

    fn devices(&self, class: DeviceClass) -> f64 {
        f64::from(self.tally.devices[class as usize].total)
    }

    fn free(&self, class: DeviceClass) -> f64 {
        let found = self.tally.devices[class as usize];
        share(f64::from(found.free), f64::from(found.total))
    }

    fn allows(&self, kind: ChangeKind) -> f64 {
        bit(self.view.world.capabilities.allows(kind))
    }

    fn price(&self, kind: ChangeKind) -> f64 {
        self.view.world.capabilities.get(kind).map_or(0.0, price)
    }

    fn frozen(&self, family: Family) -> f64 {
        bit(self.view.frozen.contains(family))
    }
}

#[allow(clippy::cast_precision_loss)]
fn number(count: usize) -> f64 {
    count as f64
}

/// What a change costs in seconds of all kinds, as a logarithm that starts at a millisecond.
fn price(control: &Control) -> f64 {
    let waiting = control.latency.as_secs_f64() + control.interruption.as_secs_f64();
    libm::log10((control.cost_s.max(0.0) + waiting).max(1e-3))
}

const SUMS: [HostColumn; 17] = [
    host("vms", "log2", "number of VMs", |host| libm::log2(number(host.view.world.vms.len().max(1)))),
    host("sockets", "log2", "number of sockets", |host| libm::log2(number(host.tally.sockets.len().max(1)))),
    host("nodes", "log2", "number of memory nodes", |host| libm::log2(number(host.tally.nodes.len().max(1)))),
    host("cpu_limits", "of the host's CPU time", "CPU limits of all VMs", |host| {
        host.of_cpu(|socket| socket.cpu_limits)
    }),
    host("cpu_reservations", "of the host's CPU time", "CPU time promised to VMs", |host| {
        host.of_cpu(|socket| socket.cpu_reserved)
    }),
    host("cpu_held", "of the host's CPU time", "CPU shares of all VMs", |host| {
        host.of_cpu(|socket| socket.cpu_held)
    }),
    host("cpu_used", "of the host's CPU time", "CPU time that VMs use and wait for, over 4 s", |host| {
        host.of_cpu(|socket| socket.cpu_used)
    }),
    host("cpu_used_most", "of the socket", "the same on the socket where it is most", |host| {
        let loads = host.tally.sockets.iter().map(|socket| share(socket.cpu_used, socket.cpu));
        loads.fold(0.0, f64::max)
    }),
    host("memory_limits", "of the host's memory", "memory limits of all VMs", |host| {
        host.of_memory(host.tally.memory_limits)
    }),
    host("memory_held", "of the host's memory", "memory that VMs hold", |host| {
        host.of_memory(host.held().as_f64())
    }),
    host("working_sets", "of the host's memory", "working sets of the VMs of which they are known", |host| {
        host.of_memory(host.tally.working_sets)
    }),
    host("memory_free", "of the host's memory", "memory that no VM holds", |host| {
        host.of_memory(host.memory(|node| node.free))
    }),
    host("bandwidth_most", "of the socket", "memory traffic of the socket where it is most", |host| {
        host.bandwidth_loads().fold(0.0, f64::max)
    }),
    host("bandwidth_mean", "of the socket", "mean memory traffic of the sockets", |host| {
        share(host.bandwidth_loads().sum(), number(host.tally.sockets.len()))
    }),
    host("cache_classes", "log2(1 + n)", "classes of service that the hardware has", |host| {
        count(host.classes())
    }),
    host("cache_classes_used", "of the classes", "classes of service that are in use", |host| {
        share(host.classes_used(), host.classes())
    }),
    host("cache_ways", "of 32 ways", "ways of the cache; 0 where they cannot be divided", |host| {
        host.ways() / 32.0
    }),
];

const DEVICES: [HostColumn; 12] = [
    host("nvme_count", "log2(1 + n)", "NVMe devices that VMs can own", |host| {
        count(host.devices(DeviceClass::Nvme))
    }),
    host("nvme_free", "of those", "NVMe devices that no VM owns", |host| host.free(DeviceClass::Nvme)),
    host("nic_count", "log2(1 + n)", "network interfaces that VMs can own", |host| {
        count(host.devices(DeviceClass::Nic))
    }),
    host("nic_free", "of those", "network interfaces that no VM owns", |host| host.free(DeviceClass::Nic)),
    host("gpu_device_count", "log2(1 + n)", "GPUs that VMs can own", |host| {
        count(host.devices(DeviceClass::Gpu))
    }),
    host("gpu_device_free", "of those", "GPUs that no VM owns", |host| host.free(DeviceClass::Gpu)),
    host("cxl_memory_count", "log2(1 + n)", "CXL memory devices that VMs can own", |host| {
        count(host.devices(DeviceClass::CxlMemory))
    }),
    host("cxl_memory_free", "of those", "CXL memory devices that no VM owns", |host| {
        host.free(DeviceClass::CxlMemory)
    }),
    host("accelerator_count", "log2(1 + n)", "other accelerators that VMs can own", |host| {
        count(host.devices(DeviceClass::Accelerator))
    }),
    host("accelerator_free", "of those", "other accelerators that no VM owns", |host| {
        host.free(DeviceClass::Accelerator)
    }),
    host("gpu_slices", "log2(1 + n)", "compute slices of the GPUs that can be divided", |host| {
        count(host.tally.slices)
    }),
    host("gpu_slices_free", "of those", "compute slices that are in no VM's instance", |host| {
        share(host.tally.slices - host.tally.slices_held, host.tally.slices)
    }),
];

const CHANGES: [HostColumn; 27] = [
    host("cpu_changes", "bit", "changes of the kind `cpu` can be made now", |host| {
        host.allows(ChangeKind::Cpu)
    }),
    host("cpu_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::Cpu)
    }),
    host(
        "memory_bandwidth_changes",
        "bit",
        "changes of the kind `memory-bandwidth` can be made now",
        |host| host.allows(ChangeKind::MemoryBandwidth),
    ),
    host(
        "memory_bandwidth_price",
        "log10 of seconds",
        "its cost, latency and interruption together",
        |host| host.price(ChangeKind::MemoryBandwidth),
    ),
    host("placement_changes", "bit", "changes of the kind `placement` can be made now", |host| {
        host.allows(ChangeKind::Placement)
    }),
    host("placement_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::Placement)
    }),
    host("memory_changes", "bit", "changes of the kind `memory` can be made now", |host| {
        host.allows(ChangeKind::Memory)
    }),
    host("memory_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::Memory)
    }),
    host(
        "memory_migration_changes",
        "bit",
        "changes of the kind `memory-migration` can be made now",
        |host| host.allows(ChangeKind::MemoryMigration),
    ),
    host(
        "memory_migration_price",
        "log10 of seconds",
        "its cost, latency and interruption together",
        |host| host.price(ChangeKind::MemoryMigration),
    ),
    host("cache_mask_changes", "bit", "changes of the kind `cache-mask` can be made now", |host| {
        host.allows(ChangeKind::CacheMask)
    }),
    host("cache_mask_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::CacheMask)
    }),
    host("cache_class_changes", "bit", "changes of the kind `cache-class` can be made now", |host| {
        host.allows(ChangeKind::CacheClass)
    }),
    host("cache_class_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::CacheClass)
    }),
    host("device_changes", "bit", "changes of the kind `device` can be made now", |host| {
        host.allows(ChangeKind::Device)
    }),
    host("device_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::Device)
    }),
    host(
        "device_bandwidth_changes",
        "bit",
        "changes of the kind `device-bandwidth` can be made now",
        |host| host.allows(ChangeKind::DeviceBandwidth),
    ),
    host(
        "device_bandwidth_price",
        "log10 of seconds",
        "its cost, latency and interruption together",
        |host| host.price(ChangeKind::DeviceBandwidth),
    ),
    host("link_changes", "bit", "changes of the kind `link` can be made now", |host| {
        host.allows(ChangeKind::Link)
    }),
    host("link_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::Link)
    }),
    host("gpu_instance_changes", "bit", "changes of the kind `gpu-instance` can be made now", |host| {
        host.allows(ChangeKind::GpuInstance)
    }),
    host("gpu_instance_price", "log10 of seconds", "its cost, latency and interruption together", |host| {
        host.price(ChangeKind::GpuInstance)
    }),
    host("compute_frozen", "bit", "the family `compute` stays as it is in this cycle", |host| {
        host.frozen(Family::Compute)
    }),
    host("memory_frozen", "bit", "the family `memory` stays as it is in this cycle", |host| {
        host.frozen(Family::Memory)
    }),
    host("cache_frozen", "bit", "the family `cache` stays as it is in this cycle", |host| {
        host.frozen(Family::Cache)
    }),
    host("fabric_frozen", "bit", "the family `fabric` stays as it is in this cycle", |host| {
        host.frozen(Family::Fabric)
    }),
    host("gpu_frozen", "bit", "the family `gpu` stays as it is in this cycle", |host| {
        host.frozen(Family::Gpu)
    }),
];
