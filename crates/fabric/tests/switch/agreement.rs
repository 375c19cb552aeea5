//! Whatever goes wrong, what the client believes is what is, and nothing has two owners.

use std::collections::BTreeMap;

use halcyon_fabric::client::ChangeError;
use halcyon_fabric::cxl_fm::{PhysicalPort, UnbindOption};
use halcyon_fabric::sim::{Faults, Line};
use halcyon_fabric::transport::Transport;
use halcyon_fabric::{Client, Part, Place};
use proptest::collection::vec;
use proptest::prelude::*;

use super::{ALL, client, part, place};

const DIVIDED: [u8; 2] = [5, 7];

#[derive(Debug, Clone)]
enum Act {
    Bind(Place, Part),
    Unbind(Place, Part),
    Limit(u8, Vec<u8>),
    Allocated(u8, Vec<u8>),
    Refresh,
}

fn a_place() -> impl Strategy<Value = Place> {
    // One bridge more than there is.
    (0_u8..2, 0_u8..5).prop_map(|(vcs, vppb)| place(vcs, vppb))
}

fn a_part() -> impl Strategy<Value = Part> {
    // Hosts, an empty port and a port that there is not among them.
    (0_u8..9, proptest::option::of(0_u8..5)).prop_map(|(port, ld)| match port {
        5 | 7 => part(port, ld),
        _ => part(port, None),
    })
}

fn act() -> impl Strategy<Value = Act> {
    let fractions = || vec(any::<u8>(), 1..4);
    prop_oneof![
        6 => (a_place(), a_part()).prop_map(|(place, part)| Act::Bind(place, part)),
        4 => (a_place(), a_part()).prop_map(|(place, part)| Act::Unbind(place, part)),
        1 => (0_usize..2, fractions()).prop_map(|(port, list)| Act::Limit(DIVIDED[port], list)),
        1 => (0_usize..2, fractions()).prop_map(|(port, list)| Act::Allocated(DIVIDED[port], list)),
        1 => Just(Act::Refresh),
    ]
}

/// Who has what and how bandwidth is divided, as the switch has it.
fn agree(client: &mut Client<Line>) -> Result<(), TestCaseError> {
    let truth: BTreeMap<Place, Option<Part>> = client.transport().peer.switch.bound().clone();
    let bandwidth = DIVIDED.map(|port| client.transport().peer.switch.bandwidth(PhysicalPort(port)));
    let mut owned: Vec<Part> = truth.values().flatten().copied().collect();
    owned.sort();
    let owners = owned.len();
    owned.dedup();
    prop_assert_eq!(owned.len(), owners, "something has two owners: {:?}", truth);
    let Some(view) = client.view() else { return Ok(()) };
    for (place, part) in truth {
        prop_assert_eq!(view.part_at(place), part, "{}", place);
    }
    for (port, real) in DIVIDED.into_iter().zip(bandwidth) {
        prop_assert_eq!(view.bandwidth.get(&PhysicalPort(port)), real.as_ref());
    }
    prop_assert_eq!(view.contradictions(), vec![]);
    Ok(())
}

/// Reads until it works, when nothing goes on in the background any more.
fn settle(client: &mut Client<Line>) -> Result<(), TestCaseError> {
    if let Some(ends) = client.transport().peer.switch.ends() {
        client.transport().wait(ends);
    }
    let read = (0..50).any(|_| client.refresh().is_ok());
    prop_assert!(read, "fifty attempts in vain");
    agree(client)
}

fn carry_out(client: &mut Client<Line>, act: &Act) -> Result<(), TestCaseError> {
    let bound =
        |client: &mut Client<Line>, place| client.transport().peer.switch.bound().get(&place).copied();
    match act {
        Act::Bind(place, part) => {
            let before = bound(client, *place);
            match client.bind(*place, *part) {
                Ok(_) => prop_assert_eq!(bound(client, *place), Some(Some(*part))),
                Err(ChangeError::Unknown(_)) => prop_assert!(client.view().is_none()),
                Err(_) => prop_assert_eq!(bound(client, *place), before),
            }
        }
        Act::Unbind(place, part) => {
            let before = bound(client, *place);
            match client.unbind(*place, *part, UnbindOption::ManagedRemoval) {
                Ok(_) => prop_assert_eq!(bound(client, *place), Some(None)),
                Err(ChangeError::Unknown(_)) => prop_assert!(client.view().is_none()),
                Err(_) => prop_assert_eq!(bound(client, *place), before),
            }
        }
        Act::Limit(port, list) => {
            let done = client.set_limit(PhysicalPort(*port), list).is_ok();
            let real = client.transport().peer.switch.bandwidth(PhysicalPort(*port)).unwrap();
            prop_assert!(!done || real.limit.starts_with(list));
        }
        Act::Allocated(port, list) => {
            let done = client.set_allocated(PhysicalPort(*port), list).is_ok();
            let real = client.transport().peer.switch.bandwidth(PhysicalPort(*port)).unwrap();
            prop_assert!(!done || real.allocated.starts_with(list));
        }
        Act::Refresh => drop(client.refresh()),
    }
    agree(client)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_client_believes_what_is(
        acts in vec(act(), 1..40),
        manners in 0_usize..3,
        often in prop_oneof![Just(0_u16), Just(10), Just(40), Just(100)],
        seed: u64,
    ) {
        let mut client = client(ALL[manners], Faults::all(often), seed);
        for act in &acts {
            carry_out(&mut client, act)?;
            if client.view().is_none() {
                settle(&mut client)?;
            }
        }
        client.transport().peer.faults = Faults::default();
        settle(&mut client)?;
    }
}

#[test]
fn what_can_be_done_is_done_in_spite_of_faults() {
    for manners in ALL {
        let mut done = 0;
        for seed in 0..100 {
            let mut client = client(manners, Faults::all(10), seed);
            done += usize::from(client.bind(place(0, 1), part(5, Some(2))).is_ok());
        }
        assert!(done >= 85, "{done} of 100 with {manners:?}");
    }
}

#[test]
fn one_seed_gives_one_result() {
    let run = || {
        let mut client = client(super::ALL[2], Faults::all(60), 7);
        let outcomes: Vec<String> =
            (0..4).map(|vppb| format!("{:?}", client.bind(place(1, vppb), part(2 + vppb, None)))).collect();
        (outcomes, client.transport().now())
    };
    assert_eq!(run(), run());
}
