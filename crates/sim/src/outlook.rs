//! What will be asked of a VM, whatever anybody decides: for those who may know the future.

use halcyon_model::{Objective, Topology};

use crate::host::{Guest, boot};
use crate::parameters::Parameters;

/// What will be asked of one VM, step by step from the beginning of the run.
#[derive(Debug, Clone, Default)]
pub struct Outlook {
    /// Work that arrives, in cores; zero while the VM is not there.
    pub arrival: Vec<f32>,
    /// Its working set, in bytes.
    pub working_set: Vec<f32>,
    /// For each window, what its utility is counted against, in seconds of one core at full speed: the
    /// work that arrives, or for batch VMs the work that it would do alone. Windows without any do not
    /// count; where the run ends within a window, that one counts for VMs that have left before.
    pub asked: Vec<f64>,
}

/// What will be asked of `guest` in the first `steps` of a run: the demand of its trace with the very
/// bursts that `seed` brings.
#[must_use]
#[allow(clippy::cast_possible_truncation)]
pub fn outlook(
    guest: &Guest,
    topology: &Topology,
    parameters: &Parameters,
    seed: u64,
    steps: usize,
) -> Outlook {
    let critical = matches!(guest.spec.objective, Objective::Latency { .. });
    let (_, mut vm) = boot(guest.clone(), topology, parameters, seed, 0.0);
    let (step, window) = (parameters.step, parameters.window);
    let mut outlook = Outlook::default();
    let (mut now, mut window_end, mut asked) = (std::time::Duration::ZERO, window, 0.0);
    for _ in 0..steps {
        let there = now >= guest.arrives && guest.leaves.is_none_or(|leaves| now < leaves);
        if there {
            vm.arrive(now.as_secs_f64() + step.as_secs_f64() / 2.0, critical, parameters);
            let alone = vm.work_alone(step.as_secs_f64());
            asked += if critical { vm.arrival * step.as_secs_f64() } else { alone };
        }
        outlook.arrival.push(if there { vm.arrival as f32 } else { 0.0 });
        outlook.working_set.push(if there { vm.working_set as f32 } else { 0.0 });
        now += step;
        if now >= window_end {
            window_end += window;
            outlook.asked.push(std::mem::take(&mut asked));
        }
    }
    if now + window > window_end {
        // Whoever leaves closes its window; those of the others are still open when the run ends.
        let left = guest.leaves.is_some_and(|leaves| leaves + step <= now);
        outlook.asked.push(if left { asked } else { 0.0 });
    }
    outlook
}
