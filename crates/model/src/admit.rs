//! The first assignment of a host: every VM gets its reservation, or it is said why that cannot be.

use std::collections::BTreeSet;

use crate::assignment::{Assignment, CacheMask, DeviceHolding, GpuInstance, Grant, Holding};
use crate::ids::{ClassId, DeviceId, GpuId, NodeId, SocketId};
use crate::topology::DeviceClass;
use crate::units::{Bandwidth, ByteSize, MilliCpu};
use crate::vm::{Bounds, VmSpec};
use crate::world::World;

/// A VM whose reservation the host cannot keep next to the others'.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{vm}` asks for {wanted} of {resource}, and {free} is left; lower its reservation or the number of VMs"
)]
pub struct AdmissionError {
    /// The VM's name.
    pub vm: String,
    /// What is short.
    pub resource: &'static str,
    /// What it asks for.
    pub wanted: String,
    /// What is left of it.
    pub free: String,
}

/// Places every VM with exactly its reservation, the largest first, each on the least loaded socket; the
/// devices that it must have, nearest first; and one class of service with the whole cache for all.
///
/// # Errors
/// The first VM whose reservation is above its own limit, or does not fit.
pub fn admit(world: World<'_>) -> Result<Assignment, AdmissionError> {
    for spec in world.vms {
        coherent(spec)?;
    }
    let mut desk = Desk::new(world);
    let mut order: Vec<usize> = (0..world.vms.len()).collect();
    order.sort_by_key(|position| {
        let spec = &world.vms[*position];
        (std::cmp::Reverse((spec.cpu.reservation, spec.memory.reservation)), *position)
    });
    for position in order {
        desk.admit(&world.vms[position])?;
    }
    desk.assignment.holdings.sort_by_key(|holding| holding.vm);
    Ok(desk.assignment)
}

/// No grant can be at least the reservation and at most the limit where these are the wrong way round.
fn coherent(spec: &VmSpec) -> Result<(), AdmissionError> {
    fn ordered<T: Copy + Ord + ToString>(
        spec: &VmSpec,
        resource: &'static str,
        bounds: Bounds<T>,
    ) -> Result<(), AdmissionError> {
        let Bounds { reservation, limit } = bounds;
        if reservation <= limit { Ok(()) } else { Err(short(spec, resource, reservation, limit)) }
    }
    ordered(spec, "CPU time within its own limit", spec.cpu)?;
    ordered(spec, "memory within its own limit", spec.memory)?;
    ordered(spec, "memory bandwidth within its own limit", spec.memory_bandwidth)?;
    ordered(spec, "GPU slices within its own limit", spec.gpu_slices)?;
    spec.devices.iter().try_for_each(|wish| {
        ordered(spec, "devices of a class within its own limit", wish.count)?;
        ordered(spec, "device bandwidth within its own limit", wish.bandwidth)
    })
}

struct Desk<'a> {
    world: World<'a>,
    assignment: Assignment,
    /// VMs on each socket.
    residents: Vec<usize>,
    cpu: Vec<MilliCpu>,
    bandwidth: Vec<Bandwidth>,
    memory: Vec<ByteSize>,
    links: Vec<Bandwidth>,
    /// By socket.
    free: Vec<Free>,
}

/// Devices of each class that nobody owns and that can be owned alone.
type Free = [BTreeSet<DeviceId>; DeviceClass::ALL.len()];

fn free_devices(world: World<'_>) -> Vec<Free> {
    let fabric = world.topology.fabric();
    let mut free = vec![Free::default(); world.topology.sockets().len()];
    for device in fabric.devices.iter().filter(|device| fabric.is_assignable(device.id)) {
        if let Some(socket) = fabric.socket(device.id).filter(|_| fabric.companions(device.id).len() == 1) {
            free[socket.index()][device.class as usize].insert(device.id);
        }
    }
    free
}

