//! Drivers that make a host together: each does its own part, a step that concerns two is done by both, and
//! the whole is held to what every driver is held to.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use halcyon_hal::testkit::{Subject, conforms, withstands};
use halcyon_hal::{
    Actuate, ActuateError, Assembly, Driver, Inventory, Observe, ObserveError, Progress, Ticket,
};
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, Capabilities, ChangeKind, Control, Grant, MilliCpu, Objective,
    Placement, Snapshot, SocketId, Step, VmId, VmSpec, Weight, World, admit,
};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

/// The machine: what the parts write and read.
type Machine = Arc<Mutex<Assignment>>;

/// A driver that knows either CPUs or memory bandwidth.
struct Part {
    machine: Machine,
    of_cpu: bool,
    polls: u32,
    flights: BTreeMap<u64, (Step, u32)>,
}

impl Part {
    fn make(&self, step: &Step) {
        let mut machine = self.machine.lock().expect("nobody panicked");
        let vm = step.vm().expect("steps of these parts are of VMs");
        let holding = machine.holdings.iter_mut().find(|holding| holding.vm == vm).expect("it is there");
        match step {
            Step::SetCpu { to, .. } => holding.cpu = *to,
            Step::SetMemoryBandwidth { to, .. } => holding.memory_bandwidth = *to,
            Step::Place { to, .. } if self.of_cpu => (holding.socket, holding.cpu) = (to.socket, to.cpu),
            Step::Place { to, .. } => holding.memory_bandwidth = to.memory_bandwidth,
            _ => panic!("`{step}` went to the wrong part"),
        }
    }
}

impl Actuate for Part {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::from_millis(10)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let known = |holding: &halcyon_model::Holding| Some(holding.vm) == step.vm();
        if !self.machine.lock().expect("nobody panicked").holdings.iter().any(known) {
            return Err(ActuateError { step: step.to_string(), why: "there is no such VM".into() });
        }
        if self.polls == 0 {
            self.make(step);
            return Ok(Progress::Done);
        }
        let ticket = self.flights.len() as u64 + 100 * u64::from(self.of_cpu);
        self.flights.insert(ticket, (step.clone(), self.polls));
        Ok(Progress::UnderWay(Ticket(ticket)))
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        let Some((step, left)) = self.flights.get_mut(&ticket.0) else {
            return Progress::Failed { why: "no such change".into() };
        };
        *left -= 1;
        if *left > 0 {
            return Progress::UnderWay(ticket);
        }
        let step = step.clone();
        self.make(&step);
        Progress::Done
    }
}

impl Driver for Part {
    fn name(&self) -> &'static str {
        if self.of_cpu { "cpu" } else { "bandwidth" }
    }

    fn capabilities(&self) -> Capabilities {
        let own = if self.of_cpu { ChangeKind::Cpu } else { ChangeKind::MemoryBandwidth };
        let none = Capabilities::none();
        none.with(own, Some(Control::FREE)).with(ChangeKind::Placement, Some(Control::FREE))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        let machine = self.machine.lock().expect("nobody panicked");
        for (held, real) in held.holdings.iter_mut().zip(&machine.holdings) {
            if self.of_cpu {
                (held.socket, held.cpu) = (real.socket, real.cpu);
            } else {
                held.memory_bandwidth = real.memory_bandwidth;
            }
        }
        Ok(())
    }
}

struct Whole {
    inventory: Arc<Inventory>,
    assembly: Assembly,
    start: Assignment,
}

fn vm(id: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 8,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(8) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(8) },
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit: Bandwidth::gb_per_s(50) },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

fn whole(polls: u32) -> Whole {
    let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
    let vms: Vec<VmSpec> = (0..3).map(vm).collect();
    let capabilities = Capabilities::free();
    let start =
        admit(World { topology: &topology, vms: &vms, capabilities: &capabilities }).expect("they fit");
    let machine = Arc::new(Mutex::new(start.clone()));
    let part = |of_cpu| -> Box<dyn Driver> {
        Box::new(Part { machine: Arc::clone(&machine), of_cpu, polls, flights: BTreeMap::new() })
    };
    let inventory = Inventory { topology, vms, capabilities, profiles: Arc::default() };
    let assembly =
        Assembly::new(inventory, vec![part(true), part(false)], start.clone(), || Duration::from_secs(5));
    Whole { inventory: assembly.inventory(), assembly, start }
}

impl Subject for Whole {
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
        let (first, second) = (&self.start.holdings[0], &self.start.holdings[1]);
        let to = Grant { share: MilliCpu::cores(1), ceiling: MilliCpu::cores(4) };
        let rate = Grant { share: Bandwidth::ZERO, ceiling: Bandwidth::gb_per_s(3) };
        let here = Placement::from_holding(first);
        let there = Placement { socket: SocketId(1 - first.socket.0), cpu: to, memory_bandwidth: rate };
        vec![
            Step::SetCpu { vm: first.vm, socket: first.socket, from: first.cpu, to },
            Step::SetMemoryBandwidth {
                vm: second.vm,
                socket: second.socket,
                from: second.memory_bandwidth,
                to: rate,
            },
            Step::Place { vm: first.vm, from: here, to: there },
        ]
    }

    fn pass(&mut self, _: Duration) {}

    fn believed(&self) -> Assignment {
        self.start.clone()
    }
}

#[test]
fn parts_that_are_quick_or_slow_make_one_host_that_keeps_the_contract() {
    for polls in [0, 1, 3] {
        conforms(|| whole(polls));
        withstands(|| whole(polls));
    }
}

#[test]
fn a_host_offers_what_its_drivers_do_and_no_more() {
    let mut host = whole(0);
    let offers = &host.inventory.capabilities;
    assert!(offers.allows(ChangeKind::Cpu) && offers.allows(ChangeKind::Placement));
    assert!(!offers.allows(ChangeKind::Memory));
    assert!(host.assembly.covers(offers).is_ok());
    let error = host.assembly.covers(&Capabilities::free()).expect_err("memory cannot be changed");
    assert!(error.to_string().contains("memory"), "{error}");
    let step = Step::SetMemory {
        vm: VmId(0),
        node: halcyon_model::NodeId(0),
        from: ByteSize::gib(1),
        to: ByteSize::gib(2),
    };
    assert!(host.assembly.begin(&step).is_err());
    let mut snapshot = Snapshot::default();
    host.assembly.observe(&mut snapshot).expect("it can be read");
    assert_eq!((snapshot.at, snapshot.vms.len()), (Duration::from_secs(5), 3));
}
