//! `--report`: the HTML file, written as a whole or not at all.

use std::io::Read;
use std::path::Path;

use anyhow::{Result, bail};
use halcyon_lab::{Comparison, RunResult, Scenario};

use super::Args;
use crate::whole::{self, Whole};

/// Says no before the long run if the file could not be written after it; leaves nothing behind.
pub(crate) fn check(path: Option<&Path>) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    if path.exists() && !path.is_file() && !path.is_dir() {
        bail!("cannot write the report {}: it is no ordinary file; name another", path.display());
    }
    if path.is_file() && !is_report(path) {
        bail!("will not replace {}: it is no report; name another file", path.display());
    }
    Whole::begin(path).map(drop)
}

/// Writes the report of the first scenario if one was asked for.
pub(super) fn write(
    args: &Args,
    scenarios: &[Scenario],
    results: &[(String, Vec<RunResult>)],
    comparison: &Comparison,
) -> Result<()> {
    let (Some(path), Some(scenario), Some((_, runs))) = (&args.report, scenarios.first(), results.first())
    else {
        return Ok(());
    };
    let text = halcyon_lab::html(scenario, comparison, runs, args.policy.as_deref(), &command(args));
    save(path, &text)?;
    eprintln!("halcyon: the report is in {}", path.display());
    Ok(())
}

pub(crate) fn save(path: &Path, text: &str) -> Result<()> {
    check(Some(path))?;
    whole::write(path, text)
}

/// Whether a file may be replaced: an older report, or nothing yet.
fn is_report(path: &Path) -> bool {
    let mut start = Vec::new();
    let read = std::fs::File::open(path).and_then(|file| file.take(15).read_to_end(&mut start));
    read.is_ok() && (start.is_empty() || start == b"<!DOCTYPE html>")
}

/// The command that gives the same report again.
fn command(args: &Args) -> String {
    let mut words = vec!["halcyon demo".to_string()];
    let mut option = |name: &str, value: String| words.push(format!("{name} {value}"));
    if let Some(path) = &args.trace {
        option("--trace", quoted(&path.to_string_lossy()));
    }
    if let Some(format) = args.format {
        option("--format", format.name().into());
    }
    if let Some(path) = &args.host {
        option("--host", quoted(&path.to_string_lossy()));
    }
    match &args.vm_file {
        Some(path) => option("--vm-file", quoted(&path.to_string_lossy())),
        None => {
            option("--vms", args.vms.to_string());
            option("--load", args.load.to_string());
        }
    }
    if let Some(policy) = &args.policy {
        option("--policy", policy.clone());
    }
    option("--hours", (args.hours.as_secs_f64() / 3600.0).to_string());
    option("--seed", args.seed.to_string());
    if args.scenarios != 1 {
        option("--scenarios", args.scenarios.to_string());
    }
    if let Some(path) = &args.report {
        option("--report", quoted(&path.to_string_lossy()));
    }
    words.join(" ")
}

/// A word as a shell takes it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |letter: char| letter.is_ascii_alphanumeric() || "-_./,:+@%=".contains(letter);
    if !word.is_empty() && word.chars().all(plain) {
        word.into()
    } else {
        format!("'{}'", word.replace('\'', r"'\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_report_is_written_whole_and_replaces_an_older_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("report.html");
        save(&path, "<!DOCTYPE html>old").unwrap();
        save(&path, "new").unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "new");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn what_cannot_be_written_is_said_beforehand() {
        let folder = tempfile::tempdir().unwrap();
        let text = |path: &Path| format!("{:#}", check(Some(path)).unwrap_err());
        assert!(text(folder.path()).contains("is a folder"));
        let missing = folder.path().join("no/such/report.html");
        assert!(text(&missing).contains(&missing.display().to_string()));
        assert!(text(Path::new("")).contains("names no file"));
        let other = folder.path().join("host.toml");
        std::fs::write(&other, "name = \"host\"").unwrap();
        assert!(text(&other).contains("it is no report"));
        std::fs::remove_file(&other).unwrap();
        check(Some(&folder.path().join("report.html"))).unwrap();
        check(None).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn the_command_survives_a_shell() {
        assert_eq!(quoted("a/b-c.toml"), "a/b-c.toml");
        assert_eq!(quoted("it's $HOME"), r"'it'\''s $HOME'");
        assert_eq!(quoted(""), "''");
    }
}
