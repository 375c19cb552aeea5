//! GPU instances that are replaced, where VMs must hold slices at every instant.

use halcyon_model::describe::parse_host;
use halcyon_model::*;

const TWO_SOCKET: &str = include_str!("../../../examples/hosts/two-socket.toml");

/// Profiles of the A100, in the order of the host file.
const ONE: u32 = 0;
const TWO: u32 = 1;
const THREE: u32 = 2;

struct Case {
    topology: Topology,
    vms: Vec<VmSpec>,
    capabilities: Capabilities,
}

fn vm(id: u32, reservation: u32, limit: u32) -> VmSpec {
    VmSpec {
        id: VmId(id),
        name: format!("guest-{id}"),
        vcpus: 1,
        weight: Weight::DEFAULT,
        cpu: Bounds { reservation: MilliCpu::ZERO, limit: MilliCpu::cores(1) },
        memory: Bounds::default(),
        memory_bandwidth: Bounds::default(),
        devices: Vec::new(),
        gpu_slices: Bounds { reservation, limit },
        objective: Objective::Throughput,
        application: None,
    }
}

fn on(start: u32, profile: u32, owner: u32) -> GpuInstance {
    GpuInstance { gpu: GpuId(0), start, profile, owner: VmId(owner) }
}

impl Case {
    /// VMs that must hold one slice each.
    fn of(limits: &[u32]) -> Self {
        let topology = parse_host(TWO_SOCKET).expect("the demo host is described well").topology;
        let names: Vec<_> = topology.gpus()[0].profiles.iter().map(|profile| profile.compute).collect();
        assert_eq!(names[..3], [1, 2, 3]);
        let vms = limits.iter().zip(0..).map(|(limit, id)| vm(id, 1, *limit)).collect();
        Self { topology, vms, capabilities: Capabilities::free() }
    }

    /// From what is held to what is wished for: what is reached, and how many steps wait.
    #[track_caller]
    fn plan(&self, held: &[GpuInstance], wished: &[GpuInstance]) -> (Vec<GpuInstance>, Plan) {
        let world = World { topology: &self.topology, vms: &self.vms, capabilities: &self.capabilities };
        let mut from = admit(world).expect("they fit");
        from.gpu_instances = held.to_vec();
        check(world, &from).expect("held is feasible");
        let instances = Some((wished.to_vec(), Reason::Fit));
        let proposal = Proposal { gpu_instances: instances, ..Proposal::default() };
        let target = project(world, &from, Families::NONE, &proposal);
        let difference = diff(world, &from, &target);
        let mut state = from.clone();
        for step in &difference.steps {
            state.apply(step).expect("each step fits");
            check(world, &state).unwrap_or_else(|broken| panic!("after `{step}`: {broken}"));
        }
        let reached = difference.reached.gpu_instances.clone();
        let standing = Standing { snapshot: Generation(0), plan: Generation(0) };
        (reached, approve(world, standing, &proposal, &from, difference).expect("approved"))
    }
}

#[test]
fn a_larger_instance_is_made_before_the_smaller_one_goes() {
    let (reached, plan) = Case::of(&[3]).plan(&[on(0, ONE, 0)], &[on(2, TWO, 0)]);
    assert_eq!(reached, [on(2, TWO, 0)]);
    let steps: Vec<_> = plan.changes().iter().map(|change| &change.step).collect();
    assert!(matches!(steps[..], [Step::CreateInstance { .. }, Step::DestroyInstance { .. }]), "{steps:?}");
}

#[test]
fn what_cannot_be_held_side_by_side_stays_as_it_is() {
    // Both together are more than it may have.
    let (reached, plan) = Case::of(&[2]).plan(&[on(0, ONE, 0)], &[on(2, TWO, 0)]);
    assert_eq!(reached, [on(0, ONE, 0)]);
    assert!(plan.changes().is_empty() && plan.deferred().len() == 2);
    // The new one is to lie where the old one is.
    let (reached, plan) = Case::of(&[3]).plan(&[on(0, ONE, 0)], &[on(0, TWO, 0)]);
    assert_eq!(reached, [on(0, ONE, 0)]);
    assert!(plan.changes().is_empty() && plan.deferred().len() == 2);
}

#[test]
fn two_vms_swap_sizes_where_there_is_room_and_stay_where_there_is_none() {
    let case = Case::of(&[3, 3, 4, 1]);
    let full = [on(0, ONE, 0), on(1, ONE, 3), on(2, TWO, 1), on(4, THREE, 2)];
    let swapped = [on(0, ONE, 1), on(1, ONE, 3), on(2, TWO, 0), on(4, THREE, 2)];
    let (reached, plan) = case.plan(&full, &swapped);
    assert_eq!(reached, full);
    assert!(plan.changes().is_empty() && plan.deferred().len() == 4);

    let case = Case::of(&[3, 3, 4]);
    let held = [on(0, ONE, 0), on(2, TWO, 1), on(4, THREE, 2)];
    let wished = [on(1, ONE, 1), on(2, TWO, 0), on(4, THREE, 2)];
    let (reached, plan) = case.plan(&held, &wished);
    assert_eq!(reached, wished);
    assert!(plan.deferred().is_empty());
}

/// One VM's change that cannot be leaves the others' on the same GPU alone.
#[test]
fn one_that_waits_does_not_hold_up_the_others() {
    let mut case = Case::of(&[2, 3, 3, 3]);
    case.vms[3].gpu_slices.reservation = 0;
    let held = [on(0, ONE, 0), on(1, ONE, 1), on(4, TWO, 3)];
    let held = [held.as_slice(), &[on(6, ONE, 2)]].concat();
    // The first cannot grow; the last gives way to the second, and both of them can.
    let wished = [on(2, TWO, 0), on(4, TWO, 1), on(1, ONE, 3), on(6, ONE, 2)];
    let (reached, plan) = case.plan(&held, &wished);
    assert_eq!(reached, [on(0, ONE, 0), on(1, ONE, 3), on(4, TWO, 1), on(6, ONE, 2)]);
    assert_eq!(plan.deferred().len(), 2);

    // Nobody loses slices for another that then has to wait: the place goes back.
    let held = [on(0, ONE, 0), on(2, TWO, 3)];
    let held = [held.as_slice(), &[on(4, ONE, 1), on(5, ONE, 2)]].concat();
    let wished = [on(2, TWO, 0), on(0, ONE, 3), on(4, ONE, 1), on(6, ONE, 2)];
    let (reached, _) = case.plan(&held, &wished);
    assert_eq!(reached, [on(0, ONE, 0), on(2, TWO, 3), on(4, ONE, 1), on(6, ONE, 2)]);
}

#[test]
fn slices_above_a_limit_that_was_lowered_are_given_back() {
    let mut case = Case::of(&[7, 7]);
    case.vms[1].gpu_slices.reservation = 0;
    let held = [on(0, ONE, 0), on(2, TWO, 0), on(4, THREE, 1)];
    case.vms[0].gpu_slices.limit = 2;
    case.vms[1].gpu_slices.limit = 1;
    let world = World { topology: &case.topology, vms: &case.vms, capabilities: &case.capabilities };
    let mut from = admit(world).expect("they fit");
    from.gpu_instances = held.to_vec();
    let target = project(world, &from, Families::NONE, &Proposal::default());
    check(world, &target).expect("feasible");
    assert_eq!(target.gpu_instances, [on(2, TWO, 0)]);
    assert_eq!(diff(world, &from, &target).reached, target);
}
