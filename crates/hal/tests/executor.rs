//! What a person would notice of the executor: order, patience, refusals, and the way back.

mod fake;

use std::time::Duration;

use fake::{Bench, Play};
use halcyon_hal::StepState;
use halcyon_model::describe::parse_host;
use halcyon_model::{
    Assignment, Bounds, ByteSize, Capabilities, DeviceClass, DeviceHolding, DeviceWish, Families, Family,
    Grant, MilliCpu, NodeId, Objective, Step, Topology, VmId, VmSpec, Weight, World, admit,
};

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

struct Site {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
}

impl Site {
    /// Four VMs, two on each socket, that fill CPU and memory of the demo host.
    fn new() -> Self {
        let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
        let vms = (0..4).map(vm).collect();
        Self { topology, vms, capabilities: Capabilities::free() }
    }

    fn world(&self) -> World<'_> {
        World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities }
    }

    fn bench(&self) -> Bench<'_> {
        let mut start = admit(self.world()).expect("the VMs fit");
        for (index, holding) in start.holdings.iter_mut().enumerate() {
            holding.cpu = Grant { share: MilliCpu::cores(11), ceiling: MilliCpu::cores(20) };
            holding.memory = vec![(NodeId(holding.socket.0), ByteSize::gib(124))];
            start.devices[index] = DeviceHolding { owner: Some(holding.vm), ..DeviceHolding::default() };
        }
        assert_eq!(start.holdings[0].socket, start.holdings[2].socket, "two VMs share a socket");
        Bench::new(self.world(), start)
    }
}

fn vm(id: u32) -> VmSpec {
    let bandwidth = Bounds::default();
    let count = Bounds { reservation: 0, limit: 2 };
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 20,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::cores(1), limit: MilliCpu::cores(20) },
        memory: Bounds { reservation: ByteSize::gib(1), limit: ByteSize::gib(248) },
        memory_bandwidth: Bounds::default(),
        devices: vec![DeviceWish { class: DeviceClass::Nvme, count, bandwidth }],
        gpu_slices: Bounds::default(),
        objective: Objective::Throughput,
        application: None,
    }
}

fn set_cores(target: &mut Assignment, vm: usize, cores: u64) {
    target.holdings[vm].cpu.share = MilliCpu::cores(cores);
}

fn set_gib(target: &mut Assignment, vm: usize, gib: u64) {
    target.holdings[vm].memory[0].1 = ByteSize::gib(gib);
}

fn stuck(bench: &Bench<'_>) -> Vec<Step> {
    bench.executor.stuck().iter().map(|stuck| stuck.step.clone()).collect()
}

fn cores(bench: &Bench<'_>, vm: usize) -> u64 {
    bench.machine.assignment.holdings[vm].cpu.share.get() / 1000
}

fn gib(bench: &Bench<'_>, vm: usize) -> u64 {
    bench.machine.assignment.holdings[vm].memory[0].1.get() >> 30
}

/// The step of a plan that concerns one VM and one family.
fn step(plan: &halcyon_model::Plan, vm: u32, family: Family) -> Step {
    let concerns = |step: &&Step| step.vm() == Some(VmId(vm)) && step.family() == family;
    plan.changes().iter().map(|change| &change.step).find(concerns).expect("the plan has such a step").clone()
}

#[test]
fn a_grant_waits_for_the_release_that_it_depends_on_and_then_happens() {
    let site = Site::new();
    let mut bench = site.bench();
    let mut target = bench.machine.assignment.clone();
    set_gib(&mut target, 2, 144);
    set_gib(&mut target, 0, 104);
    let plan = bench.plan_for(&target);
    bench.machine.script(&step(&plan, 0, Family::Memory), &[Play::After(3)]);
    bench.submit(&plan);
    bench.tick();
    assert_eq!(bench.machine.begun, [step(&plan, 0, Family::Memory)], "the release alone");
    assert_eq!(bench.executor.busy(), Families::NONE.with(Family::Memory));
    bench.tick();
    bench.tick();
    assert_eq!((gib(&bench, 0), gib(&bench, 2)), (124, 124));
    bench.settle();
    assert_eq!(bench.machine.assignment, target);
    assert_eq!(bench.now, Duration::from_secs(4), "in the very cycle in which the release ended");
    bench.tick();
    assert!(bench.executor.journal().states().iter().all(|state| *state == StepState::Succeeded));
}

