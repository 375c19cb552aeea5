//! The hypervisor: QEMU's programs, its running processes and their QMP sockets, and libvirt.
//!
//! A running VM is found by its command line, which any user may read unless `/proc` is mounted with
//! `hidepid`. A QMP socket is found there too, and in the folder where Proxmox keeps its own. Sockets
//! are never connected to: QEMU serves one client at a time.

use std::collections::{BTreeMap, BTreeSet};

use super::super::finding::{Area, Finding, Status, listing};
use super::super::root::{Reading, Root, Unreadable, if_there};
use super::super::version;
use super::host;

const PROGRAM_FOLDERS: &[&str] = &["usr/bin", "usr/local/bin", "usr/libexec", "opt/qemu/bin"];
const PROXMOX_SOCKETS: &str = "var/run/qemu-server";

/// A running QEMU.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Vm {
    pid: u32,
    name: Option<String>,
    /// Paths of its QMP sockets, as its command line has them.
    sockets: Vec<String>,
}

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let mut findings = vec![programs(root).unwrap_or_else(|cause| Area::Vms.unknown("qemu", &cause))];
    match vms(root) {
        Ok(vms) => {
            findings.push(running(root, &vms));
            findings
                .push(sockets(root, &vms).unwrap_or_else(|cause| Area::Vms.unknown("qmp-sockets", &cause)));
        }
        Err(cause) => {
            findings.extend(["running-vms", "qmp-sockets"].map(|name| Area::Vms.unknown(name, &cause)));
        }
    }
    findings.push(libvirt(root).unwrap_or_else(|cause| Area::Vms.unknown("libvirt", &cause)));
    findings
}

fn programs(root: &Root) -> Reading<Finding> {
    let mut found = Vec::new();
    for folder in PROGRAM_FOLDERS {
        for name in if_there(root.entries(folder))?.unwrap_or_default() {
            if is_emulator(&name) {
                found.push(format!("/{folder}/{name}"));
            }
        }
    }
    if found.is_empty() {
        return Ok(Area::Vms
            .missing("qemu", "no qemu-system program in the usual folders")
            .enable("apt-get install qemu-system-x86 (or the package of this distribution)"));
    }
    let shown = native_first(&found);
    let described: Vec<String> = shown
        .iter()
        .map(|path| match root.is_live().then(|| version::of(path, &["--version"])).flatten() {
            Some(version) => format!("{path} {version}"),
            None => format!("{path} (version not known)"),
        })
        .collect();
    let more = found.len() - shown.len();
    let more = if more == 0 { String::new() } else { format!(" and {more} for other machines") };
    Ok(Area::Vms.ready("qemu", format!("{}{more}", described.join(", "))))
}

fn is_emulator(name: &str) -> bool {
    name == "kvm"
        || name == "qemu-kvm"
        || name.strip_prefix("qemu-system-").is_some_and(|arch| !arch.contains('.'))
}

/// The programs for this kind of machine, three at most, or the first one; the others share their
/// version, since one package builds them all.
fn native_first(found: &[String]) -> Vec<&String> {
    let native = |path: &&String| path.ends_with(std::env::consts::ARCH) || path.ends_with("kvm");
    let chosen: Vec<&String> = found.iter().filter(native).take(3).collect();
    if chosen.is_empty() { found.iter().take(1).collect() } else { chosen }
}

fn vms(root: &Root) -> Reading<Vec<Vm>> {
    let pids = root.entries("proc")?;
    let pids = pids.iter().filter_map(|name| name.parse::<u32>().ok());
    // A process may end while the list is walked, and then its files are gone: no VM, no failure.
    Ok(pids.filter_map(|pid| vm(pid, &root.head(&format!("proc/{pid}/cmdline"), 64 << 10).ok()?)).collect())
}

fn vm(pid: u32, command_line: &str) -> Option<Vm> {
    let words: Vec<&str> = command_line.split('\0').collect();
    if !is_emulator(words.first()?.rsplit('/').next()?) {
        return None;
    }
    // QEMU takes an option with one dash or with two.
    let option = |word: &str| word.strip_prefix('-').map(|it| it.strip_prefix('-').unwrap_or(it).to_owned());
    let values = |wanted: &str| {
        let pairs = words.windows(2).filter(move |pair| option(pair[0]).as_deref() == Some(wanted));
        pairs.map(|pair| pair[1]).collect::<Vec<_>>()
    };
    let name = values("name").first().map(|value| value.trim_start_matches("guest=").split(',').next());
    let mut sockets: Vec<String> =
        [values("qmp"), values("qmp-pretty")].concat().into_iter().filter_map(unix_path).collect();
    sockets.extend(monitor_sockets(&values("mon"), &values("chardev")));
    Some(Vm { pid, name: name.flatten().map(str::to_owned), sockets })
}

