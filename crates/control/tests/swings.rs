//! What is asked to and fro rests, whether anything comes of it or not, and what just changes does not.

use std::sync::Arc;
use std::time::Duration;

use halcyon_control::{Config, Cycle, Stopwatch};
use halcyon_hal::{
    Actuate, ActuateError, Inventory, MemoryJournal, Observe, ObserveError, Progress, StepState, Ticket,
};
use halcyon_model::{
    Assignment, ByteSize, Capabilities, HostTime, MemoryWish, MilliCpu, NodeId, Plan, Proposal, Reason,
    Snapshot, Step, VmSample, VmWish, Wish,
};
use halcyon_policy::{Policy, View};

const GIB: f64 = 1024.0 * 1024.0 * 1024.0;

/// One VM on the demo host; it has no other memory than it has, if it is stubborn.
struct Host {
    inventory: Arc<Inventory>,
    assignment: Assignment,
    now: HostTime,
    stubborn: bool,
}

impl Host {
    fn new(stubborn: bool) -> Self {
        let text = include_str!("../../../examples/hosts/two-socket.toml");
        let topology = halcyon_model::describe::parse_host(text).expect("it is described well").topology;
        let vms = halcyon_model::describe::parse_vms(include_str!("one-vm.toml"), &topology).expect("a VM");
        let inventory =
            Inventory { topology, vms, capabilities: Capabilities::free(), profiles: Arc::default() };
        let assignment = halcyon_model::admit(inventory.world()).expect("it fits");
        Self { inventory: Arc::new(inventory), assignment, now: HostTime::ZERO, stubborn }
    }
}

impl Observe for Host {
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        snapshot.at = self.now;
        snapshot.assignment.clone_from(&self.assignment);
        let sample = |spec: &halcyon_model::VmSpec| VmSample { vm: spec.id, ..VmSample::default() };
        snapshot.vms = self.inventory.vms.iter().map(sample).collect();
        Ok(())
    }
}

impl Actuate for Host {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::ZERO
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        if self.stubborn && matches!(step, Step::SetMemory { .. }) {
            return Ok(Progress::Refused { why: "the guest would not".into() });
        }
        self.assignment.apply(step).expect("the cycle begins only what fits");
        Ok(Progress::Done)
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        unreachable!("nothing is ever under way")
    }
}

/// Decisions take no time.
struct Still;

impl Stopwatch for Still {
    fn elapsed(&self) -> Duration {
        Duration::ZERO
    }
}

/// Asks for what a function of the time says.
struct Asks<F>(F);

impl<F: FnMut(u64) -> VmWish> Policy for Asks<F> {
    fn name(&self) -> &'static str {
        "asks"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        let wish = VmWish { vm: view.world.vms[0].id, ..(self.0)(view.snapshot.at.as_secs()) };
        Proposal { based_on: view.snapshot.generation, vms: vec![wish], ..Proposal::default() }
    }
}

fn cpu(cores: f64) -> VmWish {
    let wish = Wish { share: 1000.0 * cores, ceiling: 8000.0, reason: Reason::Fit };
    VmWish { cpu: Some(wish), ..VmWish::default() }
}

fn memory(gib: f64) -> VmWish {
    let nodes = vec![(NodeId(0), GIB * gib)];
    VmWish { memory: Some(MemoryWish { nodes, reason: Reason::Fit }), ..VmWish::default() }
}

/// The plans of so many seconds with when they were made, one cycle a second, and the host after it.
fn plans(
    mut host: Host,
    asks: impl Fn(u64) -> VmWish + Clone + Send + 'static,
    seconds: u64,
) -> (Vec<(u64, Plan)>, Host) {
    let heuristic = Box::new(Asks(asks.clone()));
    let mut cycle = Cycle::new(Box::new(Asks(asks)), heuristic, MemoryJournal::new(64), Config::default());
    let mut plans = Vec::new();
    for second in 1..=seconds {
        host.now = Duration::from_secs(second);
        let outcome = cycle.tick(&mut host, Duration::from_secs(second), &Still).expect("the cycle goes on");
        let refused = |event: &halcyon_hal::Event| event.state == StepState::Refused;
        assert!(!host.stubborn || outcome.events.iter().all(refused));
        plans.extend(outcome.plan.map(|plan| (second, plan)));
    }
    (plans, host)
}

