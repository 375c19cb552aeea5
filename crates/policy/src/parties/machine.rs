//! The state machine of one VM: which resource to try next, in which direction, and what to take back.
//!
//! ```text
//!                slack < upsize                          slack > downsize
//!      ┌──── helped: the same again ────┐       ┌── no harm: the same again ──┐
//!      └───────────► Up ────────────────┘       └───────► Down ───────────────┘
//!        did not help: the next resource          slack < upsize soon after: take it back,
//!                                                 leave it alone for a while, the next resource
//! ```

use halcyon_model::HostTime;

use super::PartiesTuning;

/// What is tried, in the order of the wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Resource {
    Cpu,
    Cache,
    MemoryBandwidth,
    Memory,
    Device,
}

pub(super) const WHEEL: [Resource; 5] =
    [Resource::Cpu, Resource::Cache, Resource::MemoryBandwidth, Resource::Memory, Resource::Device];

/// One unit more or less of one resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Move {
    Up(Resource),
    Down(Resource),
    /// Takes back a `Down` that hurt.
    Revert(Resource),
    /// Gives back what did not help.
    Surrender,
}

#[derive(Debug, Clone, Copy)]
struct Tried {
    what: Move,
    at: HostTime,
    /// Slack before it.
    before: f64,
}

#[derive(Debug, Clone, Copy, Default)]
struct Trial {
    /// Until when it is not taken from again.
    rests_until: HostTime,
    /// How often in a row taking from it hurt.
    failures: u32,
}

impl Move {
    pub(super) fn resource(self) -> Option<Resource> {
        match self {
            Self::Up(resource) | Self::Down(resource) | Self::Revert(resource) => Some(resource),
            Self::Surrender => None,
        }
    }
}

/// One VM's state.
#[derive(Debug, Clone, Default)]
pub(super) struct Machine {
    up: usize,
    down: usize,
    tried: Option<Tried>,
    trials: [Trial; WHEEL.len()],
    /// Since when it is short without a break.
    short_since: Option<HostTime>,
    /// How often in a row it gave up, and until when it asks for nothing.
    surrenders: u32,
    asks_from: HostTime,
}

impl Machine {
    /// What to do at this slack; `can` says whether there is a unit to be had or to be given.
    pub(super) fn next(
        &mut self,
        now: HostTime,
        slack: f64,
        tuning: &PartiesTuning,
        can: impl Fn(Move) -> bool,
    ) -> Option<Move> {
        if slack < tuning.upsize_below {
            let short_since = *self.short_since.get_or_insert(now);
            if self.asks_from <= now && now >= short_since + tuning.give_up {
                self.surrender(now, tuning);
                return Some(Move::Surrender);
            }
            let asks = self.asks_from <= now;
            let taken_back = self.take_back(now, tuning);
            let what = taken_back.or_else(|| if asks { self.upsize(slack, tuning, can) } else { None })?;
            self.tried = Some(Tried { what, at: now, before: slack });
            return Some(what);
        }
        (self.short_since, self.surrenders) = (None, 0);
        let blamable = |tried: &Tried| now < tried.at + tuning.blame;
        if slack > tuning.downsize_above {
            self.trust(now, tuning);
            let what = self.downsize(now, can);
            // A move that may still turn out to hurt is remembered.
            self.tried =
                what.map(|what| Tried { what, at: now, before: slack }).or(self.tried.filter(blamable));
            return what;
        }
        self.tried = self.tried.filter(blamable);
        None
    }

    /// What nothing helped is left alone for a while.
    fn surrender(&mut self, now: HostTime, tuning: &PartiesTuning) {
        let doubled = tuning.rest.saturating_mul(1 << self.surrenders.min(16));
        self.asks_from = now + doubled.min(tuning.longest_rest);
        // Its patience starts over with the next attempt.
        self.short_since = Some(self.asks_from);
        self.surrenders += 1;
        self.tried = None;
    }

    /// A `Down` that was followed by a shortage is to blame for it.
    fn take_back(&mut self, now: HostTime, tuning: &PartiesTuning) -> Option<Move> {
        let tried = self.tried?;
        let Move::Down(resource) = tried.what else { return None };
        if now >= tried.at + tuning.blame {
            return None;
        }
        let trial = &mut self.trials[resource as usize];
        let doubled = tuning.rest.saturating_mul(1 << trial.failures.min(16));
        trial.rests_until = now + doubled.min(tuning.longest_rest);
        trial.failures += 1;
        self.down = (self.down + 1) % WHEEL.len();
        // Should it not be enough, more of the same is the first guess.
        self.up = resource as usize;
        Some(Move::Revert(resource))
    }

