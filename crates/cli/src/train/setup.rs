//! From arguments to a recipe and the scenarios that it is for.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use halcyon_lab::Scenario;
use halcyon_lab::train::{
    Course, Exam, Imitation, Lessons, Recipe, Recordings, Reinforcement, Stage, Standard,
};
use halcyon_policy::Network;
use halcyon_sim::recording::is_recording;
use serde::{Deserialize, Serialize};

use super::Args;
use crate::demo::report::quoted;
use crate::weights;

/// All that a training needs.
pub(super) struct Prepared {
    pub(super) recipe: Recipe,
    pub(super) origin: Option<Network>,
    pub(super) teaching: Teaching,
}

/// What a recipe alone does not say.
pub(super) struct Teaching {
    pub(super) lessons: Box<dyn Lessons>,
    /// The command that gives the same weights again.
    pub(super) command: String,
}

/// What is learned from, as a checkpoint has it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
enum Source {
    /// Drawn scenarios on every host shape.
    Standard,
    /// Recordings and files of scenarios, and from whose weights it went on.
    Recordings { files: Vec<File>, model: Option<PathBuf> },
}

/// A file, and what was in it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    path: PathBuf,
    sha256: String,
}

/// Rounds from nothing: those of the model that comes with Halcyon.
fn from_nothing() -> Imitation {
    Imitation::default()
}

/// Rounds that go on from weights that are there: few, small, and nobody leads.
fn from_weights() -> Imitation {
    Imitation { rounds: 4, led: 0, runs: 24, steps: 200, rate: 2e-4, ..Imitation::default() }
}

/// Columns of the network, where it begins from nothing.
const WIDTH: u32 = 128;
/// Scenarios of the verdict.
const JUDGED: u32 = 108;

/// What was asked for.
pub(super) fn prepare(args: &Args) -> Result<Prepared> {
    if args.from.is_empty() {
        let stage = stage(args, from_nothing());
        let recipe = recipe(args, stage, &Source::Standard)?;
        let teaching = teaching(&recipe, Box::new(Standard), &Source::Standard);
        return Ok(Prepared { recipe, origin: None, teaching });
    }
    let origin = weights::read(args.model.as_deref())?;
    let (files, scenarios) = read_all(&args.from)?;
    let mut stage = stage(args, from_weights());
    let lessons = recordings(scenarios, stage.length, &args.from)?;
    if lessons.length() < stage.length {
        let minutes = lessons.length().as_secs_f64() / 60.0;
        eprintln!("halcyon: a run lasts {minutes:.0} min: no more is held back of the shortest recording");
        stage.length = lessons.length();
    }
    let model = args.model.as_deref().map(absolute).transpose()?;
    let source = Source::Recordings { files, model };
    let recipe = recipe(args, stage, &source)?;
    let teaching = teaching(&recipe, Box::new(lessons), &source);
    Ok(Prepared { recipe, origin: Some(origin), teaching })
}

/// What a checkpoint was for.
pub(super) fn again(recipe: &Recipe) -> Result<Teaching> {
    let source: Source = serde_json::from_str(&recipe.lessons)
        .context("the checkpoint does not say what was learned from; begin again with -o")?;
    let Source::Recordings { files, .. } = &source else {
        return Ok(teaching(recipe, Box::new(Standard), &source));
    };
    let paths: Vec<PathBuf> = files.iter().map(|file| file.path.clone()).collect();
    let (now, scenarios) = read_all(&paths)?;
    if let Some((file, _)) = files.iter().zip(&now).find(|(then, now)| then.sha256 != now.sha256) {
        bail!(
            "{} was changed since the training began; put it back, or begin again with -o",
            file.path.display()
        );
    }
    let lessons = recordings(scenarios, recipe.exam.length, &paths)?;
    Ok(teaching(recipe, Box::new(lessons), &source))
}

fn teaching(recipe: &Recipe, lessons: Box<dyn Lessons>, source: &Source) -> Teaching {
    Teaching { lessons, command: command(recipe, source) }
}

fn recipe(args: &Args, stage: Imitation, source: &Source) -> Result<Recipe> {
    let judged = args.judged.unwrap_or(JUDGED).into();
    let exam = Exam { chosen: u64::max(judged / 3, 1), judged, length: stage.length };
    let usual = Reinforcement::default();
    // On recordings there is none unless it is asked for.
    let rounds = if *source == Source::Standard { usual.rounds } else { 0 };
    let rounds = args.reinforce.map_or(rounds, |asked| asked as usize);
    let reinforcement = Reinforcement { rounds, length: stage.length, ..usual };
    let mut stages = vec![Stage::Imitate(stage)];
    if reinforcement.rounds > 0 {
        stages.push(Stage::Reinforce(reinforcement));
    }
    let (seed, width) = (args.seed.unwrap_or(1), args.width.unwrap_or(WIDTH) as usize);
    let course = Course { seed, width, stages };
    let lessons = serde_json::to_string(source).context("cannot say what is learned from")?;
    Ok(Recipe { course, exam, lessons })
}

