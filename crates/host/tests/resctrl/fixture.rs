//! A host with a few VMs on such a kernel.

use std::time::Duration;

use halcyon_hal::{Actuate, Driver, Progress};
use halcyon_host::resctrl::{CacheDriver, Setup, Sockets, Tree};
use halcyon_model::{
    Assignment, Bandwidth, CacheMask, ClassId, Grant, Holding, MilliCpu, SocketId, Step, VmId,
};

use crate::kernel::{Kernel, Shape};

pub(crate) type Driven = CacheDriver<Kernel, Kernel>;

pub(crate) fn gb(amount: u64) -> Bandwidth {
    Bandwidth::gb_per_s(amount)
}

pub(crate) fn upto(ceiling: u64) -> Grant<Bandwidth> {
    Grant { share: Bandwidth::ZERO, ceiling: gb(ceiling) }
}

/// Sockets of 100 GB/s; the caches of a kernel are divided among two of them.
pub(crate) fn setup(shape: &Shape) -> Setup {
    let halves = shape.domains.chunks(shape.domains.len() / 2).map(<[u32]>::to_vec).collect();
    Setup {
        sockets: Sockets::new(halves).unwrap(),
        bandwidth: vec![gb(100), gb(100)],
        host_bandwidth: Bandwidth::ZERO,
        joins_placement: false,
        patience: Duration::from_secs(5),
    }
}

pub(crate) fn driver(kernel: &Kernel) -> Driven {
    let setup = setup(&kernel.state().shape);
    driver_with(kernel, setup)
}

pub(crate) fn driver_with(kernel: &Kernel, setup: Setup) -> Driven {
    CacheDriver::new(Tree::open(kernel.clone()).unwrap(), kernel.clone(), setup, kernel.clock()).unwrap()
}

/// What is believed of VMs 0 to 3, of which the odd ones are on the second socket: all in class 0, up to
/// 25 GB/s each.
pub(crate) fn believed(vms: u32, classes: usize) -> Assignment {
    let holding = |vm| Holding {
        vm: VmId(vm),
        socket: SocketId(vm % 2),
        cpu: Grant::fixed(MilliCpu::cores(1)),
        memory_bandwidth: upto(25),
        memory: Vec::new(),
        class: ClassId(0),
    };
    let mut held = Assignment { holdings: (0..vms).map(holding).collect(), ..Assignment::default() };
    held.classes = vec![None; classes];
    held
}

/// Four VMs of three threads each in the default group, and a driver that has read the machine.
pub(crate) fn host(shape: Shape) -> (Kernel, Driven, Assignment) {
    let kernel = Kernel::new(shape);
    for vm in 0..4 {
        for thread in 0..3 {
            kernel.spawn(vm, 100 * (vm + 1) + thread, "");
        }
    }
    kernel.state().tasks.insert(1, (String::new(), None));
    let mut driver = driver(&kernel);
    let mut held = believed(4, kernel.state().shape.closids);
    driver.read(&mut held).unwrap();
    (kernel, driver, held)
}

pub(crate) fn done(driver: &mut Driven, step: &Step) {
    assert_eq!(driver.begin(step), Ok(Progress::Done), "{step}");
}

/// Makes a step, and believes it afterwards, as an executor does.
pub(crate) fn made(driver: &mut Driven, held: &mut Assignment, step: &Step) {
    held.apply(step).unwrap();
    done(driver, step);
}

pub(crate) fn create(class: u32, masks: [u32; 2]) -> Step {
    Step::CreateClass { class: ClassId(class), masks: masks.map(CacheMask).to_vec() }
}

pub(crate) fn join(vm: u32, from: u32, to: u32) -> Step {
    Step::SetClass { vm: VmId(vm), from: ClassId(from), to: ClassId(to) }
}

pub(crate) fn limit(vm: u32, from: u64, to: u64) -> Step {
    Step::SetMemoryBandwidth { vm: VmId(vm), socket: SocketId(vm % 2), from: upto(from), to: upto(to) }
}

pub(crate) fn mask(class: u32, socket: u32, from: u32, to: u32) -> Step {
    let (from, to) = (CacheMask(from), CacheMask(to));
    Step::SetMask { class: ClassId(class), socket: SocketId(socket), from, to }
}
