//! What the machine is made of, from the kernel's trees.
//!
//! Sources: the kernel's `ABI/stable/sysfs-devices-system-cpu`, `…-node` and `filesystems/proc.rst`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use halcyon_model::topology::{MemoryKind, MemoryNode, Parts, Socket, TopologyError};
use halcyon_model::{Bandwidth, ByteSize, MilliCpu, NodeId, SocketId, Topology};

use crate::cgroup::{NumberList, SocketCpus};

/// Where the memory's bandwidth is not known. Nothing divides it then, so that only its order matters.
const BANDWIDTH: Bandwidth = Bandwidth::gb_per_s(20);
/// The host keeps a tenth of its memory, but not less than this for each node.
const LEAST_KEPT: ByteSize = ByteSize::mib(512);
/// More CPUs or nodes than Linux is built for.
const MOST: usize = 8192;

/// Why the machine cannot be told from the kernel's trees.
#[derive(Debug, thiserror::Error)]
pub enum DetectError {
    /// A file is not there or cannot be read.
    #[error("cannot read {}; describe the host in a file and name it as `describe`", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The cause.
        #[source]
        source: std::io::Error,
    },
    /// A file says something else than it should.
    #[error("{} says `{found}`, which is no {wanted}; describe the host in a file and name it as `describe`", path.display())]
    Form {
        /// The file.
        path: PathBuf,
        /// What it says.
        found: String,
        /// What it should say.
        wanted: &'static str,
    },
    /// The parts do not fit each other.
    #[error("the parts of this machine do not fit each other: {0}")]
    Parts(#[from] TopologyError),
}

/// The machine whose trees are below `sys` (usually `/sys`): sockets with the CPUs that are online, and
/// memory. Caches, devices and GPUs are not looked at.
///
/// # Errors
/// With the first file that cannot be read or is odd.
pub fn detect(sys: &Path, name: &str) -> Result<Topology, DetectError> {
    let packages = packages(sys)?;
    let sockets: Vec<Socket> = packages.iter().enumerate().map(socket).collect();
    let (nodes, distances) = nodes(&sys.join("devices/system/node"), &packages)?;
    Ok(Topology::new(Parts { name: name.into(), sockets, nodes, distances, ..Parts::default() })?)
}

fn packages(sys: &Path) -> Result<Vec<Package>, DetectError> {
    let cpus = sys.join("devices/system/cpu");
    let online: NumberList = parsed(&cpus.join("online"), "list of CPUs")?;
    let mut packages: BTreeMap<i64, Package> = BTreeMap::new();
    for cpu in online.0.iter().take(MOST) {
        let topology = cpus.join(format!("cpu{cpu}/topology"));
        // Some virtual machines say -1.
        let package: i64 = parsed(&topology.join("physical_package_id"), "number")?;
        let core: i64 = parsed(&topology.join("core_id"), "number")?;
        let package = packages.entry(package).or_default();
        package.cores.insert(core);
        package.cpus.insert(*cpu);
    }
    Ok(packages.into_values().collect())
}

#[derive(Default)]
struct Package {
    cores: BTreeSet<i64>,
    cpus: BTreeSet<u32>,
}

fn socket((index, package): (usize, &Package)) -> Socket {
    let threads = package.cpus.len();
    let even = threads.is_multiple_of(package.cores.len().max(1));
    // Where cores differ, or some threads are offline, each thread counts as a core of its own.
    let cores = if even { package.cores.len() } else { threads };
    Socket {
        id: SocketId::at(index),
        name: format!("s{index}"),
        cores: u32::try_from(cores).unwrap_or(u32::MAX),
        threads_per_core: u32::try_from(threads / cores.max(1)).unwrap_or(1),
        host_cpu: MilliCpu::ZERO,
        cache: None,
    }
}

type Nodes = (Vec<MemoryNode>, Vec<Vec<u32>>);

fn nodes(folder: &Path, packages: &[Package]) -> Result<Nodes, DetectError> {
    let online: NumberList = parsed(&folder.join("online"), "list of nodes")?;
    let mut nodes = Vec::new();
    let mut rows: Vec<Vec<u32>> = vec![Vec::new(); packages.len()];
    let mut kernel_numbers = Vec::new();
    for number in online.0.iter().take(MOST) {
        let path = folder.join(format!("node{number}"));
        let text = read(&path.join("meminfo"))?;
        let capacity = total(&text).ok_or_else(|| odd(&path.join("meminfo"), &text, "MemTotal in kB"))?;
        let cpus: NumberList = parsed(&path.join("cpulist"), "list of CPUs")?;
        let near = packages.iter().position(|package| cpus.0.iter().any(|cpu| package.cpus.contains(cpu)));
        // Memory without CPUs (CXL, persistent) has no socket; VMs get none of it.
        let (Some(near), false) = (near, capacity.is_zero()) else { continue };
        kernel_numbers.push((*number, near));
        nodes.push(MemoryNode {
            id: NodeId::at(nodes.len()),
            name: format!("m{number}"),
            kind: MemoryKind::Dram { socket: SocketId::at(near) },
            capacity,
            host_memory: ByteSize::new(capacity.get() / 10).max(LEAST_KEPT).min(capacity),
            bandwidth: BANDWIDTH,
        });
    }
    for (socket, row) in rows.iter_mut().enumerate() {
        // What the socket's first node says; a socket without memory is as far from all as any.
        let own = kernel_numbers.iter().find(|(_, near)| *near == socket).map(|(number, _)| *number);
        let told = own.map(|own| read(&folder.join(format!("node{own}/distance")))).transpose()?;
        let told: Vec<u32> = told
            .iter()
            .flat_map(|text| text.split_whitespace())
            .filter_map(|word| word.parse().ok())
            .collect();
        for (number, near) in &kernel_numbers {
            let position = online.0.iter().position(|online| online == number);
            let usual = if *near == socket { 10 } else { 21 };
            row.push(position.and_then(|position| told.get(position).copied()).unwrap_or(usual));
        }
    }
    Ok((nodes, rows))
}

