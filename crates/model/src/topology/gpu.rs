//! GPUs that are divided in hardware, in the manner of NVIDIA's Multi-Instance GPU.

use crate::ids::{DeviceId, GpuId};
use crate::units::ByteSize;

/// A GPU that can be partitioned into instances.
#[derive(Debug, Clone, PartialEq)]
pub struct Gpu {
    /// Its position in [`Topology::gpus`](super::Topology::gpus).
    pub id: GpuId,
    /// The physical device.
    pub device: DeviceId,
    /// Memory slices; an instance occupies a run of them.
    pub slices: u32,
    /// Device memory.
    pub memory: ByteSize,
    /// The instances that the hardware can make.
    pub profiles: Vec<SliceProfile>,
}

/// A kind of instance, such as `3g.20gb`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SliceProfile {
    /// The vendor's name.
    pub name: String,
    /// Compute slices.
    pub compute: u32,
    /// Memory slices that it occupies.
    pub span: u32,
    /// Where on the GPU it may start.
    pub starts: Vec<u32>,
}
