//! What is known of the program: its own profile, or that of one like it.

use crate::features::table::{VmColumn, vm};
use crate::features::{bit, count};

pub(super) const COLUMNS: [VmColumn; 20] = [
    vm("program_known", "bit", "its program has a profile of its own", |vm| bit(vm.is_profiled)),
    vm("program_confidence", "0 to 1", "how sure the profile is; 1 for its own, 0 without any", |vm| {
        vm.program.map_or(0.0, |found| found.confidence)
    }),
    vm("cache_response_known", "bit", "there is a profile, and the socket's cache can be divided", |vm| {
        bit(vm.knows_cache())
    }),
    vm(
        "speed_cache_8th",
        "of its best",
        "speed with 1/8 of the socket's cache, of that with all of it",
        |vm| vm.speed_with(0),
    ),
    vm("speed_cache_4th", "of its best", "speed with 1/4 of the socket's cache", |vm| vm.speed_with(1)),
    vm("speed_cache_half", "of its best", "speed with 1/2 of the socket's cache", |vm| vm.speed_with(2)),
    vm(
        "traffic_cache_8th",
        "log2 of its least",
        "memory traffic per unit of work with 1/8 of the socket's cache, of that with all of it",
        |vm| vm.traffic_with(0),
    ),
    vm("traffic_cache_4th", "log2 of its least", "memory traffic with 1/4 of the socket's cache", |vm| {
        vm.traffic_with(1)
    }),
    vm("traffic_cache_half", "log2 of its least", "memory traffic with 1/2 of the socket's cache", |vm| {
        vm.traffic_with(2)
    }),
    vm(
        "traffic_alone",
        "of the socket",
        "memory traffic of the program on all CPU time of the VM's limit, with all of the cache",
        |vm| vm.traffic_alone(),
    ),
    vm("gpu_response_known", "bit", "there is a profile of its response to GPU slices", |vm| {
        bit(vm.response().is_some_and(|response| response.gpu.is_some()))
    }),
    vm("speed_gpu_1", "of a whole GPU", "speed with 1 compute slice", |vm| vm.gpu_speed(1)),
    vm("speed_gpu_2", "of a whole GPU", "speed with 2 compute slices", |vm| vm.gpu_speed(2)),
    vm("speed_gpu_3", "of a whole GPU", "speed with 3 compute slices", |vm| vm.gpu_speed(3)),
    vm("speed_gpu_4", "of a whole GPU", "speed with 4 compute slices", |vm| vm.gpu_speed(4)),
    vm("speed_gpu_7", "of a whole GPU", "speed with 7 compute slices", |vm| vm.gpu_speed(7)),
    vm("cpu_per_gpu_known", "bit", "the CPU time is known that keeps a GPU busy", |vm| {
        bit(vm.response().and_then(|response| response.cpu_per_gpu).is_some())
    }),
    vm("cpu_per_gpu", "of the CPU limit", "CPU time that keeps a whole GPU busy", |vm| {
        let cores = vm.response().and_then(|response| response.cpu_per_gpu);
        vm.of_cpu(1000.0 * cores.unwrap_or(0.0))
    }),
    vm("paging_known", "bit", "it is known what missing memory costs its program", |vm| {
        bit(vm.response().and_then(|response| response.paging).is_some())
    }),
    vm("paging", "log2(1 + k)", "slow-down per share of the working set that is not in memory", |vm| {
        count(vm.response().and_then(|response| response.paging).unwrap_or(0.0))
    }),
];
