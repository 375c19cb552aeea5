//! Weights in a file, in the safetensors format. A file that is not whole, not for this network, or that
//! holds anything but numbers of moderate size is refused.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use super::{LAYERS, Layer, Layers, Network, Shape};

/// Larger files are not read.
pub const MOST_BYTES: usize = 8 * 1024 * 1024;
/// No weight is larger.
const MOST_WEIGHT: f32 = 1e3;
/// No layer is wider.
const MOST_WIDTH: usize = 4096;
/// The version of the layout.
const SCHEMA: &str = "1";
/// Under which a file says what it is: schema, digest of the features, name. One entry alone has an order.
const KEY: &str = "halcyon";

/// Why there is no such network.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// The file is too large.
    #[error("the model is {bytes} bytes long; models are at most {MOST_BYTES}")]
    TooLarge {
        /// How large.
        bytes: usize,
    },
    /// It is not a safetensors file, or not all of one.
    #[error("the model is not a whole safetensors file")]
    Format(#[from] safetensors::SafeTensorError),
    /// What it says of itself does not fit.
    #[error("the model's `{field}` is {found}, but this version of Halcyon needs {needed}; train it anew")]
    Foreign {
        /// What.
        field: &'static str,
        /// What the file has.
        found: String,
        /// What it should have.
        needed: String,
    },
    /// A tensor is missing, or has another shape or type.
    #[error("the model's tensor `{tensor}` {what}")]
    Tensor {
        /// Which.
        tensor: String,
        /// What is wrong with it.
        what: String,
    },
}

/// Whether all layers have the shapes that they should, and all weights are numbers of moderate size.
pub(super) fn check(shape: &Shape, layers: &Layers) -> Result<(), NetworkError> {
    let sizes = [shape.features, shape.host, shape.width, shape.outputs];
    if sizes.iter().any(|size| *size == 0 || *size > MOST_WIDTH) {
        return Err(NetworkError::Tensor {
            tensor: "shape".into(),
            what: format!("has a size that is not from 1 to {MOST_WIDTH}: {sizes:?}"),
        });
    }
    for ((name, layer), (inputs, outputs)) in LAYERS.iter().zip(layers).zip(shape.layers()) {
        let wrong = |what: String| Err(NetworkError::Tensor { tensor: (*name).into(), what });
        if (layer.inputs, layer.outputs) != (inputs, outputs)
            || layer.weights.len() != inputs * outputs
            || layer.bias.len() != outputs
        {
            return wrong(format!("is not {inputs} × {outputs}"));
        }
        let bad = |value: &&f32| !(value.abs() <= MOST_WEIGHT);
        if let Some(value) = layer.weights.iter().chain(&layer.bias).find(bad) {
            return wrong(format!("holds {value}, which is no weight"));
        }
    }
    Ok(())
}

impl Network {
    /// Reads weights that were trained on features with this digest.
    ///
    /// # Errors
    /// When the file is not whole, not for these features, or not sane.
    pub fn parse(bytes: &[u8], features: &str) -> Result<Self, NetworkError> {
        if bytes.len() > MOST_BYTES {
            return Err(NetworkError::TooLarge { bytes: bytes.len() });
        }
        let tensors = SafeTensors::deserialize(bytes)?;
        let (_, metadata) = SafeTensors::read_metadata(bytes)?;
        let of_itself = metadata.metadata().as_ref().and_then(|known| known.get(KEY)).map_or("", String::as_str);
        let mut words = of_itself.splitn(3, ' ');
        for (field, needed) in [("schema", SCHEMA), ("features", features)] {
            let found = words.next().filter(|word| !word.is_empty()).unwrap_or("missing");
            if found != needed {
                return Err(NetworkError::Foreign { field, found: found.into(), needed: needed.into() });
            }
        }
        let mut layers = Layers::default();
        for (name, layer) in LAYERS.iter().zip(&mut layers) {
            let (weights, sides) = values(&tensors, &format!("{name}.weight"))?;
            let (bias, _) = values(&tensors, &format!("{name}.bias"))?;
            let [inputs, outputs] = sides[..] else {
                let what = format!("has {} sides instead of two", sides.len());
                return Err(NetworkError::Tensor { tensor: format!("{name}.weight"), what });
            };
            *layer = Layer { inputs, outputs, weights, bias };
        }
        let shape = Shape {
            features: layers[0].inputs,
            host: layers[1].inputs,
            width: layers[0].outputs,
            outputs: layers[LAYERS.len() - 1].outputs,
        };
        Self::new(shape, layers)
    }

    /// The file of this network, for features with this digest.
    ///
    /// # Errors
    /// Never for a network that was made or read here.
    pub fn write(&self, features: &str, name: &str) -> Result<Vec<u8>, NetworkError> {
        let bytes = |values: &[f32]| values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>();
        let stored: Vec<(String, Vec<usize>, Vec<u8>)> = LAYERS
            .iter()
            .zip(self.layers())
            .flat_map(|(name, layer)| {
                [
                    (format!("{name}.weight"), vec![layer.inputs, layer.outputs], bytes(&layer.weights)),
                    (format!("{name}.bias"), vec![layer.outputs], bytes(&layer.bias)),
                ]
            })
            .collect();
        let mut views = Vec::new();
        for (name, sides, bytes) in &stored {
            views.push((name.clone(), TensorView::new(Dtype::F32, sides.clone(), bytes)?));
        }
        let metadata = HashMap::from([(KEY.to_owned(), format!("{SCHEMA} {features} {name}"))]);
        Ok(safetensors::serialize(views, Some(metadata))?)
    }
}

fn values(tensors: &SafeTensors<'_>, name: &str) -> Result<(Vec<f32>, Vec<usize>), NetworkError> {
    let wrong = |what: String| NetworkError::Tensor { tensor: name.into(), what };
    let tensor = tensors.tensor(name).map_err(|_| wrong("is missing".into()))?;
    if tensor.dtype() != Dtype::F32 {
        return Err(wrong(format!("holds {:?} instead of F32", tensor.dtype())));
    }
    let bytes = tensor.data().chunks_exact(4);
    let values = bytes.map(|four| f32::from_le_bytes([four[0], four[1], four[2], four[3]])).collect();
    Ok((values, tensor.shape().to_vec()))
}
