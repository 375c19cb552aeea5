//! The client: peers that are hostile, slow or dying cost their own commands an error and nobody else
//! anything.

use std::time::{Duration, Instant};

use halcyon_host::qmp::fake::{FakeQemu, Guest, Trouble};
use halcyon_host::qmp::{Bus, Client, Command, Why};
use tempfile::TempDir;

use crate::site::connect;

const SOON: Duration = Duration::from_millis(700);

struct Pair {
    folder: TempDir,
    bus: Bus,
    fake: FakeQemu,
    client: Client,
}

fn pair() -> Pair {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = Bus::start().expect("a thread");
    let fake = FakeQemu::start(&folder.path().join("a.qmp"), Guest::default()).expect("a socket");
    let client = connect(&bus, fake.socket());
    Pair { folder, bus, fake, client }
}

/// Until something is so, for at most a few seconds.
fn wait(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < Duration::from_secs(20), "{what} never came");
        std::thread::sleep(Duration::from_millis(2));
    }
}

#[test]
fn commands_are_answered_and_refusals_keep_their_class() {
    let pair = pair();
    let client = &pair.client;
    let status = client.run(Command::status(), SOON).expect("it answers");
    assert_eq!(status["status"], "running");
    let error = client.run(Command::device_del("zz"), SOON).expect_err("there is no such device");
    assert_eq!(error.refusal().map(|refusal| refusal.class.as_str()), Some("DeviceNotFound"));
    let text = format!("{error}");
    assert!(text.contains("device_del") && text.contains("a.qmp") && text.contains("zz"), "{text}");
}

#[test]
fn answers_in_any_order_twice_and_of_nobody_find_their_command() {
    for trouble in [Trouble::Shuffles, Trouble::Repeats] {
        let pair = pair();
        let (fake, client) = (&pair.fake, &pair.client);
        let before = client.connections();
        fake.misbehave(trouble);
        wait("another connection", || client.connections() > before && client.is_connected());
        let pending: Vec<_> = (0..20)
            .map(|turn| {
                (
                    turn,
                    client.call(
                        if turn % 2 == 0 { Command::status() } else { Command::balloon_actual() },
                        SOON,
                    ),
                )
            })
            .collect();
        for (turn, pending) in pending {
            let answer = pending.wait().expect("it answers");
            assert_eq!(answer.get("actual").is_some(), turn % 2 == 1, "{trouble:?}");
        }
    }
}

#[test]
fn whoever_misbehaves_costs_its_own_commands_an_error_in_time_and_is_tried_again() {
    for trouble in
        [Trouble::NoGreeting, Trouble::Silent, Trouble::Garbage, Trouble::Endless, Trouble::DiesInReply]
    {
        let Pair { folder, bus, fake, client } = pair();
        let well = FakeQemu::start(&folder.path().join("b.qmp"), Guest::default()).expect("a socket");
        let other = connect(&bus, well.socket());
        fake.misbehave(trouble);
        for _ in 0..5 {
            let began = Instant::now();
            let error = client.run(Command::status(), SOON);
            assert!(began.elapsed() < Duration::from_secs(5), "{trouble:?} holds its caller up");
            if let Err(error) = error {
                let why = &error.why;
                let said = matches!(why, Why::Silent(_) | Why::Lost(_) | Why::Unreachable(_));
                assert!(said, "{trouble:?}: {error}");
            }
            let began = Instant::now();
            other.run(Command::status(), Duration::from_secs(2)).expect("the other guest is well");
            assert!(began.elapsed() < Duration::from_secs(1), "{trouble:?} holds others up");
        }
        fake.misbehave(Trouble::None);
        wait("a connection to who is well again", || client.run(Command::status(), SOON).is_ok());
    }
}

#[test]
fn a_guest_that_is_gone_is_told_from_one_that_is_silent() {
    let Pair { folder, bus: _bus, fake, client } = pair();
    fake.misbehave(Trouble::Silent);
    wait("another connection", || client.connections() > 1 && client.is_connected());
    let error = client.run(Command::status(), SOON).expect_err("it is silent");
    assert!(!client.is_gone(), "{error}");
    drop(fake);
    wait("that it is gone", || client.is_gone());
    let error = client.run(Command::status(), SOON).expect_err("it is gone");
    assert!(error.to_string().contains("is the guest running"), "{error}");
    let again = FakeQemu::start(&folder.path().join("a.qmp"), Guest::default()).expect("a socket");
    wait("a connection to who is back", || client.is_connected());
    assert!(!client.is_gone() && client.connections() >= 2);
    drop(again);
}

#[test]
fn too_many_commands_are_turned_away_and_none_is_lost() {
    let pair = pair();
    let (fake, client) = (&pair.fake, &pair.client);
    let before = client.connections();
    fake.misbehave(Trouble::Silent);
    wait("another connection", || client.connections() > before && client.is_connected());
    let pending: Vec<_> = (0..600).map(|_| client.call(Command::status(), SOON)).collect();
    let ends: Vec<_> = pending.iter().map(|pending| pending.wait().expect_err("it is silent").why).collect();
    assert!(ends.contains(&Why::Busy) && ends.contains(&Why::Silent(SOON)), "{ends:?}");
}

#[test]
fn events_are_numbered_and_bounded() {
    let pair = pair();
    let (fake, client) = (&pair.fake, &pair.client);
    fake.machine().guest().balloon_rate = 1 << 40;
    for turn in 0..3_u64 {
        client.run(Command::balloon((2 + turn % 2) << 30), SOON).expect("it answers");
        wait("the event", || client.events(turn).0.iter().any(|event| event.name == "BALLOON_CHANGE"));
    }
    let (all, next) = client.events(0);
    assert_eq!(all.len() as u64, next);
    assert!(client.events(next).0.is_empty());
}
