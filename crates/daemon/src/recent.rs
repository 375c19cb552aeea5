//! The last figures of a kind, and how they are spread.

use std::collections::VecDeque;

use halcyon_api::Spread;

/// The last thousand figures.
#[derive(Debug, Clone, Default)]
pub(crate) struct Recent(VecDeque<f64>);

const MOST: usize = 1000;

impl Recent {
    pub(crate) fn push(&mut self, value: f64) {
        if self.0.len() == MOST {
            self.0.pop_front();
        }
        self.0.push_back(value);
    }

    pub(crate) fn spread(&self) -> Spread {
        let mut sorted: Vec<f64> = self.0.iter().copied().collect();
        sorted.sort_unstable_by(f64::total_cmp);
        // The smallest figure that so many percent do not exceed.
        let at = |percent: usize| sorted.get((sorted.len() * percent).div_ceil(100).max(1) - 1).copied();
        Spread { p50: at(50), p99: at(99), most: at(100) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_thousand_count() {
        let mut recent = Recent::default();
        assert_eq!(recent.spread(), Spread::default());
        recent.push(1e9);
        assert_eq!(recent.spread(), Spread { p50: Some(1e9), p99: Some(1e9), most: Some(1e9) });
        (1..=1000).for_each(|value| recent.push(f64::from(value)));
        assert_eq!(recent.spread(), Spread { p50: Some(500.0), p99: Some(990.0), most: Some(1000.0) });
    }
}
