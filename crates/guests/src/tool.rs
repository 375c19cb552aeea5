//! Programs of the machine that the lab calls: found by name, run to their end, and quoted when they fail.

use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, bail};

/// How much of what a program complained about is quoted.
const MOST_QUOTED: usize = 2000;

/// A program and what it is called with.
pub(crate) struct Tool {
    name: OsString,
    command: Command,
}

impl Tool {
    /// A program found on the path.
    pub(crate) fn new(name: &str) -> Self {
        Self { name: name.into(), command: Command::new(name) }
    }

    /// The program in this file.
    pub(crate) fn at(path: &Path) -> Self {
        Self { name: path.into(), command: Command::new(path) }
    }

    /// Where the path has a program.
    pub(crate) fn find(name: &str) -> Option<PathBuf> {
        let path = std::env::var_os("PATH")?;
        // Administrators' programs are not on everybody's path.
        let extra = ["/usr/sbin", "/sbin"].map(PathBuf::from);
        std::env::split_paths(&path).chain(extra).map(|folder| folder.join(name)).find(|file| file.is_file())
    }

    /// With one more argument.
    pub(crate) fn arg(mut self, argument: impl AsRef<OsStr>) -> Self {
        self.command.arg(argument);
        self
    }

    /// With more arguments.
    pub(crate) fn args<S: AsRef<OsStr>>(mut self, arguments: impl IntoIterator<Item = S>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Run in this folder.
    pub(crate) fn folder(mut self, folder: &Path) -> Self {
        self.command.current_dir(folder);
        self
    }

    /// Runs it and gives what it wrote.
    ///
    /// # Errors
    /// When it cannot be started or ends with another status than 0.
    pub(crate) fn run(mut self) -> anyhow::Result<String> {
        let name = self.name.to_string_lossy().into_owned();
        let output = self.command.stdin(Stdio::null()).output();
        let output = output.with_context(|| format!("cannot run {name}; is it installed?"))?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let arguments: Vec<_> = self.command.get_args().map(OsStr::to_string_lossy).collect();
            let said: String = said.trim().chars().take(MOST_QUOTED).collect();
            bail!("`{name} {}` failed with {}: {said}", arguments.join(" "), output.status);
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }
}
