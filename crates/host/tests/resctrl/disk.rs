//! The real files, on trees in a temporary folder written after the kernel's documentation.

use std::fs;
use std::io;
use std::path::Path;

use halcyon_host::resctrl::{
    CacheInfo, Disk, Error, Files, ProcThreads, Resource, Schemata, Sockets, Threads, Throttle, Tree, Unit,
    vm_group,
};
use halcyon_model::{CacheMask, ClassId, SocketId, VmId};
use tempfile::TempDir;

fn tree(files: &[(&str, &str)]) -> TempDir {
    let folder = TempDir::new().unwrap();
    for (path, text) in files {
        put(folder.path(), path, text);
    }
    folder
}

fn put(root: &Path, path: &str, text: &str) {
    let path = root.join(path);
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, text).unwrap();
}

/// A Xeon with two sockets, without CDP.
const INTEL: &[(&str, &str)] = &[
    ("info/L3/cbm_mask", "fffff\n"),
    ("info/L3/min_cbm_bits", "1\n"),
    ("info/L3/num_closids", "16\n"),
    ("info/L3/shareable_bits", "c0000\n"),
    ("info/L3/sparse_masks", "0\n"),
    ("info/MB/bandwidth_gran", "10\n"),
    ("info/MB/delay_linear", "1\n"),
    ("info/MB/min_bandwidth", "10\n"),
    ("info/MB/num_closids", "8\n"),
    ("info/MB/thread_throttle_mode", "max\n"),
    ("info/L3_MON/num_rmids", "224\n"),
    ("info/L3_MON/mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
    ("info/last_cmd_status", "ok\n"),
    ("schemata", "    MB:0=100;1=100\n    L3:0=fffff;1=fffff\n"),
    ("tasks", "1\n2\n"),
    ("mon_groups/.keep", ""),
    ("mon_data/mon_L3_00/llc_occupancy", "1000\n"),
    ("mon_data/mon_L3_01/llc_occupancy", "Unavailable\n"),
    ("mon_data/mon_L3_01/mon_sub_L3_02/llc_occupancy", "500\n"),
    ("halcyon-3/tasks", "12\n13\n"),
    ("halcyon-3/schemata", "    MB:0=30;1=100\n    L3:0=f;1=f0\n"),
    ("billing/tasks", ""),
];

fn changed(change: impl Fn(&Path)) -> Result<Tree<Disk>, Error> {
    let folder = tree(INTEL);
    change(folder.path());
    Tree::open(Disk::new(folder.path()))
}

#[test]
fn a_xeon_is_understood() {
    let folder = tree(INTEL);
    let tree = Tree::open(Disk::new(folder.path())).unwrap();
    let info = tree.info();
    let expected = CacheInfo {
        all: CacheMask(0xfffff),
        min_ways: 1,
        shareable: CacheMask(0xc0000),
        sparse: Some(false),
        code_and_data: false,
    };
    assert_eq!(info.l3, Some(expected));
    assert_eq!(info.throttle, Some(Throttle { unit: Unit::Percent, least: 10, granularity: 10 }));
    assert_eq!((info.l2, info.slow_memory, info.throttles_threads), (None, false, Some(false)));
    assert_eq!(info.classes, 8, "the least of all resources");
    assert_eq!(info.monitoring.unwrap().groups, 224);
    let groups = tree.groups().unwrap();
    assert_eq!((groups.own, groups.foreign), (vec![ClassId(3)], vec!["billing".to_owned()]));
    assert_eq!(tree.classes().unwrap(), 7);
    let usage = tree.usage("").unwrap();
    assert_eq!(usage.len(), 2);
    assert_eq!(usage[0].1.occupancy.map(|size| size.get()), Some(1000));
    assert_eq!((usage[1].1.occupancy, usage[0].1.total_bytes), (None, None));
    let class = Schemata::default().with(Resource::L3, 1, 0xff);
    tree.set_schemata("halcyon-3", &class).unwrap();
    assert_eq!(fs::read_to_string(folder.path().join("halcyon-3/schemata")).unwrap(), "L3:1=ff\n");
    assert!(tree.put_task("halcyon-3", 77).unwrap());
    tree.make("halcyon-4").unwrap();
    tree.remove("halcyon-4").unwrap();
    let error = tree.remove("halcyon-4").unwrap_err();
    assert!(error.to_string().contains("halcyon-4") && error.kind() == Some(io::ErrorKind::NotFound));
}

#[test]
fn other_processors_and_mount_options() {
    let amd = changed(|root| {
        put(root, "info/MB/delay_linear", "0\n");
        put(root, "info/MB/bandwidth_gran", "1\n");
        put(root, "info/MB/min_bandwidth", "0\n");
        put(root, "schemata", "MB:0=2048;1=2048\nSMBA:0=2048;1=2048\nL3:0=ffff;1=ffff\n");
        put(root, "info/SMBA/num_closids", "16\n");
        fs::remove_file(root.join("info/L3/sparse_masks")).unwrap();
    });
    let info = amd.unwrap().info().clone();
    assert_eq!(info.throttle, Some(Throttle { unit: Unit::EighthGigabyte, least: 0, granularity: 1 }));
    assert!(info.slow_memory && info.l3.unwrap().sparse.is_none());
    let controlled = changed(|root| put(root, "mba_MBps_event", "mbm_local_bytes\n")).unwrap();
    assert_eq!(controlled.info().throttle.unwrap().unit, Unit::Mebibyte);
    let older = changed(|root| put(root, "schemata", "MB:0=4294967295;1=4294967295\n")).unwrap();
    assert_eq!(older.info().throttle.unwrap().unit, Unit::Mebibyte);
    let split = changed(|root| {
        fs::rename(root.join("info/L3"), root.join("info/L3DATA")).unwrap();
        put(root, "info/L3CODE/num_closids", "4\n");
    });
    let info = split.unwrap().info().clone();
    assert!(info.l3.unwrap().code_and_data && info.classes == 4);
    let counted_only = changed(|root| {
        fs::remove_dir_all(root.join("info/L3")).unwrap();
        fs::remove_dir_all(root.join("info/MB")).unwrap();
    });
    let info = counted_only.unwrap().info().clone();
    assert!(info.l3.is_none() && info.throttle.is_none() && info.monitoring.is_some());
}

#[test]
fn what_is_not_mounted_says_how_to_mount_it() {
    let empty = TempDir::new().unwrap();
    for root in [empty.path().to_owned(), empty.path().join("nothing")] {
        let error = Tree::open(Disk::new(root)).unwrap_err();
        assert!(matches!(error, Error::NotMounted { .. }));
        assert!(error.to_string().contains("mount -t resctrl"), "{error}");
    }
}

#[test]
fn hostile_files_are_named() {
    let cases: &[(&str, &str, &str)] = &[
        ("info/L3/cbm_mask", "0\n", "at least one way"),
        ("info/L3/cbm_mask", "all\n", "`all`"),
        ("info/L3/cbm_mask", "", "``"),
        ("info/L3/num_closids", "16 or so\n", "16 or so"),
        ("info/L3/num_closids", "4294967296\n", "4294967296"),
        ("info/MB/bandwidth_gran", "0\n", "above 0"),
        ("info/L3_MON/num_rmids", "\u{1b}[2J\n", "num_rmids"),
    ];
    for (path, text, expected) in cases {
        let error = changed(|root| put(root, path, text)).unwrap_err().to_string();
        assert!(error.contains(path) && error.contains(expected), "{path}: {error}");
        assert!(!error.contains('\u{1b}'), "{error}");
    }
    for path in ["info/L3/cbm_mask", "info/MB/min_bandwidth", "schemata"] {
        let gone = changed(|root| fs::remove_file(root.join(path)).unwrap()).unwrap_err();
        assert!(gone.to_string().contains(path), "{gone}");
        let huge = changed(|root| put(root, path, &"f".repeat(1 << 20))).unwrap_err();
        assert_eq!(huge.kind(), Some(io::ErrorKind::FileTooLarge), "{huge}");
        let link = changed(|root| {
            fs::remove_file(root.join(path)).unwrap();
            std::os::unix::fs::symlink("/etc/passwd", root.join(path)).unwrap();
        });
        assert!(link.unwrap_err().to_string().contains(path), "links are not followed");
    }
    let many = changed(|root| {
        put(root, "info/L3/num_closids", "4000000000\n");
        put(root, "info/MB/num_closids", "4000000000\n");
    });
    assert!(many.unwrap_err().to_string().contains("4000000000"));
    let schemata = changed(|root| put(root, "schemata", "MB:0=100\nL3:0=q\n")).unwrap_err();
    let cause = std::error::Error::source(&schemata).unwrap().to_string();
    assert!(schemata.to_string().contains("schemata") && cause.contains("line 2"), "{schemata}: {cause}");
}

#[test]
fn a_pipe_in_the_place_of_a_file_does_not_hold_anything_up() {
    let folder = tree(INTEL);
    let path = folder.path().join("halcyon-3/schemata");
    fs::remove_file(&path).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, 0o600.into(), 0).unwrap();
    let tree = Tree::open(Disk::new(folder.path())).unwrap();
    let all = Schemata::default().with(Resource::L3, 0, 1);
    assert!(tree.set_schemata("halcyon-3", &all).is_err());
}

