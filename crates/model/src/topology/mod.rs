//! What a host is made of: sockets, caches, memory and its bandwidth, the PCIe/CXL fabric, GPUs.
//!
//! A [`Topology`] is built once from [`Parts`] and is coherent from then on: every id leads somewhere,
//! the fabric is a forest of trees under root ports, and the routes along it are at hand.

mod build;
mod fabric;
mod gpu;

pub use build::{Parts, TopologyError};
pub use fabric::{
    Attachment, Device, DeviceClass, Fabric, LanePool, Link, LinkEnd, LinkSetting, Port, PortKind, Switch,
};
pub use gpu::{Gpu, SliceProfile};

use crate::ids::{DeviceId, NodeId, SocketId};
use crate::units::{Bandwidth, ByteSize, MilliCpu};

/// A CPU socket.
#[derive(Debug, Clone, PartialEq)]
pub struct Socket {
    /// Its position in [`Topology::sockets`].
    pub id: SocketId,
    /// What people call it.
    pub name: String,
    /// Physical cores.
    pub cores: u32,
    /// Hardware threads of each core.
    pub threads_per_core: u32,
    /// CPU time kept for the host itself.
    pub host_cpu: MilliCpu,
    /// The last-level cache, where its ways can be divided.
    pub cache: Option<Cache>,
}

impl Socket {
    /// CPU time that VMs can share: hardware threads, as the kernel counts CPUs, less the host's own.
    #[must_use]
    pub fn cpu(&self) -> MilliCpu {
        let threads = u64::from(self.cores) * u64::from(self.threads_per_core);
        MilliCpu::cores(threads).saturating_sub(self.host_cpu)
    }
}

/// A last-level cache that can be divided by ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Cache {
    /// Total size.
    pub size: ByteSize,
    /// Ways, and so bits of a capacity mask; at most 32.
    pub ways: u32,
    /// The fewest ways that one mask may have (`min_cbm_bits`).
    pub min_ways: u32,
    /// Classes of service of the hardware (`num_closids`).
    pub classes: u32,
}

/// A NUMA node with memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryNode {
    /// Its position in [`Topology::nodes`].
    pub id: NodeId,
    /// What people call it.
    pub name: String,
    /// What the memory hangs on.
    pub kind: MemoryKind,
    /// Installed memory.
    pub capacity: ByteSize,
    /// Memory kept for the host itself.
    pub host_memory: ByteSize,
    /// What its channels, or its CXL link, carry.
    pub bandwidth: Bandwidth,
}

impl MemoryNode {
    /// Memory that VMs can hold.
    #[must_use]
    pub fn available(&self) -> ByteSize {
        self.capacity.saturating_sub(self.host_memory)
    }

    /// The socket whose controllers drive this memory; none for a CXL pool.
    #[must_use]
    pub fn socket(&self) -> Option<SocketId> {
        match self.kind {
            MemoryKind::Dram { socket } => Some(socket),
            MemoryKind::Cxl { .. } => None,
        }
    }
}

/// What a node's memory hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MemoryKind {
    /// A socket's own channels.
    Dram {
        /// The socket.
        socket: SocketId,
    },
    /// A CXL memory device, reached through the fabric.
    Cxl {
        /// The device.
        device: DeviceId,
    },
}

/// A host, coherent by construction.
#[derive(Debug, Clone, PartialEq)]
pub struct Topology {
    name: String,
    sockets: Vec<Socket>,
    nodes: Vec<MemoryNode>,
    distances: Vec<Vec<u32>>,
    fabric: Fabric,
    gpus: Vec<Gpu>,
    socket_bandwidth: Vec<Bandwidth>,
    nearest_nodes: Vec<Vec<NodeId>>,
}

impl Topology {
    /// What people call the host.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The sockets, by id.
    #[must_use]
    pub fn sockets(&self) -> &[Socket] {
        &self.sockets
    }

    /// The memory nodes, by id.
    #[must_use]
    pub fn nodes(&self) -> &[MemoryNode] {
        &self.nodes
    }

    /// The PCIe/CXL fabric.
    #[must_use]
    pub fn fabric(&self) -> &Fabric {
        &self.fabric
    }

    /// The GPUs that can be partitioned, by id.
    #[must_use]
    pub fn gpus(&self) -> &[Gpu] {
        &self.gpus
    }

    /// Memory bandwidth of the socket's own channels, which its VMs share.
    #[must_use]
    pub fn memory_bandwidth(&self, socket: SocketId) -> Bandwidth {
        self.socket_bandwidth[socket.index()]
    }

    /// The cost of reaching `node` from `socket` in ACPI SLIT units: 10 is local.
    #[must_use]
    pub fn distance(&self, socket: SocketId, node: NodeId) -> u32 {
        self.distances[socket.index()][node.index()]
    }

    /// All memory nodes, nearest to `socket` first.
    #[must_use]
    pub fn nearest_nodes(&self, socket: SocketId) -> &[NodeId] {
        &self.nearest_nodes[socket.index()]
    }

    /// The last-level cache that all sockets have alike, if its ways can be divided.
    #[must_use]
    pub fn cache_classes(&self) -> usize {
        self.sockets
            .iter()
            .filter_map(|socket| socket.cache.as_ref())
            .map(|cache| cache.classes as usize)
            .min()
            .unwrap_or(0)
    }
}
