//! The size of a network and its parameters, one after the other in one vector.

use std::ops::Range;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::NetworkError;

/// The most columns that any layer may have.
pub const MOST_WIDTH: usize = 1024;
/// The greatest magnitude of a weight. With inputs of ±8 no sum of any permitted shape then leaves the
/// range of `f32`: the greatest possible output is below 3e26.
pub const MOST_WEIGHT: f32 = 64.0;
/// Outputs start this much smaller than the layers before them, so that an untrained network says little.
const OUTPUT_GAIN: f64 = 0.01;

/// Columns of the inputs, of the layers and of the outputs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Shape {
    /// Features of each VM.
    pub features: usize,
    /// Features of the host.
    pub host: usize,
    /// Columns of every hidden layer.
    pub width: usize,
    /// Outputs for each VM.
    pub outputs: usize,
}

/// One matrix or vector of parameters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the names are those of the layers in the module's picture")]
pub enum Tensor {
    VmWeight,
    HostWeight,
    VmBias,
    EncoderWeight,
    EncoderBias,
    ContextWeight,
    ContextBias,
    MixerWeight,
    MixerBias,
    RefinerWeight,
    RefinerBias,
    OutputWeight,
    OutputBias,
}

impl Tensor {
    /// All of them, in the order of the parameters.
    pub const ALL: [Self; 13] = [
        Self::VmWeight,
        Self::HostWeight,
        Self::VmBias,
        Self::EncoderWeight,
        Self::EncoderBias,
        Self::ContextWeight,
        Self::ContextBias,
        Self::MixerWeight,
        Self::MixerBias,
        Self::RefinerWeight,
        Self::RefinerBias,
        Self::OutputWeight,
        Self::OutputBias,
    ];

    /// Its name in a file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::VmWeight => "vm.weight",
            Self::HostWeight => "host.weight",
            Self::VmBias => "vm.bias",
            Self::EncoderWeight => "encoder.weight",
            Self::EncoderBias => "encoder.bias",
            Self::ContextWeight => "context.weight",
            Self::ContextBias => "context.bias",
            Self::MixerWeight => "mixer.weight",
            Self::MixerBias => "mixer.bias",
            Self::RefinerWeight => "refiner.weight",
            Self::RefinerBias => "refiner.bias",
            Self::OutputWeight => "output.weight",
            Self::OutputBias => "output.bias",
        }
    }

    /// Whether it is added rather than multiplied.
    #[must_use]
    pub fn is_bias(self) -> bool {
        self.name().ends_with("bias")
    }
}

impl Shape {
    /// Inputs and outputs of a tensor, which is row-major with a row for each input; a bias has one row.
    #[must_use]
    pub fn size(&self, tensor: Tensor) -> (usize, usize) {
        let width = self.width;
        match tensor {
            Tensor::VmWeight => (self.features, width),
            Tensor::HostWeight => (self.host, width),
            Tensor::ContextWeight => (2 * width, width),
            Tensor::EncoderWeight | Tensor::MixerWeight | Tensor::RefinerWeight => (width, width),
            Tensor::OutputWeight => (width, self.outputs),
            Tensor::OutputBias => (1, self.outputs),
            Tensor::VmBias
            | Tensor::EncoderBias
            | Tensor::ContextBias
            | Tensor::MixerBias
            | Tensor::RefinerBias => (1, width),
        }
    }

    /// Where a tensor lies among the parameters.
    #[must_use]
    pub fn range(&self, tensor: Tensor) -> Range<usize> {
        let mut end = 0;
        for each in Tensor::ALL {
            let (inputs, outputs) = self.size(each);
            let start = end;
            end += inputs * outputs;
            if each == tensor {
                return start..end;
            }
        }
        end..end
    }

    /// How many parameters there are.
    #[must_use]
    pub fn parameters(&self) -> usize {
        self.range(Tensor::OutputBias).end
    }

    /// That no size is zero or beyond what is permitted.
    ///
    /// # Errors
    /// If one is; with its name.
    pub fn check(&self) -> Result<(), NetworkError> {
        let sizes = [
            ("features", self.features),
            ("host features", self.host),
            ("width", self.width),
            ("outputs", self.outputs),
        ];
        match sizes.into_iter().find(|(_, size)| !(1..=MOST_WIDTH).contains(size)) {
            Some((name, size)) => Err(NetworkError::Size { name, size }),
            None => Ok(()),
        }
    }
}

/// The numbers that training finds.
#[derive(Debug, Clone, PartialEq)]
pub struct Parameters {
    shape: Shape,
    values: Vec<f32>,
}

