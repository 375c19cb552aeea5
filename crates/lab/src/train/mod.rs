//! How the learned policy learns: the arithmetic of training, without simulators or schedules.
pub mod losses;
pub mod net;
