//! The gradient of a weight matrix, summed over rows in their order: the same bits on every machine.

use halcyon_policy::network::kernel::{LANES, TILE, load, store};
use pulp::{Simd, WithSimd};

/// Rows that are worked off together; both factors of so many fit in the second-level cache.
const BLOCK: usize = 192;

/// Both factors of a block, each so that the kernel reads it from front to back.
#[derive(Debug, Clone, Default)]
pub(super) struct Packed {
    panels: Vec<[f32; LANES]>,
    tile: Vec<f32>,
}

/// Adds `rowsᵀ · slopes` to `gradient`.
pub(super) struct WeightGradient<'a> {
    /// What went into the layer, row-major.
    pub(super) rows: &'a [f32],
    /// Columns of that.
    pub(super) inputs: usize,
    /// Gradient of what the layer summed up, row-major.
    pub(super) slopes: &'a [f32],
    /// Columns of that.
    pub(super) outputs: usize,
    /// Row-major `inputs` × `outputs`.
    pub(super) gradient: &'a mut [f32],
    /// Working memory.
    pub(super) packed: &'a mut Packed,
}

impl WithSimd for WeightGradient<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let rows = self.rows.chunks(BLOCK * self.inputs);
        for (rows, slopes) in rows.zip(self.slopes.chunks(BLOCK * self.outputs)) {
            self.pack_slopes(slopes);
            for first in (0..self.inputs).step_by(TILE) {
                match self.inputs - first {
                    1 => self.tile::<1>(rows, first),
                    2 => self.tile::<2>(rows, first),
                    3 => self.tile::<3>(rows, first),
                    4 => self.tile::<4>(rows, first),
                    5 => self.tile::<5>(rows, first),
                    _ => self.tile::<TILE>(rows, first),
                }
            }
        }
    }
}

impl WeightGradient<'_> {
    #[inline(always)]
    fn pack_slopes(&mut self, slopes: &[f32]) {
        let panels = &mut self.packed.panels;
        panels.clear();
        for first in (0..self.outputs).step_by(LANES) {
            let wide = LANES.min(self.outputs - first);
            panels.extend(slopes.chunks_exact(self.outputs).map(|row| {
                let mut lanes = [0.0; LANES];
                load(&mut lanes, &row[first..][..wide]);
                lanes
            }));
        }
    }

    /// `R` inputs from `first` on, with all outputs.
    #[inline(always)]
    fn tile<const R: usize>(&mut self, rows: &[f32], first: usize) {
        let Packed { panels, tile } = &mut *self.packed;
        tile.clear();
        for row in rows.chunks_exact(self.inputs) {
            tile.extend_from_slice(&row[first..][..R]);
        }
        let (tile, _) = tile.as_chunks::<R>();
        for (panel, column) in panels.chunks_exact(tile.len()).zip((0..self.outputs).step_by(LANES)) {
            let wide = LANES.min(self.outputs - column);
            let mut sums = [[0.0; LANES]; R];
            for (r, sums) in sums.iter_mut().enumerate() {
                load(sums, &self.gradient[(first + r) * self.outputs + column..][..wide]);
            }
            for (values, slopes) in tile.iter().zip(panel) {
                for r in 0..R {
                    for lane in 0..LANES {
                        sums[r][lane] += values[r] * slopes[lane];
                    }
                }
            }
            for (r, sums) in sums.iter().enumerate() {
                store(&mut self.gradient[(first + r) * self.outputs + column..][..wide], sums);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use halcyon_policy::network::kernel::Instructions;
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(32))]

        #[test]
        fn every_instruction_set_gives_the_bits_of_the_definition(
            count in 0_usize..150,
            inputs in 1_usize..30,
            outputs in 1_usize..40,
            pool in proptest::collection::vec(-4.0_f32..4.0, 61),
        ) {
            let draw = |many: usize, step: usize| -> Vec<f32> { (0..many).map(|i| pool[i * step % 61]).collect() };
            let (rows, slopes) = (draw(count * inputs, 7), draw(count * outputs, 11));
            let mut expected = draw(inputs * outputs, 3);
            let before = expected.clone();
            for (row, slopes) in rows.chunks_exact(inputs).zip(slopes.chunks_exact(outputs)) {
                for (gradient, value) in expected.chunks_exact_mut(outputs).zip(row) {
                    gradient.iter_mut().zip(slopes).for_each(|(sum, slope)| *sum += value * slope);
                }
            }
            for on in [Instructions::detect(), Instructions::portable()] {
                let (mut gradient, mut packed) = (before.clone(), Packed::default());
                on.run(WeightGradient {
                    rows: &rows, inputs, slopes: &slopes, outputs, gradient: &mut gradient, packed: &mut packed,
                });
                prop_assert!(gradient.iter().zip(&expected).all(|(a, b)| a.to_bits() == b.to_bits()));
            }
        }
    }
}
