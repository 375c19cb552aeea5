//! Where guests are found: trees and `/proc/PID/cgroup` as plain QEMU, libvirt and Proxmox leave them.

use std::fs;
use std::path::{Path, PathBuf};

use halcyon_host::cgroup::{CgroupError, Controller, Layout, Tree, Version};
use tempfile::TempDir;

struct Machine {
    folder: TempDir,
}

impl Machine {
    fn new() -> Self {
        Self { folder: tempfile::tempdir().expect("a folder") }
    }

    fn put(&self, path: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(path);
        fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
        fs::write(&path, text).expect("a file");
        path
    }

    fn tree(&self) -> Tree {
        Tree::open(&self.folder.path().join("cgroup"), &self.folder.path().join("proc"))
    }

    fn folder_of(&self, pid: u32, controller: Controller) -> (PathBuf, Layout) {
        let (group, layout) = self.tree().find(pid).expect("it is there");
        let folder = group.folder(controller).expect("it has one").1;
        let relative = folder.strip_prefix(self.folder.path().join("cgroup")).expect("it is below");
        (relative.to_path_buf(), layout)
    }
}

const ALL_V2: &str = "cpuset cpu io memory pids\n";

#[test]
fn libvirt_and_proxmox_are_known_by_their_slices_and_limits_go_to_the_scope() {
    let machine = Machine::new();
    machine.put("cgroup/cgroup.controllers", ALL_V2);
    let scope = "/machine.slice/machine-qemu\\x2d3\\x2dweb.scope";
    machine.put("proc/7/cgroup", &format!("0::{scope}/libvirt/emulator\n"));
    machine.put("proc/8/cgroup", "0::/qemu.slice/104.scope\n");
    assert_eq!(machine.folder_of(7, Controller::Cpu), (PathBuf::from(&scope[1..]), Layout::Libvirt));
    assert_eq!(
        machine.folder_of(8, Controller::Memory),
        (PathBuf::from("qemu.slice/104.scope"), Layout::Proxmox)
    );
}

#[test]
fn names_that_look_like_scopes_and_slices_mislead_nobody() {
    let machine = Machine::new();
    machine.put("cgroup/cgroup.controllers", ALL_V2);
    let named = "/machine.slice/machine-qemu\\x2d1\\x2da.scope.b.scope";
    machine.put("proc/7/cgroup", &format!("0::{named}/libvirt/vcpu0\n"));
    machine.put("proc/8/cgroup", "0::/user.slice/my-machine.slice/x.scope\n");
    machine.put("proc/9/cgroup", "0::/machine/qemu-4-db.libvirt-qemu/emulator\n");
    assert_eq!(machine.folder_of(7, Controller::Cpu), (PathBuf::from(&named[1..]), Layout::Libvirt));
    machine.put("cgroup/user.slice/my-machine.slice/x.scope/cgroup.procs", "8\n99\n");
    assert_eq!(machine.folder_of(8, Controller::Cpu).1, Layout::Shared);
    let old = (PathBuf::from("machine/qemu-4-db.libvirt-qemu"), Layout::Libvirt);
    assert_eq!(machine.folder_of(9, Controller::Cpu), old);
}

#[test]
fn a_group_is_a_guests_own_only_if_nothing_else_is_in_it() {
    let machine = Machine::new();
    machine.put("cgroup/cgroup.controllers", ALL_V2);
    machine.put("proc/7/cgroup", "0::/system.slice/vm.service\n");
    machine.put("proc/9/cgroup", "0::/\n");
    let procs = machine.put("cgroup/system.slice/vm.service/cgroup.procs", "7\n");
    assert_eq!(machine.folder_of(7, Controller::Cpu).1, Layout::Own);
    fs::write(procs, "7\n8\n").expect("it is written");
    assert_eq!(machine.folder_of(7, Controller::Cpu).1, Layout::Shared);
    assert_eq!(machine.folder_of(9, Controller::Cpu).1, Layout::Shared);
    assert!(matches!(machine.tree().find(5), Err(CgroupError::Gone { .. })));
}

