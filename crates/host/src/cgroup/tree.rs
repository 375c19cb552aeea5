//! The hierarchies of a machine, and where a process is in them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use super::access::{CgroupError, failed, text, write};
use super::group::{Controller, Group, Version};

/// Who made the group of a guest, and so which folder limits belong to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Layout {
    /// libvirt: a scope below `machine.slice`, with groups of its own for vCPUs and emulator inside.
    Libvirt,
    /// Proxmox: `qemu.slice/ID.scope`.
    Proxmox,
    /// A group that holds this guest alone.
    Own,
    /// The group of a login, a service or the root, which others may share.
    Shared,
}

/// The hierarchies of a machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tree {
    mounts: BTreeMap<Controller, (Version, PathBuf)>,
    proc: PathBuf,
}

impl Tree {
    /// Looks at what is mounted below `root`, usually `/sys/fs/cgroup`, with processes in `proc`.
    #[must_use]
    pub fn open(root: &Path, proc: &Path) -> Self {
        let unified = [root.to_path_buf(), root.join("unified")];
        let unified = unified.into_iter().find_map(|mount| {
            let enabled = text(&mount.join("cgroup.controllers")).ok()?;
            Some((mount, enabled))
        });
        let of = |controller: Controller| {
            if let Some((mount, enabled)) = &unified
                && enabled.split_whitespace().any(|name| name == controller.name(Version::V2))
            {
                return Some((controller, (Version::V2, mount.clone())));
            }
            let mount = v1_mount(root, controller)?;
            Some((controller, (Version::V1, mount)))
        };
        Self { mounts: Controller::ALL.into_iter().filter_map(of).collect(), proc: proc.into() }
    }

    /// Which version has a controller here.
    #[must_use]
    pub fn version(&self, controller: Controller) -> Option<Version> {
        self.mounts.get(&controller).map(|(version, _)| *version)
    }

    /// The group of a process, and who made it. For libvirt and Proxmox it is the scope that limits belong
    /// to, whichever part of it the process is in.
    ///
    /// # Errors
    /// When there is no such process.
    pub fn find(&self, pid: u32) -> Result<(Group, Layout), CgroupError> {
        let text = text(&self.proc.join(pid.to_string()).join("cgroup"))?;
        let mut layout = Layout::Shared;
        let folders = self.mounts.iter().filter_map(|(controller, (version, mount))| {
            let path = path_of(&text, *controller, *version)?;
            let (path, found) = scope(path);
            layout = found;
            Some((*controller, (*version, below(mount, path)?)))
        });
        let folders: BTreeMap<_, _> = folders.collect();
        if layout == Layout::Shared {
            layout = if self.is_alone(pid, &folders) { Layout::Own } else { Layout::Shared };
        }
        Ok((Group::new(&format!("process {pid}"), folders), layout))
    }

    /// Whether a process shares its groups with no other, and they are not the roots.
    fn is_alone(&self, pid: u32, folders: &BTreeMap<Controller, (Version, PathBuf)>) -> bool {
        !folders.is_empty()
            && folders.iter().all(|(controller, (_, folder))| {
                let root = self.mounts.get(controller).is_some_and(|(_, mount)| mount == folder);
                let processes = text(&folder.join("cgroup.procs")).unwrap_or_default();
                !root && processes.split_whitespace().all(|process| process.parse() == Ok(pid))
            })
    }

