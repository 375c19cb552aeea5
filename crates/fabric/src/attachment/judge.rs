//! What is to be done, from nothing but how it is.

use std::time::Duration;

use super::words::{Ask, Guest, Habits, Outcome, Owner, Refusal, Survey, Whereabouts};
use super::{Attachment, Goal, Stage};

impl Attachment {
    pub(super) fn judge(&mut self, now: Duration, survey: &Survey, habits: &mut Habits) {
        // A machine that is no more has nothing, and nothing is on its way to it.
        let in_guest = if survey.guest == Guest::Off { Some(false) } else { survey.in_guest };
        self.unsettled &= survey.guest != Guest::Off && in_guest != Some(true);
        if let (Some(asked), Some(false)) = (self.asked_back, in_guest) {
            habits.took_back(now.saturating_sub(asked));
            self.asked_back = None;
        }
        if now.saturating_sub(self.began) >= self.limits.total {
            let outcome = self.because.or(self.last).unwrap_or(Outcome::Silent);
            return self.finish(outcome, whereabouts(survey.owner, in_guest));
        }
        match survey.owner {
            Owner::InProgress => self.rest(now),
            Owner::Several => self.step_back(now, in_guest),
            Owner::Other => self.others(in_guest),
            Owner::Nobody => self.nobodys(now, survey, in_guest),
            Owner::Us => match in_guest {
                None => self.rest(now),
                Some(there) => match (self.goal, self.because, there) {
                    (Goal::Attached, None, true) => self.confirm(now, survey),
                    (Goal::Attached, None, false) => self.plug(now, survey, habits),
                    (_, _, true) => self.ask_back(now, survey, habits),
                    (_, _, false) => self.unbind(now),
                },
            },
        }
    }

    /// Two owners: whoever has no guest with it lets go, if that harms nobody. Nothing is pulled from a guest.
    fn step_back(&mut self, now: Duration, in_guest: Option<bool>) {
        let harmless = in_guest == Some(false) && !self.unsettled && self.goal == Goal::Attached;
        if harmless && self.may(Ask::Unbind) {
            self.because = Some(Outcome::DoubleOwner);
            self.due(now, Ask::Unbind);
        } else {
            self.finish(Outcome::DoubleOwner, Whereabouts::Unknown);
        }
    }

    fn others(&mut self, in_guest: Option<bool>) {
        let stepped_back = self.because == Some(Outcome::DoubleOwner);
        let bound = Ask::Bind.effect().is_some_and(|bind| self.begun[bind] > 0);
        match self.goal {
            _ if in_guest == Some(true) => self.finish(Outcome::DoubleOwner, Whereabouts::Unknown),
            _ if stepped_back => self.finish(Outcome::DoubleOwner, Whereabouts::Elsewhere),
            // It was nobody's, and now it is at a bridge that we did not ask for.
            Goal::Attached if bound => self.finish(Outcome::DoubleOwner, Whereabouts::Unknown),
            Goal::Attached => self.finish(Outcome::Refused(Refusal::Owned), Whereabouts::Elsewhere),
            Goal::Free => self.finish(Outcome::Done, Whereabouts::Elsewhere),
        }
    }

    fn nobodys(&mut self, now: Duration, survey: &Survey, in_guest: Option<bool>) {
        if in_guest == Some(true) {
            return self.finish(self.because.unwrap_or(Outcome::PeerDied), Whereabouts::Unknown);
        }
        if in_guest.is_none() {
            return self.rest(now);
        }
        match (self.goal, self.because) {
            (Goal::Free, because) => self.finish(because.unwrap_or(Outcome::Done), Whereabouts::Free),
            (Goal::Attached, Some(because)) => self.finish(because, Whereabouts::Free),
            (Goal::Attached, None) if !survey.present => self.finish(Outcome::PeerDied, Whereabouts::Free),
            (Goal::Attached, None) if self.may(Ask::Bind) => self.due(now, Ask::Bind),
            (Goal::Attached, None) => {
                self.finish(self.last.unwrap_or(Outcome::FailedInBackground), Whereabouts::Free);
            }
        }
    }

    /// Ours, and not in the guest yet, or no more.
    fn plug(&mut self, now: Duration, survey: &Survey, habits: &Habits) {
        if self.seen > 0 {
            self.seen = 0;
            self.plugged = None;
            self.last = Some(Outcome::GuestRemoved);
        }
        if !survey.present {
            return self.go_back(now, Outcome::PeerDied);
        }
        match survey.guest {
            Guest::Running => {}
            Guest::Booting | Guest::Paused if self.is_patient(now) => return self.rest(now),
            _ => return self.go_back(now, Outcome::Refused(Refusal::GuestNotReady)),
        }
        self.waiting = None;
        if self.plugged.is_some_and(|plugged| now < plugged.saturating_add(habits.deadline(Ask::Plug))) {
            return self.rest(now);
        }
        self.plugged = None;
        if self.may(Ask::Plug) {
            self.due(now, Ask::Plug);
        } else {
            self.go_back(now, self.last.unwrap_or(Outcome::Silent));
        }
    }

