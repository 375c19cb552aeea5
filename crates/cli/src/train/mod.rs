//! `halcyon train`: from scenarios, or from recordings of a host, to the weights of the policy `learned`.

mod card;
mod folder;
mod progress;
mod setup;
mod smoke;

use std::io::Write as _;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::AtomicBool;
use std::time::Instant;

use anyhow::{Context as _, Result};
use halcyon_lab::train::{Checkpoint, Context, CourseError, ResumeError, Training, Verdict, Verdicts};

use crate::demo::{WallClock, print, stop_on_interrupt};
use folder::Folder;
use progress::Progress;
use setup::{Prepared, Teaching};

/// Train the network of the policy `learned`
///
/// It learns by imitating a controller that knows the future, on drawn scenarios, and is judged on others.
/// Without further options this is the training of the model that comes with Halcyon. After each round all
/// that is needed to go on is in the folder; an interrupted training that goes on gives the same weights,
/// to the last bit, as one without interruption.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("what").required(true).args(["output", "resume", "smoke"]))]
pub(crate) struct Args {
    /// The folder to write: weights, a card that says what they are, curves, and a checkpoint. It must be
    /// empty, or not be there yet
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Go on with the training in a folder
    #[arg(long, value_name = "DIR", conflicts_with_all = ["from", "model"])]
    resume: Option<PathBuf>,
    /// Show in minutes, and without a folder, that a network learns: exit code 1 if it does not come to be
    /// better than `reactive` on scenarios that it never saw
    #[arg(long, conflicts_with_all = ["rounds", "reinforce", "runs", "minutes", "steps", "batch", "seed", "width", "judged", "from", "model"])]
    smoke: bool,
    /// Go on from weights that are there, on recordings of a host (files of `halcyon record`, or scenario
    /// files). The first 70 % of their time is learned from; if the result is not better on the rest, exit code 1 and no weights
    #[arg(long, value_name = "RECORDING", num_args = 1.., requires = "output")]
    from: Vec<PathBuf>,
    /// The weights to go on from; those that come with Halcyon if left out
    #[arg(long, value_name = "FILE", requires = "from")]
    model: Option<PathBuf>,
    /// Rounds of taking samples and learning; 8, or 4 with --from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    rounds: Option<u32>,
    /// Rounds of reinforcement after those of imitation, in which the network tries and learns from what
    /// came of it; 66, or none with --from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=10_000))]
    reinforce: Option<u32>,
    /// Runs in each round; 96, or 24 with --from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    runs: Option<u32>,
    /// Simulated minutes of each run; 30
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1440))]
    minutes: Option<u32>,
    /// Steps of learning in each round; 400, or 200 with --from
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=100_000))]
    steps: Option<u32>,
    /// VMs in each step; 4096
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    batch: Option<u32>,
    /// The seed; 1. One seed gives the same weights, on any machine
    #[arg(long, value_name = "S")]
    seed: Option<u64>,
    /// Columns of the network's layers; 128
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1024), conflicts_with = "from")]
    width: Option<u32>,
    /// Scenarios of the verdict, a third as many after each round; 108
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(2..=10_000))]
    judged: Option<u32>,
    /// Threads; as many as there are cores if left out. The result does not depend on it
    #[arg(short, long, value_name = "J", value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

/// Exit code for a mistake in the arguments, as clap has it.
const USAGE: u8 = 2;
/// Exit code after Ctrl-C.
const INTERRUPTED: u8 = 130;

pub(crate) fn run(args: &Args) -> Result<ExitCode> {
    let threads = threads(args);
    if args.smoke {
        let stop = stop_on_interrupt()?;
        return smoke::run(threads, &stop);
    }
    if let Some(path) = &args.resume {
        return resume(args, path, threads);
    }
    let Prepared { recipe, origin, teaching } = setup::prepare(args)?;
    let folder = match args.output.as_deref().map(Folder::create) {
        Some(folder) => folder?,
        None => return Ok(ExitCode::from(USAGE)),
    };
    // Until here there is nothing to put in order.
    let stop = stop_on_interrupt()?;
    let training = Training::begin(recipe, origin, threads).context("cannot begin")?;
    folder.keep(&training)?;
    finish(training, &folder, &teaching, threads, &stop)
}

fn threads(args: &Args) -> NonZeroUsize {
    let asked = args.threads.and_then(|threads| NonZeroUsize::new(threads.into()));
    asked.or_else(|| std::thread::available_parallelism().ok()).unwrap_or(NonZeroUsize::MIN)
}