#[test]
fn caches_are_found_on_their_sockets() {
    let cpu = |id: u32, package: u32, cache: u32| {
        [
            (format!("cpu{id}/topology/physical_package_id"), format!("{package}\n")),
            (format!("cpu{id}/cache/index3/level"), "3\n".to_owned()),
            (format!("cpu{id}/cache/index3/id"), format!("{cache}\n")),
        ]
    };
    let folder = TempDir::new().unwrap();
    let cpus = [cpu(0, 0, 0), cpu(1, 0, 1), cpu(2, 0, 1), cpu(10, 3, 8), cpu(11, 3, 12)];
    for (path, text) in cpus.iter().flatten() {
        put(folder.path(), path, text);
    }
    put(folder.path(), "cpu12/online", "0\n");
    put(folder.path(), "cpufreq/boost", "1\n");
    put(folder.path(), "cpuidle/current_driver", "none\n");
    let sockets = Sockets::read(&Disk::new(folder.path())).unwrap();
    assert_eq!(sockets.len(), 2);
    assert_eq!(sockets.caches(SocketId(0)), [0, 1]);
    assert_eq!(sockets.caches(SocketId(1)), [8, 12], "packages and caches have gaps");
    assert!(sockets.caches(SocketId(7)).is_empty());
    put(folder.path(), "cpu11/cache/index3/id", "1\n");
    let error = Sockets::read(&Disk::new(folder.path())).unwrap_err().to_string();
    assert!(error.contains("cache 1 is on socket 0 and on socket 1"), "{error}");
    put(folder.path(), "cpu11/topology/physical_package_id", "-1\n");
    let error = Sockets::read(&Disk::new(folder.path())).unwrap_err().to_string();
    assert!(error.contains("cpu11/topology/physical_package_id") && error.contains("`-1`"), "{error}");
}

