//! A host of guests that are none, with Halcyon's own drivers above them.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use halcyon_hal::testkit::Subject;
use halcyon_hal::{Actuate, Assembly, Driver, Inventory, Observe};
use halcyon_host::qmp::fake::{FakeQemu, Guest};
use halcyon_host::qmp::{
    Backend, Bus, Client, Clock, DeviceDriver, MemoryBinding, MemoryDriver, Part, Plug, Ports, Throttle,
    ThrottleDriver,
};
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, DeviceClass, DeviceHolding, DeviceId, DeviceWish,
    Grant, MilliCpu, NodeId, Objective, Step, VmId, VmSpec, Weight, World, admit,
};
use serde_json::{Map, Value, json};
use tempfile::TempDir;

const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");
pub(crate) const GIB: u64 = 1 << 30;
/// A guest that has not moved for so long will not.
pub(crate) const STILL: Duration = Duration::from_millis(400);

pub(crate) fn clock() -> Clock {
    let began = Instant::now();
    // So that what rests for a moment at the start does not.
    Arc::new(move || began.elapsed() + Duration::from_secs(60))
}

pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(fields) => fields,
        other => panic!("{other} is no object"),
    }
}

fn vm(id: u32) -> VmSpec {
    let count = Bounds { reservation: 0, limit: 2 };
    let bandwidth = Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(6) };
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 2,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(2) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(16) },
        memory_bandwidth: Bounds::default(),
        devices: vec![DeviceWish { class: DeviceClass::Nvme, count, bandwidth }],
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

pub(crate) struct Site {
    pub(crate) fakes: Vec<FakeQemu>,
    pub(crate) clients: Vec<Client>,
    pub(crate) assembly: Assembly,
    pub(crate) inventory: Arc<Inventory>,
    pub(crate) start: Assignment,
    _folder: TempDir,
}

/// A drive; the third is a network card.
pub(crate) fn part(device: usize) -> Part {
    if device == 2 {
        let backend = object(json!({ "type": "user", "id": "net2" }));
        let add = object(json!({ "driver": "virtio-net-pci", "netdev": "net2" }));
        let backend = Some(Backend::Network { id: "net2".into(), add: backend });
        return Part { id: "nic2".into(), add, backend };
    }
    let node = format!("n{device}");
    let file = json!({ "driver": "file", "filename": format!("/nowhere/{node}.raw") });
    let backend = object(json!({ "driver": "raw", "node-name": node, "file": file }));
    let add = object(json!({ "driver": "nvme", "drive": node, "serial": format!("S{device}") }));
    Part { id: format!("nv{device}"), add, backend: Some(Backend::Block { node, add: backend }) }
}

fn ports() -> BTreeMap<DeviceId, String> {
    (0..3).map(|device| (DeviceId::at(device), format!("rp{device}"))).collect()
}

/// A guest whose memory is changed by virtio-mem where the second, else by balloon.
fn guest(index: usize) -> Guest {
    let groups = (0..3).map(|device| format!("tg{device}")).collect();
    let virtio_mem = if index == 1 { vec![("vm0".into(), 3 * GIB, 8 * GIB)] } else { Vec::new() };
    Guest { throttle_groups: groups, virtio_mem, ..Guest::default() }
}

pub(crate) fn connect(bus: &Bus, socket: &Path) -> Client {
    let client = bus.client(socket);
    client.wait_connected(Duration::from_secs(5)).expect("it greets");
    client
}

