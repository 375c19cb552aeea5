//! Many scenarios, many policies: which is better, by how much, and how sure that is.
//!
//! An [`Entry`] makes its scenario when it is needed, [`run`] lets every policy run on every one, on
//! several threads, and the result does not depend on how many there are. What is finished can be kept
//! in a [`Store`], so that what was interrupted goes on where it stopped. [`Report`] is the result for
//! programs, [`crate::bench_html`] the one for people.

mod detail;
mod job;
mod outside;
mod report;
mod resource;
mod run;
mod set;
mod store;

pub use detail::{Detail, detail, telling};
pub use job::{BuiltIn, Chosen, Policies, Refusal, WithModel, policies};
pub use outside::{WithCommand, world};
pub use report::{Memory, Report, ResourceRow, RunRow, ScenarioRow};
pub use resource::Resource;
pub use run::{BenchError, Case, Event, Plan, run};
pub use set::{Entry, full, standard, training};
pub use store::{Store, StoreError};
