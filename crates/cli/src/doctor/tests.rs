//! Whole hosts as file trees: what the doctor says of each, from the checks to the text.

use std::fs;
use std::time::Duration;

use super::finding::{Area, Finding, Status};
use super::fixture::{Tree, named};
use super::root::Root;
use super::{CHECKS, DEADLINE, examine, report, summary};

fn look(root: Root) -> Vec<Finding> {
    examine(root, CHECKS, DEADLINE)
}

fn verdict(findings: &[Finding], name: &str) -> Status {
    summary::verdicts(findings).into_iter().find(|it| it.name == name).unwrap().status
}

/// A two-socket host with everything but CXL, made by hand after the kernel's documents (cgroup-v2,
/// resctrl) and the file formats of Linux 6.12.
fn v2_host() -> Tree {
    let cpu = "processor\t: 0\nvendor_id\t: GenuineIntel\nflags\t\t: fpu vmx cqm rdt_a cat_l3 mba cqm_llc\n";
    let pressure = "some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n";
    Tree::new()
        .file("proc/sys/kernel/osrelease", "6.12.0-halcyon\n")
        .file("proc/self/status", "Uid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\n")
        .file("proc/self/cgroup", "0::/system.slice/halcyon.service\n")
        .file(
            "proc/self/mounts",
            "cgroup2 /sys/fs/cgroup cgroup2 rw,nosuid 0 0\nresctrl /sys/fs/resctrl resctrl rw 0 0\n",
        )
        .file("proc/cmdline", "root=/dev/sda1 intel_iommu=on iommu=pt quiet\n")
        .file("proc/cpuinfo", cpu)
        .file("proc/filesystems", "nodev\tresctrl\n\text4\n")
        .files("proc/pressure", &[("cpu", pressure), ("memory", pressure), ("io", pressure)])
        .file("sys/fs/cgroup/cgroup.controllers", "cpuset cpu io memory pids\n")
        .file("sys/fs/cgroup/cgroup.subtree_control", "cpuset cpu memory\n")
        .file("sys/fs/cgroup/machine.slice/cgroup.controllers", "cpuset cpu memory\n")
        .files("sys/fs/resctrl/info/L3", &[("num_closids", "16"), ("cbm_mask", "7ff"), ("min_cbm_bits", "1")])
        .files(
            "sys/fs/resctrl/info/MB",
            &[("num_closids", "8"), ("min_bandwidth", "10"), ("bandwidth_gran", "10")],
        )
        .files(
            "sys/fs/resctrl/info/L3_MON",
            &[("num_rmids", "160"), ("mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n")],
        )
        .file("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n")
        .file("sys/devices/system/cpu/cpu1/topology/physical_package_id", "1\n")
        .files(
            "sys/devices/system/node/node0",
            &[("cpulist", "0\n"), ("meminfo", "Node 0 MemTotal: 67108864 kB\n")],
        )
        .files(
            "sys/devices/system/node/node1",
            &[("cpulist", "1\n"), ("meminfo", "Node 1 MemTotal: 67108864 kB\n")],
        )
        .files(
            "sys/kernel/mm/hugepages/hugepages-1048576kB",
            &[("nr_hugepages", "32"), ("free_hugepages", "8")],
        )
        .file("sys/module/kvm_intel/parameters/nested", "Y\n")
        .file("dev/kvm", "")
        .file("dev/vfio/vfio", "")
        .folder("sys/kernel/iommu_groups/0")
        .folder("sys/class/iommu/dmar0")
        .folder("sys/bus/pci/drivers/vfio-pci")
        .file("usr/bin/qemu-system-x86_64", "")
        .file("usr/bin/qemu-system-aarch64", "")
        .file("proc/4711/cmdline", "qemu-system-x86_64\0-name\0web\0-qmp\0unix:/run/web.qmp,server=on\0")
        .socket("run/web.qmp")
        .files("sys/bus/pci/slots/3", &[("address", "0000:17:00\n"), ("power", "1\n"), ("adapter", "1\n")])
        .folder("sys/bus/pci_express/drivers/pciehp")
        .files(
            "sys/devices/pci0000:16/0000:16:01.0",
            &[("class", "0x060400\n"), ("max_link_speed", "32.0 GT/s PCIe\n"), ("max_link_width", "16\n")],
        )
        .files(
            "sys/devices/pci0000:16/0000:16:01.0/0000:17:00.0",
            &[
                ("vendor", "0x10de\n"),
                ("device", "0x2330\n"),
                ("class", "0x030200\n"),
                ("current_link_speed", "2.5 GT/s PCIe\n"),
                ("current_link_width", "16\n"),
                ("max_link_speed", "32.0 GT/s PCIe\n"),
                ("max_link_width", "16\n"),
                ("sriov_totalvfs", "16\n"),
                ("sriov_numvfs", "0\n"),
            ],
        )
        .link("sys/bus/pci/devices/0000:16:01.0", "../../../devices/pci0000:16/0000:16:01.0")
        .link("sys/bus/pci/devices/0000:17:00.0", "../../../devices/pci0000:16/0000:16:01.0/0000:17:00.0")
}

