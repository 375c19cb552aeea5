//! VMs that are processes with as many threads as a small QEMU has, each in a control group of its own. Their
//! threads wake ten times a second, as guests with little to do are woken, so that no figure stays as it is.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use halcyon_host::cgroup::{Controller, Group, Version};
use halcyon_host::sampler::{Guest, Process};
use halcyon_model::VmId;

const GUEST: &str = "HALCYON_BENCH_IS_GUEST";
const VCPUS: usize = 4;

/// Whether this process is to be a VM.
pub(crate) fn is_guest() -> bool {
    env::var_os(GUEST).is_some()
}

/// Sleeps with some threads until whoever started it is gone.
pub(crate) fn be_guest() {
    for _ in 0..VCPUS {
        std::thread::spawn(|| {
            loop {
                std::thread::sleep(Duration::from_millis(100));
            }
        });
    }
    let _ = std::io::stdout().write_all(b"ready\n").and_then(|()| std::io::stdout().flush());
    let _ = std::io::stdin().read(&mut [0]);
}

pub(crate) struct Guests {
    all: Vec<(Child, PathBuf)>,
}

impl Guests {
    pub(crate) fn start(vms: u32) -> Result<Self, String> {
        let roots = ["/sys/fs/cgroup", "/sys/fs/cgroup/unified"].map(Path::new);
        let root = roots.into_iter().find(|root| root.join("cgroup.controllers").exists());
        let root = root.ok_or("there are no control groups of version 2")?;
        let binary = env::current_exe().map_err(|error| error.to_string())?;
        let mut guests = Self { all: Vec::new() };
        for vm in 0..vms {
            let folder = root.join(format!("halcyon-bench-{}-{vm}", std::process::id()));
            fs::create_dir(&folder).map_err(|error| format!("no control group can be made: {error}"))?;
            let spawned =
                Command::new(&binary).env(GUEST, "1").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
            let child = spawned.inspect_err(|_| drop(fs::remove_dir(&folder)));
            guests.all.push((child.map_err(|error| error.to_string())?, folder));
            let (child, folder) = guests.all.last_mut().ok_or("it was just added")?;
            let mut ready = String::new();
            if let Some(stdout) = child.stdout.take() {
                BufReader::new(stdout).read_line(&mut ready).map_err(|error| error.to_string())?;
            }
            let moved = fs::write(folder.join("cgroup.procs"), child.id().to_string());
            moved.map_err(|error| format!("no process can be moved: {error}"))?;
        }
        Ok(guests)
    }

    pub(crate) fn each(&self, mut take: impl FnMut(Guest)) {
        for (vm, (child, folder)) in (0..).zip(&self.all) {
            let pid = child.id();
            let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
            let threads = tasks.filter_map(|task| task.file_name().to_str()?.parse().ok());
            let vcpus: Vec<u32> = threads.filter(|tid| *tid != pid).collect();
            // Without its controllers a group has CPU time and pressure, which cost most, but no memory.
            let mut controllers = vec![Controller::Cpu, Controller::Memory, Controller::Io];
            controllers.retain(|of| *of != Controller::Memory || folder.join("memory.pressure").exists());
            let folders = controllers.into_iter().map(|of| (of, (Version::V2, folder.clone())));
            take(Guest {
                group: Some(Group::new(&vm.to_string(), folders.collect::<BTreeMap<_, _>>())),
                process: Some(Process { pid, started_ticks: None, vcpus }),
                ..Guest::new(VmId(vm))
            });
        }
    }
}

impl Drop for Guests {
    fn drop(&mut self) {
        for (child, folder) in &mut self.all {
            let _ = child.kill();
            let _ = child.wait();
            let _ = fs::remove_dir(folder);
        }
    }
}
