//! What a host has, as it stands in a key frame, and what makes an inventory one that can be believed.

use std::sync::Arc;

use halcyon_hal::Inventory;
use halcyon_model::describe::MOST_VMS;
use halcyon_model::profile::{Profiles, parse_application, write_application};
use halcyon_model::topology::{
    Attachment, Cache, Device, Gpu, LanePool, Link, LinkEnd, MemoryKind, MemoryNode, Parts, Port, PortKind,
    SliceProfile, Socket, Switch, Topology,
};
use halcyon_model::{
    Bandwidth, Bounds, ByteSize, Capabilities, ChangeKind, ClassId, Control, DeviceClass, DeviceId,
    DeviceWish, GpuId, IommuGroup, Lanes, LinkId, LinkSetting, LinkSpeed, MilliCpu, NodeId, Objective,
    PciAddress, PoolId, PortId, SocketId, SwitchId, VmId, VmSpec, Weight,
};

use super::wire::{Flaw, Form, Input, choice, ensure, fields, number, put_number};

const MOST_SOCKETS: usize = 64;
const MOST_NODES: usize = 1024;
/// Of each kind of part of the fabric. With it the routes, as long as there are links at the most, stay
/// small enough.
const MOST_PARTS: usize = 4096;
const MOST_NAME: usize = 256;
const MOST_VCPUS: u32 = 65_536;
const MOST_WISHES: usize = 64;
const MOST_COUNT: u32 = 1024;

number! {
    VmId: u32, |raw| Some(VmId(raw)), |id| id.0;
    SocketId: u32, |raw| Some(SocketId(raw)), |id| id.0;
    NodeId: u32, |raw| Some(NodeId(raw)), |id| id.0;
    SwitchId: u32, |raw| Some(SwitchId(raw)), |id| id.0;
    PortId: u32, |raw| Some(PortId(raw)), |id| id.0;
    LinkId: u32, |raw| Some(LinkId(raw)), |id| id.0;
    PoolId: u32, |raw| Some(PoolId(raw)), |id| id.0;
    DeviceId: u32, |raw| Some(DeviceId(raw)), |id| id.0;
    GpuId: u32, |raw| Some(GpuId(raw)), |id| id.0;
    ClassId: u32, |raw| Some(ClassId(raw)), |id| id.0;
    IommuGroup: u32, |raw| Some(IommuGroup(raw)), |id| id.0;
    MilliCpu: u64, |raw| Some(MilliCpu::new(raw)), |amount| amount.get();
    ByteSize: u64, |raw| Some(ByteSize::new(raw)), |amount| amount.get();
    Bandwidth: u64, |raw| Some(Bandwidth::new(raw)), |amount| amount.get();
    Weight: u32, Weight::new, |weight| weight.get();
    Lanes: u8, |raw| Some(Lanes::unchecked(raw)), |lanes| lanes.get();
}

choice! {
    LinkSpeed { 1 => Gen1 {}, 2 => Gen2 {}, 3 => Gen3 {}, 4 => Gen4 {}, 5 => Gen5 {}, 6 => Gen6 {} }
    DeviceClass { 0 => Nvme {}, 1 => Nic {}, 2 => Gpu {}, 3 => CxlMemory {}, 4 => Accelerator {} }
    MemoryKind { 0 => Dram { socket }, 1 => Cxl { device } }
    PortKind { 0 => Root { socket }, 1 => Upstream { switch }, 2 => Downstream { switch } }
    Objective { 0 => Latency { p99 }, 1 => Throughput {}, 2 => BestEffort {} }
}

fields! {
    Cache { size, ways, min_ways, classes }
    Socket { id, name, cores, threads_per_core, host_cpu, cache }
    MemoryNode { id, name, kind, capacity, host_memory, bandwidth }
    LinkSetting { width, speed }
    Port { id, name, kind, max_width, max_speed, hot_plug, pool }
    Switch { id, name, upstream, downstream }
    LanePool { id, name, lanes }
    Link { id, upper, lower, capable, initial }
    Device { id, name, address, class, attachment, bandwidth, iommu_group, hot_plug, host_owned }
    Gpu { id, device, slices, memory, profiles }
    SliceProfile { name, compute, span, starts }
    Control { pace, latency, interruption, cost_s, granularity }
    DeviceWish { class, count, bandwidth }
    VmSpec {
        id, name, vcpus, weight, cpu, memory, memory_bandwidth, devices, gpu_slices, objective, application,
    }
}