impl Parameters {
    /// Takes over numbers in the order of [`Tensor::ALL`].
    ///
    /// # Errors
    /// If the shape is not permitted, there are more or fewer numbers than it needs, or one of them is not
    /// finite or beyond [`MOST_WEIGHT`].
    pub fn new(shape: Shape, values: Vec<f32>) -> Result<Self, NetworkError> {
        shape.check()?;
        let expected = shape.parameters();
        if values.len() != expected {
            return Err(NetworkError::Parameters { found: values.len(), expected });
        }
        let parameters = Self { shape, values };
        for tensor in Tensor::ALL {
            let wild = |value: &&f32| !value.is_finite() || value.abs() > MOST_WEIGHT;
            if let Some(value) = parameters.tensor(tensor).iter().find(wild) {
                return Err(NetworkError::Wild { tensor: tensor.name(), value: *value });
            }
        }
        Ok(parameters)
    }

    /// Draws weights so that a layer keeps the variance of what goes in (He et al. 2015, for a rectifier
    /// with a leak); biases are zero and the outputs small.
    ///
    /// # Errors
    /// If the shape is not permitted.
    #[allow(clippy::cast_possible_truncation, clippy::cast_precision_loss)]
    pub fn random(shape: Shape, seed: u64) -> Result<Self, NetworkError> {
        shape.check()?;
        let mut random = Pcg64Mcg::seed_from_u64(seed);
        let mut values = Vec::with_capacity(shape.parameters());
        for tensor in Tensor::ALL {
            let (inputs, outputs) = shape.size(tensor);
            let fan = match tensor {
                Tensor::VmWeight | Tensor::HostWeight => shape.features + shape.host,
                _ => inputs,
            };
            let gain = if tensor == Tensor::OutputWeight { OUTPUT_GAIN } else { 1.0 };
            let deviation = if tensor.is_bias() { 0.0 } else { gain * (2.0 / fan as f64).sqrt() };
            values.extend((0..inputs * outputs).map(|_| (deviation * normal(&mut random)) as f32));
        }
        Self::new(shape, values)
    }

    /// The sizes.
    #[must_use]
    pub fn shape(&self) -> Shape {
        self.shape
    }

    /// All numbers, in the order of [`Tensor::ALL`].
    #[must_use]
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// One matrix or vector.
    #[must_use]
    pub fn tensor(&self, tensor: Tensor) -> &[f32] {
        &self.values[self.shape.range(tensor)]
    }
}

/// A standard normal number (Box and Muller 1958).
fn normal(random: &mut Pcg64Mcg) -> f64 {
    let (radius, angle): (f64, f64) = (1.0 - random.random::<f64>(), random.random());
    (-2.0 * libm::log(radius)).sqrt() * libm::cos(std::f64::consts::TAU * angle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: Shape = Shape { features: 48, host: 10, width: 128, outputs: 64 };

    #[test]
    fn tensors_lie_one_after_the_other() {
        let mut end = 0;
        for tensor in Tensor::ALL {
            assert_eq!(SHAPE.range(tensor).start, end);
            end = SHAPE.range(tensor).end;
        }
        assert_eq!(end, SHAPE.parameters());
    }

    #[test]
    fn random_weights_have_the_variance_of_he_and_follow_the_seed() {
        let drawn = Parameters::random(SHAPE, 1).unwrap();
        assert_eq!(drawn, Parameters::random(SHAPE, 1).unwrap());
        assert_ne!(drawn, Parameters::random(SHAPE, 2).unwrap());
        let weights = drawn.tensor(Tensor::EncoderWeight);
        let square: f32 = weights.iter().map(|weight| weight * weight).sum::<f32>() / weights.len() as f32;
        assert!((square * 64.0 - 1.0).abs() < 0.05, "variance {square} is not near 1/64");
        assert!(drawn.tensor(Tensor::MixerBias).iter().all(|bias| *bias == 0.0));
        assert!(drawn.tensor(Tensor::OutputWeight).iter().all(|weight| weight.abs() < 0.01));
    }

    #[test]
    fn what_is_not_a_network_is_refused() {
        let many = SHAPE.parameters();
        assert!(Shape { width: 0, ..SHAPE }.check().is_err());
        assert!(Shape { outputs: MOST_WIDTH + 1, ..SHAPE }.check().is_err());
        assert!(Parameters::new(SHAPE, vec![0.0; many - 1]).is_err());
        for wild in [f32::NAN, f32::INFINITY, -65.0] {
            let mut values = vec![0.0; many];
            values[SHAPE.range(Tensor::MixerBias).start] = wild;
            let error = Parameters::new(SHAPE, values).unwrap_err().to_string();
            assert!(error.contains("mixer.bias"), "{error}");
        }
    }
}
