//! Repository chores, run as `cargo xtask …`.
//!
//! `tidy` holds the rules that neither the compiler nor clippy knows: which crate may use which, and
//! what a tracked file must not contain. `docs` writes the pages that are generated from the program.
//! Nothing here is part of Halcyon itself.
#![expect(clippy::print_stdout, reason = "the findings of a chore are its output")]

mod arrows;
mod docs;
mod files;
mod lab;
mod manifests;
mod tidy;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Repository chores of Halcyon.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask")]
struct Cli {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Check the layering of the crates and the rules for tracked files.
    Tidy,
    /// Write docs/src/reference/cli.md from the program's own help.
    Docs {
        /// Change nothing; fail if the page is out of date.
        #[arg(long)]
        check: bool,
        /// Use this binary in place of building one.
        #[arg(long, value_name = "FILE")]
        binary: Option<PathBuf>,
    },
    /// Prove the drivers on real guests under QEMU: [NAME…] [--list] [--keep].
    #[command(disable_help_flag = true)]
    Lab {
        /// What is handed over to the lab.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<String>,
    },
}

fn main() -> ExitCode {
    let outcome = match Cli::parse().chore {
        Chore::Tidy => tidy::run(),
        Chore::Docs { check, binary } => docs::run(check, binary.as_deref()),
        Chore::Lab { arguments } => lab::run(&arguments),
    };
    outcome.unwrap_or_else(|error| {
        eprintln!("xtask: {error:#}");
        ExitCode::FAILURE
    })
}
