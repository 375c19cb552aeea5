//! How long to wait, from how long it took lately: the same switch binds 28 ports in less than a second after
//! it was turned on, and in fifteen later.

use std::collections::VecDeque;
use std::time::Duration;

/// How many times are remembered.
const REMEMBERED: usize = 16;
/// How many times the longest of them is waited.
const FACTOR: u32 = 3;

/// A deadline that follows what was measured, between two bounds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Patience {
    least: Duration,
    most: Duration,
    recent: VecDeque<Duration>,
}

impl Patience {
    /// Waits `least` as long as nothing was measured, and never more than `most`.
    #[must_use]
    pub const fn new(least: Duration, most: Duration) -> Self {
        Self { least, most, recent: VecDeque::new() }
    }

    /// Remembers how long one took. One that ran out of time took at least that long: tell that, too, so that
    /// the next one is given more.
    pub fn took(&mut self, time: Duration) {
        if self.recent.len() == REMEMBERED {
            self.recent.pop_front();
        }
        self.recent.push_back(time);
    }

    /// How long to wait for the next one.
    #[must_use]
    pub fn deadline(&self) -> Duration {
        let longest = self.recent.iter().max().copied().unwrap_or_default();
        longest.saturating_mul(FACTOR).clamp(self.least.min(self.most), self.most)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience_grows_with_what_it_took_and_forgets() {
        let second = Duration::from_secs(1);
        let mut patience = Patience::new(2 * second, 60 * second);
        assert_eq!(patience.deadline(), 2 * second);
        patience.took(15 * second);
        assert_eq!(patience.deadline(), 45 * second);
        patience.took(50 * second);
        assert_eq!(patience.deadline(), 60 * second, "there is an end to it");
        (0..REMEMBERED).for_each(|_| patience.took(second / 10));
        assert_eq!(patience.deadline(), 2 * second);
    }
}
