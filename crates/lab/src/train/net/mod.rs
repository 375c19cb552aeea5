//! Training arithmetic: the gradient of any loss by the parameters of the network, and the steps against it.
//!
//! One batch holds the decisions of many hosts, each with its own number of VMs. It is cut into a fixed
//! number of shards, each summed up by one thread in a fixed order, and the shards' sums are added in
//! order: the result depends neither on the number of threads nor on the machine, to the last bit. For
//! that the products are those of [`halcyon_policy::network::kernel`]; a library with fused instructions
//! is faster, by less than a factor of two, but its bits are those of one kind of CPU.
//!
//! ```text
//!  hosts ─► shards ─► forward ─► loss (the caller's) ─► backward ─► gradient ─► step
//! ```

mod adam;
mod pass;
mod product;
#[cfg(test)]
mod tests;

use std::num::NonZeroUsize;
use std::ops::Range;
use std::thread;

use halcyon_policy::network::kernel::Instructions;
use halcyon_policy::network::{Batch, Card, Network, NetworkError, Parameters, Shape, Tensor};
use thiserror::Error;

use adam::Adam;
pub use adam::{Memory, Tuning};
use pass::{Pass, Weights};

/// Parts that a batch is summed up in.
const SHARDS: usize = 16;
/// Rows that pass forth and back together, so that what is kept between stays in the cache. A larger host
/// passes alone.
const CHUNK_ROWS: usize = 192;

/// Why there is no step.
#[derive(Debug, Error)]
pub enum TrainError {
    /// The sizes do not fit.
    #[error("host {host} of the batch does not fit the network")]
    Host {
        /// Its place in the batch.
        host: usize,
        /// What does not fit.
        #[source]
        source: NetworkError,
    },
    /// A network cannot be made of this.
    #[error("the trained parameters make no network")]
    Network {
        /// Why.
        #[source]
        source: NetworkError,
    },
    /// More outputs than there are.
    #[error("{wanted} outputs of a network that has {outputs}")]
    Outputs {
        /// How many were asked for.
        wanted: usize,
        /// How many there are.
        outputs: usize,
    },
    /// The memory of an optimiser is that of another network, or of none.
    #[error("the optimiser's memory does not fit the network, or holds numbers that no training leaves")]
    Memory,
    /// A loss or a slope is not a number.
    #[error("the gradient of step {step} is not finite; look at the loss and its inputs, or lower the rate")]
    NotFinite {
        /// Steps before.
        step: u64,
    },
}

/// A network while it learns.
#[derive(Debug, Clone)]
pub struct Trainer {
    weights: Weights,
    gradient: Vec<f32>,
    adam: Adam,
    shards: Vec<Shard>,
    threads: NonZeroUsize,
    steps: u64,
}

/// One part of the batch: working memory and sums.
#[derive(Debug, Clone, Default)]
struct Shard {
    hosts: Range<usize>,
    pass: Pass,
    slopes: Vec<f32>,
    gradient: Vec<f32>,
    loss: f64,
}

impl Trainer {
    /// Goes on from `parameters`, on so many threads.
    #[must_use]
    pub fn new(parameters: &Parameters, tuning: Tuning, threads: NonZeroUsize) -> Self {
        let (shape, values) = (parameters.shape(), parameters.values().to_vec());
        Self {
            gradient: vec![0.0; values.len()],
            adam: Adam::new(tuning, values.len()),
            weights: Weights::new(shape, values),
            shards: vec![Shard::default(); SHARDS],
            threads,
            steps: 0,
        }
    }

    /// Goes on where another trainer was, which had these parameters and this memory: to the last bit as
    /// that one would have.
    ///
    /// # Errors
    /// If the memory is not that of such a network.
    pub fn remembering(
        parameters: &Parameters,
        tuning: Tuning,
        memory: Memory,
        threads: NonZeroUsize,
    ) -> Result<Self, TrainError> {
        let steps = memory.steps;
        let adam = Adam::remembering(tuning, memory, parameters.values().len());
        let adam = adam.ok_or(TrainError::Memory)?;
        Ok(Self { adam, steps, ..Self::new(parameters, tuning, threads) })
    }

    /// What the optimiser remembers.
    #[must_use]
    pub fn memory(&self) -> Memory {
        self.adam.memory(self.steps)
    }

    /// On other instructions than the best of this machine. The results are the same.
    #[must_use]
    pub fn on(mut self, instructions: Instructions) -> Self {
        self.weights.instructions = instructions;
        self
    }

