//! What an attachment asks, what it is answered, and how it ends.

use std::time::Duration;

use halcyon_model::LinkSetting;

use crate::patience::Patience;

/// What is to be done. One at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Ask {
    /// Read everything that a [`Survey`] holds, from the switch, the guest's monitor and the guest. The switch has to be read over
    /// the line by which it is told to bind, after all that was sent before, so that nothing that was read is outdated by a
    /// command that is late.
    Survey,
    /// Bind the device to the host's bridge.
    Bind,
    /// Plug the device into the guest.
    Plug,
    /// Train the link anew.
    Retrain,
    /// Ask the guest to give the device back; for devices that cannot be unplugged, drain what uses it. Harmless when
    /// it is repeated, and when the guest has it no more.
    AskBack,
    /// Take the device away from the host's bridge. **Destructive** while a guest has it.
    Unbind,
}

/// How many kinds of effects there are.
pub(super) const EFFECTS: usize = 5;

impl Ask {
    /// The number of an effect; a survey has none.
    pub(super) const fn effect(self) -> Option<usize> {
        match self {
            Self::Survey => None,
            Self::Bind => Some(0),
            Self::Plug => Some(1),
            Self::Retrain => Some(2),
            Self::AskBack => Some(3),
            Self::Unbind => Some(4),
        }
    }
}

/// By which an answer belongs to what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub(super) u64);

/// What came of it, as far as somebody says. Only surveys are believed.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Answer {
    /// How it is.
    Survey(Survey),
    /// It is said to be done.
    Done,
    /// It is said to go on in the background.
    Started,
    /// It was refused; asking again is of no use.
    Refused(Refusal),
    /// Somebody is busy; asking again later may be of use.
    Busy,
    /// It was begun and failed.
    Failed,
    /// Whoever was to do it ended before it answered.
    PeerDied,
}

/// Why something was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Somebody else has the device.
    Owned,
    /// The guest does not run, or does not get there.
    GuestNotReady,
    /// The guest's driver does not work with it.
    Unhealthy,
    /// There is no room for its memory windows.
    NoRoom,
    /// Another reason, which the driver's log has.
    Denied,
}

/// How it is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Survey {
    /// To whom the switch says that the device is bound.
    pub owner: Owner,
    /// Whether the device is there at all.
    pub present: bool,
    /// What the guest does.
    pub guest: Guest,
    /// Whether the guest's machine has the device, as its monitor says.
    pub in_guest: Option<bool>,
    /// Whether somebody has it open who would block a removal.
    pub in_use: bool,
    /// Whether the guest's driver works with it, where somebody can say.
    pub healthy: Option<bool>,
    /// What its link is trained at, where somebody can say.
    pub link: Option<LinkSetting>,
}

/// To whom a device is bound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Owner {
    /// Nobody.
    Nobody,
    /// The bridge that it is to be at.
    Us,
    /// Another bridge.
    Other,
    /// More than one.
    Several,
    /// Somebody is at it: a bridge says so, or the switch's background command concerns it.
    InProgress,
}

/// What a guest does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Guest {
    /// There is no such machine any more.
    Off,
    /// It starts; what is plugged now may be taken for a removal later.
    Booting,
    /// It stands still and answers nothing.
    Paused,
    /// It runs.
    Running,
}

/// What is wanted of a device that comes to a guest.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Wants {
    /// The link that it is to reach.
    pub link: Option<LinkSetting>,
}

/// How it ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// As it was asked for.
    Done,
    /// Somebody would not.
    Refused(Refusal),
    /// Somebody was busy for too long.
    Busy,
    /// Somebody did not answer.
    Silent,
    /// The guest had it and gave it away again.
    GuestRemoved,
    /// The guest has it, over a link that is slower than asked.
    Slower,
    /// It was begun and failed.
    FailedInBackground,
    /// The switch, the guest's monitor or the device ended on the way.
    PeerDied,
    /// Somebody else has it, too, or in place of us after it was bound for us.
    DoubleOwner,
}

/// Where the device was at the end, as last read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Whereabouts {
    /// Bound for the guest, and in it.
    Attached,
    /// Bound for the guest, and not in it.
    Bound,
    /// Nobody's.
    Free,
    /// Somebody else's.
    Elsewhere,
    /// Not known, or with two owners. Nobody may have it until somebody has looked.
    Unknown,
}

/// How it ended, and where the device is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct End {
    /// How it ended.
    pub outcome: Outcome,
    /// Where the device is.
    pub whereabouts: Whereabouts,
    /// The best link that it was read at in the guest.
    pub link: Option<LinkSetting>,
    /// Whether its link was read at different speeds or widths.
    pub unsteady: bool,
}

/// How long and how often is tried.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// All in all; the last survey comes after that.
    pub total: Duration,
    /// For a guest that boots or stands still, for a driver that does not work yet, and for whoever has the
    /// device open.
    pub others: Duration,
    /// How old what was read may be when something is begun because of it.
    pub fresh: Duration,
    /// Between two surveys that wait for something: at first, and at most.
    pub pause: (Duration, Duration),
    /// Between two surveys that confirm that the guest has it.
    pub confirmation: Duration,
    /// How often each effect is begun.
    pub attempts: u32,
    /// How often each effect may meet somebody busy.
    pub busy: u32,
    /// How often somebody may die.
    pub deaths: u32,
    /// How many surveys in a row have to show the device in the guest.
    pub confirmations: u32,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            total: Duration::from_secs(600),
            others: Duration::from_secs(120),
            fresh: Duration::from_secs(1),
            pause: (Duration::from_millis(10), Duration::from_secs(5)),
            confirmation: Duration::from_secs(2),
            attempts: 3,
            busy: 20,
            deaths: 5,
            confirmations: 3,
        }
    }
}

/// How long each kind of thing took lately, and so how long it is waited for. Shared by the attachments of one
/// switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Habits {
    survey: Patience,
    effects: [Patience; EFFECTS],
    /// Until a guest that was asked has given a device back.
    given_back: Patience,
}

impl Default for Habits {
    fn default() -> Self {
        let patience = |least, most| Patience::new(Duration::from_secs(least), Duration::from_secs(most));
        Self {
            survey: patience(5, 60),
            // A guest may take over six seconds to give a device back, of which five are the attention button's.
            effects: [
                patience(10, 120),
                patience(10, 120),
                patience(5, 60),
                patience(5, 60),
                patience(10, 120),
            ],
            given_back: patience(20, 120),
        }
    }
}

impl Habits {
    /// How long is waited for an answer.
    #[must_use]
    pub fn deadline(&self, ask: Ask) -> Duration {
        ask.effect().map_or(&self.survey, |effect| &self.effects[effect]).deadline()
    }

    /// How long is waited for a guest to give a device back that it was asked for.
    #[must_use]
    pub fn given_back(&self) -> Duration {
        self.given_back.deadline()
    }

    pub(super) fn took(&mut self, ask: Ask, time: Duration) {
        match ask.effect() {
            Some(effect) => self.effects[effect].took(time),
            None => self.survey.took(time),
        }
    }

    pub(super) fn took_back(&mut self, time: Duration) {
        self.given_back.took(time);
    }
}
