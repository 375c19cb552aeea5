//! From arguments to scenarios and policies.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use halcyon_lab::Scenario;
use halcyon_lab::bench::{self, Entry, WithCommand};
use halcyon_lab::outside::{EXTERNAL, Limits, Outside};
use halcyon_policy::Network;

use super::Args;

/// What a bench is about.
pub(super) struct Chosen {
    pub(super) policies: Vec<String>,
    pub(super) entries: Vec<Entry>,
    /// Weights for the learned policy, if not those that come with Halcyon.
    pub(super) model: Option<Network>,
}

/// The policy that is a command, if there is one.
pub(super) fn mine(args: &Args) -> Option<WithCommand> {
    let command = outside(args, args.policy_cmd.as_ref()?);
    Some(WithCommand { name: EXTERNAL.into(), command })
}

/// A command that is a world or a policy.
pub(super) fn outside(args: &Args, command: &str) -> Outside {
    let limits = Limits { deadline: args.peer_deadline, ..Limits::default() };
    Outside { command: command.into(), limits, seed: 1 }
}

/// The deadline of such commands on the command line, in seconds.
pub(super) fn deadline(text: &str) -> Result<Duration, String> {
    let seconds: f64 = text.parse().map_err(|_| "give seconds, such as 10 or 0.5".to_string())?;
    if (0.01..=86_400.0).contains(&seconds) {
        Ok(Duration::from_secs_f64(seconds))
    } else {
        Err("give 0.01 to 86400 seconds".into())
    }
}

/// The policies to run, each once, in the order of reports; or what is wrong with the names.
pub(super) fn policies(args: &Args) -> Result<Vec<String>, String> {
    let mut known = bench::policies();
    if args.world_cmd.is_some() {
        // Nobody knows the future of a world from outside.
        known.retain(|name| *name != "clairvoyant");
    }
    if args.policy_cmd.is_some() {
        known.insert(known.len() - usize::from(known.last() == Some(&"clairvoyant")), EXTERNAL);
    }
    if let Some(name) = args.policies.iter().find(|name| !known.contains(&name.as_str())) {
        return Err(format!("there is no policy `{name}` here; choose from {}", known.join(", ")));
    }
    let asked = |name: &str| args.policies.is_empty() || args.policies.iter().any(|asked| asked == name);
    let runs = |name: &&str| match *name {
        "static" | EXTERNAL => true,
        "clairvoyant" => !args.no_clairvoyant,
        name => asked(name),
    };
    Ok(known.into_iter().filter(runs).map(str::to_string).collect())
}

pub(super) fn threads(asked: Option<u16>) -> usize {
    let cores = || std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    asked.map_or_else(cores, usize::from)
}

/// The scenarios to run.
pub(super) fn entries(args: &Args) -> Result<Vec<Entry>> {
    let entries = match (args.standard, args.full) {
        (true, _) => bench::standard(),
        (_, true) => bench::full(),
        _ => files(&args.scenarios)?
            .iter()
            .map(|path| of_file(path, args.seeds))
            .collect::<Result<Vec<_>>>()?
            .into_iter()
            .flatten()
            .collect(),
    };
    Ok(match args.hours {
        Some(hours) => entries.into_iter().map(|entry| entry.lasting(hours)).collect(),
        None => entries,
    })
}

/// Files as they are named, and the files `*.toml` of folders, by name.
fn files(paths: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for path in paths {
        if !path.is_dir() {
            files.push(path.clone());
            continue;
        }
        let tried = || format!("cannot read the folder {}", path.display());
        let entries = std::fs::read_dir(path).with_context(tried)?;
        let found: std::io::Result<Vec<PathBuf>> =
            entries.map(|entry| entry.map(|entry| entry.path())).collect();
        let mut found = found.with_context(tried)?;
        found.retain(|path| path.extension().is_some_and(|extension| extension == "toml"));
        if found.is_empty() {
            bail!("the folder {} has no scenario; put files *.toml there, or name another", path.display());
        }
        found.sort();
        files.extend(found);
    }
    Ok(files)
}

/// A scenario file with as many seeds as asked for, its own first. The file is read here once, so that
/// nobody waits for a mistake in it, and again when its turn comes.
fn of_file(path: &Path, seeds: u32) -> Result<Vec<Entry>> {
    let scenario = Scenario::read(path)?;
    let name = path.file_stem().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
    let of = |turn| {
        let (seed, path) = (scenario.seed.wrapping_add(u64::from(turn)), path.to_path_buf());
        Entry::new(name.clone(), seed, scenario.duration, move |_| {
            Ok(Scenario { seed, ..Scenario::read(&path)? })
        })
    };
    Ok((0..seeds).map(of).collect())
}

/// Which program results are of: another build may give others.
pub(super) fn program() -> Result<String> {
    use sha2::Digest;
    let tried = || "cannot read this program's own file, to tell its results from those of another";
    let path = std::env::current_exe().with_context(tried)?;
    let mut file = std::fs::File::open(path).with_context(tried)?;
    let mut hash = sha2::Sha256::new();
    std::io::copy(&mut file, &mut hash).with_context(tried)?;
    let digest = hash.finalize();
    let hex: String = digest.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    Ok(format!("{} {hex}", env!("CARGO_PKG_VERSION")))
}
