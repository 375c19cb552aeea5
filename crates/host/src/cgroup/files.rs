//! The forms of the files that limit: each read from text that nobody trusts, and written as the kernel takes it.

use std::collections::HashSet;
use std::fmt;
use std::str::FromStr;

/// The largest CPU or node number that is believed.
const MOST_NUMBERS: u32 = 65_536;

/// Why text is not of the form that a file has.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct OddText {
    /// The text, cut short where it is long.
    pub text: String,
    /// What it should be.
    pub expected: &'static str,
}

impl OddText {
    pub(super) fn new(text: &str, expected: &'static str) -> Self {
        Self { text: text.chars().take(60).collect(), expected }
    }
}

pub(super) fn odd(text: &str, expected: &'static str) -> OddText {
    OddText::new(text, expected)
}

/// An amount, or none that limits, which is more than any.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Limit {
    /// So much.
    At(u64),
    /// `max`.
    None,
}

impl fmt::Display for Limit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => f.write_str("max"),
            Self::At(amount) => write!(f, "{amount}"),
        }
    }
}

impl FromStr for Limit {
    type Err = OddText;

    fn from_str(text: &str) -> Result<Self, OddText> {
        match text.trim() {
            "max" => Ok(Self::None),
            number => number.parse().map(Self::At).map_err(|_| odd(text, "a number or `max`")),
        }
    }
}

/// `cpu.max`: time in each period, both in microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuMax {
    /// CPU time in one period.
    pub quota_us: Limit,
    /// The period.
    pub period_us: u64,
}

impl CpuMax {
    /// The kernel's own period.
    pub const PERIOD_US: u64 = 100_000;

    /// Whether both give the same; without a quota the period makes no difference.
    #[must_use]
    pub fn is_as(self, other: Self) -> bool {
        self == other || (self.quota_us, other.quota_us) == (Limit::None, Limit::None)
    }
}

impl fmt::Display for CpuMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.quota_us, self.period_us)
    }
}

impl FromStr for CpuMax {
    type Err = OddText;

    fn from_str(text: &str) -> Result<Self, OddText> {
        let expected = "`QUOTA PERIOD` in microseconds";
        let mut words = text.split_whitespace();
        let quota_us = words.next().ok_or_else(|| odd(text, expected))?.parse()?;
        let period_us = words.next().map_or(Ok(Self::PERIOD_US), str::parse);
        let period_us = period_us.ok().filter(|period| *period > 0).ok_or_else(|| odd(text, expected))?;
        Ok(Self { quota_us, period_us })
    }
}

/// A list of CPUs or memory nodes: `0-3,8`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NumberList(pub Vec<u32>);

impl NumberList {
    /// Whether the other has all of these.
    #[must_use]
    pub fn is_within(&self, other: &Self) -> bool {
        self.shared_with(other) == self.0.len()
    }

    /// How many of these the other has.
    #[must_use]
    pub fn shared_with(&self, other: &Self) -> usize {
        let other: HashSet<u32> = other.0.iter().copied().collect();
        self.0.iter().filter(|number| other.contains(number)).count()
    }
}

impl FromIterator<u32> for NumberList {
    /// In order, each once.
    fn from_iter<I: IntoIterator<Item = u32>>(numbers: I) -> Self {
        let mut numbers: Vec<u32> = numbers.into_iter().collect();
        numbers.sort_unstable();
        numbers.dedup();
        Self(numbers)
    }
}

impl fmt::Display for NumberList {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.as_slice();
        let mut first = true;
        while let Some(start) = rest.first() {
            let run = (0_u32..)
                .zip(rest)
                .take_while(|(offset, number)| start.checked_add(*offset) == Some(**number))
                .count();
            let end = rest[run - 1];
            let comma = if first { "" } else { "," };
            match run {
                1 => write!(f, "{comma}{start}")?,
                _ => write!(f, "{comma}{start}-{end}")?,
            }
            first = false;
            rest = &rest[run..];
        }
        Ok(())
    }
}

impl FromStr for NumberList {
    type Err = OddText;

    fn from_str(text: &str) -> Result<Self, OddText> {
        let expected = "a list of numbers like `0-3,8`";
        let number = |word: &str| {
            let number = word.trim().parse::<u32>().ok().filter(|number| *number < MOST_NUMBERS);
            number.ok_or_else(|| odd(text, expected))
        };
        let mut numbers = Vec::new();
        for range in text.trim().split(',').filter(|range| !range.trim().is_empty()) {
            let (start, end) = range.split_once('-').unwrap_or((range, range));
            let (start, end) = (number(start)?, number(end)?);
            // No kernel says a number twice, so there are no more than there can be.
            if start > end || numbers.len() > MOST_NUMBERS as usize {
                return Err(odd(text, expected));
            }
            numbers.extend(start..=end);
        }
        Ok(numbers.into_iter().collect())
    }
}

/// One line of `io.max`: what a group may do with one disk, in bytes and operations a second.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IoMax {
    /// Major and minor number of the disk.
    pub disk: (u32, u32),
    /// Bytes read.
    pub read_bytes: Limit,
    /// Bytes written.
    pub write_bytes: Limit,
    /// Reads.
    pub reads: Limit,
    /// Writes.
    pub writes: Limit,
}

impl IoMax {
    /// No limit on a disk, which the kernel does not list.
    #[must_use]
    pub const fn none(disk: (u32, u32)) -> Self {
        let none = Limit::None;
        Self { disk, read_bytes: none, write_bytes: none, reads: none, writes: none }
    }

