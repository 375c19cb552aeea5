//! Several steps under way at once, ending in any order, some of them without effect: whoever begins only
//! what the ledger allows keeps the host feasible at every instant.
//!
//! Steps of one subject (a VM's compute, its memory, a device, …) follow one another, as each names what it
//! starts from; all others overlap freely.

mod common;

use common::{Host, Tape, config, tape, wishes};
use halcyon_model::{Assignment, DeviceId, Families, Ledger, LinkId, Step, VmId, diff, project};
use proptest::prelude::*;

/// What a step changes, so that two steps of one subject do not overlap.
#[derive(Debug, PartialEq)]
enum Subject {
    Compute(VmId),
    Memory(VmId),
    VmClass(VmId),
    Class(u32),
    Device(DeviceId),
    Link(LinkId),
    Instance(u32, u32),
}

fn subject(step: &Step) -> Subject {
    match step {
        Step::SetCpu { vm, .. } | Step::SetMemoryBandwidth { vm, .. } | Step::Place { vm, .. } => {
            Subject::Compute(*vm)
        }
        Step::SetMemory { vm, .. } | Step::MigrateMemory { vm, .. } => Subject::Memory(*vm),
        Step::SetClass { vm, .. } => Subject::VmClass(*vm),
        Step::CreateClass { class, .. } | Step::RemoveClass { class, .. } | Step::SetMask { class, .. } => {
            Subject::Class(class.0)
        }
        Step::Detach { devices, .. } | Step::Attach { devices, .. } => Subject::Device(devices[0].0),
        Step::SetDeviceBandwidth { device, .. } => Subject::Device(*device),
        Step::SetLink { link, .. } => Subject::Link(*link),
        Step::CreateInstance { instance } | Step::DestroyInstance { instance } => {
            Subject::Instance(instance.gpu.0, instance.start)
        }
    }
}

struct Run<'a> {
    host: &'a Host,
    ledger: Ledger<'a>,
    applied: Assignment,
    waiting: Vec<Step>,
    under_way: Vec<Step>,
}

impl<'a> Run<'a> {
    fn new(host: &'a Host, held: &Assignment, waiting: Vec<Step>) -> Self {
        let ledger = Ledger::new(host.world(), held);
        Self { host, ledger, applied: held.clone(), waiting, under_way: Vec::new() }
    }

    /// Begins one of the steps that can begin now, if any.
    fn begin_one(&mut self, tape: &mut Tape) -> bool {
        let can = |step: &&Step| {
            let alone = self.under_way.iter().all(|other| subject(other) != subject(step));
            alone && self.applied.matches(step) && self.ledger.allows(step)
        };
        let ready: Vec<_> = self.waiting.iter().filter(can).cloned().collect();
        if ready.is_empty() {
            return false;
        }
        let step = tape.pick(&ready).clone();
        self.waiting.retain(|other| *other != step);
        self.ledger.begin(&step);
        self.under_way.push(step);
        true
    }

    /// Ends one step under way, one in four without effect.
    fn end_one(&mut self, tape: &mut Tape) -> Result<(), TestCaseError> {
        let step = self.under_way.swap_remove(tape.below(self.under_way.len()));
        if tape.chance(1, 4) {
            self.ledger.cancel(&step);
        } else {
            prop_assert!(self.applied.apply(&step).is_ok(), "`{step}` does not apply");
            self.ledger.finish(&step);
        }
        Ok(())
    }

    /// A step under way may or may not have had its effect: the rules hold for none of them, for all of
    /// them, for each alone and for some of them.
    fn assert_feasible_whatever_ends(&self, tape: &mut Tape) -> Result<(), TestCaseError> {
        let count = self.under_way.len();
        let alone = (0..count).map(|index| vec![index]);
        let some = (0..4).map(|_| (0..count).filter(|_| tape.chance(1, 2)).collect());
        for chosen in [vec![], (0..count).collect()].into_iter().chain(alone).chain(some) {
            let mut state = self.applied.clone();
            for index in &chosen {
                prop_assert!(state.apply(&self.under_way[*index]).is_ok());
            }
            let ended: Vec<_> = chosen.iter().map(|index| self.under_way[*index].to_string()).collect();
            self.host.assert_feasible(&state, &format!("with {ended:?} done"))?;
        }
        worst_case(self.host, &self.applied, &self.under_way)
    }
}

