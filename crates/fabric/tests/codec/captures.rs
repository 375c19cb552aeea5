//! Every recorded byte is read, and written again as it was.

use halcyon_fabric::cxl_fm::bytes::{Payload, Reader};
use halcyon_fabric::cxl_fm::cci::{Category, Message};
use halcyon_fabric::cxl_fm::dial_in::{Frame, Frames, Notice, put_frame};
use halcyon_fabric::cxl_fm::mctp::{MctpMessage, MessageType, Packets, put_packets};
use halcyon_fabric::cxl_fm::{Dialect, LdRoute, Opcode, Request, Tunnel};

const CSE: &str = include_str!("../captures/cse.txt");
const OPENCIS: [&str; 3] = [
    include_str!("../captures/opencis_fm.txt"),
    include_str!("../captures/opencis_mld.txt"),
    include_str!("../captures/opencis_swap.txt"),
];

pub(crate) fn bytes(hex: &str) -> Vec<u8> {
    let digits: String = hex.chars().filter(char::is_ascii_hexdigit).collect();
    (0..digits.len()).step_by(2).map(|at| u8::from_str_radix(&digits[at..at + 2], 16).unwrap()).collect()
}

/// The lines of a recording: whether to the switch, and the bytes.
fn lines(recording: &str) -> Vec<(bool, Vec<u8>)> {
    let line = |line: &str| {
        let mut words = line.split_whitespace().skip(1);
        let to_switch = words.next()? == ">";
        let mut word = words.next()?;
        // The recording of packets has their length first.
        if word.len() < 4 {
            word = words.next()?;
        }
        Some((to_switch, bytes(word)))
    };
    recording.lines().filter(|text| !text.starts_with("##")).filter_map(line).collect()
}

fn one_message(packets: &[u8]) -> MctpMessage {
    let mut stream = Packets::default();
    stream.feed(packets);
    let message = stream.next_message().expect("the packets are whole").expect("and in order");
    assert_eq!(stream.next_message(), None);
    message
}

#[test]
fn packets_of_the_cse_switch_are_read_and_written() {
    let lines = lines(CSE);
    assert_eq!(lines.len(), 70, "two for each exchange");
    let mut known = 0;
    let mut asked = None;
    for (to_switch, sent) in lines {
        let message = one_message(&sent);
        assert_eq!(message.route.owner, to_switch);
        // This switch counts packets on across messages.
        let mut again = Vec::new();
        put_packets(&message, (sent[3] >> 4) & 3, &mut again);
        // The padding is part of the body, so that whole packets of zeros cannot follow it.
        assert_eq!(again.len(), sent.len());
        assert_eq!(again, sent);
        if message.kind != MessageType::FmApi {
            continue;
        }
        let cci = Message::take(&mut Reader::new("a message", &message.body)).unwrap();
        assert_eq!(cci.category == Category::Request, to_switch);
        let mut again = cci.to_bytes();
        if !to_switch {
            assert_eq!(message.body[0], 0x10, "this switch has the category in the upper half of the byte");
            again[0] = 0x10;
        }
        assert_eq!(again, message.body[..again.len()]);
        assert!(message.body[again.len()..].iter().all(|byte| *byte == 0));
        if to_switch {
            known += usize::from(same_request(&cci));
            asked = Some(cci.opcode);
        } else {
            assert_eq!(asked, Some(cci.opcode));
        }
    }
    assert_eq!(known, 22, "port configuration requests and tunnels have no layout in `Request`");
}

/// Whether the payload is one that is known here; it is written as it was read.
fn same_request(message: &Message) -> bool {
    if message.opcode == Opcode(0x5300) {
        let tunnel = Tunnel::take(Dialect::CSE.lds == LdRoute::TypedTunnel, &message.payload).unwrap();
        let mut again = Vec::new();
        tunnel.put(true, &mut again).unwrap();
        assert_eq!(again, message.payload);
        assert!(same_request(&tunnel.message));
        return false;
    }
    let Some(request) = Request::read(message.opcode, &message.payload).unwrap() else { return false };
    assert_eq!((request.opcode(), request.payload()), (message.opcode, message.payload.clone()));
    true
}

#[test]
fn frames_of_the_opencis_switch_are_read_and_written() {
    let mut notices = 0;
    let mut requests = 0;
    for recording in OPENCIS {
        let lines = lines(recording);
        // The stream is read from both ends, however it is cut.
        for chunk in [1, 5, 4096] {
            let mut frames = Frames::default();
            let mut read = Vec::new();
            let stream: Vec<u8> = lines.iter().flat_map(|(_, bytes)| bytes.clone()).collect();
            for part in stream.chunks(chunk) {
                frames.feed(part);
                read.extend(std::iter::from_fn(|| frames.next_frame()).map(Result::unwrap));
            }
            let mut again = Vec::new();
            read.iter().for_each(|frame| put_frame(frame, &mut again).unwrap());
            assert_eq!(read.len(), lines.len());
            assert_eq!(again, stream);
        }
        for (to_switch, sent) in lines {
            let mut frames = Frames::default();
            frames.feed(&sent);
            let Frame { message, .. } = frames.next_frame().unwrap().unwrap();
            if to_switch {
                requests += usize::from(same_request(&message));
            } else if message.category == Category::Request {
                let notice = Notice::read(&message).unwrap();
                assert_ne!(notice, Notice::Other(message.opcode));
                assert_eq!(notice.message(), message);
                notices += 1;
            } else if message.opcode != Opcode(0) {
                assert_eq!(message.opcode.0 >> 8, 0x54, "only logical devices repeat the opcode");
            }
        }
    }
    assert_eq!((requests, notices), (63, 86));
}
