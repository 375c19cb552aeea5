//! Bandwidth along routes: hosts of their own, and a switch that two hosts share.
#![allow(clippy::unwrap_used, reason = "what cannot be read fails the test")]

use halcyon_fabric::cxl_fm::{PhysicalPort, VcsId, VppbId};
use halcyon_fabric::pool::{Mover, Pool};
use halcyon_fabric::shares::{Bottleneck, Flow, divide};
use halcyon_fabric::sim::{Faults, Layout, Line, Manners, Peer, Switch};
use halcyon_fabric::{Client, Part, Place, Settings};
use halcyon_model::describe::parse_host;
use halcyon_model::fair::{self, Claim};
use halcyon_model::topology::Attachment;
use halcyon_model::{Bandwidth, Lanes, LinkSetting, LinkSpeed};
use proptest::collection::vec;
use proptest::prelude::*;

const HOST: &str = include_str!("../../../../examples/hosts/cxl-pool.toml");
const ALL: Bandwidth = Bandwidth::gb_per_s(1000);

#[test]
fn a_device_is_held_back_by_the_narrowest_place_on_its_route() {
    let topology = parse_host(HOST).unwrap().topology;
    let fabric = topology.fabric();
    let mut trained = fabric.default_links();
    let device =
        fabric.devices.iter().find(|device| matches!(device.attachment, Attachment::Link(_))).unwrap();
    let link = *fabric.route(device.id).first().unwrap();
    trained[link.index()] = LinkSetting { width: Lanes::unchecked(1), speed: LinkSpeed::Gen1 };
    let mut pool = Pool::default();
    let host = pool.add_host(&topology, &trained);
    let share = pool.shares(&[(Mover::Device(host, device.id), ALL, 1.0)]).remove(0);
    assert_eq!(share.rate, Bandwidth::mb_per_s(250));
    let port = &fabric.ports[fabric.links[link.index()].upper.index()].name;
    let name = format!("link below {port} of {}", topology.name());
    assert_eq!(share.bottleneck.as_deref(), Some(name.as_str()));
    assert!(pool.degraded().any(|segment| segment.name == name));
    assert_eq!(pool.route(Mover::Device(host, device.id)).unwrap().len(), 1 + fabric.route(device.id).len());
}

#[test]
fn what_two_hosts_have_of_one_device_is_divided_by_its_limits() {
    let line = Line::new(Peer::new(Switch::new(Layout::small(), Manners::CSE), Faults::default(), 1));
    let mut client = Client::new(line, Manners::CSE.dialect, Settings::default());
    let place = |vcs, vppb| Place { vcs: VcsId(vcs), vppb: VppbId(vppb) };
    let ld = |ld| Part { port: PhysicalPort(5), ld: Some(ld) };
    client.bind(place(0, 0), ld(0)).unwrap();
    client.bind(place(1, 0), ld(1)).unwrap();
    client.bind(place(1, 1), ld(2)).unwrap();
    client.set_limit(PhysicalPort(5), &[32, 255, 255, 255]).unwrap();
    let mut pool = Pool::default();
    let switch = pool.add_switch("the pool", client.view().unwrap());
    let mover = |vcs, vppb, wanted| (Mover::Bridge(switch, place(vcs, vppb)), wanted, 1.0);
    let shares = pool.shares(&[mover(0, 0, ALL), mover(1, 0, ALL), mover(1, 1, Bandwidth::gb_per_s(1))]);
    let whole = 8.0 * 3_938_461_538.0;
    assert_eq!(shares[0].rate, Bandwidth::from_f64(whole / 8.0));
    assert_eq!(shares[0].bottleneck.as_deref(), Some("limit of port 5 LD 0 of the pool"));
    assert_eq!(shares[1].rate, Bandwidth::from_f64(whole * 7.0 / 8.0 - 1e9));
    assert_eq!(shares[1].bottleneck.as_deref(), Some("port 5 of the pool"));
    assert_eq!((shares[2].rate, &shares[2].bottleneck), (Bandwidth::gb_per_s(1), &None));
    // The emulated device divides in the same way.
    let wanted = [ALL, ALL, Bandwidth::gb_per_s(1)];
    let moved = client.transport().peer.switch.divide(PhysicalPort(5), &wanted);
    for (share, moved) in shares.iter().zip(moved) {
        assert!((share.rate.as_f64() - moved.as_f64()).abs() < 10.0, "{share:?} {moved}");
    }
    let nothing = pool.shares(&[mover(0, 3, ALL)]).remove(0);
    assert_eq!((nothing.rate, nothing.bottleneck.as_deref()), (Bandwidth::ZERO, Some("there is no route")));
    // Every port trained at x8 32GT/s of x16 64GT/s, and one limit is set.
    assert_eq!(pool.degraded().count(), 8 + 1);
}