#[test]
fn a_guest_that_refuses_keeps_its_share_and_only_what_needed_it_is_dropped() {
    let site = Site::new();
    let mut bench = site.bench();
    let mut target = bench.machine.assignment.clone();
    set_gib(&mut target, 0, 104);
    set_gib(&mut target, 2, 144);
    set_gib(&mut target, 1, 100);
    set_gib(&mut target, 3, 148);
    let plan = bench.plan_for(&target);
    bench.machine.script(&step(&plan, 0, Family::Memory), &[Play::RefuseAfter(2)]);
    bench.submit(&plan);
    bench.settle();
    assert_eq!((0..4).map(|vm| gib(&bench, vm)).collect::<Vec<_>>(), [124, 100, 124, 148]);
    let refused: Vec<_> = bench.events.iter().filter(|event| event.state == StepState::Refused).collect();
    assert!(refused.len() == 1 && refused[0].step == step(&plan, 0, Family::Memory));
    let dropped =
        bench.events.iter().find(|event| event.state == StepState::Dropped).expect("one is dropped");
    assert_eq!(dropped.step, step(&plan, 2, Family::Memory));
    assert!(bench.executor.stuck().is_empty());
}

#[test]
fn a_failed_step_leads_its_family_back_and_leaves_the_others_alone() {
    for play in [Play::Error, Play::FailAfter(0), Play::FailAfter(3), Play::HalfAfter(0), Play::HalfAfter(2)]
    {
        let site = Site::new();
        let mut bench = site.bench();
        let before = bench.machine.assignment.clone();
        let mut target = before.clone();
        for (vm, size, share) in [(0, 104, 5), (2, 144, 17), (1, 100, 12), (3, 148, 10)] {
            set_gib(&mut target, vm, size);
            set_cores(&mut target, vm, share);
        }
        let plan = bench.plan_for(&target);
        bench.machine.script(&step(&plan, 2, Family::Memory), &[play]);
        bench.submit(&plan);
        bench.settle();
        let expected = target.keeping(&before, Families::NONE.with(Family::Memory));
        assert_eq!(bench.machine.assignment, expected, "{play:?}");
        assert!(bench.executor.stuck().is_empty());
    }
}

#[test]
fn a_slow_device_does_not_hold_up_cpu_shares() {
    let site = Site::new();
    let mut bench = site.bench();
    let mut target = bench.machine.assignment.clone();
    target.devices.swap(0, 1);
    set_cores(&mut target, 0, 5);
    let plan = bench.plan_for(&target);
    bench.machine.script(&step(&plan, 0, Family::Fabric), &[Play::After(9)]);
    bench.submit(&plan);
    bench.tick();
    assert_eq!(cores(&bench, 0), 5);
    assert_eq!(bench.executor.busy(), Families::NONE.with(Family::Fabric));
    // A second plan may change CPU shares, and must leave the fabric alone.
    let mut target = bench.machine.assignment.clone();
    set_cores(&mut target, 2, 17);
    target.devices.swap(2, 3);
    let plan = bench.plan_for(&target);
    bench.submit(&plan);
    bench.tick();
    assert_eq!(cores(&bench, 2), 17);
    bench.settle();
    let owners: Vec<_> = bench.machine.assignment.devices[..4].iter().map(|held| held.owner).collect();
    assert_eq!(owners, [1, 0, 2, 3].map(|vm| Some(VmId(vm))), "of the first plan");
    assert!(
        bench.executor.journal().of_plan(bench.plan).all(|(_, step, _)| step.family() == Family::Compute)
    );
}

