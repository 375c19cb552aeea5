//! What a running daemon tells, in a form that stays: fields are added and never renamed or taken away.
//!
//! The daemon answers plain HTTP on a Unix socket, `GET` of the paths in [`path`], with one JSON value each.
//! Missing figures are null, never zero. Times are in the unit that the name ends with, and `at_s` counts
//! from the daemon's start.

mod client;

use serde::{Deserialize, Serialize};

pub use client::{Client, ClientError, socket_or_default};

/// Of this form.
pub const SCHEMA: u32 = 1;

/// Where each answer is.
pub mod path {
    /// A [`Status`](crate::Status).
    pub const STATUS: &str = "/v1/status";
    /// A list of [`Vm`](crate::Vm).
    pub const VMS: &str = "/v1/vms";
    /// The newest [`Plan`](crate::Plan), or null.
    pub const PLAN: &str = "/v1/plan";
    /// A list of [`Plan`](crate::Plan), oldest first.
    pub const PLANS: &str = "/v1/plans";
    /// A list of [`Trail`](crate::Trail).
    pub const HISTORY: &str = "/v1/history";
}

/// What a daemon may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Measure only.
    Observe,
    /// Decide and explain, and change nothing.
    Advise,
    /// Change what was decided.
    Act,
}

/// How the daemon is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Status {
    /// The form of this answer.
    pub schema: u32,
    /// The daemon's version.
    pub version: String,
    /// The host's name.
    pub host: String,
    /// What it may do.
    pub mode: Mode,
    /// Who decides.
    pub policy: String,
    /// Why the heuristic decided in its place in the last cycle, if it did.
    pub fallback: Option<String>,
    /// Time since it started.
    pub uptime_s: f64,
    /// VMs that it knows.
    pub vms: usize,
    /// The control cycle.
    pub cycle: Cycle,
    /// What became of changes since it started.
    pub changes: Changes,
    /// Changes that could be neither made nor taken back; what they touch is left alone.
    pub stuck: Vec<String>,
    /// What went wrong lately; none while all is well.
    pub trouble: Option<String>,
    /// What keeps VMs from being managed or measured in part.
    #[serde(default)]
    pub notices: Vec<String>,
}

/// How the control cycle keeps its pace.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cycle {
    /// What is aimed at between the starts of two cycles.
    pub period_ms: f64,
    /// Cycles since the start.
    pub count: u64,
    /// Cycles that were left out, as the one before took too long.
    pub missed: u64,
    /// Cycles that could not be completed.
    pub failed: u64,
    /// How much later than due cycles began, of the last thousand.
    pub late_us: Spread,
    /// How long cycles took, of the last thousand.
    pub took_us: Spread,
    /// How long decisions took, of the last thousand.
    pub decision_us: Spread,
}

/// Percentiles of some figures; null where there are none.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub p50: Option<f64>,
    /// The 99th percentile.
    pub p99: Option<f64>,
    /// The largest.
    pub most: Option<f64>,
}

/// What became of changes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Changes {
    /// Plans that changed something, or would have.
    pub plans: u64,
    /// Done.
    pub done: u64,
    /// A guest would not.
    pub refused: u64,
    /// Went wrong.
    pub failed: u64,
}

/// One VM.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vm {
    /// Its number, given once.
    pub id: u32,
    /// Its name.
    pub name: String,
    /// What it does, such as `running` or `paused`; null where that is not known.
    #[serde(default)]
    pub state: Option<String>,
    /// CPU time that it is sure of, in thousandths of a CPU.
    pub cpu_share_milli: u64,
    /// CPU time that it may use at most.
    pub cpu_ceiling_milli: u64,
    /// CPU time that it uses.
    pub cpu_used_milli: Option<u64>,
    /// CPU time that it would use and does not get.
    pub cpu_waited_milli: Option<u64>,
    /// Memory that it holds.
    pub memory_bytes: u64,
    /// Memory that it has touched lately.
    pub working_set_bytes: Option<u64>,
    /// Share of the time that it stands still for memory, 0 to 1.
    pub memory_stalled: Option<f64>,
    /// What it moves to and from memory, in bytes a second.
    pub memory_bytes_per_s: Option<u64>,
    /// Last-level cache that it fills.
    pub cache_bytes: Option<u64>,
    /// Devices that it has.
    pub devices: Vec<String>,
    /// The 99th percentile of its response time, where somebody measures it.
    pub p99_ms: Option<f64>,
    /// Until when memory that it refused to give is not asked for again.
    pub refuses_memory_until_s: Option<f64>,
}

/// A plan that changed something, or would have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its number.
    pub number: u64,
    /// When it was made.
    pub at_s: f64,
    /// Whether it was carried out; otherwise it is advice.
    pub carried_out: bool,
    /// Why the heuristic made it in place of the policy, if it did.
    pub fallback: Option<String>,
    /// What it changes.
    pub changes: Vec<Change>,
    /// What became of its steps so far, newest last.
    pub events: Vec<StepEvent>,
}

/// One change and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Change {
    /// The VM that feels it first; none where it concerns several or the host.
    pub vm: Option<String>,
    /// What is changed.
    pub kind: String,
    /// Where: the socket, node, device, link or GPU; may be empty.
    pub part: String,
    /// What was held.
    pub from: String,
    /// What is held after it.
    pub to: String,
    /// Whose, where and what in one line.
    pub headline: String,
    /// All that is known of why, each with its name.
    pub why: Vec<(String, String)>,
}

/// What became of a step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StepEvent {
    /// When.
    pub at_s: f64,
    /// The step.
    pub step: String,
    /// What became of it, in one word.
    pub became: String,
    /// What the machine said, where it did.
    pub note: Option<String>,
}

/// What a VM held and used over time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Trail {
    /// The VM.
    pub vm: String,
    /// Time between two points.
    pub every_s: f64,
    /// Oldest first.
    pub points: Vec<Point>,
}

/// Means over the time between two points.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The end of that time.
    pub at_s: f64,
    /// CPU time that it may use at most, in thousandths of a CPU.
    pub cpu_ceiling_milli: Option<f64>,
    /// CPU time that it uses.
    pub cpu_used_milli: Option<f64>,
    /// CPU time that it would use and does not get.
    pub cpu_waited_milli: Option<f64>,
    /// Memory that it holds.
    pub memory_bytes: Option<f64>,
    /// Memory that it has touched lately.
    pub working_set_bytes: Option<f64>,
}

/// What an answer says that is no success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// What went wrong, and what to do.
    pub error: String,
}
