//! What guests boot: a kernel and an initramfs made of the distribution's packages, built once and kept.
//!
//! The cache is addressed by what goes into an image besides the kernel: the script that runs in the guest,
//! the modules, the busybox. A folder is there whole or not at all, since it is built beside its place
//! and renamed; its files are held against the digests in its manifest each time, and what does not fit is
//! built again.

mod initramfs;
mod kernel;
mod packages;

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use sha2::{Digest, Sha256};

/// Changes whenever an image of the same parts is put together in another way.
const RECIPE: &str = "halcyon lab image 1";
const MANIFEST: &str = "manifest";
const KERNEL: &str = "kernel";
const INITRAMFS: &str = "initramfs";
const RELEASE: &str = "release";
const PARTS: [&str; 3] = [KERNEL, INITRAMFS, RELEASE];

/// What a guest boots.
#[derive(Debug)]
pub(crate) struct Image {
    /// An ELF kernel to be entered by PVH, or a bzImage.
    pub(crate) kernel: PathBuf,
    /// An archive of busybox, modules and the script that answers.
    pub(crate) initramfs: PathBuf,
    /// The kernel's release, such as `6.1.0-56-cloud-amd64`.
    pub(crate) release: String,
    /// Whether it had to be built.
    pub(crate) built: bool,
}

/// The folder of the cache: `HALCYON_LAB_CACHE`, or the user's cache folder.
///
/// # Errors
/// When no variable says where that is.
pub(crate) fn cache_folder() -> anyhow::Result<PathBuf> {
    let named = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(folder) = named("HALCYON_LAB_CACHE") {
        return Ok(folder);
    }
    let cache = named("XDG_CACHE_HOME").or_else(|| Some(named("HOME")?.join(".cache")));
    let cache =
        cache.context("neither HALCYON_LAB_CACHE nor XDG_CACHE_HOME nor HOME says where to keep guests")?;
    Ok(cache.join("halcyon").join("lab"))
}

/// The image, from the cache where it is whole.
///
/// # Errors
/// When a package cannot be fetched, a tool is missing, or the cache cannot be written.
pub(crate) fn ready(cache: &Path) -> anyhow::Result<Image> {
    let busybox = initramfs::busybox()?;
    let folder = cache.join(key(&busybox)?);
    if let Ok(image) = load(&folder, false) {
        return Ok(image);
    }
    std::fs::create_dir_all(cache).with_context(|| format!("cannot make the cache {}", cache.display()))?;
    let building = tempfile::Builder::new().prefix("building-").tempdir_in(cache);
    let building = building.with_context(|| format!("cannot build in {}", cache.display()))?;
    build(building.path(), &busybox)?;
    if folder.exists() {
        std::fs::remove_dir_all(&folder)
            .with_context(|| format!("cannot remove the broken image {}", folder.display()))?;
    }
    let image = building.path().join("image");
    std::fs::rename(&image, &folder)
        .with_context(|| format!("cannot put the image in its place, {}", folder.display()))?;
    load(&folder, true)
}

fn key(busybox: &Path) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    for part in [RECIPE, initramfs::INIT, &initramfs::MODULES.join(" "), packages::KERNEL] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(read(busybox)?);
    Ok(hex(&hash.finalize())[..16].to_owned())
}

fn build(folder: &Path, busybox: &Path) -> anyhow::Result<()> {
    let image = folder.join("image");
    std::fs::create_dir(&image).with_context(|| format!("cannot make {}", image.display()))?;
    let unpacked = packages::kernel(folder)?;
    let vmlinuz = read(&unpacked.vmlinuz)?;
    // What is not packed in a form that is known here boots as it is, only more slowly.
    let kernel = kernel::elf(&vmlinuz).unwrap_or(vmlinuz);
    let write = |name: &str, content: &[u8]| {
        std::fs::write(image.join(name), content)
            .with_context(|| format!("cannot write {}", image.join(name).display()))
    };
    write(KERNEL, &kernel)?;
    write(RELEASE, unpacked.release.as_bytes())?;
    initramfs::build(folder, &unpacked, busybox, &image.join(INITRAMFS))?;
    write(MANIFEST, manifest(&image)?.as_bytes())
}

/// The digest and name of each part, one to a line.
fn manifest(folder: &Path) -> anyhow::Result<String> {
    let mut text = String::new();
    for name in PARTS {
        let digest = Sha256::digest(read(&folder.join(name))?);
        let _ = writeln!(text, "{} {name}", hex(&digest));
    }
    Ok(text)
}

fn load(folder: &Path, built: bool) -> anyhow::Result<Image> {
    let says = read(&folder.join(MANIFEST))?;
    if says != manifest(folder)?.as_bytes() {
        bail!("the image {} is not what its manifest says", folder.display());
    }
    let release = String::from_utf8(read(&folder.join(RELEASE))?).context("the release is not text")?;
    Ok(Image { kernel: folder.join(KERNEL), initramfs: folder.join(INITRAMFS), release, built })
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(folder: &Path) {
        for part in PARTS {
            std::fs::write(folder.join(part), part).unwrap();
        }
        std::fs::write(folder.join(MANIFEST), manifest(folder).unwrap()).unwrap();
    }

    #[test]
    fn an_image_that_is_whole_is_taken_as_it_is() {
        let folder = tempfile::tempdir().unwrap();
        image(folder.path());
        let image = load(folder.path(), false).unwrap();
        assert_eq!(image.release, "release");
        assert!(!image.built);
    }

    #[test]
    fn an_image_that_was_cut_short_or_changed_is_not_taken() {
        for part in PARTS {
            let folder = tempfile::tempdir().unwrap();
            image(folder.path());
            std::fs::write(folder.path().join(part), "k").unwrap();
            assert!(load(folder.path(), false).is_err(), "{part} was cut short");
            std::fs::remove_file(folder.path().join(part)).unwrap();
            assert!(load(folder.path(), false).is_err(), "{part} is missing");
        }
    }
}
