//! One command to the emulated switch and its answer over TCP on the loopback, and one device that moves,
//! with all that is read before and after.
//!
//! `cargo bench -p halcyon-fabric`; the first two lines are of single commands, each timed by itself.
#![allow(clippy::print_stdout, reason = "figures are what a bench is for")]

use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use criterion::{Criterion, criterion_group, criterion_main};
use halcyon_fabric::cxl_fm::{
    GetPortState, GetQosLimit, Identify, LdRange, PhysicalPort, UnbindOption, VcsId, VppbId,
};
use halcyon_fabric::sim::{Faults, Layout, Manners, Peer, Server, Switch};
use halcyon_fabric::{Client, Part, Place, Settings, TcpTransport};

const SINGLE: usize = 20_000;

/// A switch whose background commands take no time, and its manager.
fn pair(manners: Manners) -> (Client<TcpTransport>, Server) {
    let mut peer = Peer::new(Switch::new(Layout::small(), manners), Faults::default(), 1);
    peer.takes = (Duration::ZERO, Duration::ZERO);
    let (transport, server) = if manners.dials_in() {
        let transport = TcpTransport::dial_in((Ipv4Addr::LOCALHOST, 0).into()).expect("there is a free port");
        let manager = transport.listens_at().expect("it listens");
        (transport, Server::dial(peer, manager).expect("there is a thread"))
    } else {
        let server = Server::listen(peer).expect("there is a free port");
        (TcpTransport::mctp(server.address()), server)
    };
    (Client::new(transport, manners.dialect, Settings::default()), server)
}

/// Prints the times of single commands.
fn percentiles(name: &str, client: &mut Client<TcpTransport>) {
    let mut times: Vec<Duration> = (0..SINGLE)
        .map(|_| {
            let began = Instant::now();
            client.ask(&Identify).expect("it answers");
            began.elapsed()
        })
        .collect();
    times.sort();
    println!(
        "{name}/identify, {SINGLE} times: p50 {:?}, p99 {:?}",
        times[SINGLE / 2],
        times[SINGLE * 99 / 100]
    );
}

fn loopback(criterion: &mut Criterion) {
    for (name, manners) in [("mctp", Manners::SPECIFIED), ("dial-in", Manners::OPENCIS)] {
        let (mut client, _server) = pair(manners);
        percentiles(name, &mut client);
        let mut group = criterion.benchmark_group(name);
        group.bench_function("identify", |bench| {
            bench.iter(|| client.ask(&Identify).expect("it answers"));
        });
        let ports = GetPortState { ports: (0..8).map(PhysicalPort).collect() };
        group.bench_function("eight ports", |bench| {
            bench.iter(|| client.ask(&ports).expect("it answers"));
        });
        let limits = GetQosLimit(LdRange { count: 4, start: 0 });
        group.bench_function("limits of four logical devices", |bench| {
            bench.iter(|| client.ask_lds(PhysicalPort(5), &limits).expect("it answers"));
        });
        let place = Place { vcs: VcsId(0), vppb: VppbId(1) };
        let part = Part { port: PhysicalPort(5), ld: Some(2) };
        group.bench_function("bind and unbind, read back", |bench| {
            bench.iter(|| {
                client.bind(place, part).expect("it is free");
                client.unbind(place, part, UnbindOption::ManagedRemoval).expect("it is bound");
            });
        });
    }
}

criterion_group!(benches, loopback);
criterion_main!(benches);
