//! NVIDIA GPUs, read through the management library (NVML) that comes with their driver. Nothing is changed.
//!
//! The library is looked for at run time: a host without it has no GPUs to read, and says why once. Each call
//! may last (PCIe throughput alone is measured over 20 ms for each direction), so that a [`Watch`] reads in a
//! thread of its own and whoever wants figures takes the last ones. Without the feature `nvml` only the form
//! of a reading is there.
//!
//! A GPU that was given to a VM as a whole belongs to `vfio-pci` and is not among them.

#[cfg(feature = "nvml")]
mod library;
mod reading;
#[cfg(feature = "nvml")]
mod watch;

#[cfg(feature = "nvml")]
pub use library::{Library, NvmlUnavailable};
pub use reading::{GpuProcess, GpuReading, Mig, MigInstance, Reading};
#[cfg(feature = "nvml")]
pub use watch::Watch;