/// Goes on with what is in a folder.
fn resume(args: &Args, path: &std::path::Path, threads: NonZeroUsize) -> Result<ExitCode> {
    let folder = Folder::open(path)?;
    let checkpoint = folder.checkpoint()?;
    let recipe = Training::recipe_of(&checkpoint).with_context(|| folder.of_no_use())?;
    if let Some(different) = setup::different(args, &recipe) {
        eprintln!(
            "halcyon: the training in {} {different}; leave the option out, or begin another with -o",
            path.display()
        );
        return Ok(ExitCode::from(USAGE));
    }
    if let Some(code) = folder.is_complete(&recipe, &checkpoint) {
        return Ok(code);
    }
    let teaching = setup::again(&recipe)?;
    let stop = stop_on_interrupt()?;
    let Some(training) = restore(&folder, &checkpoint, &teaching, threads, &stop)? else {
        return Ok(interrupted(&folder, None));
    };
    finish(training, &folder, &teaching, threads, &stop)
}

/// The training of a checkpoint; nothing if it was interrupted.
fn restore(
    folder: &Folder,
    checkpoint: &Checkpoint,
    teaching: &Teaching,
    threads: NonZeroUsize,
    stop: &AtomicBool,
) -> Result<Option<Training>> {
    eprintln!("halcyon: taking the samples again that {} had", folder.path().display());
    let silent = Context { lessons: &*teaching.lessons, threads, stop, worked: &|_| () };
    match Training::resume(checkpoint, &silent) {
        Ok(training) => Ok(Some(training)),
        Err(ResumeError::Course(CourseError::Interrupted)) => Ok(None),
        Err(error) => Err(error).with_context(|| folder.of_no_use()),
    }
}

/// All rounds that are left, and the verdict.
fn finish(
    mut training: Training,
    folder: &Folder,
    teaching: &Teaching,
    threads: NonZeroUsize,
    stop: &AtomicBool,
) -> Result<ExitCode> {
    let progress = Progress::new(&training);
    let context =
        Context { lessons: &*teaching.lessons, threads, stop, worked: &|more| progress.worked(more) };
    let clock = WallClock(Instant::now());
    // Whatever is not the checkpoint follows from it, so that a break between two files does no harm.
    folder.derive(&training, &teaching.command)?;
    while !training.is_done() {
        let seen = training.rows().len();
        match training.round(&context, &clock) {
            Ok(_) => {}
            Err(CourseError::Interrupted) => return Ok(progress.interrupted(folder)),
            Err(error) => return Err(error).context("the training cannot go on"),
        }
        folder.keep(&training)?;
        folder.derive(&training, &teaching.command)?;
        progress.rounds(&training, seen);
    }
    let verdicts = match training.verdicts(&context) {
        Ok(verdicts) => verdicts,
        Err(CourseError::Interrupted) => return Ok(progress.interrupted(folder)),
        Err(error) => return Err(error).context("the weights cannot be judged"),
    };
    progress.finish();
    conclude(&training, &verdicts, folder, teaching, threads)
}

/// Says how good it is, and hands the weights over if they are worth it.
fn conclude(
    training: &Training,
    verdicts: &Verdicts,
    folder: &Folder,
    teaching: &Teaching,
    threads: NonZeroUsize,
) -> Result<ExitCode> {
    let ships = verdicts.origin.is_none_or(|origin| origin.is_better());
    let mut text = sentence("reactive", &verdicts.reactive);
    if let Some(origin) = &verdicts.origin {
        text += &sentence("the weights it began with", origin);
    }
    if ships {
        folder.ship(training)?;
    }
    folder.card(&card::text(training, verdicts, &teaching.command, threads))?;
    print(&text)?;
    if verdicts.reactive.difference.mean < 0.0 {
        eprintln!(
            "halcyon: the heuristic `reactive` does better than these weights on what they were judged by"
        );
    }
    let path = folder.path().display();
    if ships {
        eprintln!("halcyon: the weights are {path}/{}", folder::WEIGHTS);
        return Ok(ExitCode::SUCCESS);
    }
    eprintln!(
        "halcyon: the result is not better than the weights it began with, on what was held back; \
         there are no weights in {path}, keep those that you have"
    );
    Ok(ExitCode::FAILURE)
}

/// A verdict as people read it.
fn sentence(other: &str, verdict: &Verdict) -> String {
    let difference = card::difference(verdict);
    format!(
        "On {} scenarios that nothing was learned from: utility {:.4}, {other} {:.4}, difference {difference}\n",
        verdict.scenarios, verdict.utility, verdict.other
    )
}

/// What is left of an interrupted training.
fn interrupted(folder: &Folder, rounds: Option<usize>) -> ExitCode {
    let kept = rounds.map_or_else(String::new, |rounds| format!(" after round {rounds}"));
    let path = crate::demo::report::quoted(&folder.path().to_string_lossy());
    // Where the terminal is gone, so is standard error.
    let _ = writeln!(
        std::io::stderr(),
        "halcyon: interrupted; all{kept} is kept, `halcyon train --resume {path}` goes on from there"
    );
    ExitCode::from(INTERRUPTED)
}