#[test]
fn versions_are_told_apart_by_controller_also_where_both_are_mounted() {
    let machine = Machine::new();
    machine.put("cgroup/cpu,cpuacct/cpu.shares", "1024\n");
    machine.put("cgroup/memory/memory.usage_in_bytes", "1\n");
    machine.put("cgroup/unified/cgroup.controllers", "io\n");
    machine.put("proc/7/cgroup", "5:cpu,cpuacct:/vms/a\n3:memory:/vms/b\n0::/c\n");
    let tree = machine.tree();
    let versions = Controller::ALL.map(|controller| tree.version(controller));
    assert_eq!(versions, [Some(Version::V1), None, Some(Version::V1), Some(Version::V2)]);
    assert_eq!(machine.folder_of(7, Controller::Cpu).0, Path::new("cpu,cpuacct/vms/a"));
    assert_eq!(machine.folder_of(7, Controller::Memory).0, Path::new("memory/vms/b"));
    assert_eq!(machine.folder_of(7, Controller::Io).0, Path::new("unified/c"));
    let (group, _) = tree.find(7).expect("it is there");
    let error = group.cpus().expect_err("there is no cpuset");
    assert!(error.to_string().contains("cpuset"), "{error}");
}

#[test]
fn a_path_that_leads_out_of_the_hierarchy_is_not_followed() {
    let machine = Machine::new();
    machine.put("cgroup/cgroup.controllers", ALL_V2);
    machine.put("proc/7/cgroup", "0::/../../etc\n");
    machine.put("proc/8/cgroup", "\u{0}nonsense\n::::\n");
    for pid in [7, 8] {
        let (group, layout) = machine.tree().find(pid).expect("it is there");
        assert!(layout == Layout::Shared && !group.has(Controller::Cpu), "{group:?}");
    }
}

#[test]
fn a_guest_without_a_group_of_its_own_is_given_one_and_others_are_left_where_they_are() {
    let machine = Machine::new();
    machine.put("cgroup/cpu/cgroup.procs", "7\n8\n");
    machine.put("cgroup/memory/cgroup.procs", "7\n8\n");
    machine.put("proc/7/cgroup", "5:cpu:/\n3:memory:/\n");
    machine.put("proc/8/cgroup", "5:cpu:/qemu.slice/8.scope\n3:memory:/qemu.slice/8.scope\n");
    let cpu = machine.put("cgroup/cpu/halcyon/vm-web/cgroup.procs", "");
    let memory = machine.put("cgroup/memory/halcyon/vm-web/cgroup.procs", "");
    let (group, layout) = machine.tree().adopt(7, "web").expect("it moves");
    assert_eq!((layout, group.has(Controller::Memory)), (Layout::Own, true));
    for procs in [&cpu, &memory] {
        assert_eq!(fs::read_to_string(procs).expect("it is there"), "7", "{}", procs.display());
    }
    let (scope, layout) = machine.tree().adopt(8, "db").expect("it stays");
    let folder = scope.folder(Controller::Cpu).expect("it has one").1;
    assert!(layout == Layout::Proxmox && folder.ends_with("qemu.slice/8.scope"), "{scope:?}");
    // The second hierarchy does not take it, so the first gives it back.
    fs::remove_file(&memory).expect("it is there");
    let error = machine.tree().adopt(7, "web").expect_err("it cannot move as a whole");
    assert!(error.to_string().contains("memory"), "{error}");
    let root = machine.folder.path().join("cgroup/cpu/cgroup.procs");
    assert_eq!(fs::read_to_string(root).expect("it is there"), "7", "it is back where it was");
}

#[test]
fn a_group_of_our_own_is_made_with_its_controllers_handed_down() {
    let machine = Machine::new();
    machine.put("cgroup/cgroup.controllers", "cpu\n");
    machine.put("cgroup/cgroup.subtree_control", "");
    machine.put("cgroup/halcyon/cgroup.subtree_control", "");
    let group = machine.tree().make("../a b").expect("it is made");
    let (version, folder) = group.folder(Controller::Cpu).expect("it has one");
    assert_eq!(
        (version, folder.file_name().and_then(|name| name.to_str())),
        (Version::V2, Some("vm-.._a_b"))
    );
    let handed = |path: &str| fs::read_to_string(machine.folder.path().join(path)).expect("it is there");
    assert_eq!(handed("cgroup/cgroup.subtree_control"), "+cpu");
    assert_eq!(handed("cgroup/halcyon/cgroup.subtree_control"), "+cpu");
    assert_eq!(machine.tree().make("../a b").expect("it is there"), group, "twice does no harm");
}
