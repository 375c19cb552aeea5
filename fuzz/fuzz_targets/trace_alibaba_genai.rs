#![no_main]
//! Arbitrary bytes as the three pod files of one folder, split at zero bytes.

use std::fs;

use halcyon_sim::trace::TraceFormat;
use libfuzzer_sys::fuzz_target;

const NAMES: [&str; 3] = ["pod_gpu_duty_cycle.csv", "pod_gpu_memory_used_bytes.csv", "pod_memory_util.csv"];

fuzz_target!(|data: &[u8]| {
    let Ok(folder) = halcyon_fuzz::folder() else { return };
    for (name, part) in NAMES.iter().zip(data.split(|byte| *byte == 0)) {
        if fs::write(folder.path().join(name), part).is_err() {
            return;
        }
    }
    halcyon_fuzz::read(folder.path(), TraceFormat::AlibabaGenAi);
});
