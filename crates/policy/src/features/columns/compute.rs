//! CPU time, its socket, and the traffic to the socket's memory.

use halcyon_model::Bandwidth;

use crate::Span;
use crate::features::table::{VmColumn, vm};
use crate::features::{bit, doublings, share};

pub(super) const COLUMNS: [VmColumn; 28] = [
    vm("cpu_held", "of the CPU limit", "CPU share that it holds", |vm| {
        vm.of_cpu(vm.holding.map_or(0.0, |held| held.cpu.share.as_f64()))
    }),
    vm("cpu_ceiling", "of the CPU limit", "CPU ceiling that it holds", |vm| {
        vm.of_cpu(vm.holding.map_or(0.0, |held| held.cpu.ceiling.as_f64()))
    }),
    vm("cpu_reservation", "of the CPU limit", "CPU time that it is promised", |vm| {
        vm.of_cpu(vm.spec.cpu.reservation.as_f64())
    }),
    vm("cpu_known", "bit", "CPU time is measured", |vm| bit(vm.readings.cpu.is_some())),
    vm("cpu_last", "of the CPU limit", "CPU time used and waited for, in the last cycle", |vm| {
        vm.cpu(|known| known.cpu.last())
    }),
    vm("cpu_mean_4s", "of the CPU limit", "its mean over 4 s", |vm| vm.cpu_mean(Span::Seconds4)),
    vm("cpu_mean_30s", "of the CPU limit", "its mean over 30 s", |vm| vm.cpu_mean(Span::Seconds30)),
    vm("cpu_mean_5min", "of the CPU limit", "its mean over 5 min", |vm| vm.cpu_mean(Span::Minutes5)),
    vm("cpu_mean_1h", "of the CPU limit", "its mean over 1 h", |vm| vm.cpu_mean(Span::Hour1)),
    vm("cpu_p95", "of the CPU limit", "its 95th percentile over the last 64 cycles", |vm| {
        vm.cpu(|known| known.cpu.percentile(0.95))
    }),
    vm("cpu_most", "of the CPU limit", "its largest value over the last 64 cycles", |vm| {
        vm.cpu(|known| known.cpu.most())
    }),
    vm("cpu_sustained", "of the CPU limit", "the lesser of its last two values", |vm| {
        vm.cpu(|known| known.cpu.sustained(2))
    }),
    vm("cpu_deviation", "of the CPU limit", "its standard deviation over the last 64 cycles", |vm| {
        vm.cpu(|known| known.cpu.deviation())
    }),
    vm("waited_known", "bit", "time waited for a CPU is measured", |vm| bit(vm.readings.waited.is_some())),
    vm("waited_last", "of the CPU limit", "CPU time waited for, in the last cycle", |vm| {
        vm.of_cpu(vm.readings.waited.and_then(|known| known.cpu_waited).unwrap_or(0.0))
    }),
    vm("waited_mean_30s", "of the CPU limit", "its mean over 30 s", |vm| {
        let mean = vm.readings.waited.and_then(|known| known.trends.cpu_waited.mean(Span::Seconds30));
        vm.of_cpu(mean.unwrap_or(0.0))
    }),
    vm("cpu_limit", "log2 of the socket", "its CPU limit, of its socket's CPU time", |vm| {
        doublings(share(vm.spec.cpu.limit.as_f64(), vm.on.cpu))
    }),
    vm("weight", "log2 of the mean", "its weight, of the mean weight of all VMs", |vm| {
        doublings(share(vm.spec.weight.as_f64(), vm.tally.weight))
    }),
    vm("socket_cpu_used", "of the socket", "CPU time that the VMs of its socket use and wait for", |vm| {
        share(vm.on.cpu_used, vm.on.cpu)
    }),
    vm("socket_cpu_free", "of the socket", "CPU time of its socket that is no VM's share", |vm| {
        share(vm.on.cpu - vm.on.cpu_held, vm.on.cpu)
    }),
    vm("socket_cpu_limits", "of the socket", "CPU limits of the VMs of its socket together", |vm| {
        share(vm.on.cpu_limits, vm.on.cpu)
    }),
    vm("bandwidth_known", "bit", "memory traffic is measured", |vm| bit(vm.readings.bandwidth.is_some())),
    vm("bandwidth_last", "of the socket", "memory traffic in the last cycle", |vm| {
        vm.bandwidth(|known| known.memory_bandwidth.last())
    }),
    vm("bandwidth_mean_5min", "of the socket", "its mean over 5 min", |vm| {
        vm.bandwidth(|known| {
            known.trends.memory_bandwidth.mean(Span::Minutes5).or(known.memory_bandwidth.last())
        })
    }),
    vm("bandwidth_p75", "of the socket", "its 75th percentile over the last 64 cycles", |vm| {
        vm.bandwidth(|known| known.memory_bandwidth.percentile(0.75))
    }),
    vm("bandwidth_ceiling", "of the socket", "memory bandwidth that it may reach, at most 1", |vm| {
        let ceiling = vm.holding.map_or(Bandwidth::ZERO, |held| held.memory_bandwidth.ceiling);
        share(ceiling.as_f64(), vm.on.bandwidth).min(1.0)
    }),
    vm("bandwidth_at_ceiling", "of its ceiling", "memory traffic in the last cycle", |vm| {
        let ceiling = vm.holding.map_or(Bandwidth::ZERO, |held| held.memory_bandwidth.ceiling);
        let moved = vm.readings.bandwidth.and_then(|known| known.memory_bandwidth.last());
        share(moved.unwrap_or(0.0), ceiling.as_f64())
    }),
    vm("socket_bandwidth_used", "of the socket", "memory traffic of the VMs of its socket together", |vm| {
        share(vm.on.bandwidth_used, vm.on.bandwidth)
    }),
];
