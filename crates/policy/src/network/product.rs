//! Products of matrices, with the same result on every machine.
//!
//! Each element is a sum in the order of its terms, and no multiplication is fused with an addition:
//! wide registers hold neighbouring elements, never parts of one sum. So it does not matter how wide they
//! are.

use pulp::Arch;

/// Columns that are worked on together.
const WIDE: usize = 16;
/// Rows that are.
const HIGH: usize = 4;

/// A matrix whose columns are packed for [`Packed::multiply`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Packed {
    rows: usize,
    columns: usize,
    /// Panels of [`WIDE`] columns; the last is filled up with zeros.
    panels: Vec<f32>,
}

/// Where an element of the left factor is: at `row · across + term · along`.
#[derive(Debug, Clone, Copy)]
pub struct Strides {
    /// From one row to the next.
    pub across: usize,
    /// From one term of a sum to the next.
    pub along: usize,
}

impl Packed {
    /// Packs a matrix; `at` gives the element in a row and a column.
    pub fn pack(&mut self, rows: usize, columns: usize, at: impl Fn(usize, usize) -> f32) {
        (self.rows, self.columns) = (rows, columns);
        self.panels.clear();
        for panel in 0..columns.div_ceil(WIDE) {
            for row in 0..rows {
                let of = |column: usize| if column < columns { at(row, column) } else { 0.0 };
                self.panels.extend((panel * WIDE..(panel + 1) * WIDE).map(of));
            }
        }
    }

    /// Adds the product of a matrix of `height` rows with this one to `sum`, which has a row of this
    /// one's columns for each. `left` must hold all elements that `strides` lead to.
    pub fn multiply(&self, left: &[f32], strides: Strides, height: usize, sum: &mut [f32]) {
        if height == 0 || self.rows == 0 || self.columns == 0 {
            return;
        }
        assert!((height - 1) * strides.across + (self.rows - 1) * strides.along < left.len());
        assert!(sum.len() >= height * self.columns);
        // Compiled again for each width of registers; which of them runs is found out once.
        Arch::new().dispatch(|| self.multiply_any(left, strides, height, sum));
    }

    #[inline(always)]
    fn multiply_any(&self, left: &[f32], strides: Strides, height: usize, sum: &mut [f32]) {
        for (place, panel) in self.panels.chunks_exact(self.rows * WIDE).enumerate() {
            let columns = place * WIDE..((place + 1) * WIDE).min(self.columns);
            let mut row = 0;
            while row + HIGH <= height {
                let from = row * strides.across;
                let parts = block::<HIGH>(panel, &left[from..], strides);
                for (high, part) in parts.iter().enumerate() {
                    add(part, &mut sum[(row + high) * self.columns..][columns.clone()]);
                }
                row += HIGH;
            }
            while row < height {
                let [part] = block::<1>(panel, &left[row * strides.across..], strides);
                add(&part, &mut sum[row * self.columns..][columns.clone()]);
                row += 1;
            }
        }
    }
}

#[inline(always)]
fn block<const ROWS: usize>(panel: &[f32], left: &[f32], strides: Strides) -> [[f32; WIDE]; ROWS] {
    let mut sums = [[0.0; WIDE]; ROWS];
    for (term, factors) in panel.chunks_exact(WIDE).enumerate() {
        for (row, sums) in sums.iter_mut().enumerate() {
            let value = left[row * strides.across + term * strides.along];
            for (sum, factor) in sums.iter_mut().zip(factors) {
                *sum += value * factor;
            }
        }
    }
    sums
}

#[inline(always)]
fn add(part: &[f32; WIDE], sum: &mut [f32]) {
    sum.iter_mut().zip(part).for_each(|(sum, part)| *sum += part);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wide_and_narrow_come_to_the_same_bits_and_to_the_product() {
        for (height, terms, columns) in [(1, 1, 1), (5, 7, 3), (9, 33, 16), (4, 64, 50), (3, 130, 17)] {
            let left: Vec<f32> = (0..height * terms).map(|i| libm::sinf(i as f32) * 3.0).collect();
            let right = |row: usize, column: usize| libm::cosf((row * 31 + column) as f32);
            let mut packed = Packed::default();
            packed.pack(terms, columns, right);
            let strides = Strides { across: terms, along: 1 };
            let (mut fast, mut plain) = (vec![1.0; height * columns], vec![1.0; height * columns]);
            packed.multiply(&left, strides, height, &mut fast);
            packed.multiply_any(&left, strides, height, &mut plain);
            assert_eq!(fast, plain);
            for row in 0..height {
                for column in 0..columns {
                    let exact: f64 = (0..terms)
                        .map(|term| f64::from(left[row * terms + term]) * f64::from(right(term, column)))
                        .sum();
                    assert!((f64::from(fast[row * columns + column]) - 1.0 - exact).abs() < 1e-4);
                }
            }
        }
    }

    #[test]
    fn the_left_factor_may_lie_on_its_side() {
        let (left, mut packed, mut sum) = ([1.0, 2.0, 3.0, 4.0, 5.0, 6.0], Packed::default(), [0.0; 2]);
        packed.pack(3, 1, |_, _| 1.0);
        packed.multiply(&left, Strides { across: 1, along: 2 }, 2, &mut sum);
        assert_eq!(sum, [9.0, 12.0]);
    }
}
