//! How many steps are due: simulated time against real time.

use std::time::Duration;

use super::scene::Tempo;

/// The slowest and the fastest that can be chosen; beyond the latter comes as fast as possible.
const SLOWEST: f64 = 1.0;
const FASTEST: f64 = 20_000.0;

/// Real time that a simulation may lag behind before it gives up catching up.
const MOST_LAG: Duration = Duration::from_millis(250);

/// Turns real time into steps of simulated time.
#[derive(Debug)]
pub(super) struct Pace {
    tempo: Tempo,
    step_s: f64,
    seen: Duration,
    /// Simulated seconds that have not been run yet.
    due_s: f64,
}

impl Pace {
    pub(super) fn new(speed: f64, step: Duration, now: Duration) -> Self {
        let tempo = Tempo { speed, paused: false };
        Self { tempo, step_s: step.as_secs_f64(), seen: now, due_s: 0.0 }
    }

    pub(super) fn tempo(&self) -> Tempo {
        self.tempo
    }

    pub(super) fn pause(&mut self) {
        self.tempo.paused = !self.tempo.paused;
        self.due_s = 0.0;
    }

    pub(super) fn faster(&mut self) {
        let doubled = self.tempo.speed * 2.0;
        self.tempo.speed = if doubled > FASTEST { f64::INFINITY } else { doubled };
        self.due_s = 0.0;
    }

    pub(super) fn slower(&mut self) {
        let slower = if self.tempo.speed.is_finite() { self.tempo.speed / 2.0 } else { FASTEST };
        // A speed below the slowest that was asked for on the command line stays as it is.
        self.tempo.speed = slower.max(SLOWEST.min(self.tempo.speed));
        self.due_s = 0.0;
    }

    /// Whether a step is to be run, now that `now` has passed on the real clock.
    pub(super) fn is_due(&mut self, now: Duration) -> bool {
        let passed = now.saturating_sub(self.seen);
        self.seen = now;
        if self.tempo.paused {
            return false;
        }
        if !self.tempo.speed.is_finite() {
            return true;
        }
        self.due_s += passed.as_secs_f64() * self.tempo.speed;
        let most = (MOST_LAG.as_secs_f64() * self.tempo.speed).max(self.step_s);
        self.due_s = self.due_s.min(most);
        let due = self.due_s >= self.step_s;
        if due {
            self.due_s -= self.step_s;
        }
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(pace: &mut Pace, from_ms: u64, to_ms: u64) -> usize {
        (from_ms..=to_ms)
            .map(|ms| {
                let mut steps = 0;
                while pace.is_due(Duration::from_millis(ms)) && steps < 1000 {
                    steps += 1;
                }
                steps
            })
            .sum()
    }

    #[test]
    fn as_many_steps_are_due_as_time_has_passed() {
        let mut pace = Pace::new(360.0, Duration::from_secs(1), Duration::ZERO);
        assert!((359..=360).contains(&steps(&mut pace, 1, 1000)));
        pace.pause();
        assert_eq!(steps(&mut pace, 1001, 2000), 0);
        pace.pause();
        pace.faster();
        assert!((719..=720).contains(&steps(&mut pace, 2001, 3000)), "nothing is owed for the pause");
    }

    #[test]
    fn a_simulation_that_lags_does_not_catch_up() {
        let mut pace = Pace::new(100.0, Duration::from_secs(1), Duration::ZERO);
        assert_eq!(steps(&mut pace, 60_000, 60_000), 25);
    }

    #[test]
    fn speed_ends_at_as_fast_as_possible_and_at_real_time() {
        let mut pace = Pace::new(16_000.0, Duration::from_secs(1), Duration::ZERO);
        pace.faster();
        assert!(pace.tempo().speed.is_infinite() && pace.is_due(Duration::ZERO));
        pace.slower();
        assert!((pace.tempo().speed - FASTEST).abs() < 1e-9);
        (0..40).for_each(|_| pace.slower());
        assert!((pace.tempo().speed - SLOWEST).abs() < 1e-9);
    }
}
