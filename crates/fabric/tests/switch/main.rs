//! The client against a switch in memory and on sockets, well and badly behaved.
#![allow(clippy::unwrap_used, reason = "what cannot be done fails the test")]

mod agreement;
mod attached;
mod scenarios;
mod sockets;

use halcyon_fabric::cxl_fm::{PhysicalPort, VcsId, VppbId};
use halcyon_fabric::sim::{Faults, Layout, Line, Manners, Peer, Switch};
use halcyon_fabric::{Client, Part, Place, Settings};

pub(crate) const ALL: [Manners; 3] = [Manners::SPECIFIED, Manners::CSE, Manners::OPENCIS];

pub(crate) fn place(vcs: u8, vppb: u8) -> Place {
    Place { vcs: VcsId(vcs), vppb: VppbId(vppb) }
}

pub(crate) fn part(port: u8, ld: Option<u8>) -> Part {
    Part { port: PhysicalPort(port), ld }
}

pub(crate) fn client(manners: Manners, faults: Faults, seed: u64) -> Client<Line> {
    let line = Line::new(Peer::new(Switch::new(Layout::small(), manners), faults, seed));
    Client::new(line, manners.dialect, Settings::default())
}