#[test]
fn what_cannot_be_undone_is_stuck_and_left_alone_and_the_rest_goes_on() {
    let site = Site::new();
    let mut bench = site.bench();
    let mut target = bench.machine.assignment.clone();
    set_gib(&mut target, 0, 104);
    set_gib(&mut target, 2, 144);
    let plan = bench.plan_for(&target);
    let grant = step(&plan, 2, Family::Memory);
    bench.machine.script(&grant, &[Play::HalfAfter(1)]);
    bench
        .machine
        .script(&grant.inverse(), &[Play::Error, Play::FailAfter(2), Play::RefuseAfter(1), Play::Done]);
    bench.submit(&plan);
    bench.settle();
    assert_eq!(stuck(&bench), [grant]);
    assert_eq!((gib(&bench, 0), gib(&bench, 2)), (104, 144), "what it was given up for is still in use");
    let mut target = bench.machine.assignment.clone();
    set_gib(&mut target, 2, 100);
    set_gib(&mut target, 1, 100);
    set_cores(&mut target, 2, 2);
    let plan = bench.plan_for(&target);
    bench.submit(&plan);
    bench.settle();
    assert_eq!((gib(&bench, 1), gib(&bench, 2), cores(&bench, 2)), (100, 144, 2));
}

#[test]
fn an_undo_that_works_at_the_third_attempt_is_no_alarm() {
    let site = Site::new();
    let mut bench = site.bench();
    let before = bench.machine.assignment.clone();
    let mut target = before.clone();
    set_gib(&mut target, 0, 104);
    set_gib(&mut target, 2, 144);
    let plan = bench.plan_for(&target);
    let (release, grant) = (step(&plan, 0, Family::Memory), step(&plan, 2, Family::Memory));
    bench.machine.script(&grant, &[Play::HalfAfter(1)]);
    bench.machine.script(&grant.inverse(), &[Play::Error, Play::FailAfter(1), Play::After(4)]);
    bench.machine.script(&release.inverse(), &[Play::Silent, Play::FailAfter(0)]);
    bench.submit(&plan);
    bench.settle();
    assert_eq!(bench.machine.assignment, before);
    assert!(bench.executor.stuck().is_empty());
}

#[test]
fn no_answer_by_the_deadline_is_a_failure() {
    let site = Site::new();
    let mut bench = site.bench();
    let before = bench.machine.assignment.clone();
    let mut target = before.clone();
    set_gib(&mut target, 1, 100);
    set_gib(&mut target, 0, 104);
    let plan = bench.plan_for(&target);
    bench.machine.script(&step(&plan, 1, Family::Memory), &[Play::Silent]);
    bench.submit(&plan);
    bench.settle();
    assert_eq!(bench.machine.assignment, before);
    // Three times what it takes and ten seconds, from the first cycle on.
    assert_eq!(bench.now, Duration::from_secs(15));
    let note = bench.events.iter().find_map(|event| event.note.clone());
    assert_eq!(note.as_deref(), Some("no answer before its deadline"));
}

#[test]
fn memory_that_did_not_move_is_not_moved_back() {
    for play in [Play::Error, Play::FailAfter(1), Play::HalfAfter(1), Play::Silent] {
        let site = Site::new();
        let mut bench = site.bench();
        let mut target = bench.machine.assignment.clone();
        target.holdings[0].memory = vec![(NodeId(0), ByteSize::gib(60)), (NodeId(2), ByteSize::gib(64))];
        let plan = bench.plan_for(&target);
        bench.submit(&plan);
        bench.settle();
        // Some of its memory is on the other node already, so that the way back can always be gone.
        let before = bench.machine.assignment.clone();
        assert_eq!(before, target);
        target.holdings[0].memory = vec![(NodeId(0), ByteSize::gib(40)), (NodeId(2), ByteSize::gib(84))];
        let plan = bench.plan_for(&target);
        bench.machine.script(&step(&plan, 0, Family::Memory), &[play]);
        bench.submit(&plan);
        bench.settle();
        assert_eq!(bench.machine.assignment, before, "{play:?}");
    }
}

