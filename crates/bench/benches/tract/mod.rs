//! The network as a graph of tract's operators, for a fixed number of VMs and sockets.
//!
//! tract fuses what it can: biases, rectifiers and residuals go into its matrix products. Means over
//! sockets are a product with a matrix of shares, and what a socket tells its VMs one with a matrix of
//! ones; both are made anew only when a VM has moved.

use std::sync::Arc;

use halcyon_lab::bench::Refusal;
use halcyon_lab::measure::Rival;
use halcyon_policy::network::Tensor as Weights;
use halcyon_policy::{Batch, Network};
use tract_core::internal::*;
use tract_core::ops::einsum::EinSum;
use tract_core::ops::math::add;
use tract_core::ops::nn::leaky_relu;

/// Slope of the rectifier below zero.
const LEAK: f32 = 0.01;

/// The network in tract.
pub(crate) struct Tract {
    network: Network,
    plan: Option<Plan>,
    outputs: Vec<f32>,
}

struct Plan {
    runnable: Arc<TypedRunnableModel>,
    socket: Vec<usize>,
    /// What share each VM has in its socket's mean, and which socket each VM hears.
    shares: TValue,
    hears: TValue,
}

impl Tract {
    pub(crate) fn new(network: Network) -> Self {
        Self { network, plan: None, outputs: Vec::new() }
    }
}

impl Rival for Tract {
    fn name(&self) -> &'static str {
        "tract"
    }

    fn forward(&mut self, batch: &Batch<'_>) -> Result<(), Refusal> {
        let plan = match self.plan.take() {
            Some(plan) if plan.socket == batch.socket => plan,
            _ => Plan::new(&self.network, batch.socket)?,
        };
        let shape = self.network.shape();
        let features = matrix(batch.socket.len(), shape.features, batch.features)?;
        let host = matrix(1, shape.host, batch.host)?;
        let inputs = tvec![features, host, plan.shares.clone(), plan.hears.clone()];
        let found = plan.runnable.run(inputs)?;
        self.outputs.clear();
        self.outputs.extend_from_slice(found[0].try_as_plain_ram()?.as_slice::<f32>()?);
        self.plan = Some(plan);
        Ok(())
    }

    fn outputs(&self) -> &[f32] {
        &self.outputs
    }
}

fn matrix(rows: usize, columns: usize, values: &[f32]) -> TractResult<TValue> {
    Ok(Tensor::from_shape(&[rows, columns], values)?.into())
}

impl Plan {
    fn new(network: &Network, socket: &[usize]) -> TractResult<Self> {
        let mut known = socket.to_vec();
        known.sort_unstable();
        known.dedup();
        let (vms, sockets) = (socket.len(), known.len());
        let mut shares = vec![0.0; sockets * vms];
        let mut hears = vec![0.0; vms * sockets];
        for (vm, name) in socket.iter().enumerate() {
            let place = known.partition_point(|other| other < name);
            let neighbours = socket.iter().filter(|other| *other == name).count();
            shares[place * vms + vm] = 1.0 / neighbours as f32;
            hears[vm * sockets + place] = 1.0;
        }
        Ok(Self {
            runnable: Graph::build(network, vms, sockets)?,
            socket: socket.to_vec(),
            shares: matrix(sockets, vms, &shares)?,
            hears: matrix(vms, sockets, &hears)?,
        })
    }
}

/// A model that is being put together.
struct Graph<'a> {
    network: &'a Network,
    model: TypedModel,
    nodes: usize,
}

