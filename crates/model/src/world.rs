//! What a decision is made about: the host, its VMs, and what can be changed.

use crate::capability::Capabilities;
use crate::ids::VmId;
use crate::topology::Topology;
use crate::vm::VmSpec;

/// A host and its VMs, borrowed for one decision.
#[derive(Debug, Clone, Copy)]
pub struct World<'a> {
    /// The host.
    pub topology: &'a Topology,
    /// Its VMs, ordered by id.
    pub vms: &'a [VmSpec],
    /// What can be changed.
    pub capabilities: &'a Capabilities,
}

impl<'a> World<'a> {
    /// The position of a VM among the VMs.
    #[must_use]
    pub fn position(&self, vm: VmId) -> Option<usize> {
        // VMs are numbered from zero most of the time.
        match self.vms.get(vm.index()) {
            Some(spec) if spec.id == vm => Some(vm.index()),
            _ => self.vms.binary_search_by_key(&vm, |spec| spec.id).ok(),
        }
    }

    /// A VM by id.
    #[must_use]
    pub fn vm(&self, vm: VmId) -> Option<&'a VmSpec> {
        self.position(vm).map(|position| &self.vms[position])
    }
}
