//! One run of the lab: the guests' image, a folder for their files, and the checks one after another.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use crate::checks::{self, Check};
use crate::guest::{Accelerator, Guest, Shape};
use crate::image::{self, Image};
use crate::interrupt;
use crate::table::seconds;

/// How long a guest may take to boot: twenty times of what it takes on two idle cores.
const BOOT: Duration = Duration::from_secs(60);
/// How long a guest under KVM gets to show that it runs. Under a KVM that works it takes a second.
const PROBE: Duration = Duration::from_secs(5);

/// What checks run with.
#[derive(Debug)]
pub(crate) struct Lab {
    image: Image,
    accelerator: Accelerator,
    folder: PathBuf,
}

impl Lab {
    /// A folder for the files of one check.
    ///
    /// # Errors
    /// When it cannot be made.
    pub(crate) fn folder(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.folder.join(name);
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder)
    }

    /// Boots guests beside each other, and waits until all answer.
    ///
    /// # Errors
    /// When one does not.
    pub(crate) fn boot<const N: usize>(
        &self,
        folder: &Path,
        guests: [(&str, &Shape); N],
    ) -> anyhow::Result<[Guest; N]> {
        let mut booted = Vec::with_capacity(N);
        for (name, shape) in guests {
            booted.push(Guest::start(name, shape, &self.image, self.accelerator, folder)?);
        }
        let mut times = Vec::new();
        for guest in &mut booted {
            let time = guest.up(BOOT)?;
            times.push(format!("{} {}", guest.name, seconds(time)));
        }
        println!("  up: {}", times.join(", "));
        booted.try_into().ok().context("a guest got lost")
    }
}

/// Runs the checks named, or all.
///
/// # Errors
/// When a name is unknown, or no guest can be made at all.
pub(crate) fn run(names: &[String], keep: bool) -> anyhow::Result<ExitCode> {
    let checks = checks::named(names)?;
    interrupt::watch()?;
    let mut folder = tempfile::Builder::new().prefix("halcyon-lab-").tempdir();
    if let Ok(folder) = &mut folder {
        folder.disable_cleanup(keep);
    }
    let folder = folder.context("cannot make a folder for the guests")?;
    let began = Instant::now();
    let image = image::ready(&image::cache_folder()?).context("there is nothing for guests to boot")?;
    let how = if image.built { "built" } else { "from the cache" };
    println!("lab: kernel {} ({how}, {})", image.release, seconds(began.elapsed()));
    let lab = Lab { accelerator: accelerator(&image, folder.path()), image, folder: folder.path().into() };
    println!("lab: guests run on {}", lab.accelerator.name());
    if keep {
        println!("lab: files stay in {}", folder.path().display());
    }
    let failed = run_each(&lab, &checks)?;
    println!("\nlab: {} of {} ok in {}", checks.len() - failed.len(), checks.len(), seconds(began.elapsed()));
    for (name, error) in &failed {
        eprintln!("lab: {name} FAILED: {error:#}");
    }
    Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn run_each(lab: &Lab, checks: &[&Check]) -> anyhow::Result<Vec<(&'static str, anyhow::Error)>> {
    let mut failed = Vec::new();
    for check in checks {
        println!("\n== {}: {}", check.name, check.proves);
        let began = Instant::now();
        let outcome = lab.folder(check.name).and_then(|folder| (check.run)(lab, &folder));
        interrupt::check()?;
        match outcome {
            Ok(()) => println!("== {}: ok ({})", check.name, seconds(began.elapsed())),
            Err(error) => {
                println!("== {}: FAILED ({}): {error:#}", check.name, seconds(began.elapsed()));
                failed.push((check.name, error));
            }
        }
    }
    Ok(failed)
}

/// KVM where a guest boots on it. That its device is there does not say so.
fn accelerator(image: &Image, folder: &Path) -> Accelerator {
    let probe = || -> anyhow::Result<()> {
        if !Path::new("/dev/kvm").exists() {
            bail!("there is no KVM here");
        }
        let shape = Shape::default();
        let mut guest = Guest::start("probe", &shape, image, Accelerator::Kvm, folder)?;
        guest.up(PROBE)?;
        Ok(())
    };
    if probe().is_ok() { Accelerator::Kvm } else { Accelerator::Tcg }
}
