//! The model file: safetensors, with a tensor for each matrix and bias, and one entry of metadata.
//!
//! Matrices are stored as outputs × inputs, as other tools expect them. The metadata says which version of
//! the format this is, the name of the model, the features it was made for and a check sum over these and
//! all numbers; all of it stands in one entry, so that one network always gives the same bytes. A file is
//! data from outside: its size is bounded, every tensor must be there with the right type and size and no
//! other, and every number sane. Where the check sum is there, which it is in all files that are written
//! now, one flipped bit is enough for the file to be refused.

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};

use super::{Network, NetworkError, Parameters, Shape, Tensor};

/// The version of the format.
pub const SCHEMA: u32 = 1;
/// The largest file that is read: two million parameters.
pub const MOST_FILE_BYTES: usize = 8 << 20;
/// The key of the metadata.
const KEY: &str = "halcyon";
/// The longest name or digest.
const MOST_TEXT: usize = 128;

/// What a model says of itself.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Card {
    /// Its name.
    pub model: String,
    /// The digest of the feature table that it was trained with.
    pub features: String,
}

impl Card {
    fn text(&self) -> Result<String, NetworkError> {
        for (name, text) in [("name", &self.model), ("features", &self.features)] {
            if text.len() > MOST_TEXT || text.chars().any(char::is_control) {
                return Err(refused(format!(
                    "has {name} with control characters or more than {MOST_TEXT} bytes"
                )));
            }
        }
        // A line break that is damaged must not take the check sum with it.
        if self.features.contains('=') {
            return Err(refused(format!("has the features {:.64?}, with an equals sign", self.features)));
        }
        Ok(format!("schema={SCHEMA}\nmodel={}\nfeatures={}", self.model, self.features))
    }

    /// With the check sum, if there is one.
    fn parse(text: &str) -> Result<(Self, Option<&str>), NetworkError> {
        let mut lines = text.splitn(4, '\n');
        let mut line = |key: &str| {
            let value = lines.next().and_then(|line| line.strip_prefix(key)?.strip_prefix('='));
            value.ok_or_else(|| refused(format!("has no {key} in its metadata")))
        };
        let schema = line("schema")?;
        if schema.parse() != Ok(SCHEMA) {
            return Err(refused(format!("has the format {schema:.16?}, and {SCHEMA} is known")));
        }
        let card = Self { model: line("model")?.to_owned(), features: line("features")?.to_owned() };
        card.text()?;
        let sum = lines.next().map(|line| {
            line.strip_prefix("sum=").ok_or_else(|| refused("has damaged metadata: no check sum".to_owned()))
        });
        Ok((card, sum.transpose()?))
    }
}

/// 64 bits of FNV-1a over a card and numbers, as 16 hexadecimal digits.
fn check_sum(card: &str, values: &[f32]) -> String {
    let bytes = card.bytes().chain(values.iter().flat_map(|value| value.to_le_bytes()));
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    format!("{hash:016x}")
}

impl Network {
    /// Reads a model.
    ///
    /// # Errors
    /// If it is too large, damaged, of another format, not complete, or holds a number that is not finite
    /// or beyond [`super::MOST_WEIGHT`].
    pub fn parse(bytes: &[u8]) -> Result<Self, NetworkError> {
        if bytes.len() > MOST_FILE_BYTES {
            return Err(NetworkError::TooLarge { size: bytes.len() });
        }
        let container = |source| NetworkError::Container { source };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(container)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let (card, sum) = Card::parse(text.ok_or_else(|| refused("has no metadata of Halcyon".to_owned()))?)?;
        let tensors = SafeTensors::deserialize(bytes).map_err(container)?;
        if let Some(other) = tensors.names().into_iter().filter(|name| !known(name)).min() {
            return Err(refused(format!("has a tensor {other:.64?} that is not known")));
        }
        let shape = shape(&tensors)?;
        let mut values = Vec::with_capacity(shape.parameters());
        for tensor in Tensor::ALL {
            read(&tensors, shape, tensor, &mut values)?;
        }
        let parameters = Parameters::new(shape, values)?;
        let found = check_sum(&card.text()?, parameters.values());
        if sum.is_some_and(|sum| sum != found) {
            return Err(refused("is damaged: its numbers are not those of its check sum".to_owned()));
        }
        Ok(Self::new(card, parameters))
    }

