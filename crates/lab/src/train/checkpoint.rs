//! What a course has come to, as one file, and back.
//!
//! The file is safetensors: the parameters, what the optimiser remembers and the networks, one vector
//! each, and one entry of metadata that says what they are, with a digest of all of it. Samples are not
//! in it: they are taken again, by the networks that took them, which gives the same ones to the last bit
//! and needs a thousandth of the room. A file is data from outside; one that is not whole is refused.

use std::collections::BTreeMap;
use std::sync::Arc;

use halcyon_policy::network::{Parameters, Shape};
use halcyon_policy::{Card, Features, Network, NetworkError};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::collect::Actor;
use super::course::Course;
use super::net::Memory;

/// The version of the form.
const SCHEMA: u32 = 1;
/// The key of the metadata.
const KEY: &str = "halcyon-training";
/// No file is larger.
pub const MOST_CHECKPOINT_BYTES: usize = 256 << 20;

/// Why a checkpoint cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum CheckpointError {
    /// The container is damaged.
    #[error("it is no whole safetensors file")]
    Container(#[from] safetensors::SafeTensorError),
    /// It is something else, or was changed.
    #[error("it {what}")]
    Refused {
        /// What is wrong with it.
        what: String,
    },
    /// It holds what is no network.
    #[error("it holds a network that is none")]
    Network(#[from] NetworkError),
}

/// What a course has come to, without working memory.
#[derive(Debug, Clone)]
pub struct Checkpoint {
    /// What whoever trains wants to know of it later.
    pub note: String,
    /// Networks that are to be kept, by name.
    pub networks: BTreeMap<String, Network>,
    pub(super) rounds: usize,
    /// Seed of the random numbers, and how many were drawn.
    pub(super) dice: (u64, u64),
    pub(super) parameters: Parameters,
    pub(super) memory: Memory,
    /// Who took the samples that are still learned from, by round.
    pub(super) window: Vec<(usize, Actor)>,
}

/// The metadata.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Head {
    schema: u32,
    features: String,
    note: String,
    rounds: usize,
    dice: (u64, u64),
    steps: u64,
    mean_left: f64,
    square_left: f64,
    shape: Sizes,
    networks: BTreeMap<String, Sizes>,
    window: Vec<Seat>,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Sizes {
    features: usize,
    host: usize,
    width: usize,
    outputs: usize,
}

/// Who took the samples of a round: the network that stands under this name, or else who knows.
#[derive(Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Seat {
    round: usize,
    network: Option<Sizes>,
}

