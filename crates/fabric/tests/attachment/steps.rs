//! Single steps that matter.

use std::time::Duration;

use halcyon_fabric::attachment::{
    Answer, Ask, Attachment, Guest, Habits, Limits, Outcome, Owner, Survey, Wants, Whereabouts,
};

const OURS: Survey = Survey {
    owner: Owner::Us,
    present: true,
    guest: Guest::Running,
    in_guest: Some(false),
    in_use: false,
    healthy: None,
    link: None,
};

/// An attachment, its habits and a clock that stands still.
struct Desk {
    attachment: Attachment,
    habits: Habits,
    now: Duration,
}

impl Desk {
    fn new(attachment: Attachment) -> Self {
        Self { attachment, habits: Habits::default(), now: Duration::ZERO }
    }

    /// What is asked next, however long that takes, and the answer to it.
    fn step(&mut self, answer: Answer) -> Ask {
        loop {
            if let Some((ticket, ask)) = self.attachment.next(self.now, &mut self.habits) {
                self.attachment.told(self.now, ticket, answer, &mut self.habits);
                return ask;
            }
            self.now = self.attachment.wakes().expect("it is not over");
        }
    }
}

#[test]
fn what_was_read_a_while_ago_is_read_again() {
    let mut desk = Desk::new(Attachment::detach(Duration::ZERO, Limits::default()));
    assert_eq!(desk.step(Answer::Survey(OURS)), Ask::Survey);
    desk.now += Duration::from_secs(2);
    assert_eq!(desk.step(Answer::Survey(OURS)), Ask::Survey, "a guest may have it by now");
    assert_eq!(desk.step(Answer::Done), Ask::Unbind);
    assert_eq!(desk.step(Answer::Survey(Survey { owner: Owner::Nobody, ..OURS })), Ask::Survey);
    let end = desk.attachment.end().expect("it is over");
    assert_eq!((end.outcome, end.whereabouts), (Outcome::Done, Whereabouts::Free));
}

#[test]
fn a_plugging_that_nobody_answered_is_called_back_before_anything_is_unbound() {
    let attachment = Attachment::attach(Duration::ZERO, Wants::default(), Limits::default());
    for answer in [Some(Answer::PeerDied), Some(Answer::Started), None] {
        let mut desk = Desk::new(attachment.clone());
        desk.step(Answer::Survey(OURS));
        if let Some(answer) = answer {
            assert_eq!(desk.step(answer), Ask::Plug);
        } else {
            let (_, ask) = desk.attachment.next(desk.now, &mut desk.habits).expect("it is due");
            assert_eq!(ask, Ask::Plug);
            desk.now = desk.attachment.wakes().expect("it is not over");
        }
        let pulled = Answer::Survey(Survey { present: false, ..OURS });
        assert_eq!(desk.step(pulled), Ask::Survey, "the device is gone: back");
        assert_eq!(desk.step(pulled), Ask::Survey);
        assert_eq!(desk.step(Answer::Done), Ask::AskBack);
        assert_eq!(desk.step(pulled), Ask::Survey);
        assert_eq!(desk.step(Answer::Done), Ask::Unbind);
    }
}

#[test]
fn a_manager_that_was_started_anew_expects_something_on_its_way() {
    let attachment = Attachment::detach(Duration::ZERO, Limits::default()).resumed(Duration::ZERO);
    let mut desk = Desk::new(attachment);
    desk.step(Answer::Survey(OURS));
    assert_eq!(desk.step(Answer::Done), Ask::AskBack);
}

#[test]
fn what_a_guest_has_and_another_host_too_is_left_alone() {
    for goal in [
        Attachment::attach(Duration::ZERO, Wants::default(), Limits::default()),
        Attachment::detach(Duration::ZERO, Limits::default()),
    ] {
        for owner in [Owner::Other, Owner::Several] {
            let mut desk = Desk::new(goal.clone());
            desk.step(Answer::Survey(Survey { owner, in_guest: Some(true), ..OURS }));
            let end = desk.attachment.end().expect("it is over");
            assert_eq!((end.outcome, end.whereabouts), (Outcome::DoubleOwner, Whereabouts::Unknown));
        }
    }
}

#[test]
fn answers_to_what_was_asked_before_change_nothing() {
    let mut desk = Desk::new(Attachment::detach(Duration::ZERO, Limits::default()));
    let (late, _) = desk.attachment.next(desk.now, &mut desk.habits).expect("it is due");
    desk.now = desk.attachment.wakes().expect("it is not over");
    assert!(desk.attachment.next(desk.now, &mut desk.habits).is_none(), "it rests after a silence");
    let before = desk.attachment.clone();
    desk.attachment.told(desk.now, late, Answer::Survey(OURS), &mut desk.habits);
    assert_eq!(desk.attachment, before);
}
