//! Memory bandwidth in the units of the processor: what a sum of ceilings is written as, and what a value
//! that was read stands for. Pure arithmetic.

use halcyon_model::Bandwidth;

/// What a value of `MB` counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unit {
    /// Hundredths of what a core can move (Intel, ARM).
    Percent,
    /// Eighths of 10⁹ bytes per second; 2048 is no limit (AMD).
    EighthGigabyte,
    /// Mebibytes per second: the kernel itself keeps to them by what it measures (`mba_MBps`).
    Mebibyte,
}

impl Unit {
    /// The value that stands for no limit.
    #[must_use]
    pub const fn unlimited(self) -> u32 {
        match self {
            Self::Percent => 100,
            Self::EighthGigabyte => 2048,
            Self::Mebibyte => u32::MAX,
        }
    }

    const fn bytes(self) -> u64 {
        match self {
            Self::Percent => 0,
            Self::EighthGigabyte => 125_000_000,
            Self::Mebibyte => 1 << 20,
        }
    }
}

/// How memory bandwidth is limited on a host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Throttle {
    /// What a value counts.
    pub unit: Unit,
    /// The least value (`min_bandwidth`).
    pub least: u32,
    /// Values are multiples of it (`bandwidth_gran`); at least 1.
    pub granularity: u32,
}

impl Throttle {
    /// The value that lets `sum` through on a socket whose memory moves `whole`: the least that does, and
    /// no limit where `sum` is all there is.
    #[must_use]
    pub fn value(&self, sum: Bandwidth, whole: Bandwidth) -> u32 {
        if sum >= whole {
            return self.unit.unlimited();
        }
        let exact = match self.unit {
            Unit::Percent => (u128::from(sum.get()) * 100).div_ceil(u128::from(whole.get())),
            unit => u128::from(sum.get().div_ceil(unit.bytes())),
        };
        let step = u128::from(self.granularity.max(1));
        let value = exact.max(u128::from(self.least)).div_ceil(step) * step;
        let value = u32::try_from(value).unwrap_or(u32::MAX).min(self.unit.unlimited());
        if self.amount(value, whole) >= whole { self.unit.unlimited() } else { value }
    }

    /// The most that a value lets through.
    #[must_use]
    pub fn amount(&self, value: u32, whole: Bandwidth) -> Bandwidth {
        if value >= self.unit.unlimited() {
            return whole;
        }
        match self.unit {
            Unit::Percent => scale(whole, u128::from(value), 100),
            unit => Bandwidth::new(u64::from(value) * unit.bytes()).min(whole),
        }
    }

    /// The step between two values, as bandwidth.
    #[must_use]
    pub fn step(&self, whole: Bandwidth) -> Bandwidth {
        match self.unit {
            Unit::Percent => scale(whole, u128::from(self.granularity.max(1)), 100),
            unit => Bandwidth::new(u64::from(self.granularity.max(1)) * unit.bytes()),
        }
    }

    /// The ceilings that a value of a group stands for. They are the believed ones where those would be
    /// written as just this value; else what the value lets through, divided as the believed ones are.
    /// `base` is what the group needs besides.
    #[must_use]
    pub fn ceilings(
        &self,
        value: u32,
        base: Bandwidth,
        whole: Bandwidth,
        believed: &[Bandwidth],
    ) -> Vec<Bandwidth> {
        let sum: Bandwidth = believed.iter().copied().sum();
        if believed.is_empty() || self.value(sum + base, whole) == value {
            return believed.to_vec();
        }
        let total = self.amount(value, whole).saturating_sub(base);
        let sum: u128 = believed.iter().map(|ceiling| u128::from(ceiling.get())).sum();
        let part = |ceiling: &Bandwidth| match sum {
            0 => scale(total, 1, believed.len() as u128),
            sum => scale(total, u128::from(ceiling.get()), sum),
        };
        let mut shares: Vec<Bandwidth> = believed.iter().map(part).collect();
        // What rounding left over goes to the first, so that the sum is written as the same value again.
        let given: Bandwidth = shares.iter().copied().sum();
        shares[0] += total.saturating_sub(given);
        shares
    }
}