/// Counts every amount on both sides of each step under way: sockets, nodes and pools hold both what a step
/// leaves and what it takes; links carry the most that may be asked with the least that they may be set to.
fn worst_case(host: &Host, applied: &Assignment, under_way: &[Step]) -> Result<(), TestCaseError> {
    let topology = &host.topology;
    let after = |index: usize| {
        let mut state = applied.clone();
        state.apply(&under_way[index]).map(|()| state)
    };
    let before = totals(host, applied);
    let mut worst = before.clone();
    for index in 0..under_way.len() {
        let state = after(index).map_err(|mismatch| TestCaseError::fail(mismatch.to_string()))?;
        let totals = totals(host, &state);
        for ((worst, after), before) in worst.iter_mut().zip(totals).zip(&before) {
            *worst += (after - before).max(0);
        }
    }
    let capacities = (topology.sockets().iter().map(|socket| socket.cpu().get()))
        .chain(topology.sockets().iter().map(|socket| topology.memory_bandwidth(socket.id).get()))
        .chain(topology.nodes().iter().map(|node| node.available().get()))
        .chain(topology.fabric().pools.iter().map(|pool| u64::from(pool.lanes)))
        .chain(topology.fabric().links.iter().map(|_| 0));
    for (index, (worst, capacity)) in worst.into_iter().zip(capacities).enumerate() {
        prop_assert!(worst <= i128::from(capacity), "account {index} may reach {worst} of {capacity}");
    }
    Ok(())
}

/// What is taken of each socket's CPU time and memory bandwidth, each node and each pool; and for each link
/// what is granted below it less what it carries.
fn totals(host: &Host, state: &Assignment) -> Vec<i128> {
    let fabric = host.topology.fabric();
    let (sockets, nodes) = (host.topology.sockets().len(), host.topology.nodes().len());
    let pools_from = 2 * sockets + nodes;
    let links_from = pools_from + fabric.pools.len();
    let mut totals = vec![0_i128; links_from + fabric.links.len()];
    for holding in &state.holdings {
        totals[holding.socket.index()] += i128::from(holding.cpu.share.get());
        totals[sockets + holding.socket.index()] += i128::from(holding.memory_bandwidth.share.get());
        for (node, size) in &holding.memory {
            totals[2 * sockets + node.index()] += i128::from(size.get());
        }
    }
    for (index, held) in state.devices.iter().enumerate() {
        for link in fabric.route(DeviceId::at(index)) {
            totals[links_from + link.index()] += i128::from(held.bandwidth.share.get());
        }
    }
    for (link, setting) in fabric.links.iter().zip(&state.links) {
        totals[links_from + link.id.index()] -= i128::from(setting.bandwidth().get());
        if let Some(pool) = fabric.ports[link.upper.index()].pool {
            totals[pools_from + pool.index()] += i128::from(setting.width.get());
        }
    }
    totals
}

proptest! {
    #![proptest_config(config(1000))]

    #[test]
    fn every_instant_is_feasible_in_whatever_order_steps_end(mut tape in tape(5000)) {
        let (host, held) = Host::admitted(&mut tape);
        let world = host.world();
        let first = project(world, &held, Families::NONE, &wishes::plausible(&mut tape, world, &held));
        let held = diff(world, &held, &first).reached;
        let mut target =
            project(world, &held, Families::NONE, &wishes::plausible(&mut tape, world, &held));
        common::shuffle::shuffle(&mut tape, &host, &mut target);
        let plan = diff(world, &held, &target);
        // Those that were put off belong to a later plan, which starts from what this one reaches.
        let mut run = Run::new(&host, &held, plan.steps);
        loop {
            let width = 1 + tape.below(6);
            while run.under_way.len() < width && run.begin_one(&mut tape) {}
            run.assert_feasible_whatever_ends(&mut tape)?;
            if run.under_way.is_empty() {
                break;
            }
            run.end_one(&mut tape)?;
        }
        let reopened = Ledger::new(world, &run.applied);
        prop_assert_eq!(format!("{:?}", run.ledger), format!("{reopened:?}"));
    }
}
