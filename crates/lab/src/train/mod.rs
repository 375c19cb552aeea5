//! How the learned policy learns.
//!
//! ```text
//!  lessons (scenarios) ─► runs, labelled by who knows the future ─► samples ─► steps ─► network
//!            ▲                                                                            │
//!            └────────────────── from the second round on, it decides ◄──────────────────┘
//! ```
//!
//! Then it is no longer told what to do, but tries: what went better than usual becomes likelier
//! ([`Reinforcement`]).
//!
//! A [`Course`] says what is done in which round, a [`Pupil`] is all that a course has come to so far, and
//! [`Pupil::round`] takes it one round further. One course gives the same network on every machine, with
//! any number of threads, and with any number of breaks between its rounds.

mod checkpoint;
mod collect;
mod context;
mod course;
mod credit;
mod explore;
mod imitate;
mod judge;
mod lessons;
pub mod losses;
pub mod net;
mod pupil;
mod recording;
mod reinforce;
mod teach;
#[cfg(test)]
mod tests;
mod training;
mod vary;

pub use checkpoint::{Checkpoint, CheckpointError, MOST_CHECKPOINT_BYTES};
pub use collect::{Actor, Sample, collect};
pub use context::{Context, CourseError};
pub use course::{Course, Stage};
pub use imitate::Imitation;
pub use judge::{CHOSEN, Contender, Exam, JUDGED, Verdict, utilities};
pub use lessons::{Lessons, Small, Standard};
pub use pupil::{Progress, Pupil};
pub use recording::{LEARNED_SHARE, LEAST_PART, Recordings, TooShort};
pub use reinforce::Reinforcement;
pub use teach::Loss;
pub use training::{Recipe, ResumeError, Row, Training, Verdicts};
