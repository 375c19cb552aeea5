#![no_main]
//! Arbitrary bytes as a message, as a request and as every kind of answer; what a request was read as is written as what
//! reads the same.

use halcyon_fabric::cxl_fm::bytes::{Payload, Reader};
use halcyon_fabric::cxl_fm::dial_in::Notice;
use halcyon_fabric::cxl_fm::dynamic::{GetDynamicInfo, GetExtents, GetHostRegions};
use halcyon_fabric::cxl_fm::{
    Command, GetBackgroundStatus, GetLdAllocations, GetLdInfo, GetPortState, GetQosControl, GetQosLimit, GetVcs,
    Identify, IdentifySwitch, LdRange, Message, Request, Tunnel, VppbId,
};
use libfuzzer_sys::fuzz_target;

fn answers(payload: &[u8]) {
    let range = LdRange { count: 4, start: 0 };
    let _ = Identify.reply(payload);
    let _ = IdentifySwitch.reply(payload);
    let _ = GetBackgroundStatus.reply(payload);
    let _ = GetPortState { ports: Vec::new() }.reply(payload);
    for (start, limit) in [(0, 255), (3, 2)] {
        let _ = GetVcs { start: VppbId(start), limit, ids: Vec::new() }.reply(payload);
    }
    let _ = GetLdInfo.reply(payload);
    let _ = GetLdAllocations(range).reply(payload);
    let _ = GetQosControl.reply(payload);
    let _ = GetQosLimit(range).reply(payload);
    let _ = GetDynamicInfo.reply(payload);
    let _ = GetHostRegions { host: 0, count: 8, start: 0 }.reply(payload);
    let _ = GetExtents { host: 0, count: 8, start: 0 }.reply(payload);
}

fuzz_target!(|bytes: &[u8]| {
    let Ok(message) = Message::take(&mut Reader::new("a message", bytes)) else { return };
    assert_eq!(Message::take(&mut Reader::new("a message", &message.to_bytes())), Ok(message.clone()));
    answers(&message.payload);
    let _ = Notice::read(&message);
    for typed in [false, true] {
        let _ = Tunnel::take(typed, &message.payload);
        let _ = Tunnel::take_answer(typed, &message.payload);
    }
    if let Ok(Some(request)) = Request::read(message.opcode, &message.payload) {
        assert_eq!(Request::read(request.opcode(), &request.payload()), Ok(Some(request)));
    }
});