impl Checkpoint {
    /// The file. One checkpoint always gives the same bytes.
    ///
    /// # Errors
    /// When it would be larger than what is read.
    pub fn write(&self) -> Result<Vec<u8>, CheckpointError> {
        let mut tensors = Vec::new();
        let mut keep = |name: String, values: &[f32]| {
            tensors.push((name, values.iter().flat_map(|value| value.to_le_bytes()).collect::<Vec<u8>>()));
        };
        keep("values".into(), self.parameters.values());
        keep("means".into(), &self.memory.means);
        keep("squares".into(), &self.memory.squares);
        for (name, network) in &self.networks {
            keep(format!("network.{name}"), network.parameters().values());
        }
        for (round, actor) in &self.window {
            if let Actor::Pupil(network) = actor {
                keep(format!("actor.{round}"), network.parameters().values());
            }
        }
        let head = serde_json::to_string(&self.head()).map_err(|error| refused(error.to_string()))?;
        let digest = digest(&head, tensors.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice())));
        let metadata = std::iter::once((KEY.to_owned(), format!("{digest}\n{head}"))).collect();
        let views: Result<Vec<_>, _> = tensors
            .iter()
            .map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, vec![bytes.len() / 4], bytes)?)))
            .collect();
        let file = safetensors::serialize(views.map_err(CheckpointError::Container)?, Some(metadata))?;
        if file.len() > MOST_CHECKPOINT_BYTES { Err(too_large(file.len())) } else { Ok(file) }
    }

    fn head(&self) -> Head {
        Head {
            schema: SCHEMA,
            features: Features::digest(),
            note: self.note.clone(),
            rounds: self.rounds,
            dice: self.dice,
            steps: self.memory.steps,
            mean_left: self.memory.mean_left,
            square_left: self.memory.square_left,
            shape: self.parameters.shape().into(),
            networks: self.networks.iter().map(|(name, it)| (name.clone(), it.shape().into())).collect(),
            window: self
                .window
                .iter()
                .map(|(round, actor)| Seat {
                    round: *round,
                    network: match actor {
                        Actor::Expert => None,
                        Actor::Pupil(network) => Some(network.shape().into()),
                    },
                })
                .collect(),
        }
    }

    /// Whether the course is over.
    #[must_use]
    pub fn is_done(&self, course: &Course) -> bool {
        self.rounds >= course.rounds()
    }

    /// Reads a file.
    ///
    /// # Errors
    /// When it is too large, damaged, of another version, or for other features.
    pub fn parse(bytes: &[u8]) -> Result<Self, CheckpointError> {
        if bytes.len() > MOST_CHECKPOINT_BYTES {
            return Err(too_large(bytes.len()));
        }
        let (_, header) = SafeTensors::read_metadata(bytes)?;
        let text = header.metadata().as_ref().and_then(|entries| entries.get(KEY));
        let text = text.ok_or_else(|| refused("is no checkpoint of a training".into()))?;
        let (said, json) = text.split_once('\n').ok_or_else(|| refused("has no digest".into()))?;
        let tensors = SafeTensors::deserialize(bytes)?;
        let mut views: BTreeMap<&str, &[u8]> = BTreeMap::new();
        for name in tensors.names() {
            views.insert(name, tensors.tensor(name)?.data());
        }
        if digest(json, views.iter().map(|(name, bytes)| (*name, *bytes))) != said {
            return Err(refused("is damaged: its digest is another".into()));
        }
        let head: Head =
            serde_json::from_str(json).map_err(|error| refused(format!("is of another form: {error}")))?;
        if head.schema != SCHEMA {
            return Err(refused(format!("has the form {}, and {SCHEMA} is known", head.schema)));
        }
        if head.features != Features::digest() {
            return Err(refused("is for the features of another version; begin again".into()));
        }
        let in_order = head.window.windows(2).all(|pair| pair[0].round < pair[1].round);
        if !in_order || head.window.last().is_some_and(|seat| seat.round > head.rounds) {
            return Err(refused("has samples of rounds that were not yet".into()));
        }
        Self::of(head, &views)
    }

    fn of(head: Head, views: &BTreeMap<&str, &[u8]>) -> Result<Self, CheckpointError> {
        let values = |name: &str| -> Result<Vec<f32>, CheckpointError> {
            let bytes = views.get(name).ok_or_else(|| refused(format!("has no tensor {name}")))?;
            let (words, _) = bytes.as_chunks::<4>();
            Ok(words.iter().map(|word| f32::from_le_bytes(*word)).collect())
        };
        let parameters = |name: &str, sizes: Sizes| -> Result<Parameters, CheckpointError> {
            Ok(Parameters::new(sizes.into(), values(name)?)?)
        };
        let network = |name: &str, sizes: Sizes| -> Result<Network, CheckpointError> {
            Ok(Network::new(card(), parameters(name, sizes)?))
        };
        let networks = head
            .networks
            .iter()
            .map(|(name, sizes)| Ok((name.clone(), network(&format!("network.{name}"), *sizes)?)))
            .collect::<Result<_, CheckpointError>>()?;
        let window = head
            .window
            .iter()
            .map(|seat| {
                let actor = match seat.network {
                    None => Actor::Expert,
                    Some(sizes) => Actor::Pupil(Arc::new(network(&format!("actor.{}", seat.round), sizes)?)),
                };
                Ok((seat.round, actor))
            })
            .collect::<Result<_, CheckpointError>>()?;
        Ok(Self {
            note: head.note,
            networks,
            rounds: head.rounds,
            dice: head.dice,
            parameters: parameters("values", head.shape)?,
            memory: Memory {
                steps: head.steps,
                means: values("means")?,
                squares: values("squares")?,
                mean_left: head.mean_left,
                square_left: head.square_left,
            },
            window,
        })
    }
}

/// The card of every network that is trained here.
pub(super) fn card() -> Card {
    Card { model: "halcyon".into(), features: Features::digest() }
}

fn refused(what: String) -> CheckpointError {
    CheckpointError::Refused { what }
}

fn too_large(size: usize) -> CheckpointError {
    refused(format!("has {size} bytes, and checkpoints have at most {MOST_CHECKPOINT_BYTES}"))
}

/// A digest of everything, whatever the order of the tensors in the file.
fn digest<'a>(head: &str, tensors: impl Iterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut sorted: Vec<_> = tensors.collect();
    sorted.sort_unstable_by_key(|(name, _)| *name);
    let mut hash = Sha256::new();
    hash.update(head);
    for (name, bytes) in sorted {
        hash.update((name.len() as u64).to_le_bytes());
        hash.update(name);
        hash.update((bytes.len() as u64).to_le_bytes());
        hash.update(bytes);
    }
    hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

impl From<Shape> for Sizes {
    fn from(shape: Shape) -> Self {
        let Shape { features, host, width, outputs } = shape;
        Self { features, host, width, outputs }
    }
}

impl From<Sizes> for Shape {
    fn from(sizes: Sizes) -> Self {
        let Sizes { features, host, width, outputs } = sizes;
        Self { features, host, width, outputs }
    }
}
