//! `cargo xtask docs`: the command-line reference, written by the program itself.
//!
//! The page is the `--help` of `halcyon` and of every subcommand below it, found by reading each help's
//! own list of commands. Width, colour and settings are fixed, so that the page depends on nothing but
//! the program.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, bail, ensure};

use crate::tidy;

const PAGE: &str = "docs/src/reference/cli.md";
/// Deeper nesting than this is a program that answers every help with the same list.
const MAX_DEPTH: usize = 6;

/// The chore as the command line runs it: writes the page, or with `check` compares it.
pub(crate) fn run(check: bool, binary: Option<&Path>) -> anyhow::Result<ExitCode> {
    let metadata = tidy::metadata()?;
    let root = metadata.workspace_root.as_std_path();
    let binary = match binary {
        Some(path) => path.to_path_buf(),
        None => build(root, metadata.target_directory.as_std_path())?,
    };
    let page = render(&mut |words| help_of(&binary, words))?;
    let path = root.join(PAGE);
    if check {
        return compare(&path, &page);
    }
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    }
    std::fs::write(&path, page).with_context(|| format!("cannot write {}", path.display()))?;
    println!("docs: wrote {PAGE}");
    Ok(ExitCode::SUCCESS)
}

fn compare(path: &Path, page: &str) -> anyhow::Result<ExitCode> {
    let found = match std::fs::read_to_string(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => String::new(),
        other => other.with_context(|| format!("cannot read {}", path.display()))?,
    };
    if found == page {
        println!("docs: {PAGE} is up to date");
        return Ok(ExitCode::SUCCESS);
    }
    let line = found.lines().zip(page.lines()).take_while(|(old, new)| old == new).count() + 1;
    println!("docs: {PAGE} is out of date from line {line} on; run `cargo xtask docs` and commit it");
    Ok(ExitCode::FAILURE)
}

fn build(root: &Path, target: &Path) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--package", "halcyon-cli", "--bin", "halcyon"])
        .current_dir(root)
        .status()
        .context("cannot run cargo to build halcyon")?;
    ensure!(status.success(), "halcyon did not build, so its help cannot be read");
    Ok(target.join("debug").join("halcyon"))
}

fn help_of(binary: &Path, words: &[String]) -> anyhow::Result<String> {
    let mut command = Command::new(binary);
    command.args(words).arg("--help").env("COLUMNS", "100").env("NO_COLOR", "1").stdin(Stdio::null());
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("HALCYON_")) {
        command.env_remove(name);
    }
    let output = command.output().with_context(|| format!("cannot run {}", binary.display()))?;
    let shown = [&["halcyon".to_owned()], words, &["--help".to_owned()]].concat().join(" ");
    ensure!(output.status.success(), "`{shown}` ended with {}", output.status);
    let text = String::from_utf8(output.stdout).with_context(|| format!("`{shown}` printed no UTF-8"))?;
    ensure!(!text.trim().is_empty(), "`{shown}` printed nothing");
    Ok(text)
}

/// The whole page, asking `help` for each command by the words that follow `halcyon`.
fn render(help: &mut dyn FnMut(&[String]) -> anyhow::Result<String>) -> anyhow::Result<String> {
    let mut page = String::from(
        "# Command line\n\n<!-- Written by `cargo xtask docs` from the program's own help. Do not edit. -->\n",
    );
    let mut open = vec![Vec::new()];
    while let Some(words) = open.pop() {
        if words.len() > MAX_DEPTH {
            bail!("the help of `halcyon {}` lists commands without end", words.join(" "));
        }
        let text = help(&words)?;
        let title = [vec!["halcyon".to_owned()], words.clone()].concat().join(" ");
        writeln!(page, "\n## `{title}`\n\n```text")?;
        for line in text.trim_end().lines() {
            writeln!(page, "{}", line.trim_end())?;
        }
        page.push_str("```\n");
        let children = subcommands(&text).into_iter().map(|name| [words.clone(), vec![name]].concat());
        open.extend(children.rev());
    }
    Ok(page)
}

/// The names in the "Commands:" section of a help, `help` itself left out. A name stands at an indent
/// of two; a description that wraps stands further in.
fn subcommands(help: &str) -> Vec<String> {
    help.lines()
        .skip_while(|line| *line != "Commands:")
        .skip(1)
        .take_while(|line| line.starts_with("  ") || line.trim().is_empty())
        .filter_map(|line| line.strip_prefix("  "))
        .filter(|line| line.starts_with(|first: char| first.is_ascii_alphanumeric()))
        .filter_map(|line| line.split([' ', ',']).next())
        .filter(|name| *name != "help")
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOP: &str = "Purpose.\n\nUsage: halcyon <COMMAND>\n\nCommands:\n  demo    Shows it; a long \
                       description\n          that wraps\n  doctor  Looks\n  help    Print help\n\nOptions:\n  -h, --help\n";

    #[test]
    fn the_page_holds_every_level_in_order() {
        let page = render(&mut |words| {
            Ok(match words.join(" ").as_str() {
                "" => TOP.to_owned(),
                "demo" => "Commands:\n  deep  x\n".to_owned(),
                other => format!("help of {other}   \n"),
            })
        })
        .unwrap();
        let titles: Vec<_> = page.lines().filter_map(|line| line.strip_prefix("## ")).collect();
        assert_eq!(titles, ["`halcyon`", "`halcyon demo`", "`halcyon demo deep`", "`halcyon doctor`"]);
        assert!(page.contains("```text\nhelp of demo deep\n```\n"));
    }

    #[test]
    fn a_program_that_nests_without_end_is_refused() {
        let error = render(&mut |_| Ok("Commands:\n  again  x\n".to_owned())).unwrap_err();
        assert!(error.to_string().contains("without end"));
    }

    #[test]
    fn an_outdated_or_missing_page_fails_the_check() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cli.md");
        assert_eq!(compare(&path, "new\n").unwrap(), ExitCode::FAILURE);
        std::fs::write(&path, "new\n").unwrap();
        assert_eq!(compare(&path, "new\n").unwrap(), ExitCode::SUCCESS);
        assert_eq!(compare(&path, "newer\n").unwrap(), ExitCode::FAILURE);
    }
}
