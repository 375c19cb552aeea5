//! Attachments through the client and the emulated switch, faults and all; the guest is one that always obeys.

use std::time::Duration;

use halcyon_fabric::attachment::{
    Answer, Ask, Attachment, End, Guest, Habits, Limits, Outcome, Survey, Wants, Whereabouts, bound, owner,
};
use halcyon_fabric::cxl_fm::UnbindOption;
use halcyon_fabric::sim::{Faults, Line};
use halcyon_fabric::transport::Transport;
use halcyon_fabric::{Client, Part, Place};
use proptest::prelude::*;

use super::{ALL, client, part, place};

/// Does what is asked. None: no answer.
fn answer(
    client: &mut Client<Line>,
    in_guest: &mut bool,
    (part, place): (Part, Place),
    ask: Ask,
) -> Option<Answer> {
    match ask {
        Ask::Survey => {
            let view = client.refresh().ok()?;
            Some(Answer::Survey(Survey {
                owner: owner(view, part, place),
                present: view.ports[&part.port].is_connected(),
                guest: Guest::Running,
                in_guest: Some(*in_guest),
                in_use: false,
                healthy: None,
                link: None,
            }))
        }
        Ask::Bind => bound(&client.bind(place, part)),
        Ask::Unbind => {
            assert!(!*in_guest, "torn out");
            bound(&client.unbind(place, part, UnbindOption::ManagedRemoval))
        }
        Ask::Plug => {
            *in_guest = true;
            Some(Answer::Done)
        }
        Ask::AskBack => {
            *in_guest = false;
            Some(Answer::Done)
        }
        Ask::Retrain => Some(Answer::Done),
    }
}

fn carry_out(client: &mut Client<Line>, in_guest: &mut bool, what: (Part, Place), mut it: Attachment) -> End {
    let mut habits = Habits::default();
    loop {
        if let Some(end) = it.end() {
            return end;
        }
        let now = client.transport().now();
        let Some((ticket, ask)) = it.next(now, &mut habits) else {
            if let Some(wakes) = it.wakes() {
                client.transport().wait(wakes);
            }
            continue;
        };
        if let Some(answer) = answer(client, in_guest, what, ask) {
            let now = client.transport().now();
            it.told(now, ticket, answer, &mut habits);
        }
    }
}

proptest! {
    #[test]
    fn devices_go_there_and_back_or_are_known_not_to(
        manners in 0_usize..3,
        often in prop_oneof![Just(0_u16), Just(10), Just(50), Just(150)],
        seed: u64,
    ) {
        let mut client = client(ALL[manners], Faults::all(often), seed);
        let mut in_guest = false;
        let what = (part(5, Some(1)), place(1, 2));
        for attach in [true, false, true, false] {
            let now = client.transport().now();
            let limits = Limits::default();
            let it = if attach {
                Attachment::attach(now, Wants::default(), limits)
            } else {
                Attachment::detach(now, limits)
            };
            let end = carry_out(&mut client, &mut in_guest, what, it);
            let is_bound = client.transport().peer.switch.bound()[&what.1] == Some(what.0);
            match end.whereabouts {
                Whereabouts::Attached => prop_assert!(is_bound && in_guest),
                Whereabouts::Bound => prop_assert!(is_bound && !in_guest),
                Whereabouts::Free => prop_assert!(!is_bound && !in_guest),
                Whereabouts::Elsewhere => prop_assert!(false, "there is nobody else"),
                Whereabouts::Unknown => {}
            }
            if often == 0 {
                prop_assert_eq!(end.outcome, Outcome::Done);
            }
        }
    }
}

#[test]
fn a_bad_line_alone_keeps_few_devices_from_getting_there() {
    let mut done = 0;
    for seed in 0..100 {
        let mut client = client(ALL[0], Faults::all(30), seed);
        let it = Attachment::attach(Duration::ZERO, Wants::default(), Limits::default());
        let end = carry_out(&mut client, &mut false, (part(3, None), place(0, 0)), it);
        done += usize::from(end.outcome == Outcome::Done);
    }
    assert!(done >= 95, "{done} of 100");
}