impl Form for LinkEnd {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Switch(switch) => (false, switch.0).put(out),
            Self::Device(device) => (true, device.0).put(out),
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let (device, id) = Form::take(input)?;
        Ok(if device { Self::Device(DeviceId(id)) } else { Self::Switch(SwitchId(id)) })
    }
}

impl Form for Attachment {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Link(link) => (false, link.0).put(out),
            Self::PartOf(device) => (true, device.0).put(out),
        }
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let (part, id) = Form::take(input)?;
        Ok(if part { Self::PartOf(DeviceId(id)) } else { Self::Link(LinkId(id)) })
    }
}

impl Form for PciAddress {
    fn put(&self, out: &mut Vec<u8>) {
        self.to_string().put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        String::take(input)?.parse().map_err(|_| Flaw::new("a PCI address that is none"))
    }
}

impl<T: Form> Form for Bounds<T> {
    fn put(&self, out: &mut Vec<u8>) {
        self.reservation.put(out);
        self.limit.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        Ok(Self { reservation: T::take(input)?, limit: T::take(input)? })
    }
}

impl Form for Topology {
    fn put(&self, out: &mut Vec<u8>) {
        let fabric = self.fabric();
        self.name().to_owned().put(out);
        self.sockets().to_vec().put(out);
        self.nodes().to_vec().put(out);
        for socket in self.sockets() {
            self.nodes().iter().for_each(|node| self.distance(socket.id, node.id).put(out));
        }
        fabric.ports.put(out);
        fabric.switches.put(out);
        fabric.links.put(out);
        fabric.pools.put(out);
        fabric.devices.put(out);
        self.gpus().to_vec().put(out);
    }

    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let (name, sockets): (_, Vec<Socket>) = Form::take(input)?;
        let nodes: Vec<MemoryNode> = Form::take(input)?;
        let fits = sockets.len() <= MOST_SOCKETS && nodes.len() <= MOST_NODES;
        ensure(fits, || format!("a host of {} sockets and {} memory nodes", sockets.len(), nodes.len()))?;
        let row = |input: &mut Input<'_>| (0..nodes.len()).map(|_| u32::take(input)).collect();
        let distances: Result<Vec<Vec<u32>>, Flaw> = (0..sockets.len()).map(|_| row(input)).collect();
        let parts = Parts {
            name,
            distances: distances?,
            ports: Form::take(input)?,
            switches: Form::take(input)?,
            links: Form::take(input)?,
            pools: Form::take(input)?,
            devices: Form::take(input)?,
            gpus: Form::take(input)?,
            sockets,
            nodes,
        };
        check_parts(&parts)?;
        Self::new(parts).map_err(|error| Flaw::new(format!("a host that cannot be: {error}")))
    }
}

