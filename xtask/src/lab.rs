//! `cargo xtask lab`: hands over to the crate of the guests, built with optimisation, as times are measured.

use std::process::{Command, ExitCode};

use anyhow::Context as _;

/// The chore as the command line runs it.
pub(crate) fn run(arguments: &[String]) -> anyhow::Result<ExitCode> {
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["run", "--quiet", "--release", "-p", "halcyon-guests", "--"]).args(arguments);
    let status = cargo.status().context("cannot run cargo")?;
    let code = status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1);
    Ok(ExitCode::from(code))
}
