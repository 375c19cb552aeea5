//! Forward and back through the network, for some hosts at a time.
//!
//! Forward it runs the kernel of the policy and gives the very bits that the network decides with.

use halcyon_policy::network::kernel::{Finish, Instructions, LEAK, Layer, Panels, Start};
use halcyon_policy::network::{Batch, Layers, Placement, Shape, Tensor, add_to_rows};

use super::product::{Packed, WeightGradient};

/// The weights, cut for both directions.
#[derive(Debug, Clone)]
pub(super) struct Weights {
    shape: Shape,
    pub(super) values: Vec<f32>,
    forth: Layers,
    encoder: Panels,
    context: Panels,
    mixer: Panels,
    refiner: Panels,
    output: Panels,
    zeros: Vec<f32>,
    pub(super) instructions: Instructions,
}

impl Weights {
    pub(super) fn new(shape: Shape, values: Vec<f32>) -> Self {
        let mut weights = Self {
            shape,
            values,
            forth: Layers::default(),
            encoder: Panels::default(),
            context: Panels::default(),
            mixer: Panels::default(),
            refiner: Panels::default(),
            output: Panels::default(),
            zeros: vec![0.0; 2 * shape.width],
            instructions: Instructions::detect(),
        };
        weights.cut();
        weights
    }

    pub(super) fn shape(&self) -> Shape {
        self.shape
    }

    /// Follows a change of the values.
    pub(super) fn cut(&mut self) {
        self.forth.fill(self.shape, &self.values);
        for (tensor, panels) in [
            (Tensor::EncoderWeight, &mut self.encoder),
            (Tensor::ContextWeight, &mut self.context),
            (Tensor::MixerWeight, &mut self.mixer),
            (Tensor::RefinerWeight, &mut self.refiner),
            (Tensor::OutputWeight, &mut self.output),
        ] {
            let (inputs, outputs) = self.shape.size(tensor);
            panels.fill_transposed(outputs, inputs, &self.values[self.shape.range(tensor)]);
        }
    }

    fn tensor(&self, tensor: Tensor) -> &[f32] {
        &self.values[self.shape.range(tensor)]
    }

    fn layer(&self, rows: &[f32], weights: &Panels, start: Start<'_>, finish: Finish, out: &mut Vec<f32>) {
        out.resize(rows.len() / weights.inputs() * weights.outputs(), 0.0);
        self.instructions.run(Layer { rows, weights, start, finish, out });
    }

    /// Gradient of what went into a layer, on top of `start`.
    fn back(&self, slopes: &[f32], weights: &Panels, start: Option<&[f32]>, out: &mut Vec<f32>) {
        let none = Start::Shared(&self.zeros[..weights.outputs().min(self.zeros.len())]);
        self.layer(slopes, weights, start.map_or(none, Start::Each), Finish::Sum, out);
    }
}

/// What was computed on the way forth and is needed on the way back.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    placement: Placement,
    features: Vec<f32>,
    hosts: Vec<f32>,
    start: Vec<f32>,
    first: Vec<f32>,
    encoded: Vec<f32>,
    sums: Vec<f64>,
    means: Vec<f32>,
    context: Vec<f32>,
    heard: Vec<f32>,
    mixed: Vec<f32>,
    after_mixer: Vec<f32>,
    refined: Vec<f32>,
    after_refiner: Vec<f32>,
    outputs: Vec<f32>,
    slopes: Slopes,
}

/// Working memory of the way back.
#[derive(Debug, Clone, Default)]
struct Slopes {
    rows: Vec<f32>,
    more: Vec<f32>,
    sums: Vec<f32>,
    sockets: Vec<f32>,
    hosts: Vec<f32>,
    means: Vec<f32>,
    packed: Packed,
}

