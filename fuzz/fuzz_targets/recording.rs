#![no_main]
//! Arbitrary bytes as a recording: as they are, and as the contents of frames whose check sums are right.
//! What is read is written again, and comes back the same.

use std::path::Path;

use halcyon_sim::recording::{Reader, Writer};
use halcyon_sim::trace::TraceFormat;
use libfuzzer_sys::fuzz_target;

/// Reads to the end or to the first complaint, and writes what was read.
fn again(bytes: &[u8]) -> Option<Vec<u8>> {
    let mut reader = Reader::new(bytes, Path::new("fuzzed.hrec")).ok()?;
    let mut writer = Writer::new(Vec::new()).ok()?;
    while let Ok(true) = reader.advance() {
        let inventory = reader.inventory().expect("a snapshot has a host").clone();
        let now = reader.now();
        writer.write(&inventory, &now.snapshot, now.wall).expect("what is read can be written");
    }
    writer.finish().ok().map(|(bytes, _)| bytes)
}

fuzz_target!(|data: &[u8]| {
    for bytes in [data.to_vec(), halcyon_fuzz::recording(data)] {
        halcyon_fuzz::import(&bytes, "trace.hrec", TraceFormat::Recording);
        if let Some(first) = again(&bytes) {
            assert_eq!(again(&first), Some(first), "what was written is written alike");
        }
    }
});
