//! One module for each part of the host. Every check is a function from the tree to its findings: it
//! keeps no state, fails in no other way than by a finding, and names each finding the same on every
//! host, whatever is there.

pub(crate) mod cgroup;
pub(crate) mod fabric;
pub(crate) mod gpu;
pub(crate) mod host;
pub(crate) mod iommu;
pub(crate) mod kvm;
pub(crate) mod links;
pub(crate) mod memory;
pub(crate) mod pci;
pub(crate) mod qemu;
pub(crate) mod resctrl;
pub(crate) mod slots;
