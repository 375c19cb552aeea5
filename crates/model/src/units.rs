//! Physical quantities as types, so that bytes are never added to bytes per second.
//!
//! Each quantity is an integer in its smallest unit, which keeps sums exact and runs reproducible.
//! Text forms are what a person writes in a host file: `64GiB`, `3.9GB/s`, `2500m`, `x16`, `16GT/s`.

use std::fmt;
use std::iter::Sum;
use std::ops::{Add, AddAssign, Sub, SubAssign};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Why a quantity could not be read from text.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is not {expected}")]
pub struct ParseQuantityError {
    text: String,
    expected: &'static str,
}

impl ParseQuantityError {
    pub(crate) fn new(text: &str, expected: &'static str) -> Self {
        // A hostile file may hold a value of any length.
        Self { text: text.chars().take(60).collect(), expected }
    }
}

macro_rules! text_form {
    ($name:ident) => {
        impl serde::Serialize for $name {
            fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }
        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <String as serde::Deserialize>::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    };
}
pub(crate) use text_form;

macro_rules! quantity {
    ($(#[$doc:meta])* $name:ident($raw:ty)) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name($raw);

        impl $name {
            /// None of it.
            pub const ZERO: Self = Self(0);
            /// More than any machine has.
            pub const MAX: Self = Self(<$raw>::MAX);

            /// The amount in the smallest unit.
            #[must_use]
            pub const fn get(self) -> $raw {
                self.0
            }

            /// Whether there is none.
            #[must_use]
            pub const fn is_zero(self) -> bool {
                self.0 == 0
            }

            /// The amount as a float, for arithmetic that rounds anyway.
            #[must_use]
            #[allow(clippy::cast_precision_loss, clippy::cast_lossless)]
            pub const fn as_f64(self) -> f64 {
                self.0 as f64
            }

            /// The nearest amount; anything that is not a positive finite number becomes zero.
            #[must_use]
            #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
            pub fn from_f64(raw: f64) -> Self {
                // A float cast saturates and sends NaN to zero.
                Self(libm::round(raw) as $raw)
            }

            /// `self - other`, but never below zero.
            #[must_use]
            pub const fn saturating_sub(self, other: Self) -> Self {
                Self(self.0.saturating_sub(other.0))
            }

            /// Rounded down to a multiple of `step`.
            #[must_use]
            pub const fn floor_to(self, step: Self) -> Self {
                if step.0 == 0 { self } else { Self(self.0 - self.0 % step.0) }
            }
        }

        // Sums saturate: a hostile file may hold amounts whose sum does not fit.
        impl Add for $name {
            type Output = Self;
            fn add(self, other: Self) -> Self {
                Self(self.0.saturating_add(other.0))
            }
        }
        impl AddAssign for $name {
            fn add_assign(&mut self, other: Self) {
                *self = *self + other;
            }
        }
        impl Sub for $name {
            type Output = Self;
            fn sub(self, other: Self) -> Self {
                debug_assert!(self.0 >= other.0, "{self} - {other} is below zero");
                self.saturating_sub(other)
            }
        }
        impl SubAssign for $name {
            fn sub_assign(&mut self, other: Self) {
                *self = *self - other;
            }
        }
        impl Sum for $name {
            fn sum<I: Iterator<Item = Self>>(amounts: I) -> Self {
                amounts.fold(Self::ZERO, Add::add)
            }
        }
        text_form!($name);
    };
}

quantity! {
    /// CPU time per wall time, in thousandths of one core.
    MilliCpu(u64)
}
quantity! {
    /// An amount of memory or data, in bytes.
    ByteSize(u64)
}
quantity! {
    /// A data rate, in bytes per second.
    Bandwidth(u64)
}

impl MilliCpu {
    /// Whole cores.
    #[must_use]
    pub const fn cores(cores: u64) -> Self {
        Self(cores.saturating_mul(1000))
    }

    /// Thousandths of a core.
    #[must_use]
    pub const fn new(milli: u64) -> Self {
        Self(milli)
    }
}

impl ByteSize {
    /// Bytes.
    #[must_use]
    pub const fn new(bytes: u64) -> Self {
        Self(bytes)
    }

    /// Mebibytes.
    #[must_use]
    pub const fn mib(mib: u64) -> Self {
        Self(mib.saturating_mul(1 << 20))
    }

    /// Gibibytes.
    #[must_use]
    pub const fn gib(gib: u64) -> Self {
        Self(gib.saturating_mul(1 << 30))
    }
}

impl Bandwidth {
    /// Bytes per second.
    #[must_use]
    pub const fn new(bytes_per_s: u64) -> Self {
        Self(bytes_per_s)
    }

    /// Decimal megabytes per second.
    #[must_use]
    pub const fn mb_per_s(mb: u64) -> Self {
        Self(mb.saturating_mul(1_000_000))
    }

    /// Decimal gigabytes per second.
    #[must_use]
    pub const fn gb_per_s(gb: u64) -> Self {
        Self(gb.saturating_mul(1_000_000_000))
    }
}

const BINARY: &[(&str, u64)] =
    &[("TiB", 1 << 40), ("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10), ("B", 1)];
const DECIMAL: &[(&str, u64)] =
    &[("TB", 1_000_000_000_000), ("GB", 1_000_000_000), ("MB", 1_000_000), ("kB", 1000)];

impl fmt::Display for MilliCpu {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_multiple_of(1000) { write!(f, "{}", self.0 / 1000) } else { write!(f, "{}m", self.0) }
    }
}

impl fmt::Display for ByteSize {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_scaled(f, self.0, BINARY)
    }
}

impl fmt::Display for Bandwidth {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (amount, unit) = exact_unit(self.0, DECIMAL).unwrap_or((self.0, "B"));
        write!(f, "{amount}{unit}/s")
    }
}