/// Two guests with a balloon and one with virtio-mem, and three drives of which the first two are in use.
pub(crate) fn site() -> Site {
    let folder = tempfile::tempdir().expect("a folder");
    let bus = Bus::start().expect("a thread");
    let socket = |index: usize| folder.path().join(format!("guest-{index}.qmp"));
    let fakes: Vec<FakeQemu> =
        (0..3).map(|index| FakeQemu::start(&socket(index), guest(index)).expect("a socket")).collect();
    let clients: Vec<Client> = (0..3).map(|index| connect(&bus, &socket(index))).collect();
    let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
    let vms: Vec<VmSpec> = (0..3).map(vm).collect();
    let capabilities = Capabilities::free();
    let mut start =
        admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).expect("they fit");
    start.devices.fill(DeviceHolding::default());
    for (index, holding) in start.holdings.iter_mut().enumerate() {
        holding.memory = vec![(NodeId(0), ByteSize::gib(4))];
        holding.vm = VmId::at(index);
    }
    let clock = clock();
    let drivers = drivers(&clients, &clock);
    let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
    let assembly = Assembly::new(inventory, drivers, start.clone(), move || clock());
    let inventory = assembly.inventory();
    let mut site = Site { fakes, clients, assembly, inventory, start, _folder: folder };
    for index in 0..2 {
        let moved = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::mb_per_s(500) };
        let attach = Step::Attach { vm: VmId::at(index), devices: vec![(DeviceId::at(index), moved)] };
        site.run(&attach);
    }
    site.assembly.read().expect("it can be read");
    site.start = site.assembly.held().clone();
    site
}

fn drivers(clients: &[Client], clock: &Clock) -> Vec<Box<dyn Driver>> {
    let plug = |index: usize| match index {
        1 => Plug::VirtioMem { devices: BTreeMap::from([(NodeId(0), ("vm0".to_owned(), ByteSize::gib(1)))]) },
        _ => Plug::Balloon { node: NodeId(0) },
    };
    let of = |index: usize| clients[index].clone();
    let memory =
        (0..3).map(|index| (VmId::at(index), MemoryBinding { client: of(index), plug: plug(index) }));
    let guests = (0..3).map(|index| (VmId::at(index), Ports { client: of(index), buses: ports() }));
    let parts = (0..3).map(|device| (DeviceId::at(device), part(device)));
    let throttle = |device| Throttle { group: format!("tg{device}"), most: Bandwidth::gb_per_s(6) };
    let throttles = (0..3).map(|device| (DeviceId::at(device), throttle(device)));
    let throttled = (0..3).map(|index| (VmId::at(index), of(index)));
    vec![
        Box::new(MemoryDriver::new(memory.collect(), Arc::clone(clock)).with_patience(STILL)),
        Box::new(
            DeviceDriver::new(parts.collect(), guests.collect(), Arc::clone(clock)).with_patience(6 * STILL),
        ),
        Box::new(ThrottleDriver::new(throttled.collect(), throttles.collect(), Arc::clone(clock))),
    ]
}

impl Site {
    /// Runs one step to its end.
    pub(crate) fn run(&mut self, step: &Step) -> halcyon_hal::Progress {
        use halcyon_hal::Progress;
        let mut progress = self.assembly.begin(step).expect("it begins");
        for _ in 0..5000 {
            let Progress::UnderWay(ticket) = progress else { return progress };
            std::thread::sleep(Duration::from_millis(1));
            progress = self.assembly.poll(ticket);
        }
        panic!("`{step}` has no end")
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
        let size = |vm: u32, to| {
            let (from, to) = (ByteSize::gib(4), ByteSize::gib(to));
            Step::SetMemory { vm: VmId(vm), node: NodeId(0), from, to }
        };
        let moved = |mb| Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::mb_per_s(mb) };
        vec![
            size(0, 3),
            size(1, 6),
            size(1, 2),
            Step::Detach { vm: VmId(0), devices: vec![(DeviceId(0), moved(500))] },
            Step::Attach { vm: VmId(2), devices: vec![(DeviceId(2), moved(100))] },
            Step::SetDeviceBandwidth { device: DeviceId(1), from: moved(500), to: moved(70) },
        ]
    }

    fn pass(&mut self, _: Duration) {
        std::thread::sleep(Duration::from_millis(2));
    }

    fn believed(&self) -> Assignment {
        self.start.clone()
    }
}
