//! Builds a coherent [`Topology`] from parts that name each other, or says which part is wrong.

use std::collections::{BTreeMap, BTreeSet};

use super::{
    Attachment, Device, Fabric, Gpu, LanePool, Link, LinkEnd, LinkSetting, MemoryKind, MemoryNode, Port,
    PortKind, Socket, Switch, Topology,
};
use crate::ids::{DeviceId, IommuGroup, LinkId, NodeId, PortId};
use crate::units::Bandwidth;

/// More parts of one kind than any host has; keeps a hostile description from costing memory.
const MOST_PARTS: usize = 65_536;

/// The parts of a host as they are described, before they are known to fit together.
///
/// Each part's `id` must equal its position; [`Fabric`]'s derived tables are filled in by
/// [`Topology::new`].
#[derive(Debug, Clone, Default)]
pub struct Parts {
    /// What people call the host.
    pub name: String,
    /// Sockets.
    pub sockets: Vec<Socket>,
    /// Memory nodes.
    pub nodes: Vec<MemoryNode>,
    /// Distance from each socket to each node in SLIT units; empty means 10 for a socket's own memory,
    /// 21 for another's, 28 for CXL.
    pub distances: Vec<Vec<u32>>,
    /// Ports.
    pub ports: Vec<Port>,
    /// Switches.
    pub switches: Vec<Switch>,
    /// Links.
    pub links: Vec<Link>,
    /// Lane pools.
    pub pools: Vec<LanePool>,
    /// Devices.
    pub devices: Vec<Device>,
    /// GPUs.
    pub gpus: Vec<Gpu>,
}

