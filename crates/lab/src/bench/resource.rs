//! The resources that can be changed alone, to see which of them a policy's gain comes from.

use halcyon_model::{Capabilities, ChangeKind};
use serde::Serialize;

use crate::scenario::Scenario;

/// A resource, with the kinds of change that are about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Resource {
    /// CPU time, and the socket that it comes from.
    Cpu,
    /// Memory, and the node that it lies on.
    Memory,
    /// Bandwidth to memory.
    MemoryBandwidth,
    /// Cache ways and classes of service.
    Cache,
    /// Devices, their bandwidth, and links.
    Fabric,
    /// GPU partitions.
    Gpu,
}

impl Resource {
    /// Every resource.
    pub const ALL: [Self; 6] =
        [Self::Cpu, Self::Memory, Self::MemoryBandwidth, Self::Cache, Self::Fabric, Self::Gpu];

    /// What a kind of change is about.
    #[must_use]
    pub const fn of(kind: ChangeKind) -> Self {
        match kind {
            ChangeKind::Cpu | ChangeKind::Placement => Self::Cpu,
            ChangeKind::Memory | ChangeKind::MemoryMigration => Self::Memory,
            ChangeKind::MemoryBandwidth => Self::MemoryBandwidth,
            ChangeKind::CacheMask | ChangeKind::CacheClass => Self::Cache,
            ChangeKind::Device | ChangeKind::DeviceBandwidth | ChangeKind::Link => Self::Fabric,
            ChangeKind::GpuInstance => Self::Gpu,
        }
    }

    /// The name in JSON and in tables.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Cpu => "cpu",
            Self::Memory => "memory",
            Self::MemoryBandwidth => "memory-bandwidth",
            Self::Cache => "cache",
            Self::Fabric => "fabric",
            Self::Gpu => "gpu",
        }
    }

    /// The same scenario where only this can be changed; nothing where the host cannot change it at all.
    pub(crate) fn alone(self, scenario: &Scenario) -> Option<Scenario> {
        let own = |kind: &ChangeKind| Self::of(*kind) == self;
        let kept = ChangeKind::ALL.into_iter().filter(own);
        let kept = kept.fold(Capabilities::none(), |kept, kind| {
            kept.with(kind, scenario.capabilities.get(kind).copied())
        });
        (kept != Capabilities::none()).then(|| Scenario { capabilities: kept, ..scenario.clone() })
    }
}