impl<'a> Desk<'a> {
    fn new(world: World<'a>) -> Self {
        let topology = world.topology;
        let fabric = topology.fabric();
        let full = topology
            .sockets()
            .iter()
            .map(|socket| socket.cache.as_ref().map_or(CacheMask(1), |cache| CacheMask::full(cache.ways)));
        let mut classes = vec![None; topology.cache_classes()];
        if let Some(first) = classes.first_mut() {
            *first = Some(full.collect());
        }
        Self {
            world,
            assignment: Assignment {
                holdings: Vec::new(),
                devices: vec![DeviceHolding::default(); fabric.devices.len()],
                links: fabric.default_links(),
                classes,
                gpu_instances: Vec::new(),
            },
            residents: vec![0; topology.sockets().len()],
            cpu: topology.sockets().iter().map(crate::topology::Socket::cpu).collect(),
            bandwidth: topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).collect(),
            memory: topology.nodes().iter().map(crate::topology::MemoryNode::available).collect(),
            links: fabric.default_links().iter().map(|link| link.bandwidth()).collect(),
            free: free_devices(world),
        }
    }

    fn admit(&mut self, spec: &VmSpec) -> Result<(), AdmissionError> {
        let socket = self.choose_socket(spec)?;
        self.residents[socket.index()] += 1;
        self.cpu[socket.index()] -= spec.cpu.reservation;
        self.bandwidth[socket.index()] -= spec.memory_bandwidth.reservation;
        let memory = self.take_memory(spec, socket)?;
        self.assignment.holdings.push(Holding {
            vm: spec.id,
            socket,
            cpu: Grant { share: spec.cpu.reservation, ceiling: spec.cpu.limit },
            memory_bandwidth: Grant {
                share: spec.memory_bandwidth.reservation,
                ceiling: spec.memory_bandwidth.limit,
            },
            memory,
            class: ClassId(0),
        });
        for (class, _) in DeviceClass::ALL {
            let count = spec.wish(class).map_or(0, |wish| wish.count.reservation);
            for _ in 0..count {
                self.take_device(spec, class, socket)?;
            }
        }
        self.take_slices(spec)
    }

    fn choose_socket(&self, spec: &VmSpec) -> Result<SocketId, AdmissionError> {
        let fits = |socket: &usize| {
            self.cpu[*socket] >= spec.cpu.reservation
                && self.bandwidth[*socket] >= spec.memory_bandwidth.reservation
        };
        let load = |socket: &usize| {
            let there = self.world.topology.sockets()[*socket].cpu().as_f64();
            let free = (self.cpu[*socket].as_f64() / there * 1e6).round();
            // VMs that reserve nothing are spread by count.
            (free, std::cmp::Reverse(self.residents[*socket]), std::cmp::Reverse(*socket))
        };
        (0..self.cpu.len())
            .filter(fits)
            .max_by(|a, b| load(a).partial_cmp(&load(b)).unwrap_or(std::cmp::Ordering::Equal))
            .map(SocketId::at)
            .ok_or_else(|| {
                let most = self.cpu.iter().copied().max().unwrap_or_default();
                short(spec, "CPU time on one socket", spec.cpu.reservation, most)
            })
    }

    fn take_memory(
        &mut self,
        spec: &VmSpec,
        socket: SocketId,
    ) -> Result<Vec<(NodeId, ByteSize)>, AdmissionError> {
        let mut rest = spec.memory.reservation;
        let mut taken = Vec::new();
        for node in self.world.topology.nearest_nodes(socket) {
            let part = rest.min(self.memory[node.index()]);
            if !part.is_zero() {
                self.memory[node.index()] -= part;
                rest -= part;
                taken.push((*node, part));
            }
        }
        taken.sort_by_key(|(node, _)| *node);
        let free = spec.memory.reservation.saturating_sub(rest);
        if rest.is_zero() { Ok(taken) } else { Err(short(spec, "memory", spec.memory.reservation, free)) }
    }

    fn take_device(
        &mut self,
        spec: &VmSpec,
        class: DeviceClass,
        socket: SocketId,
    ) -> Result<(), AdmissionError> {
        let fabric = self.world.topology.fabric();
        let wish = spec.wish(class).map_or_else(Bandwidth::default, |wish| wish.bandwidth.reservation);
        let ceiling = spec.wish(class).map_or_else(Bandwidth::default, |wish| wish.bandwidth.limit);
        let fits = |id: &&DeviceId| {
            let needs = wish.min(fabric.devices[id.index()].bandwidth);
            fabric.route(**id).iter().all(|link| self.links[link.index()] >= needs)
        };
        let first = |free: &Free| free[class as usize].iter().find(fits).copied();
        let found = first(&self.free[socket.index()])
            .or_else(|| self.free.iter().filter_map(first).min())
            .ok_or_else(|| short(spec, "devices of a class that it must have", class, "none"))?;
        self.free.iter_mut().for_each(|free| {
            free[class as usize].remove(&found);
        });
        let most = fabric.devices[found.index()].bandwidth;
        let bandwidth = Grant { share: wish.min(most), ceiling: ceiling.min(most) };
        self.assignment.devices[found.index()] = DeviceHolding { owner: Some(spec.id), bandwidth };
        for link in fabric.route(found) {
            self.links[link.index()] -= bandwidth.share;
        }
        Ok(())
    }

    fn take_slices(&mut self, spec: &VmSpec) -> Result<(), AdmissionError> {
        let wanted = spec.gpu_slices;
        if wanted.reservation == 0 {
            return Ok(());
        }
        for gpu in self.world.topology.gpus() {
            for (index, profile) in
                gpu.profiles.iter().enumerate().filter(|(_, found)| wanted.contains(found.compute))
            {
                let free = |start: &&u32| {
                    self.assignment.gpu_instances.iter().filter(|held| held.gpu == gpu.id).all(|held| {
                        let span = gpu.profiles[held.profile as usize].span;
                        held.start + span <= **start || **start + profile.span <= held.start
                    })
                };
                if let Some(start) = profile.starts.iter().find(free) {
                    let profile = u32::try_from(index).unwrap_or(u32::MAX);
                    let instance =
                        GpuInstance { gpu: GpuId(gpu.id.0), start: *start, profile, owner: spec.id };
                    let place = self.assignment.gpu_instances.partition_point(|held| *held < instance);
                    self.assignment.gpu_instances.insert(place, instance);
                    return Ok(());
                }
            }
        }
        Err(short(spec, "GPU slices", wanted.reservation, "no fitting instance"))
    }
}

fn short(
    spec: &VmSpec,
    resource: &'static str,
    wanted: impl ToString,
    free: impl ToString,
) -> AdmissionError {
    AdmissionError { vm: spec.name.clone(), resource, wanted: wanted.to_string(), free: free.to_string() }
}
