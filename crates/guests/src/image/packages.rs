//! The guests' kernel, from a Debian package that is fetched and unpacked, not installed.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::tool::Tool;

/// The package that leads to the newest kernel: the one for clouds is a third of the size, has NVMe and PCIe
/// hot-plug built in, and boots in two thirds of the time.
pub(super) const KERNEL: &str = "linux-image-cloud-amd64";

/// A kernel package, unpacked.
#[derive(Debug)]
pub(super) struct Unpacked {
    /// The folder that stands for `/`.
    pub(super) root: PathBuf,
    /// The kernel as it boots.
    pub(super) vmlinuz: PathBuf,
    /// Its release.
    pub(super) release: String,
}

/// Fetches the kernel package into `folder` and unpacks it there.
pub(super) fn kernel(folder: &Path) -> anyhow::Result<Unpacked> {
    if !cfg!(target_arch = "x86_64") {
        bail!("the lab's guests are x86-64, and this machine is {}", std::env::consts::ARCH);
    }
    let name = match concrete() {
        Ok(name) => name,
        // A fresh machine has no lists of packages yet.
        Err(_) => {
            Tool::new("apt-get").args(["-qq", "update"]).run().context("the kernel package is not known")?;
            concrete()?
        }
    };
    let fetch = || Tool::new("apt-get").args(["-qq", "download", &name]).folder(folder).run();
    if fetch().is_err() {
        // Lists that are out of date name versions that are gone.
        Tool::new("apt-get").args(["-qq", "update"]).run()?;
        fetch().with_context(|| format!("cannot fetch the kernel package {name}"))?;
    }
    let package = only(folder, |file| file.ends_with(".deb"))?;
    let root = folder.join("root");
    Tool::new("dpkg-deb").arg("-x").arg(&package).arg(&root).run()?;
    let vmlinuz = only(&root.join("boot"), |file| file.starts_with("vmlinuz-"))?;
    let release = vmlinuz.file_name().and_then(|file| file.to_str()?.strip_prefix("vmlinuz-"));
    let release = release.context("the kernel's file has no release in its name")?.to_owned();
    Ok(Unpacked { root, vmlinuz, release })
}

/// The package that [`KERNEL`] depends on.
fn concrete() -> anyhow::Result<String> {
    let depends = Tool::new("apt-cache").args(["depends", "--important", KERNEL]).run()?;
    let found = depends.lines().filter_map(|line| line.trim().strip_prefix("Depends: "));
    let mut images = found.filter(|name| name.starts_with("linux-image-"));
    images.next().map(str::to_owned).with_context(|| format!("{KERNEL} leads to no kernel package"))
}

fn only(folder: &Path, fits: impl Fn(&str) -> bool) -> anyhow::Result<PathBuf> {
    let entries =
        std::fs::read_dir(folder).with_context(|| format!("cannot look into {}", folder.display()))?;
    let mut found =
        entries.filter_map(Result::ok).filter(|entry| entry.file_name().to_str().is_some_and(&fits));
    match (found.next(), found.next()) {
        (Some(entry), None) => Ok(entry.path()),
        (Some(_), Some(_)) => bail!("{} holds more than one file that fits", folder.display()),
        (None, _) => bail!("{} holds no file that fits", folder.display()),
    }
}
