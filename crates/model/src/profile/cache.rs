//! How a program responds to last-level cache: misses fall as it holds more, and speed and memory
//! traffic follow from misses.

/// A program's response to last-level cache, in the units of the machine that it was measured on.
///
/// ```text
///  curve(c)  = limit + (most − limit) / (1 + (c / half)^steepness)
///  misses(c) = max(least, curve(c))                                     per 1,000 instructions
///  cycles(c) = cycles + cycles_per_miss · misses(c) / 1,000             per instruction
///  speed(c)  = cycles at `least` / cycles(c)
/// ```
///
/// `least` is where the curve stands at the largest cache that was measured: what more would bring is not
/// known, so that nothing is promised.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheResponse {
    /// Misses per 1,000 instructions that the curve tends to; at most `least_misses`.
    pub limit_misses: f64,
    /// Misses per 1,000 instructions with as much cache as was measured, and with more.
    pub least_misses: f64,
    /// Misses per 1,000 instructions with none; at least `least_misses`.
    pub most_misses: f64,
    /// Cache with which half of the way from most to limit is gone, in bytes; above zero.
    pub half: f64,
    /// How sudden the fall is; above zero.
    pub steepness: f64,
    /// Cycles per instruction that do not come from misses; above zero.
    pub cycles: f64,
    /// Cycles that a miss costs, after what the machine hides of them.
    pub cycles_per_miss: f64,
    /// Bytes that move between cache and memory for each miss.
    pub bytes_per_miss: f64,
    /// The clock, in cycles per second.
    pub clock: f64,
    /// The most cache that the program was seen to occupy where it was measured, in bytes; the curve does
    /// not follow it. Nothing where it was not measured.
    pub footprint: Option<f64>,
}

/// What a program does with the cache that it holds. Work is counted in seconds of one core at the speed
/// that it has with as much cache as was measured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CacheEffect {
    /// Work per second of one core, 0 to 1.
    pub speed: f64,
    /// Memory traffic per unit of work, in bytes.
    pub traffic: f64,
}

impl CacheResponse {
    /// A program that does not respond to cache and moves `traffic` bytes per unit of work.
    #[must_use]
    pub const fn flat(traffic: f64) -> Self {
        Self {
            limit_misses: 1.0,
            least_misses: 1.0,
            most_misses: 1.0,
            half: 1.0,
            steepness: 1.0,
            cycles: 1.0,
            cycles_per_miss: 0.0,
            bytes_per_miss: traffic,
            clock: 1000.0,
            footprint: None,
        }
    }

    /// Bytes per unit of work of a program made by [`CacheResponse::flat`]; nothing for any other.
    #[must_use]
    pub fn flat_traffic(&self) -> Option<f64> {
        (*self == Self::flat(self.bytes_per_miss)).then_some(self.bytes_per_miss)
    }

    /// Misses per 1,000 instructions with `bytes` of cache.
    #[must_use]
    pub fn misses(&self, bytes: f64) -> f64 {
        let avoidable = self.most_misses - self.limit_misses;
        if avoidable <= 0.0 {
            return self.least_misses;
        }
        let left = avoidable / (1.0 + libm::pow(bytes.max(0.0) / self.half, self.steepness));
        (self.limit_misses + left).max(self.least_misses)
    }

    /// Instructions per cycle with `bytes` of cache.
    #[must_use]
    pub fn instructions_per_cycle(&self, bytes: f64) -> f64 {
        1.0 / self.cycles_at(self.misses(bytes))
    }

    /// Memory traffic of one core with `bytes` of cache, in bytes per second of the machine measured on.
    #[must_use]
    pub fn bandwidth(&self, bytes: f64) -> f64 {
        let misses = self.misses(bytes);
        self.clock / self.cycles_at(misses) / 1000.0 * misses * self.bytes_per_miss
    }

    /// Speed and memory traffic with `bytes` of cache.
    #[must_use]
    pub fn effect(&self, bytes: f64) -> CacheEffect {
        let misses = self.misses(bytes);
        let best = self.cycles_at(self.least_misses);
        let kilo_instructions = self.clock / best / 1000.0;
        CacheEffect {
            speed: best / self.cycles_at(misses),
            traffic: kilo_instructions * misses * self.bytes_per_miss,
        }
    }

    fn cycles_at(&self, misses: f64) -> f64 {
        self.cycles + self.cycles_per_miss * misses / 1000.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RESPONSE: CacheResponse = CacheResponse {
        limit_misses: 0.5,
        least_misses: 1.0,
        most_misses: 35.0,
        half: 8e6,
        steepness: 2.0,
        cycles: 0.7,
        cycles_per_miss: 20.0,
        bytes_per_miss: 64.0,
        clock: 2.1e9,
        footprint: None,
    };

    #[test]
    fn more_cache_never_slows_and_never_moves_more() {
        let mut last = RESPONSE.effect(0.0);
        for step in 1..200 {
            let now = RESPONSE.effect(f64::from(step) * 0.5e6);
            assert!(now.speed >= last.speed && now.traffic <= last.traffic && now.speed <= 1.0);
            last = now;
        }
        assert_eq!(last.speed, 1.0);
        let misses = 0.5 + 34.5 / 2.0;
        assert!((RESPONSE.instructions_per_cycle(8e6) - 1.0 / (0.7 + 20.0 * misses / 1000.0)).abs() < 1e-9);
    }

    #[test]
    fn traffic_per_work_and_per_second_agree() {
        let effect = RESPONSE.effect(4e6);
        assert!((effect.traffic * effect.speed / RESPONSE.bandwidth(4e6) - 1.0).abs() < 1e-12);
    }

    #[test]
    fn a_flat_response_is_flat() {
        let flat = CacheResponse::flat(3e9);
        assert_eq!(flat.effect(0.0), CacheEffect { speed: 1.0, traffic: 3e9 });
        assert_eq!(flat.effect(1e9), flat.effect(0.0));
        assert_eq!((flat.flat_traffic(), RESPONSE.flat_traffic()), (Some(3e9), None));
    }
}