    /// In the guest: one survey alone says little, as guests give devices away again and links change.
    fn confirm(&mut self, now: Duration, survey: &Survey) {
        if !survey.present {
            return self.go_back(now, Outcome::PeerDied);
        }
        self.seen += 1;
        if let Some(link) = survey.link {
            let (best, worst) = self.links.unwrap_or((link, link));
            let faster = link.bandwidth() > best.bandwidth();
            let slower = link.bandwidth() < worst.bandwidth();
            self.links = Some((if faster { link } else { best }, if slower { link } else { worst }));
        }
        if survey.healthy == Some(false) {
            if self.is_patient(now) {
                return self.rest(now);
            }
            return self.go_back(now, Outcome::Refused(Refusal::Unhealthy));
        }
        self.waiting = None;
        if self.seen < self.limits.confirmations {
            self.stage = Stage::Idle { until: now.saturating_add(self.limits.confirmation) };
            return;
        }
        let reached = self.links.map(|(best, _)| best.bandwidth());
        let asked = self.wants.link.map(halcyon_model::LinkSetting::bandwidth);
        let slow = reached.zip(asked).is_some_and(|(reached, asked)| reached < asked);
        if !slow {
            return self.finish(Outcome::Done, Whereabouts::Attached);
        }
        if self.may(Ask::Retrain) {
            self.seen = 0;
            self.links = None;
            return self.due(now, Ask::Retrain);
        }
        self.finish(Outcome::Slower, Whereabouts::Attached);
    }

    /// Ours and in the guest, where it is not to be. However long it takes, it is only asked for.
    fn ask_back(&mut self, now: Duration, survey: &Survey, habits: &mut Habits) {
        let waits = survey.in_use || survey.guest != Guest::Running;
        if waits {
            if self.is_patient(now) {
                return self.rest(now);
            }
            let why = if survey.in_use { Outcome::Busy } else { Outcome::Refused(Refusal::GuestNotReady) };
            let outcome = self.because.unwrap_or(why);
            return self.finish(outcome, Whereabouts::Attached);
        }
        self.waiting = None;
        let patient = self.asked_back.is_some_and(|asked| now < asked.saturating_add(habits.given_back()));
        if patient {
            return self.rest(now);
        }
        if let Some(asked) = self.asked_back.take() {
            habits.took_back(now.saturating_sub(asked));
            self.last.get_or_insert(Outcome::Silent);
        }
        if self.may(Ask::AskBack) {
            return self.due(now, Ask::AskBack);
        }
        let outcome = self.because.or(self.last).unwrap_or(Outcome::Silent);
        self.finish(outcome, Whereabouts::Attached);
    }

    /// Ours and in no guest, where it is not to be.
    fn unbind(&mut self, now: Duration) {
        // What may be on its way into the guest is called back first; the guest's monitor answers in order.
        let ask = if self.unsettled { Ask::AskBack } else { Ask::Unbind };
        if self.may(ask) {
            return self.due(now, ask);
        }
        let outcome = self.because.or(self.last).unwrap_or(Outcome::Silent);
        let whereabouts = if self.unsettled { Whereabouts::Unknown } else { Whereabouts::Bound };
        self.finish(outcome, whereabouts);
    }

    /// Gives up, and goes back the way that it came.
    fn go_back(&mut self, now: Duration, outcome: Outcome) {
        self.because = Some(outcome);
        self.waiting = None;
        self.stage = Stage::Idle { until: now };
    }

    /// Whether others may take longer; from the first time on.
    fn is_patient(&mut self, now: Duration) -> bool {
        let since = *self.waiting.get_or_insert(now);
        now.saturating_sub(since) < self.limits.others
    }

    fn due(&mut self, now: Duration, ask: Ask) {
        self.pause = self.limits.pause.0;
        self.stage = Stage::Due { ask, read: now };
    }
}

fn whereabouts(owner: Owner, in_guest: Option<bool>) -> Whereabouts {
    match (owner, in_guest) {
        (Owner::Us, Some(true)) => Whereabouts::Attached,
        (Owner::Us, Some(false)) => Whereabouts::Bound,
        (Owner::Nobody, Some(false)) => Whereabouts::Free,
        (Owner::Other, Some(false)) => Whereabouts::Elsewhere,
        _ => Whereabouts::Unknown,
    }
}
