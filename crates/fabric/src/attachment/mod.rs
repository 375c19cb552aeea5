//! One device on its way to a guest or back, as a value: no I/O, and the time is told.
//!
//! ```text
//!        ┌──────────────── always: nothing is known but what was just read ─────────────┐
//!        ▼                                                                              │
//!     survey ──► judge ──► end                                                          │
//!                  │                                                                    │
//!                  └──► bind · plug · retrain · ask back · unbind ──► answered, or not ─┘
//!
//!  attach:  nobody's ─bind─► ours ─plug─► in the guest, twice read so ─► link as asked? ─► end
//!  detach:  in the guest ─ask back─► ours, in no guest ─unbind─► nobody's ─► end
//! ```
//! An attachment that cannot be had goes back the way that it came. Promises, each a property test:
//!
//! - **Never two owners.** Nothing is bound that a survey did not just show to be nobody's; what turns out to have two
//!   owners is given up or left alone.
//! - **Never taken by force.** A device is unbound only when a survey has just shown that no guest has it, and no plugging is
//!   on its way; never because time ran out.
//! - **Always ends**, after a bounded number of steps and a bounded time.
//! - **Never lost.** The end says where the device is, as it was last read, or that this is not known.
mod claims;
mod judge;
mod switch;
mod words;

pub use claims::{Claimed, Claims};
pub use switch::{bound, owner};
pub use words::{
    Answer, Ask, End, Guest, Habits, Limits, Outcome, Owner, Refusal, Survey, Ticket, Wants, Whereabouts,
};

use std::time::Duration;

use words::EFFECTS;

/// Where a device is to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Goal {
    Attached,
    Free,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// Nothing is asked until then.
    Idle { until: Duration },
    /// To be done if it is still as it was read.
    Due { ask: Ask, read: Duration },
    /// Asked, and waited for.
    Asked { ask: Ask, ticket: Ticket, since: Duration, until: Duration },
    /// Over.
    Ended(End),
}

/// One device on its way to a guest or back.
#[derive(Debug, Clone, PartialEq)]
pub struct Attachment {
    goal: Goal,
    wants: Wants,
    limits: Limits,
    began: Duration,
    stage: Stage,
    tickets: u64,
    /// How often each effect was begun, and how often it met somebody busy.
    begun: [u32; EFFECTS],
    busy: [u32; EFFECTS],
    /// Surveys in a row that gave nothing.
    blind: u32,
    deaths: u32,
    pause: Duration,
    /// Why it is to go back.
    because: Option<Outcome>,
    /// What went wrong last.
    last: Option<Outcome>,
    /// Whether a plugging may be on its way that nobody answered.
    unsettled: bool,
    /// Surveys in a row that showed it in the guest.
    seen: u32,
    /// The best link of those surveys, and the worst.
    links: Option<(halcyon_model::LinkSetting, halcyon_model::LinkSetting)>,
    /// When it was last said to be plugged, and not seen in the guest since.
    plugged: Option<Duration>,
    /// When the guest was last asked to give it back.
    asked_back: Option<Duration>,
    /// Since when something is waited for that others have to do.
    waiting: Option<Duration>,
}

impl Attachment {
    /// A device that is to come to a guest.
    #[must_use]
    pub fn attach(now: Duration, wants: Wants, limits: Limits) -> Self {
        Self::new(now, Goal::Attached, wants, limits, false)
    }

    /// A device that is to come back from a guest.
    #[must_use]
    pub fn detach(now: Duration, limits: Limits) -> Self {
        Self::new(now, Goal::Free, Wants::default(), limits, false)
    }

    /// The same after the manager was started anew and remembers only what it was to do: something that it
    /// began may still be on its way.
    #[must_use]
    pub fn resumed(self, now: Duration) -> Self {
        Self::new(now, self.goal, self.wants, self.limits, true)
    }

    fn new(now: Duration, goal: Goal, wants: Wants, limits: Limits, unsettled: bool) -> Self {
        Self {
            goal,
            wants,
            limits,
            began: now,
            stage: Stage::Idle { until: now },
            tickets: 0,
            begun: [0; EFFECTS],
            busy: [0; EFFECTS],
            blind: 0,
            deaths: 0,
            pause: limits.pause.0,
            because: None,
            last: None,
            unsettled,
            seen: 0,
            links: None,
            plugged: None,
            asked_back: None,
            waiting: None,
        }
    }

    /// How it ended, once it has.
    #[must_use]
    pub const fn end(&self) -> Option<End> {
        match self.stage {
            Stage::Ended(end) => Some(end),
            _ => None,
        }
    }

    /// When [`next`](Self::next) has to be called if nothing is told before; none when it is over.
    #[must_use]
    pub const fn wakes(&self) -> Option<Duration> {
        match self.stage {
            Stage::Idle { until } | Stage::Asked { until, .. } => Some(until),
            Stage::Due { read, .. } => Some(read),
            Stage::Ended(_) => None,
        }
    }

