//! Each way to end, from the failure that leads there.

use halcyon_fabric::attachment::{Outcome, Refusal, Whereabouts};

use super::field::Field;
use super::harness::{Job, run};
use super::world::World;

/// How attaching ends, and detaching after it, when these things go wrong each time that they can.
fn ends(fields: &[Field]) -> Vec<(Outcome, Whereabouts)> {
    ends_when(fields, 100)
}

fn ends_when(fields: &[Field], often: u64) -> Vec<(Outcome, Whereabouts)> {
    let mut world = World::new(1, 1, fields, often, 5);
    let job = |attach| Job { device: 0, guest: 0, attach };
    let ends = run(&mut world, &[job(true), job(false)]).unwrap();
    ends.into_iter().map(|(_, end)| (end.outcome, end.whereabouts)).collect()
}

const THERE_AND_BACK: [(Outcome, Whereabouts); 2] =
    [(Outcome::Done, Whereabouts::Attached), (Outcome::Done, Whereabouts::Free)];

#[test]
fn what_is_only_slow_or_clumsy_is_done() {
    let clumsy = [
        Field::SlowBind,
        Field::ForgetfulPort,
        Field::BootingGuest,
        Field::BusyGuest,
        Field::PausedGuest,
        Field::DeafGuest,
        Field::SecondRequest,
    ];
    assert_eq!(ends(&[]), THERE_AND_BACK);
    for field in clumsy {
        assert_eq!(ends(&[field]), THERE_AND_BACK, "{field:?}");
    }
    assert_eq!(ends(&clumsy), THERE_AND_BACK);
}

#[test]
fn each_failure_has_its_end() {
    use Outcome::{Busy, Done, DoubleOwner, FailedInBackground, PeerDied, Silent, Slower};
    use Whereabouts::{Attached, Free, Unknown};
    let denied = Outcome::Refused(Refusal::Denied);
    let unhealthy = Outcome::Refused(Refusal::Unhealthy);
    // What cannot be had goes back, and is free for the next one.
    let back = |outcome| vec![(outcome, Free), (Done, Free)];
    assert_eq!(ends(&[Field::FailsLater]), back(FailedInBackground));
    assert_eq!(ends(&[Field::NoRoom]), back(unhealthy));
    assert_eq!(ends(&[Field::Unhealthy]), back(unhealthy));
    assert_eq!(ends(&[Field::GoneDevice]), back(PeerDied));
    assert_eq!(ends(&[Field::UnawareGuest]), back(Silent));
    assert_eq!(ends(&[Field::RestlessLink]), [(Slower, Attached), (Done, Free)]);
    assert_eq!(ends(&[Field::ForgetfulPort, Field::NoRetrain]), [(Slower, Attached), (Done, Free)]);
    // Nothing is taken from a guest that keeps it.
    assert_eq!(ends(&[Field::NoUnplug]), [(Done, Attached), (denied, Attached)]);
    assert_eq!(ends(&[Field::HeldOpen]), [(Done, Attached), (Busy, Attached)]);
    // What nobody can read, or somebody else has, is nobody's until somebody has looked.
    assert_eq!(ends(&[Field::NoAnswers])[0], (Silent, Unknown));
    assert_eq!(ends(&[Field::PeerDies])[0], (PeerDied, Unknown));
    assert_eq!(ends(&[Field::WrongBridge])[0], (DoubleOwner, Unknown));
    assert_eq!(ends(&[Field::NeverEnds])[0], (Silent, Unknown));
    assert_eq!(ends(&[Field::MuteMonitor])[0], (Silent, Unknown));
}

#[test]
fn a_guest_that_gives_it_away_is_told_apart() {
    let removed = (0..200_u64).any(|seed| {
        let mut world = World::new(1, 1, &[Field::GuestRemoves], 100, seed);
        let ends = run(&mut world, &[Job { device: 0, guest: 0, attach: true }]).unwrap();
        ends.iter()
            .any(|(_, end)| end.outcome == Outcome::GuestRemoved && end.whereabouts == Whereabouts::Free)
    });
    assert!(removed);
}

#[test]
fn most_attachments_succeed_when_things_go_wrong_now_and_then() {
    let mut done = 0;
    for seed in 0..100 {
        // What passes; a device that is broken stays so.
        let usual = [
            Field::SlowBind,
            Field::ForgetfulPort,
            Field::BusyGuest,
            Field::PausedGuest,
            Field::UnawareGuest,
            Field::NoAnswers,
            Field::Blocks,
            Field::FailsLater,
            Field::PeerDies,
            Field::GuestRemoves,
            Field::Restart,
        ];
        let mut world = World::new(1, 1, &usual, 5, seed);
        let ends = run(&mut world, &[Job { device: 0, guest: 0, attach: true }]).unwrap();
        done += usize::from(ends[0].1.outcome == Outcome::Done);
    }
    assert!(done >= 75, "{done} of 100");
}