#[test]
fn threads_are_those_of_the_process() {
    let folder = TempDir::new().unwrap();
    for thread in [4000, 4001, 4007] {
        fs::create_dir_all(folder.path().join(format!("4000/task/{thread}"))).unwrap();
    }
    let mut threads = ProcThreads::new(folder.path());
    assert_eq!(threads.of(VmId(1)), None);
    threads.processes.insert(VmId(1), 4000);
    threads.processes.insert(VmId(2), 5000);
    assert_eq!(threads.of(VmId(1)), Some(vec![4000, 4001, 4007]));
    assert_eq!(threads.of(VmId(2)), None, "it ended");
}

#[test]
fn this_machine_is_read_without_harm() {
    // Where there is a resctrl it is understood, elsewhere the answer is that there is none.
    match Tree::open(Disk::new(Disk::RESCTRL)) {
        Ok(tree) => assert!(tree.info().classes < 4096),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
    assert!(Sockets::read(&Disk::new("/sys/devices/system/cpu")).is_ok());
    let own = std::process::id();
    let mut threads = ProcThreads::new("/proc");
    threads.processes.insert(VmId(1), own);
    assert!(threads.of(VmId(1)).is_some_and(|threads| threads.contains(&own)));
    assert_eq!(vm_group(ClassId(2), VmId(1)), "halcyon-2/mon_groups/halcyon-vm1");
}

#[test]
fn files_that_are_no_text_do_no_harm() {
    let folder = tree(INTEL);
    fs::write(folder.path().join("tasks"), [0xff, 0xfe, b'\n', 0]).unwrap();
    let tree = Tree::open(Disk::new(folder.path())).unwrap();
    assert!(tree.tasks("").unwrap_err().to_string().contains("a thread id"));
    assert!(Disk::new(folder.path()).list("tasks").is_err());
}