impl Pass {
    /// Decides for `hosts`, whose sizes were checked; a row of outputs for each VM.
    pub(super) fn forward(&mut self, weights: &Weights, hosts: &[Batch<'_>]) -> &[f32] {
        self.gather(hosts);
        let Weights { forth, shape, .. } = weights;
        let bias = |tensor| Start::Shared(weights.tensor(tensor));
        weights.layer(&self.hosts, &forth.host, bias(Tensor::VmBias), Finish::Sum, &mut self.start);
        let start = Start::Indexed { rows: &self.start, index: self.placement.host_of_row() };
        weights.layer(&self.features, &forth.vm, start, Finish::Activated, &mut self.first);
        let start = bias(Tensor::EncoderBias);
        weights.layer(&self.first, &forth.encoder, start, Finish::Activated, &mut self.encoded);
        self.placement.means(&self.encoded, shape.width, &mut self.sums, &mut self.means);
        let start = bias(Tensor::ContextBias);
        weights.layer(&self.means, &forth.context, start, Finish::Activated, &mut self.context);
        self.heard.clone_from(&self.context);
        add_to_rows(&mut self.heard, weights.tensor(Tensor::MixerBias));
        let start = Start::Indexed { rows: &self.heard, index: self.placement.socket_of_row() };
        weights.layer(&self.encoded, &forth.mixer, start, Finish::Activated, &mut self.mixed);
        add(&self.mixed, &self.encoded, &mut self.after_mixer);
        let start = bias(Tensor::RefinerBias);
        weights.layer(&self.after_mixer, &forth.refiner, start, Finish::Activated, &mut self.refined);
        add(&self.refined, &self.after_mixer, &mut self.after_refiner);
        let start = bias(Tensor::OutputBias);
        weights.layer(&self.after_refiner, &forth.output, start, Finish::Sum, &mut self.outputs);
        &self.outputs
    }

    fn gather(&mut self, hosts: &[Batch<'_>]) {
        self.placement.clear();
        self.features.clear();
        self.hosts.clear();
        for host in hosts {
            self.placement.push(host.socket);
            self.features.extend_from_slice(host.features);
            self.hosts.extend_from_slice(host.host);
        }
    }

    /// Adds to `gradient` that of the parameters, from `outputs`, the gradient of the outputs of the last
    /// [`Pass::forward`].
    pub(super) fn backward(&mut self, weights: &Weights, outputs: &[f32], gradient: &mut [f32]) {
        let Slopes { rows, more, sums, sockets, hosts, means, packed } = &mut self.slopes;
        let mut to = Gradient { weights, values: gradient, packed };
        to.layer(&self.after_refiner, outputs, Tensor::OutputWeight, Tensor::OutputBias);
        weights.back(outputs, &weights.output, None, rows);

        deactivate(rows, &self.refined, sums);
        to.layer(&self.after_mixer, sums, Tensor::RefinerWeight, Tensor::RefinerBias);
        weights.back(sums, &weights.refiner, Some(rows), more);

        deactivate(more, &self.mixed, sums);
        to.layer(&self.encoded, sums, Tensor::MixerWeight, Tensor::MixerBias);
        weights.back(sums, &weights.mixer, Some(more), rows);

        let width = weights.shape.width;
        gather_sums(sums, self.placement.socket_of_row(), self.placement.sockets(), width, more);
        deactivate(more, &self.context, sockets);
        to.layer(&self.means, sockets, Tensor::ContextWeight, Tensor::ContextBias);
        weights.back(sockets, &weights.context, None, means);
        self.placement.spread(means, width, hosts, rows);

        deactivate(rows, &self.encoded, sums);
        to.layer(&self.first, sums, Tensor::EncoderWeight, Tensor::EncoderBias);
        weights.back(sums, &weights.encoder, None, rows);

        deactivate(rows, &self.first, sums);
        to.layer(&self.features, sums, Tensor::VmWeight, Tensor::VmBias);
        gather_sums(sums, self.placement.host_of_row(), self.placement.hosts(), width, hosts);
        to.weight(&self.hosts, hosts, Tensor::HostWeight);
    }
}

/// Where the gradient of the parameters is summed up.
struct Gradient<'a> {
    weights: &'a Weights,
    values: &'a mut [f32],
    packed: &'a mut Packed,
}

impl Gradient<'_> {
    fn layer(&mut self, rows: &[f32], slopes: &[f32], weight: Tensor, bias: Tensor) {
        self.weight(rows, slopes, weight);
        let bias = &mut self.values[self.weights.shape.range(bias)];
        for row in slopes.chunks_exact(bias.len()) {
            bias.iter_mut().zip(row).for_each(|(sum, slope)| *sum += slope);
        }
    }

    fn weight(&mut self, rows: &[f32], slopes: &[f32], weight: Tensor) {
        let shape = self.weights.shape;
        let (inputs, outputs) = shape.size(weight);
        let gradient = &mut self.values[shape.range(weight)];
        let packed = &mut *self.packed;
        self.weights.instructions.run(WeightGradient { rows, inputs, slopes, outputs, gradient, packed });
    }
}

fn add(one: &[f32], other: &[f32], sum: &mut Vec<f32>) {
    sum.clear();
    sum.extend(one.iter().zip(other).map(|(one, other)| one + other));
}

/// Gradient of what an activation got, from that of what it gave; its sign is that of what it gave.
fn deactivate(slopes: &[f32], activated: &[f32], to: &mut Vec<f32>) {
    to.clear();
    let each = slopes.iter().zip(activated);
    to.extend(each.map(|(slope, activated)| if *activated > 0.0 { *slope } else { LEAK * slope }));
}

/// Sums the rows that `index` sends to the same place.
fn gather_sums(rows: &[f32], index: &[u32], places: usize, width: usize, to: &mut Vec<f32>) {
    to.clear();
    to.resize(places * width, 0.0);
    for (row, place) in rows.chunks_exact(width).zip(index) {
        let sums = &mut to[*place as usize * width..][..width];
        sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += value);
    }
}