/// `unix:/run/a.qmp,server=on,wait=off`.
fn unix_path(value: &str) -> Option<String> {
    let path = value.strip_prefix("unix:")?.split(',').next()?;
    Some(path.strip_prefix("path=").unwrap_or(path).to_owned())
}

/// `-chardev socket,id=c0,path=/run/a.qmp,…` with `-mon chardev=c0,mode=control`.
fn monitor_sockets(monitors: &[&str], devices: &[&str]) -> Vec<String> {
    let field = |value: &str, key: &str| {
        value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('=')).map(str::to_owned)
    };
    let paths: BTreeMap<String, String> = devices
        .iter()
        .filter(|value| value.starts_with("socket,"))
        .filter_map(|value| Some((field(value, "id")?, field(value, "path")?)))
        .collect();
    monitors
        .iter()
        .filter(|value| field(value, "mode").as_deref() == Some("control"))
        .filter_map(|value| {
            let device = field(value, "chardev").or_else(|| value.split(',').next().map(str::to_owned))?;
            paths.get(&device).cloned()
        })
        .collect()
}

fn running(root: &Root, vms: &[Vm]) -> Finding {
    let name = "running-vms";
    if !vms.is_empty() {
        let names: Vec<String> = vms.iter().map(Vm::title).collect();
        return Area::Vms.ready(name, format!("{}: {}", vms.len(), listing(&names, 8)));
    }
    let mounts = host::mounts(root).unwrap_or_default();
    let hides =
        |option: &String| option.starts_with("hidepid=") && option != "hidepid=0" && option != "hidepid=off";
    if mounts.iter().any(|mount| mount.point == "proc" && mount.options.iter().any(hides)) {
        let why = "/proc is mounted with hidepid: processes of others cannot be seen";
        return Finding::new(Area::Vms, name, Status::Unknown, why)
            .enable("run as root: sudo halcyon doctor");
    }
    Area::Vms.missing(name, "no QEMU process is running")
}

impl Vm {
    fn title(&self) -> String {
        match &self.name {
            Some(name) => format!("{name} (process {})", self.pid),
            None => format!("process {}", self.pid),
        }
    }
}

fn sockets(root: &Root, vms: &[Vm]) -> Reading<Finding> {
    let name = "qmp-sockets";
    let mut paths: BTreeSet<String> = vms.iter().flat_map(|vm| vm.sockets.clone()).collect();
    let kept = if_there(root.entries(PROXMOX_SOCKETS))?.unwrap_or_default();
    paths.extend(kept.iter().filter(|it| it.ends_with(".qmp")).map(|it| format!("/{PROXMOX_SOCKETS}/{it}")));
    let mut good = Vec::new();
    let mut bad = Vec::new();
    for path in paths {
        let at = path.trim_start_matches('/').to_owned();
        match root.has_socket(&at) {
            Ok(true) if root.may_write(&at)? => good.push(path),
            Ok(true) => bad.push(format!("{path} (permission denied)")),
            Ok(false) => bad.push(format!("{path} (no socket there, or it lies in another mount namespace)")),
            Err(Unreadable::Denied { .. }) => bad.push(format!("{path} (permission denied)")),
            Err(cause) => return Err(cause),
        }
    }
    let advice =
        "start each VM with a QMP socket of Halcyon's own: -qmp unix:/run/NAME.qmp,server=on,wait=off";
    Ok(match (good.len(), bad.len()) {
        (0, 0) => Area::Vms.missing(name, "none found").enable(advice),
        (0, _) => Area::Vms.limited(name, listing(&bad, 5)).enable("run as root, on the host itself"),
        (_, 0) => Area::Vms.ready(name, format!("{}: {}", good.len(), listing(&good, 8))),
        _ => Area::Vms
            .limited(
                name,
                format!("{} can be used: {}; not these: {}", good.len(), listing(&good, 5), listing(&bad, 5)),
            )
            .enable(advice),
    })
}

