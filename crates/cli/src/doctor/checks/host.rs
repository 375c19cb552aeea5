//! The host as a whole: its kernel, what this process may do, and whether it sees the host at all or
//! only a container's view of it. Also the small files that several checks read.

use std::collections::BTreeSet;

use super::super::finding::{Area, Finding, listing};
use super::super::root::{Reading, Root, broken, if_there};

/// The capabilities that acting on a host takes, by their bit in `CapEff` (linux/capability.h).
const NEEDED: [(u32, &str); 3] = [(1, "CAP_DAC_OVERRIDE"), (21, "CAP_SYS_ADMIN"), (23, "CAP_SYS_NICE")];

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    vec![kernel(root), privileges(root), container(root)]
}

fn kernel(root: &Root) -> Finding {
    match root.text("proc/sys/kernel/osrelease") {
        Ok(release) => Area::Host.ready("kernel", format!("Linux {release}")),
        Err(cause) => Area::Host.unknown("kernel", &cause),
    }
}

fn privileges(root: &Root) -> Finding {
    let name = "privileges";
    let (uid, capabilities) = match own_rights(root) {
        Ok(rights) => rights,
        Err(cause) => return Area::Host.unknown(name, &cause),
    };
    let lacking: Vec<String> = NEEDED
        .iter()
        .filter(|(bit, _)| capabilities & (1 << bit) == 0)
        .map(|(_, name)| (*name).to_owned())
        .collect();
    if lacking.is_empty() {
        return Area::Host
            .ready(name, format!("user {uid} with every capability that acting on a host takes"));
    }
    Area::Host
        .limited(name, format!("user {uid} without {}: enough to look, not to act", listing(&lacking, 5)))
        .enable(
            "run as root, or give the service these capabilities (AmbientCapabilities= in its systemd unit)",
        )
}

fn own_rights(root: &Root) -> Reading<(u64, u64)> {
    let path = "proc/self/status";
    let text = root.text(path)?;
    let field = |key: &str| text.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
    let uid = field("Uid:").and_then(|line| line.split_whitespace().nth(1)).and_then(|uid| uid.parse().ok());
    let capabilities = field("CapEff:").and_then(|mask| u64::from_str_radix(mask, 16).ok());
    uid.zip(capabilities).ok_or_else(|| broken(path, "has no readable Uid and CapEff lines".to_owned()))
}

/// Files that container engines leave inside, and what they say.
fn container(root: &Root) -> Finding {
    let name = "container";
    let mut signs = Vec::new();
    for (path, engine) in [(".dockerenv", "Docker"), ("run/.containerenv", "Podman")] {
        match root.has(path) {
            Ok(true) => signs.push(format!("{engine} (/{path})")),
            Ok(false) => {}
            Err(cause) => return Area::Host.unknown(name, &cause),
        }
    }
    match if_there(root.text("run/systemd/container")) {
        Ok(Some(engine)) => signs.push(format!("{engine} (/run/systemd/container)")),
        Ok(None) => {}
        Err(cause) => return Area::Host.unknown(name, &cause),
    }
    let cgroups = match if_there(root.text("proc/1/cgroup")) {
        Ok(text) => text.unwrap_or_default(),
        Err(cause) => return Area::Host.unknown(name, &cause),
    };
    let engines = ["docker", "kubepods", "libpod", "lxc.payload", "containerd"];
    signs.extend(
        engines.iter().filter(|it| cgroups.contains(**it)).map(|it| format!("{it} in /proc/1/cgroup")),
    );
    if signs.is_empty() {
        return Area::Host.ready(name, "no sign of a container: this is the host's own view");
    }
    Area::Host
        .limited(
            name,
            format!("inside a container: {}; devices and limits of the host may be hidden", signs.join(", ")),
        )
        .enable("run halcyon doctor on the host itself")
}

/// One line of `/proc/self/mounts`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Mount {
    /// The mount point without the leading slash, as `Root` takes it.
    pub(crate) point: String,
    pub(crate) kind: String,
    pub(crate) options: Vec<String>,
}

