//! The network with its gradients: forward over many hosts at once, backward, and Adam.

use halcyon_policy::network::{LAYERS, LEAK, Layer, Layers, Network, NetworkError, Packed, Shape, Strides};

/// Many hosts, one after another.
#[derive(Debug, Clone, Default)]
pub(super) struct Hosts {
    /// Features of all VMs, row after row.
    pub(super) features: Vec<f32>,
    /// Features of the hosts, row after row.
    pub(super) host: Vec<f32>,
    /// The host of each VM.
    of_host: Vec<usize>,
    /// The socket of each VM; no two hosts have one in common.
    of_socket: Vec<usize>,
    /// The host of each socket.
    socket_host: Vec<usize>,
}

impl Hosts {
    pub(super) fn push(&mut self, features: &[f32], host: &[f32], socket: &[usize], size: usize) {
        let place = self.host.len() / size.max(1);
        self.features.extend_from_slice(features);
        self.host.extend_from_slice(host);
        let from = self.socket_host.len();
        self.of_host.extend(socket.iter().map(|_| place));
        self.of_socket.extend(socket.iter().map(|socket| from + socket));
        let sockets = socket.iter().max().map_or(0, |most| most + 1);
        self.socket_host.extend((0..sockets).map(|_| place));
    }

    pub(super) fn vms(&self) -> usize {
        self.of_host.len()
    }

    fn hosts(&self) -> usize {
        self.socket_host.last().map_or(0, |last| last + 1)
    }
}

/// What a pass leaves behind for the way back.
#[derive(Debug, Clone, Default)]
pub(super) struct Pass {
    first: Vec<f32>,
    second: Vec<f32>,
    means: Vec<f32>,
    third_in: Vec<f32>,
    third: Vec<f32>,
    fourth_in: Vec<f32>,
    fourth: Vec<f32>,
    pub(super) outputs: Vec<f32>,
    packed: Packed,
}

/// Weights that learn.
#[derive(Debug, Clone)]
pub struct Learner {
    shape: Shape,
    layers: Layers,
    forward: [Packed; LAYERS.len()],
    backward: [Packed; LAYERS.len()],
    first_moment: Layers,
    second_moment: Layers,
    steps: i32,
}

/// Decay of the moments, and what keeps a division from zero (Kingma and Ba 2015).
const ADAM: (f32, f32, f32) = (0.9, 0.999, 1e-8);
/// Longer gradients are shortened to this.
const LONGEST: f64 = 1.0;

impl Learner {
    /// A learner that begins where a network stands.
    #[must_use]
    pub fn new(network: &Network) -> Self {
        let zeros = zeros(network.layers());
        let mut learner = Self {
            shape: network.shape(),
            layers: network.layers().clone(),
            forward: Default::default(),
            backward: Default::default(),
            first_moment: zeros.clone(),
            second_moment: zeros,
            steps: 0,
        };
        learner.pack();
        learner
    }

    /// The network as it stands.
    ///
    /// # Errors
    /// When a weight has become something that is no weight.
    pub fn network(&self) -> Result<Network, NetworkError> {
        Network::new(self.shape, self.layers.clone())
    }

    pub(super) fn zeros(&self) -> Layers {
        zeros(&self.layers)
    }

    fn pack(&mut self) {
        for ((layer, forward), backward) in
            self.layers.iter().zip(&mut self.forward).zip(&mut self.backward)
        {
            let at = |row: usize, column: usize| layer.weights[row * layer.outputs + column];
            forward.pack(layer.inputs, layer.outputs, at);
            backward.pack(layer.outputs, layer.inputs, |row, column| at(column, row));
        }
    }

