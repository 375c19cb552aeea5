//! What recorded bytes mean.

use halcyon_fabric::cxl_fm::bytes::{DecodeError, Payload, Reader};
use halcyon_fabric::cxl_fm::cci::Message;
use halcyon_fabric::cxl_fm::identify::ComponentType;
use halcyon_fabric::cxl_fm::mctp::{MctpMessage, MessageType, Packets, Route, put_packets};
use halcyon_fabric::cxl_fm::mld::Granularity;
use halcyon_fabric::cxl_fm::ports::Ltssm;
use halcyon_fabric::cxl_fm::{
    BackgroundStatus, Bind, Command, ConnectedDevice, GetBackgroundStatus, GetLdAllocations, GetLdInfo,
    GetQosAllocated, GetQosControl, GetVcs, Identify, IdentifySwitch, LdId, LdRange, Opcode, PhysicalPort,
    PortConfig, PortStates, QosControl, ReturnCode, Tunnel, TunnelTarget, Unbind, UnbindOption, VcsId,
    VcsState, Vppb, VppbId, VppbStatus,
};
use halcyon_model::{Lanes, LinkSpeed};

use super::captures::bytes;

fn packet<C: Command>(command: &C) -> Vec<u8> {
    let route = Route { destination: 0, source: 0, owner: true, tag: 0 };
    let body = Message::request(0, C::OPCODE, command.to_bytes()).to_bytes();
    let mut out = Vec::new();
    put_packets(&MctpMessage { route, kind: MessageType::FmApi, body }, 0, &mut out);
    out
}

fn padded(hex: &str) -> Vec<u8> {
    let mut packet = bytes(hex);
    packet.resize(68, 0);
    packet
}

fn answer(hex: &str) -> Message {
    let mut stream = Packets::default();
    stream.feed(&padded(hex));
    let message = stream.next_message().unwrap().unwrap();
    assert!(!message.route.owner);
    Message::take(&mut Reader::new("an answer", &message.body)).unwrap()
}

#[test]
fn a_bridge_is_unbound_and_bound_with_the_recorded_bytes() {
    let unbind = Unbind { vcs: VcsId(0), vppb: VppbId(4), option: UnbindOption::WaitForLinkDown };
    assert_eq!(packet(&unbind), padded("01 00 00 c8 07 00 00 00 02 52 03 00 00 00 00 00 00 00 04 00"));
    let bind = Bind { vcs: VcsId(0), vppb: VppbId(4), port: PhysicalPort(4), ld: LdId(3) };
    assert_eq!(packet(&bind), padded("01 00 00 c8 07 00 00 00 01 52 06 00 00 00 00 00 00 00 04 04 00 03 00"));
    let whole = Bind { vcs: VcsId(1), vppb: VppbId(0), port: PhysicalPort(9), ld: LdId::NONE };
    assert_eq!(whole.to_bytes(), bytes("01 00 09 00 ff ff"));

    let started = answer("01 00 00 c0 07 10 00 00 02 52 00 00 00 01 00 00 00");
    assert_eq!((started.opcode, started.return_code), (Unbind::OPCODE, ReturnCode::BackgroundStarted));
    assert!(!started.background, "this switch never sets the bit");
    let refused = answer("01 00 00 c0 07 10 00 00 02 52 00 00 00 02 00 00 00");
    assert_eq!(refused.return_code, ReturnCode::InvalidInput);

    let status = answer("01 00 00 c0 07 10 00 00 02 00 08 00 00 00 00 00 00 c8 00 01 52 00 00 00 00");
    let done = BackgroundStatus {
        running: false,
        percent: 100,
        opcode: Bind::OPCODE,
        return_code: ReturnCode::Success,
        vendor_status: 0,
    };
    assert_eq!(GetBackgroundStatus.reply(&status.payload), Ok(done));
    let half = GetBackgroundStatus.reply(&bytes("65 00 02 52 00 00 00 00")).unwrap();
    assert_eq!((half.running, half.percent, half.opcode), (true, 50, Unbind::OPCODE));
}

