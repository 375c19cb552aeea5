//! What is answered.

use std::collections::BTreeSet;

use halcyon_model::{
    Assignment, Bandwidth, ByteSize, DeviceClass, DeviceId, Grant, Lanes, LinkId, MilliCpu, Plan, Topology,
    VmId, World,
};

use crate::{Explanation, Fallback};

/// Who is to hold what, and why.
///
/// Every allocation has passed [`check`](halcyon_model::check()). Only [`allocate`](super::Allocator::allocate)
/// makes one, which is why it can be handed back as [`SystemState::current`](super::SystemState::current).
#[derive(Debug, Clone, PartialEq)]
pub struct Allocation {
    pub(super) vms: Vec<VmAllocation>,
    pub(super) ids: Vec<VmId>,
    pub(super) assignment: Assignment,
    pub(super) plan: Option<Plan>,
    pub(super) fallback: Option<Fallback>,
    pub(super) shared: Vec<Explanation>,
}

/// What one VM is to hold, and why that changes.
#[derive(Debug, Clone, PartialEq)]
pub struct VmAllocation {
    /// The VM.
    pub name: String,
    /// The socket whose CPUs it runs on.
    pub socket: String,
    /// CPU time: what is guaranteed, which becomes its weight, and what it may use of what others leave.
    pub cpu: Grant<MilliCpu>,
    /// Memory on all nodes together.
    pub memory: ByteSize,
    /// Memory by node.
    pub memory_nodes: Vec<(String, ByteSize)>,
    /// Bandwidth to its socket's memory.
    pub memory_bandwidth: Grant<Bandwidth>,
    /// Ways of its socket's last-level cache that it may fill, perhaps with others of its class; `None`
    /// where the cache cannot be divided.
    pub cache_ways: Option<u32>,
    /// Lanes of all links that its devices sit on. Parts of one device share its link.
    pub pci_lanes: u32,
    /// The devices that it owns.
    pub devices: Vec<DeviceAllocation>,
    /// GPU compute slices.
    pub gpu_slices: u32,
    /// Why what it holds changes, change by change; empty where nothing does.
    pub reasons: Vec<Explanation>,
}

/// A device that a VM is to own.
#[derive(Debug, Clone, PartialEq)]
pub struct DeviceAllocation {
    /// The device.
    pub name: String,
    /// What it is for.
    pub class: DeviceClass,
    /// What it may move.
    pub bandwidth: Grant<Bandwidth>,
    /// The width of the link that it sits on, alone or with other parts of its device.
    pub lanes: Lanes,
}

impl Allocation {
    /// What each VM is to hold, in the order in which the VMs were told.
    #[must_use]
    pub fn vms(&self) -> &[VmAllocation] {
        &self.vms
    }

    /// What one VM is to hold.
    #[must_use]
    pub fn vm(&self, name: &str) -> Option<&VmAllocation> {
        self.vms.iter().find(|vm| vm.name == name)
    }

    /// The whole in the model's own terms, links and classes of service included.
    #[must_use]
    pub fn assignment(&self) -> &Assignment {
        &self.assignment
    }

    /// The steps that lead there from what is held, in an order that never overdraws anything; none where
    /// nothing changes. What has to wait for room is in [`Plan::deferred`] and not in the allocation.
    #[must_use]
    pub fn plan(&self) -> Option<&Plan> {
        self.plan.as_ref()
    }

    /// Why the heuristic decided and not the network, if it did.
    #[must_use]
    pub fn fallback(&self) -> Option<&Fallback> {
        self.fallback.as_ref()
    }

    /// Why something changes that concerns several VMs or the host, such as a class of service.
    #[must_use]
    pub fn shared_reasons(&self) -> &[Explanation] {
        &self.shared
    }

    /// The id that a VM has in [`Allocation::assignment`] and in the steps of the plan.
    #[must_use]
    pub fn id(&self, name: &str) -> Option<VmId> {
        self.vms.iter().position(|vm| vm.name == name).map(|place| self.ids[place])
    }
}

/// What the VM at a position of the world holds by an assignment that the checker has passed.
pub(super) fn of_vm(
    world: World<'_>,
    assignment: &Assignment,
    position: usize,
    reasons: Vec<Explanation>,
) -> VmAllocation {
    let (topology, spec) = (world.topology, &world.vms[position]);
    let holding = &assignment.holdings[position];
    let socket = &topology.sockets()[holding.socket.index()];
    let node = |(node, size): &(halcyon_model::NodeId, ByteSize)| {
        (topology.nodes()[node.index()].name.clone(), *size)
    };
    let masks = assignment.classes.get(holding.class.index()).and_then(Option::as_ref);
    let ways = masks.and_then(|masks| masks.get(holding.socket.index())).map(|mask| mask.ways());
    let links: BTreeSet<LinkId> =
        assignment.devices_of(spec.id).filter_map(|(device, _)| own_link(topology, device)).collect();
    VmAllocation {
        name: spec.name.clone(),
        socket: socket.name.clone(),
        cpu: holding.cpu,
        memory: holding.total_memory(),
        memory_nodes: holding.memory.iter().map(node).collect(),
        memory_bandwidth: holding.memory_bandwidth,
        cache_ways: ways.filter(|_| socket.cache.is_some()),
        pci_lanes: links.iter().map(|link| u32::from(assignment.link(*link).width.get())).sum(),
        devices: devices(topology, assignment, spec.id),
        gpu_slices: gpu_slices(topology, assignment, spec.id),
        reasons,
    }
}

/// The link of the slot that a device, or what it is a part of, sits in: the first of its route.
fn own_link(topology: &Topology, device: DeviceId) -> Option<LinkId> {
    topology.fabric().route(device).first().copied()
}

fn devices(topology: &Topology, assignment: &Assignment, vm: VmId) -> Vec<DeviceAllocation> {
    let owned = assignment.devices_of(vm).filter_map(|(id, held)| {
        let device = &topology.fabric().devices[id.index()];
        let lanes = assignment.link(own_link(topology, id)?).width;
        Some(DeviceAllocation {
            name: device.name.clone(),
            class: device.class,
            bandwidth: held.bandwidth,
            lanes,
        })
    });
    owned.collect()
}

fn gpu_slices(topology: &Topology, assignment: &Assignment, vm: VmId) -> u32 {
    let owned = assignment.gpu_instances.iter().filter(|instance| instance.owner == vm);
    let profile = |instance: &halcyon_model::GpuInstance| {
        topology.gpus()[instance.gpu.index()].profiles.get(instance.profile as usize)
    };
    owned.filter_map(profile).fold(0, |slices, profile| slices.saturating_add(profile.compute))
}
