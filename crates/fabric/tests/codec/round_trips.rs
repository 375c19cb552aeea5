//! What is written is read again as it was.

use std::fmt::Debug;

use halcyon_fabric::cxl_fm::bytes::{Payload, Reader};
use halcyon_fabric::cxl_fm::cci::{Category, Message};
use halcyon_fabric::cxl_fm::dial_in::{Frame, Frames, put_frame};
use halcyon_fabric::cxl_fm::dynamic::{
    AddCapacity, DynamicInfo, Extent, Extents, GetExtents, HostRegions, Region, ReleaseCapacity, SetRegion,
};
use halcyon_fabric::cxl_fm::identify::ComponentType;
use halcyon_fabric::cxl_fm::mctp::{MctpMessage, MessageType, Packets, Route, put_packets};
use halcyon_fabric::cxl_fm::mld::Granularity;
use halcyon_fabric::cxl_fm::ports::Ltssm;
use halcyon_fabric::cxl_fm::*;
use proptest::collection::vec;
use proptest::prelude::*;

fn same<T: Payload + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let mut bytes = value.to_bytes();
    let whole = bytes.len();
    // What comes after it changes nothing.
    bytes.extend([0xEE; 3]);
    let mut reader = Reader::new("a value", &bytes);
    let read = T::take(&mut reader);
    prop_assert_eq!(read.as_ref(), Ok(value));
    prop_assert_eq!(reader.rest().len(), 3);
    // One byte less is not enough, and not more than an error.
    if whole > 0 {
        prop_assert!(T::take(&mut Reader::new("a value", &bytes[..whole - 1])).is_err());
    }
    Ok(())
}

prop_compose! {
    fn message(longest: usize)(
        response: bool, tag: u8, opcode: u16, background: bool, code: u16, vendor_status: u16,
        payload in vec(any::<u8>(), 0..longest),
    ) -> Message {
        Message {
            category: if response { Category::Response } else { Category::Request },
            tag,
            opcode: Opcode(opcode),
            background,
            return_code: ReturnCode::from_code(code),
            vendor_status,
            payload,
        }
    }
}

prop_compose! {
    fn port_state()(port: u8, config in 0_u8..16, numbers: [u8; 10], flags: u16, lds: u8) -> PortState {
        let [device_version, device, port_versions, max_width, current_width, speeds, max_speed, current_speed,
            ltssm, first_lane] = numbers;
        PortState {
            port: PhysicalPort(port),
            config: PortConfig::from_code(config),
            device_version,
            device: ConnectedDevice::from_code(device),
            port_versions,
            max_width,
            current_width,
            speeds,
            max_speed,
            current_speed,
            ltssm: Ltssm::from_code(ltssm),
            first_lane,
            flags,
            lds,
        }
    }
}

prop_compose! {
    fn extent()(start: u64, length: u64, tag: [u8; 16], sequence: u16) -> Extent {
        Extent { start, length, tag, sequence }
    }
}

prop_compose! {
    fn region()(numbers: [u64; 4], flags: u8, sanitize: u8) -> Region {
        let [base, decode_length, length, block_size] = numbers;
        Region { base, decode_length, length, block_size, flags, sanitize }
    }
}

prop_compose! {
    fn report()(
        start: u8, limit: u8,
        switches in vec((any::<[u8; 4]>(), vec(any::<[u8; 3]>(), 255)), 0..4),
    ) -> (GetVcs, VcsReport) {
        let request = GetVcs { start: VppbId(start), limit, ids: vec![] };
        let vcs = |([id, state, upstream, vppbs], bridges): ([u8; 4], Vec<[u8; 3]>)| Vcs {
            id: VcsId(id),
            state: VcsState::from_code(state),
            upstream: PhysicalPort(upstream),
            vppbs,
            bridges: bridges
                .into_iter()
                .take(request.bridges_of(vppbs).into())
                .map(|[status, port, ld]| Vppb {
                    status: VppbStatus::from_code(status),
                    port: PhysicalPort(port),
                    ld,
                })
                .collect(),
        };
        let report = VcsReport(switches.into_iter().map(vcs).collect());
        (request, report)
    }
}

