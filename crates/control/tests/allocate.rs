//! Who asks the library gets what the control cycle would do: the same decision of the same measurements.

use std::sync::Arc;
use std::time::Duration;

use halcyon_control::{Config, Cycle, Stopwatch};
use halcyon_hal::{Actuate, ActuateError, Inventory, MemoryJournal, Observe, ObserveError, Progress, Ticket};
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, HostTime, Snapshot, Step, VmCounters, VmId, VmSample, VmSpec,
    admit,
};
use halcyon_policy::{Allocator, Learned, Measured, Reactive, SystemState, VmData};

const HOST: &str = include_str!("../../../examples/hosts/small.toml");
const SECONDS: u32 = 60;

/// Cores and GiB that the VM at a position uses in a second.
fn used(position: usize, second: u32) -> (f64, f64) {
    let wave = f64::from(second * 7 % 20) / 10.0;
    [(4.0 + wave, 6.0 + wave), (2.5 - wave, 9.0), (0.25, 1.0)][position]
}

/// A host on which every change is made at once, and whose VMs use what they are told to.
struct Told {
    inventory: Arc<Inventory>,
    assignment: Assignment,
    second: u32,
    cpu_used_us: Vec<u64>,
}

impl Observe for Told {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        snapshot.at = HostTime::from_secs(self.second.into());
        snapshot.assignment.clone_from(&self.assignment);
        let sample = |(position, spec): (usize, &VmSpec)| VmSample {
            vm: spec.id,
            counters: VmCounters { cpu_used_us: Some(self.cpu_used_us[position]), ..VmCounters::default() },
            working_set: (self.second > 0).then(|| ByteSize::from_f64(used(position, self.second).1 * GIB)),
            ..VmSample::default()
        };
        snapshot.vms = self.inventory.vms.iter().enumerate().map(sample).collect();
        Ok(())
    }
}

impl Actuate for Told {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::ZERO
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.assignment.apply(step).expect("the cycle begins only what fits");
        Ok(Progress::Done)
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        unreachable!("nothing is ever under way")
    }
}

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

struct NoTime;

impl Stopwatch for NoTime {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

fn vms() -> Vec<VmData> {
    let memory = Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(12) };
    ["a", "b", "c"].map(|name| VmData::new(name, 8, memory)).to_vec()
}

fn told(vms: &[VmData]) -> Told {
    let host = parse_host(HOST).expect("it comes with Halcyon");
    let limit = host.topology.memory_bandwidth(host.topology.sockets()[0].id);
    let spec = |(id, vm): (u32, &VmData)| VmSpec {
        id: VmId(id),
        name: vm.name.clone(),
        vcpus: vm.vcpus,
        weight: vm.weight,
        cpu: vm.cpu,
        memory: vm.memory,
        memory_bandwidth: Bounds { reservation: Bandwidth::ZERO, limit },
        devices: Vec::new(),
        gpu_slices: Bounds::default(),
        objective: vm.objective,
        application: None,
    };
    let inventory = Inventory {
        topology: host.topology,
        vms: (0..).zip(vms).map(spec).collect(),
        capabilities: host.capabilities,
        profiles: Arc::default(),
    };
    let assignment = admit(inventory.world()).expect("they fit");
    Told { assignment, second: 0, cpu_used_us: vec![0; vms.len()], inventory: Arc::new(inventory) }
}

#[test]
fn the_library_decides_as_the_control_cycle() {
    let mut vms = vms();
    let mut host = told(&vms);
    let learned = Learned::embedded().expect("the embedded weights fit");
    let heuristic = Box::new(Reactive::default());
    let mut cycle = Cycle::new(Box::new(learned), heuristic, MemoryJournal::new(16), Config::default());
    let mut allocator = Allocator::new().expect("the embedded weights fit");
    let mut state = SystemState::new(parse_host(HOST).expect("it is the same"), HostTime::ZERO);
    let mut plans = 0;
    for second in 0..SECONDS {
        if second > 0 {
            for (position, vm) in vms.iter_mut().enumerate() {
                let (cores, gib) = used(position, second);
                host.cpu_used_us[position] += (cores * 1e6).round() as u64;
                vm.measured = Measured {
                    cpu_cores: Some(cores),
                    working_set_bytes: Some(gib * GIB),
                    ..Measured::default()
                };
            }
        }
        host.second = second;
        state.at = Duration::from_secs(second.into());
        let outcome = cycle.tick(&mut host, state.at, &NoTime).expect("the host can be read");
        let allocation = allocator.allocate(&vms, &state).expect("they fit");
        assert_eq!(allocation.assignment(), &host.assignment, "after {second} s");
        assert_eq!(allocation.fallback(), outcome.fallback.as_ref());
        plans += usize::from(outcome.plan.is_some());
    }
    assert!(plans > 5, "something happened: {plans}");
}