#[test]
fn nothing_begins_that_the_journal_does_not_have() {
    let site = Site::new();
    let mut bench = site.bench().with_full_journal(0..9);
    let before = bench.machine.assignment.clone();
    let mut target = before.clone();
    set_gib(&mut target, 0, 104);
    set_gib(&mut target, 2, 144);
    let plan = bench.plan_for(&target);
    bench.submit(&plan);
    bench.tick();
    assert!(bench.is_idle(), "a plan that cannot be written down is given up");
    assert!(bench.machine.begun.is_empty());
    let mut bench = site.bench().with_full_journal(0..3);
    for _ in 0..3 {
        bench.submit(&plan);
        bench.tick();
        assert!(bench.machine.begun.is_empty());
    }
    bench.submit(&plan);
    bench.settle();
    assert_eq!((bench.errors, &bench.machine.assignment), (3, &target));
}

/// Wherever the journal is full for a moment, the transaction ends all the same, in one of its two states.
#[test]
fn a_journal_that_is_full_for_a_moment_leaves_no_mixture() {
    for (play, slow) in
        [(Play::Done, 0), (Play::After(2), 1), (Play::HalfAfter(2), 2), (Play::FailAfter(0), 1)]
    {
        for from in 0..30 {
            for length in 1..4 {
                let site = Site::new();
                let mut bench = site.bench().with_full_journal(from..from + length);
                let before = bench.machine.assignment.clone();
                let mut target = before.clone();
                set_gib(&mut target, 0, 104);
                set_gib(&mut target, 2, 144);
                target.devices.swap(0, 1);
                set_cores(&mut target, 0, 5);
                let plan = bench.plan_for(&target);
                bench.machine.script(&step(&plan, 0, Family::Memory), &[Play::After(slow)]);
                bench.machine.script(&step(&plan, 2, Family::Memory), &[play]);
                bench.machine.script(&step(&plan, 1, Family::Fabric), &[play]);
                bench.submit(&plan);
                bench.settle();
                for family in Family::ALL {
                    let family = Families::NONE.with(family);
                    let now = &bench.machine.assignment;
                    let is = |state: &Assignment| now.clone().keeping(state, family) == *now;
                    assert!(is(&before) || is(&target), "{play:?}, full from {from} for {length}: {now:#?}");
                }
                assert!(bench.executor.stuck().is_empty());
            }
        }
    }
}

/// A refused release leaves its grant waiting until another release makes room; then the grant was begun
/// after a step that comes later in the plan, and has to be led back before it.
#[test]
fn the_way_back_goes_by_what_was_begun_not_by_the_plan() {
    let site = Site::new();
    let mut bench = site.bench();
    let (zero, one) = (NodeId(0), NodeId(1));
    assert_eq!(bench.machine.assignment.holdings[1].memory[0].0, one);
    set_gib(&mut bench.machine.assignment, 2, 104);
    let before = bench.machine.assignment.clone();
    let mut target = before.clone();
    set_gib(&mut target, 1, 104);
    target.holdings[0].memory = vec![(zero, ByteSize::gib(104)), (one, ByteSize::gib(20))];
    target.holdings[3].memory = vec![(zero, ByteSize::gib(20)), (one, ByteSize::gib(104))];
    target.holdings[2].memory.push((NodeId(2), ByteSize::gib(10)));
    let plan = bench.plan_for(&target);
    let of = |vm| step(&plan, vm, Family::Memory);
    assert!(matches!(of(0), Step::MigrateMemory { .. }) && matches!(of(3), Step::MigrateMemory { .. }));
    bench.machine.script(&of(1), &[Play::RefuseAfter(9)]);
    bench.machine.script(&of(3), &[Play::After(2)]);
    bench.machine.script(&of(2), &[Play::FailAfter(6)]);
    bench.submit(&plan);
    bench.settle();
    let begun: Vec<&Step> = bench.machine.begun.iter().take(4).collect();
    assert_eq!(begun, [&of(1), &of(3), &of(2), &of(0)]);
    assert_eq!(bench.machine.assignment, before);
}
