//! Measurements that judge one part of the learned policy by itself: how long a decision takes, how good
//! its forecasts are, how fast a host recovers under it.
//!
//! The bench says how much better a policy is as a whole; these say why, and what to work on. None of them
//! rests on particular weights: they run with whatever the program was built with.

mod decision;
mod forecast;
mod host;
mod recovery;

pub use decision::{DecisionTime, MOST_DIFFERENCE, Part, Rival, decision_time};
pub use forecast::{ForecastCase, ForecastReport, ForecastRow, MethodRow, SHORTEST_FORECAST, forecasts};
pub use host::grown;
pub use recovery::{Recovery, RecoveryReport, recovery};