/// A part that does not fit the others.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{part}: {problem}")]
pub struct TopologyError {
    /// The name of the part as described; empty when the host as a whole is wrong.
    pub part: String,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl TopologyError {
    fn new(part: &str, problem: impl Into<String>) -> Self {
        Self { part: part.into(), problem: problem.into() }
    }
}

fn ensure(condition: bool, part: &str, problem: impl FnOnce() -> String) -> Result<(), TopologyError> {
    if condition { Ok(()) } else { Err(TopologyError::new(part, problem())) }
}

impl Topology {
    /// Puts the parts together.
    ///
    /// # Errors
    /// Names the first part that refers to something missing, that closes a cycle, or whose figures
    /// cannot be.
    pub fn new(parts: Parts) -> Result<Self, TopologyError> {
        check_counts(&parts)?;
        check_sockets(&parts)?;
        check_fabric(&parts)?;
        check_nodes(&parts)?;
        check_gpus(&parts)?;
        let distances = distances(&parts)?;
        let routes = routes(&parts)?;
        let socket_bandwidth = parts.sockets.iter().map(|socket| dram_bandwidth(&parts, socket)).collect();
        let nearest_nodes = distances.iter().map(|row| nearest(row)).collect();
        let divided = divided(&parts);
        let groups = groups(&parts.devices, &divided);
        let Parts { name, sockets, nodes, ports, switches, links, pools, devices, gpus, .. } = parts;
        let fabric = Fabric { ports, switches, links, pools, devices, routes, groups, divided };
        Ok(Self { name, sockets, nodes, distances, fabric, gpus, socket_bandwidth, nearest_nodes })
    }
}

fn check_counts(parts: &Parts) -> Result<(), TopologyError> {
    ensure(!parts.sockets.is_empty(), &parts.name, || "a host needs at least one socket".into())?;
    ensure(!parts.nodes.is_empty(), &parts.name, || "a host needs at least one memory node".into())?;
    let counts = [
        parts.sockets.len(),
        parts.nodes.len(),
        parts.ports.len(),
        parts.switches.len(),
        parts.links.len(),
        parts.devices.len(),
        parts.gpus.len(),
        parts.pools.len(),
    ];
    let most = counts.into_iter().max().unwrap_or(0);
    ensure(most <= MOST_PARTS, &parts.name, || format!("{most} parts of one kind; at most {MOST_PARTS}"))
}

fn check_sockets(parts: &Parts) -> Result<(), TopologyError> {
    for socket in &parts.sockets {
        ensure((1..=4096).contains(&socket.cores), &socket.name, || "needs 1 to 4096 cores".into())?;
        ensure((1..=8).contains(&socket.threads_per_core), &socket.name, || {
            "needs 1 to 8 threads per core".into()
        })?;
        ensure(!socket.cpu().is_zero(), &socket.name, || "the host keeps all of its CPU time".into())?;
        if let Some(cache) = &socket.cache {
            ensure((1..=32).contains(&cache.ways), &socket.name, || "a cache has 1 to 32 ways".into())?;
            let fits = (1..=cache.ways).contains(&cache.min_ways);
            ensure(fits, &socket.name, || "min_ways must be from 1 to the number of ways".into())?;
            ensure((1..=256).contains(&cache.classes), &socket.name, || {
                "a cache has 1 to 256 classes".into()
            })?;
        }
    }
    Ok(())
}

fn check_nodes(parts: &Parts) -> Result<(), TopologyError> {
    for node in &parts.nodes {
        match node.kind {
            MemoryKind::Dram { socket } => {
                ensure(socket.index() < parts.sockets.len(), &node.name, || {
                    format!("{socket} does not exist")
                })?;
            }
            MemoryKind::Cxl { device } => {
                ensure(device.index() < parts.devices.len(), &node.name, || {
                    format!("{device} does not exist")
                })?;
            }
        }
        ensure(!node.available().is_zero(), &node.name, || "no memory is left for VMs".into())?;
        ensure(!node.bandwidth.is_zero(), &node.name, || "bandwidth must be above zero".into())?;
    }
    for socket in &parts.sockets {
        let own = !dram_bandwidth(parts, socket).is_zero();
        ensure(own, &socket.name, || "has no memory of its own; every socket needs a memory node".into())?;
    }
    Ok(())
}

fn check_fabric(parts: &Parts) -> Result<(), TopologyError> {
    for port in &parts.ports {
        let known = match port.kind {
            PortKind::Root { socket } => socket.index() < parts.sockets.len(),
            PortKind::Upstream { switch } | PortKind::Downstream { switch } => {
                switch.index() < parts.switches.len()
            }
        };
        ensure(known, &port.name, || "hangs on a socket or switch that does not exist".into())?;
        ensure(port.max_width.is_legal(), &port.name, || format!("{} is not a link width", port.max_width))?;
        let pooled = port.pool.is_none_or(|pool| pool.index() < parts.pools.len());
        ensure(pooled, &port.name, || "takes lanes from a pool that does not exist".into())?;
    }
    for switch in &parts.switches {
        let upstream = parts.ports.get(switch.upstream.index());
        let fits = upstream.is_some_and(|port| port.kind == PortKind::Upstream { switch: switch.id });
        ensure(fits, &switch.name, || "its upstream port is not an upstream port of it".into())?;
    }
    check_links(parts)?;
    check_pools(parts)?;
    check_devices(parts)
}

fn check_links(parts: &Parts) -> Result<(), TopologyError> {
    let mut used = BTreeSet::new();
    for link in &parts.links {
        let Some(upper) = parts.ports.get(link.upper.index()) else {
            return Err(TopologyError::new("", format!("{} hangs from a port that does not exist", link.id)));
        };
        let downward = !matches!(upper.kind, PortKind::Upstream { .. });
        ensure(downward, &upper.name, || "a link cannot hang from an upstream port".into())?;
        ensure(used.insert(link.upper), &upper.name, || "two things are plugged into one port".into())?;
        let below = match link.lower {
            LinkEnd::Switch(switch) => switch.index() < parts.switches.len(),
            LinkEnd::Device(device) => device.index() < parts.devices.len(),
        };
        ensure(below, &upper.name, || "leads to a switch or device that does not exist".into())?;
        let lower = match link.lower {
            LinkEnd::Switch(switch) => &parts.ports[parts.switches[switch.index()].upstream.index()],
            LinkEnd::Device(_) => upper,
        };
        let within = |setting: LinkSetting| {
            setting.width.is_legal()
                && setting.width <= upper.max_width.min(lower.max_width)
                && setting.speed <= upper.max_speed.min(lower.max_speed)
        };
        ensure(within(link.capable), &upper.name, || format!("cannot carry a link of {}", link.capable))?;
        let initial = within(link.initial)
            && link.initial.width <= link.capable.width
            && link.initial.speed <= link.capable.speed;
        ensure(initial, &upper.name, || format!("cannot start at {}", link.initial))?;
    }
    Ok(())
}

fn check_pools(parts: &Parts) -> Result<(), TopologyError> {
    let mut held = vec![0_u32; parts.pools.len()];
    for link in &parts.links {
        if let Some(pool) = parts.ports[link.upper.index()].pool {
            held[pool.index()] += u32::from(link.initial.width.get());
        }
    }
    for (pool, held) in parts.pools.iter().zip(held) {
        let problem = || format!("its links start with {held} lanes, but it has {}", pool.lanes);
        ensure(held <= pool.lanes, &pool.name, problem)?;
    }
    Ok(())
}

fn check_devices(parts: &Parts) -> Result<(), TopologyError> {
    let mut owners = BTreeMap::new();
    for device in &parts.devices {
        match device.attachment {
            Attachment::Link(link) => {
                let fits =
                    parts.links.get(link.index()).is_some_and(|l| l.lower == LinkEnd::Device(device.id));
                ensure(fits, &device.name, || "its link leads elsewhere".into())?;
            }
            Attachment::PartOf(whole) => {
                let whole = parts.devices.get(whole.index()).filter(|found| found.id != device.id);
                let direct = whole.is_some_and(|found| matches!(found.attachment, Attachment::Link(_)));
                ensure(direct, &device.name, || "must be part of a device that sits in a slot".into())?;
            }
        }
        ensure(!device.bandwidth.is_zero(), &device.name, || "bandwidth must be above zero".into())?;
        let kept = owners.entry(device.iommu_group).or_insert(device.host_owned);
        let problem = || format!("shares {} with a device of another owner", device.iommu_group);
        ensure(*kept == device.host_owned, &device.name, problem)?;
    }
    Ok(())
}

fn check_gpus(parts: &Parts) -> Result<(), TopologyError> {
    let mut described = BTreeSet::new();
    for gpu in &parts.gpus {
        let device = parts.devices.get(gpu.device.index());
        let name = device.map_or("", |found| found.name.as_str());
        ensure(device.is_some(), name, || format!("{} does not exist", gpu.device))?;
        ensure(described.insert(gpu.device), name, || "is described as two GPUs".into())?;
        ensure((1..=64).contains(&gpu.slices), name, || "a GPU has 1 to 64 memory slices".into())?;
        ensure(!gpu.profiles.is_empty(), name, || "a divisible GPU needs at least one profile".into())?;
        for profile in &gpu.profiles {
            let fits = profile.span >= 1
                && profile.starts.iter().all(|start| start.saturating_add(profile.span) <= gpu.slices);
            ensure(fits, name, || format!("profile {} does not fit {} slices", profile.name, gpu.slices))?;
        }
    }
    Ok(())
}

fn distances(parts: &Parts) -> Result<Vec<Vec<u32>>, TopologyError> {
    let (rows, columns) = (parts.sockets.len(), parts.nodes.len());
    if parts.distances.is_empty() {
        return Ok(parts.sockets.iter().map(|socket| default_distances(parts, socket)).collect());
    }
    let shaped = parts.distances.len() == rows && parts.distances.iter().all(|row| row.len() == columns);
    ensure(shaped, &parts.name, || {
        format!("distances must be {rows} rows (sockets) of {columns} (memory nodes)")
    })?;
    let sane = parts.distances.iter().flatten().all(|distance| (10..=255).contains(distance));
    ensure(sane, &parts.name, || "distances are SLIT units, 10 to 255".into())?;
    Ok(parts.distances.clone())
}

fn default_distances(parts: &Parts, socket: &Socket) -> Vec<u32> {
    let to = |node: &MemoryNode| match node.socket() {
        Some(own) if own == socket.id => 10,
        Some(_) => 21,
        None => 28,
    };
    parts.nodes.iter().map(to).collect()
}

fn nearest(row: &[u32]) -> Vec<NodeId> {
    let mut nodes: Vec<_> = (0..row.len()).map(NodeId::at).collect();
    nodes.sort_by_key(|node| (row[node.index()], *node));
    nodes
}

fn dram_bandwidth(parts: &Parts, socket: &Socket) -> Bandwidth {
    parts.nodes.iter().filter(|node| node.socket() == Some(socket.id)).map(|node| node.bandwidth).sum()
}

/// Walks from each device to its root port; a walk longer than the number of links is a cycle.
fn routes(parts: &Parts) -> Result<Vec<Vec<LinkId>>, TopologyError> {
    let mut above: BTreeMap<PortId, LinkId> = BTreeMap::new();
    for link in &parts.links {
        if let LinkEnd::Switch(switch) = link.lower {
            let upstream = parts.switches[switch.index()].upstream;
            let twice = above.insert(upstream, link.id).is_some();
            ensure(!twice, &parts.switches[switch.index()].name, || "is plugged into two ports".into())?;
        }
    }
    parts.devices.iter().map(|device| route(parts, &above, device)).collect()
}

fn route(
    parts: &Parts,
    above: &BTreeMap<PortId, LinkId>,
    device: &Device,
) -> Result<Vec<LinkId>, TopologyError> {
    let mut next = match device.attachment {
        Attachment::Link(link) => link,
        Attachment::PartOf(whole) => match parts.devices[whole.index()].attachment {
            Attachment::Link(link) => link,
            Attachment::PartOf(_) => return Err(TopologyError::new(&device.name, "is part of a part")),
        },
    };
    let mut route = Vec::new();
    loop {
        route.push(next);
        ensure(route.len() <= parts.links.len(), &device.name, || {
            "its way to a root port is a cycle".into()
        })?;
        let PortKind::Downstream { switch } = parts.ports[parts.links[next.index()].upper.index()].kind
        else {
            return Ok(route);
        };
        let switch = &parts.switches[switch.index()];
        let link = above.get(&switch.upstream);
        next = *link.ok_or_else(|| TopologyError::new(&switch.name, "is not plugged into any port"))?;
    }
}

/// Whose parts or partitions have owners of their own.
fn divided(parts: &Parts) -> Vec<bool> {
    let mut divided = vec![false; parts.devices.len()];
    for device in &parts.devices {
        if let Attachment::PartOf(whole) = device.attachment {
            divided[whole.index()] = true;
        }
    }
    for gpu in &parts.gpus {
        divided[gpu.device.index()] = true;
    }
    divided
}

fn groups(devices: &[Device], divided: &[bool]) -> Vec<(IommuGroup, Vec<DeviceId>)> {
    let mut groups: BTreeMap<IommuGroup, Vec<DeviceId>> = BTreeMap::new();
    for device in devices.iter().filter(|device| !divided[device.id.index()] && !device.host_owned) {
        groups.entry(device.iommu_group).or_default().push(device.id);
    }
    groups.into_iter().collect()
}
