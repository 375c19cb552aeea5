//! One fully connected layer over many rows, with the same bits on every machine.
//!
//! Each output is summed over the inputs in their order, one product and one sum after the other, never
//! fused. Vector instructions run over outputs and rows only, so their width changes the speed and not
//! the result: a machine with AVX2, one without and one of another architecture agree to the last bit.
//! Training uses the same arithmetic for its backward products.

use pulp::{Arch, Simd, WithSimd};

/// Outputs of one panel: two AVX2 registers.
pub const LANES: usize = 16;
/// Rows of one tile: with two registers each, as many sums as fit in sixteen registers beside the operands.
pub const TILE: usize = 6;
/// Rows that pass a panel before the next panel follows, so that they stay in the first-level cache.
const BLOCK: usize = 8 * TILE;
/// Slope of the activation below zero.
pub const LEAK: f32 = 0.01;

/// The instructions that a product runs on; it never changes a result.
#[derive(Debug, Clone, Copy)]
pub struct Instructions(Arch);

impl Instructions {
    /// The widest that this machine has.
    #[must_use]
    pub fn detect() -> Self {
        Self(Arch::new())
    }

    /// What every machine has.
    #[must_use]
    pub fn portable() -> Self {
        Self(Arch::Scalar)
    }

    /// Runs `operation` on them.
    #[inline]
    pub fn run<O: WithSimd>(self, operation: O) -> O::Output {
        self.0.dispatch(operation)
    }
}

/// Leaky rectifier.
#[inline(always)]
#[must_use]
pub fn activate(value: f32) -> f32 {
    if value > 0.0 { value } else { LEAK * value }
}

/// A weight matrix, cut into panels of [`LANES`] outputs with all inputs; the last is filled up with zeros.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Panels {
    inputs: usize,
    outputs: usize,
    data: Vec<[f32; LANES]>,
}

impl Panels {
    /// Cuts `weights`, row-major `inputs` × `outputs`.
    #[must_use]
    pub fn new(inputs: usize, outputs: usize, weights: &[f32]) -> Self {
        let mut panels = Self::default();
        panels.fill(inputs, outputs, weights);
        panels
    }

    /// Cuts other weights, in the memory of these.
    pub fn fill(&mut self, inputs: usize, outputs: usize, weights: &[f32]) {
        self.reset(inputs, outputs);
        for (panel, first) in (0..outputs).step_by(LANES).enumerate() {
            let wide = LANES.min(outputs - first);
            for input in 0..inputs {
                let from = &weights[input * outputs + first..][..wide];
                self.data[panel * inputs + input][..wide].copy_from_slice(from);
            }
        }
    }

    /// Cuts the transpose of `weights`, which are row-major `outputs` × `inputs`.
    pub fn fill_transposed(&mut self, inputs: usize, outputs: usize, weights: &[f32]) {
        self.reset(inputs, outputs);
        for (output, row) in weights.chunks_exact(inputs.max(1)).take(outputs).enumerate() {
            let (panel, lane) = (output / LANES, output % LANES);
            for (input, weight) in row.iter().enumerate() {
                self.data[panel * inputs + input][lane] = *weight;
            }
        }
    }

    fn reset(&mut self, inputs: usize, outputs: usize) {
        (self.inputs, self.outputs) = (inputs, outputs);
        self.data.clear();
        self.data.resize(outputs.div_ceil(LANES) * inputs, [0.0; LANES]);
    }

    /// Columns of the rows that go in.
    #[must_use]
    pub fn inputs(&self) -> usize {
        self.inputs
    }

    /// Columns of the rows that come out.
    #[must_use]
    pub fn outputs(&self) -> usize {
        self.outputs
    }
}