    /// A group of Halcyon's own, made where it is not there yet: `halcyon/NAME` in every hierarchy, with its
    /// controllers enabled on the way.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, name: &str) -> Result<Group, CgroupError> {
        let name: String =
            name.chars().map(|c| if c.is_alphanumeric() || "-_.".contains(c) { c } else { '_' }).collect();
        let mut folders = BTreeMap::new();
        for (controller, (version, mount)) in &self.mounts {
            let parent = mount.join("halcyon");
            let folder = parent.join(format!("vm-{name}"));
            for path in [&parent, &folder] {
                match std::fs::create_dir(path) {
                    Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => {
                        return Err(failed("make", path, error));
                    }
                    _ => {}
                }
                self.prepare(*controller, *version, path)?;
            }
            folders.insert(*controller, (*version, folder));
        }
        Ok(Group::new(&name, folders))
    }

    /// The group to limit a guest by: the one that it has to itself, or else one of Halcyon's own, into
    /// which its process moves with all its threads. Memory that it has stays on the account of its old
    /// group, and what it takes from now on is the new one's.
    ///
    /// # Errors
    /// When there is no such process, no group can be made, or the kernel does not let it move; then it is
    /// where it was.
    pub fn adopt(&self, pid: u32, name: &str) -> Result<(Group, Layout), CgroupError> {
        let (found, layout) = self.find(pid)?;
        if layout != Layout::Shared {
            return Ok((found, layout));
        }
        let own = self.make(name)?;
        own.take_process(pid).inspect_err(|_| {
            // Some hierarchies may have it already. The error that is told is the first.
            drop(found.take_process(pid));
            drop(self.remove(&own));
        })?;
        Ok((own, Layout::Own))
    }

    /// What a new folder needs before it can be used: in version 2 its parent has to hand the controller
    /// down, in version 1 a cpuset begins without CPUs and nodes.
    fn prepare(&self, controller: Controller, version: Version, folder: &Path) -> Result<(), CgroupError> {
        let Some(parent) = folder.parent() else { return Ok(()) };
        match (version, controller) {
            (Version::V2, _) => {
                let enabled = text(&parent.join("cgroup.subtree_control"))?;
                let name = controller.name(version);
                if enabled.split_whitespace().any(|enabled| enabled == name) {
                    return Ok(());
                }
                write(&parent.join("cgroup.subtree_control"), &format!("+{name}"))
            }
            (Version::V1, Controller::Cpuset) => {
                ["cpuset.cpus", "cpuset.mems"].into_iter().try_for_each(|file| {
                    if text(&folder.join(file))?.trim().is_empty() {
                        write(&folder.join(file), text(&parent.join(file))?.trim())?;
                    }
                    Ok(())
                })
            }
            (Version::V1, _) => Ok(()),
        }
    }

    /// Whether a group is one that [`make`](Self::make) made.
    #[must_use]
    pub fn is_ours(&self, group: &Group) -> bool {
        let mut folders = group.folders().peekable();
        folders.peek().is_some()
            && folders.all(|(_, folder)| {
                self.mounts.values().any(|(_, mount)| folder.parent() == Some(&mount.join("halcyon")))
            })
    }

    /// Removes groups of ours that nothing is in any more, such as those of guests that ended meanwhile.
    pub fn sweep(&self) {
        for (_, mount) in self.mounts.values() {
            let Ok(entries) = std::fs::read_dir(mount.join("halcyon")) else { continue };
            let folders = entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
            for folder in folders {
                // One in which something is says no, and stays.
                let _ = std::fs::remove_dir(folder.path());
            }
        }
    }

    /// Removes a group that nothing is in any more.
    ///
    /// # Errors
    /// When something is in it.
    pub fn remove(&self, group: &Group) -> Result<(), CgroupError> {
        group.folders().try_for_each(|(_, folder)| match std::fs::remove_dir(folder) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                Err(failed("remove", folder, error))
            }
            _ => Ok(()),
        })
    }
}

/// Where version 1 has a controller: under its own name, or mounted together with others.
fn v1_mount(root: &Path, controller: Controller) -> Option<PathBuf> {
    let name = controller.name(Version::V1);
    let own = root.join(name);
    if own.is_dir() {
        return Some(own);
    }
    let together = |entry: std::fs::DirEntry| {
        let file = entry.file_name().into_string().ok()?;
        file.split(',').any(|part| part == name).then(|| entry.path())
    };
    let mut mounts: Vec<PathBuf> = std::fs::read_dir(root).ok()?.flatten().filter_map(together).collect();
    mounts.sort();
    mounts.into_iter().next()
}

/// The path of a process in the hierarchy of a controller, of `/proc/PID/cgroup`.
fn path_of(text: &str, controller: Controller, version: Version) -> Option<&str> {
    text.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':');
        let (_, names, path) = (parts.next()?, parts.next()?, parts.next()?);
        let here = match version {
            Version::V2 => names.is_empty(),
            Version::V1 => names.split(',').any(|name| name == controller.name(version)),
        };
        (here && path.starts_with('/')).then_some(path)
    })
}

/// A path of `/proc/PID/cgroup` below a mount. One that would lead out of it is of another namespace.
fn below(mount: &Path, path: &str) -> Option<PathBuf> {
    let relative = Path::new(path.trim_start_matches('/'));
    let plain = relative.components().all(|part| matches!(part, std::path::Component::Normal(_)));
    plain.then(|| mount.join(relative))
}

/// The part of a path that limits of the whole guest belong to: the first scope below the slice of
/// libvirt or Proxmox, or libvirt's own folder where there is no systemd.
fn scope(path: &str) -> (&str, Layout) {
    let mut parent = "";
    let mut end = 0;
    for name in path.split('/') {
        end += name.len();
        let layout = match parent {
            "machine.slice" if name.ends_with(".scope") => Some(Layout::Libvirt),
            "machine" if name.ends_with(".libvirt-qemu") => Some(Layout::Libvirt),
            "qemu.slice" if name.ends_with(".scope") => Some(Layout::Proxmox),
            _ => None,
        };
        if let Some(layout) = layout {
            return (&path[..end], layout);
        }
        end += 1;
        parent = name;
    }
    (path, Layout::Shared)
}