    /// Works out all outputs.
    pub(super) fn forward(&self, hosts: &Hosts, pass: &mut Pass) {
        let (count, width, shape) = (hosts.vms(), self.shape.width, self.shape);
        let mut of_host = rows(&self.layers[1].bias, hosts.hosts());
        self.forward[1].multiply(&hosts.host, along(shape.host), hosts.hosts(), &mut of_host);
        pass.first = rows(&self.layers[0].bias, count);
        add_rows(&mut pass.first, &of_host, &hosts.of_host, width);
        self.forward[0].multiply(&hosts.features, along(shape.features), count, &mut pass.first);
        rectify(&mut pass.first);
        pass.second = rows(&self.layers[2].bias, count);
        self.forward[2].multiply(&pass.first, along(width), count, &mut pass.second);
        rectify(&mut pass.second);
        let sockets = hosts.socket_host.len();
        pass.means = means(hosts, &pass.second, width);
        let mut context = rows(&self.layers[3].bias, sockets);
        self.forward[3].multiply(&pass.means, along(2 * width), sockets, &mut context);
        pass.third_in = rows(&self.layers[4].bias, count);
        add_rows(&mut pass.third_in, &context, &hosts.of_socket, width);
        self.forward[4].multiply(&pass.second, along(width), count, &mut pass.third_in);
        pass.third = rectified_sum(&pass.third_in, &pass.second);
        pass.fourth_in = rows(&self.layers[5].bias, count);
        self.forward[5].multiply(&pass.third, along(width), count, &mut pass.fourth_in);
        pass.fourth = rectified_sum(&pass.fourth_in, &pass.third);
        pass.outputs = rows(&self.layers[6].bias, count);
        self.forward[6].multiply(&pass.fourth, along(width), count, &mut pass.outputs);
    }

    /// Adds to `gradient` what outputs that cost `slope` more for each unit say of the weights.
    pub(super) fn backward(&self, hosts: &Hosts, pass: &mut Pass, slope: &[f32], gradient: &mut Layers) {
        let (count, width) = (hosts.vms(), self.shape.width);
        let mut packed = std::mem::take(&mut pass.packed);
        let mut back = |layer: usize, input: &[f32], slope: &[f32], high: usize, gradient: &mut Layers| {
            learn(&mut gradient[layer], input, slope, high, &mut packed);
            let mut down = vec![0.0; high * self.layers[layer].inputs];
            self.backward[layer].multiply(slope, along(self.layers[layer].outputs), high, &mut down);
            down
        };
        let fourth = back(6, &pass.fourth, slope, count, gradient);
        let inner = leak(&fourth, &pass.fourth_in);
        let mut third = back(5, &pass.third, &inner, count, gradient);
        add_all(&mut third, &fourth);
        let inner = leak(&third, &pass.third_in);
        let mut second = back(4, &pass.second, &inner, count, gradient);
        add_all(&mut second, &third);
        let sockets = hosts.socket_host.len();
        let mut context = vec![0.0; sockets * width];
        gather(&mut context, &inner, &hosts.of_socket, width);
        let down = back(3, &pass.means, &context, sockets, gradient);
        spread_means(hosts, &down, &mut second, width);
        let inner = leak(&second, &pass.second);
        let first = back(2, &pass.first, &inner, count, gradient);
        let inner = leak(&first, &pass.first);
        learn(&mut gradient[0], &hosts.features, &inner, count, &mut packed);
        let mut of_host = vec![0.0; hosts.hosts() * width];
        gather(&mut of_host, &inner, &hosts.of_host, width);
        learn(&mut gradient[1], &hosts.host, &of_host, hosts.hosts(), &mut packed);
        pass.packed = packed;
    }

    /// One step down a gradient, with decay of the weights.
    #[allow(clippy::cast_possible_truncation)]
    pub(super) fn step(&mut self, gradient: &Layers, rate: f32, decay: f32) {
        let all = || gradient.iter().flat_map(|layer| layer.weights.iter().chain(&layer.bias));
        let length = all().map(|value| f64::from(*value) * f64::from(*value)).sum::<f64>().sqrt();
        if !length.is_finite() {
            return;
        }
        let scale = (LONGEST / length.max(LONGEST)) as f32;
        self.steps += 1;
        let (first, second, least) = ADAM;
        let unbias = |decay: f32| 1.0 - libm::pow(f64::from(decay), f64::from(self.steps)) as f32;
        let (unbias_first, unbias_second) = (unbias(first), unbias(second));
        for (((layer, gradient), mean), square) in
            self.layers.iter_mut().zip(gradient).zip(&mut self.first_moment).zip(&mut self.second_moment)
        {
            let update = |values: &mut [f32], slopes: &[f32], means: &mut [f32], squares: &mut [f32], decay: f32| {
                for (((value, slope), mean), square) in values.iter_mut().zip(slopes).zip(means).zip(squares) {
                    let slope = slope * scale;
                    *mean = first * *mean + (1.0 - first) * slope;
                    *square = second * *square + (1.0 - second) * slope * slope;
                    let step = (*mean / unbias_first) / ((*square / unbias_second).sqrt() + least);
                    *value -= rate * (step + decay * *value);
                }
            };
            update(&mut layer.weights, &gradient.weights, &mut mean.weights, &mut square.weights, decay);
            update(&mut layer.bias, &gradient.bias, &mut mean.bias, &mut square.bias, 0.0);
        }
        self.pack();
    }
}

