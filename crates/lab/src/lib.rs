//! Scenarios, runs and comparisons: how good is a policy, on which host, against what.
mod compare;
mod foresight;
mod limit_cycle;
pub mod outside;
mod record;
mod report;
mod run;
mod scenario;

pub use compare::{Comparison, Row, Spread, Summary, compare};
pub use record::{Note, Record, Track};
pub use report::html;
pub use run::{Run, RunError, RunResult};
pub use scenario::{Draw, Scenario, ScenarioError};

/// Every policy that can be compared, in the order of reports.
pub const POLICIES: [&str; 5] = ["static", "reservation", "proportional", "reactive", "clairvoyant"];