/// `MemTotal` of a node.
fn total(text: &str) -> Option<ByteSize> {
    let line = text.lines().find(|line| line.contains("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().rev().nth(1)?.parse().ok()?;
    Some(ByteSize::new(kib.checked_mul(1024)?))
}

/// The CPUs of each socket, for whoever places VMs; none where the sockets of `topology` are not those that
/// the trees show, and then nobody is placed.
pub(super) fn socket_cpus(sys: &Path, topology: &Topology) -> Vec<SocketCpus> {
    let sockets = topology.sockets();
    let packages = packages(sys).ok().filter(|packages| packages.len() == sockets.len()).unwrap_or_default();
    let cpus = |index: usize| packages.get(index).map(|package| package.cpus.iter().copied().collect());
    let of = |(index, socket): (usize, &Socket)| SocketCpus {
        cpus: cpus(index).unwrap_or_default(),
        nodes: None,
        time: socket.cpu(),
    };
    sockets.iter().enumerate().map(of).collect()
}

fn read(path: &Path) -> Result<String, DetectError> {
    std::fs::read_to_string(path).map_err(|source| DetectError::Read { path: path.into(), source })
}

fn parsed<T: std::str::FromStr>(path: &Path, wanted: &'static str) -> Result<T, DetectError> {
    let text = read(path)?;
    text.trim().parse().map_err(|_| odd(path, &text, wanted))
}

fn odd(path: &Path, text: &str, wanted: &'static str) -> DetectError {
    DetectError::Form { path: path.into(), found: text.trim().chars().take(60).collect(), wanted }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().expect("a folder");
        for (path, text) in files {
            let path = folder.path().join("devices/system").join(path);
            std::fs::create_dir_all(path.parent().expect("it has one")).expect("a folder");
            std::fs::write(path, text).expect("it is written");
        }
        folder
    }

    const TWO: [(&str, &str); 17] = [
        ("cpu/online", "0-3\n"),
        ("cpu/cpu0/topology/physical_package_id", "0\n"),
        ("cpu/cpu1/topology/physical_package_id", "1\n"),
        ("cpu/cpu2/topology/physical_package_id", "0\n"),
        ("cpu/cpu3/topology/physical_package_id", "1\n"),
        ("cpu/cpu0/topology/core_id", "0\n"),
        ("cpu/cpu1/topology/core_id", "0\n"),
        ("cpu/cpu2/topology/core_id", "0\n"),
        ("cpu/cpu3/topology/core_id", "1\n"),
        ("node/online", "0-1,3\n"),
        ("node/node0/cpulist", "0,2\n"),
        ("node/node1/cpulist", "1,3\n"),
        ("node/node3/cpulist", "\n"),
        ("node/node0/meminfo", "Node 0 MemTotal:       16777216 kB\nNode 0 MemFree: 1 kB\n"),
        ("node/node1/meminfo", "Node 1 MemTotal:       8388608 kB\n"),
        ("node/node3/meminfo", "Node 3 MemTotal:       8388608 kB\n"),
        ("node/node0/distance", "10 20 30\n"),
    ];

    #[test]
    fn sockets_threads_and_memory_are_told_from_the_trees() {
        let mut files = TWO.to_vec();
        files.push(("node/node1/distance", "20 10 30\n"));
        let topology = detect(tree(&files).path(), "here").expect("it is a machine");
        let [s0, s1] = topology.sockets() else { panic!("{:?}", topology.sockets()) };
        assert_eq!((s0.cores, s0.threads_per_core, s1.cores, s1.threads_per_core), (1, 2, 2, 1));
        let nodes = topology.nodes();
        assert_eq!(nodes.len(), 2, "memory without CPUs is left out");
        assert_eq!((nodes[0].capacity, nodes[1].capacity), (ByteSize::gib(16), ByteSize::gib(8)));
        assert_eq!(topology.distance(SocketId(0), NodeId(1)), 20);
        assert!(nodes[0].available() < nodes[0].capacity);
    }

    #[test]
    fn what_is_missing_or_odd_is_named() {
        for (path, text) in [
            ("cpu/online", "all of them"),
            ("cpu/cpu3/topology/core_id", "x"),
            ("node/node1/meminfo", "Node 1 MemTotal: many kB"),
        ] {
            let mut files = TWO.to_vec();
            files.push(("node/node1/distance", "20 10 30\n"));
            files.push((path, text));
            let error = detect(tree(&files).path(), "here").expect_err(path).to_string();
            assert!(error.contains(path) && error.contains("describe"), "{error}");
        }
        let error = detect(tree(&TWO[..10]).path(), "here").expect_err("no memory").to_string();
        assert!(error.contains("node0"), "{error}");
    }

    #[test]
    fn this_machine_is_one() {
        let sys = Path::new("/sys");
        if !sys.join("devices/system/node/online").exists() {
            eprintln!("skipped: this kernel shows no memory nodes");
            return;
        }
        let topology = detect(sys, "here").expect("it is a machine");
        assert!(!topology.sockets().is_empty() && !topology.nodes().is_empty());
    }
}
