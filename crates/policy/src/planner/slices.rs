//! GPU slices go to where they are worth most.

use halcyon_model::GpuInstance;

use super::Need;
use crate::View;
use crate::reactive::gpu_speed;
use crate::slices::divide_slices;

pub(super) fn divide(
    view: &View<'_>,
    needs: &[Need],
    worth: Option<&dyn Fn(usize, u32) -> f64>,
) -> Vec<GpuInstance> {
    let by_need = |position: usize, slices: u32| {
        let (Some(need), spec) = (needs.get(position), &view.world.vms[position]) else { return 0.0 };
        if slices == 0 || need.gpu <= 0.0 {
            return 0.0;
        }
        let part = (gpu_speed(view, position, slices) / need.gpu).min(1.0);
        spec.weight.as_f64() * need.device_rank * libm::pow(part, need.gpu_bend)
    };
    divide_slices(view.world, &view.snapshot.assignment, worth.unwrap_or(&by_need))
}
