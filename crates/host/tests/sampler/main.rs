//! The sampler on trees in a temporary folder and on peers that speak QMP.

mod absent;
mod kernel;
mod peers;
mod processes;
mod restarts;
mod tree;