fn zeros(layers: &Layers) -> Layers {
    layers.clone().map(|layer| Layer {
        weights: vec![0.0; layer.weights.len()],
        bias: vec![0.0; layer.bias.len()],
        ..layer
    })
}

const fn along(across: usize) -> Strides {
    Strides { across, along: 1 }
}

fn rows(bias: &[f32], count: usize) -> Vec<f32> {
    bias.repeat(count)
}

fn rectify(values: &mut [f32]) {
    values.iter_mut().for_each(|value| *value = if *value > 0.0 { *value } else { LEAK * *value });
}

fn rectified_sum(values: &[f32], before: &[f32]) -> Vec<f32> {
    let rectified = |value: f32| if value > 0.0 { value } else { LEAK * value };
    values.iter().zip(before).map(|(value, before)| rectified(*value) + before).collect()
}

/// A slope on its way back through a rectifier; `value` may be what went in or what came out.
fn leak(slope: &[f32], value: &[f32]) -> Vec<f32> {
    slope.iter().zip(value).map(|(slope, value)| if *value > 0.0 { *slope } else { LEAK * slope }).collect()
}

fn add_all(sum: &mut [f32], more: &[f32]) {
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum += more);
}

/// Adds to each row the one of `more` that belongs to it.
fn add_rows(sum: &mut [f32], more: &[f32], of: &[usize], width: usize) {
    for (row, place) in sum.chunks_exact_mut(width).zip(of) {
        add_all(row, &more[place * width..][..width]);
    }
}

/// Adds up the rows that belong to each place.
fn gather(sum: &mut [f32], more: &[f32], of: &[usize], width: usize) {
    for (row, place) in more.chunks_exact(width).zip(of) {
        add_all(&mut sum[place * width..][..width], row);
    }
}

/// What a layer learns from what went in and how much more its outputs cost.
fn learn(gradient: &mut Layer, input: &[f32], slope: &[f32], high: usize, packed: &mut Packed) {
    let (inputs, outputs) = (gradient.inputs, gradient.outputs);
    packed.pack(high, outputs, |row, column| slope[row * outputs + column]);
    packed.multiply(input, Strides { across: 1, along: inputs }, inputs, &mut gradient.weights);
    for row in slope.chunks_exact(outputs) {
        add_all(&mut gradient.bias, row);
    }
}

/// How many VMs each socket has, and each host.
#[allow(clippy::cast_precision_loss)]
fn counts(hosts: &Hosts) -> (Vec<f32>, Vec<f32>) {
    let (mut sockets, mut all) = (vec![0.0; hosts.socket_host.len()], vec![0.0; hosts.hosts()]);
    for (socket, host) in hosts.of_socket.iter().zip(&hosts.of_host) {
        sockets[*socket] += 1.0;
        all[*host] += 1.0;
    }
    (sockets, all)
}

/// For each socket, the mean row of its VMs and that of its host.
#[allow(clippy::cast_possible_truncation)]
fn means(hosts: &Hosts, of: &[f32], width: usize) -> Vec<f32> {
    let (in_socket, in_host) = counts(hosts);
    let (mut sockets, mut all) =
        (vec![0.0_f64; in_socket.len() * width], vec![0.0_f64; in_host.len() * width]);
    for ((row, socket), host) in of.chunks_exact(width).zip(&hosts.of_socket).zip(&hosts.of_host) {
        let add = |sum: &mut [f64]| sum.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        add(&mut sockets[socket * width..][..width]);
        add(&mut all[host * width..][..width]);
    }
    let mut means = Vec::with_capacity(2 * sockets.len());
    for (socket, host) in hosts.socket_host.iter().enumerate() {
        let part = |sums: &[f64], count: f32| -> Vec<f32> {
            sums.iter().map(|sum| (sum / f64::from(count.max(1.0))) as f32).collect()
        };
        means.extend(part(&sockets[socket * width..][..width], in_socket[socket]));
        means.extend(part(&all[host * width..][..width], in_host[*host]));
    }
    means
}

