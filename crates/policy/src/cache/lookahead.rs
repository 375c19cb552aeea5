//! The lookahead algorithm of utility-based cache partitioning.

/// Divides `ways` among groups, each with at least `least`: again and again the group that gains most for
/// each way, however many it takes for that, gets so many. That way a curve that is flat first and falls
/// later is seen (Qureshi and Patt, MICRO 2006, algorithm 2). What nobody gains from goes to those with
/// the fewest.
///
/// `curves` hold the cost of each number of ways from none to all. The first of equals wins.
pub(crate) fn lookahead(curves: &[Vec<f64>], ways: u32, least: u32) -> Vec<u32> {
    let mut given = vec![least; curves.len()];
    let mut left = ways.saturating_sub(given.iter().sum());
    while left > 0 {
        let mut best = (0.0, 0, 0);
        for (group, curve) in curves.iter().enumerate() {
            for more in 1..=left {
                let gain = (cost(curve, given[group]) - cost(curve, given[group] + more)) / f64::from(more);
                if gain > best.0 {
                    best = (gain, group, more);
                }
            }
        }
        let (_, group, more) = best;
        if more == 0 {
            break;
        }
        given[group] += more;
        left -= more;
    }
    while left > 0 && !given.is_empty() {
        if let Some(fewest) = given.iter_mut().min() {
            *fewest += 1;
        }
        left -= 1;
    }
    given
}

fn cost(curve: &[f64], ways: u32) -> f64 {
    curve.get(ways as usize).or(curve.last()).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(values: &[f64]) -> Vec<f64> {
        values.to_vec()
    }

    #[test]
    fn the_most_useful_ways_are_given_first() {
        let steep = curve(&[100.0, 60.0, 30.0, 10.0, 5.0, 4.0, 4.0, 4.0, 4.0]);
        let slow = curve(&[50.0, 48.0, 46.0, 44.0, 42.0, 40.0, 38.0, 36.0, 34.0]);
        let flat = curve(&[70.0; 9]);
        assert_eq!(lookahead(&[steep, slow, flat], 8, 1), [4, 3, 1]);
    }

    #[test]
    fn a_curve_that_falls_late_is_seen() {
        // Nothing for three ways, and all at the fourth: greedy steps would never get there.
        let cliff = curve(&[100.0, 100.0, 100.0, 100.0, 0.0, 0.0, 0.0, 0.0, 0.0]);
        let slope = curve(&[80.0, 70.0, 60.0, 50.0, 40.0, 30.0, 20.0, 10.0, 0.0]);
        assert_eq!(lookahead(&[cliff, slope], 8, 1), [4, 4]);
    }

    #[test]
    fn all_ways_are_given_out_even_where_nobody_gains() {
        assert_eq!(lookahead(&[vec![1.0; 12], vec![1.0; 12]], 11, 2), [6, 5]);
        assert_eq!(lookahead(&[vec![f64::NAN; 12]], 11, 1), [11]);
        assert!(lookahead(&[], 11, 1).is_empty());
    }
}