    /// The line about a disk in a whole file, or that there is no limit.
    ///
    /// # Errors
    /// With the line that has not its form.
    pub fn of(text: &str, disk: (u32, u32)) -> Result<Self, OddText> {
        let lines = text.lines().filter(|line| !line.trim().is_empty()).map(str::parse::<Self>);
        let found = lines.collect::<Result<Vec<_>, _>>()?.into_iter().find(|line| line.disk == disk);
        Ok(found.unwrap_or(Self::none(disk)))
    }
}

impl fmt::Display for IoMax {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { disk: (major, minor), read_bytes, write_bytes, reads, writes } = self;
        write!(f, "{major}:{minor} rbps={read_bytes} wbps={write_bytes} riops={reads} wiops={writes}")
    }
}

impl FromStr for IoMax {
    type Err = OddText;

    fn from_str(text: &str) -> Result<Self, OddText> {
        let expected = "`MAJOR:MINOR rbps=… wbps=… riops=… wiops=…`";
        let mut words = text.split_whitespace();
        let disk = words.next().and_then(disk).ok_or_else(|| odd(text, expected))?;
        let mut line = Self::none(disk);
        for word in words {
            let (key, value) = word.split_once('=').ok_or_else(|| odd(text, expected))?;
            let limit = value.parse()?;
            match key {
                "rbps" => line.read_bytes = limit,
                "wbps" => line.write_bytes = limit,
                "riops" => line.reads = limit,
                "wiops" => line.writes = limit,
                // A newer kernel may limit more.
                _ => {}
            }
        }
        Ok(line)
    }
}

/// `MAJOR:MINOR`.
fn disk(text: &str) -> Option<(u32, u32)> {
    let (major, minor) = text.split_once(':')?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// Version 1's `blkio.throttle.*_device`: the limit of one disk among its lines.
///
/// # Errors
/// With the line that has not its form.
pub(super) fn device_limit(text: &str, wanted: (u32, u32)) -> Result<Limit, OddText> {
    let expected = "`MAJOR:MINOR AMOUNT`";
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.split_whitespace();
        let found = words.next().and_then(disk).ok_or_else(|| odd(line, expected))?;
        let amount = words.next().and_then(|word| word.parse().ok()).ok_or_else(|| odd(line, expected))?;
        if found == wanted {
            return Ok(if amount == 0 { Limit::None } else { Limit::At(amount) });
        }
    }
    Ok(Limit::None)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn files_of_the_kernel_are_read() {
        let at = |quota| CpuMax { quota_us: Limit::At(quota), period_us: 100_000 };
        assert_eq!("50000 100000\n".parse(), Ok(at(50_000)));
        assert_eq!("max 100000\n".parse(), Ok(CpuMax { quota_us: Limit::None, period_us: 100_000 }));
        assert_eq!("0-3,8\n".parse(), Ok(NumberList(vec![0, 1, 2, 3, 8])));
        assert_eq!("\n".parse(), Ok(NumberList(vec![])));
        let io = "8:16 rbps=2097152 wbps=max riops=max wiops=120\n8:0 rbps=max wbps=1 riops=max wiops=max\n";
        let line = IoMax::of(io, (8, 16)).expect("it is there");
        assert_eq!((line.read_bytes, line.writes), (Limit::At(2_097_152), Limit::At(120)));
        assert_eq!(IoMax::of(io, (9, 0)), Ok(IoMax::none((9, 0))));
        assert_eq!(device_limit("8:0 1048576\n8:16 5\n", (8, 16)), Ok(Limit::At(5)));
    }

    #[test]
    fn what_is_none_of_them_is_named() {
        for text in ["", "x 100000", "5 0", "5 x", "-1 100000"] {
            assert!(text.parse::<CpuMax>().is_err(), "{text}");
        }
        for text in ["a", "3-1", "1-", "-", "0-99999999", "4294967295"] {
            assert!(text.parse::<NumberList>().is_err(), "{text}");
        }
        for text in ["8 rbps=1", "8:0 rbps", "8:0 rbps=x", "x:y rbps=1"] {
            assert!(text.parse::<IoMax>().is_err(), "{text}");
        }
        let long = "x".repeat(1 << 20).parse::<Limit>().expect_err("it is no number");
        assert!(long.to_string().len() < 200);
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            quota in prop_oneof![Just(Limit::None), any::<u64>().prop_map(Limit::At)],
            period in 1..u64::MAX,
            numbers in proptest::collection::btree_set(0..MOST_NUMBERS, 0..40),
            disk in any::<(u32, u32)>(),
        ) {
            let max = CpuMax { quota_us: quota, period_us: period };
            prop_assert_eq!(max.to_string().parse(), Ok(max));
            let list = NumberList(numbers.into_iter().collect());
            prop_assert_eq!(list.to_string().parse(), Ok(list));
            let io = IoMax { read_bytes: quota, writes: Limit::At(period), ..IoMax::none(disk) };
            prop_assert_eq!(io.to_string().parse(), Ok(io));
            let (major, minor) = disk;
            let lines = format!("{major}:{} 7\n{major}:{minor} {period}\n", minor ^ 1);
            prop_assert_eq!(device_limit(&lines, disk), Ok(Limit::At(period)));
            prop_assert_eq!(quota.to_string().parse(), Ok(quota));
        }

        #[test]
        fn no_text_is_too_odd(text in "\\PC{0,80}|([0-9]{1,6}[-, :=.]){0,20}") {
            let _ = (text.parse::<CpuMax>(), text.parse::<NumberList>());
            let _ = (IoMax::of(&text, (8, 0)), device_limit(&text, (8, 0)));
        }
    }
}