proptest! {
    #[test]
    fn messages(message in message(300)) {
        same(&message)?;
    }

    #[test]
    fn packets(message in message(3000), route: [u8; 4], sequence: u8, chunk in 1_usize..500) {
        let [destination, source, tag, owner] = route;
        let route = Route { destination, source, owner: owner & 1 != 0, tag: tag & 7 };
        let sent = MctpMessage { route, kind: MessageType::FmApi, body: message.to_bytes() };
        let mut bytes = Vec::new();
        put_packets(&sent, sequence, &mut bytes);
        let mut stream = Packets::default();
        let mut read = Vec::new();
        for part in bytes.chunks(chunk) {
            stream.feed(part);
            read.extend(std::iter::from_fn(|| stream.next_message()));
        }
        prop_assert_eq!(read.len(), 1);
        let got = read.remove(0).unwrap();
        prop_assert_eq!((got.route, got.kind), (sent.route, sent.kind));
        prop_assert_eq!(Message::take(&mut Reader::new("a message", &got.body)), Ok(message));
        prop_assert!(!stream.is_midway());
    }

    #[test]
    fn frames(message in message(4000), port: u8, class: u8) {
        let frame = Frame { port: PhysicalPort(port), class, message };
        let mut bytes = Vec::new();
        put_frame(&frame, &mut bytes).unwrap();
        let mut frames = Frames::default();
        frames.feed(&bytes);
        prop_assert_eq!(frames.next_frame(), Some(Ok(frame)));
        prop_assert!(!frames.is_midway());
    }

    #[test]
    fn tunnels(message in message(300), port: u8, target: u8, typed: bool) {
        let tunnel = Tunnel { port, target: TunnelTarget::from_code(target), message };
        let mut bytes = Vec::new();
        tunnel.put(typed, &mut bytes).unwrap();
        prop_assert_eq!(Tunnel::take(typed, &bytes), Ok(tunnel.clone()));
        bytes.clear();
        Tunnel::put_answer(&tunnel.message, typed, &mut bytes).unwrap();
        prop_assert_eq!(Tunnel::take_answer(typed, &bytes), Ok(tunnel.message));
    }

    #[test]
    fn virtual_switches((request, report) in report()) {
        let mut bytes = Vec::new();
        report.put(&mut bytes);
        prop_assert_eq!(request.reply(&bytes), Ok(report));
    }

    #[test]
    fn ports(states in vec(port_state(), 0..20), port: u8, action: u8) {
        let ports = states.iter().map(|state| state.port).collect();
        same(&GetPortState { ports })?;
        same(&PortStates(states))?;
        same(&ControlPort { port: PhysicalPort(port), action: PortControl::from_code(action) })?;
    }

    #[test]
    fn bindings(bytes: [u8; 3], ld: u16, option in 0_u8..16, ids in vec(any::<u8>(), 0..9)) {
        let [vcs, vppb, port] = bytes;
        let (vcs, vppb) = (VcsId(vcs), VppbId(vppb));
        same(&Bind { vcs, vppb, port: PhysicalPort(port), ld: LdId(ld) })?;
        same(&Unbind { vcs, vppb, option: UnbindOption::from_code(option) })?;
        same(&GetVcs { start: vppb, limit: port, ids: ids.into_iter().map(VcsId).collect() })?;
    }

    #[test]
    fn switches(
        numbers: [u8; 4], active_ports: [u8; 32], active_vcss: [u8; 32], vppbs: u16, bound_vppbs: u16,
        status in 0_u8..128, running: bool, code: u16,
    ) {
        let [ingress, ports, vcss, decoders] = numbers;
        let ingress = PhysicalPort(ingress);
        same(&SwitchIdentity { ingress, ports, vcss, active_ports, active_vcss, vppbs, bound_vppbs, decoders })?;
        same(&BackgroundStatus {
            running,
            percent: status,
            opcode: Opcode(vppbs),
            return_code: ReturnCode::from_code(code),
            vendor_status: bound_vppbs,
        })?;
    }

    #[test]
    fn identities(numbers: [u16; 4], serial: u64, message_size: u8, form in 0_u8..3, component: u8) {
        let [vendor, device, subvendor, subsystem] = numbers;
        let identity = Identity {
            vendor,
            device,
            subsystem: (form != 0).then_some((subvendor, subsystem)),
            serial,
            message_size,
            component: (form != 1).then_some(ComponentType::from_code(component)),
        };
        let bytes = identity.to_bytes();
        prop_assert_eq!(bytes.len(), [14, 17, 18][usize::from(form)]);
        prop_assert_eq!(Identify.reply(&bytes), Ok(identity));
    }

    #[test]
    fn logical_devices(
        memory_bytes: u64, lds: u16, numbers: [u8; 6], ranges in vec(any::<(u64, u64)>(), 0..9),
        fractions in vec(any::<u8>(), 0..40),
    ) {
        let [telemetry, granularity, start, moderate_percent, severe_percent, sample_interval] = numbers;
        same(&LdInfo { memory_bytes, lds, telemetry })?;
        let list: Vec<_> =
            ranges.into_iter().map(|(range1, range2)| LdAllocation { range1, range2 }).collect();
        let granularity = Granularity::from_code(granularity);
        same(&LdAllocations { lds: start, granularity, start, list: list.clone() })?;
        same(&SetLdAllocations { start, list })?;
        same(&SetQosControl(QosControl {
            enabled: telemetry,
            moderate_percent,
            severe_percent,
            sample_interval,
            request_completion_basis: lds,
            collection_interval: start,
        }))?;
        same(&QosStatus { backpressure_percent: moderate_percent })?;
        same(&GetQosLimit(LdRange { count: start, start: telemetry }))?;
        same(&GetLdAllocations(LdRange { count: start, start: telemetry }))?;
        same(&SetQosLimit(LdFractions { start, fractions }))?;
    }

    #[test]
    fn dynamic_capacity(
        numbers: [u8; 3], policies: [u16; 3], capacity: u64, block_sizes: [u64; 8],
        regions in vec(region(), 8), counts: [u32; 4], extents in vec(extent(), 0..9), tag: [u8; 16],
    ) {
        let [hosts, regions_of_each, sanitize] = numbers;
        let [host, selection_policies, removal_policies] = policies;
        same(&DynamicInfo {
            hosts,
            regions: regions_of_each,
            selection_policies,
            removal_policies,
            sanitize,
            capacity,
            block_sizes,
        })?;
        let [first, second, third, fourth] = counts;
        same(&HostRegions {
            host,
            regions: regions_of_each,
            returned: hosts,
            list: regions.try_into().unwrap(),
            extents: first,
            extents_left: second,
            tags: third,
            tags_left: fourth,
        })?;
        same(&SetRegion { region: hosts, block_size: capacity, sanitize })?;
        same(&GetExtents { host, count: first, start: second })?;
        same(&Extents { host, start: first, total: second, generation: third, list: extents.clone() })?;
        same(&AddCapacity {
            host,
            policy: hosts,
            region: sanitize,
            length: capacity,
            tag,
            extents: extents.clone(),
        })?;
        same(&ReleaseCapacity { host, flags: hosts, length: capacity, tag, extents })?;
    }
}