#[cfg(target_arch = "x86_64")]
#[test]
fn the_report_of_a_version_2_host() {
    insta::assert_snapshot!(report::text(&look(v2_host().root()), false));
}

#[test]
fn a_version_2_host_offers_what_the_summary_says() {
    let findings = look(v2_host().root());
    for (feature, expected) in [
        ("cpu_control", Status::Ready),
        ("memory", Status::Ready),
        ("memory_bandwidth", Status::Ready),
        ("cache", Status::Ready),
        ("device_hotplug", Status::Ready),
        ("link_control", Status::Limited),
        ("gpu", Status::Missing),
        ("cxl", Status::Missing),
    ] {
        assert_eq!(verdict(&findings, feature), expected, "{feature}");
    }
}

#[test]
fn a_version_1_host_is_limited_and_told_how_to_change() {
    let tree = Tree::new()
        .file(
            "proc/self/mounts",
            "cgroup /sys/fs/cgroup/cpu cgroup rw,cpu 0 0\ncgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n",
        )
        .file("proc/cpuinfo", "flags : fpu\n")
        .file("proc/filesystems", "\text4\n");
    let findings = look(tree.root());
    assert_eq!(verdict(&findings, "cpu_control"), Status::Limited);
    assert_eq!(verdict(&findings, "memory"), Status::Limited);
    assert_eq!(verdict(&findings, "cache"), Status::Missing);
    let (_, cgroup) = named(&findings, "cgroup");
    assert!(cgroup.enable.as_deref().unwrap().contains("systemd.unified_cgroup_hierarchy=1"));
}

/// A Proxmox VE node as its packages lay it out: `kvm` as the program, its sockets below `/run`.
#[test]
fn a_proxmox_node_shows_its_virtual_machines() {
    let words = [
        "/usr/bin/kvm",
        "-id",
        "101",
        "-name",
        "db,debug-threads=on",
        "-chardev",
        "socket,id=qmp,path=/var/run/qemu-server/101.qmp,server=on,wait=off",
        "-mon",
        "chardev=qmp,mode=control",
    ];
    let line = words.join("\0");
    let tree = Tree::new()
        .file("proc/990/cmdline", &line)
        .file("usr/bin/kvm", "")
        .socket("run/qemu-server/101.qmp")
        .link("var/run", "/run");
    let findings = look(tree.root());
    assert_eq!(named(&findings, "running-vms").1.detail, "1: db (process 990)");
    let (status, sockets) = named(&findings, "qmp-sockets");
    assert_eq!((status, sockets.detail.as_str()), (Status::Ready, "1: /var/run/qemu-server/101.qmp"));
    assert_eq!(verdict(&findings, "device_hotplug"), Status::Limited);
}

#[test]
fn a_host_that_may_not_be_read_is_unknown_and_never_missing() {
    let tree = v2_host();
    let folders = ["proc", "sys", "dev", "run", "usr", "var", ".dockerenv"];
    let root = folders.into_iter().fold(tree.root(), Root::deny);
    for finding in look(root) {
        assert_eq!(finding.status, Status::Unknown, "{finding:?}");
        assert!(finding.detail.contains("permission denied"), "{finding:?}");
    }
}