fn exact_unit(raw: u64, units: &[(&'static str, u64)]) -> Option<(u64, &'static str)> {
    units
        .iter()
        .find(|(_, scale)| raw != 0 && raw.is_multiple_of(*scale))
        .map(|(unit, scale)| (raw / scale, *unit))
}

fn write_scaled(f: &mut fmt::Formatter<'_>, raw: u64, units: &[(&'static str, u64)]) -> fmt::Result {
    let (amount, unit) = exact_unit(raw, units).unwrap_or((raw, "B"));
    write!(f, "{amount}{unit}")
}

/// Splits `12.5GiB` into its number and its unit; the number is finite and not negative.
fn split_number(text: &str) -> Option<(f64, &str)> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let number: f64 = text[..end].parse().ok()?;
    number.is_finite().then(|| (number, text[end..].trim()))
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn parse_scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (number, unit) = split_number(text)?;
    let (_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let raw = libm::round(number * *scale as f64);
    (raw < u64::MAX as f64).then_some(raw as u64)
}

impl FromStr for MilliCpu {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, &[("", 1000), ("m", 1)])
            .map(Self)
            .ok_or_else(|| ParseQuantityError::new(text, "a CPU amount such as `2`, `1.5` or `1500m`"))
    }
}

impl FromStr for ByteSize {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        parse_scaled(text, BINARY)
            .or_else(|| parse_scaled(text, DECIMAL))
            .map(Self)
            .ok_or_else(|| ParseQuantityError::new(text, "a size such as `512MiB` or `64GiB`"))
    }
}

impl FromStr for Bandwidth {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim()
            .strip_suffix("/s")
            .and_then(|amount| parse_scaled(amount, DECIMAL).or_else(|| parse_scaled(amount, BINARY)))
            .map(Self)
            .ok_or_else(|| ParseQuantityError::new(text, "a rate such as `800MB/s` or `38.4GB/s`"))
    }
}

/// The width of a PCIe or CXL link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Lanes(u8);

impl Lanes {
    /// Every width that a link may train at here (PCI Express Base Specification, Link Capabilities;
    /// x12 and x32 exist on paper and are left out, as no current part trains at them).
    pub const LEGAL: [Self; 5] = [Self(1), Self(2), Self(4), Self(8), Self(16)];

    /// A legal width, or nothing.
    #[must_use]
    pub fn new(lanes: u8) -> Option<Self> {
        Self::LEGAL.into_iter().find(|legal| legal.0 == lanes)
    }

    /// A width read from outside, legal or not: the checker judges it.
    #[must_use]
    pub const fn unchecked(lanes: u8) -> Self {
        Self(lanes)
    }

    /// The number of lanes.
    #[must_use]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// Whether a link may train at this width.
    #[must_use]
    pub fn is_legal(self) -> bool {
        Self::LEGAL.contains(&self)
    }
}

impl fmt::Display for Lanes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "x{}", self.0)
    }
}

impl FromStr for Lanes {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        text.trim()
            .strip_prefix('x')
            .and_then(|digits| digits.parse().ok())
            .and_then(Self::new)
            .ok_or_else(|| ParseQuantityError::new(text, "a link width: x1, x2, x4, x8 or x16"))
    }
}
text_form!(Lanes);

/// The signalling rate of a PCIe or CXL link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)]
pub enum LinkSpeed {
    Gen1,
    Gen2,
    Gen3,
    Gen4,
    Gen5,
    Gen6,
}

impl LinkSpeed {
    /// From slowest to fastest.
    pub const ALL: [Self; 6] = [Self::Gen1, Self::Gen2, Self::Gen3, Self::Gen4, Self::Gen5, Self::Gen6];

