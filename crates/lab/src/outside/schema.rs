//! The messages as JSON Schema, for those who write peers.

use schemars::generate::{SchemaGenerator, SchemaSettings};

use super::wire;

/// Which side sends a message, and whether both do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// A peer sends it; Halcyon refuses fields that it does not know.
    ToHalcyon,
    /// Halcyon sends it; more fields may come, and a peer should pass over those that it does not know.
    FromHalcyon,
}

/// Every message with its file name, in the order of the protocol. The text ends with a line feed.
#[must_use]
pub fn schemas() -> Vec<(&'static str, Direction, String)> {
    use Direction::{FromHalcyon, ToHalcyon};
    let reading = || SchemaSettings::draft2020_12().for_deserialize().into_generator();
    let writing = || SchemaSettings::draft2020_12().for_serialize().into_generator();
    vec![
        ("world.json", ToHalcyon, text::<wire::World>(reading())),
        ("world-vms.json", ToHalcyon, text::<wire::Vms>(reading())),
        ("world-snapshot.json", ToHalcyon, text::<wire::Snapshot>(reading())),
        ("world-plan.json", FromHalcyon, text::<wire::Plan>(writing())),
        ("world-scores.json", ToHalcyon, text::<wire::Scores>(reading())),
        ("policy-world.json", FromHalcyon, text::<wire::PolicyWorld>(writing())),
        ("policy-snapshot.json", FromHalcyon, text::<wire::PolicySnapshot>(writing())),
        ("policy-proposal.json", ToHalcyon, text::<wire::Proposal>(reading())),
        ("error.json", ToHalcyon, text::<wire::Failure>(reading())),
    ]
}

fn text<T: schemars::JsonSchema>(generator: SchemaGenerator) -> String {
    let schema = generator.into_root_schema_for::<T>();
    format!("{:#}\n", schema.as_value())
}
