//! The messages as they are on the line: one JSON object each, in UTF-8, ended by a line feed.
//!
//! Field names carry their units. VMs go by name; sockets, nodes, links and all else go by their place
//! in the list that the `world` message has of them, counted from 0. What cannot be read is left out or
//! null, never 0. These types own the form: the model may change behind them, and a change that an older
//! peer would misread gets another number in [`SCHEMA`].

mod held;
mod host;
mod proposal;
mod step;
mod vm;

pub use held::{DeviceHeld, GpuInstance, Grant, Held, NodeBytes, VmHeld};
pub use host::{
    Attachment, Cache, Change, ChangeKind, Device, DeviceClass, Fabric, Gpu, Host, Link, LinkEnd,
    LinkSetting, MemoryOn, Node, Pool, Port, PortAt, Profile, Socket, Switch,
};
pub use proposal::{DeviceBandwidthWish, DeviceMove, LinkWish, NodeWish, Proposal, Reason, VmWish, Wish};
pub use step::{Begun, DeviceGrant, Placement, Step};
pub use vm::{Bounds, DeviceBytes, DeviceWish, Objective, Rates, Sample, Seen, Vm};

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The version of these forms; every message has it in its field `schema`.
pub const SCHEMA: u32 = 1;

macro_rules! tag {
    ($(#[$doc:meta])* $name:ident, $text:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
        pub enum $name {
            /// The only value.
            #[default]
            #[serde(rename = $text)]
            Is,
        }
        impl $name {
            /// As it is on the line.
            pub const TEXT: &'static str = $text;
        }
    };
}

tag!(
    /// The word `world`.
    IsWorld, "world"
);
tag!(
    /// The word `vms`.
    IsVms, "vms"
);
tag!(
    /// The word `snapshot`.
    IsSnapshot, "snapshot"
);
tag!(
    /// The word `plan`.
    IsPlan, "plan"
);
tag!(
    /// The word `proposal`.
    IsProposal, "proposal"
);
tag!(
    /// The word `scores`.
    IsScores, "scores"
);
tag!(
    /// The word `error`.
    IsError, "error"
);

/// The first message of a world: what there is, and what is held before anything happens.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct World {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `world`.
    #[serde(rename = "type")]
    pub kind: IsWorld,
    /// The host.
    pub host: Host,
    /// What can be changed on it; a kind that is left out cannot be.
    pub changes: BTreeMap<ChangeKind, Change>,
    /// Its VMs.
    pub vms: Vec<Vm>,
    /// Who holds what at the start.
    pub held: Held,
    /// How long the run lasts, in seconds.
    pub duration_s: f64,
    /// The time from one snapshot to the next, in seconds.
    pub step_s: f64,
}

/// VMs came or went: all that are there now, and what is held now.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Vms {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `vms`.
    #[serde(rename = "type")]
    pub kind: IsVms,
    /// All VMs; one that stays keeps its name.
    pub vms: Vec<Vm>,
    /// Who holds what now.
    pub held: Held,
}

/// What a world shows of itself, once a cycle.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Snapshot {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `snapshot`.
    #[serde(rename = "type")]
    pub kind: IsSnapshot,
    /// The number of the cycle, counted from 1.
    pub cycle: u64,
    /// Simulated time since the start, in seconds.
    pub at_s: f64,
    /// What was read of each VM; every VM once.
    pub vms: Vec<Sample>,
    /// What became of steps; one that is left out is still under way.
    #[serde(default)]
    pub steps: Vec<StepReport>,
    /// Who holds what. Left out, it is what the steps led to.
    #[serde(default)]
    pub held: Option<Held>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StepReport {
    /// The id that the plan gave it.
    pub id: u64,
    /// What became of it.
    pub state: StepState,
    /// What stood against it, for people to read.
    #[serde(default)]
    pub why: Option<String>,
}

/// How a step is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum StepState {
    /// It takes its time; all is as before it.
    UnderWay,
    /// All is as the step says.
    Done,
    /// The guest would not have it; all is as before, and nobody was harmed.
    Refused,
    /// It went wrong; all is as before, unless `held` of the same snapshot says that it is in effect.
    Failed,
}

/// The answer to a world's snapshot.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct Plan {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `plan`.
    #[serde(rename = "type")]
    pub kind: IsPlan,
    /// The cycle that it answers.
    pub cycle: u64,
    /// The steps to begin now, in this order.
    pub steps: Vec<Begun>,
    /// Who holds what once these steps, and those under way, are done. Left out where `steps` is empty.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub target: Option<Held>,
}

/// The last message of a world: how it went.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Scores {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `scores`.
    #[serde(rename = "type")]
    pub kind: IsScores,
    /// Mean utility of the VMs weighted by VM weight, less the cost of changes; at most 1.
    pub utility: f64,
    /// What no assignment can exceed, at most 1, where the world knows it.
    #[serde(default)]
    pub bound: Option<f64>,
    /// Share of the judged windows that missed their objective, 0 to 1; 0 where none could.
    pub violations: f64,
    /// Each VM's own mean utility; every VM that was there at any time.
    pub vms: Vec<VmUtility>,
}

/// How one VM did.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct VmUtility {
    /// The VM; one that is gone counts as well.
    pub vm: String,
    /// Its mean utility, 0 to 1.
    pub utility: f64,
}

/// A peer gives up, and says why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Failure {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `error`.
    #[serde(rename = "type")]
    pub kind: IsError,
    /// Why, for people to read.
    pub message: String,
}

/// What a policy is told first, and again whenever VMs come or go.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicyWorld {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `world`.
    #[serde(rename = "type")]
    pub kind: IsWorld,
    /// The host.
    pub host: Host,
    /// What can be changed on it.
    pub changes: BTreeMap<ChangeKind, Change>,
    /// Its VMs.
    pub vms: Vec<Vm>,
}

/// What a policy is asked, once a cycle.
#[derive(Debug, Clone, PartialEq, Serialize, JsonSchema)]
pub struct PolicySnapshot {
    /// The version of the form: 1.
    #[schemars(range(min = 1, max = 1))]
    pub schema: u32,
    /// `snapshot`.
    #[serde(rename = "type")]
    pub kind: IsSnapshot,
    /// The number of the cycle, counted from 1; the answer repeats it.
    pub cycle: u64,
    /// Time since the start, in seconds.
    pub at_s: f64,
    /// What can be changed in this cycle; wishes for anything else have no effect.
    pub changeable: Vec<ChangeKind>,
    /// Who holds what.
    pub held: Held,
    /// What was seen of each VM, in the order of the `world` message.
    pub vms: Vec<Seen>,
}

pub(crate) const fn one() -> u32 {
    1
}

pub(crate) const fn yes() -> bool {
    true
}