fn network() -> impl Strategy<Value = (Vec<f64>, Vec<Flow>)> {
    let capacities = vec(prop_oneof![9 => 0.0..100.0_f64, 1 => Just(f64::INFINITY)], 1..8);
    capacities.prop_flat_map(|capacities| {
        let segments: Vec<usize> = (0..capacities.len()).collect();
        let flow =
            (proptest::sample::subsequence(segments, 0..=capacities.len()), 0.0..60.0_f64, 0.1..5.0_f64)
                .prop_map(|(route, wanted, weight)| Flow { route, wanted, weight });
        (Just(capacities), vec(flow, 0..12))
    })
}

proptest! {
    #[test]
    fn everybody_is_held_back_by_the_place_that_is_named((capacities, flows) in network()) {
        let shares = divide(&capacities, &flows);
        prop_assert_eq!(shares.len(), flows.len());
        let load = |segment: usize| -> f64 {
            let through = flows.iter().zip(&shares).filter(|(flow, _)| flow.route.contains(&segment));
            through.map(|(_, (rate, _))| rate).sum()
        };
        for (segment, capacity) in capacities.iter().enumerate() {
            prop_assert!(load(segment) <= capacity + 1e-6);
        }
        for (flow, (rate, bottleneck)) in flows.iter().zip(&shares) {
            match bottleneck {
                Bottleneck::Wanted => prop_assert!((rate - flow.wanted).abs() < 1e-9),
                Bottleneck::Segment(segment) => {
                    prop_assert!(flow.route.contains(segment));
                    prop_assert!(*rate <= flow.wanted + 1e-9);
                    prop_assert!((load(*segment) - capacities[*segment]).abs() < 1e-6, "it is not full");
                    // Nobody has more through it, by weight: that is what max-min means.
                    for (other, (others, _)) in flows.iter().zip(&shares) {
                        let through = other.route.contains(segment);
                        prop_assert!(!through || others / other.weight <= rate / flow.weight + 1e-6);
                    }
                }
            }
        }
    }

    #[test]
    fn one_segment_is_divided_as_everywhere_else(
        capacity in 0.0..100.0_f64,
        wishes in vec((0.0..60.0_f64, 0.1..5.0_f64), 1..12),
    ) {
        let flow = |(wanted, weight): &(f64, f64)| Flow { route: vec![0], wanted: *wanted, weight: *weight };
        let claim = |(most, weight): &(f64, f64)| Claim { weight: *weight, least: 0.0, most: *most };
        let flows: Vec<Flow> = wishes.iter().map(flow).collect();
        let claims: Vec<Claim> = wishes.iter().map(claim).collect();
        let mut parts = Vec::new();
        fair::divide(capacity, &claims, &mut parts);
        for ((rate, _), part) in divide(&[capacity], &flows).iter().zip(parts) {
            prop_assert!((rate - part).abs() < 1e-6, "{} {}", rate, part);
        }
    }
}

#[test]
fn everybody_has_what_it_wants_where_there_is_room_whatever_rounds() {
    let wishes = [
        (48.102_416_882_884_01, 0.1),
        (20.666_866_916_686_136, 4.076_647_146_446_402),
        (2.714_139_491_573_645, 3.630_776_863_478_548),
    ];
    let flow = |(wanted, weight)| Flow { route: vec![0], wanted, weight };
    let flows: Vec<Flow> = wishes.into_iter().map(flow).collect();
    let rates: Vec<f64> =
        divide(&[90.929_763_323_811_34], &flows).into_iter().map(|(rate, _)| rate).collect();
    assert_eq!(rates, wishes.map(|(wanted, _)| wanted));
}

#[test]
fn odd_numbers_do_no_harm() {
    let flow = |route, wanted, weight| Flow { route, wanted, weight };
    let flows = [
        flow(vec![0], f64::NAN, 1.0),
        flow(vec![0], 5.0, 0.0),
        flow(vec![7], 5.0, 1.0),
        flow(vec![], 5.0, -1.0),
    ];
    let shares = divide(&[f64::NAN], &flows);
    assert!(shares.iter().all(|(rate, _)| rate.is_finite()));
    assert_eq!(shares[2], (0.0, Bottleneck::Segment(7)));
}
