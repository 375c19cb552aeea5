//! GPU slices: what VMs get out of the instances that they own.

use crate::host::SimHost;

/// Instances by owner's position, kept up with the assignment.
#[derive(Debug, Default)]
pub(crate) struct Slices {
    /// For each VM, the compute slices of each of its instances.
    owned: Vec<Vec<u32>>,
}

impl SimHost {
    /// Takes note of who owns which instances.
    pub(crate) fn follow_instances(&mut self) {
        let Self { slices, inventory, assignment, .. } = self;
        slices.owned.clear();
        slices.owned.resize(inventory.vms.len(), Vec::new());
        for instance in &assignment.gpu_instances {
            let gpu = &inventory.topology.gpus()[instance.gpu.index()];
            if let Some(position) = inventory.world().position(instance.owner) {
                slices.owned[position].push(gpu.profiles[instance.profile as usize].compute);
            }
        }
    }

    /// A program uses all its instances at once, each at the speed of its slices.
    pub(crate) fn share_gpus(&mut self) {
        let seconds = self.parameters.step.as_secs_f64();
        for (vm, owned) in self.vms.iter_mut().zip(&self.slices.owned) {
            let application = &vm.workload.application;
            let Some(response) = application.response.gpu.filter(|_| application.gpu_seconds > 0.0) else {
                continue;
            };
            let up = 1.0 - (vm.gpu_down_s / seconds).min(1.0);
            vm.gpu_down_s = (vm.gpu_down_s - seconds).max(0.0);
            vm.gpu = up * owned.iter().map(|slices| response.speed(*slices)).sum::<f64>();
            vm.gpu_wanted = vm.cpu * vm.efficiency * vm.memory_factor * application.gpu_seconds;
        }
    }

    /// Whether a VM keeps its slices busy, so that an instance of it cannot be taken at once.
    pub(crate) fn keeps_gpu_busy(&self, position: usize) -> bool {
        let vm = &self.vms[position];
        vm.gpu > 0.0 && vm.gpu_wanted > 0.05 * vm.gpu
    }
}
