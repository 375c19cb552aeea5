//! What can be changed on a host, how often, how fast, and at what price.

use std::fmt;
use std::time::Duration;

/// A kind of change, with one mechanism behind it on any given host.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ChangeKind {
    /// CPU weight and quota of a VM.
    Cpu,
    /// Memory-bandwidth throttle of a VM.
    MemoryBandwidth,
    /// The socket whose CPUs a VM runs on.
    Placement,
    /// Memory of a VM, by balloon or hot-plug.
    Memory,
    /// The node that a VM's memory lies on.
    MemoryMigration,
    /// The ways of a class of service.
    CacheMask,
    /// The class of service of a VM.
    CacheClass,
    /// The owner of a device.
    Device,
    /// Bandwidth of a device.
    DeviceBandwidth,
    /// Width or speed of a link.
    Link,
    /// The partition of a GPU.
    GpuInstance,
}

impl ChangeKind {
    /// Every kind.
    pub const ALL: [Self; 11] = [
        Self::Cpu,
        Self::MemoryBandwidth,
        Self::Placement,
        Self::Memory,
        Self::MemoryMigration,
        Self::CacheMask,
        Self::CacheClass,
        Self::Device,
        Self::DeviceBandwidth,
        Self::Link,
        Self::GpuInstance,
    ];

    /// The family whose steps are ordered among themselves.
    #[must_use]
    pub const fn family(self) -> Family {
        match self {
            Self::Cpu | Self::MemoryBandwidth | Self::Placement => Family::Compute,
            Self::Memory | Self::MemoryMigration => Family::Memory,
            Self::CacheMask | Self::CacheClass => Family::Cache,
            Self::Device | Self::DeviceBandwidth | Self::Link => Family::Fabric,
            Self::GpuInstance => Family::Gpu,
        }
    }

    /// The name in host files and on the screen.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::MemoryBandwidth => "memory-bandwidth",
            Self::Placement => "placement",
            Self::Memory => "memory",
            Self::MemoryMigration => "memory-migration",
            Self::CacheMask => "cache-mask",
            Self::CacheClass => "cache-class",
            Self::Device => "device",
            Self::DeviceBandwidth => "device-bandwidth",
            Self::Link => "link",
            Self::GpuInstance => "gpu-instance",
        }
    }
}

impl fmt::Display for ChangeKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Changes that share resources, and so are ordered among themselves. No rule of the checker spans two
/// families; therefore each can have a transaction of its own in flight.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Family {
    /// CPU time, memory bandwidth and the socket that both come from.
    Compute,
    /// Memory.
    Memory,
    /// Cache ways and classes of service.
    Cache,
    /// Devices, their bandwidth, and links.
    Fabric,
    /// GPU partitions.
    Gpu,
}

impl Family {
    /// Every family.
    pub const ALL: [Self; 5] = [Self::Compute, Self::Memory, Self::Cache, Self::Fabric, Self::Gpu];
}

/// A set of families.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Families(u8);

impl Families {
    /// No family.
    pub const NONE: Self = Self(0);
    /// Every family.
    pub const ALL: Self = Self(0b1_1111);

    /// With one more.
    #[must_use]
    pub const fn with(self, family: Family) -> Self {
        Self(self.0 | 1 << family as u8)
    }

    /// Whether a family is in the set.
    #[must_use]
    pub const fn contains(self, family: Family) -> bool {
        self.0 & (1 << family as u8) != 0
    }
}

/// How one kind of change behaves on a host.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Control {
    /// The least time between two changes of this kind.
    pub pace: Duration,
    /// From the request to the effect, typically.
    pub latency: Duration,
    /// How long the VM stands still.
    pub interruption: Duration,
    /// What one change is charged: seconds of a VM's utility, on top of what it loses by itself.
    pub cost_s: f64,
    /// The amount that can be set is a multiple of this, in the resource's smallest unit.
    pub granularity: u64,
}

impl Control {
    /// A change that is instant, free and exact; the starting point for describing real ones.
    pub const FREE: Self = Self {
        pace: Duration::ZERO,
        latency: Duration::ZERO,
        interruption: Duration::ZERO,
        cost_s: 0.0,
        granularity: 1,
    };
}

/// What can be changed on a host. A kind without a control cannot be changed there.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Capabilities {
    controls: [Option<Control>; ChangeKind::ALL.len()],
}

impl Capabilities {
    /// Nothing can be changed.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything can be changed for free.
    #[must_use]
    pub fn free() -> Self {
        Self { controls: [Some(Control::FREE); ChangeKind::ALL.len()] }
    }

    /// With `control` for `kind`, or without it.
    #[must_use]
    pub fn with(mut self, kind: ChangeKind, control: Option<Control>) -> Self {
        self.controls[kind as usize] = control;
        self
    }

    /// How a kind of change behaves, if it can be made at all.
    #[must_use]
    pub fn get(&self, kind: ChangeKind) -> Option<&Control> {
        self.controls[kind as usize].as_ref()
    }

    /// Whether a kind of change can be made.
    #[must_use]
    pub fn allows(&self, kind: ChangeKind) -> bool {
        self.get(kind).is_some()
    }
}