    /// This network, if it was made for the feature table with the digest `features`.
    ///
    /// # Errors
    /// If it was made for another one.
    pub fn made_for(self, features: &str) -> Result<Self, NetworkError> {
        if self.card().features == features {
            return Ok(self);
        }
        let Card { model, features: found } = self.card().clone();
        Err(NetworkError::Features { model, found, expected: features.to_owned() })
    }

    /// This network with another card.
    #[must_use]
    pub fn named(self, card: Card) -> Self {
        Self { card, ..self }
    }

    /// The file that [`Network::parse`] reads. One network always gives the same bytes.
    ///
    /// # Errors
    /// If the card has control characters or more than 128 bytes in one field, or the file would be larger
    /// than what is read.
    pub fn write(&self) -> Result<Vec<u8>, NetworkError> {
        let card = self.card().text()?;
        let text = format!("{card}\nsum={}", check_sum(&card, self.parameters().values()));
        let metadata = std::iter::once((KEY.to_owned(), text)).collect();
        let stored: Vec<_> = Tensor::ALL.map(|tensor| (tensor, self.stored(tensor))).into();
        let mut views = Vec::with_capacity(stored.len());
        for (tensor, bytes) in &stored {
            let size = stored_size(self.shape(), *tensor);
            let view = TensorView::new(Dtype::F32, size, bytes);
            views.push((tensor.name(), view.map_err(|source| NetworkError::Container { source })?));
        }
        let file = safetensors::serialize(views, Some(metadata))
            .map_err(|source| NetworkError::Container { source })?;
        if file.len() > MOST_FILE_BYTES { Err(NetworkError::TooLarge { size: file.len() }) } else { Ok(file) }
    }

    /// The bytes of a tensor, transposed to outputs × inputs.
    fn stored(&self, tensor: Tensor) -> Vec<u8> {
        let (inputs, outputs) = self.shape().size(tensor);
        let values = self.parameters().tensor(tensor);
        let column = |output: usize| (0..inputs).map(move |input| values[input * outputs + output]);
        (0..outputs).flat_map(column).flat_map(f32::to_le_bytes).collect()
    }
}

fn refused(what: String) -> NetworkError {
    NetworkError::Model { what }
}

fn known(name: &str) -> bool {
    Tensor::ALL.iter().any(|tensor| tensor.name() == name)
}

fn stored_size(shape: Shape, tensor: Tensor) -> Vec<usize> {
    let (inputs, outputs) = shape.size(tensor);
    if tensor.is_bias() { vec![outputs] } else { vec![outputs, inputs] }
}

fn view<'a>(tensors: &SafeTensors<'a>, tensor: Tensor) -> Result<TensorView<'a>, NetworkError> {
    tensors.tensor(tensor.name()).map_err(|_| refused(format!("has no tensor {}", tensor.name())))
}

/// The shape that the matrices at both ends tell; every other tensor must then fit it.
fn shape(tensors: &SafeTensors<'_>) -> Result<Shape, NetworkError> {
    let matrix = |tensor: Tensor| match *view(tensors, tensor)?.shape() {
        [outputs, inputs] => Ok((outputs, inputs)),
        _ => Err(refused(format!("has a tensor {} that is no matrix", tensor.name()))),
    };
    let (width, features) = matrix(Tensor::VmWeight)?;
    let shape = Shape {
        features,
        host: matrix(Tensor::HostWeight)?.1,
        width,
        outputs: matrix(Tensor::OutputWeight)?.0,
    };
    shape.check()?;
    Ok(shape)
}

fn read(
    tensors: &SafeTensors<'_>,
    shape: Shape,
    tensor: Tensor,
    values: &mut Vec<f32>,
) -> Result<(), NetworkError> {
    let (view, name) = (view(tensors, tensor)?, tensor.name());
    if view.dtype() != Dtype::F32 {
        return Err(refused(format!("has a tensor {name} of {:?} instead of F32", view.dtype())));
    }
    let expected = stored_size(shape, tensor);
    if view.shape() != expected {
        return Err(refused(format!("has a tensor {name} of {:?} instead of {expected:?}", view.shape())));
    }
    let (inputs, outputs) = shape.size(tensor);
    let (words, _) = view.data().as_chunks::<4>();
    let stored = |input: usize, output: usize| f32::from_le_bytes(words[output * inputs + input]);
    values.extend((0..inputs).flat_map(|input| (0..outputs).map(move |output| stored(input, output))));
    Ok(())
}
