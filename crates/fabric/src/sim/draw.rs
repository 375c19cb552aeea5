//! Random numbers that are the same on every machine.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

#[derive(Debug)]
pub(super) struct Draw(Pcg64Mcg);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// Whether something happens that happens `of_1000` times in a thousand.
    pub(super) fn happens(&mut self, of_1000: u16) -> bool {
        self.below(1000) < u64::from(of_1000)
    }

    /// From 0 to below `end`; a bias of less than one in 2^32 does not matter here.
    pub(super) fn below(&mut self, end: u64) -> u64 {
        self.0.next_u64() % end.max(1)
    }
}