fn libvirt(root: &Root) -> Reading<Finding> {
    let name = "libvirt";
    for (socket, daemon) in
        [("run/libvirt/virtqemud-sock", "virtqemud"), ("run/libvirt/libvirt-sock", "libvirtd")]
    {
        if !root.has_socket(socket)? {
            continue;
        }
        return Ok(if root.may_write(socket)? {
            Area::Vms.ready(name, format!("{daemon} at /{socket}"))
        } else {
            Area::Vms
                .limited(name, format!("{daemon} at /{socket}, which this user may not use"))
                .enable("run as root, or add the user to the group libvirt: usermod -aG libvirt USER")
        });
    }
    for daemon in ["virtqemud", "libvirtd"] {
        if root.has(&format!("usr/sbin/{daemon}"))? {
            return Ok(Area::Vms
                .limited(name, format!("{daemon} is installed and has no socket"))
                .enable(format!("systemctl enable --now {daemon}.socket")));
        }
    }
    Ok(Area::Vms.missing(name, "not installed; Halcyon speaks to QEMU directly where there is none"))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Tree, named};
    use super::*;

    fn command_line(words: &[&str]) -> String {
        words.iter().map(|word| format!("{word}\0")).collect()
    }

    #[test]
    fn a_plain_qemu_is_found_with_its_sockets() {
        let line = command_line(&[
            "/usr/bin/qemu-system-x86_64",
            "-name",
            "guest=web,debug-threads=on",
            "-qmp",
            "unix:/run/web.qmp,server=on,wait=off",
            "--chardev",
            "socket,id=c0,path=/run/second.qmp,server=on",
            "-mon",
            "chardev=c0,mode=control",
        ]);
        let tree =
            Tree::new().file("proc/42/cmdline", &line).file("proc/43/cmdline", "").socket("run/web.qmp");
        let findings = check(&tree.root());
        assert_eq!(named(&findings, "running-vms").1.detail, "1: web (process 42)");
        let (status, finding) = named(&findings, "qmp-sockets");
        assert_eq!(status, Status::Limited);
        assert!(finding.detail.starts_with("1 can be used: /run/web.qmp; not these: /run/second.qmp"));
        let findings = check(&tree.socket("run/second.qmp").root());
        assert_eq!(named(&findings, "qmp-sockets").0, Status::Ready);
    }

    #[test]
    fn a_strangers_process_and_torn_options_are_no_virtual_machine() {
        for line in ["", "\0\0\0", "/usr/bin/vim\0qemu-system-x86_64\0", "kvm-pit/42"] {
            assert_eq!(vm(1, line), None, "{line:?}");
        }
        let torn = vm(1, "kvm\0-name\0-qmp\0unix:\0-mon\0-chardev\0socket,path\0-qmp").unwrap();
        assert_eq!(torn.sockets, [""]);
    }

    #[test]
    fn the_folder_of_proxmox_is_looked_into() {
        let tree = Tree::new().socket("run/qemu-server/101.qmp").link("var/run", "/run").folder("proc");
        let findings = check(&tree.root());
        assert_eq!(named(&findings, "qmp-sockets").1.detail, "1: /var/run/qemu-server/101.qmp");
        let refused = check(&tree.root().deny("var/run/qemu-server"));
        assert_eq!(named(&refused, "qmp-sockets").0, Status::Unknown);
    }

    #[test]
    fn hidden_processes_are_unknown() {
        let tree = Tree::new().file("proc/self/mounts", "proc /proc proc rw,hidepid=invisible 0 0\n");
        assert_eq!(named(&check(&tree.root()), "running-vms").0, Status::Unknown);
        let open = Tree::new().file("proc/self/mounts", "proc /proc proc rw 0 0\n");
        assert_eq!(named(&check(&open.root()), "running-vms").0, Status::Missing);
    }

    #[test]
    fn programs_and_libvirt_are_looked_up() {
        let tree = Tree::new()
            .file("usr/bin/qemu-system-x86_64", "")
            .file("usr/bin/qemu-system-x86_64.bak", "")
            .file("usr/bin/qemu-system-sparc", "")
            .file("usr/bin/qemu-system-aarch64", "")
            .file("usr/sbin/libvirtd", "");
        let findings = check(&tree.root());
        let (status, qemu) = named(&findings, "qemu");
        assert_eq!(status, Status::Ready);
        assert!(qemu.detail.contains("version not known") && qemu.detail.ends_with("2 for other machines"));
        assert_eq!(
            named(&findings, "libvirt").1.enable.as_deref(),
            Some("systemctl enable --now libvirtd.socket")
        );
        let findings = check(&tree.socket("run/libvirt/libvirt-sock").root());
        assert_eq!(named(&findings, "libvirt").0, Status::Ready);
    }
}
