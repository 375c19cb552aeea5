//! A tiny training with and without breaks.

use std::num::NonZeroUsize;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use super::*;
use crate::still::Still;

fn recipe() -> Recipe {
    let length = Duration::from_secs(60);
    let imitation = Imitation {
        rounds: 4,
        runs: 2,
        length,
        every: 5,
        kept: 300,
        steps: 6,
        batch: 64,
        ..Imitation::default()
    };
    let reinforcement = Reinforcement {
        rounds: 2,
        scenarios: 2,
        turns: 2,
        length: length * 3,
        batch: 64,
        ..Reinforcement::default()
    };
    let stages = vec![Stage::Imitate(imitation), Stage::Reinforce(reinforcement)];
    let course = Course { seed: 3, width: 8, stages };
    Recipe { course, exam: Exam { chosen: 2, judged: 2, length }, lessons: "small".into() }
}

fn context<'a>(threads: usize, stop: &'a AtomicBool) -> Context<'a> {
    let threads = NonZeroUsize::new(threads).unwrap();
    Context { lessons: &Small, threads, stop, worked: &|_| () }
}

/// What is left when a clock that stands still has measured it.
fn outcome(training: &Training) -> (Vec<u8>, Vec<u8>) {
    let best = training.best().unwrap().1.write().unwrap();
    (training.checkpoint().unwrap(), best)
}

#[test]
fn a_training_with_breaks_gives_the_same_bits_on_any_number_of_threads() {
    let stop = AtomicBool::new(false);
    let mut whole = Training::begin(recipe(), None, NonZeroUsize::new(1).unwrap()).unwrap();
    let mut broken = Training::begin(recipe(), None, NonZeroUsize::new(2).unwrap()).unwrap();
    while !whole.is_done() {
        whole.round(&context(1, &stop), &Still).unwrap();
        broken.round(&context(2, &stop), &Still).unwrap();
        let checkpoint = Checkpoint::parse(&broken.checkpoint().unwrap()).unwrap();
        broken = Training::resume(&checkpoint, &context(2, &stop)).unwrap();
    }
    assert_eq!(whole.rows(), broken.rows());
    assert_eq!(outcome(&whole), outcome(&broken));
    assert_eq!(whole.verdicts(&context(1, &stop)).unwrap(), broken.verdicts(&context(2, &stop)).unwrap());
    assert!(whole.rows().iter().take(4).all(|row| row.vms <= 300 && row.losses["actions"] > 0.0));
    assert!(whole.rows().iter().all(|row| row.losses["forecasts"] > 0.0));
    assert_eq!(whole.work_left(), 2 * recipe().exam.work(2));
}

#[test]
fn whoever_says_stop_is_heard() {
    let stop = AtomicBool::new(false);
    let mut training = Training::begin(recipe(), None, NonZeroUsize::new(1).unwrap()).unwrap();
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    assert!(matches!(training.round(&context(1, &stop), &Still), Err(CourseError::Interrupted)));
}

#[test]
fn a_checkpoint_that_is_not_whole_is_refused() {
    let stop = AtomicBool::new(false);
    let mut training = Training::begin(recipe(), None, NonZeroUsize::new(1).unwrap()).unwrap();
    training.round(&context(1, &stop), &Still).unwrap();
    let bytes = training.checkpoint().unwrap();
    for end in [0, 7, 8, 200, bytes.len() / 2, bytes.len() - 1] {
        assert!(Checkpoint::parse(&bytes[..end]).is_err(), "{end} of {}", bytes.len());
    }
    // Every part of it counts: one changed letter of the metadata, one changed bit of a number.
    for place in [300, bytes.len() - 2] {
        let mut changed = bytes.clone();
        changed[place] ^= 1;
        assert!(Checkpoint::parse(&changed).is_err(), "{place}");
    }
    let network = training.best().unwrap().1.write().unwrap();
    let error = Checkpoint::parse(&network).unwrap_err().to_string();
    assert!(error.contains("no checkpoint of a training"), "{error}");
}
