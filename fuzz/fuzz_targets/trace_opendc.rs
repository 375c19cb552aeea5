#![no_main]
//! Arbitrary bytes as both tables of an OpenDC trace.

use std::fs;
use std::sync::Once;

use halcyon_sim::trace::TraceFormat;
use libfuzzer_sys::fuzz_target;

static QUIET: Once = Once::new();

fuzz_target!(|data: &[u8]| {
    // The importer turns panics of the Parquet decoder into errors, so a panic counts only where it
    // leaves the importer; libFuzzer's own hook would count it where it begins.
    QUIET.call_once(|| std::panic::set_hook(Box::new(|_| {})));
    let Ok(folder) = halcyon_fuzz::folder() else { return };
    for name in ["meta.parquet", "trace.parquet"] {
        if fs::write(folder.path().join(name), data).is_err() {
            return;
        }
    }
    halcyon_fuzz::read(folder.path(), TraceFormat::OpenDc);
});