    /// What is to be asked now, if anything, with the ticket under which it is to be answered. Asks nothing
    /// while something that was asked has time to be answered. When that time is over, this may be the end.
    pub fn next(&mut self, now: Duration, habits: &mut Habits) -> Option<(Ticket, Ask)> {
        if let Stage::Asked { ask, until, since, .. } = self.stage
            && now >= until
        {
            habits.took(ask, now.saturating_sub(since));
            self.unanswered(now, ask);
        }
        let ask = match self.stage {
            Stage::Due { ask, read } if now.saturating_sub(read) <= self.limits.fresh => ask,
            Stage::Due { .. } => Ask::Survey,
            Stage::Idle { until } if now >= until => Ask::Survey,
            _ => return None,
        };
        if let Some(effect) = ask.effect() {
            self.begun[effect] += 1;
        }
        self.tickets += 1;
        let ticket = Ticket(self.tickets);
        let until = now.saturating_add(habits.deadline(ask));
        self.stage = Stage::Asked { ask, ticket, since: now, until };
        Some((ticket, ask))
    }

    /// Takes an answer. One that comes after its time changes nothing: what came of it will be read.
    pub fn told(&mut self, now: Duration, ticket: Ticket, answer: Answer, habits: &mut Habits) {
        let Stage::Asked { ask, ticket: due, since, .. } = self.stage else { return };
        if ticket != due {
            return;
        }
        if answer != Answer::PeerDied {
            habits.took(ask, now.saturating_sub(since));
        }
        match (ask, answer) {
            (_, Answer::PeerDied) => self.peer_died(now, ask),
            (Ask::Survey, Answer::Survey(survey)) => {
                self.blind = 0;
                self.judge(now, &survey, habits);
            }
            (Ask::Survey, _) => self.unanswered(now, ask),
            (_, answer) => self.answered(now, ask, answer),
        }
    }

    fn answered(&mut self, now: Duration, ask: Ask, answer: Answer) {
        let begun = matches!(answer, Answer::Done | Answer::Started);
        match ask {
            // The guest's monitor answers in order: whatever was asked of it before is settled.
            Ask::Plug => {
                self.unsettled = answer == Answer::Started;
                self.plugged = begun.then_some(now);
            }
            Ask::AskBack => {
                self.unsettled = false;
                self.asked_back = begun.then_some(now);
            }
            Ask::Survey | Ask::Bind | Ask::Retrain | Ask::Unbind => {}
        }
        match answer {
            Answer::Refused(refusal) => {
                self.last = Some(Outcome::Refused(refusal));
                self.exhaust(ask);
            }
            Answer::Busy => {
                self.last = Some(Outcome::Busy);
                if let Some(effect) = ask.effect() {
                    self.begun[effect] = self.begun[effect].saturating_sub(1);
                    self.busy[effect] += 1;
                }
                return self.rest(now);
            }
            Answer::Failed => self.last = Some(Outcome::FailedInBackground),
            Answer::Done | Answer::Started | Answer::Survey(_) | Answer::PeerDied => {}
        }
        self.stage = Stage::Idle { until: now };
    }

    /// Nothing came in time, which says nothing about what was done.
    fn unanswered(&mut self, now: Duration, ask: Ask) {
        match ask {
            Ask::Survey => {
                self.blind += 1;
                if self.blind >= self.limits.attempts {
                    return self.finish(self.last.unwrap_or(Outcome::Silent), Whereabouts::Unknown);
                }
            }
            Ask::Plug => self.unsettled = true,
            Ask::AskBack => self.asked_back = Some(now),
            Ask::Bind | Ask::Unbind | Ask::Retrain => {}
        }
        self.last = Some(Outcome::Silent);
        self.rest(now);
    }

    fn peer_died(&mut self, now: Duration, ask: Ask) {
        self.unsettled |= ask == Ask::Plug;
        self.last = Some(Outcome::PeerDied);
        self.deaths += 1;
        if self.deaths > self.limits.deaths {
            return self.finish(Outcome::PeerDied, Whereabouts::Unknown);
        }
        self.rest(now);
    }

    /// Begins nothing for a while, each time for longer.
    fn rest(&mut self, now: Duration) {
        self.stage = Stage::Idle { until: now.saturating_add(self.pause) };
        self.pause = self.pause.saturating_mul(2).min(self.limits.pause.1);
    }

    /// Whether an effect may be begun once more.
    fn may(&self, ask: Ask) -> bool {
        ask.effect().is_some_and(|effect| {
            self.begun[effect] < self.limits.attempts && self.busy[effect] < self.limits.busy
        })
    }

    fn exhaust(&mut self, ask: Ask) {
        if let Some(effect) = ask.effect() {
            self.begun[effect] = self.limits.attempts;
        }
    }

    fn finish(&mut self, outcome: Outcome, whereabouts: Whereabouts) {
        let (best, worst) = self.links.unzip();
        self.stage = Stage::Ended(End { outcome, whereabouts, link: best, unsteady: best != worst });
    }
}