impl Graph<'_> {
    fn build(network: &Network, vms: usize, sockets: usize) -> TractResult<Arc<TypedRunnableModel>> {
        let shape = network.shape();
        let mut graph = Graph { network, model: TypedModel::default(), nodes: 0 };
        let mut source = |name: &str, rows: usize, columns: usize| {
            graph.model.add_source(name, f32::fact([rows, columns]))
        };
        let features = source("features", vms, shape.features)?;
        let host = source("host", 1, shape.host)?;
        let shares = source("shares", sockets, vms)?;
        let hears = source("hears", vms, sockets)?;
        let all = graph.constant(1, vms, &vec![1.0 / vms as f32; vms])?;
        let start = graph.affine(host, Weights::HostWeight, Weights::VmBias)?;
        let sum = graph.weigh(features, Weights::VmWeight)?;
        let seen = graph.add(sum, start)?;
        let seen = graph.rectify(seen)?;
        let encoded = graph.affine(seen, Weights::EncoderWeight, Weights::EncoderBias)?;
        let encoded = graph.rectify(encoded)?;
        let context = graph.context(shares, all, encoded)?;
        let heard = graph.product(hears, context)?;
        let mixed = graph.affine(encoded, Weights::MixerWeight, Weights::MixerBias)?;
        let mixed = graph.add(mixed, heard)?;
        let mixed = graph.rectify(mixed)?;
        let mixed = graph.add(mixed, encoded)?;
        let refined = graph.affine(mixed, Weights::RefinerWeight, Weights::RefinerBias)?;
        let refined = graph.rectify(refined)?;
        let refined = graph.add(refined, mixed)?;
        let outputs = graph.affine(refined, Weights::OutputWeight, Weights::OutputBias)?;
        graph.model.select_output_outlets(&[outputs])?;
        graph.model.into_optimized()?.into_runnable()
    }

    /// What each socket tells its VMs, a row for each.
    fn context(&mut self, shares: OutletId, all: OutletId, encoded: OutletId) -> TractResult<OutletId> {
        let width = self.network.shape().width;
        let parameters = self.network.parameters();
        let weights = parameters.tensor(Weights::ContextWeight);
        let (of_socket, of_host) = weights.split_at(width * width);
        let (of_socket, of_host) =
            (self.constant(width, width, of_socket)?, self.constant(width, width, of_host)?);
        let bias = self.constant(1, width, parameters.tensor(Weights::ContextBias))?;
        let socket = self.product(shares, encoded)?;
        let socket = self.product(socket, of_socket)?;
        let host = self.product(all, encoded)?;
        let host = self.product(host, of_host)?;
        let host = self.add(host, bias)?;
        let sum = self.add(socket, host)?;
        self.rectify(sum)
    }

    fn name(&mut self) -> String {
        self.nodes += 1;
        format!("n{}", self.nodes)
    }

    fn constant(&mut self, rows: usize, columns: usize, values: &[f32]) -> TractResult<OutletId> {
        let name = self.name();
        self.model.add_const(name, Tensor::from_shape(&[rows, columns], values)?)
    }

    fn product(&mut self, left: OutletId, right: OutletId) -> TractResult<OutletId> {
        let name = self.name();
        let product = EinSum::new("mk,kn->mn".parse()?, f32::datum_type());
        Ok(self.model.wire_node(name, product, &[left, right])?[0])
    }

    fn add(&mut self, left: OutletId, right: OutletId) -> TractResult<OutletId> {
        let name = self.name();
        Ok(self.model.wire_node(name, add(), &[left, right])?[0])
    }

    fn rectify(&mut self, rows: OutletId) -> TractResult<OutletId> {
        let name = self.name();
        Ok(self.model.wire_node(name, leaky_relu(LEAK), &[rows])?[0])
    }

    fn weigh(&mut self, rows: OutletId, weights: Weights) -> TractResult<OutletId> {
        let (inputs, outputs) = self.network.shape().size(weights);
        let weights = self.constant(inputs, outputs, self.network.parameters().tensor(weights))?;
        self.product(rows, weights)
    }

    fn affine(&mut self, rows: OutletId, weights: Weights, bias: Weights) -> TractResult<OutletId> {
        let sum = self.weigh(rows, weights)?;
        let values = self.network.parameters().tensor(bias);
        let bias = self.constant(1, values.len(), values)?;
        self.add(sum, bias)
    }
}
