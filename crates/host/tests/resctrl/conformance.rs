//! The driver is held to what all are held to.

use std::time::Duration;

use halcyon_hal::testkit::{Subject, conforms, withstands};
use halcyon_hal::{Actuate, Driver};
use halcyon_host::resctrl::{CacheDriver, Files, Tree};
use halcyon_model::describe::{Host, parse_host};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, CacheMask, Capabilities, ChangeKind, ClassId, Grant, MilliCpu,
    Objective, SocketId, Step, VmId, VmSpec, Weight, World, admit,
};

use crate::fixture::{Driven, setup, upto};
use crate::kernel::{Kernel, Shape};

const TWO_SOCKET: &str = include_str!("../../../../examples/hosts/two-socket.toml");

struct Machine {
    host: Host,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
    kernel: Kernel,
    driver: Driven,
    start: Assignment,
}

fn spec(id: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

/// VM 0 alone in class 1, VM 1 alone in class 2, VM 2 in the default class; classes 3 and 5 are empty.
fn machine(shape: Shape) -> Machine {
    let host = parse_host(TWO_SOCKET).expect("the example is described well");
    let kernel = Kernel::new(shape);
    let ways = kernel.state().shape.ways;
    for class in [1, 2, 3, 5] {
        kernel.make(&format!("halcyon-{class}")).unwrap();
    }
    for (vm, group) in ["halcyon-1", "halcyon-2", ""].into_iter().enumerate() {
        let vm = u32::try_from(vm).unwrap();
        (0..4).for_each(|thread| kernel.spawn(vm, 100 * (vm + 1) + thread, group));
    }
    let setup = setup(&kernel.state().shape);
    let tree = Tree::open(kernel.clone()).unwrap();
    let driver = CacheDriver::new(tree, kernel.clone(), setup, kernel.clock()).unwrap();
    let vms: Vec<VmSpec> = (0..3).map(spec).collect();
    let ours = driver.capabilities();
    let mut capabilities = host.capabilities.clone();
    for kind in [ChangeKind::CacheMask, ChangeKind::CacheClass, ChangeKind::MemoryBandwidth] {
        capabilities = capabilities.with(kind, ours.get(kind).copied());
    }
    let world = World { topology: &host.topology, vms: &vms, capabilities: &capabilities };
    let mut start = admit(world).expect("the VMs fit");
    for class in [0, 1, 2, 3, 5] {
        start.classes[class] = Some(vec![CacheMask::full(ways); 2]);
    }
    for (holding, class) in start.holdings.iter_mut().zip([1, 2, 0]) {
        holding.class = ClassId(class);
        holding.memory_bandwidth = upto(100);
    }
    Machine { host, vms, capabilities, kernel, driver, start }
}

impl Subject for Machine {
    fn world(&self) -> World<'_> {
        World { topology: &self.host.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    fn driver(&mut self) -> &mut dyn Actuate {
        &mut self.driver
    }

    fn held(&mut self, believed: &Assignment) -> Assignment {
        let mut held = believed.clone();
        self.driver.read(&mut held).expect("the machine can be read");
        held
    }

    fn steps(&mut self) -> Vec<Step> {
        let full = CacheMask::full(self.kernel.state().shape.ways);
        let socket = self.start.holdings[0].socket;
        let limit = |gb| Step::SetMemoryBandwidth {
            vm: VmId(0),
            socket,
            from: upto(100),
            to: Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::gb_per_s(gb) },
        };
        let mask = |socket, bits| Step::SetMask {
            class: ClassId(1),
            socket: SocketId(socket),
            from: full,
            to: CacheMask(bits),
        };
        vec![
            limit(30),
            limit(80),
            mask(0, 0b11),
            mask(1, 0b1111_0000),
            Step::CreateClass { class: ClassId(4), masks: vec![CacheMask(0b1), CacheMask(0b110)] },
            Step::RemoveClass { class: ClassId(5), masks: vec![full; 2] },
            Step::SetClass { vm: VmId(1), from: ClassId(2), to: ClassId(3) },
            Step::SetClass { vm: VmId(2), from: ClassId(0), to: ClassId(3) },
            Step::SetClass { vm: VmId(0), from: ClassId(1), to: ClassId(0) },
        ]
    }

    fn pass(&mut self, time: Duration) {
        self.kernel.pass(time);
    }

    fn believed(&self) -> Assignment {
        self.start.clone()
    }
}

/// The example host has 15 ways and 15 classes.
fn shapes() -> [Shape; 3] {
    let amd = Shape { ways: 15, closids: 15, ..Shape::amd() };
    [Shape::intel(), Shape { cdp: true, ..Shape::intel() }, amd]
}

#[test]
fn the_driver_keeps_the_contract() {
    for shape in shapes() {
        conforms(|| machine(shape.clone()));
    }
}

#[test]
fn an_executor_above_it_withstands_all_faults() {
    for shape in shapes() {
        withstands(|| machine(shape.clone()));
    }
}

#[test]
fn the_contract_holds_while_ids_are_in_limbo() {
    let shape = Shape { rmids: 20, ..Shape::intel() };
    conforms(|| {
        let machine = machine(shape.clone());
        machine.kernel.state().limbo = vec![Duration::from_millis(1500); 20];
        machine
    });
}
