//! What a finding rests on. In a copy of a host from which whole folders were left out, nothing that would
//! be seen in them can be said to be missing.

use super::finding::{Finding, Status};
use super::root::{Root, Unreadable, broken, if_there};

/// The folder in which it would be seen; most things are seen below `/sys`.
fn folder(name: &str) -> &'static str {
    match name {
        "container" | "cgroup" | "pressure" | "resctrl" | "running-vms" | "kvm" => "proc",
        // The processor's flags and the kernel's file systems say whether there is any.
        "cache-allocation" | "memory-bandwidth-allocation" | "cache-and-bandwidth-monitoring" => "proc",
        "qemu" | "libvirt" | "nvml" => "usr",
        _ => "sys",
    }
}

/// Turns what is claimed of folders that are not there, or empty, into what is not known.
pub(super) fn doubt(root: &Root, findings: Vec<Finding>) -> Vec<Finding> {
    if root.is_live() {
        return findings;
    }
    let is_claim = |finding: &Finding| finding.status == Status::Missing || finding.name == "container";
    let doubted = |finding: Finding| match lack(root, folder(finding.name)) {
        Some(cause) if is_claim(&finding) => finding.area.unknown(finding.name, &cause),
        _ => finding,
    };
    findings.into_iter().map(doubted).collect()
}

/// Why nothing can be seen in a folder, if so. One that may not be read was met by the checks themselves.
fn lack(root: &Root, folder: &str) -> Option<Unreadable> {
    match if_there(root.entries(folder)) {
        Ok(None) => Some(Unreadable::Absent { path: format!("/{folder}") }),
        Ok(Some(entries)) if entries.is_empty() => Some(broken(folder, "nothing is in it".into())),
        _ => None,
    }
}
