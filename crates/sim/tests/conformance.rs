//! The simulated host is a driver like any other, and is held to what all are held to.

use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::testkit::{Subject, conforms, storm, withstands};
use halcyon_hal::{Actuate, Inventory, Observe};
use halcyon_model::describe::parse_host;
use halcyon_model::profile::Response;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, CacheMask, ClassId, DeviceClass, DeviceHolding, DeviceId,
    DeviceWish, Grant, MilliCpu, NodeId, Objective, Placement, Snapshot, SocketId, Step, VmId, VmSpec,
    Weight, World, admit,
};
use halcyon_sim::{Application, Demand, Guest, Parameters, SimHost, Workload};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

struct Simulated {
    inventory: Arc<Inventory>,
    host: SimHost,
    step: Duration,
    start: Assignment,
}

fn guest(id: u32) -> Guest {
    let count = Bounds { reservation: 0, limit: 2 };
    let bandwidth = Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(6) };
    let spec = VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(64) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(100) },
        devices: vec![DeviceWish { class: DeviceClass::Nvme, count, bandwidth }],
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    };
    let application = Application {
        name: "test".into(),
        request: Duration::from_millis(5),
        io_bytes: 0.0,
        gpu_seconds: 0.0,
        response: Response::flat(1.0e8),
    };
    let demand = Demand {
        interval: Duration::from_secs(60),
        work: vec![1.0],
        working_set: vec![1024.0 * 1024.0 * 1024.0],
    };
    Guest::new(spec, Workload { application, demand })
}

fn simulated() -> Simulated {
    let described = parse_host(TWO_SOCKET).expect("the demo host is described well");
    let guests: Vec<Guest> = (0..3).map(guest).collect();
    let specs: Vec<VmSpec> = guests.iter().map(|guest| guest.spec.clone()).collect();
    let capabilities = described.capabilities.clone();
    let world = World { topology: &described.topology, vms: &specs, capabilities: &capabilities };
    let mut start = admit(world).expect("the VMs fit");
    for (index, holding) in start.holdings.iter_mut().enumerate() {
        holding.cpu = Grant { share: MilliCpu::cores(2), ceiling: MilliCpu::cores(8) };
        holding.memory = vec![(NodeId(holding.socket.0), ByteSize::gib(16))];
        if index < 2 {
            start.devices[index] = DeviceHolding { owner: Some(holding.vm), ..DeviceHolding::default() };
        }
    }
    let parameters =
        Parameters { burst_sigma: 0.0, counter_noise: 0.0, device_failure: 0.0, ..Parameters::default() };
    let step = parameters.step;
    let host = SimHost::new(described.topology, capabilities, guests, start.clone(), parameters, 7);
    let host = host.expect("the start is feasible");
    Simulated { inventory: host.inventory(), host, step, start }
}

impl Subject for Simulated {
    fn world(&self) -> World<'_> {
        self.inventory.world()
    }

    fn driver(&mut self) -> &mut dyn Actuate {
        &mut self.host
    }

    fn held(&mut self, _: &Assignment) -> Assignment {
        let mut snapshot = Snapshot::default();
        self.host.observe(&mut snapshot).expect("it can be read");
        snapshot.assignment
    }

    fn steps(&mut self) -> Vec<Step> {
        let held = &self.start.holdings;
        let (first, second) = (&held[0], &held[1]);
        let time = |share| Grant { share: MilliCpu::cores(share), ceiling: MilliCpu::cores(8) };
        let here = Placement::from_holding(first);
        let there = Placement { socket: SocketId(1 - first.socket.0), ..here };
        let node = first.memory[0].0;
        let gib = |to| Step::SetMemory { vm: first.vm, node, from: ByteSize::gib(16), to: ByteSize::gib(to) };
        let none = Grant::default();
        let moved = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::gb_per_s(2) };
        let masks = vec![CacheMask(0b11), CacheMask(0b11)];
        let free = DeviceId::at(
            (0..self.start.devices.len())
                .find(|index| {
                    let device = &self.inventory.topology.fabric().devices[*index];
                    device.class == DeviceClass::Nvme && self.start.devices[*index].owner.is_none()
                })
                .expect("an NVMe device is free"),
        );
        vec![
            Step::SetCpu { vm: first.vm, socket: first.socket, from: first.cpu, to: time(3) },
            Step::SetCpu { vm: second.vm, socket: second.socket, from: second.cpu, to: time(1) },
            Step::SetMemoryBandwidth {
                vm: first.vm,
                socket: first.socket,
                from: first.memory_bandwidth,
                to: moved,
            },
            Step::Place { vm: first.vm, from: here, to: there },
            gib(20),
            gib(12),
            Step::CreateClass { class: ClassId(1), masks },
            Step::Detach { vm: second.vm, devices: vec![(DeviceId(1), none)] },
            Step::Attach { vm: held[2].vm, devices: vec![(free, moved)] },
            Step::SetDeviceBandwidth { device: DeviceId(0), from: none, to: moved },
        ]
    }

    fn pass(&mut self, time: Duration) {
        let steps = time.as_millis().div_ceil(self.step.as_millis().max(1));
        (0..steps).for_each(|_| self.host.step());
    }

    fn believed(&self) -> Assignment {
        self.start.clone()
    }
}

#[test]
fn the_simulated_host_keeps_the_contract_of_drivers() {
    conforms(simulated);
}

#[test]
fn whatever_goes_wrong_on_the_simulated_host_it_ends_as_it_was_or_as_it_was_to_be() {
    withstands(simulated);
}

#[test]
fn random_plans_in_a_storm_end_as_the_old_plan_or_the_new_one() {
    let mut deaths = 0;
    for seed in 0..20 {
        let weather = storm(&mut simulated(), 20, seed);
        println!("{weather:?}");
        assert!(weather.plans > 10 && weather.forward > 0);
        deaths += weather.deaths;
    }
    assert!(deaths > 40, "{deaths} deaths");
}