#[test]
fn the_bridges_of_a_virtual_switch_are_read_with_the_request_in_mind() {
    let all = GetVcs { start: VppbId(0), limit: 255, ids: vec![VcsId(0)] };
    assert_eq!(all.to_bytes(), bytes("00 ff 01 00"));
    let recorded = bytes(
        "01 00 00 00 00 01 00 08 02 00 00 00 03 01 00 00 03 02 00 00 03 03 00 00 03 04 03 00
         00 00 00 00 00 00 00 00 00 00 00 00",
    );
    let report = all.reply(&recorded).unwrap();
    let vcs = &report.0[0];
    assert_eq!(
        (vcs.id, vcs.state, vcs.upstream, vcs.vppbs),
        (VcsId(0), VcsState::Enabled, PhysicalPort(0), 8)
    );
    assert_eq!(vcs.bridges.len(), 8);
    assert_eq!(vcs.bridges[4], Vppb { status: VppbStatus::Ld, port: PhysicalPort(4), ld: 3 });
    assert_eq!(vcs.bridges[4].bound_to(), Some((PhysicalPort(4), 3)));
    assert_eq!(vcs.bridges[7].bound_to(), None);
    // The same bytes for somebody who asked for three from the second on.
    let some = GetVcs { start: VppbId(1), limit: 3, ids: vec![VcsId(0)] };
    assert_eq!(some.reply(&recorded).unwrap().0[0].bridges.len(), 3);
    let last = GetVcs { start: VppbId(7), ..all };
    assert_eq!(last.reply(&recorded).unwrap().0[0].bridges.len(), 1);
}

#[test]
fn ports_of_three_switches_are_told_apart_by_what_is_plugged_in() {
    let state = |hex: &str| {
        let bytes = [&bytes("01 00 00 00")[..], &bytes(hex)].concat();
        PortStates::take(&mut Reader::new("ports", &bytes)).unwrap().0[0]
    };
    // QEMU: only the kind of device differs between a port with memory and an empty one.
    let full = state("00 03 02 00 05 02 10 10 3f 06 05 07 00 00 00 03");
    let empty = state("02 03 02 00 00 02 10 10 3f 06 06 07 00 00 00 03");
    assert!(full.is_connected() && !empty.is_connected());
    assert_eq!((full.width(), full.speed()), (Lanes::new(16), Some(LinkSpeed::Gen5)));
    assert_eq!((full.capable(), full.ltssm), (Lanes::new(16).zip(Some(LinkSpeed::Gen6)), Ltssm::L2));
    // OpenCIS: never a width nor a speed, which does not mean that the link is down.
    let opencis = state("01 03 02 00 04 02 00 00 00 00 00 04 00 00 00 00");
    assert!(opencis.is_connected());
    assert_eq!((opencis.device, opencis.width(), opencis.speed()), (ConnectedDevice::Type3, None, None));
    let upstream = state("00 04 02 00 00 02 00 00 00 00 00 08 00 00 00 00");
    assert_eq!((upstream.config, upstream.is_connected()), (PortConfig::Upstream, false));
    let cse = state("01 03 02 00 05 03 10 08 30 05 05 04 00 06 00 04");
    assert_eq!((cse.width(), cse.speed(), cse.lds, cse.flags), (Lanes::new(8), Some(LinkSpeed::Gen5), 4, 6));
}

#[test]
fn three_layouts_of_an_identity_are_told_apart_by_length() {
    let cse = Identify.reply(&bytes("00 00 00 00 a2a1 b2b1 c2c1d2d1a8a7a6a5 a4")).unwrap();
    assert_eq!((cse.subsystem, cse.message_size, cse.component), (Some((0xa1a2, 0xb1b2)), 0xa4, None));
    let qemu = Identify.reply(&bytes("8680 930d f41a 0011 bc0a000000000000 09 03")).unwrap();
    assert_eq!((qemu.vendor, qemu.serial, qemu.component), (0x8086, 0xabc, Some(ComponentType::Type3)));
    let opencis = Identify.reply(&bytes("c51d 00f0 0000000000000000 0a 00")).unwrap();
    assert_eq!((opencis.vendor, opencis.device, opencis.subsystem), (0x1dc5, 0xf000, None));
    assert_eq!((opencis.message_size, opencis.component), (10, Some(ComponentType::Switch)));
}

