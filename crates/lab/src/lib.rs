//! Scenarios, runs and comparisons: how good is a policy, on which host, against what.
mod bound;
mod compare;
pub mod fit;
mod foresight;
mod limit_cycle;
pub mod outside;
pub mod profiles;
mod record;
mod report;
mod run;
mod scenario;

pub use bound::{Bound, Target, bound};
pub use compare::{Comparison, Row, Spread, Summary, compare};
pub use record::{Note, Record, Track};
pub use report::html;
pub use run::{Run, RunError, RunResult};
pub use scenario::{Draw, FileError, MOST_SCENARIO_BYTES, SCHEMA, Scenario, ScenarioError, default_vms};

/// Every policy that can be compared, in the order of reports.
pub const POLICIES: [&str; 5] = ["static", "reservation", "proportional", "reactive", "clairvoyant"];
