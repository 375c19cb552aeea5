//! Two VMs and their groups in a tree that looks like the kernel's.

use std::any::Any;
use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::testkit::Subject;
use halcyon_hal::{Actuate, Assembly, Driver, Inventory, Observe};
use halcyon_host::cgroup::{Controller, CpuDriver, Disk, DiskDriver, Group, NumberList, SocketCpus, Version};
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, DeviceClass, DeviceHolding, DeviceId, DeviceWish,
    Grant, MilliCpu, Objective, Placement, SocketId, Step, VmId, VmSpec, Weight, World, admit,
};

const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

/// What the kernel puts into a group, version 2 and version 1.
const FILES_V2: &[(&str, &str)] = &[
    ("cpu.max", "max 100000\n"),
    ("cpu.weight", "100\n"),
    (
        "cpu.stat",
        "usage_usec 12\nuser_usec 8\nsystem_usec 4\nnr_periods 1\nnr_throttled 1\nthrottled_usec 7\n",
    ),
    ("cpuset.cpus", "\n"),
    ("cpuset.mems", "\n"),
    ("io.max", ""),
    ("memory.current", "1073741824\n"),
    ("memory.max", "max\n"),
    ("memory.high", "max\n"),
    ("memory.low", "0\n"),
    (
        "memory.pressure",
        "some avg10=0.00 avg60=0.00 avg300=0.00 total=5\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=1\n",
    ),
    ("cgroup.procs", ""),
    ("cgroup.threads", ""),
    ("cgroup.subtree_control", ""),
];
const FILES_V1: &[(Controller, &str, &str)] = &[
    (Controller::Cpu, "cpu.cfs_quota_us", "-1\n"),
    (Controller::Cpu, "cpu.cfs_period_us", "100000\n"),
    (Controller::Cpu, "cpu.shares", "1024\n"),
    (Controller::Cpu, "cpu.stat", "nr_periods 1\nnr_throttled 1\nthrottled_time 7000\n"),
    (Controller::Cpuset, "cpuset.cpus", "\n"),
    (Controller::Cpuset, "cpuset.mems", "\n"),
    (Controller::Io, "blkio.throttle.read_bps_device", ""),
    (Controller::Io, "blkio.throttle.write_bps_device", ""),
    (Controller::Io, "blkio.throttle.read_iops_device", ""),
    (Controller::Io, "blkio.throttle.write_iops_device", ""),
    (Controller::Memory, "memory.usage_in_bytes", "1073741824\n"),
    (Controller::Memory, "memory.limit_in_bytes", "9223372036854771712\n"),
    (Controller::Memory, "memory.soft_limit_in_bytes", "9223372036854771712\n"),
];

pub(crate) struct Site {
    pub(crate) assembly: Assembly,
    pub(crate) groups: Vec<Group>,
    pub(crate) start: Assignment,
    inventory: Arc<Inventory>,
    has_disks: bool,
    root: PathBuf,
    version: Version,
    /// What the groups live in, which goes with the site.
    _home: Box<dyn Any>,
}

fn group(root: &Path, version: Version, vm: usize) -> Group {
    let of = |controller: Controller| {
        let mount = if version == Version::V2 { root.into() } else { root.join(controller.name(version)) };
        let folder = mount.join(format!("vm-{vm}"));
        fs::create_dir_all(&folder).expect("a folder");
        let files_v1 =
            FILES_V1.iter().filter(|(of, _, _)| *of == controller).map(|(_, name, text)| (*name, *text));
        let files: Vec<_> = if version == Version::V2 { FILES_V2.to_vec() } else { files_v1.collect() };
        files.iter().for_each(|(name, text)| fs::write(folder.join(name), text).expect("a file"));
        (controller, (version, folder))
    };
    Group::new(&format!("vm-{vm}"), Controller::ALL.into_iter().map(of).collect())
}

fn vm(id: u32) -> VmSpec {
    let count = Bounds { reservation: 0, limit: 1 };
    let bandwidth = Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(6) };
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 20,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(20) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(8) },
        memory_bandwidth: Bounds::default(),
        devices: vec![DeviceWish { class: DeviceClass::Nvme, count, bandwidth }],
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

pub(crate) fn site(version: Version) -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let groups: Vec<Group> = (0..2).map(|vm| group(folder.path(), version, vm)).collect();
    let cpus = |socket: u32| NumberList((socket * 24..socket * 24 + 24).collect());
    let sockets = [0, 1].map(|socket| (cpus(socket), NumberList(vec![socket])));
    let disk = |minor| Disk { number: (8, minor), most: Bandwidth::gb_per_s(6) };
    let disks = BTreeMap::from([(DeviceId(0), disk(0)), (DeviceId(1), disk(16))]);
    let root = folder.path().to_path_buf();
    assemble(groups, sockets, disks, (version, root), Box::new(folder))
}

