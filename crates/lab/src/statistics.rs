//! Means and what can be said of them from a few scenarios.

/// Two-sided 95 % points of Student's t for 1 to 30 degrees of freedom (any table).
const STUDENT: [f64; 30] = [
    12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228, 2.201, 2.179, 2.160, 2.145, 2.131,
    2.120, 2.110, 2.101, 2.093, 2.086, 2.080, 2.074, 2.069, 2.064, 2.060, 2.056, 2.052, 2.048, 2.045, 2.042,
];

/// The same for more degrees of freedom, each for as many and up to the next: on the wide side.
const STUDENT_BEYOND: [(usize, f64); 4] = [(120, 1.980), (60, 2.000), (40, 2.021), (0, 2.042)];

fn student(degrees: usize) -> f64 {
    let beyond = || STUDENT_BEYOND.iter().find(|(from, _)| degrees >= *from).map_or(2.042, |(_, t)| *t);
    STUDENT.get(degrees.saturating_sub(1)).copied().unwrap_or_else(beyond)
}

/// The arithmetic mean; 0 of nothing.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}

/// The 5th percentile by nearest rank; 0 of nothing.
#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)]
pub(crate) fn p5(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let rank = (0.05 * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied().unwrap_or(0.0)
}

/// Half the width of the 95 % confidence interval of the mean; nothing where one value says nothing.
#[allow(clippy::cast_precision_loss)]
pub(crate) fn half_width(values: &[f64]) -> Option<f64> {
    let (count, middle) = (values.len(), mean(values));
    if count < 2 {
        return None;
    }
    let squares: f64 = values.iter().map(|value| (value - middle) * (value - middle)).sum();
    Some(student(count - 1) * (squares / (count - 1) as f64 / count as f64).sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_is_that_of_student() {
        assert_eq!(half_width(&[0.5]), None);
        assert!((half_width(&[0.5, 0.52]).unwrap() - 12.706 * 0.01).abs() < 1e-9);
        assert!((student(30) - 2.042).abs() < 1e-9 && (student(31) - 2.042).abs() < 1e-9);
        assert!((student(45) - 2.021).abs() < 1e-9 && (student(5000) - 1.980).abs() < 1e-9);
    }

    #[test]
    fn the_percentile_is_by_nearest_rank() {
        let values: Vec<f64> = (1..=40).rev().map(f64::from).collect();
        assert!((p5(&values) - 2.0).abs() < 1e-9);
        assert!((p5(&values[..19]) - 22.0).abs() < 1e-9, "of nineteen, the lowest");
        assert!((p5(&[]) - 0.0).abs() < 1e-9);
    }
}
