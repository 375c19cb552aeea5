//! Control groups: which version, which controllers, who may use them, and pressure information.
//!
//! Version 2 is what Halcyon is made for (Documentation/admin-guide/cgroup-v2.rst). On version 1 the
//! limits work and the pressure of one group is not to be had. In the hybrid layout a controller is
//! bound to one of the two at a time.

use super::super::finding::{Area, Finding, Status};
use super::super::root::{Reading, Root, Unreadable, if_there};
use super::host::{self, Mount};

const UNIFY: &str = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel command line";

/// The controllers that Halcyon writes to: finding, name in version 2, name in version 1.
const CONTROLLERS: &[(&str, &str, &str)] = &[
    ("cpu-controller", "cpu", "cpu"),
    ("cpuset-controller", "cpuset", "cpuset"),
    ("memory-controller", "memory", "memory"),
    ("io-controller", "io", "blkio"),
];

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let mounts = match host::mounts(root) {
        Ok(mounts) => Layout::of(&mounts),
        Err(cause) => return vec![Area::Control.unknown("cgroup", &cause), pressure(root)],
    };
    let mut findings = vec![mounts.finding()];
    for (name, v2, v1) in CONTROLLERS {
        findings.push(controller(root, &mounts, name, v2, v1));
    }
    findings.push(delegation(root, &mounts));
    findings.push(pressure(root));
    findings
}

/// Where each version is mounted.
struct Layout {
    v2: Option<Mount>,
    v1: Vec<Mount>,
}

impl Layout {
    fn of(mounts: &[Mount]) -> Self {
        let of_kind = |kind: &str| mounts.iter().filter(|it| it.kind == kind).cloned().collect::<Vec<_>>();
        Self { v2: of_kind("cgroup2").into_iter().next(), v1: of_kind("cgroup") }
    }

    fn finding(&self) -> Finding {
        let name = "cgroup";
        match (&self.v2, self.v1.is_empty()) {
            (Some(v2), true) if v2.is_read_only() => Area::Control
                .limited(name, format!("version 2 at /{}, mounted read-only", v2.point))
                .enable(format!("mount -o remount,rw /{} (inside a container: run on the host)", v2.point)),
            (Some(v2), true) => Area::Control.ready(name, format!("version 2 at /{}", v2.point)),
            (Some(v2), false) => Area::Control
                .limited(name, format!("hybrid: version 2 at /{} beside version 1", v2.point))
                .enable(UNIFY),
            (None, false) => Area::Control
                .limited(name, "version 1: limits work, pressure per group does not")
                .enable(UNIFY),
            (None, true) => Area::Control
                .missing(name, "no control group file system is mounted")
                .enable("mount -t cgroup2 none /sys/fs/cgroup"),
        }
    }
}

fn controller(root: &Root, layout: &Layout, name: &'static str, v2: &str, v1: &str) -> Finding {
    if let Some(mount) = &layout.v2 {
        match unified(root, mount, name, v2) {
            Ok(Some(finding)) => return finding,
            Ok(None) => {}
            Err(cause) => return Area::Control.unknown(name, &cause),
        }
    }
    if let Some(mount) = layout.v1.iter().find(|it| it.options.iter().any(|option| option == v1)) {
        return Area::Control.limited(name, format!("{v1} of version 1 at /{}", mount.point)).enable(UNIFY);
    }
    let off = host::kernel_arguments(root)
        .iter()
        .filter_map(|word| word.strip_prefix("cgroup_disable="))
        .any(|list| list.split(',').any(|it| it == v2 || it == v1));
    let finding = Area::Control.missing(name, format!("the kernel offers no {v2} controller"));
    if off {
        finding.enable(format!("remove {v2} from cgroup_disable= on the kernel command line"))
    } else {
        finding.enable(format!("use a kernel built with the {v2} controller"))
    }
}