/// What the sums of a row start at.
#[derive(Debug, Clone, Copy)]
pub enum Start<'a> {
    /// The same for all rows.
    Shared(&'a [f32]),
    /// Row `index[i]` of `rows` for row `i`.
    Indexed {
        /// The rows to choose from.
        rows: &'a [f32],
        /// Which one, for each row.
        index: &'a [u32],
    },
    /// Its own row.
    Each(&'a [f32]),
}

impl<'a> Start<'a> {
    #[inline(always)]
    fn row(&self, row: usize, outputs: usize) -> &'a [f32] {
        match *self {
            Self::Shared(shared) => shared,
            Self::Indexed { rows, index } => &rows[index[row] as usize * outputs..][..outputs],
            Self::Each(rows) => &rows[row * outputs..][..outputs],
        }
    }
}

/// What becomes of the sums.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Finish {
    /// They are the output.
    Sum,
    /// The activation of them.
    Activated,
    /// The activation of them, added to the input; for as many outputs as inputs.
    Residual,
}

/// One layer: `out[i] = finish(start[i] + rows[i] · weights)` for each of the rows.
#[derive(Debug)]
pub struct Layer<'a> {
    /// The rows that go in, row-major.
    pub rows: &'a [f32],
    /// The weights.
    pub weights: &'a Panels,
    /// What the sums start at.
    pub start: Start<'a>,
    /// What becomes of them.
    pub finish: Finish,
    /// The rows that come out, as many as `out` has room for.
    pub out: &'a mut [f32],
}

impl WithSimd for Layer<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(mut self, _: S) {
        let (inputs, outputs) = (self.weights.inputs, self.weights.outputs);
        let rows = self.out.len() / outputs.max(1);
        for block in (0..rows).step_by(BLOCK) {
            let end = rows.min(block + BLOCK);
            for first in (0..outputs).step_by(LANES) {
                let panel = &self.weights.data[first / LANES * inputs..][..inputs];
                let mut row = block;
                while row < end {
                    let high = TILE.min(end - row);
                    match high {
                        TILE => self.tile::<TILE>(panel, row, first),
                        5 => self.tile::<5>(panel, row, first),
                        4 => self.tile::<4>(panel, row, first),
                        3 => self.tile::<3>(panel, row, first),
                        2 => self.tile::<2>(panel, row, first),
                        _ => self.tile::<1>(panel, row, first),
                    }
                    row += high;
                }
            }
        }
    }
}

impl Layer<'_> {
    /// `R` rows from `row` on, and the outputs of one panel, of which `first` is the first.
    #[inline(always)]
    fn tile<const R: usize>(&mut self, panel: &[[f32; LANES]], row: usize, first: usize) {
        let (inputs, outputs) = (panel.len(), self.weights.outputs);
        let wide = LANES.min(outputs - first);
        let rows: [&[f32]; R] = std::array::from_fn(|r| &self.rows[(row + r) * inputs..][..inputs]);
        let mut sums = [[0.0; LANES]; R];
        for (r, sums) in sums.iter_mut().enumerate() {
            load(sums, &self.start.row(row + r, outputs)[first..][..wide]);
        }
        for (input, weights) in panel.iter().enumerate() {
            for r in 0..R {
                let value = rows[r][input];
                for lane in 0..LANES {
                    sums[r][lane] += value * weights[lane];
                }
            }
        }
        for (r, sums) in sums.iter_mut().enumerate() {
            if self.finish != Finish::Sum {
                *sums = sums.map(activate);
            }
            if self.finish == Finish::Residual {
                let mut input = [0.0; LANES];
                load(&mut input, &rows[r][first..][..wide]);
                for lane in 0..LANES {
                    sums[lane] += input[lane];
                }
            }
            store(&mut self.out[(row + r) * outputs + first..][..wide], sums);
        }
    }
}

/// Fills `lanes` from the start; a whole panel in one move.
#[inline(always)]
pub fn load(lanes: &mut [f32; LANES], from: &[f32]) {
    match <&[f32; LANES]>::try_from(from) {
        Ok(whole) => *lanes = *whole,
        Err(_) => lanes[..from.len()].copy_from_slice(from),
    }
}

