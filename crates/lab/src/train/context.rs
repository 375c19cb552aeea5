//! What a round has around it: lessons, threads, and somebody who may say stop.

use std::num::NonZeroUsize;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use halcyon_policy::NetworkError;

use super::lessons::Lessons;
use super::net::TrainError;
use crate::bench::BenchError;
use crate::run::RunError;

/// Why a course ended early.
#[derive(Debug, thiserror::Error)]
pub enum CourseError {
    /// It was asked to.
    #[error("the training was interrupted")]
    Interrupted,
    /// There is no such network.
    #[error("there is no such network")]
    Network(#[from] NetworkError),
    /// The network came apart.
    #[error("the network does not learn")]
    Train(#[from] TrainError),
    /// A lesson cannot be made.
    #[error("a scenario to learn from cannot be made")]
    Lesson(#[from] BenchError),
    /// A lesson cannot run.
    #[error("a scenario to learn from cannot run")]
    Run(#[from] RunError),
    /// There is no such round.
    #[error("the course has no round {round}")]
    Round {
        /// The round, from one.
        round: usize,
    },
}

/// What a round has around it.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// What is learned from.
    pub lessons: &'a dyn Lessons,
    /// How many threads. The result does not depend on it.
    pub threads: NonZeroUsize,
    /// Once it is set, a round ends with [`CourseError::Interrupted`].
    pub stop: &'a AtomicBool,
    /// Hears how much work was done, in the unit of [`Course::work`](super::Course::work).
    pub worked: &'a (dyn Fn(u64) + Sync),
}

impl Context<'_> {
    /// That nobody said stop.
    ///
    /// # Errors
    /// If somebody did.
    pub fn go_on(&self) -> Result<(), CourseError> {
        if self.stop.load(Ordering::Relaxed) { Err(CourseError::Interrupted) } else { Ok(()) }
    }

    /// Does `one` for every number, on all threads; what came of it, in the order of the numbers.
    ///
    /// # Errors
    /// The first by number.
    pub fn each<T: Send>(
        &self,
        numbers: Range<u64>,
        one: impl Fn(u64) -> Result<T, CourseError> + Sync,
    ) -> Result<Vec<T>, CourseError> {
        let next = AtomicU64::new(numbers.start);
        let worker = || {
            let mut mine = Vec::new();
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= numbers.end {
                    return mine;
                }
                let done = self.go_on().and_then(|()| one(number));
                let failed = done.is_err();
                mine.push((number, done));
                if failed {
                    next.fetch_max(numbers.end, Ordering::Relaxed);
                    return mine;
                }
            }
        };
        let mut all: Vec<_> = std::thread::scope(|scope| {
            let handles: Vec<_> = (0..self.threads.get()).map(|_| scope.spawn(worker)).collect();
            let joined = handles.into_iter().map(|handle| handle.join());
            joined.flat_map(|mine| mine.unwrap_or_else(|panic| std::panic::resume_unwind(panic))).collect()
        });
        all.sort_by_key(|(number, _)| *number);
        all.into_iter().map(|(_, done)| done).collect()
    }
}