/// The rounds that were asked for, and the rest as it is.
fn stage(args: &Args, otherwise: Imitation) -> Imitation {
    let or = |asked: Option<u32>, otherwise: usize| asked.map_or(otherwise, |asked| asked as usize);
    Imitation {
        rounds: or(args.rounds, otherwise.rounds),
        runs: args.runs.map_or(otherwise.runs, u64::from),
        length: args.minutes.map_or(otherwise.length, minutes),
        steps: or(args.steps, otherwise.steps),
        batch: or(args.batch, otherwise.batch),
        ..otherwise
    }
}

fn minutes(count: u32) -> Duration {
    Duration::from_secs(60 * u64::from(count))
}

/// What was asked for and is not so in a training that is under way, if anything.
pub(super) fn different(args: &Args, recipe: &Recipe) -> Option<String> {
    let Some(Stage::Imitate(it)) = recipe.course.stages.first() else {
        return Some("has rounds that this version does not know".into());
    };
    let reinforced: usize = recipe.course.stages.iter().skip(1).map(Stage::rounds).sum();
    let was = |name: &str, asked: Option<u64>, there: u64| {
        asked.filter(|asked| *asked != there).map(|asked| format!("has {name} {there}, not {asked}"))
    };
    let whole = |asked: Option<u32>| asked.map(u64::from);
    was("--rounds", whole(args.rounds), it.rounds as u64)
        .or_else(|| was("--runs", whole(args.runs), it.runs))
        .or_else(|| was("--minutes", whole(args.minutes), it.length.as_secs() / 60))
        .or_else(|| was("--steps", whole(args.steps), it.steps as u64))
        .or_else(|| was("--batch", whole(args.batch), it.batch as u64))
        .or_else(|| was("--reinforce", whole(args.reinforce), reinforced as u64))
        .or_else(|| was("--seed", args.seed, recipe.course.seed))
        .or_else(|| was("--width", whole(args.width), recipe.course.width as u64))
        .or_else(|| was("--judged", whole(args.judged), recipe.exam.judged))
}

/// The command that gives the same weights again.
fn command(recipe: &Recipe, source: &Source) -> String {
    let mut words = vec!["halcyon train -o DIR".to_string()];
    if let Source::Recordings { files, model } = source {
        words.push("--from".into());
        words.extend(files.iter().map(|file| quoted(&file.path.to_string_lossy())));
        words.extend(model.iter().map(|path| format!("--model {}", quoted(&path.to_string_lossy()))));
    }
    for stage in &recipe.course.stages {
        words.push(match stage {
            Stage::Imitate(it) => format!(
                "--rounds {} --runs {} --minutes {} --steps {} --batch {}",
                it.rounds,
                it.runs,
                it.length.as_secs().div_ceil(60),
                it.steps,
                it.batch
            ),
            Stage::Reinforce(it) => format!("--reinforce {}", it.rounds),
        });
    }
    if *source == Source::Standard {
        words.push(format!("--width {}", recipe.course.width));
    }
    words.push(format!("--seed {} --judged {}", recipe.course.seed, recipe.exam.judged));
    words.join(" ")
}

/// Scenarios of files, in their order.
fn read_all(paths: &[PathBuf]) -> Result<(Vec<File>, Vec<Scenario>)> {
    let mut files = Vec::new();
    let mut scenarios = Vec::new();
    for path in paths {
        if is_recording(path) {
            scenarios.push(Scenario::read(path)?);
            files.push(File { path: absolute(path)?, sha256: sha256_of(path)? });
            continue;
        }
        let bytes = weights::read_whole(path, halcyon_lab::MOST_SCENARIO_BYTES)?;
        let text = std::str::from_utf8(&bytes).ok().with_context(|| {
            format!(
                "{} is no scenario: it is not UTF-8 text; name files of `halcyon record` or of `halcyon scenario new`",
                path.display()
            )
        })?;
        scenarios.push(Scenario::parse(text, path)?);
        files.push(File { path: absolute(path)?, sha256: sha256(&bytes) });
    }
    Ok((files, scenarios))
}

fn recordings(scenarios: Vec<Scenario>, length: Duration, paths: &[PathBuf]) -> Result<Recordings> {
    Recordings::new(scenarios, length).map_err(|(place, error)| {
        let name = paths.get(place).map_or_else(String::new, |path| path.display().to_string());
        anyhow::anyhow!("cannot learn from {name}: {error}")
    })
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).with_context(|| format!("cannot find {}", path.display()))
}

fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest;
    hex(&sha2::Sha256::digest(bytes))
}

/// Of a file of any size.
fn sha256_of(path: &Path) -> Result<String> {
    use sha2::Digest;
    let tried = || format!("cannot read {}", path.display());
    let mut digest = sha2::Sha256::new();
    let mut file = std::fs::File::open(path).with_context(tried)?;
    std::io::copy(&mut file, &mut digest).with_context(tried)?;
    Ok(hex(&digest.finalize()))
}

fn hex(digest: &[u8]) -> String {
    digest.iter().map(|byte| format!("{byte:02x}")).collect()
}