/// The controller as version 2 has it, or `None` if it is not bound there.
fn unified(root: &Root, mount: &Mount, name: &'static str, controller: &str) -> Reading<Option<Finding>> {
    let point = &mount.point;
    if !words(root, &format!("{point}/cgroup.controllers"))?.iter().any(|it| it == controller) {
        return Ok(None);
    }
    let enabled = words(root, &format!("{point}/cgroup.subtree_control"))?;
    Ok(Some(if enabled.iter().any(|it| it == controller) {
        Area::Control.ready(name, "available and enabled for child groups")
    } else {
        Area::Control
            .limited(name, "available, but not enabled for child groups")
            .enable(format!("echo +{controller} > /{point}/cgroup.subtree_control"))
    }))
}

/// What VM groups and this process's own group have been given.
fn delegation(root: &Root, layout: &Layout) -> Finding {
    let name = "delegation";
    let Some(mount) = &layout.v2 else {
        return Area::Control.missing(name, "version 1 delegates nothing but by ownership of folders");
    };
    match delegated(root, mount) {
        Ok((status, detail)) => {
            let finding = Finding::new(Area::Control, name, status, &detail);
            if status == Status::Ready {
                return finding;
            }
            finding.enable(
                "give the service that runs the VMs Delegate=cpu cpuset io memory in its systemd unit",
            )
        }
        Err(cause) => Area::Control.unknown(name, &cause),
    }
}

fn delegated(root: &Root, mount: &Mount) -> Reading<(Status, String)> {
    let membership = root.text("proc/self/cgroup")?;
    let own = membership.lines().find_map(|line| line.strip_prefix("0::")).unwrap_or("/").trim_matches('/');
    let mut groups = vec![own.to_owned()];
    groups.extend(["machine.slice", "qemu.slice"].map(str::to_owned));
    let mut parts = Vec::new();
    let mut enough = false;
    for group in groups {
        let folder = if group.is_empty() { mount.point.clone() } else { format!("{}/{group}", mount.point) };
        if let Some(given) = if_there(words(root, &format!("{folder}/cgroup.controllers")))? {
            enough |= ["cpu", "memory"].iter().all(|it| given.iter().any(|word| word == it));
            let given = if given.is_empty() { "nothing".to_owned() } else { given.join(" ") };
            parts.push(format!("/{group} has {given}"));
        }
    }
    Ok((if enough { Status::Ready } else { Status::Limited }, parts.join("; ")))
}

fn words(root: &Root, path: &str) -> Reading<Vec<String>> {
    Ok(root.text(path)?.split_whitespace().map(str::to_owned).collect())
}