/// Two VMs in these groups, on sockets with these CPUs and nodes.
pub(crate) fn assemble(
    groups: Vec<Group>,
    sockets: [(NumberList, NumberList); 2],
    disks: BTreeMap<DeviceId, Disk>,
    (version, root): (Version, PathBuf),
    home: Box<dyn Any>,
) -> Site {
    let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
    let vms: Vec<VmSpec> = (0..2).map(vm).collect();
    let capabilities = Capabilities::free();
    let mut start =
        admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).expect("they fit");
    for (index, holding) in start.holdings.iter_mut().enumerate() {
        holding.socket = SocketId(0);
        holding.cpu = Grant { share: MilliCpu::cores(4), ceiling: MilliCpu::cores(8) };
        let ceiling = disks.get(&DeviceId::at(index)).map_or(Bandwidth::ZERO, |disk| disk.most);
        let bandwidth = Grant { share: Bandwidth::ZERO, ceiling };
        start.devices[index] = DeviceHolding { owner: Some(holding.vm), bandwidth };
    }
    let socket = |(socket, (cpus, nodes)): (&halcyon_model::topology::Socket, _)| SocketCpus {
        cpus,
        nodes: Some(nodes),
        time: socket.cpu(),
    };
    let sockets = topology.sockets().iter().zip(sockets).map(socket).collect();
    let by_vm: BTreeMap<VmId, Group> = (0..2).map(|vm| (VmId::at(vm), groups[vm].clone())).collect();
    let has_disks = !disks.is_empty();
    let drivers: Vec<Box<dyn Driver>> =
        vec![Box::new(CpuDriver::new(by_vm.clone(), sockets)), Box::new(DiskDriver::new(by_vm, disks))];
    let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
    let assembly = Assembly::new(inventory, drivers, start.clone(), || Duration::ZERO);
    let inventory = assembly.inventory();
    let mut site = Site { assembly, groups, start, inventory, has_disks, root, version, _home: home };
    site.settle_in();
    site
}

impl Site {
    /// The start is written down, as a VM's first plan would.
    fn settle_in(&mut self) {
        for holding in self.start.holdings.clone() {
            let to = Placement::from_holding(&holding);
            self.assembly.begin(&Step::Place { vm: holding.vm, from: to, to }).expect("it is placed");
        }
        self.assembly.read().expect("it can be read");
        assert_eq!(*self.assembly.held(), self.start);
    }

    /// A file of a VM's group.
    pub(crate) fn file(&self, vm: usize, name: &str) -> PathBuf {
        let controller =
            FILES_V1.iter().find(|(_, file, _)| *file == name).map_or(Controller::Cpu, |(of, _, _)| *of);
        let mount = match self.version {
            Version::V2 => self.root.clone(),
            Version::V1 => self.root.join(controller.name(self.version)),
        };
        mount.join(format!("vm-{vm}")).join(name)
    }

    pub(crate) fn time(&self, socket: SocketId) -> MilliCpu {
        self.inventory.topology.sockets()[socket.index()].cpu()
    }
}

impl Subject for Site {
    fn world(&self) -> World<'_> {
        self.inventory.world()
    }

    fn driver(&mut self) -> &mut dyn Actuate {
        &mut self.assembly
    }

    fn held(&mut self, believed: &Assignment) -> Assignment {
        self.assembly.believe(believed.clone());
        self.assembly.read().expect("it can be read");
        self.assembly.held().clone()
    }

    fn steps(&mut self) -> Vec<Step> {
        let held = &self.start.holdings;
        let grant = |share, ceiling| Grant { share: MilliCpu::new(share), ceiling: MilliCpu::new(ceiling) };
        let set =
            |vm: usize, to| Step::SetCpu { vm: VmId::at(vm), socket: SocketId(0), from: held[vm].cpu, to };
        let here = Placement::from_holding(&held[0]);
        let there = Placement { socket: SocketId(1), cpu: grant(2000, 12_340), ..here };
        let moved = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::mb_per_s(300) };
        let disk = Step::SetDeviceBandwidth {
            device: DeviceId(1),
            from: self.start.devices[1].bandwidth,
            to: moved,
        };
        let steps = [
            set(0, grant(1230, 20_000)),
            set(1, grant(8000, 8000)),
            set(1, grant(0, 10)),
            Step::Place { vm: VmId(0), from: here, to: there },
        ];
        steps.into_iter().chain(self.has_disks.then_some(disk)).collect()
    }

    fn pass(&mut self, _: Duration) {}

    fn believed(&self) -> Assignment {
        self.start.clone()
    }
}