    fn upsize(&mut self, slack: f64, tuning: &PartiesTuning, can: impl Fn(Move) -> bool) -> Option<Move> {
        if let Some(Tried { what: Move::Up(_), before, .. }) = self.tried
            && slack < before + tuning.progress
        {
            self.up = (self.up + 1) % WHEEL.len();
        }
        let turns = (0..WHEEL.len()).map(|turn| (self.up + turn) % WHEEL.len());
        let place = turns.into_iter().find(|place| can(Move::Up(WHEEL[*place])))?;
        self.up = place;
        Some(Move::Up(WHEEL[place]))
    }

    fn downsize(&mut self, now: HostTime, can: impl Fn(Move) -> bool) -> Option<Move> {
        let turns = (0..WHEEL.len()).map(|turn| (self.down + turn) % WHEEL.len());
        let ready = |place: &usize| self.trials[*place].rests_until <= now && can(Move::Down(WHEEL[*place]));
        let place = turns.into_iter().find(ready)?;
        self.down = place;
        Some(Move::Down(WHEEL[place]))
    }

    /// A `Down` that did no harm for a while ends the row of failures.
    fn trust(&mut self, now: HostTime, tuning: &PartiesTuning) {
        if let Some(Tried { what: Move::Down(resource), at, .. }) = self.tried
            && now >= at + tuning.blame
        {
            self.trials[resource as usize].failures = 0;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(seconds: u64) -> HostTime {
        Duration::from_secs(seconds)
    }

    #[test]
    fn what_helps_is_repeated_and_what_does_not_makes_room_for_the_next() {
        let (mut machine, tuning) = (Machine::default(), PartiesTuning::default());
        let mut next = |second, slack| machine.next(at(second), slack, &tuning, |_| true);
        assert_eq!(next(0, -2.0), Some(Move::Up(Resource::Cpu)));
        assert_eq!(next(1, -1.0), Some(Move::Up(Resource::Cpu)));
        assert_eq!(next(2, -1.0), Some(Move::Up(Resource::Cache)));
        assert_eq!(next(3, -1.2), Some(Move::Up(Resource::MemoryBandwidth)));
        assert_eq!(next(4, 0.1), None, "enough");
    }

    #[test]
    fn what_hurt_is_taken_back_and_left_alone_longer_each_time() {
        let (mut machine, tuning) = (Machine::default(), PartiesTuning::default());
        let only_cpu = |what| matches!(what, Move::Down(Resource::Cpu) | Move::Up(Resource::Cpu));
        assert_eq!(machine.next(at(0), 0.5, &tuning, only_cpu), Some(Move::Down(Resource::Cpu)));
        assert_eq!(machine.next(at(1), -0.1, &tuning, only_cpu), Some(Move::Revert(Resource::Cpu)));
        assert_eq!(machine.next(at(2), 0.5, &tuning, only_cpu), None, "it rests");
        let again = at(1) + tuning.rest;
        assert_eq!(machine.next(again, 0.5, &tuning, only_cpu), Some(Move::Down(Resource::Cpu)));
        let hurt = again + at(1);
        assert_eq!(machine.next(hurt, 0.0, &tuning, only_cpu), Some(Move::Revert(Resource::Cpu)));
        assert_eq!(machine.next(hurt + tuning.rest, 0.5, &tuning, only_cpu), None, "twice as long");
        let later = hurt + tuning.rest * 2;
        assert_eq!(machine.next(later, 0.5, &tuning, only_cpu), Some(Move::Down(Resource::Cpu)));
    }

    #[test]
    fn what_nothing_helps_is_given_up_and_tried_again_later() {
        let (mut machine, tuning) = (Machine::default(), PartiesTuning::default());
        let course: Vec<_> =
            (0..200).map(|second| machine.next(at(second), -1.0, &tuning, |_| true)).collect();
        assert!(course[..60].iter().all(|what| matches!(what, Some(Move::Up(_)))));
        assert_eq!(course[60], Some(Move::Surrender));
        assert!(course[61..90].iter().all(Option::is_none) && matches!(course[90], Some(Move::Up(_))));
    }

    #[test]
    fn between_the_thresholds_nothing_moves() {
        let (mut machine, tuning) = (Machine::default(), PartiesTuning::default());
        assert_eq!(machine.next(at(0), 0.1, &tuning, |_| true), None);
    }
}
