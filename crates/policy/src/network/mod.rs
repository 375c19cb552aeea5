//! A network over the VMs of a host that does not mind how many there are or how they are ordered.
//!
//! ```text
//!  VM row ─┐
//!  host ───┴► first ─► second ─┬─► mean of socket ─┐
//!                              ├─► mean of host ───┴► context ─┐
//!                              └────────► third ◄──────────────┘─► fourth ─► outputs
//! ```
//!
//! Third and fourth add to what they are given. Every layer but the last is followed by a leaky
//! rectifier. The result is the same to the bit on every machine (see [`Packed`]).

mod file;
mod product;

pub use file::{MOST_BYTES, NetworkError};
pub use product::{Packed, Strides};

use rand::Rng;
use rand_pcg::Pcg64Mcg;

/// Slope of the rectifier below zero.
pub const LEAK: f32 = 0.01;

/// How large a network is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shape {
    /// Features of a VM.
    pub features: usize,
    /// Features of the host.
    pub host: usize,
    /// Width of the layers.
    pub width: usize,
    /// Outputs of a VM.
    pub outputs: usize,
}

/// One layer: `inputs × outputs` weights, row after row, and a bias for each output.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Layer {
    /// How many go in.
    pub inputs: usize,
    /// How many come out.
    pub outputs: usize,
    /// Weights.
    pub weights: Vec<f32>,
    /// Biases.
    pub bias: Vec<f32>,
}

/// The layers, in the order of [`LAYERS`].
pub type Layers = [Layer; LAYERS.len()];

/// Names of the layers, as in files.
pub const LAYERS: [&str; 7] = ["first", "host", "second", "context", "third", "fourth", "last"];

impl Shape {
    /// Inputs and outputs of each layer.
    #[must_use]
    pub const fn layers(&self) -> [(usize, usize); LAYERS.len()] {
        let width = self.width;
        [
            (self.features, width),
            (self.host, width),
            (width, width),
            (2 * width, width),
            (width, width),
            (width, width),
            (width, self.outputs),
        ]
    }
}

/// One host at one moment.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// Features of the VMs, row after row.
    pub features: &'a [f32],
    /// Features of the host.
    pub host: &'a [f32],
    /// The socket of each VM.
    pub socket: &'a [usize],
}

/// Room to work in, kept from one moment to the next.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    first: Vec<f32>,
    second: Vec<f32>,
    third: Vec<f32>,
    fourth: Vec<f32>,
    host: Vec<f32>,
    means: Vec<f32>,
    context: Vec<f32>,
    sums: Vec<f64>,
    counts: Vec<f64>,
    outputs: Vec<f32>,
}

/// The network.
#[derive(Debug, Clone, PartialEq)]
pub struct Network {
    shape: Shape,
    layers: Layers,
    packed: [Packed; LAYERS.len()],
}

impl Network {
    /// A network of given layers.
    ///
    /// # Errors
    /// When a layer has another shape, or a weight is not a number of moderate size.
    pub fn new(shape: Shape, layers: Layers) -> Result<Self, NetworkError> {
        file::check(&shape, &layers)?;
        let packed = std::array::from_fn(|index| {
            let layer: &Layer = &layers[index];
            let mut packed = Packed::default();
            packed.pack(layer.inputs, layer.outputs, |row, column| layer.weights[row * layer.outputs + column]);
            packed
        });
        Ok(Self { shape, layers, packed })
    }

    /// A network that knows nothing: random weights (He et al. 2015), small ones in the last layer.
    ///
    /// # Errors
    /// When there is nothing to go in or to come out.
    pub fn random(shape: Shape, seed: u64) -> Result<Self, NetworkError> {
        let mut random = Pcg64Mcg::new(u128::from(seed) | 1);
        let layers = shape.layers();
        let layers = std::array::from_fn(|index| {
            let (inputs, outputs) = layers[index];
            #[allow(clippy::cast_precision_loss)]
            let scale = libm::sqrt(2.0 / inputs.max(1) as f64) * if index + 1 == LAYERS.len() { 0.05 } else { 1.0 };
            let mut draw = || -> f32 {
                // The sum of twelve is as good as normal.
                let sum: f64 = (0..12).map(|_| f64::from(random.next_u32()) / f64::from(u32::MAX)).sum();
                #[allow(clippy::cast_possible_truncation)]
                let value = ((sum - 6.0) * scale) as f32;
                value
            };
            Layer { inputs, outputs, weights: (0..inputs * outputs).map(|_| draw()).collect(), bias: vec![0.0; outputs] }
        });
        Self::new(shape, layers)
    }

