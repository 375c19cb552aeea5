//! Numbers and times of text formats, refused with a message that says what they should be.

use std::time::Duration;

use super::error::Problem;
use super::limits::MAX_TIME;
use super::progress::Progress;

/// Above this share of a VM's CPU the unit must be another one, not a clock that boosts.
const MAX_OVERSHOOT: f64 = 10.0;
/// Below zero by less than this is rounding of a sum of counters.
const NOISE: f64 = 1e-3;

/// A finite number.
pub(crate) fn number(raw: &[u8], what: &str) -> Result<f64, Problem> {
    std::str::from_utf8(raw)
        .ok()
        .and_then(|text| text.trim_ascii().parse::<f64>().ok())
        .filter(|number| number.is_finite())
        .ok_or_else(|| Problem::field(raw, format!("{what}, a finite number")))
}

/// A finite number that is not negative.
pub(crate) fn amount(raw: &[u8], what: &str) -> Result<f64, Problem> {
    let amount = number(raw, what)?;
    if amount < 0.0 {
        return Err(Problem::field(raw, format!("{what}, a number that is not negative")));
    }
    Ok(amount)
}

/// A whole number of bytes from a number that may be written with a fraction.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, clippy::cast_precision_loss)]
pub(crate) fn bytes(raw: &[u8], scale: f64, what: &str) -> Result<u64, Problem> {
    let bytes = libm::round(amount(raw, what)? * scale);
    if bytes >= u64::MAX as f64 {
        return Err(Problem::field(raw, format!("{what} below 2^64 bytes")));
    }
    Ok(bytes as u64)
}

/// A share of a whole out of `number / full`; what a boosted clock adds above the whole is cut off.
pub(crate) fn share(number: f64, full: f64, progress: &Progress) -> Option<f64> {
    let share = number / full;
    if (0.0..=1.0).contains(&share) {
        return Some(share);
    }
    if (-NOISE..0.0).contains(&share) {
        progress.note("values just below zero, taken as zero");
        return Some(0.0);
    }
    if (1.0..=MAX_OVERSHOOT).contains(&share) {
        progress.note("values above the VM's capacity, cut to all of it");
        return Some(1.0);
    }
    None
}

/// A percentage as a share.
pub(crate) fn percent(raw: &[u8], what: &str, progress: &Progress) -> Result<f64, Problem> {
    let number = number(raw, what)?;
    share(number, 100.0, progress).ok_or_else(|| Problem::field(raw, format!("{what} in percent, 0 to 100")))
}

/// Seconds with an optional fraction, exact to the nanosecond.
pub(crate) fn seconds(raw: &[u8], what: &str) -> Result<Duration, Problem> {
    parse_seconds(raw.trim_ascii())
        .filter(|time| *time <= MAX_TIME)
        .ok_or_else(|| Problem::field(raw, format!("{what} in seconds, 0 to {}", MAX_TIME.as_secs())))
}

fn parse_seconds(raw: &[u8]) -> Option<Duration> {
    let point = raw.iter().position(|byte| *byte == b'.');
    let (whole, fraction) = point.map_or((raw, &b""[..]), |at| (&raw[..at], &raw[at + 1..]));
    // Digits beyond nanoseconds are dropped; a stamp such as 12.3000000000 is common.
    let (mut nanos, mut scale) = (0, 100_000_000);
    for byte in fraction {
        nanos += digit(*byte)? * scale;
        scale /= 10;
    }
    if whole.is_empty() || whole.len() > 11 {
        return None;
    }
    let secs = whole.iter().try_fold(0_u64, |sum, byte| Some(sum * 10 + digit(*byte)?))?;
    Some(Duration::new(secs, u32::try_from(nanos).ok()?))
}

fn digit(byte: u8) -> Option<u64> {
    byte.is_ascii_digit().then(|| u64::from(byte - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_exact_to_the_nanosecond() {
        assert_eq!(seconds(b"12.000000001", "t").unwrap(), Duration::new(12, 1));
        assert_eq!(seconds(b"1662858720.0", "t").unwrap(), Duration::from_secs(1_662_858_720));
        assert_eq!(seconds(b"0.5000000000000", "t").unwrap(), Duration::from_millis(500));
        for bad in ["", ".", ".5", "-1", "1e3", "NaN", "1.5x", "99999999999", "10000000000.1"] {
            assert!(seconds(bad.as_bytes(), "t").is_err(), "{bad}");
        }
    }
}
