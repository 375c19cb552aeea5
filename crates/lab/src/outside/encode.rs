//! From the model to the wire.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_model::topology::{Attachment, LinkEnd, MemoryKind, PortKind, Topology};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, CacheMask, Capabilities, ChangeKind, DeviceClass, DeviceId,
    GpuInstance, Grant, LinkSetting, LinkSpeed, MilliCpu, Objective, Placement, Step, VmId, VmRates,
    VmSample, VmSpec,
};

use super::wire;

/// The amount in the smallest unit.
pub(super) trait Raw: Copy {
    fn raw(self) -> u64;
}

macro_rules! raw {
    ($($name:ty),*) => { $(impl Raw for $name { fn raw(self) -> u64 { self.get() } })* };
}
raw!(MilliCpu, ByteSize, Bandwidth);

pub(super) fn grant<T: Raw>(grant: Grant<T>) -> wire::Grant {
    wire::Grant { share: grant.share.raw(), ceiling: grant.ceiling.raw() }
}

fn bounds<T: Raw>(bounds: Bounds<T>) -> wire::Bounds<u64> {
    wire::Bounds { reservation: bounds.reservation.raw(), limit: bounds.limit.raw() }
}

const fn count(bounds: Bounds<u32>) -> wire::Bounds<u32> {
    wire::Bounds { reservation: bounds.reservation, limit: bounds.limit }
}

pub(super) const SPEEDS: [(LinkSpeed, f64); 6] = [
    (LinkSpeed::Gen1, 2.5),
    (LinkSpeed::Gen2, 5.0),
    (LinkSpeed::Gen3, 8.0),
    (LinkSpeed::Gen4, 16.0),
    (LinkSpeed::Gen5, 32.0),
    (LinkSpeed::Gen6, 64.0),
];

pub(super) fn link_setting(setting: LinkSetting) -> wire::LinkSetting {
    let speed = SPEEDS.iter().find(|(speed, _)| *speed == setting.speed);
    wire::LinkSetting { lanes: setting.width.get(), gt_per_s: speed.map_or(0.0, |(_, rate)| *rate) }
}

pub(super) const CLASSES: [(DeviceClass, wire::DeviceClass); 5] = [
    (DeviceClass::Nvme, wire::DeviceClass::Nvme),
    (DeviceClass::Nic, wire::DeviceClass::Nic),
    (DeviceClass::Gpu, wire::DeviceClass::Gpu),
    (DeviceClass::CxlMemory, wire::DeviceClass::CxlMemory),
    (DeviceClass::Accelerator, wire::DeviceClass::Accelerator),
];

fn class(class: DeviceClass) -> wire::DeviceClass {
    let found = CLASSES.iter().find(|(known, _)| *known == class);
    found.map_or(wire::DeviceClass::Accelerator, |(_, wire)| *wire)
}

pub(super) const KINDS: [(ChangeKind, wire::ChangeKind); ChangeKind::ALL.len()] = [
    (ChangeKind::Cpu, wire::ChangeKind::Cpu),
    (ChangeKind::MemoryBandwidth, wire::ChangeKind::MemoryBandwidth),
    (ChangeKind::Placement, wire::ChangeKind::Placement),
    (ChangeKind::Memory, wire::ChangeKind::Memory),
    (ChangeKind::MemoryMigration, wire::ChangeKind::MemoryMigration),
    (ChangeKind::CacheMask, wire::ChangeKind::CacheMask),
    (ChangeKind::CacheClass, wire::ChangeKind::CacheClass),
    (ChangeKind::Device, wire::ChangeKind::Device),
    (ChangeKind::DeviceBandwidth, wire::ChangeKind::DeviceBandwidth),
    (ChangeKind::Link, wire::ChangeKind::Link),
    (ChangeKind::GpuInstance, wire::ChangeKind::GpuInstance),
];