    /// The sizes of the network.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.weights.shape()
    }

    /// The parameters, in the order of [`Tensor::ALL`].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.weights.values
    }

    /// The gradient that was found last, in the order of the parameters.
    #[must_use]
    pub fn gradient(&self) -> &[f32] {
        &self.gradient
    }

    /// Steps that were taken.
    #[must_use]
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Finds the gradient of the sum of the losses of all `hosts`, and gives that sum.
    ///
    /// `loss` is called once for each host, from any thread: with the host's place in the batch, its
    /// outputs (a row for each VM) and as many zeros, which it turns into the gradient of its loss by the
    /// outputs. A mean is the caller's division.
    ///
    /// # Errors
    /// If a host is not of the network's shape; with its place.
    pub fn differentiate<L>(&mut self, hosts: &[Batch<'_>], loss: L) -> Result<f64, TrainError>
    where
        L: Fn(usize, &[f32], &mut [f32]) -> f64 + Sync,
    {
        let shape = self.shape();
        for (host, batch) in hosts.iter().enumerate() {
            batch.check(shape).map_err(|source| TrainError::Host { host, source })?;
        }
        divide(&mut self.shards, hosts);
        let (weights, loss, threads) = (&self.weights, &loss, self.threads.get().min(SHARDS));
        if threads == 1 {
            self.shards.iter_mut().for_each(|shard| shard.sum_up(weights, hosts, loss));
        } else {
            let mut queues: Vec<Vec<&mut Shard>> = (0..threads).map(|_| Vec::new()).collect();
            for (at, shard) in self.shards.iter_mut().enumerate() {
                queues[at % threads].push(shard);
            }
            thread::scope(|scope| {
                for queue in queues {
                    scope.spawn(move || {
                        queue.into_iter().for_each(|shard| shard.sum_up(weights, hosts, loss));
                    });
                }
            });
        }
        Ok(self.reduce())
    }

    /// Adds up the shards, in their order.
    fn reduce(&mut self) -> f64 {
        self.gradient.fill(0.0);
        let mut loss = 0.0;
        for shard in self.shards.iter().filter(|shard| !shard.hosts.is_empty()) {
            self.gradient.iter_mut().zip(&shard.gradient).for_each(|(sum, slope)| *sum += slope);
            loss += shard.loss;
        }
        loss
    }

    /// One step of `rate` against the gradient that was found last; gives the length of the gradient
    /// before it was shortened.
    ///
    /// # Errors
    /// If the gradient or the rate is not finite; nothing has changed then.
    pub fn step(&mut self, rate: f64) -> Result<f64, TrainError> {
        let shape = self.shape();
        let norm = self.adam.step(shape, rate, &self.gradient, &mut self.weights.values);
        let norm = norm.ok_or(TrainError::NotFinite { step: self.steps })?;
        self.weights.cut();
        self.steps += 1;
        Ok(norm)
    }

    /// The network as it is now, with the first `outputs` of its outputs; the others (those of a critic)
    /// serve training alone.
    ///
    /// # Errors
    /// If there are not so many outputs, or none are asked for.
    pub fn export(&self, outputs: usize, card: Card) -> Result<Network, TrainError> {
        let shape = self.shape();
        if outputs > shape.outputs {
            return Err(TrainError::Outputs { wanted: outputs, outputs: shape.outputs });
        }
        let mut values = Vec::with_capacity(self.values().len());
        for tensor in Tensor::ALL {
            let all = &self.values()[shape.range(tensor)];
            match tensor {
                Tensor::OutputWeight | Tensor::OutputBias => {
                    values.extend(all.chunks_exact(shape.outputs).flat_map(|row| &row[..outputs]));
                }
                _ => values.extend_from_slice(all),
            }
        }
        let parameters = Parameters::new(Shape { outputs, ..shape }, values);
        Ok(Network::new(card, parameters.map_err(|source| TrainError::Network { source })?))
    }
}

/// Gives each shard hosts with about the same number of VMs together, in the order of the batch.
fn divide(shards: &mut [Shard], hosts: &[Batch<'_>]) {
    let rows: usize = hosts.iter().map(|host| host.socket.len()).sum();
    let (count, mut next, mut before) = (shards.len(), 0, 0);
    for (at, shard) in shards.iter_mut().enumerate() {
        let first = next;
        while next < hosts.len() && (at + 1 == count || before < rows * (at + 1) / count) {
            before += hosts[next].socket.len();
            next += 1;
        }
        shard.hosts = first..next;
    }
}

impl Shard {
    fn sum_up<L>(&mut self, weights: &Weights, hosts: &[Batch<'_>], loss: &L)
    where
        L: Fn(usize, &[f32], &mut [f32]) -> f64,
    {
        self.gradient.clear();
        self.gradient.resize(weights.values.len(), 0.0);
        self.loss = 0.0;
        let mut next = self.hosts.start;
        while next < self.hosts.end {
            let first = next;
            let mut rows = 0;
            while next < self.hosts.end && (next == first || rows + hosts[next].socket.len() <= CHUNK_ROWS) {
                rows += hosts[next].socket.len();
                next += 1;
            }
            self.chunk(weights, hosts, first..next, loss);
        }
    }

    fn chunk<L>(&mut self, weights: &Weights, hosts: &[Batch<'_>], chunk: Range<usize>, loss: &L)
    where
        L: Fn(usize, &[f32], &mut [f32]) -> f64,
    {
        let outputs = self.pass.forward(weights, &hosts[chunk.clone()]);
        self.slopes.clear();
        self.slopes.resize(outputs.len(), 0.0);
        let (mut outputs, mut slopes) = (outputs, self.slopes.as_mut_slice());
        for host in chunk {
            let size = hosts[host].socket.len() * weights.shape().outputs;
            let (of_host, rest) = outputs.split_at(size);
            let (to_host, later) = slopes.split_at_mut(size);
            self.loss += loss(host, of_host, to_host);
            (outputs, slopes) = (rest, later);
        }
        self.pass.backward(weights, &self.slopes, &mut self.gradient);
    }
}
