//! One thing going wrong at a time.

use std::time::Duration;

use halcyon_fabric::client::{ChangeError, Why};
use halcyon_fabric::cxl_fm::dial_in::{BridgeChange, Notice};
use halcyon_fabric::cxl_fm::dynamic::GetDynamicInfo;
use halcyon_fabric::cxl_fm::mctp::{MctpMessage, MessageType, Route, put_packets};
use halcyon_fabric::cxl_fm::{
    Bind, ControlPort, Dialect, Identify, LdId, LdRoute, PhysicalPort, PortControl, ReturnCode, UnbindOption,
    VcsId, VppbId,
};
use halcyon_fabric::sim::{Delivery, Faults, Layout, Line, Manners, Peer, Switch};
use halcyon_fabric::transport::Transport;
use halcyon_fabric::{Client, Contradiction, Settings};
use halcyon_model::Bandwidth;

use super::{ALL, client, part, place};

fn none() -> Faults {
    Faults::default()
}

#[test]
fn a_device_goes_to_a_host_and_back_on_every_switch() {
    for manners in ALL {
        let mut client = client(manners, none(), 1);
        let (there, ld) = (place(0, 1), part(5, Some(3)));
        assert!(client.bind(there, ld).unwrap().needed);
        assert!(!client.bind(there, ld).unwrap().needed, "twice is as once");
        assert_eq!(client.view().unwrap().part_at(there), Some(ld));
        assert!(client.bind(place(1, 0), part(5, Some(2))).unwrap().needed, "the next logical device");
        assert!(client.bind(place(1, 1), part(3, None)).unwrap().needed);
        assert!(client.unbind(there, ld, UnbindOption::WaitForLinkDown).unwrap().needed);
        assert!(!client.unbind(there, ld, UnbindOption::WaitForLinkDown).unwrap().needed);
        assert_eq!(client.view().unwrap().part_at(there), None);
        assert_eq!(client.ask(&Identify).unwrap().vendor, 0x1dc5);
    }
}

#[test]
fn what_cannot_be_is_not_even_asked_for() {
    // This switch would let one device have two owners.
    let mut client = client(Manners::OPENCIS, none(), 1);
    client.bind(place(0, 0), part(3, None)).unwrap();
    let error = client.bind(place(1, 0), part(3, None)).unwrap_err();
    assert_eq!(error.to_string(), "port 3 is bound to VCS 0 vPPB 0 already");
    let error = client.bind(place(0, 0), part(4, None)).unwrap_err();
    assert_eq!(error.to_string(), "VCS 0 vPPB 0 has port 3 already");
    assert!(matches!(client.bind(place(0, 9), part(4, None)), Err(ChangeError::NoPlace(_))));
    // An empty port, a host's, a whole device as if it were divided, and the other way round.
    for odd in [part(6, None), part(0, None), part(4, Some(0)), part(5, None), part(5, Some(4))] {
        assert!(matches!(client.bind(place(1, 0), odd), Err(ChangeError::NoPart(_))), "{odd}");
    }
    let other = client.unbind(place(0, 0), part(4, None), UnbindOption::WaitForLinkDown);
    assert!(matches!(other, Err(ChangeError::Occupied { .. })), "{other:?}");
    client.bind(place(1, 1), part(5, Some(0))).unwrap();
    let whole = client.unbind(place(1, 1), part(5, None), UnbindOption::WaitForLinkDown);
    assert!(matches!(whole, Err(ChangeError::Occupied { .. })), "{whole:?}");
}

#[test]
fn two_owners_are_seen() {
    let mut client = client(Manners::OPENCIS, none(), 1);
    client.bind(place(0, 0), part(3, None)).unwrap();
    // Another manager, who does not look first.
    let bind = Bind { vcs: VcsId(1), vppb: VppbId(2), port: PhysicalPort(3), ld: LdId(0) };
    let started = client.ask(&bind).unwrap_err();
    assert!(matches!(started.why, Why::Started));
    let until = client.transport().now() + Duration::from_secs(1);
    client.transport().wait(until);
    let twice = Contradiction::TwoOwners { part: part(3, None), first: place(0, 0), second: place(1, 2) };
    assert_eq!(client.refresh().unwrap().contradictions(), [twice]);
}

#[test]
fn a_device_that_is_pulled_stays_bound_until_somebody_looks() {
    let mut client = client(Manners::CSE, none(), 1);
    client.bind(place(0, 0), part(3, None)).unwrap();
    client.transport().peer.switch.pull(PhysicalPort(3));
    let gone = Contradiction::BoundToNothing { place: place(0, 0), port: PhysicalPort(3) };
    assert_eq!(client.refresh().unwrap().contradictions(), [gone]);
    client.unbind(place(0, 0), part(3, None), UnbindOption::SurpriseRemoval).unwrap();
    assert_eq!(client.view().unwrap().contradictions(), []);
}

#[test]
fn only_what_is_read_back_is_believed() {
    let bind = |faults| {
        let mut client = client(Manners::SPECIFIED, faults, 1);
        let result = client.bind(place(0, 0), part(2, None));
        (result, client.view().unwrap().part_at(place(0, 0)).is_some())
    };
    let (result, bound) = bind(Faults { fails: 1000, ..none() });
    assert!(matches!(result, Err(ChangeError::FailedInBackground(ReturnCode::InternalError))));
    assert!(!bound);
    let (result, bound) = bind(Faults { lies_done: 1000, ..none() });
    assert!(matches!(result, Err(ChangeError::NotDone)) && !bound, "{result:?}");
    let (result, bound) = bind(Faults { lies_failed: 1000, ..none() });
    assert!(result.is_ok() && bound, "{result:?}");
}