pub(super) fn changes(capabilities: &Capabilities) -> BTreeMap<wire::ChangeKind, wire::Change> {
    let change = |(kind, name): &(ChangeKind, wire::ChangeKind)| {
        let control = capabilities.get(*kind)?;
        let change = wire::Change {
            pace_s: control.pace.as_secs_f64(),
            latency_s: control.latency.as_secs_f64(),
            interruption_s: control.interruption.as_secs_f64(),
            cost_s: control.cost_s,
            granularity: control.granularity,
        };
        Some((*name, change))
    };
    KINDS.iter().filter_map(change).collect()
}

pub(super) fn host(topology: &Topology) -> wire::Host {
    let sockets = topology.sockets().iter().map(|socket| wire::Socket {
        name: socket.name.clone(),
        cores: socket.cores,
        threads_per_core: socket.threads_per_core,
        host_cpu_milli: socket.host_cpu.get(),
        cache: socket.cache.as_ref().map(|cache| wire::Cache {
            bytes: cache.size.get(),
            ways: cache.ways,
            min_ways: cache.min_ways,
            classes: cache.classes,
        }),
    });
    let memory = topology.nodes().iter().map(|node| wire::Node {
        name: node.name.clone(),
        on: match node.kind {
            MemoryKind::Dram { socket } => wire::MemoryOn::Socket(socket.0),
            MemoryKind::Cxl { device } => wire::MemoryOn::Device(device.0),
        },
        bytes: node.capacity.get(),
        host_bytes: node.host_memory.get(),
        bandwidth_bytes_per_s: node.bandwidth.get(),
    });
    let row = |socket: &halcyon_model::topology::Socket| {
        topology.nodes().iter().map(|node| topology.distance(socket.id, node.id)).collect()
    };
    let gpus = topology.gpus().iter().map(|gpu| wire::Gpu {
        device: gpu.device.0,
        bytes: gpu.memory.get(),
        slices: gpu.slices,
        profiles: gpu.profiles.iter().map(profile).collect(),
    });
    wire::Host {
        name: topology.name().into(),
        sockets: sockets.collect(),
        memory: memory.collect(),
        distances: Some(topology.sockets().iter().map(row).collect()),
        fabric: fabric(topology),
        gpus: gpus.collect(),
    }
}

fn profile(profile: &halcyon_model::topology::SliceProfile) -> wire::Profile {
    wire::Profile {
        name: profile.name.clone(),
        compute: profile.compute,
        span: profile.span,
        starts: profile.starts.clone(),
    }
}

fn fabric(topology: &Topology) -> wire::Fabric {
    let fabric = topology.fabric();
    let ports = fabric.ports.iter().map(|port| wire::Port {
        name: port.name.clone(),
        at: match port.kind {
            PortKind::Root { socket } => wire::PortAt::Socket(socket.0),
            PortKind::Upstream { switch } => wire::PortAt::Upstream(switch.0),
            PortKind::Downstream { switch } => wire::PortAt::Downstream(switch.0),
        },
        most: link_setting(LinkSetting { width: port.max_width, speed: port.max_speed }),
        hot_plug: port.hot_plug,
        pool: port.pool.map(|pool| pool.0),
    });
    let links = fabric.links.iter().map(|link| wire::Link {
        port: link.upper.0,
        below: match link.lower {
            LinkEnd::Switch(switch) => wire::LinkEnd::Switch(switch.0),
            LinkEnd::Device(device) => wire::LinkEnd::Device(device.0),
        },
        most: link_setting(link.capable),
        initial: Some(link_setting(link.initial)),
    });
    let devices = fabric.devices.iter().map(|device| wire::Device {
        name: device.name.clone(),
        class: class(device.class),
        at: match device.attachment {
            Attachment::Link(link) => wire::Attachment::Link(link.0),
            Attachment::PartOf(whole) => wire::Attachment::PartOf(whole.0),
        },
        bandwidth_bytes_per_s: device.bandwidth.get(),
        iommu_group: device.iommu_group.0,
        hot_plug: device.hot_plug,
        host_owned: device.host_owned,
    });
    wire::Fabric {
        pools: fabric
            .pools
            .iter()
            .map(|pool| wire::Pool { name: pool.name.clone(), lanes: pool.lanes })
            .collect(),
        ports: ports.collect(),
        switches: fabric.switches.iter().map(|switch| wire::Switch { name: switch.name.clone() }).collect(),
        links: links.collect(),
        devices: devices.collect(),
    }
}