    /// How large it is.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        self.shape
    }

    /// Its layers, in the order of [`LAYERS`].
    #[must_use]
    pub const fn layers(&self) -> &Layers {
        &self.layers
    }

    /// Outputs for each VM, row after row. Nothing where the rows are not those of this shape.
    pub fn forward<'s>(&self, batch: &Batch<'_>, scratch: &'s mut Scratch) -> &'s [f32] {
        let (count, width) = (batch.socket.len(), self.shape.width);
        scratch.outputs.clear();
        if batch.features.len() != count * self.shape.features || batch.host.len() != self.shape.host {
            return &scratch.outputs;
        }
        let [first, host, second, context, third, fourth, last] = &self.layers;
        let Scratch { first: one, second: two, third: three, fourth: four, host: of_host, .. } = scratch;
        of_host.clear();
        of_host.extend_from_slice(&host.bias);
        self.packed[1].multiply(batch.host, along(self.shape.host), 1, of_host);
        one.clear();
        for _ in 0..count {
            one.extend(first.bias.iter().zip(of_host.iter()).map(|(bias, host)| bias + host));
        }
        self.packed[0].multiply(batch.features, along(self.shape.features), count, one);
        rectify(one);
        start(two, second, count);
        self.packed[2].multiply(one, along(width), count, two);
        rectify(two);
        let sockets = batch.socket.iter().max().map_or(0, |most| most + 1);
        means(two, batch.socket, sockets, width, &mut scratch.sums, &mut scratch.counts, &mut scratch.means);
        start(&mut scratch.context, context, sockets);
        self.packed[3].multiply(&scratch.means, along(2 * width), sockets, &mut scratch.context);
        start(three, third, count);
        for (row, socket) in three.chunks_exact_mut(width).zip(batch.socket) {
            let context = &scratch.context[socket * width..][..width];
            row.iter_mut().zip(context).for_each(|(value, context)| *value += context);
        }
        self.packed[4].multiply(two, along(width), count, three);
        rectify(three);
        three.iter_mut().zip(two.iter()).for_each(|(value, before)| *value += before);
        start(four, fourth, count);
        self.packed[5].multiply(three, along(width), count, four);
        rectify(four);
        four.iter_mut().zip(three.iter()).for_each(|(value, before)| *value += before);
        start(&mut scratch.outputs, last, count);
        self.packed[6].multiply(four, along(width), count, &mut scratch.outputs);
        &scratch.outputs
    }
}

const fn along(across: usize) -> Strides {
    Strides { across, along: 1 }
}

fn start(rows: &mut Vec<f32>, layer: &Layer, count: usize) {
    rows.clear();
    (0..count).for_each(|_| rows.extend_from_slice(&layer.bias));
}

fn rectify(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = if *value > 0.0 { *value } else { LEAK * *value });
}

/// For each socket, the mean row of its VMs, then that of all; zeros for a socket without VMs.
fn means(
    rows: &[f32],
    socket: &[usize],
    sockets: usize,
    width: usize,
    sums: &mut Vec<f64>,
    counts: &mut Vec<f64>,
    means: &mut Vec<f32>,
) {
    sums.clear();
    sums.resize((sockets + 1) * width, 0.0);
    counts.clear();
    counts.resize(sockets + 1, 0.0);
    for (row, socket) in rows.chunks_exact(width).zip(socket) {
        for place in [*socket, sockets] {
            counts[place] += 1.0;
            let sums = &mut sums[place * width..][..width];
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
    }
    means.clear();
    #[allow(clippy::cast_possible_truncation)]
    for place in 0..sockets {
        for of in [place, sockets] {
            let count = counts[of].max(1.0);
            means.extend(sums[of * width..][..width].iter().map(|sum| (sum / count) as f32));
        }
    }
}