/// When the plans were made that lower memory.
fn when_lowered(plans: &[(u64, Plan)]) -> Vec<u64> {
    let lowers = |step: &Step| matches!(step, Step::SetMemory { from, to, .. } if to < from);
    let made = plans.iter().filter(|(_, plan)| plan.changes().iter().any(|change| lowers(&change.step)));
    made.map(|(second, _)| *second).collect()
}

/// High in every second period of so many seconds.
fn every(period: u64, low: f64, high: f64) -> impl Fn(u64) -> f64 + Clone {
    move |second| if second / period % 2 == 1 { high } else { low }
}

#[test]
fn memory_that_is_asked_to_and_fro_in_vain_rests_longer_each_time() {
    let size = every(7, 4.5, 5.5);
    let asks = move |second| if second % 7 == 0 { memory(size(second)) } else { VmWish::default() };
    let mut host = Host::new(true);
    let held = vec![(NodeId(0), ByteSize::from_f64(5.0 * GIB))];
    host.assignment.holdings[0].memory.clone_from(&held);
    let (plans, host) = plans(host, asks, 1800);
    assert_eq!(host.assignment.holdings[0].memory, held, "nothing comes of it");
    let lowered = when_lowered(&plans);
    let rests = lowered.windows(2).map(|pair| pair[1] - pair[0]).filter(|seconds| *seconds > 14);
    // Until it is next asked for after two minutes, four, and then always eight.
    assert_eq!(rests.collect::<Vec<u64>>(), [140, 252, 490, 490]);
    assert_eq!(lowered[..4], [14, 28, 42, 182]);
}

#[test]
fn cpu_time_that_swings_stays_at_the_higher_value_for_a_while() {
    let cores = every(5, 2.0, 4.0);
    let (plans, host) = plans(Host::new(false), move |second| cpu(cores(second)), 150);
    let asked: Vec<u64> = plans.iter().map(|(second, _)| *second).collect();
    // The fourth swing is that of second 25, and two minutes later it may be lowered again.
    assert_eq!(asked, [1, 5, 10, 15, 20, 25, 150]);
    assert_eq!(host.assignment.holdings[0].cpu.share, MilliCpu::cores(2));
}

#[test]
fn a_ceiling_that_swings_stays_at_the_higher_value_for_a_while() {
    let ceiling = every(5, 2e9, 4e9);
    let asks = move |second| {
        let wish = Wish { share: 5e8, ceiling: ceiling(second), reason: Reason::Fit };
        VmWish { memory_bandwidth: Some(wish), ..VmWish::default() }
    };
    let (plans, _) = plans(Host::new(false), asks, 140);
    let asked: Vec<u64> = plans.iter().map(|(second, _)| *second).collect();
    assert_eq!(asked, [1, 5, 10, 15, 20, 25]);
}

#[test]
fn what_just_changes_is_not_held_up() {
    let rises = |second: u64| 1.0 + f64::from(u32::try_from(second / 10 % 50).expect("below 50")) / 8.0;
    let three = |second: u64| [2.0, 4.0, 6.0][usize::try_from(second / 5 % 3).expect("below 3")];
    followed(rises);
    followed(three);
    followed(every(130, 2.0, 4.0));
    followed(every(5, 4.0, 4.3));
}

/// Every change of this many cores is made at once.
fn followed(cores: impl Fn(u64) -> f64 + Clone + Send + 'static) {
    let asked = cores.clone();
    let (plans, _) = plans(Host::new(false), move |second| cpu(asked(second)), 1000);
    let changes = (2..=1000).filter(|second| cores(*second).to_bits() != cores(second - 1).to_bits());
    let made: Vec<u64> = plans.iter().map(|(second, _)| *second).filter(|second| *second > 1).collect();
    assert_eq!(made, changes.collect::<Vec<u64>>());
}
