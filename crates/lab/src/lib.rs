//! Scenarios, runs and comparisons: how good is a policy, on which host, against what.
pub mod bench;
mod bound;
mod clairvoyant;
mod compare;
mod digest;
mod explain;
pub mod fit;
mod limit_cycle;
pub mod measure;
pub mod outside;
pub mod profiles;
mod record;
mod report;
mod run;
mod scenario;
mod statistics;
mod still;
pub mod train;

pub use bound::{Bound, Target, bound};
pub use compare::{Comparison, Decisions, Difference, Row, Spread, Summary, compare};
pub use digest::{Digest, Timings};
pub use explain::{Explained, explain};
pub use record::{Note, Record, Track};
pub use report::{bench_html, html, scenario_html, training_html};
pub use run::{Run, RunError, RunResult};
pub use scenario::{
    Course, Devices, Draw, FileError, Kinds, MOST_SCENARIO_BYTES, Objectives, Outline, Resource, SCHEMA,
    Scenario, ScenarioError, default_vms,
};

/// The policies that the demo compares, in the order of reports; [`bench::policies`] has all of them.
pub const POLICIES: [&str; 6] =
    ["static", "reservation", "proportional", "reactive", "learned", "clairvoyant"];
