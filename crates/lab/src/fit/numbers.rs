//! Arithmetic that the fits share.

use halcyon_model::profile::FitError;

/// Rounded to six significant digits: what a profile states. Errors are those of the rounded figures.
pub(super) fn rounded(number: f64) -> f64 {
    format!("{number:.5e}").parse().unwrap_or(number)
}

/// Rounded to six decimals, so that shares that add up to one still do.
pub(super) fn share(number: f64) -> f64 {
    libm::round(number * 1e6) / 1e6
}

/// Median and worst of absolute errors, to four significant digits; nothing of none.
pub(super) fn spread(errors: &[f64]) -> Option<FitError> {
    let mut sorted = errors.to_vec();
    sorted.sort_by(f64::total_cmp);
    let short = |number: f64| format!("{number:.3e}").parse().unwrap_or(number);
    Some(FitError { median: short(median(&sorted)?), worst: short(*sorted.last()?) })
}

/// The middle of sorted numbers; nothing of none.
pub(super) fn median(sorted: &[f64]) -> Option<f64> {
    let upper = *sorted.get(sorted.len() / 2)?;
    let lower = sorted[(sorted.len() - 1) / 2];
    Some(f64::midpoint(lower, upper))
}

/// The line `base + slope · x` nearest to the points by relative distance, neither part below zero.
/// `unit` is the value below which distances count in units of it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Line {
    pub(super) base: f64,
    pub(super) slope: f64,
    /// Sum of the squared relative distances.
    pub(super) squares: f64,
}

pub(super) fn line(points: impl Iterator<Item = (f64, f64)> + Clone, unit: f64) -> Line {
    let (mut w, mut wx, mut wy, mut wxx, mut wxy) = (0.0, 0.0, 0.0, 0.0, 0.0);
    for (x, y) in points.clone() {
        let weight = 1.0 / (y.max(unit) * y.max(unit));
        w += weight;
        wx += weight * x;
        wy += weight * y;
        wxx += weight * x * x;
        wxy += weight * x * y;
    }
    let determinant = w * wxx - wx * wx;
    // With all x alike there is no slope to be found.
    let slope = if determinant > 1e-12 * w * wxx { (w * wxy - wx * wy) / determinant } else { 0.0 };
    let base = (wy - slope * wx) / w;
    let (base, slope) = match (base >= 0.0, slope >= 0.0) {
        (true, true) => (base, slope),
        (false, true) => (0.0, wxy / wxx),
        (_, false) => (wy / w, 0.0),
    };
    let distance = |(x, y): (f64, f64)| (base + slope * x - y) / y.max(unit);
    let squares = points.map(|point| distance(point) * distance(point)).sum();
    Line { base, slope, squares }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_and_never_falls_below_zero() {
        let exact = line([(1.0, 5.0), (2.0, 7.0), (3.0, 9.0)].into_iter(), 0.1);
        assert!((exact.base - 3.0).abs() < 1e-9 && (exact.slope - 2.0).abs() < 1e-9);
        let falling = line([(1.0, 5.0), (2.0, 3.0)].into_iter(), 0.1);
        assert!(falling.slope == 0.0 && falling.base > 3.0 && falling.base < 5.0);
        let steep = line([(1.0, 1.0), (2.0, 9.0)].into_iter(), 0.1);
        assert!(steep.base == 0.0 && steep.slope > 0.0);
    }

    #[test]
    fn spreads_and_medians() {
        assert_eq!(spread(&[]), None);
        assert_eq!(spread(&[0.3, 0.1]), Some(FitError { median: 0.2, worst: 0.3 }));
        assert_eq!(rounded(1_234_567.8), 1_234_570.0);
    }
}
