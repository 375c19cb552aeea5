//! What others granted, brought into what each VM is promised and may reach.

use halcyon_model::{Assignment, Grant, Holding, MilliCpu, Step, VmSpec, World};

/// CPU time as it counts, of what files say: nobody uses more than its limit, whatever its ceiling; and
/// shares that are more than the socket has count in proportion, as weights do. Whether anything is otherwise
/// than the files say.
pub(super) fn settle(world: World<'_>, held: &mut Assignment) -> bool {
    let mut changed = false;
    for (spec, holding) in world.vms.iter().zip(&mut held.holdings) {
        let said = holding.cpu;
        holding.cpu.ceiling = said.ceiling.min(spec.cpu.limit).max(spec.cpu.reservation);
        holding.cpu.share = said.share.min(holding.cpu.ceiling).max(spec.cpu.reservation);
        changed |= holding.cpu != said;
    }
    for socket in world.topology.sockets() {
        let there = |holding: &&Holding| holding.socket == socket.id;
        let shares: u64 = held.holdings.iter().filter(there).map(|holding| holding.cpu.share.get()).sum();
        if shares <= socket.cpu().get() {
            continue;
        }
        changed = true;
        // What is promised stays; what is above it gives way in proportion.
        let promised = |spec: &VmSpec| spec.cpu.reservation.get();
        let pairs =
            || world.vms.iter().zip(&held.holdings).filter(|(_, holding)| holding.socket == socket.id);
        let firm: u64 = pairs().map(|(spec, _)| promised(spec)).sum();
        let room = u128::from(socket.cpu().get().saturating_sub(firm));
        let above = u128::from(shares.saturating_sub(firm).max(1));
        for (spec, holding) in world.vms.iter().zip(&mut held.holdings) {
            if holding.socket == socket.id {
                let extra = u128::from(holding.cpu.share.get().saturating_sub(promised(spec)));
                let extra = u64::try_from(extra * room / above).unwrap_or(u64::MAX);
                holding.cpu.share = MilliCpu::new(promised(spec) + extra);
            }
        }
    }
    changed
}

/// The changes that make the machine say what counts.
pub(super) fn steps(world: World<'_>, held: &Assignment) -> Vec<Step> {
    let mut settled = held.clone();
    settle(world, &mut settled);
    let changed = held.holdings.iter().zip(&settled.holdings).filter(|(from, to)| from.cpu != to.cpu);
    changed.map(|(from, to)| set(from, to.cpu)).collect()
}

fn set(from: &Holding, to: Grant<MilliCpu>) -> Step {
    Step::SetCpu { vm: from.vm, socket: from.socket, from: from.cpu, to }
}
