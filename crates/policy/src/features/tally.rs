//! One pass over the host: what each socket, node, class of service and VM has in all.

use halcyon_model::{ByteSize, DeviceClass, VmSpec};

use crate::{Estimate, Span, View};

/// A host has no more classes of service than this; others are not counted.
const MOST_CLASSES: usize = 256;

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct SocketTally {
    /// CPU time that its VMs can share, and of its VMs together: shares, reservations, limits, and what
    /// they use and wait for, in thousandths.
    pub(super) cpu: f64,
    pub(super) cpu_held: f64,
    pub(super) cpu_reserved: f64,
    pub(super) cpu_limits: f64,
    pub(super) cpu_used: f64,
    /// Memory bandwidth, and what its VMs move, in bytes per second.
    pub(super) bandwidth: f64,
    pub(super) bandwidth_used: f64,
    /// The index of the node nearest to it.
    pub(super) home: usize,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct NodeTally {
    /// Memory that VMs can hold, and that none of them does, in bytes.
    pub(super) memory: f64,
    pub(super) free: f64,
}

#[derive(Debug, Clone, Copy, Default)]
pub(super) struct VmTally {
    /// NVMe devices, NICs and others that it owns.
    pub(super) nvme: u32,
    pub(super) nics: u32,
    pub(super) others: u32,
    /// What its devices may move together, in bytes per second.
    pub(super) device_bandwidth: f64,
    /// Compute slices of its GPU instances.
    pub(super) slices: u32,
}

/// Devices of a class that VMs can own, and those that none does.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct ClassTally {
    pub(super) total: u32,
    pub(super) free: u32,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Tally {
    pub(super) sockets: Vec<SocketTally>,
    pub(super) nodes: Vec<NodeTally>,
    pub(super) vms: Vec<VmTally>,
    pub(super) devices: [ClassTally; DeviceClass::ALL.len()],
    /// VMs of each class of service by socket, socket after socket.
    members: Vec<u32>,
    classes: usize,
    pub(super) weight: f64,
    pub(super) memory_limits: f64,
    pub(super) working_sets: f64,
    pub(super) slices: f64,
    pub(super) slices_held: f64,
    /// Where the day stands, as sine and cosine.
    pub(super) time_of_day: (f64, f64),
}

impl Tally {
    pub(super) fn take(&mut self, view: &View<'_>) {
        self.take_host(view);
        self.take_vms(view);
        self.take_devices(view);
        self.take_slices(view);
        let angle = (view.snapshot.at.as_secs_f64() / 86_400.0).fract() * std::f64::consts::TAU;
        self.time_of_day = (libm::sin(angle), libm::cos(angle));
    }

    /// How many VMs of a socket are in a class of service.
    pub(super) fn members(&self, socket: usize, class: usize) -> u32 {
        let there = class < self.classes;
        there.then(|| self.members.get(socket * self.classes + class)).flatten().copied().unwrap_or(0)
    }

    fn take_host(&mut self, view: &View<'_>) {
        let topology = view.world.topology;
        self.sockets.clear();
        self.sockets.extend(topology.sockets().iter().map(|socket| SocketTally {
            cpu: socket.cpu().as_f64(),
            bandwidth: topology.memory_bandwidth(socket.id).as_f64(),
            home: topology.nearest_nodes(socket.id).first().map_or(0, |node| node.index()),
            ..SocketTally::default()
        }));
        self.nodes.clear();
        self.nodes.extend(topology.nodes().iter().map(|node| {
            let memory = node.available().as_f64();
            NodeTally { memory, free: memory }
        }));
        self.classes = view.snapshot.assignment.classes.len().min(MOST_CLASSES);
        self.members.clear();
        self.members.resize(self.classes * self.sockets.len(), 0);
        self.vms.clear();
        self.vms.resize(view.world.vms.len(), VmTally::default());
    }

    fn take_vms(&mut self, view: &View<'_>) {
        let specs = view.world.vms;
        self.weight = share_of(specs.iter().map(|spec| spec.weight.as_f64()).sum(), specs.len());
        self.memory_limits = specs.iter().map(|spec| spec.memory.limit.as_f64()).sum();
        self.working_sets =
            view.snapshot.vms.iter().filter_map(|sample| sample.working_set).map(ByteSize::as_f64).sum();
        for (position, (spec, holding)) in specs.iter().zip(&view.snapshot.assignment.holdings).enumerate() {
            for (node, size) in &holding.memory {
                if let Some(node) = self.nodes.get_mut(node.index()) {
                    node.free = (node.free - size.as_f64()).max(0.0);
                }
            }
            let (place, class) = (holding.socket.index(), holding.class.index());
            let Some(socket) = self.sockets.get_mut(place) else { continue };
            socket.cpu_held += holding.cpu.share.as_f64();
            socket.cpu_reserved += spec.cpu.reservation.as_f64();
            socket.cpu_limits += spec.cpu.limit.as_f64();
            let read = view.snapshot.vms.get(position).zip(view.history.estimate(position));
            if let Some((sample, known)) = read {
                let counters = &sample.counters;
                let used = counters.cpu_used_us.and_then(|_| used(spec, known));
                let moved = counters.memory_bytes.and_then(|_| known.memory_bandwidth.last());
                socket.cpu_used += used.unwrap_or(0.0);
                socket.bandwidth_used += moved.unwrap_or(0.0);
            }
            if class < self.classes {
                self.members[place * self.classes + class] += 1;
            }
        }
    }

    fn take_devices(&mut self, view: &View<'_>) {
        self.devices = Default::default();
        let fabric = view.world.topology.fabric();
        for (device, holding) in fabric.devices.iter().zip(&view.snapshot.assignment.devices) {
            let class = &mut self.devices[device.class as usize];
            if fabric.is_assignable(device.id) {
                class.total += 1;
                class.free += u32::from(holding.owner.is_none());
            }
            let owner = holding.owner.and_then(|owner| view.world.position(owner));
            if let Some(owner) = owner.and_then(|position| self.vms.get_mut(position)) {
                owner.device_bandwidth += holding.bandwidth.ceiling.min(device.bandwidth).as_f64();
                match device.class {
                    DeviceClass::Nvme => owner.nvme += 1,
                    DeviceClass::Nic => owner.nics += 1,
                    _ => owner.others += 1,
                }
            }
        }
    }

    fn take_slices(&mut self, view: &View<'_>) {
        let gpus = view.world.topology.gpus();
        let whole =
            |gpu: &halcyon_model::topology::Gpu| gpu.profiles.iter().map(|profile| profile.compute).max();
        self.slices = gpus.iter().filter_map(whole).map(f64::from).sum();
        self.slices_held = 0.0;
        for instance in &view.snapshot.assignment.gpu_instances {
            let gpu = gpus.get(instance.gpu.index());
            let Some(profile) = gpu.and_then(|gpu| gpu.profiles.get(instance.profile as usize)) else {
                continue;
            };
            self.slices_held += f64::from(profile.compute);
            let owner = view.world.position(instance.owner);
            if let Some(owner) = owner.and_then(|position| self.vms.get_mut(position)) {
                owner.slices = owner.slices.saturating_add(profile.compute);
            }
        }
    }
}

/// What a VM uses and waits for, as far as it may have it.
fn used(spec: &VmSpec, known: &Estimate) -> Option<f64> {
    let used = known.trends.cpu.mean(Span::Seconds4).or(known.cpu.last());
    used.map(|used| used.min(spec.cpu.limit.as_f64()))
}

#[allow(clippy::cast_precision_loss)]
fn share_of(sum: f64, count: usize) -> f64 {
    super::share(sum, count as f64)
}
