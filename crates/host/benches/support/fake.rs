//! VMs made of files with the sizes and forms of Linux 6.18, and QEMUs that answer like 10.0.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::time::Duration;

use halcyon_host::cgroup::{Controller, Group, Version};
use halcyon_host::qmp::fake::{FakeQemu, Guest as FakeGuest};
use halcyon_host::qmp::{Bus, Client};
use halcyon_host::sampler::{Counted, Guest, Process, Roots};
use halcyon_model::{DeviceId, VmId};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

/// vCPUs of each VM, and other threads.
const VCPUS: u32 = 4;
const OTHERS: u32 = 4;

const CPU_STAT: &str = "usage_usec 1500000\nuser_usec 1000000\nsystem_usec 500000\nnice_usec 0\n\
    core_sched.force_idle_usec 0\nnr_periods 40\nnr_throttled 4\nthrottled_usec 250000\nnr_bursts 0\n\
    burst_usec 0\n";

pub(crate) struct Host {
    folder: TempDir,
}

impl Host {
    pub(crate) fn new(vms: u32) -> Self {
        let folder = tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir());
        let host = Self { folder: folder.expect("a folder") };
        (0..vms).for_each(|vm| host.make(vm));
        // Disks keep the host waiting now and then, memory does not.
        let some = "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\n";
        host.write("proc/pressure", "memory", some);
        host
    }

    pub(crate) fn place(&self) -> String {
        self.folder.path().parent().unwrap_or_else(|| Path::new("/")).display().to_string()
    }

    fn make(&self, vm: u32) {
        let group = format!("cg/{vm}");
        self.write(&group, "cpu.stat", CPU_STAT);
        for name in ["cpu.pressure", "memory.pressure", "io.pressure"] {
            let line = "avg10=0.00 avg60=0.00 avg300=0.00 total=123456";
            self.write(&group, name, &format!("some {line}\nfull {line}\n"));
        }
        self.write(&group, "memory.current", "4294967296\n");
        let mut memory =
            "active_anon 4096\nactive_file 1024\npgscan 100\npgfault 9\npgmajfault 2\n".to_owned();
        for line in 0..55 {
            let _ = writeln!(memory, "some_other_figure_{line} 1234567890");
        }
        self.write(&group, "memory.stat", &memory);
        self.write(&group, "io.stat", "8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n");
        let pid = Self::pid(vm);
        let mut stat =
            format!("{pid} (qemu-system-x86) S 1 1 1 0 -1 4194304 123 0 7 0 1 0 0 0 20 0 8 0 777 9 256");
        (0..28).for_each(|_| stat.push_str(" 0"));
        self.write(&format!("proc/{pid}"), "stat", &stat);
        for tid in pid..pid + VCPUS + OTHERS {
            self.write(&format!("proc/{pid}/task/{tid}"), "schedstat", "123456789012 12345678901 1234567\n");
        }
        for (name, bytes) in [("rx_bytes", "123456789012\n"), ("tx_bytes", "123456789012\n")] {
            self.write(&format!("net/tap{vm}/statistics"), name, bytes);
        }
        for cache in 0..2 {
            let folder = format!("resctrl/mon_groups/{vm}/mon_data/mon_L3_{cache:02}");
            for name in ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"] {
                self.write(&folder, name, "1234567890\n");
            }
        }
    }

    /// Lets every VM run a little.
    pub(crate) fn run(&self, vms: u32, sweep: u32) {
        for vm in 0..vms {
            let text = CPU_STAT.replace("1500000", &(1_500_000 + u64::from(sweep)).to_string());
            self.write(&format!("cg/{vm}"), "cpu.stat", &text);
        }
        let some = format!("some avg10=0.00 avg60=0.00 avg300=0.00 total={sweep}\n");
        self.write("proc/pressure", "io", &some);
    }

    fn pid(vm: u32) -> u32 {
        1000 + 100 * vm
    }

    fn write(&self, folder: &str, name: &str, text: &str) {
        let folder = self.folder.path().join(folder);
        fs::create_dir_all(&folder).and_then(|()| fs::write(folder.join(name), text)).expect("a file");
    }

    pub(crate) fn roots(&self) -> Roots {
        let below = |name: &str| self.folder.path().join(name);
        Roots { proc: below("proc"), net: below("net"), pci: below("pci"), resctrl: below("resctrl") }
    }

    pub(crate) fn guest(&self, vm: u32) -> Guest {
        let folder = self.folder.path().join(format!("cg/{vm}"));
        let controllers = [Controller::Cpu, Controller::Memory, Controller::Io];
        let folders = controllers.map(|controller| (controller, (Version::V2, folder.clone())));
        let pid = Self::pid(vm);
        Guest {
            group: Some(Group::new(&vm.to_string(), BTreeMap::from(folders))),
            process: Some(Process { pid, started_ticks: None, vcpus: (pid..pid + VCPUS).collect() }),
            monitoring: Some(format!("mon_groups/{vm}")),
            devices: vec![
                (DeviceId(0), Counted::GroupDisk(8, 16)),
                (DeviceId(1), Counted::Interface(format!("tap{vm}"))),
            ],
            ..Guest::new(VmId(vm))
        }
    }
}

/// One QEMU.
pub(crate) struct Qemu {
    _folder: TempDir,
    _fake: FakeQemu,
    pub(crate) client: Client,
}

impl Qemu {
    pub(crate) const BALLOON: &str = "/machine/peripheral/balloon0";
    pub(crate) const DISKS: u32 = 3;

    pub(crate) fn start(bus: &Bus) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let fake = FakeQemu::start(&folder.path().join("a.qmp"), FakeGuest::default()).expect("a socket");
        let blocks: Vec<Value> = (0..Self::DISKS).map(block).collect();
        let stats = json!({ "stat-total-memory": 4096, "stat-available-memory": 1024, "stat-free-memory": 512,
                            "stat-swap-in": 0, "stat-swap-out": 0, "stat-major-faults": 1, "stat-minor-faults": 2,
                            "stat-disk-caches": 5, "stat-htlb-pgalloc": 0, "stat-htlb-pgfail": 0 });
        for (name, answer) in [
            ("query-blockstats".to_owned(), Value::Array(blocks)),
            (format!("{} guest-stats-polling-interval", Self::BALLOON), json!(1)),
            (format!("{} guest-stats", Self::BALLOON), json!({ "stats": stats, "last-update": 1 })),
        ] {
            fake.machine().answers.insert(name, answer);
        }
        let client = bus.client(fake.socket());
        client.wait_connected(Duration::from_secs(20)).expect("it connects");
        Self { _folder: folder, _fake: fake, client }
    }
}

/// A disk with as many figures as QEMU gives of one and of the file below it.
fn block(disk: u32) -> Value {
    let stats = || {
        let mut stats: Map<String, Value> =
            (0..30).map(|figure| (format!("some_other_figure_{figure}"), json!(0))).collect();
        for name in ["rd_bytes", "wr_bytes", "rd_operations", "wr_operations"] {
            stats.insert(name.into(), json!(123_456_789));
        }
        Value::Object(stats)
    };
    let below = json!({ "node-name": format!("file{disk}"), "stats": stats() });
    let qdev = format!("/machine/peripheral/disk{disk}/virtio-backend");
    json!({ "device": "", "qdev": qdev, "node-name": format!("node{disk}"), "stats": stats(), "parent": below })
}