/// The way back of [`means`].
fn spread_means(hosts: &Hosts, slope: &[f32], sum: &mut [f32], width: usize) {
    let (in_socket, in_host) = counts(hosts);
    let mut all = vec![0.0; in_host.len() * width];
    for (row, host) in slope.chunks_exact(2 * width).zip(&hosts.socket_host) {
        add_all(&mut all[host * width..][..width], &row[width..]);
    }
    for ((row, socket), host) in sum.chunks_exact_mut(width).zip(&hosts.of_socket).zip(&hosts.of_host) {
        let of_socket = &slope[socket * 2 * width..][..width];
        let of_host = &all[host * width..][..width];
        for ((value, socket_slope), host_slope) in row.iter_mut().zip(of_socket).zip(of_host) {
            *value += socket_slope / in_socket[*socket].max(1.0) + host_slope / in_host[*host].max(1.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cost(learner: &Learner, hosts: &Hosts) -> f64 {
        let mut pass = Pass::default();
        learner.forward(hosts, &mut pass);
        pass.outputs.iter().enumerate().map(|(i, o)| f64::from(*o) * f64::from(libm::sinf(i as f32))).sum()
    }

    fn hosts() -> Hosts {
        let mut hosts = Hosts::default();
        let wave = |n: usize, k: f32| -> Vec<f32> { (0..n).map(|i| libm::sinf(i as f32 * k)).collect() };
        hosts.push(&wave(4 * 5, 0.7), &wave(3, 1.1), &[0, 1, 1, 0], 3);
        hosts.push(&wave(2 * 5, 1.7), &wave(3, 0.3), &[0, 0], 3);
        hosts
    }

    #[test]
    fn gradients_are_those_of_finite_differences() {
        let shape = Shape { features: 5, host: 3, width: 8, outputs: 4 };
        let mut learner = Learner::new(&Network::random(shape, 7).unwrap());
        let hosts = hosts();
        let mut pass = Pass::default();
        learner.forward(&hosts, &mut pass);
        let slope: Vec<f32> = (0..pass.outputs.len()).map(|i| libm::sinf(i as f32)).collect();
        let mut gradient = learner.zeros();
        learner.backward(&hosts, &mut pass, &slope, &mut gradient);
        for layer in 0..LAYERS.len() {
            for place in (0..learner.layers[layer].weights.len()).step_by(3) {
                let step = 1e-2;
                let mut at = |more: f32| {
                    let before = learner.layers[layer].weights[place];
                    learner.layers[layer].weights[place] = before + more;
                    learner.pack();
                    let cost = cost(&learner, &hosts);
                    learner.layers[layer].weights[place] = before;
                    learner.pack();
                    cost
                };
                let slope = (at(step) - at(-step)) / (2.0 * f64::from(step));
                let found = f64::from(gradient[layer].weights[place]);
                let name = LAYERS[layer];
                assert!((slope - found).abs() < 0.02 * (1.0 + slope.abs()), "{name} {place}: {slope} {found}");
            }
        }
    }

    #[test]
    fn one_host_among_many_comes_to_the_same_as_alone() {
        let shape = Shape { features: 5, host: 3, width: 8, outputs: 4 };
        let network = Network::random(shape, 3).unwrap();
        let (hosts, mut pass) = (hosts(), Pass::default());
        Learner::new(&network).forward(&hosts, &mut pass);
        let batch = halcyon_policy::Batch {
            features: &hosts.features[20..],
            host: &hosts.host[3..],
            socket: &[0, 0],
        };
        let mut scratch = halcyon_policy::Scratch::default();
        assert_eq!(network.forward(&batch, &mut scratch), &pass.outputs[16..]);
    }
}