#[test]
fn a_slow_switch_is_given_time_and_a_busy_one_is_asked_again() {
    let mut slow = client(Manners::SPECIFIED, Faults { slow: 1000, ..none() }, 3);
    let took = slow.bind(place(0, 0), part(2, None)).unwrap().took;
    assert!(took > Duration::from_millis(100), "{took:?}");
    let mut busy = client(Manners::OPENCIS, Faults { busy: 300, ..none() }, 3);
    assert!(busy.bind(place(0, 0), part(2, None)).is_ok());
    let mut silent = client(Manners::SPECIFIED, Faults { request_lost: 1000, ..none() }, 3);
    let error = silent.bind(place(0, 0), part(2, None)).unwrap_err();
    let ChangeError::Before(error) = error else { panic!("{error}") };
    assert!(matches!(error.why, Why::Silent(_, 3)), "{error}");
    assert!(silent.view().is_none());
}

#[test]
fn a_command_that_nobody_knows_costs_one_time_out() {
    let mut cse = client(Manners::CSE, none(), 1);
    assert!(matches!(cse.ask(&GetDynamicInfo).unwrap_err().why, Why::Silent(..)));
    assert!(cse.refresh().is_ok(), "the line is as good as before");
    let mut opencis = client(Manners::OPENCIS, none(), 1);
    let control = ControlPort { port: PhysicalPort(2), action: PortControl::ResetPpb };
    let refused = opencis.ask(&control).unwrap_err();
    assert!(matches!(refused.why, Why::Refused(ReturnCode::Unsupported)));
    assert!(cse.ask(&control).is_ok());
}

#[test]
fn a_switch_that_died_is_read_anew_when_it_is_back() {
    let mut client = client(Manners::CSE, none(), 1);
    client.bind(place(0, 0), part(2, None)).unwrap();
    let route = Route { destination: 0, source: 0, owner: true, tag: 0 };
    let mut packet = Vec::new();
    put_packets(&MctpMessage { route, kind: MessageType::Cci, body: vec![0; 12] }, 0, &mut packet);
    let line = client.transport();
    let died = line.peer.feed(line.now(), &packet);
    assert_eq!(died.first().map(|(_, delivery)| delivery), Some(&Delivery::End));
    client.transport().connect(Duration::ZERO).unwrap_err();
    assert!(client.refresh().is_err());
    assert!(client.view().is_none(), "nothing is believed of a switch that cannot be read");
    client.transport().peer.revive();
    assert_eq!(client.refresh().unwrap().part_at(place(0, 0)), Some(part(2, None)));
}

#[test]
fn the_form_of_tunnels_is_found_out() {
    for manners in [Manners::CSE, Manners::SPECIFIED] {
        for guess in [LdRoute::Tunnel, LdRoute::TypedTunnel] {
            let line = Line::new(Peer::new(Switch::new(Layout::small(), manners), none(), 1));
            let dialect = Dialect { lds: guess, ..manners.dialect };
            let mut client = Client::new(line, dialect, Settings::default());
            assert!(client.probe_tunnel(PhysicalPort(5)).is_ok());
            assert_eq!(client.dialect(), manners.dialect);
            assert!(client.probe_tunnel(PhysicalPort(2)).is_err(), "no device of logical devices");
            assert_eq!(client.dialect(), manners.dialect);
        }
    }
}

#[test]
fn what_a_switch_tells_by_itself_does_not_disturb() {
    let mut client = client(Manners::OPENCIS, none(), 1);
    client.bind(place(1, 3), part(4, None)).unwrap();
    let notices: Vec<Notice> =
        client.take_notices().iter().map(|message| Notice::read(message).unwrap()).collect();
    let notice = |change| Notice::Bridge { vcs: VcsId(1), vppb: VppbId(3), change };
    assert_eq!(notices, [notice(BridgeChange::InProgress), notice(BridgeChange::Bound)]);
    assert!(client.take_notices().is_empty());
}

#[test]
fn bandwidth_is_divided_as_it_was_set() {
    for manners in ALL {
        let mut client = client(manners, none(), 1);
        client.refresh().unwrap();
        client.set_limit(PhysicalPort(5), &[64, 255, 255, 255]).unwrap();
        client.set_allocated(PhysicalPort(5), &[0, 128, 0, 0]).unwrap();
        let read = &client.view().unwrap().bandwidth[&PhysicalPort(5)];
        assert_eq!((read.lds, &read.limit[..2], &read.allocated[..2]), (4, &[64, 255][..], &[0, 128][..]));
        let all = [Bandwidth::gb_per_s(100); 4];
        let parts = client.transport().peer.switch.divide(PhysicalPort(5), &all);
        let whole = 8.0 * 3_938_461_538.0;
        let share = |ld: usize| (parts[ld].as_f64() / whole * 1000.0).round();
        assert_eq!([share(0), share(1), share(2), share(3)], [167.0, 500.0, 167.0, 167.0]);
        let first = client.transport().peer.switch.divide(PhysicalPort(5), &all[..1]);
        assert_eq!((first[0].as_f64() / whole * 1000.0).round(), 250.0, "alone it has its limit");
        let refused = client.set_limit(PhysicalPort(5), &[1; 5]).unwrap_err();
        assert!(matches!(refused, ChangeError::Refused(ReturnCode::InvalidInput)), "{refused}");
    }
}
