//! Lessons from recordings of a host: what was asked of its VMs, as scenarios.
//!
//! ```text
//!  0 ─────────────── 70 % ────────── end of each recording
//!  learned from      │ held back: the verdict rests on it
//! ```
//!
//! A lesson is a part of the learned share of a recording, with a seed of its own for all that the
//! recording does not say: bursts inside of its intervals, noise of what is measured. The best round is
//! chosen by such parts too, with other seeds.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::judge::JUDGED;
use super::lessons::Lessons;
use crate::bench::BenchError;
use crate::scenario::Scenario;

/// The share of a recording's time that is learned from.
pub const LEARNED_SHARE: f64 = 0.7;
/// Shorter parts say too little.
pub const LEAST_PART: Duration = Duration::from_secs(300);
/// Moments that are tried before it is said that a part cannot run.
const TRIES: usize = 8;

/// A recording that is not long enough.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error(
    "the recording lasts {} min, and what is held back of it {} min; it takes at least {} min for that: \
     give a longer recording",
    whole.as_secs() / 60, held.as_secs() / 60, least.as_secs() / 60
)]
pub struct TooShort {
    whole: Duration,
    held: Duration,
    least: Duration,
}

/// Recordings of hosts.
#[derive(Debug, Clone)]
pub struct Recordings {
    all: Vec<Recording>,
    length: Duration,
}

#[derive(Debug, Clone)]
struct Recording {
    scenario: Scenario,
    /// Where what is held back begins.
    split: Duration,
    /// The longest interval of its demand, which a part may begin late by.
    slack: Duration,
}

impl Recordings {
    /// From scenarios of hosts, at least one; a part lasts `length`, or as long as the shortest of what is
    /// held back allows.
    ///
    /// # Errors
    /// When one is too short to be divided; with its place.
    pub fn new(scenarios: Vec<Scenario>, length: Duration) -> Result<Self, (usize, TooShort)> {
        let mut longest = length;
        let mut all = Vec::new();
        for (place, scenario) in scenarios.into_iter().enumerate() {
            let whole = scenario.duration;
            let split = Duration::from_secs_f64((whole.as_secs_f64() * LEARNED_SHARE).floor());
            let slack = scenario.longest_interval();
            let held = whole.saturating_sub(split);
            // A part begins and ends up to an interval late, and must not reach beyond its share.
            let room = held.min(split).saturating_sub(2 * slack);
            if room < LEAST_PART {
                return Err((place, TooShort { whole, held, least: LEAST_PART + 2 * slack }));
            }
            longest = longest.min(room);
            all.push(Recording { scenario, split, slack });
        }
        Ok(Self { all, length: Duration::from_secs(longest.as_secs()) })
    }

    /// How long a part lasts.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }
}

impl Lessons for Recordings {
    fn scenario(&self, number: u64, length: Duration) -> Result<Scenario, BenchError> {
        let place = usize::try_from(number % self.all.len().max(1) as u64).unwrap_or(0);
        let recording = &self.all[place];
        let mut random = Pcg64Mcg::seed_from_u64(number);
        let mut tried = recording.part(number, length, &mut random);
        for _ in 1..TRIES {
            if tried.is_ok() {
                break;
            }
            tried = recording.part(number, length, &mut random);
        }
        tried.map_err(|source| BenchError::Scenario {
            name: recording.scenario.source.clone(),
            seed: number,
            source: source.into(),
        })
    }
}

impl Recording {
    /// A part at a random moment of the share that is for such a number.
    fn part(
        &self,
        number: u64,
        length: Duration,
        random: &mut Pcg64Mcg,
    ) -> Result<Scenario, crate::scenario::ScenarioError> {
        let (begin, end) =
            if number < JUDGED { (Duration::ZERO, self.split) } else { (self.split, self.scenario.duration) };
        let last = end.saturating_sub(2 * self.slack).saturating_sub(length).max(begin);
        let room = (last - begin).as_secs() + 1;
        let from = begin + Duration::from_secs(random.next_u64() % room);
        self.scenario.cut(from, length, number)
    }
}

#[cfg(test)]
mod tests {
    use super::super::CHOSEN;
    use super::*;
    use crate::bench::training;

    fn recording(seconds: u64) -> Scenario {
        training(0).lasting(Duration::from_secs(seconds)).scenario().unwrap()
    }

    /// Where in the recording the part begins, by the work that is asked for.
    fn begins(part: &Scenario, whole: &Scenario) -> usize {
        let series = |scenario: &Scenario| scenario.guests[0].workload.demand.work.clone();
        let (part, whole) = (series(part), series(whole));
        let rotated = |by: usize| whole[by..].iter().chain(&whole[..by]).eq(&part);
        (0..whole.len()).find(|by| rotated(*by)).unwrap()
    }

    #[test]
    fn nothing_that_is_held_back_is_learned_from() {
        let whole = recording(7200);
        let lessons = Recordings::new(vec![whole.clone()], Duration::from_secs(900)).unwrap();
        let interval = whole.longest_interval();
        let (split, end) = (Duration::from_secs(5040), Duration::from_secs(7200));
        for turn in 0..40 {
            for (first, from, until) in
                [(0, Duration::ZERO, split), (CHOSEN, Duration::ZERO, split), (JUDGED, split, end)]
            {
                let part = lessons.scenario(first + turn, lessons.length()).unwrap();
                let begin = interval * u32::try_from(begins(&part, &whole)).unwrap();
                assert!(begin >= from && begin + part.duration + interval <= until, "{begin:?} {part:?}");
                assert_eq!(part.seed, first + turn);
            }
        }
    }

    #[test]
    fn parts_are_shortened_to_what_is_there_and_no_further() {
        let length = Duration::from_secs(1800);
        let lessons = Recordings::new(vec![recording(7200), recording(3600)], length).unwrap();
        assert!(lessons.length() >= LEAST_PART && lessons.length() < Duration::from_secs(1080));
        let (place, error) = Recordings::new(vec![recording(7200), recording(600)], length).unwrap_err();
        assert_eq!(place, 1);
        assert!(error.to_string().contains("lasts 10 min"), "{error}");
    }
}
