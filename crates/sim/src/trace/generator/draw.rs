//! Random numbers that are the same on every machine, and the copula that joins a VM's traits.

use rand::{Rng, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::parameters::{TRAITS, Trait};

/// A lower-triangular factor of a correlation matrix.
pub(super) type Factor = [[f64; TRAITS]; TRAITS];

/// A stream of random numbers.
pub(super) struct Draw(Pcg64Mcg);

impl Draw {
    pub(super) fn new(seed: u64) -> Self {
        Self(Pcg64Mcg::seed_from_u64(seed))
    }

    /// From 0 (inclusive) to 1 (exclusive), with 53 random bits.
    #[allow(clippy::cast_precision_loss)]
    pub(super) fn uniform(&mut self) -> f64 {
        (self.0.next_u64() >> 11) as f64 / (1_u64 << 53) as f64
    }

    /// Of mean 0 and variance 1 (Box and Muller 1958; the second of each pair is not used).
    pub(super) fn normal(&mut self) -> f64 {
        let (radius, angle) = (1.0 - self.uniform(), self.uniform());
        (-2.0 * libm::log(radius)).sqrt() * libm::cos(std::f64::consts::TAU * angle)
    }
}

/// Correlated ranks from 0 to 1, one for each trait.
pub(super) fn ranks(factor: &Factor, draw: &mut Draw) -> [f64; TRAITS] {
    let independent: [f64; TRAITS] = std::array::from_fn(|_| draw.normal());
    factor.map(|row| {
        let joined: f64 = row.iter().zip(independent).map(|(weight, normal)| weight * normal).sum();
        0.5 * libm::erfc(-joined / std::f64::consts::SQRT_2)
    })
}

/// The value at `rank` (0 to 1) of a table of quantiles at equal distances.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(super) fn quantile(table: &[f64], rank: f64) -> f64 {
    let Some(last) = table.len().checked_sub(1) else { return 0.0 };
    let place = rank.clamp(0.0, 1.0) * last as f64;
    let below = place as usize;
    let above = (below + 1).min(last);
    table[below] + (table[above] - table[below]) * (place - below as f64)
}

/// The Cholesky factor; where the matrix is not quite positive, the row keeps what variance is left.
pub(super) fn factor(correlation: &[[f64; TRAITS]; TRAITS]) -> Factor {
    let mut factor = [[0.0; TRAITS]; TRAITS];
    for row in 0..TRAITS {
        for column in 0..=row {
            let dot: f64 = (0..column).map(|k| factor[row][k] * factor[column][k]).sum();
            let rest = correlation[row][column] - dot;
            factor[row][column] = if row == column {
                rest.max(0.0).sqrt()
            } else if factor[column][column] > 1e-9 {
                rest / factor[column][column]
            } else {
                0.0
            };
        }
        // Every trait keeps variance 1, also after a rest was cut off above.
        let norm = factor[row].iter().map(|weight| weight * weight).sum::<f64>().sqrt();
        factor[row].iter_mut().for_each(|weight| *weight /= norm.max(1e-9));
    }
    factor
}

/// For tests and the fit: every trait by its index.
pub(super) const ALL: [Trait; TRAITS] = Trait::ALL;
