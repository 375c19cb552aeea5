#![no_main]
//! Arbitrary bytes as a stream of packets and as one of dial-in frames, cut in two ways: the same messages come out.

use halcyon_fabric::cxl_fm::dial_in::{Frame, FrameError, Frames};
use halcyon_fabric::cxl_fm::mctp::{MctpError, MctpMessage, Packets};
use libfuzzer_sys::fuzz_target;

fn messages(bytes: &[u8], chunk: usize) -> Vec<Result<MctpMessage, MctpError>> {
    let mut packets = Packets::default();
    let mut messages = Vec::new();
    for part in bytes.chunks(chunk) {
        packets.feed(part);
        messages.extend(std::iter::from_fn(|| packets.next_message()));
    }
    messages
}

fn frames(bytes: &[u8], chunk: usize) -> Vec<Result<Frame, FrameError>> {
    let mut frames = Frames::default();
    let mut read = Vec::new();
    for part in bytes.chunks(chunk) {
        frames.feed(part);
        while let Some(frame) = frames.next_frame() {
            let lost = matches!(frame, Err(FrameError::Type { .. } | FrameError::Length { .. }));
            read.push(frame);
            // Nothing can be read after that; a manager closes the connection.
            if lost {
                return read;
            }
        }
    }
    read
}

fuzz_target!(|bytes: &[u8]| {
    let whole = bytes.len().max(1);
    assert_eq!(messages(bytes, whole), messages(bytes, 7));
    assert_eq!(frames(bytes, whole), frames(bytes, 7));
});
