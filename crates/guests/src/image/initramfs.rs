//! The guests' whole userland: a static busybox, the modules of the devices that the lab uses, and a script
//! that does what the host asks.

use std::collections::BTreeMap;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::packages::Unpacked;
use crate::tool::Tool;

/// The script that is process 1 of a guest.
pub(super) const INIT: &str = include_str!("init.sh");
/// What a guest loads, where the kernel has it not built in.
pub(super) const MODULES: [&str; 6] =
    ["virtio_pci", "virtio_console", "virtio_blk", "virtio_balloon", "virtio_mem", "nvme"];

/// A busybox that runs without any library.
pub(super) fn busybox() -> anyhow::Result<PathBuf> {
    let path = Tool::find("busybox").context("busybox is missing; install the package busybox-static")?;
    if needs_libraries(&super::read(&path)?) {
        bail!("{} needs libraries; install the package busybox-static in its place", path.display());
    }
    Ok(path)
}

/// Whether an ELF program names an interpreter: then it needs libraries, which a guest does not have.
fn needs_libraries(program: &[u8]) -> bool {
    let half = |at: usize| Some(usize::from(u16::from_le_bytes(program.get(at..at + 2)?.try_into().ok()?)));
    let headers = || {
        let offset = u64::from_le_bytes(program.get(32..40)?.try_into().ok()?);
        Some((usize::try_from(offset).ok()?, half(54)?, half(56)?))
    };
    let Some((offset, size, count)) = headers() else { return true };
    let kinds = (0..count).map(|index| program.get(offset.checked_add(index * size)?..)?.first_chunk());
    const INTERPRETER: [u8; 4] = 3_u32.to_le_bytes();
    kinds.into_iter().any(|kind| kind == Some(&INTERPRETER))
}

/// Packs the archive.
pub(super) fn build(folder: &Path, from: &Unpacked, busybox: &Path, to: &Path) -> anyhow::Result<()> {
    let stage = folder.join("initramfs");
    for part in ["bin", "dev", "proc", "sys", "tmp"] {
        let path = stage.join(part);
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
    }
    copy(busybox, &stage.join("bin/busybox"))?;
    let modules = modules(busybox, from)?;
    for module in &modules {
        copy(&from.root.join(module), &stage.join(module))?;
    }
    depmod(busybox, &stage, &from.release)?;
    let init = stage.join("init");
    std::fs::write(&init, INIT).context("cannot write the guests' script")?;
    std::fs::set_permissions(&init, std::fs::Permissions::from_mode(0o755))
        .context("cannot make the guests' script runnable")?;
    let pack = "find . | \"$0\" cpio -o -H newc > \"$1\"";
    Tool::new("sh").args(["-ec", pack]).arg(busybox).arg(to).folder(&stage).run()?;
    Ok(())
}

fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    if let Some(parent) = to.parent() {
        std::fs::create_dir_all(parent).with_context(|| format!("cannot make {}", parent.display()))?;
    }
    std::fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

fn depmod(busybox: &Path, root: &Path, release: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(root.join("lib/modules").join(release)).context("cannot make a module folder")?;
    Tool::at(busybox).arg("depmod").arg("-b").arg(root).arg(release).run()?;
    Ok(())
}

/// The files of [`MODULES`] and of what they depend on, below the root of the package.
fn modules(busybox: &Path, from: &Unpacked) -> anyhow::Result<Vec<PathBuf>> {
    depmod(busybox, &from.root, &from.release)?;
    let folder = Path::new("lib/modules").join(&from.release);
    let text = |name: &str| {
        let path = from.root.join(&folder).join(name);
        std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
    };
    let needs = parse_dependencies(&text("modules.dep")?);
    let built_in: Vec<String> = text("modules.builtin")?.lines().map(module_name).collect();
    let mut found = Vec::new();
    for wanted in MODULES {
        let file = needs.keys().find(|file| module_name(file) == wanted);
        match file {
            Some(file) => {
                found.push(folder.join(file));
                found.extend(needs[file].iter().map(|needed| folder.join(needed)));
            }
            None if built_in.iter().any(|name| name == wanted) => {}
            None => bail!("the kernel {} has no module {wanted}", from.release),
        }
    }
    found.sort();
    found.dedup();
    Ok(found)
}

/// What each module needs, from the lines `FILE: FILE…` of `modules.dep`.
fn parse_dependencies(text: &str) -> BTreeMap<String, Vec<String>> {
    let lines = text.lines().filter_map(|line| line.split_once(':'));
    lines
        .map(|(file, needs)| (file.to_owned(), needs.split_whitespace().map(str::to_owned).collect()))
        .collect()
}

/// The name that `modprobe` knows a file by.
fn module_name(file: &str) -> String {
    let file = file.rsplit('/').next().unwrap_or(file);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dependencies_are_read_as_depmod_writes_them() {
        // From Debian's 6.1.0-56-cloud-amd64, by busybox depmod 1.35.
        let text = "kernel/drivers/virtio/virtio.ko:\n\
            kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko\n";
        let needs = parse_dependencies(text);
        assert_eq!(needs["kernel/drivers/virtio/virtio.ko"], Vec::<String>::new());
        assert_eq!(needs["kernel/drivers/block/virtio_blk.ko"].len(), 2);
    }

    #[test]
    fn a_module_goes_by_its_name_with_underscores() {
        assert_eq!(module_name("kernel/drivers/nvme/host/nvme-core.ko.xz"), "nvme_core");
        assert_eq!(module_name("nvme.ko"), "nvme");
    }
}