#[test]
fn an_empty_tree_has_a_report() {
    let findings = look(Tree::new().root());
    assert!(findings.iter().all(|it| it.status == Status::Unknown), "nothing is claimed: {findings:#?}");
    assert!(report::text(&findings, false).ends_with("unknown\n"));
}

#[test]
fn what_was_left_out_of_a_copy_is_not_missing() {
    let findings = look(Tree::new().file("usr/bin/true", "").folder("sys").root());
    assert_eq!(named(&findings, "qemu").0, Status::Missing);
    let (status, gpus) = named(&findings, "gpus");
    assert_eq!((status, gpus.detail.as_str()), (Status::Unknown, "/sys: nothing is in it"));
}

/// Every file of a good host is replaced in turn by what no kernel would write. No check may fail, and
/// none may hold on to more than its limits.
#[test]
fn garbage_in_any_file_ends_in_a_finding() {
    let garbage: [&[u8]; 5] =
        [b"", b"\xff\xfe\x00\x1b[2J", b"-1", b"99999999999999999999999999", &[b'7'; 70_000]];
    let tree = v2_host();
    let mut files = Vec::new();
    collect(tree.path(), &mut files);
    assert!(files.len() > 40, "{}", files.len());
    for path in files {
        let before = fs::read(&path).unwrap();
        for content in garbage {
            fs::write(&path, content).unwrap();
            for (_, name, check) in CHECKS {
                let findings = check(&tree.root());
                assert!(!findings.is_empty(), "{name} said nothing about {}", path.display());
                assert!(findings.iter().all(|it| !it.detail.contains('\u{1b}')), "{}", path.display());
            }
        }
        fs::write(&path, before).unwrap();
    }
}

fn collect(folder: &std::path::Path, files: &mut Vec<std::path::PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
}

#[test]
fn links_without_end_do_not_hold_the_doctor_up() {
    let tree = Tree::new()
        .link("sys/bus/pci/devices", "devices")
        .link("sys/fs/cgroup", "../fs/cgroup")
        .link("proc/self/mounts", "mounts")
        .file("proc/cpuinfo", "flags : vmx\n")
        .link("dev/kvm", "kvm");
    let findings = look(tree.root());
    for name in ["cgroup", "pcie-links", "sriov", "kvm"] {
        let (status, finding) = named(&findings, name);
        assert_eq!(status, Status::Unknown, "{finding:?}");
        assert!(finding.detail.contains("links without end"), "{finding:?}");
    }
}

#[test]
fn a_check_that_hangs_or_breaks_is_reported_and_the_others_are_heard() {
    fn hangs(_: &Root) -> Vec<Finding> {
        std::thread::sleep(Duration::from_secs(60));
        Vec::new()
    }
    fn breaks(_: &Root) -> Vec<Finding> {
        panic!("on purpose")
    }
    fn answers(_: &Root) -> Vec<Finding> {
        vec![Area::Gpu.ready("gpus", "fine")]
    }
    let checks: &[super::Check] =
        &[(Area::Vms, "qemu", hangs), (Area::Host, "host", breaks), (Area::Gpu, "gpus", answers)];
    let findings = examine(Tree::new().root(), checks, Duration::from_millis(200));
    let statuses: Vec<_> = findings.iter().map(|it| (it.name, it.status)).collect();
    assert_eq!(statuses, [("qemu", Status::Unknown), ("host", Status::Unknown), ("gpus", Status::Ready)]);
}

/// The one test that looks at the machine it runs on: whatever that is, there is a report.
#[test]
fn this_machine_has_a_report() {
    let findings = look(Root::new(std::path::Path::new("/")));
    assert!(matches!(named(&findings, "kernel").0, Status::Ready | Status::Unknown));
    assert!(report::json(&findings).unwrap().starts_with('{'));
}

/// A verdict that rests on a finding which no check makes could never become ready.
#[test]
fn every_finding_that_a_verdict_rests_on_is_made() {
    let made = look(v2_host().root());
    for verdict in summary::verdicts(&[]) {
        for name in verdict.held_back_by {
            assert!(made.iter().any(|it| it.name == name), "{name}");
        }
    }
}
