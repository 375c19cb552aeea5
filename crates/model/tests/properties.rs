//! What must hold for any host, any VMs, any capabilities and any proposal: every plan, and every state
//! on the way to it and back, keeps the rules of the independent checker.

mod common;

use common::{Host, Tape, config, families, tape, wishes};
use halcyon_model::{
    Assignment, Bandwidth, Bounds, ByteSize, ChangeKind, Control, Diff, Families, Generation, MilliCpu,
    Proposal, Standing, admit, approve, check, diff, project,
};
use proptest::prelude::*;

const STANDING: Standing = Standing { snapshot: Generation(0), plan: Generation(7) };

/// Walks through a difference step by step and back, with the checker looking on.
fn walk(host: &Host, from: &Assignment, to: &Assignment, diff: &Diff) -> Result<(), TestCaseError> {
    let mut state = from.clone();
    for step in &diff.steps {
        let before = state.clone();
        prop_assert!(state.apply(step).is_ok(), "`{step}` does not apply");
        host.assert_feasible(&state, &format!("after `{step}`"))?;
        let mut undone = state.clone();
        prop_assert!(undone.apply(&step.inverse()).is_ok(), "`{step}` cannot be undone");
        prop_assert_eq!(&undone, &before, "`{}` undone", step);
    }
    prop_assert_eq!(&state, &diff.reached);
    prop_assert_eq!(diff.deferred.is_empty(), state == *to, "what was not reached is deferred");
    for step in diff.steps.iter().rev() {
        prop_assert!(state.apply(&step.inverse()).is_ok());
        host.assert_feasible(&state, &format!("after `{step}` was undone"))?;
    }
    prop_assert_eq!(&state, from);
    Ok(())
}

/// No device loses its owner for the sake of another that does not get it, and no VM has fewer GPU slices
/// than both before and after.
fn no_strays(
    host: &Host,
    from: &Assignment,
    to: &Assignment,
    reached: &Assignment,
) -> Result<(), TestCaseError> {
    for ((from, to), reached) in from.devices.iter().zip(&to.devices).zip(&reached.devices) {
        if from.owner.is_some() && to.owner.is_some() {
            prop_assert!(reached.owner.is_some(), "a device was taken and not handed over");
        }
    }
    for spec in &host.vms {
        let slices = |assignment: &Assignment| -> u32 {
            let owned = assignment.gpu_instances.iter().filter(|instance| instance.owner == spec.id);
            let gpus = host.topology.gpus();
            owned.map(|found| gpus[found.gpu.index()].profiles[found.profile as usize].compute).sum()
        };
        prop_assert!(slices(reached) >= slices(from).min(slices(to)), "{} lost its GPU", spec.name);
    }
    Ok(())
}

/// One round of the whole way from a proposal to a plan; returns what is held after it.
fn round(
    host: &Host,
    held: &Assignment,
    frozen: Families,
    proposal: &Proposal,
) -> Result<Assignment, TestCaseError> {
    let world = host.world();
    let target = project(world, held, frozen, proposal);
    host.assert_feasible(&target, "projected")?;
    prop_assert_eq!(&target.clone().keeping(held, frozen), &target, "what is frozen changed");
    let diff = diff(world, held, &target);
    walk(host, held, &target, &diff)?;
    no_strays(host, held, &target, &diff.reached)?;
    let reached = diff.reached.clone();
    match approve(world, STANDING, proposal, held, diff) {
        Ok(plan) => {
            prop_assert_eq!(plan.target(), &reached);
            prop_assert_eq!(plan.generation(), Generation(8));
        }
        Err(broken) => prop_assert!(false, "{:#?}", broken.0),
    }
    Ok(reached)
}

/// Some plans away from admission, so that the state is not always the plain one.
fn lived_in(tape: &mut Tape, rounds: usize) -> (Host, Assignment) {
    let (host, mut held) = Host::admitted(tape);
    for _ in 0..rounds {
        let proposal = wishes::plausible(tape, host.world(), &held);
        let target = project(host.world(), &held, Families::NONE, &proposal);
        held = diff(host.world(), &held, &target).reached;
    }
    (host, held)
}