pub(super) fn vm(spec: &VmSpec) -> wire::Vm {
    let wish = |wish: &halcyon_model::DeviceWish| wire::DeviceWish {
        class: class(wish.class),
        count: count(wish.count),
        bandwidth_bytes_per_s: bounds(wish.bandwidth),
    };
    wire::Vm {
        name: spec.name.clone(),
        vcpus: spec.vcpus,
        weight: spec.weight.get(),
        cpu_milli: Some(bounds(spec.cpu)),
        memory_bytes: bounds(spec.memory),
        memory_bandwidth_bytes_per_s: Some(bounds(spec.memory_bandwidth)),
        devices: spec.devices.iter().map(wish).collect(),
        gpu_slices: Some(count(spec.gpu_slices)),
        objective: match spec.objective {
            Objective::Latency { p99 } => wire::Objective::LatencyP99(p99.as_secs_f64()),
            Objective::Throughput => wire::Objective::Throughput,
            Objective::BestEffort => wire::Objective::BestEffort,
        },
        application: spec.application.clone(),
    }
}

/// The name of a VM, by id; its number for one that is not there.
pub(super) fn name(vms: &[VmSpec], vm: VmId) -> String {
    let found = vms.binary_search_by_key(&vm, |spec| spec.id);
    found.map_or_else(|_| vm.to_string(), |position| vms[position].name.clone())
}

pub(super) fn held(vms: &[VmSpec], held: &Assignment) -> wire::Held {
    let holdings = held.holdings.iter().map(|holding| wire::VmHeld {
        vm: name(vms, holding.vm),
        socket: holding.socket.0,
        cpu_milli: grant(holding.cpu),
        memory_bandwidth_bytes_per_s: Some(grant(holding.memory_bandwidth)),
        memory: holding
            .memory
            .iter()
            .map(|(node, size)| wire::NodeBytes { node: node.0, bytes: size.get() })
            .collect(),
        class: holding.class.0,
    });
    let owned = held.devices.iter().enumerate().filter_map(|(index, device)| {
        Some(wire::DeviceHeld {
            device: DeviceId::at(index).0,
            owner: name(vms, device.owner?),
            bandwidth_bytes_per_s: grant(device.bandwidth),
        })
    });
    wire::Held {
        vms: holdings.collect(),
        devices: owned.collect(),
        links: Some(held.links.iter().copied().map(link_setting).collect()),
        classes: Some(held.classes.iter().map(|class| class.as_deref().map(masks)).collect()),
        gpu_instances: held.gpu_instances.iter().map(|instance| gpu_instance(vms, instance)).collect(),
    }
}

fn masks(masks: &[CacheMask]) -> Vec<u32> {
    masks.iter().map(|mask| mask.0).collect()
}

fn gpu_instance(vms: &[VmSpec], instance: &GpuInstance) -> wire::GpuInstance {
    let GpuInstance { gpu, start, profile, owner } = *instance;
    wire::GpuInstance { gpu: gpu.0, start, profile, owner: name(vms, owner) }
}

fn placement(placement: &Placement) -> wire::Placement {
    wire::Placement {
        socket: placement.socket.0,
        cpu_milli: grant(placement.cpu),
        memory_bandwidth_bytes_per_s: grant(placement.memory_bandwidth),
    }
}

fn device_grants(devices: &[(DeviceId, Grant<Bandwidth>)]) -> Vec<wire::DeviceGrant> {
    let one = |(device, bandwidth): &(DeviceId, Grant<Bandwidth>)| wire::DeviceGrant {
        device: device.0,
        bandwidth_bytes_per_s: grant(*bandwidth),
    };
    devices.iter().map(one).collect()
}

