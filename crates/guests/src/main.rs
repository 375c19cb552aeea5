//! Real guests under QEMU as a test bed: what Halcyon's drivers do is tried on machines that boot, page
//! and write, and what was measured is printed. Run as `cargo xtask lab`; nothing of it is in the product.
//!
//! It promises to leave nothing behind: no process, no control group, and no file but the cache of guests.
#![expect(clippy::print_stdout, reason = "what was measured is the lab's output")]

mod adopted;
mod checks;
mod drivers;
mod guest;
mod image;
mod interrupt;
mod lab;
mod rig;
mod table;
mod tool;
mod wire;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Proves Halcyon's drivers on real guests.
#[derive(Parser)]
#[command(name = "cargo xtask lab", args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    inner: Option<Inner>,
    /// The checks to run, in this order; all of them if none is named.
    names: Vec<String>,
    /// Say what each check proves, and run nothing.
    #[arg(long)]
    list: bool,
    /// Leave the guests' logs and sockets where they are, and say where that is.
    #[arg(long)]
    keep: bool,
}

#[derive(Subcommand)]
enum Inner {
    /// Carries out one plan: what the check `killed` kills.
    #[command(hide = true)]
    Execute(checks::Execute),
    /// Is the daemon: what the check `daemon` starts.
    #[command(hide = true)]
    Drive(checks::Drive),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.inner {
        Some(Inner::Execute(order)) => {
            return checks::execute(&order).map_or_else(complain, |()| ExitCode::SUCCESS);
        }
        Some(Inner::Drive(order)) => {
            return checks::drive(&order).map_or_else(complain, |()| ExitCode::SUCCESS);
        }
        None => {}
    }
    if cli.list {
        for check in checks::ALL {
            println!("{:20} {}", check.name, check.proves);
        }
        return ExitCode::SUCCESS;
    }
    lab::run(&cli.names, cli.keep).unwrap_or_else(complain)
}

#[expect(clippy::needless_pass_by_value, reason = "the error ends here")]
fn complain(error: anyhow::Error) -> ExitCode {
    eprintln!("lab: {error:#}");
    ExitCode::FAILURE
}