impl Mount {
    pub(crate) fn is_read_only(&self) -> bool {
        self.options.iter().any(|option| option == "ro")
    }
}

/// What is mounted. A host with thousands of containers has a long list; its first 4 MiB are read.
pub(crate) fn mounts(root: &Root) -> Reading<Vec<Mount>> {
    let text = root.head("proc/self/mounts", 4 << 20)?;
    let parse = |line: &str| {
        let mut fields = line.split(' ').skip(1);
        let point = fields.next()?.replace("\\040", " ").trim_start_matches('/').to_owned();
        let kind = fields.next()?.to_owned();
        let options = fields.next()?.split(',').map(str::to_owned).collect();
        Some(Mount { point, kind, options })
    };
    Ok(text.lines().filter_map(parse).collect())
}

/// The words of the kernel command line; empty where it cannot be read, as it only explains.
pub(crate) fn kernel_arguments(root: &Root) -> Vec<String> {
    let text = root.text("proc/cmdline").unwrap_or_default();
    text.split_whitespace().map(str::to_owned).collect()
}

/// The first processor of `/proc/cpuinfo`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Cpu {
    pub(crate) vendor: String,
    flags: BTreeSet<String>,
}

impl Cpu {
    pub(crate) fn has(&self, flag: &str) -> bool {
        self.flags.contains(flag)
    }
}

/// The vendor and flags of the first processor; 64 KiB hold it with room to spare.
pub(crate) fn cpu(root: &Root) -> Reading<Cpu> {
    let text = root.head("proc/cpuinfo", 64 << 10)?;
    let field = |key: &str| {
        let lines = text.lines().filter_map(|line| line.split_once(':'));
        lines.into_iter().find(|(name, _)| name.trim() == key).map(|(_, value)| value.trim().to_owned())
    };
    let flags = field("flags").or_else(|| field("Features")).unwrap_or_default();
    Ok(Cpu {
        vendor: field("vendor_id").unwrap_or_default(),
        flags: flags.split_whitespace().map(str::to_owned).collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    #[test]
    fn an_unprivileged_user_is_told_what_is_lacking() {
        let status = "Name:\tx\nUid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n";
        let findings = check(&Tree::new().file("proc/self/status", status).root());
        let (status, finding) = named(&findings, "privileges");
        assert_eq!(status, Status::Limited);
        assert!(finding.detail.contains("user 1000 without CAP_DAC_OVERRIDE"), "{}", finding.detail);
        let root_status = "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n";
        let findings = check(&Tree::new().file("proc/self/status", root_status).root());
        assert_eq!(named(&findings, "privileges").0, Status::Ready);
        let garbage = check(&Tree::new().file("proc/self/status", "CapEff: zz").root());
        assert_eq!(named(&garbage, "privileges").0, Status::Unknown);
    }

    #[test]
    fn a_container_is_recognised_by_its_engine() {
        let tree = Tree::new().file(".dockerenv", "").file("proc/1/cgroup", "0::/kubepods/pod1\n");
        let findings = check(&tree.root());
        let (status, finding) = named(&findings, "container");
        assert_eq!(status, Status::Limited);
        assert!(finding.detail.contains("Docker") && finding.detail.contains("kubepods"));
        assert_eq!(named(&check(&Tree::new().root()), "container").0, Status::Ready);
        let hidden = check(&Tree::new().file("run/systemd/container", "lxc").root().deny("run/systemd"));
        assert_eq!(named(&hidden, "container").0, Status::Unknown);
    }

    #[test]
    fn mounts_with_spaces_and_torn_lines_are_read() {
        let text = "cgroup2 /sys/fs/my\\040cg cgroup2 ro,nosuid 0 0\ntorn /x\n\n";
        let found = mounts(&Tree::new().file("proc/self/mounts", text).root()).unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].point, "sys/fs/my cg");
        assert!(found[0].is_read_only());
    }
}
