//! Bytes that nobody would send end in an error that says what is wrong, and take no more room than they have.

use halcyon_fabric::cxl_fm::bytes::{DecodeError, Payload, Reader};
use halcyon_fabric::cxl_fm::cci::Message;
use halcyon_fabric::cxl_fm::dial_in::{FrameError, Frames};
use halcyon_fabric::cxl_fm::mctp::{MctpError, PACKET, Packets};
use halcyon_fabric::cxl_fm::{Command, GetPortState, GetVcs, Opcode, Request, Tunnel, VcsId, VppbId};
use proptest::prelude::*;

fn packet(flags: u8) -> [u8; PACKET] {
    let mut packet = [0; PACKET];
    packet[0] = 1;
    packet[3] = flags;
    packet
}

fn outcome(packets: &[[u8; PACKET]]) -> Option<Result<usize, MctpError>> {
    let mut stream = Packets::default();
    packets.iter().for_each(|packet| stream.feed(packet));
    stream.next_message().map(|result| result.map(|message| message.body.len()))
}

#[test]
fn packets_out_of_order_are_named() {
    assert_eq!(outcome(&[packet(0x80), packet(0x50)]), Some(Ok(127)));
    assert_eq!(outcome(&[packet(0xb0), packet(0x40)]), Some(Ok(127)), "numbers go round");
    assert_eq!(outcome(&[packet(0x50)]), Some(Err(MctpError::NoStart { tag: 0 })));
    let missing = MctpError::OutOfOrder { tag: 0, expected: 1, found: 2 };
    assert_eq!(outcome(&[packet(0x80), packet(0x60)]), Some(Err(missing)));
    // A new beginning drops what was begun before, and other tags may come between.
    assert_eq!(outcome(&[packet(0x80), packet(0x81), packet(0x50)]), Some(Ok(127)));
    assert_eq!(outcome(&[packet(0x80), packet(0xc0)]), Some(Ok(63)));
    let odd = [[7; PACKET]];
    assert_eq!(outcome(&odd), Some(Err(MctpError::Version { found: 7 })));
}

#[test]
fn a_message_without_an_end_is_given_up() {
    let mut stream = Packets::default();
    stream.feed(&packet(0x80));
    for number in 1..20_000 {
        stream.feed(&packet([0x00, 0x10, 0x20, 0x30][number % 4]));
        match stream.next_message() {
            None => assert!(number < 17_000, "2^20 bytes are 16,384 packets"),
            Some(result) => {
                assert_eq!(result, Err(MctpError::TooLong));
                break;
            }
        }
    }
}

#[test]
fn frames_that_cannot_be_are_named() {
    let first = |bytes: &[u8]| {
        let mut frames = Frames::default();
        frames.feed(bytes);
        frames.next_frame()
    };
    assert_eq!(first(&[0x33, 0x01]), Some(Err(FrameError::Type { found: 3 })));
    assert_eq!(first(&[0xf4, 0x00]), Some(Err(FrameError::Length { found: 15 })));
    assert_eq!(first(&[0x04, 0x01, 0, 0, 0]), None);
    // A payload that the frame has no room for: an error for this message, and the next one is read.
    let mut frames = Frames::default();
    let mut bytes = vec![0x04, 0x01, 0, 0];
    bytes.extend([1, 9, 0, 0, 0, 5, 0, 0, 0, 0, 0, 0]);
    bytes.extend([0x04, 0x01, 0, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    frames.feed(&bytes);
    let Some(Err(FrameError::Message(DecodeError::Short { field, .. }))) = frames.next_frame() else {
        panic!()
    };
    assert_eq!(field, "payload");
    assert_eq!(frames.next_frame().unwrap().unwrap().message.tag, 9);
}

#[test]
fn counts_that_the_bytes_do_not_hold_are_named() {
    let ports = GetPortState { ports: Vec::new() }.reply(&[255, 0, 0, 0, 1, 2, 3]).unwrap_err();
    assert_eq!(
        ports.to_string(),
        "Get Physical Port State ends inside `the state of a port`: 4084 bytes are needed and there are 7"
    );
    let vcs = GetVcs { start: VppbId(0), limit: 255, ids: vec![VcsId(0)] };
    assert!(vcs.reply(&[1, 0, 0, 0, 0, 1, 0, 255, 0, 0]).is_err());
    let extents = [&[0; 28][..], &u32::MAX.to_le_bytes()].concat();
    let error = Request::read(Opcode(0x5604), &extents).unwrap_err();
    assert!(matches!(error, DecodeError::Value { field: "number of extents", .. }), "{error}");
}

proptest! {
    #[test]
    fn no_bytes_are_too_odd(bytes in proptest::collection::vec(any::<u8>(), 0..600), opcode: u16) {
        let _ = Message::take(&mut Reader::new("a message", &bytes));
        for opcode in [opcode, 0x5100 | opcode & 0x3, 0x5200 | opcode & 3, 0x5400 | opcode & 0xf, 0x5600 | opcode & 7] {
            if let Ok(Some(request)) = Request::read(Opcode(opcode), &bytes) {
                let again = Request::read(request.opcode(), &request.payload());
                prop_assert_eq!(again, Ok(Some(request)));
            }
        }
        for typed in [false, true] {
            let _ = Tunnel::take(typed, &bytes);
            let _ = Tunnel::take_answer(typed, &bytes);
        }
    }

    #[test]
    fn a_stream_means_the_same_however_it_is_cut(
        flags in proptest::collection::vec(any::<u8>(), 0..20),
        chunk in 1_usize..200,
    ) {
        let stream: Vec<u8> = flags.iter().flat_map(|flags| packet(*flags)).collect();
        let read = |chunk: usize| {
            let mut packets = Packets::default();
            let mut read = Vec::new();
            for part in stream.chunks(chunk) {
                packets.feed(part);
                read.extend(std::iter::from_fn(|| packets.next_message()));
            }
            read
        };
        prop_assert_eq!(read(chunk), read(4096));
    }
}
