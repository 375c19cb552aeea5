//! Memory, and the last-level cache.

use crate::Span;
use crate::features::table::{VmColumn, vm};
use crate::features::{bit, doublings, share};

pub(super) const COLUMNS: [VmColumn; 21] = [
    vm("memory_held", "of the memory limit", "memory that it holds", |vm| vm.of_memory(vm.memory)),
    vm("memory_near", "of the memory limit", "memory that it holds on its own socket", |vm| {
        vm.of_memory(vm.memory_near)
    }),
    vm("memory_reservation", "of the memory limit", "memory that it is promised", |vm| {
        vm.of_memory(vm.spec.memory.reservation.as_f64())
    }),
    vm("working_set_known", "bit", "its working set is measured", |vm| {
        bit(vm.readings.working_set.is_some())
    }),
    vm("working_set_last", "of the memory limit", "its working set", |vm| {
        vm.working_set(|known| known.working_set.last())
    }),
    vm("working_set_mean_30s", "of the memory limit", "its mean over 30 s", |vm| {
        vm.working_set_mean(Span::Seconds30)
    }),
    vm("working_set_p95", "of the memory limit", "its 95th percentile over the last 64 cycles", |vm| {
        vm.working_set(|known| known.working_set.percentile(0.95))
    }),
    vm("working_set_most", "of the memory limit", "its largest value over the last 64 cycles", |vm| {
        vm.working_set(|known| known.working_set.most())
    }),
    vm("working_set_trend", "of the memory limit", "the last value less its mean over 5 min", |vm| {
        vm.working_set(|known| known.working_set.last()) - vm.working_set_mean(Span::Minutes5)
    }),
    vm("working_set_trend_1h", "of the memory limit", "its mean over 5 min less that over 1 h", |vm| {
        vm.working_set_mean(Span::Minutes5) - vm.working_set_mean(Span::Hour1)
    }),
    vm("memory_headroom", "of what it holds", "memory that it holds beyond its working set", |vm| {
        let last = vm.readings.working_set.and_then(|known| known.working_set.last());
        last.map_or(0.0, |last| share(vm.memory - last, vm.memory))
    }),
    vm("memory_stalled_known", "bit", "time stalled for memory is measured", |vm| {
        bit(vm.readings.memory_stalled.is_some())
    }),
    vm("memory_stalled_last", "of the time", "time stalled for memory, in the last cycle", |vm| {
        vm.readings.memory_stalled.and_then(|known| known.memory_stalled.last()).unwrap_or(0.0)
    }),
    vm("memory_stalled_p75", "of the time", "its 75th percentile over the last 64 cycles", |vm| {
        vm.readings.memory_stalled.and_then(|known| known.memory_stalled.percentile(0.75)).unwrap_or(0.0)
    }),
    vm("memory_refused", "bit", "it refused to give up memory, and is not asked again yet", |vm| {
        bit(vm.sample.and_then(|sample| sample.refuses_memory_until).is_some_and(|until| vm.now < until))
    }),
    vm("memory_limit", "log2 of the host", "its memory limit, of the host's memory", |vm| {
        doublings(share(vm.spec.memory.limit.as_f64(), vm.host_memory))
    }),
    vm("home_memory_free", "of the node", "free memory of the node nearest to its socket", |vm| {
        share(vm.home.free, vm.home.memory)
    }),
    vm("cache_known", "bit", "the cache that it fills is measured", |vm| bit(vm.readings.cache.is_some())),
    vm("cache_held", "of the socket's cache", "last-level cache that it fills", |vm| {
        let filled = vm.readings.cache.and_then(|known| known.cache.last()).unwrap_or(0.0);
        share(filled, vm.cache.map_or(0.0, |cache| cache.size.as_f64()))
    }),
    vm("cache_ways", "of the socket's ways", "ways that it may fill; 0 where they cannot be divided", |vm| {
        share(f64::from(vm.ways), vm.cache.map_or(0.0, |cache| f64::from(cache.ways)))
    }),
    vm("cache_sharers", "log2", "VMs of its socket in its class of service, itself included", |vm| {
        libm::log2(f64::from(vm.sharers.max(1)))
    }),
];
