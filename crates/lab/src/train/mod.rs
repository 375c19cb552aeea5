//! Training of the policy's network.

mod collect;
mod imitate;
mod losses;
mod net;

pub use collect::{Actor, Sample, collect};
pub use imitate::{Imitation, Progress};
pub use losses::Loss;
pub use net::Learner;