/// `amount · part / of`, rounded down.
fn scale(amount: Bandwidth, part: u128, of: u128) -> Bandwidth {
    let scaled = u128::from(amount.get()) * part / of.max(1);
    Bandwidth::new(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PERCENT: Throttle = Throttle { unit: Unit::Percent, least: 10, granularity: 10 };
    const AMD: Throttle = Throttle { unit: Unit::EighthGigabyte, least: 0, granularity: 1 };

    #[test]
    fn a_ceiling_is_rounded_up_to_what_the_processor_can_do() {
        let whole = Bandwidth::gb_per_s(100);
        let cases = [(0, 10), (5, 10), (10, 10), (11, 20), (55, 60), (91, 100), (100, 100), (250, 100)];
        for (gb, percent) in cases {
            assert_eq!(PERCENT.value(Bandwidth::gb_per_s(gb), whole), percent, "{gb} GB/s");
        }
        assert_eq!(AMD.value(Bandwidth::gb_per_s(10), whole), 80);
        assert_eq!(AMD.value(Bandwidth::new(1), whole), 1);
        assert_eq!(AMD.value(whole, whole), 2048, "all there is is no limit");
        let mebibytes = Throttle { unit: Unit::Mebibyte, least: 10, granularity: 10 };
        assert_eq!(mebibytes.value(Bandwidth::new(1 << 30), whole), 1030);
        assert_eq!(mebibytes.value(whole, whole), u32::MAX);
    }

    fn throttle() -> impl Strategy<Value = Throttle> {
        let unit = prop_oneof![Just(Unit::Percent), Just(Unit::EighthGigabyte), Just(Unit::Mebibyte)];
        (unit, 0..50_u32, prop_oneof![Just(1_u32), Just(5), Just(10)])
            .prop_map(|(unit, least, granularity)| Throttle { unit, least, granularity })
    }

    proptest! {
        #[test]
        fn what_is_written_lets_the_sum_through(
            throttle in throttle(), whole in 1_000_000_000_u64..200_000_000_000, sum in any::<u64>(),
        ) {
            let (whole, sum) = (Bandwidth::new(whole), Bandwidth::new(sum % (2 * whole)));
            let value = throttle.value(sum, whole);
            // The bytes that a percentage leaves over are below one value.
            prop_assert!(throttle.amount(value, whole) + Bandwidth::new(100) >= sum.min(whole));
            prop_assert!(value >= throttle.least);
        }

        #[test]
        fn what_was_read_is_written_as_the_same_and_read_twice_is_the_same(
            throttle in throttle(), whole in 1_000_000_000_u64..200_000_000_000, sum in any::<u64>(),
            believed in prop::collection::vec(0..200_000_000_000_u64, 1..6),
        ) {
            let whole = Bandwidth::new(whole);
            let value = throttle.value(Bandwidth::new(sum % (2 * whole.get())), whole);
            let believed: Vec<_> = believed.into_iter().map(Bandwidth::new).collect();
            let read = throttle.ceilings(value, Bandwidth::ZERO, whole, &believed);
            prop_assert_eq!(throttle.value(read.iter().copied().sum(), whole), value);
            prop_assert_eq!(&throttle.ceilings(value, Bandwidth::ZERO, whole, &read), &read);
        }

        #[test]
        fn any_value_reads_the_same_twice(
            throttle in throttle(), value in any::<u32>(), whole in any::<u64>(), base in any::<u64>(),
            believed in prop::collection::vec(any::<u64>(), 0..6),
        ) {
            let (whole, base) = (Bandwidth::new(whole), Bandwidth::new(base));
            let believed: Vec<_> = believed.into_iter().map(Bandwidth::new).collect();
            let read = throttle.ceilings(value, base, whole, &believed);
            prop_assert_eq!(read.len(), believed.len());
            prop_assert_eq!(&throttle.ceilings(value, base, whole, &read), &read);
        }
    }
}
