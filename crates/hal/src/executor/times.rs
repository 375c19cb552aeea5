//! How long changes took lately, so that patience grows with what a machine needs.

use std::collections::VecDeque;
use std::time::Duration;

use halcyon_model::ChangeKind;

/// How many times of one kind of change are remembered.
const REMEMBERED: usize = 16;
/// What a change is given beyond what it is likely to take.
const GRACE: Duration = Duration::from_secs(10);

#[derive(Debug, Default)]
pub(super) struct Times {
    kinds: [VecDeque<Duration>; ChangeKind::ALL.len()],
}

impl Times {
    pub(super) fn took(&mut self, kind: ChangeKind, time: Duration) {
        let times = &mut self.kinds[kind as usize];
        if times.len() == REMEMBERED {
            times.pop_front();
        }
        times.push_back(time);
    }

    /// How long to wait for a change that its driver expects to take `estimate`: a slow change is not a
    /// failed one.
    pub(super) fn patience(&self, kind: ChangeKind, estimate: Duration) -> Duration {
        let longest = self.kinds[kind as usize].iter().max().copied().unwrap_or_default();
        estimate.max(longest).saturating_mul(3).saturating_add(GRACE)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_follows_what_changes_took_and_forgets() {
        let mut times = Times::default();
        let second = Duration::from_secs(1);
        let patience = |times: &Times| times.patience(ChangeKind::Device, second);
        assert_eq!(patience(&times), 3 * second + GRACE);
        times.took(ChangeKind::Device, 7 * second);
        assert_eq!(patience(&times), 21 * second + GRACE);
        assert_eq!(times.patience(ChangeKind::Cpu, second), 3 * second + GRACE);
        (0..REMEMBERED).for_each(|_| times.took(ChangeKind::Device, second / 2));
        assert_eq!(patience(&times), 3 * second + GRACE);
    }
}
