//! A program's response to cache, made ready to be asked many times.
//!
//! To divide a cache among a thousand programs takes some hundred thousand questions. What does not depend
//! on the amount of cache is worked out once, and the power is that of two logarithms' difference, which
//! takes a fraction of the time. Where many are asked at once, logarithms, powers and effects each have a
//! pass of their own: a processor works at several of a kind at a time. Answers are those of
//! [`CacheResponse::effect`] to a dozen digits.

use halcyon_model::profile::{CacheEffect, CacheResponse};

#[derive(Debug, Clone, Copy)]
pub(super) struct Curve {
    limit_misses: f64,
    least_misses: f64,
    /// Misses that cache can avoid; none for a flat curve.
    avoidable: f64,
    steepness: f64,
    /// `steepness` times the binary logarithm of the half.
    offset: f64,
    cycles: f64,
    cycles_per_miss: f64,
    /// Cycles per instruction at the least misses.
    best: f64,
    /// Traffic for each miss in 1,000 instructions, per unit of work.
    traffic: f64,
}

impl Curve {
    pub(super) fn of(response: &CacheResponse) -> Self {
        let cycles_per_miss = response.cycles_per_miss / 1000.0;
        let best = response.cycles + cycles_per_miss * response.least_misses;
        Self {
            limit_misses: response.limit_misses,
            least_misses: response.least_misses,
            avoidable: (response.most_misses - response.limit_misses).max(0.0),
            steepness: response.steepness,
            offset: response.steepness * libm::log2(response.half),
            cycles: response.cycles,
            cycles_per_miss,
            best,
            traffic: response.clock / best / 1000.0 * response.bytes_per_miss,
        }
    }

    /// Whether it is all the same how much cache there is.
    pub(super) fn is_flat(&self) -> bool {
        self.avoidable <= 0.0
    }

    /// Speed and memory traffic with `bytes` of cache.
    pub(super) fn effect(&self, bytes: f64) -> CacheEffect {
        self.effect_of(self.power(log(bytes)))
    }

    /// What there is of the half, to the power of the steepness, by the logarithm of the cache; whatever
    /// for a flat curve.
    #[inline]
    pub(super) fn power(&self, log: f64) -> f64 {
        if self.is_flat() { 1.0 } else { libm::exp2(self.steepness * log - self.offset) }
    }

    /// Speed and memory traffic at such a power.
    #[inline]
    pub(super) fn effect_of(&self, power: f64) -> CacheEffect {
        let misses = self.misses(power);
        CacheEffect {
            speed: self.best / (self.cycles + self.cycles_per_miss * misses),
            traffic: self.traffic * misses,
        }
    }

    #[inline]
    fn misses(&self, power: f64) -> f64 {
        if self.is_flat() {
            return self.least_misses;
        }
        (self.limit_misses + self.avoidable / (1.0 + power)).max(self.least_misses)
    }
}

/// The binary logarithm of an amount of cache.
#[inline]
pub(super) fn log(bytes: f64) -> f64 {
    libm::log2(bytes.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_those_of_the_response() {
        let response = CacheResponse {
            limit_misses: 0.5,
            least_misses: 1.0,
            most_misses: 35.0,
            half: 8e6,
            steepness: 2.3,
            cycles: 0.7,
            cycles_per_miss: 20.0,
            bytes_per_miss: 64.0,
            clock: 2.1e9,
            footprint: None,
        };
        for response in [response, CacheResponse { steepness: 0.3, ..response }, CacheResponse::flat(3e9)] {
            let curve = Curve::of(&response);
            for bytes in [0.0, 1.0, 1e5, 1e6, 7.9e6, 8e6, 3e7, 1e9, 1e300, f64::INFINITY] {
                let (found, expected) = (curve.effect(bytes), response.effect(bytes));
                assert!((found.speed / expected.speed - 1.0).abs() < 1e-12, "{bytes}: {found:?}");
                assert!((found.traffic / expected.traffic - 1.0).abs() < 1e-12, "{bytes}: {found:?}");
            }
        }
    }
}
