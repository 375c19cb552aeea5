//! `--smoke`: does a network learn at all? In minutes, on the smallest host.

use std::num::NonZeroUsize;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use halcyon_lab::train::{Context, Course, CourseError, Exam, Imitation, Recipe, Small, Stage, Training};
use halcyon_policy::Network;
use halcyon_policy::learned::OUTPUTS;
use halcyon_policy::network::Shape;

use super::progress::Progress;
use super::{INTERRUPTED, sentence};
use crate::demo::{WallClock, print};

const SEED: u64 = 1;
const WIDTH: usize = 32;

fn recipe() -> Recipe {
    let length = Duration::from_secs(600);
    let imitation = Imitation {
        rounds: 6,
        runs: 16,
        length,
        every: 5,
        steps: 150,
        batch: 512,
        rate: 2e-3,
        ..Imitation::default()
    };
    Recipe {
        course: Course { seed: SEED, width: WIDTH, stages: vec![Stage::Imitate(imitation)] },
        exam: Exam { chosen: 18, judged: 90, length },
        lessons: "the smallest host".into(),
    }
}

/// Success if what is learned is better than the heuristic, and than what was begun with.
pub(super) fn run(threads: NonZeroUsize, stop: &AtomicBool) -> Result<ExitCode> {
    let began = Instant::now();
    let shape = Shape {
        features: halcyon_policy::Features::PER_VM,
        host: halcyon_policy::Features::HOST,
        width: WIDTH,
        outputs: OUTPUTS,
    };
    let untrained = Network::random(shape, SEED).context("cannot begin")?;
    let training = Training::begin(recipe(), Some(untrained), threads).context("cannot begin")?;
    let progress = Progress::new(&training);
    let context = Context { lessons: &Small, threads, stop, worked: &|more| progress.worked(more) };
    let outcome = learn(training, &context, &progress);
    progress.finish();
    let verdicts = match outcome {
        Err(CourseError::Interrupted) => {
            eprintln!("halcyon: interrupted; nothing was kept");
            return Ok(ExitCode::from(INTERRUPTED));
        }
        outcome => outcome.context("the network does not learn")?,
    };
    print(&sentence("reactive", &verdicts.0))?;
    print(&sentence("untrained", &verdicts.1))?;
    let learned = verdicts.0.is_better() && verdicts.1.is_better();
    let seconds = began.elapsed().as_secs_f64();
    if learned {
        print(&format!(
            "It learns: the whole interval of both differences is above zero ({seconds:.0} s)\n"
        ))?;
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!("halcyon: it did not learn: a difference is not above zero for certain ({seconds:.0} s)");
    Ok(ExitCode::FAILURE)
}

type Pair = (halcyon_lab::train::Verdict, halcyon_lab::train::Verdict);

fn learn(mut training: Training, context: &Context<'_>, progress: &Progress) -> Result<Pair, CourseError> {
    let clock = WallClock(Instant::now());
    while !training.is_done() {
        let seen = training.rows().len();
        training.round(context, &clock)?;
        progress.rounds(&training, seen);
    }
    let verdicts = training.verdicts(context)?;
    let origin = verdicts.origin.ok_or(CourseError::Round { round: 0 })?;
    Ok((verdicts.reactive, origin))
}
