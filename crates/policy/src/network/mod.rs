//! The neural network of the learned policy: any number of VMs on any number of sockets, one set of weights.
//!
//! ```text
//!  VM ─► vm ─► encoder ─┬──────────────────► mixer ─► refiner ─► output   a row for each VM
//!  host ─┘              └─► means of socket ─► context ─┘
//!                           and host
//! ```
//!
//! `vm`, `encoder`, `mixer` and `refiner` are layers of one width with a leaky rectifier; the last two add
//! to what they got. A VM hears of the others only through means over its socket and its host, so the
//! order of the VMs does not matter: a permutation of them permutes the outputs, to the last bit. One
//! decision runs on one thread, needs no memory once it has run at that size, and gives the same bits on
//! every machine (see [`kernel`]).

mod file;
pub mod kernel;
mod placement;
mod shape;

use thiserror::Error;

pub use file::{Card, MOST_FILE_BYTES, SCHEMA};
use kernel::{Finish, Instructions, Layer, Panels, Start};
pub use placement::Placement;
pub use shape::{MOST_WEIGHT, MOST_WIDTH, Parameters, Shape, Tensor};

/// Why something is not a network, or not the right one.
#[derive(Debug, Error)]
pub enum NetworkError {
    /// A size is zero or too large.
    #[error("a network with {size} {name} is not possible; choose from 1 to {MOST_WIDTH}")]
    Size {
        /// What of it.
        name: &'static str,
        /// How many.
        size: usize,
    },
    /// Too few numbers, or too many.
    #[error("{found} parameters were given to a network that has {expected}; it has another shape")]
    Parameters {
        /// What came.
        found: usize,
        /// What should have come.
        expected: usize,
    },
    /// A weight that no training leaves.
    #[error("the tensor {tensor} holds {value}, beyond ±{MOST_WEIGHT}; the model is broken, use another")]
    Wild {
        /// Where.
        tensor: &'static str,
        /// The number.
        value: f32,
    },
    /// An input has another size than the network or the other inputs say.
    #[error("{found} numbers for the {name} of a decision that needs {expected}")]
    Input {
        /// Which input.
        name: &'static str,
        /// What came.
        found: usize,
        /// What should have come.
        expected: usize,
    },
    /// A file that is too large to be a model.
    #[error("a model of {size} bytes; Halcyon's have at most {MOST_FILE_BYTES}, so this is something else")]
    TooLarge {
        /// Its bytes.
        size: usize,
    },
    /// The container is damaged.
    #[error("the model is no complete safetensors file; copy it again or train another")]
    Container {
        /// What is wrong with it.
        #[source]
        source: safetensors::SafeTensorError,
    },
    /// The container is sound, but no model of ours.
    #[error("the model {what}; take one that this version of Halcyon made")]
    Model {
        /// What is wrong with it.
        what: String,
    },
    /// It was trained on other features.
    #[error(
        "the model {model} was made for the features {found}, and this version of Halcyon has {expected}; \
         train it again or take the model of this version"
    )]
    Features {
        /// The model's name.
        model: String,
        /// What it was made for.
        found: String,
        /// What there is.
        expected: String,
    },
}

/// What one decision sees.
#[derive(Debug, Clone, Copy)]
pub struct Batch<'a> {
    /// A row of features for each VM; finite and within ±8.
    pub features: &'a [f32],
    /// The features of the host; finite and within ±8.
    pub host: &'a [f32],
    /// The socket of each VM: any numbers that tell sockets apart.
    pub socket: &'a [usize],
}

impl Batch<'_> {
    /// That the sizes are those of `shape` and agree with each other.
    ///
    /// # Errors
    /// If they do not; with the name of the input.
    pub fn check(&self, shape: Shape) -> Result<(), NetworkError> {
        let inputs = [
            ("features", self.features.len(), self.socket.len().saturating_mul(shape.features)),
            ("host", self.host.len(), shape.host),
        ];
        match inputs.into_iter().find(|(_, found, expected)| found != expected) {
            Some((name, found, expected)) => Err(NetworkError::Input { name, found, expected }),
            None => Ok(()),
        }
    }
}

/// The weights of all layers, cut for the kernel.
#[derive(Debug, Clone, Default)]
#[allow(missing_docs, reason = "the names are those of the layers in the module's picture")]
pub struct Layers {
    pub vm: Panels,
    pub host: Panels,
    pub encoder: Panels,
    pub context: Panels,
    pub mixer: Panels,
    pub refiner: Panels,
    pub output: Panels,
}

impl Layers {
    /// Cuts `values`, in the order of [`Tensor::ALL`], in the memory of these.
    pub fn fill(&mut self, shape: Shape, values: &[f32]) {
        for (tensor, panels) in [
            (Tensor::VmWeight, &mut self.vm),
            (Tensor::HostWeight, &mut self.host),
            (Tensor::EncoderWeight, &mut self.encoder),
            (Tensor::ContextWeight, &mut self.context),
            (Tensor::MixerWeight, &mut self.mixer),
            (Tensor::RefinerWeight, &mut self.refiner),
            (Tensor::OutputWeight, &mut self.output),
        ] {
            let (inputs, outputs) = shape.size(tensor);
            panels.fill(inputs, outputs, &values[shape.range(tensor)]);
        }
    }
}

