//! Random numbers and roundings that come out alike on every machine.

use std::time::Duration;

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg32;

/// A generator for one purpose: drawing more for one changes nothing for another.
pub(super) fn stream(seed: u64, purpose: u64) -> Pcg32 {
    let mut bytes = [0; 16];
    bytes[..8].copy_from_slice(&seed.to_le_bytes());
    // The generator takes no notice of the lowest bit of its stream.
    bytes[8..].copy_from_slice(&(purpose << 1).to_le_bytes());
    Pcg32::from_seed(bytes)
}

/// From 0 up to, but not including, 1.
pub(super) fn uniform(random: &mut Pcg32) -> f64 {
    f64::from(random.next_u32()) / 4_294_967_296.0
}

/// From `low` up to `high`.
pub(super) fn between(random: &mut Pcg32, low: f64, high: f64) -> f64 {
    low + (high - low) * uniform(random)
}

/// A position in a list of so many.
pub(super) fn below(random: &mut Pcg32, count: usize) -> usize {
    random.next_u32() as usize % count.max(1)
}

/// The nearest number of four decimal digits: what a scenario's file has.
pub(super) fn round4(value: f64) -> f64 {
    if value == 0.0 || !value.is_finite() { 0.0 } else { format!("{value:.3e}").parse().unwrap_or(0.0) }
}

/// As [`round4`], in the precision of a demand.
#[allow(clippy::cast_possible_truncation)]
pub(super) fn round4_f32(value: f64) -> f32 {
    round4(value) as f32
}

/// Seconds to the nearest microsecond, at least one; at most an hour.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn micros(seconds: f64) -> Duration {
    Duration::from_micros(libm::round(seconds.min(3600.0) * 1e6).max(1.0) as u64)
}