/// Pressure stall information (Documentation/accounting/psi.rst). A kernel that has it switched off
/// still shows the files and refuses to read them.
fn pressure(root: &Root) -> Finding {
    let name = "pressure";
    let switch_on = "boot with psi=1 on the kernel command line";
    let mut good = Vec::new();
    let mut refused: Option<Unreadable> = None;
    for resource in ["cpu", "memory", "io"] {
        match root.text(&format!("proc/pressure/{resource}")) {
            Ok(text) if text.starts_with("some avg10=") => good.push(resource),
            Ok(_) | Err(Unreadable::Absent { .. }) => {}
            Err(cause) => refused = Some(cause),
        }
    }
    match (good.len(), refused) {
        (3, _) => Area::Control.ready(name, "cpu, memory and io pressure"),
        (_, Some(denied @ Unreadable::Denied { .. })) => Area::Control.unknown(name, &denied),
        (0, Some(other)) => Area::Control.missing(name, format!("switched off ({other})")).enable(switch_on),
        (0, None) => Area::Control
            .missing(name, "the kernel reports no pressure")
            .enable("use a kernel built with CONFIG_PSI, and boot it with psi=1"),
        _ => Area::Control.limited(name, format!("only for {}", good.join(" and "))).enable(switch_on),
    }
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Tree, named};
    use super::*;

    fn v2(subtree: &str) -> Tree {
        Tree::new()
            .file("proc/self/mounts", "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\n")
            .file("proc/self/cgroup", "0::/user.slice\n")
            .file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
            .file("sys/fs/cgroup/cgroup.subtree_control", subtree)
            .file("sys/fs/cgroup/user.slice/cgroup.controllers", "memory pids\n")
    }

    #[test]
    fn a_controller_must_be_enabled_for_children_to_be_ready() {
        let findings = check(&v2("cpu memory").root());
        assert_eq!(named(&findings, "cgroup").0, Status::Ready);
        assert_eq!(named(&findings, "cpu-controller").0, Status::Ready);
        let (status, io) = named(&findings, "io-controller");
        assert_eq!(status, Status::Limited);
        assert_eq!(io.enable.as_deref(), Some("echo +io > /sys/fs/cgroup/cgroup.subtree_control"));
        let (status, delegation) = named(&findings, "delegation");
        assert_eq!(status, Status::Limited);
        assert_eq!(delegation.detail, "/user.slice has memory pids");
    }

    #[test]
    fn a_slice_of_virtual_machines_shows_what_it_was_given() {
        let tree = v2("cpu memory").file("sys/fs/cgroup/machine.slice/cgroup.controllers", "cpu memory\n");
        let findings = check(&tree.root());
        let (status, finding) = named(&findings, "delegation");
        assert_eq!(status, Status::Ready);
        assert!(finding.detail.contains("/machine.slice has cpu memory"));
    }

    #[test]
    fn version_1_is_limited_and_a_disabled_controller_is_named() {
        let tree = Tree::new()
            .file(
                "proc/self/mounts",
                "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,cpu,cpuacct 0 0\ncgroup /sys/fs/cgroup/blkio cgroup rw,blkio 0 0\n",
            )
            .file("proc/cmdline", "quiet cgroup_disable=memory\n");
        let findings = check(&tree.root());
        assert_eq!(named(&findings, "cgroup").0, Status::Limited);
        assert_eq!(
            named(&findings, "cpu-controller").1.detail,
            "cpu of version 1 at /sys/fs/cgroup/cpu,cpuacct"
        );
        assert_eq!(named(&findings, "io-controller").0, Status::Limited);
        let (status, memory) = named(&findings, "memory-controller");
        assert_eq!(status, Status::Missing);
        assert!(memory.enable.as_deref().unwrap().contains("cgroup_disable="));
        assert_eq!(named(&findings, "cpuset-controller").0, Status::Missing);
    }

    #[test]
    fn in_the_hybrid_layout_each_controller_is_found_where_it_is_bound() {
        let tree = Tree::new()
            .file(
                "proc/self/mounts",
                "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n",
            )
            .file("proc/self/cgroup", "1:cpu:/\n0::/\n")
            .file("sys/fs/cgroup/unified/cgroup.controllers", "io\n")
            .file("sys/fs/cgroup/unified/cgroup.subtree_control", "io\n");
        let findings = check(&tree.root());
        assert!(named(&findings, "cgroup").1.detail.starts_with("hybrid"));
        assert_eq!(named(&findings, "io-controller").0, Status::Ready);
        assert_eq!(named(&findings, "cpu-controller").0, Status::Limited);
    }

    #[test]
    fn what_may_not_be_read_is_unknown_and_not_missing() {
        let findings = check(&v2("cpu").root().deny("sys/fs/cgroup/cgroup.subtree_control"));
        let (status, finding) = named(&findings, "cpu-controller");
        assert_eq!(status, Status::Unknown);
        assert!(finding.detail.contains("permission denied"));
        let findings = check(&v2("cpu").root().deny("proc"));
        assert_eq!(named(&findings, "cgroup").0, Status::Unknown);
        assert_eq!(named(&findings, "pressure").0, Status::Unknown);
    }

    #[test]
    fn pressure_is_ready_only_when_all_three_answer() {
        let line = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
        let two = Tree::new().file("proc/pressure/cpu", line).file("proc/pressure/io", line);
        assert_eq!(pressure(&two.root()).status, Status::Limited);
        assert_eq!(pressure(&two.file("proc/pressure/memory", line).root()).status, Status::Ready);
        assert_eq!(pressure(&Tree::new().root()).status, Status::Missing);
        assert_eq!(
            pressure(&Tree::new().file("proc/pressure/cpu", "\u{0}garbage").root()).status,
            Status::Missing
        );
    }
}
