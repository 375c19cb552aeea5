//! A host made of files, with one VM that has everything.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use halcyon_host::cgroup::{Controller, Group, Version};
use halcyon_host::sampler::{Counted, Guest, Kind, Paces, Process, Roots, Sampler, VmDetail};
use halcyon_model::{DeviceId, VmId, VmSample};
use tempfile::TempDir;

pub(crate) const VM: VmId = VmId(3);
pub(crate) const DISK: DeviceId = DeviceId(1);
pub(crate) const NIC: DeviceId = DeviceId(2);
pub(crate) const PID: u32 = 4000;

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Files of a host, in the forms of Linux 6.18.
pub(crate) struct Tree {
    folder: TempDir,
}

impl Tree {
    pub(crate) fn new() -> Self {
        let tree = Self { folder: tempfile::tempdir().expect("a folder") };
        tree.make_group();
        tree.write_process(PID, 777, &[(4000, 10_000_000, 0), (4001, 5_000_000, 2_000_000)]);
        tree.write("net/tap0/statistics/rx_bytes", "1000\n");
        tree.write("net/tap0/statistics/tx_bytes", "500\n");
        for (name, text) in [
            ("current_link_speed", "8.0 GT/s PCIe\n"),
            ("current_link_width", "4\n"),
            ("max_link_speed", "16.0 GT/s PCIe\n"),
            ("max_link_width", "16\n"),
        ] {
            tree.write(&format!("pci/0000:41:00.0/{name}"), text);
        }
        tree.write_monitoring("mon_groups/halcyon-vm3", 0, "1048576", "9000");
        tree.write_monitoring("mon_groups/halcyon-vm3", 1, "1048576", "1000");
        tree
    }

    pub(crate) fn make_group(&self) {
        let stat = "usage_usec 1500000\nuser_usec 1\nsystem_usec 1\nnr_periods 40\nnr_throttled 4\n\
                    throttled_usec 250000\n";
        self.write("cg/cpu.stat", stat);
        for (name, total) in [("cpu", 11), ("memory", 22), ("io", 33)] {
            let line =
                |kind: &str, total: u64| format!("{kind} avg10=0.00 avg60=0.00 avg300=0.00 total={total}\n");
            let text = line("some", total) + &line("full", total / 11);
            self.write(&format!("cg/{name}.pressure"), &text);
        }
        self.write("cg/memory.current", "4096000\n");
        self.write_memory_stat(100);
        self.write("cg/io.stat", "8:16 rbytes=4096 wbytes=512 rios=2 wios=1 dbytes=0 dios=0\n");
    }

    pub(crate) fn write_memory_stat(&self, scanned: u64) {
        let text = format!(
            "anon 1\nactive_anon 4096\nactive_file 1024\npgscan {scanned}\npgfault 9\npgmajfault 2\n"
        );
        self.write("cg/memory.stat", &text);
    }

    /// A process with threads: id, nanoseconds run, nanoseconds waited.
    pub(crate) fn write_process(&self, pid: u32, started: u64, threads: &[(u32, u64, u64)]) {
        let _ = fs::remove_dir_all(self.path(&format!("proc/{pid}/task")));
        let mut stat =
            format!("{pid} (qemu (vm) x) S 1 1 1 0 -1 4194304 123 0 7 0 1 0 0 0 20 0 2 0 {started} 9 256");
        (0..28).for_each(|_| stat.push_str(" 0"));
        let _ = writeln!(stat);
        self.write(&format!("proc/{pid}/stat"), &stat);
        for (tid, ran, waited) in threads {
            self.write_thread(pid, *tid, *ran, *waited);
        }
    }

    pub(crate) fn write_thread(&self, pid: u32, tid: u32, ran: u64, waited: u64) {
        self.write(&format!("proc/{pid}/task/{tid}/schedstat"), format!("{ran} {waited} 17\n"));
    }

    pub(crate) fn write_monitoring(&self, group: &str, cache: u32, occupancy: &str, bytes: &str) {
        let folder = format!("resctrl/{group}/mon_data/mon_L3_{cache:02}");
        self.write(&format!("{folder}/llc_occupancy"), format!("{occupancy}\n"));
        self.write(&format!("{folder}/mbm_total_bytes"), format!("{bytes}\n"));
        self.write(&format!("{folder}/mbm_local_bytes"), "10\n");
    }

    pub(crate) fn path(&self, path: &str) -> PathBuf {
        self.folder.path().join(path)
    }

    pub(crate) fn write(&self, path: &str, text: impl AsRef<[u8]>) {
        let path = self.path(path);
        fs::create_dir_all(path.parent().expect("it is below the root")).expect("a folder");
        fs::write(path, text).expect("a file");
    }

    pub(crate) fn remove(&self, path: &str) {
        let path = self.path(path);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        removed.unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    }

    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn add(folder: &Path, files: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(folder).expect("a folder").flatten() {
                if entry.path().is_dir() { add(&entry.path(), files) } else { files.push(entry.path()) }
            }
        }
        let mut files = Vec::new();
        add(self.folder.path(), &mut files);
        files.sort();
        files
    }

    pub(crate) fn group(&self, version: Version) -> Group {
        let folders = [Controller::Cpu, Controller::Memory, Controller::Io];
        let folders = folders.map(|controller| (controller, (version, self.path("cg"))));
        Group::new("vm3", BTreeMap::from(folders))
    }

    pub(crate) fn process(vcpus: &[u32]) -> Process {
        Process { pid: PID, started_ticks: None, vcpus: vcpus.into() }
    }

    /// A VM that has everything but a QMP socket and GPUs.
    pub(crate) fn guest(&self) -> Guest {
        Guest {
            group: Some(self.group(Version::V2)),
            process: Some(Self::process(&[4001])),
            monitoring: Some("mon_groups/halcyon-vm3".into()),
            devices: vec![(NIC, Counted::Interface("tap0".into())), (DISK, Counted::GroupDisk(8, 16))],
            links: vec!["0000:41:00.0".parse().expect("an address")],
            ..Guest::new(VM)
        }
    }

    pub(crate) fn roots(&self) -> Roots {
        Roots {
            proc: self.path("proc"),
            net: self.path("net"),
            pci: self.path("pci"),
            resctrl: self.path("resctrl"),
        }
    }

    pub(crate) fn host(&self, guest: Guest) -> Host {
        let mut sampler = Sampler::new(self.roots(), Paces::default());
        sampler.track(guest);
        Host { sampler, now: ms(1000), samples: Vec::new() }
    }
}

/// A sampler with its clock.
pub(crate) struct Host {
    pub(crate) sampler: Sampler,
    pub(crate) now: Duration,
    samples: Vec<VmSample>,
}

impl Host {
    /// One VM's sample after so many milliseconds, in sweeps of 100.
    pub(crate) fn after(&mut self, elapsed_ms: u64) -> VmSample {
        let end = self.now + ms(elapsed_ms);
        loop {
            self.now = (self.now + ms(100)).min(end);
            self.sampler.sample(self.now, &mut self.samples);
            if self.now >= end {
                return self.samples.first().cloned().expect("it is tracked");
            }
        }
    }

    pub(crate) fn now(&mut self) -> VmSample {
        self.after(0)
    }

    pub(crate) fn detail(&self) -> VmDetail {
        self.sampler.detail(VM).expect("it is tracked")
    }

    pub(crate) fn why(&self, source: Kind) -> Option<String> {
        self.sampler.troubles().find(|trouble| trouble.source == source).map(|trouble| trouble.why)
    }
}
