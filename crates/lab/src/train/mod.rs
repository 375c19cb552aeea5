//! How the learned policy learns.
//!
//! ```text
//!  scenarios of training ─► runs, labelled by who knows the future ─► samples ─► steps ─► network
//!            ▲                                                                        │
//!            └──────────────────── from the second round on, it decides ◄────────────┘
//! ```

mod collect;
mod credit;
mod explore;
mod imitate;
pub mod losses;
pub mod net;
mod reinforce;
mod teach;

pub use collect::{Actor, Sample, collect};
pub use imitate::{Imitation, ImitationError, Progress};
pub use reinforce::{Reinforced, Reinforcement};
pub use teach::Loss;
