//! The files that a bench writes, each as a whole or not at all.

use std::path::Path;

use anyhow::{Context, Result};
use halcyon_lab::bench::{Detail, Report};
use serde::Serialize;

use super::Args;
use crate::demo::report::quoted;
use crate::whole::{self, Whole};

/// Says no before the long run if a file could not be written after it.
pub(super) fn check(args: &Args) -> Result<()> {
    crate::demo::report::check(args.html.as_deref())?;
    check_json(args.json.as_deref())
}

/// The same for the JSON alone.
pub(crate) fn check_json(path: Option<&Path>) -> Result<()> {
    match path {
        Some(path) if !is_stdout(path) => Whole::begin(path).map(drop),
        _ => Ok(()),
    }
}

fn is_stdout(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// Writes the JSON to its file, or gives it back for standard output.
pub(crate) fn json(path: Option<&Path>, report: &impl Serialize) -> Result<Option<String>> {
    let Some(path) = path else { return Ok(None) };
    let text = serde_json::to_string_pretty(report).context("cannot write the result as JSON")? + "\n";
    if is_stdout(path) {
        return Ok(Some(text));
    }
    whole::write(path, &text)?;
    Ok(None)
}

/// Writes the page, if one was asked for.
pub(super) fn html(args: &Args, report: &Report, detail: Option<&Detail>) -> Result<()> {
    let Some(path) = &args.html else { return Ok(()) };
    crate::demo::report::save(path, &halcyon_lab::bench_html(report, detail, &command(args)))?;
    eprintln!("halcyon: the page is in {}", path.display());
    Ok(())
}

/// The command that gives the same figures again.
fn command(args: &Args) -> String {
    let mut words = vec!["halcyon bench".to_string()];
    if args.standard {
        words.push("--standard".into());
    }
    if args.full {
        words.push("--full".into());
    }
    if !args.scenarios.is_empty() {
        words.push("--scenarios".into());
        words.extend(args.scenarios.iter().map(|path| quoted(&path.to_string_lossy())));
        words.push(format!("--seeds {}", args.seeds));
    }
    if let Some(command) = &args.world_cmd {
        words.push(format!("--world-cmd {} --seeds {}", quoted(command), args.seeds));
    }
    if let Some(command) = &args.policy_cmd {
        words.push(format!("--policy-cmd {}", quoted(command)));
    }
    if !args.policies.is_empty() {
        words.push(format!("--policies {}", quoted(&args.policies.join(","))));
    }
    if let Some(hours) = args.hours {
        words.push(format!("--hours {}", hours.as_secs_f64() / 3600.0));
    }
    for (given, word) in [(args.no_clairvoyant, "--no-clairvoyant"), (args.by_resource, "--by-resource")] {
        if given {
            words.push(word.into());
        }
    }
    if let Some(path) = &args.html {
        words.push(format!("--html {}", quoted(&path.to_string_lossy())));
    }
    words.join(" ")
}