/// Changes the bounds of about every second VM so that all reservations still fit: on the host, and for
/// what comes from a socket on the VM's own.
fn change_bounds(tape: &mut Tape, host: &mut Host, held: &Assignment) {
    let topology = &host.topology;
    let mut memory: u64 = topology.nodes().iter().map(|node| node.available().get()).sum();
    let mut cpu: Vec<u64> = topology.sockets().iter().map(|socket| socket.cpu().get()).collect();
    let sockets = topology.sockets().iter();
    let mut bandwidth: Vec<u64> = sockets.map(|socket| topology.memory_bandwidth(socket.id).get()).collect();
    for (spec, holding) in host.vms.iter().zip(&held.holdings) {
        memory -= spec.memory.reservation.get();
        cpu[holding.socket.index()] -= spec.cpu.reservation.get();
        bandwidth[holding.socket.index()] -= spec.memory_bandwidth.reservation.get();
    }
    let mut bounds = |before: u64, room: &mut u64| {
        *room += before;
        let reservation = if tape.chance(1, 3) { 0 } else { tape.between(0, (2 * before).min(*room)) };
        *room -= reservation;
        (reservation, reservation + tape.between(0, reservation / 2 + 1))
    };
    for (position, spec) in host.vms.iter_mut().enumerate().filter(|(position, _)| position % 2 == 0) {
        let socket = held.holdings[position].socket.index();
        let (least, most) = bounds(spec.cpu.reservation.get(), &mut cpu[socket]);
        spec.cpu = Bounds { reservation: MilliCpu::new(least), limit: MilliCpu::new(most) };
        let (least, most) = bounds(spec.memory.reservation.get(), &mut memory);
        spec.memory = Bounds { reservation: ByteSize::new(least), limit: ByteSize::new(most) };
        let (least, most) = bounds(spec.memory_bandwidth.reservation.get(), &mut bandwidth[socket]);
        spec.memory_bandwidth = Bounds { reservation: Bandwidth::new(least), limit: Bandwidth::new(most) };
    }
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn what_is_admitted_keeps_the_rules(mut tape in tape(1200)) {
        let host = Host::crowded(&mut tape);
        if let Ok(assignment) = admit(host.world()) {
            host.assert_feasible(&assignment, "admitted")?;
        }
    }

    #[test]
    fn ten_plans_one_after_another_keep_the_rules_at_every_step(mut tape in tape(8000)) {
        let (host, mut held) = Host::admitted(&mut tape);
        for _ in 0..10 {
            let proposal = wishes::proposal(&mut tape, host.world(), &held);
            held = round(&host, &held, families(&mut tape), &proposal)?;
        }
    }

    /// Two feasible states that no projection led from one to the other, as after a restart.
    #[test]
    fn any_feasible_state_is_left_for_any_other_safely(mut tape in tape(5000)) {
        let (host, from) = lived_in(&mut tape, 2);
        let proposal = wishes::plausible(&mut tape, host.world(), &from);
        let mut to = project(host.world(), &from, Families::NONE, &proposal);
        common::shuffle::shuffle(&mut tape, &host, &mut to);
        let diff = diff(host.world(), &from, &to);
        walk(&host, &from, &to, &diff)?;
        no_strays(&host, &from, &to, &diff.reached)?;
    }

    #[test]
    fn the_order_of_wishes_for_different_vms_means_nothing(mut tape in tape(3500)) {
        let (host, held) = lived_in(&mut tape, 1);
        let mut proposal = wishes::plausible(&mut tape, host.world(), &held);
        let target = project(host.world(), &held, Families::NONE, &proposal);
        tape.shuffle(&mut proposal.vms);
        prop_assert_eq!(project(host.world(), &held, Families::NONE, &proposal), target);
    }

    /// Exactly, whatever the granularity: a wish for what is held is not rounded.
    #[test]
    fn wishing_for_what_is_held_changes_nothing(mut tape in tape(3500)) {
        let (host, held) = lived_in(&mut tape, 2);
        let target = project(host.world(), &held, Families::NONE, &wishes::echo(&held));
        prop_assert_eq!(target, held);
    }

    /// Projection is a projection: what came out of it is wished for again and comes out alike.
    #[test]
    fn projecting_twice_is_projecting_once(mut tape in tape(3500)) {
        let (host, held) = lived_in(&mut tape, 1);
        let proposal = wishes::proposal(&mut tape, host.world(), &held);
        let once = project(host.world(), &held, Families::NONE, &proposal);
        let twice = project(host.world(), &once, Families::NONE, &wishes::echo(&once));
        prop_assert_eq!(twice, once);
    }

    /// What is held is out of its bounds then, and whoever wishes for nothing is moved into them.
    #[test]
    fn bounds_that_change_are_kept_again_after_one_plan(mut tape in tape(3500)) {
        let (mut host, held) = lived_in(&mut tape, 2);
        for kind in [ChangeKind::Cpu, ChangeKind::MemoryBandwidth, ChangeKind::Memory] {
            let control = *host.capabilities.get(kind).unwrap_or(&Control::FREE);
            host.capabilities = host.capabilities.with(kind, Some(control));
        }
        change_bounds(&mut tape, &mut host, &held);
        let proposal = Proposal::default();
        let target = project(host.world(), &held, Families::NONE, &proposal);
        host.assert_feasible(&target, "projected")?;
        let diff = diff(host.world(), &held, &target);
        prop_assert!(diff.deferred.is_empty(), "{:?} waits", diff.deferred);
        prop_assert!(approve(host.world(), STANDING, &proposal, &held, diff).is_ok());
        prop_assert_eq!(project(host.world(), &target, Families::NONE, &proposal), target);
    }

    /// What was read from a machine may break any rule but completeness.
    #[test]
    fn a_state_that_breaks_rules_is_judged_without_a_panic(mut tape in tape(4000)) {
        let (host, mut held) = lived_in(&mut tape, 1);
        let (proposal, mad) =
            (wishes::plausible(&mut tape, host.world(), &held), wishes::garbage(&mut tape, host.world()));
        common::drift::drift(&mut tape, &host, &mut held);
        for proposal in [proposal, mad] {
            let target = project(host.world(), &held, Families::NONE, &proposal);
            let diff = diff(host.world(), &held, &target);
            let _ = check(host.world(), &diff.reached);
            let _ = approve(host.world(), STANDING, &proposal, &held, diff);
        }
    }
}
