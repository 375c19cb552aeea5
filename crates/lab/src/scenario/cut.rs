//! A part of a scenario's time, as a scenario of its own.

use std::time::Duration;

use halcyon_sim::{Demand, Guest};

use super::{Draw, Scenario, ScenarioError};

impl Scenario {
    /// What happens in `length` from the moment `from` on, under another seed of everything random: the
    /// VMs that are there in that time, and what is asked of them. It starts from the static assignment.
    ///
    /// Demand is known by intervals; the part begins with the first whole one.
    ///
    /// # Errors
    /// When no VM is there, or those that are there at the start do not fit the host together.
    pub fn cut(&self, from: Duration, length: Duration, seed: u64) -> Result<Self, ScenarioError> {
        let until = from + length;
        let there = |guest: &&Guest| guest.arrives < until && guest.leaves.is_none_or(|leaves| leaves > from);
        let guests: Vec<Guest> = self.guests.iter().filter(there).map(|guest| later(guest, from)).collect();
        if guests.is_empty() {
            let hours = from.as_secs_f64() / 3600.0;
            let what = format!("no VM is there at hour {hours:.2} of {}", self.source);
            return Err(ScenarioError::Draw { what });
        }
        let draw = Draw::new(guests.len(), length, seed);
        let (topology, capabilities) = (self.topology.clone(), self.capabilities.clone());
        let part = Self::new(self.source.clone(), topology, capabilities, guests, draw)?;
        let (profiles, parameters) = (self.profiles.clone(), self.parameters.clone());
        Ok(Self { profiles, parameters, description: self.description.clone(), ..part })
    }

    /// The longest interval that any demand is known by.
    #[must_use]
    pub fn longest_interval(&self) -> Duration {
        let intervals = self.guests.iter().map(|guest| guest.workload.demand.interval);
        intervals.max().unwrap_or_default()
    }
}

/// The same VM with a clock that starts at `from`.
fn later(guest: &Guest, from: Duration) -> Guest {
    let mut guest = guest.clone();
    guest.arrives = guest.arrives.saturating_sub(from);
    guest.leaves = guest.leaves.map(|leaves| leaves.saturating_sub(from));
    let Demand { interval, work, working_set } = &mut guest.workload.demand;
    let passed = from.as_nanos().div_ceil(interval.as_nanos().max(1));
    for series in [work, working_set] {
        // It repeats from the start when it ends.
        let whole = passed.checked_rem(series.len() as u128).and_then(|whole| usize::try_from(whole).ok());
        series.rotate_left(whole.unwrap_or(0));
    }
    guest
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::training;
    use crate::still::Still;

    #[test]
    fn a_part_asks_for_what_the_whole_asks_for_then() {
        // Busy: VMs come and go.
        let whole = training(6).lasting(Duration::from_secs(7200)).scenario().unwrap();
        assert!(whole.guests.iter().any(|guest| !guest.arrives.is_zero() || guest.leaves.is_some()));
        let interval = whole.longest_interval();
        let (from, length) = (interval * 11, Duration::from_secs(600));
        let part = whole.cut(from, length, 77).unwrap();
        assert_eq!((part.seed, part.duration), (77, length));
        for guest in &part.guests {
            let same = whole.guests.iter().find(|it| it.spec.id == guest.spec.id).unwrap();
            assert!(same.leaves.is_none_or(|leaves| leaves > from) && same.arrives < from + length);
            let at = interval.as_secs_f64() * 1.5;
            let (now, then) = (&guest.workload.demand, &same.workload.demand);
            assert!((now.work_at(at) - then.work_at(from.as_secs_f64() + at)).abs() < 1e-9);
            assert!((now.working_set_at(at) - then.working_set_at(from.as_secs_f64() + at)).abs() < 1e-3);
        }
        part.host().unwrap();
        let mut run = crate::Run::new(&part, "reactive", false).unwrap();
        while !run.is_over() {
            run.tick(&Still).unwrap();
        }
    }

    #[test]
    fn a_part_without_vms_is_none() {
        let mut whole = training(0).lasting(Duration::from_secs(3600)).scenario().unwrap();
        for guest in &mut whole.guests {
            guest.leaves = Some(Duration::from_secs(60));
        }
        let error = whole.cut(Duration::from_secs(600), Duration::from_secs(600), 1).unwrap_err();
        assert!(error.to_string().contains("no VM is there at hour 0.17"), "{error}");
    }
}