    /// The text form, the rate per lane in GT/s.
    #[must_use]
    pub const fn gt_s(self) -> &'static str {
        match self {
            Self::Gen1 => "2.5GT/s",
            Self::Gen2 => "5GT/s",
            Self::Gen3 => "8GT/s",
            Self::Gen4 => "16GT/s",
            Self::Gen5 => "32GT/s",
            Self::Gen6 => "64GT/s",
        }
    }

    /// Bytes per second of one lane in one direction after line coding: 8b/10b for the first two
    /// generations, 128b/130b for the next three, FLIT mode with its 242 of 256 bytes for the sixth
    /// (PCI Express Base Specification 6.0, sections 4.2 and 4.2.3.4).
    #[must_use]
    pub const fn lane_bandwidth(self) -> Bandwidth {
        Bandwidth(match self {
            Self::Gen1 => 250_000_000,
            Self::Gen2 => 500_000_000,
            Self::Gen3 => 984_615_384,
            Self::Gen4 => 1_969_230_769,
            Self::Gen5 => 3_938_461_538,
            Self::Gen6 => 7_562_500_000,
        })
    }

    /// What a link of this speed and `width` carries in one direction.
    #[must_use]
    pub const fn bandwidth(self, width: Lanes) -> Bandwidth {
        Bandwidth(self.lane_bandwidth().0 * width.0 as u64)
    }
}

impl fmt::Display for LinkSpeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.gt_s())
    }
}

impl FromStr for LinkSpeed {
    type Err = ParseQuantityError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::ALL.into_iter().find(|speed| speed.gt_s() == text.trim()).ok_or_else(|| {
            ParseQuantityError::new(text, "a link speed: 2.5GT/s, 5GT/s, 8GT/s, 16GT/s, 32GT/s or 64GT/s")
        })
    }
}
text_form!(LinkSpeed);

/// How much a VM counts against its neighbours, 1 to 10,000 as in cgroup v2's `cpu.weight`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "u32", into = "u32")]
pub struct Weight(u32);

impl Weight {
    /// What a VM has unless told otherwise.
    pub const DEFAULT: Self = Self(100);

    /// A weight in range, or nothing.
    #[must_use]
    pub const fn new(weight: u32) -> Option<Self> {
        if weight >= 1 && weight <= 10_000 { Some(Self(weight)) } else { None }
    }

    /// The raw weight.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The raw weight as a float.
    #[must_use]
    pub fn as_f64(self) -> f64 {
        f64::from(self.0)
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self::DEFAULT
    }
}

impl TryFrom<u32> for Weight {
    type Error = ParseQuantityError;
    fn try_from(weight: u32) -> Result<Self, Self::Error> {
        Self::new(weight).ok_or_else(|| ParseQuantityError {
            text: weight.to_string(),
            expected: "a weight from 1 to 10000",
        })
    }
}

impl From<Weight> for u32 {
    fn from(weight: Weight) -> Self {
        weight.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_round_trip_through_text() {
        for text in ["512MiB", "64GiB", "3B", "0B"] {
            assert_eq!(text.parse::<ByteSize>().unwrap().to_string(), text);
        }
        for text in ["800MB/s", "38400MB/s", "7B/s"] {
            assert_eq!(text.parse::<Bandwidth>().unwrap().to_string(), text);
        }
        for text in ["2", "1500m"] {
            assert_eq!(text.parse::<MilliCpu>().unwrap().to_string(), text);
        }
        assert_eq!("1.5".parse::<MilliCpu>().unwrap(), MilliCpu::new(1500));
        assert_eq!("38.4GB/s".parse::<Bandwidth>().unwrap(), Bandwidth::mb_per_s(38_400));
    }

    #[test]
    fn nonsense_is_refused_with_the_text_in_the_message() {
        for text in ["", "-1GiB", "NaN", "1e400GiB", "99999999999999TiB", "1.2.3GiB", "4 GHz", "∞"] {
            let error = text.parse::<ByteSize>().unwrap_err();
            assert!(error.to_string().contains(text), "{error}");
        }
        assert!("x3".parse::<Lanes>().is_err());
        assert!("7GT/s".parse::<LinkSpeed>().is_err());
        assert!(Weight::try_from(0).is_err());
    }

    #[test]
    fn floats_that_are_not_amounts_become_zero_or_saturate() {
        assert_eq!(ByteSize::from_f64(f64::NAN), ByteSize::ZERO);
        assert_eq!(ByteSize::from_f64(-1.0), ByteSize::ZERO);
        assert_eq!(ByteSize::from_f64(f64::INFINITY), ByteSize::MAX);
    }

    #[test]
    fn a_gen4_x16_link_carries_31_5_gb_per_s() {
        let width = Lanes::new(16).unwrap();
        assert_eq!(LinkSpeed::Gen4.bandwidth(width).get() / 100_000_000, 315);
    }
}
