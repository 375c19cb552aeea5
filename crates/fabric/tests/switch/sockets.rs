//! The same over real sockets on the loopback.

use std::net::Ipv4Addr;

use halcyon_fabric::cxl_fm::{PhysicalPort, UnbindOption};
use halcyon_fabric::sim::{Faults, Layout, Manners, Peer, Server, Switch};
use halcyon_fabric::{Client, Settings, TcpTransport};

use super::{ALL, part, place};

fn peer(manners: Manners) -> Peer {
    Peer::new(Switch::new(Layout::small(), manners), Faults::default(), 1)
}

/// A manager and its switch, whichever dials.
fn pair(manners: Manners) -> (Client<TcpTransport>, Server) {
    let (transport, server) = if manners.dials_in() {
        let transport = TcpTransport::dial_in((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
        let manager = transport.listens_at().unwrap();
        (transport, Server::dial(peer(manners), manager).unwrap())
    } else {
        let server = Server::listen(peer(manners)).unwrap();
        (TcpTransport::mctp(server.address()), server)
    };
    (Client::new(transport, manners.dialect, Settings::default()), server)
}

#[test]
fn devices_move_between_hosts_over_a_socket() {
    for manners in ALL {
        let (mut client, server) = pair(manners);
        for round in 0..5 {
            let there = place(round % 2, 1);
            client.bind(there, part(7, Some(1))).unwrap();
            assert_eq!(server.peer().switch.bound()[&there], Some(part(7, Some(1))));
            client.set_limit(PhysicalPort(7), &[round, 200]).unwrap();
            client.unbind(there, part(7, Some(1)), UnbindOption::ManagedRemoval).unwrap();
            assert_eq!(server.peer().switch.bound()[&there], None);
        }
        let limit = server.peer().switch.bandwidth(PhysicalPort(7)).unwrap().limit;
        assert_eq!(limit, [4, 200]);
    }
}

#[test]
fn a_line_that_breaks_is_made_anew() {
    for manners in ALL {
        let (mut client, server) = pair(manners);
        client.refresh().unwrap();
        server.peer().faults = Faults { ends_before: 100, ends_after: 100, ..Faults::default() };
        let bound = (0..20).any(|_| client.bind(place(0, 0), part(2, None)).is_ok());
        assert!(bound);
        assert_eq!(server.peer().switch.bound()[&place(0, 0)], Some(part(2, None)));
    }
}