#[test]
fn a_switch_may_say_more_of_itself_than_it_has_to() {
    let mut recorded = bytes("00 00 20 04 ff ff ff ff");
    recorded.resize(36, 0);
    recorded.push(0x0f);
    recorded.resize(68, 0);
    recorded.extend(bytes("00 01 00 00 50"));
    recorded.resize(93, 0);
    let switch = IdentifySwitch.reply(&recorded).unwrap();
    assert_eq!((switch.ports, switch.vcss, switch.vppbs, switch.bound_vppbs), (32, 4, 256, 0));
    assert!(switch.has_port(PhysicalPort(31)) && !switch.has_port(PhysicalPort(32)));
    assert!(switch.has_vcs(VcsId(3)) && !switch.has_vcs(VcsId(4)));
    let short = IdentifySwitch.reply(&recorded[..72]).unwrap_err();
    let DecodeError::Short { field, needed, found, .. } = short else { panic!("{short}") };
    assert_eq!((field, needed, found), ("HDM decoders", 73, 72));
}

#[test]
fn logical_devices_are_asked_through_a_tunnel() {
    let inner = Message::request(0, GetQosControl::OPCODE, Vec::new());
    let tunnel = Tunnel { port: 1, target: TunnelTarget::PortOrLd, message: inner };
    let mut payload = Vec::new();
    tunnel.put(true, &mut payload).unwrap();
    assert_eq!(payload, bytes("01 00 0d 00 08 00 00 00 03 54 00 00 00 00 00 00 00"));
    let recorded = bytes("14 00 00 00 08 10 00 00 03 54 07 00 00 00 00 00 00 03 0a 19 08 00 00 40");
    let message = Tunnel::take_answer(true, &recorded).unwrap();
    let control = QosControl {
        enabled: 3,
        moderate_percent: 10,
        severe_percent: 25,
        sample_interval: 8,
        request_completion_basis: 0,
        collection_interval: 64,
    };
    assert_eq!(GetQosControl.reply(&message.payload), Ok(control));

    // QEMU's answer to a tunnelled Identify has no type before the message.
    let qemu = bytes("1e00 0000 01 07 00 0100 12 00 00 0000 0000 8680 930d f41a 0011 bc0a000000000000 09 03");
    let identity = Tunnel::take_answer(false, &qemu).unwrap();
    assert_eq!((identity.tag, identity.opcode, identity.payload.len()), (7, Opcode(1), 18));
    assert!(Tunnel::take_answer(true, &qemu).is_err());
}

#[test]
fn memory_and_bandwidth_of_logical_devices_are_read() {
    let info = GetLdInfo.reply(&bytes("00 00 00 40 00 00 00 00 04 00 00")).unwrap();
    assert_eq!((info.memory_bytes, info.lds), (1 << 30, 4));
    let range = LdRange { start: 0, count: 255 };
    assert_eq!(GetLdAllocations(range).to_bytes(), bytes("00 ff"));
    let recorded = bytes(
        "04 00 00 04 00000000000000000300000000000000 04000000000000000700000000000000
         01000050000000080000000000000000 0b000000000000000c00000000000000",
    );
    let allocations = GetLdAllocations(range).reply(&recorded).unwrap();
    assert_eq!((allocations.lds, allocations.granularity), (4, Granularity::Mib256));
    assert_eq!((allocations.list[1].range1, allocations.list[1].range2), (4, 7));
    // As specified, and as one client and its switch have it.
    assert_eq!(GetQosAllocated(range).to_bytes(), bytes("ff 00"));
    assert_eq!(GetQosAllocated(range.swapped()).to_bytes(), bytes("00 ff"));
    let shares = GetQosAllocated(range).reply(&bytes("04 00 64 64 64 64")).unwrap();
    assert_eq!((shares.start, shares.fractions), (0, vec![100; 4]));
}
