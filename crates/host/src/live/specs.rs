//! What VMs are promised: what the operator wrote, or else what does no harm.

use std::collections::BTreeMap;

use halcyon_model::{Bounds, ByteSize, MilliCpu, Objective, Topology, VmId, VmSpec, Weight};

use crate::vm::Instance;

/// Without a word of the operator a VM is promised a tenth of its virtual CPUs.
const PART_OF_CPU: u64 = 10;
/// And a quarter of its memory, but not less than a small guest needs to stay up.
const PART_OF_MEMORY: u64 = 4;
const LEAST_MEMORY: ByteSize = ByteSize::mib(256);

/// What VMs are promised, by name.
#[derive(Debug, Clone, Default)]
pub struct Specs(BTreeMap<String, VmSpec>);

impl Specs {
    /// What the operator wrote; ids count for nothing.
    #[must_use]
    pub fn new(specs: Vec<VmSpec>) -> Self {
        Self(specs.into_iter().map(|spec| (spec.name.clone(), spec)).collect())
    }

    /// What a guest is promised. It has the virtual CPUs and memory that QEMU gave it, whatever is written.
    #[must_use]
    pub fn of(&self, vm: VmId, instance: &Instance, topology: &Topology) -> VmSpec {
        let all = MilliCpu::cores(u64::from(instance.vcpus));
        let mut spec = self.0.get(&instance.name).cloned().unwrap_or_else(|| default(instance, topology));
        (spec.id, spec.name, spec.vcpus) = (vm, instance.name.clone(), instance.vcpus);
        spec.cpu.limit = spec.cpu.limit.min(all);
        spec.cpu.reservation = spec.cpu.reservation.min(spec.cpu.limit);
        if let Some(most) = most_memory(instance) {
            let pinned = instance.balloon_actual.is_none();
            spec.memory.limit = if pinned { most } else { spec.memory.limit.min(most) };
            spec.memory.reservation =
                if pinned { most } else { spec.memory.reservation.min(spec.memory.limit) };
        }
        spec
    }
}

/// What a balloon can leave it at most.
fn most_memory(instance: &Instance) -> Option<ByteSize> {
    instance.boot_memory.max(instance.balloon_actual).map(ByteSize::new)
}

fn default(instance: &Instance, topology: &Topology) -> VmSpec {
    let all = MilliCpu::cores(u64::from(instance.vcpus));
    let memory = most_memory(instance).unwrap_or(LEAST_MEMORY);
    let bandwidth = topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id)).max();
    let promised = ByteSize::new(memory.get() / PART_OF_MEMORY).max(LEAST_MEMORY).min(memory);
    VmSpec {
        id: VmId(0),
        name: instance.name.clone(),
        vcpus: instance.vcpus,
        weight: Weight::default(),
        cpu: Bounds { reservation: MilliCpu::new(all.get() / PART_OF_CPU), limit: all },
        memory: Bounds { reservation: promised, limit: memory },
        memory_bandwidth: Bounds { limit: bandwidth.unwrap_or_default(), ..Bounds::default() },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}
