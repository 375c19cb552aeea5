//! Worlds that are not quite like the one that networks are judged in.
//!
//! What the constants of the model are on somebody's host nobody knows; many are choices. A network that
//! met them all a little different relies on none of them: counters that are more or less exact, demand
//! that is more or less wild, memory that moves faster or slower, hand-overs that fail more often or
//! never, and changes that take and cost more or less than the host file says is typical.

use std::time::Duration;

use halcyon_model::{ChangeKind, Control};
use rand::Rng;
use rand_pcg::Pcg64Mcg;

use crate::scenario::Scenario;

/// Of so many scenarios one stays as it is.
const AS_IT_IS: u64 = 3;

/// The scenario with a number, varied by that number alone.
pub(super) fn varied(mut scenario: Scenario, number: u64) -> Scenario {
    if number.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(32).is_multiple_of(AS_IT_IS) {
        return scenario;
    }
    let mut dice = Dice(Pcg64Mcg::new(u128::from(number) << 64 | 0x0076_6172_6965_6421));
    let it = &mut scenario.parameters;
    it.counter_noise *= dice.factor(4.0);
    it.counter_lag = dice.share() < 0.5;
    it.burst_sigma *= dice.factor(1.3);
    it.burst_rho = 0.8 + 0.15 * dice.share();
    it.surge_every = it.surge_every.mul_f64(dice.factor(2.0));
    it.surge_height = 1.3 + 0.7 * dice.share();
    it.balloon_inflate_bytes_s *= dice.factor(2.0);
    it.balloon_deflate_bytes_s *= dice.factor(2.0);
    it.migrate_bytes_s *= dice.factor(2.0);
    it.refusal_after = it.refusal_after.mul_f64(dice.factor(2.0));
    it.gpu_drain = it.gpu_drain.mul_f64(dice.factor(2.0));
    it.throttle_settles = it.throttle_settles.mul_f64(dice.factor(1.5));
    it.remote_slowdown *= dice.factor(1.5);
    it.paging_slowdown *= dice.factor(1.5);
    it.device_failure *= dice.factor(8.0);
    for kind in ChangeKind::ALL {
        let (time, stop, cost) = (dice.factor(2.0), dice.factor(2.0), dice.factor(2.0));
        let control = scenario.capabilities.get(kind).map(|control| Control {
            latency: whole(control.latency, time),
            interruption: whole(control.interruption, stop),
            cost_s: control.cost_s * cost,
            ..*control
        });
        scenario.capabilities = scenario.capabilities.with(kind, control);
    }
    scenario
}

/// So many times as long, in whole milliseconds.
fn whole(time: Duration, factor: f64) -> Duration {
    let seconds = libm::round(time.as_secs_f64() * factor * 1000.0) / 1000.0;
    Duration::try_from_secs_f64(seconds).unwrap_or(time)
}

struct Dice(Pcg64Mcg);

impl Dice {
    /// Anything from 0 to 1.
    fn share(&mut self) -> f64 {
        f64::from(self.0.next_u32()) / f64::from(u32::MAX)
    }

    /// Up to `most` times as much or as little; both are as likely.
    fn factor(&mut self, most: f64) -> f64 {
        libm::pow(most, 2.0 * self.share() - 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::training;

    #[test]
    fn scenarios_vary_by_their_number_alone_and_some_stay_as_they_are() {
        let plain = |number| training(number).lasting(Duration::from_secs(60)).scenario().unwrap();
        let mut same = 0;
        for number in 0..30 {
            let (before, after) = (plain(number), varied(plain(number), number));
            let again = varied(plain(number), number);
            assert_eq!((&after.parameters, &after.capabilities), (&again.parameters, &again.capabilities));
            assert_eq!(before.guests.len(), after.guests.len());
            same += usize::from(before.parameters == after.parameters);
            for kind in ChangeKind::ALL {
                assert_eq!(before.capabilities.allows(kind), after.capabilities.allows(kind));
            }
            let device = |scenario: &Scenario| {
                scenario.capabilities.get(ChangeKind::Device).map_or(0.0, |control| control.cost_s)
            };
            assert!(device(&after) >= 0.49 * device(&before) && device(&after) <= 2.01 * device(&before));
        }
        assert!((4..=18).contains(&same), "{same} of 30 stayed as they were");
    }
}