/// Fills `to` from the start of `lanes`; a whole panel in one move.
#[inline(always)]
pub fn store(to: &mut [f32], lanes: &[f32; LANES]) {
    match <&mut [f32; LANES]>::try_from(&mut *to) {
        Ok(whole) => *whole = *lanes,
        Err(_) => {
            let wide = to.len();
            to.copy_from_slice(&lanes[..wide]);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// The definition: one output after the other, inputs in order.
    fn plain(rows: &[f32], (inputs, outputs): (usize, usize), weights: &[f32], start: &[f32]) -> Vec<f32> {
        let sum = |row: &[f32], output: usize| {
            let products =
                row.iter().enumerate().map(|(input, value)| value * weights[input * outputs + output]);
            products.fold(start[output], |sum, product| sum + product)
        };
        rows.chunks_exact(inputs).flat_map(|row| (0..outputs).map(move |output| sum(row, output))).collect()
    }

    fn bits(values: &[f32]) -> Vec<u32> {
        values.iter().map(|value| value.to_bits()).collect()
    }

    fn product(
        on: Instructions,
        rows: &[f32],
        count: usize,
        weights: &Panels,
        start: Start<'_>,
        finish: Finish,
    ) -> Vec<f32> {
        let mut out = vec![f32::NAN; count * weights.outputs()];
        on.run(Layer { rows, weights, start, finish, out: &mut out });
        out
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        #[test]
        fn every_instruction_set_gives_the_bits_of_the_definition(
            count in 0_usize..60,
            inputs in 1_usize..40,
            outputs in 1_usize..40,
            pool in proptest::collection::vec(-8.0_f32..8.0, 64),
            shift in 1_usize..63,
        ) {
            let draw = |many: usize, step: usize| -> Vec<f32> {
                (0..many).map(|i| pool[(i * step + i / 64) % 64] * (1.0 + i as f32 * 1e-4)).collect()
            };
            let (rows, weights) = (draw(count * inputs, shift), draw(inputs * outputs, 7));
            let start = draw(outputs, 3);
            let panels = Panels::new(inputs, outputs, &weights);
            let expected = bits(&plain(&rows, (inputs, outputs), &weights, &start));
            for on in [Instructions::detect(), Instructions::portable()] {
                let out = product(on, &rows, count, &panels, Start::Shared(&start), Finish::Sum);
                prop_assert_eq!(&bits(&out), &expected);
                let activated = product(on, &rows, count, &panels, Start::Shared(&start), Finish::Activated);
                let of_expected: Vec<u32> =
                    expected.iter().map(|sum| activate(f32::from_bits(*sum)).to_bits()).collect();
                prop_assert_eq!(bits(&activated), of_expected);
            }
        }
    }

    #[test]
    fn a_transposed_matrix_is_cut_like_its_transpose() {
        let (inputs, outputs) = (5, 19);
        let weights: Vec<f32> = (0..inputs * outputs).map(|i| i as f32).collect();
        let transposed: Vec<f32> =
            (0..outputs * inputs).map(|i| weights[(i % inputs) * outputs + i / inputs]).collect();
        let mut panels = Panels::default();
        panels.fill_transposed(inputs, outputs, &transposed);
        assert_eq!(panels, Panels::new(inputs, outputs, &weights));
    }

    #[test]
    fn a_residual_adds_the_input_and_rows_may_choose_their_start() {
        let panels = Panels::new(2, 2, &[0.0; 4]);
        let (rows, starts) = ([1.0, 2.0, 3.0, 4.0], [10.0, -100.0, 30.0, 40.0]);
        let start = Start::Indexed { rows: &starts, index: &[1, 0] };
        let out = product(Instructions::detect(), &rows, 2, &panels, start, Finish::Residual);
        assert_eq!(out, [31.0, 42.0, 13.0, 3.0]);
        let out = product(Instructions::detect(), &rows, 2, &panels, Start::Each(&starts), Finish::Sum);
        assert_eq!(out, starts);
    }
}
