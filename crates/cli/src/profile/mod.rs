//! `halcyon profile`: fitting applications to measured tables, and looking at what is known of them.

mod text;

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use clap::{Args, Subcommand};
use halcyon_lab::fit;
use halcyon_lab::profiles;
use halcyon_model::profile::{Application, Profiles, write_application};

use crate::whole;

/// Fit, list and show profiles of applications.
#[derive(Debug, Args)]
pub(crate) struct ProfileArgs {
    #[command(subcommand)]
    command: ProfileCommand,
}

#[derive(Debug, Subcommand)]
enum ProfileCommand {
    /// Fit the applications of measured tables and say how well the fits do.
    Fit(FitArgs),
    /// Say which applications are known.
    List(SourceArgs),
    /// Show how an application responds to cache and GPU slices.
    Show(ShowArgs),
}

#[derive(Debug, Args)]
struct FitArgs {
    /// The folder with the tables: spec_llc_ways.csv, a100_mig.csv, dnn_cpu_memory.csv, or some of them.
    #[arg(long, value_name = "DIR")]
    curves: PathBuf,
    /// Where to write a profile for each program; none are written if left out.
    #[arg(short, long, value_name = "DIR")]
    output: Option<PathBuf>,
    /// Replace profiles that are there.
    #[arg(long)]
    force: bool,
}

#[derive(Debug, Args)]
struct SourceArgs {
    /// A folder of profiles, instead of those that come with Halcyon.
    #[arg(long, value_name = "DIR")]
    profiles: Option<PathBuf>,
}

#[derive(Debug, Args)]
struct ShowArgs {
    /// The application.
    name: String,
    #[command(flatten)]
    source: SourceArgs,
}

/// Runs one of the subcommands.
///
/// # Errors
/// With a message that names the file and the place in it.
pub(crate) fn run(args: &ProfileArgs) -> anyhow::Result<()> {
    let text = match &args.command {
        ProfileCommand::Fit(args) => fit_tables(args)?,
        ProfileCommand::List(args) => text::list(&*known(args)?),
        ProfileCommand::Show(args) => {
            let known = known(&args.source)?;
            let Some(application) = known.get(&args.name) else {
                bail!("there is no application `{}`; `halcyon profile list` names those known", args.name);
            };
            text::show(application)
        }
    };
    match io::stdout().lock().write_all(text.as_bytes()) {
        // A reader that has seen enough, as `head` has, is no failure.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error.into()),
        _ => Ok(()),
    }
}

fn known(args: &SourceArgs) -> anyhow::Result<Arc<Profiles>> {
    Ok(match &args.profiles {
        Some(folder) => Arc::new(profiles::read_dir(folder)?),
        None => profiles::embedded(),
    })
}

fn fit_tables(args: &FitArgs) -> anyhow::Result<String> {
    let fitted = fit::fit(&args.curves)?;
    let mut text = text::fits(&fitted);
    if let Some(folder) = &args.output {
        write(&fitted.profiles, folder, args.force)?;
        text.push_str(&format!("\n{} profiles written to {}\n", fitted.profiles.len(), folder.display()));
    }
    Ok(text)
}

/// Writes every profile, or none if one is there that may not be replaced.
fn write(profiles: &Profiles, folder: &Path, force: bool) -> anyhow::Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
    let path = |application: &Application| folder.join(format!("{}.toml", application.name));
    if let Some(taken) = profiles.iter().map(path).find(|path| path.exists() && !force) {
        bail!("{} exists; name another folder, or --force to replace what is there", taken.display());
    }
    for application in profiles.iter() {
        let (path, text) = (path(application), write_application(application));
        whole::write(&path, &text)?;
    }
    Ok(())
}
