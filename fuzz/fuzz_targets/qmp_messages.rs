#![no_main]
//! Arbitrary bytes from a QEMU that nobody trusts, cut into lines in two ways: the same messages come out.

use halcyon_host::qmp::Lines;
use libfuzzer_sys::fuzz_target;

fn messages(bytes: &[u8], chunk: usize) -> Vec<String> {
    let mut lines = Lines::default();
    let mut messages = Vec::new();
    for part in bytes.chunks(chunk) {
        if lines.feed(part).is_err() {
            break;
        }
        messages.extend(std::iter::from_fn(|| lines.next_message()).map(|message| format!("{message:?}")));
    }
    messages
}

fuzz_target!(|bytes: &[u8]| {
    assert_eq!(messages(bytes, bytes.len().max(1)), messages(bytes, 7));
});
