//! Series thinned out to a fixed number of points, and their form in the page.

/// Letters for numbers, in order; none of them means anything in JSON, HTML or a script.
const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/// How many entries become one, so that at most `most` remain.
pub(super) fn stride(len: usize, most: usize) -> usize {
    len.div_ceil(most.max(1)).max(1)
}

/// The mean of each `stride` entries.
pub(super) fn thin<T: Copy + Into<f64>>(values: &[T], stride: usize) -> Vec<f64> {
    values
        .chunks(stride.max(1))
        .map(|chunk| {
            #[allow(clippy::cast_precision_loss)]
            let count = chunk.len() as f64;
            chunk.iter().map(|value| (*value).into()).sum::<f64>() / count
        })
        .collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn level(value: f64, most: f64, levels: f64) -> usize {
    let share = if most > 0.0 { (value / most).clamp(0.0, 1.0) } else { 0.0 };
    // A value that is no number counts as nothing.
    (share * (levels - 1.0)).round().max(0.0) as usize
}

/// One letter for each value between 0 and 1, in 64 levels.
pub(super) fn letters(values: &[f64]) -> String {
    values.iter().map(|value| char::from(LETTERS[level(*value, 1.0, 64.0).min(63)])).collect()
}

/// Two letters for each value between 0 and `most`, in 4,096 levels.
pub(super) fn pairs(values: &[f64], most: f64) -> String {
    let mut out = String::with_capacity(2 * values.len());
    for value in values {
        let level = level(*value, most, 4096.0).min(4095);
        out.push(char::from(LETTERS[level / 64]));
        out.push(char::from(LETTERS[level % 64]));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_series_keeps_its_mean_and_its_ends() {
        let thinned = thin(&[1.0_f32, 3.0, 5.0, 7.0, 9.0], stride(5, 3));
        assert_eq!(thinned, [2.0, 6.0, 9.0]);
        assert_eq!(stride(1440, 360), 4);
        assert_eq!(stride(0, 360), 1);
        assert_eq!(letters(&[0.0, 1.0, f64::NAN, 7.0]), "A_A_");
        assert_eq!(pairs(&[0.0, 5.0], 5.0), "AA__");
    }
}