/// Working memory of a decision, to be used again for the next one.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    placement: Placement,
    start: Vec<f32>,
    even: Vec<f32>,
    odd: Vec<f32>,
    sums: Vec<f64>,
    means: Vec<f32>,
    context: Vec<f32>,
    out: Vec<f32>,
}

/// A network that can decide.
#[derive(Debug, Clone)]
pub struct Network {
    card: Card,
    parameters: Parameters,
    layers: Layers,
    instructions: Instructions,
}

impl Network {
    /// From its numbers.
    #[must_use]
    pub fn new(card: Card, parameters: Parameters) -> Self {
        let mut layers = Layers::default();
        layers.fill(parameters.shape(), parameters.values());
        Self { card, parameters, layers, instructions: Instructions::detect() }
    }

    /// An untrained network; see [`Parameters::random`].
    ///
    /// # Errors
    /// If the shape is not permitted.
    pub fn random(shape: Shape, seed: u64) -> Result<Self, NetworkError> {
        Ok(Self::new(Card::default(), Parameters::random(shape, seed)?))
    }

    /// On other instructions than the best of this machine. The results are the same.
    #[must_use]
    pub fn on(self, instructions: Instructions) -> Self {
        Self { instructions, ..self }
    }

    /// Its name and what it was made for.
    #[must_use]
    pub fn card(&self) -> &Card {
        &self.card
    }

    /// Its numbers.
    #[must_use]
    pub fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    /// Its sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.parameters.shape()
    }

    /// A row of outputs for each VM, in the order of the VMs.
    ///
    /// # Errors
    /// If the batch is not of this network's shape.
    pub fn forward<'s>(
        &self,
        batch: &Batch<'_>,
        scratch: &'s mut Scratch,
    ) -> Result<&'s [f32], NetworkError> {
        batch.check(self.shape())?;
        scratch.placement.clear();
        scratch.placement.push(batch.socket);
        self.encode(batch, scratch);
        self.hear(scratch);
        self.answer(scratch);
        Ok(&scratch.out)
    }

    /// Each VM by itself.
    fn encode(&self, batch: &Batch<'_>, scratch: &mut Scratch) {
        let Scratch { start, even, odd, .. } = scratch;
        let vms = batch.socket.len();
        self.layer(batch.host, &self.layers.host, self.bias(Tensor::VmBias), Finish::Sum, 1, start);
        self.layer(batch.features, &self.layers.vm, Start::Shared(start), Finish::Activated, vms, even);
        let bias = self.bias(Tensor::EncoderBias);
        self.layer(even, &self.layers.encoder, bias, Finish::Activated, vms, odd);
    }

    /// What each socket tells its VMs.
    fn hear(&self, scratch: &mut Scratch) {
        let Scratch { placement, odd, sums, means, context, .. } = scratch;
        placement.means(odd, self.shape().width, sums, means);
        let bias = self.bias(Tensor::ContextBias);
        self.layer(means, &self.layers.context, bias, Finish::Activated, placement.sockets(), context);
        add_to_rows(context, self.parameters.tensor(Tensor::MixerBias));
    }

    /// Each VM with what it heard.
    fn answer(&self, scratch: &mut Scratch) {
        let Scratch { placement, even, odd, context, out, .. } = scratch;
        let vms = placement.rows();
        let heard = Start::Indexed { rows: context, index: placement.socket_of_row() };
        self.layer(odd, &self.layers.mixer, heard, Finish::Residual, vms, even);
        let bias = self.bias(Tensor::RefinerBias);
        self.layer(even, &self.layers.refiner, bias, Finish::Residual, vms, odd);
        self.layer(odd, &self.layers.output, self.bias(Tensor::OutputBias), Finish::Sum, vms, out);
    }

    fn bias(&self, tensor: Tensor) -> Start<'_> {
        Start::Shared(self.parameters.tensor(tensor))
    }

    fn layer(
        &self,
        rows: &[f32],
        weights: &Panels,
        start: Start<'_>,
        finish: Finish,
        count: usize,
        out: &mut Vec<f32>,
    ) {
        // What was there is written over; only growth costs.
        out.resize(count * weights.outputs(), 0.0);
        self.instructions.run(Layer { rows, weights, start, finish, out });
    }
}

/// Adds `row` to each of the `rows`.
pub fn add_to_rows(rows: &mut [f32], row: &[f32]) {
    for each in rows.chunks_exact_mut(row.len()) {
        each.iter_mut().zip(row).for_each(|(value, addend)| *value += addend);
    }
}