pub(super) fn step(vms: &[VmSpec], step: &Step) -> wire::Step {
    use wire::Step as To;
    let vm = |vm: &VmId| name(vms, *vm);
    match step {
        Step::SetCpu { vm: id, socket, from, to } => {
            To::SetCpu { vm: vm(id), socket: socket.0, from_milli: grant(*from), to_milli: grant(*to) }
        }
        Step::SetMemoryBandwidth { vm: id, socket, from, to } => To::SetMemoryBandwidth {
            vm: vm(id),
            socket: socket.0,
            from_bytes_per_s: grant(*from),
            to_bytes_per_s: grant(*to),
        },
        Step::Place { vm: id, from, to } => {
            To::Place { vm: vm(id), from: placement(from), to: placement(to) }
        }
        Step::SetMemory { vm: id, node, from, to } => {
            To::SetMemory { vm: vm(id), node: node.0, from_bytes: from.get(), to_bytes: to.get() }
        }
        Step::MigrateMemory { vm: id, from, to, size } => {
            To::MigrateMemory { vm: vm(id), from_node: from.0, to_node: to.0, bytes: size.get() }
        }
        Step::SetClass { vm: id, from, to } => {
            To::SetClass { vm: vm(id), from_class: from.0, to_class: to.0 }
        }
        Step::Detach { vm: id, devices } => To::Detach { vm: vm(id), devices: device_grants(devices) },
        Step::Attach { vm: id, devices } => To::Attach { vm: vm(id), devices: device_grants(devices) },
        Step::CreateInstance { instance } => To::CreateInstance { instance: gpu_instance(vms, instance) },
        Step::DestroyInstance { instance } => To::DestroyInstance { instance: gpu_instance(vms, instance) },
        Step::CreateClass { class, masks: all } => To::CreateClass { class: class.0, masks: masks(all) },
        Step::RemoveClass { class, masks: all } => To::RemoveClass { class: class.0, masks: masks(all) },
        Step::SetMask { class, socket, from, to } => {
            To::SetMask { class: class.0, socket: socket.0, from_mask: from.0, to_mask: to.0 }
        }
        Step::SetDeviceBandwidth { device, from, to } => To::SetDeviceBandwidth {
            device: device.0,
            from_bytes_per_s: grant(*from),
            to_bytes_per_s: grant(*to),
        },
        Step::SetLink { link, from, to } => {
            To::SetLink { link: link.0, from: link_setting(*from), to: link_setting(*to) }
        }
    }
}

pub(super) fn sample(vms: &[VmSpec], sample: &VmSample) -> wire::Sample {
    let counters = &sample.counters;
    let device = |(device, bytes): &(DeviceId, u64)| wire::DeviceBytes { device: device.0, bytes: *bytes };
    let signal = sample.signal;
    wire::Sample {
        vm: name(vms, sample.vm),
        cpu_used_us: counters.cpu_used_us,
        cpu_waited_us: counters.cpu_waited_us,
        memory_stalled_us: counters.memory_stalled_us,
        io_stalled_us: counters.io_stalled_us,
        memory_traffic_bytes: counters.memory_bytes,
        gpu_busy_us: counters.gpu_busy_us,
        device_bytes: counters.device_bytes.iter().map(device).collect(),
        working_set_bytes: sample.working_set.map(ByteSize::get),
        cache_bytes: sample.cache.map(ByteSize::get),
        p99_s: signal.and_then(|signal| signal.p99).map(|p99| p99.as_secs_f64()),
        backlog_s: signal.and_then(|signal| signal.backlog_s),
        refuses_memory_until_s: sample.refuses_memory_until.as_ref().map(Duration::as_secs_f64),
    }
}

pub(super) fn rates(rates: &VmRates) -> wire::Rates {
    wire::Rates {
        cpu_used_milli: rates.cpu.map(MilliCpu::get),
        cpu_waited_milli: rates.cpu_waited.map(MilliCpu::get),
        memory_bandwidth_bytes_per_s: rates.memory_bandwidth.map(Bandwidth::get),
        memory_stalled_share: rates.memory_stalled,
        io_stalled_share: rates.io_stalled,
        gpu_busy_share: rates.gpu,
    }
}