impl Form for Capabilities {
    fn put(&self, out: &mut Vec<u8>) {
        ChangeKind::ALL.into_iter().for_each(|kind| self.get(kind).copied().put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        ChangeKind::ALL.into_iter().try_fold(Self::none(), |all, kind| Ok(all.with(kind, Form::take(input)?)))
    }
}

/// In the text form of a profile, which is checked when it is read.
impl Form for Profiles {
    fn put(&self, out: &mut Vec<u8>) {
        put_number(self.len() as u64, out);
        self.iter().for_each(|application| write_application(application).put(out));
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let mut all = Self::default();
        for _ in 0..input.count(MOST_PARTS as u64)? {
            let application = parse_application(&String::take(input)?);
            all.insert(application.map_err(|error| Flaw::new(format!("a profile that is none: {error}")))?);
        }
        Ok(all)
    }
}

impl Form for Inventory {
    fn put(&self, out: &mut Vec<u8>) {
        self.topology.put(out);
        self.vms.put(out);
        self.capabilities.put(out);
        self.profiles.put(out);
    }
    fn take(input: &mut Input<'_>) -> Result<Self, Flaw> {
        let inventory = Self {
            topology: Form::take(input)?,
            vms: Form::take(input)?,
            capabilities: Form::take(input)?,
            profiles: Arc::new(Form::take(input)?),
        };
        check(&inventory)?;
        Ok(inventory)
    }
}

/// Whether an inventory is one that is written and read.
pub(super) fn check(inventory: &Inventory) -> Result<(), Flaw> {
    let topology = &inventory.topology;
    let named = [topology.name()].into_iter();
    let named = named.chain(topology.sockets().iter().map(|it| it.name.as_str()));
    let named = named.chain(topology.nodes().iter().map(|it| it.name.as_str()));
    let named = named.chain(topology.fabric().ports.iter().map(|it| it.name.as_str()));
    let named = named.chain(topology.fabric().switches.iter().map(|it| it.name.as_str()));
    let named = named.chain(topology.fabric().pools.iter().map(|it| it.name.as_str()));
    let named = named.chain(topology.fabric().devices.iter().map(|it| it.name.as_str()));
    let profiles = topology.gpus().iter().flat_map(|gpu| &gpu.profiles);
    named.chain(profiles.map(|it| it.name.as_str())).try_for_each(check_name)?;
    let vms = &inventory.vms;
    ensure(vms.len() <= MOST_VMS, || format!("{} VMs; at most {MOST_VMS} are on a host", vms.len()))?;
    ensure(vms.is_sorted_by(|a, b| a.id < b.id), || "VMs that are not in the order of their ids".into())?;
    vms.iter().try_for_each(check_vm)?;
    let controls = ChangeKind::ALL.into_iter().filter_map(|kind| inventory.capabilities.get(kind));
    let sane = |control: &Control| control.cost_s >= 0.0 && control.cost_s.is_finite();
    ensure(controls.into_iter().all(sane), || "a change whose cost is no number".into())
}

fn check_name(name: &str) -> Result<(), Flaw> {
    let fits = name.len() <= MOST_NAME && !name.chars().any(char::is_control);
    ensure(fits, || format!("a name longer than {MOST_NAME} bytes, or with control characters"))
}

fn check_vm(vm: &VmSpec) -> Result<(), Flaw> {
    check_name(&vm.name)?;
    check_name(vm.application.as_deref().unwrap_or_default())?;
    ensure(!vm.name.is_empty(), || format!("{} without a name", vm.id))?;
    let bounds = vm.cpu.reservation <= vm.cpu.limit
        && vm.memory.reservation <= vm.memory.limit
        && vm.memory_bandwidth.reservation <= vm.memory_bandwidth.limit
        && vm.gpu_slices.reservation <= vm.gpu_slices.limit
        && vm.gpu_slices.limit <= MOST_COUNT
        && (1..=MOST_VCPUS).contains(&vm.vcpus);
    let wishes = vm.devices.len() <= MOST_WISHES && vm.devices.iter().all(is_wish);
    ensure(bounds && wishes, || format!("the VM {}, whose reservations and limits cannot be", vm.name))
}

fn is_wish(wish: &DeviceWish) -> bool {
    wish.count.reservation <= wish.count.limit
        && wish.count.limit <= MOST_COUNT
        && wish.bandwidth.reservation <= wish.bandwidth.limit
}

/// What [`Topology::new`] takes for granted, and no more parts than a host has.
fn check_parts(parts: &Parts) -> Result<(), Flaw> {
    let Parts { ports, switches, links, pools, devices, gpus, .. } = parts;
    let counts = [ports.len(), switches.len(), links.len(), pools.len(), devices.len(), gpus.len()];
    let most = counts.into_iter().max().unwrap_or(0);
    ensure(most <= MOST_PARTS, || format!("{most} parts of one kind"))?;
    let placed = in_place(parts.sockets.iter().map(|it| it.id.index()))
        && in_place(parts.nodes.iter().map(|it| it.id.index()))
        && in_place(ports.iter().map(|it| it.id.index()))
        && in_place(switches.iter().map(|it| it.id.index()))
        && in_place(links.iter().map(|it| it.id.index()))
        && in_place(pools.iter().map(|it| it.id.index()))
        && in_place(devices.iter().map(|it| it.id.index()))
        && in_place(gpus.iter().map(|it| it.id.index()));
    ensure(placed, || "a part of the host that is not in its place".into())?;
    let below = |switch: &Switch| {
        let kind = PortKind::Downstream { switch: switch.id };
        switch.downstream.iter().all(|port| ports.get(port.index()).is_some_and(|it| it.kind == kind))
    };
    ensure(switches.iter().all(below), || "a switch with a port that is not its own".into())
}

fn in_place(mut ids: impl Iterator<Item = usize>) -> bool {
    (0..).zip(&mut ids).all(|(place, id): (usize, usize)| place == id)
}
