//! What the VM is judged by and how it does, the time of day, and what yesterday says.

use std::time::Duration;

use halcyon_model::Objective;

use crate::Span;
use crate::features::table::{VmColumn, vm};
use crate::features::vm::AHEAD;
use crate::features::{bit, count, doublings};

pub(super) const COLUMNS: [VmColumn; 17] = [
    vm("is_latency", "bit", "it is judged by response time", |vm| {
        bit(matches!(vm.spec.objective, Objective::Latency { .. }))
    }),
    vm("is_throughput", "bit", "it is judged by the work that it gets done", |vm| {
        bit(vm.spec.objective == Objective::Throughput)
    }),
    vm("is_best_effort", "bit", "whatever is left is welcome", |vm| {
        bit(vm.spec.objective == Objective::BestEffort)
    }),
    vm(
        "objective",
        "log10 of seconds",
        "the response time that 99 of 100 requests are to have",
        |vm| match vm.spec.objective {
            Objective::Latency { p99 } => libm::log10(p99.as_secs_f64()),
            _ => 0.0,
        },
    ),
    vm("lateness_known", "bit", "its response time is measured, and it has an objective", |vm| {
        bit(vm.lateness().is_some())
    }),
    vm("lateness", "log2 of the objective", "99th percentile of its response time", |vm| {
        vm.lateness().map_or(0.0, doublings)
    }),
    vm("backlog_known", "bit", "the work that waits is measured", |vm| bit(vm.backlog().is_some())),
    vm("backlog", "log2(1 + s)", "work that waits, in seconds of its CPUs", |vm| {
        count(vm.backlog().unwrap_or(0.0))
    }),
    vm("day_sine", "-1 to 1", "the time of day, as Halcyon's clock has it: its sine", |vm| {
        vm.tally.time_of_day.0
    }),
    vm("day_cosine", "-1 to 1", "the time of day: its cosine", |vm| vm.tally.time_of_day.1),
    vm("cpu_day_known", "bit", "CPU time was measured at this time yesterday, and 15 min later", |vm| {
        bit(cpu_change(vm).is_some())
    }),
    vm("cpu_day", "of the CPU limit", "CPU time at this time yesterday less its mean over 5 min", |vm| {
        let known = cpu_change(vm).and_then(|_| vm.cpu_day(Duration::ZERO));
        known.map_or(0.0, |before| before - vm.cpu_mean(Span::Minutes5))
    }),
    vm("cpu_day_change", "of the CPU limit", "its change in the 15 min that followed, yesterday", |vm| {
        cpu_change(vm).unwrap_or(0.0)
    }),
    vm("working_set_day_known", "bit", "the working set was measured then, and 15 min later", |vm| {
        bit(working_set_change(vm).is_some())
    }),
    vm("working_set_day", "of the memory limit", "working set at this time yesterday less its mean", |vm| {
        let known = working_set_change(vm).and_then(|_| vm.working_set_day(Duration::ZERO));
        known.map_or(0.0, |before| before - vm.working_set_mean(Span::Minutes5))
    }),
    vm("working_set_day_change", "of the memory limit", "its change in the 15 min that followed", |vm| {
        working_set_change(vm).unwrap_or(0.0)
    }),
    vm("age", "log10(1 + s)", "seconds since it was first seen", |vm| {
        libm::log10(1.0 + vm.now.saturating_sub(vm.since).as_secs_f64())
    }),
];

fn cpu_change(vm: &crate::features::vm::Vm<'_>) -> Option<f64> {
    Some(vm.cpu_day(AHEAD)? - vm.cpu_day(Duration::ZERO)?)
}

fn working_set_change(vm: &crate::features::vm::Vm<'_>) -> Option<f64> {
    Some(vm.working_set_day(AHEAD)? - vm.working_set_day(Duration::ZERO)?)
}
