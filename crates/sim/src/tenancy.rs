//! VMs start and stop while the host runs.
//!
//! A VM that starts needs its reservation at once. The hypervisor takes what is free; where that is too
//! little it lowers the CPU shares of the others and has the host reclaim memory from those that hold
//! more than their reservation, in proportion, without asking their guests: they page until somebody
//! gives it back. A VM that does not fit even so waits at the door. What it is asked there counts as not
//! served, whether it is let in later or never, so that nobody gains by keeping VMs out.

use std::sync::Arc;

use halcyon_hal::Inventory;
use halcyon_model::{
    Assignment, Bandwidth, ByteSize, ClassId, DeviceHolding, Grant, Holding, MilliCpu, NodeId, SocketId,
    VmId, VmSpec,
};

use crate::host::{SimHost, boot};
use crate::vm::Vm;

impl SimHost {
    /// Lets those go whose time is over, and those in for whom there is room.
    pub(crate) fn come_and_go(&mut self) {
        let over = |vm: &Vm| vm.leaves.is_some_and(|leaves| self.now >= leaves);
        let due = self.coming.last().is_some_and(|guest| self.now >= guest.arrives);
        if !due && self.outside.is_empty() && !self.vms.iter().any(over) {
            return;
        }
        let mut position = 0;
        while position < self.vms.len() {
            if self.vms[position].leaves.is_some_and(|leaves| self.now >= leaves) {
                self.leave(position);
            } else {
                position += 1;
            }
        }
        while let Some(guest) = self.coming.pop_if(|guest| self.now >= guest.arrives) {
            let memory = guest.spec.memory.reservation.as_f64();
            self.outside.push(boot(guest, &self.inventory.topology, &self.parameters, self.seed, memory));
        }
        for (spec, vm) in std::mem::take(&mut self.outside) {
            if vm.leaves.is_some_and(|leaves| self.now >= leaves) {
                self.bury(&spec, vm);
            } else if let Some(after) = self.room_for(&spec) {
                self.enter(spec, vm, after);
            } else {
                self.outside.push((spec, vm));
            }
        }
        self.compute.place(&self.assignment);
        self.fabric.follow(&self.inventory.topology, &self.assignment, self.inventory.world());
        self.follow_instances();
    }

    /// Keeps what became of a VM that is gone.
    fn bury(&mut self, spec: &VmSpec, mut vm: Vm) {
        vm.close_window(spec.objective);
        self.gone.push((spec.id, spec.weight.as_f64(), vm.score));
    }

    fn leave(&mut self, position: usize) {
        let id = self.inventory.vms[position].id;
        self.abandon(id);
        let inventory = Arc::make_mut(&mut self.inventory);
        let spec = inventory.vms.remove(position);
        let vm = self.vms.remove(position);
        self.bury(&spec, vm);
        self.assignment.holdings.remove(position);
        for device in self.assignment.devices.iter_mut().filter(|device| device.owner == Some(id)) {
            *device = DeviceHolding::default();
        }
        self.assignment.gpu_instances.retain(|instance| instance.owner != id);
    }

    fn enter(&mut self, spec: VmSpec, vm: Vm, after: Assignment) {
        for (vm, holding) in self.vms.iter_mut().zip(without(&after, spec.id)) {
            vm.memory = vm.memory.min(holding.total_memory().as_f64());
        }
        let inventory = Arc::make_mut(&mut self.inventory);
        let position = inventory.vms.partition_point(|known| known.id < spec.id);
        inventory.vms.insert(position, spec);
        self.vms.insert(position, vm);
        self.assignment = after;
    }

    /// The assignment with one more VM in it, or nothing if its reservation does not fit now. VMs that
    /// reserve devices or GPU slices get them from what nobody holds.
    fn room_for(&self, spec: &VmSpec) -> Option<Assignment> {
        let mut after = self.assignment.clone();
        let socket = self.roomiest_socket(spec)?;
        let members: Vec<usize> =
            (0..after.holdings.len()).filter(|position| after.holdings[*position].socket == socket).collect();
        let Inventory { topology, vms, .. } = &*self.inventory;
        let there = topology.sockets()[socket.index()].cpu().get().checked_sub(spec.cpu.reservation.get())?;
        let least = |position: usize| vms[position].cpu.reservation.get();
        let shares: Vec<_> =
            members.iter().map(|at| (after.holdings[*at].cpu.share.get(), least(*at))).collect();
        for (at, share) in members.iter().zip(squeeze(&shares, there)?) {
            after.holdings[*at].cpu.share = MilliCpu::new(share);
        }
        let there = topology.memory_bandwidth(socket).get();
        let there = there.checked_sub(spec.memory_bandwidth.reservation.get())?;
        let least = |position: usize| vms[position].memory_bandwidth.reservation.get();
        let shares: Vec<_> =
            members.iter().map(|at| (after.holdings[*at].memory_bandwidth.share.get(), least(*at))).collect();
        for (at, share) in members.iter().zip(squeeze(&shares, there)?) {
            after.holdings[*at].memory_bandwidth.share = Bandwidth::new(share);
        }
        let memory = self.make_memory_room(spec, socket, &mut after)?;
        let holding = Holding {
            vm: spec.id,
            socket,
            cpu: Grant { share: spec.cpu.reservation, ceiling: spec.cpu.limit },
            memory_bandwidth: Grant {
                share: spec.memory_bandwidth.reservation,
                ceiling: spec.memory_bandwidth.limit,
            },
            memory,
            class: ClassId(0),
        };
        let place = after.holdings.partition_point(|held| held.vm < spec.id);
        after.holdings.insert(place, holding);
        let needs_devices = spec.devices.iter().any(|wish| wish.count.reservation > 0);
        // What has to be plugged in before a VM boots is drawn for VMs that are there from the start only.
        (!needs_devices && spec.gpu_slices.reservation == 0).then_some(after)
    }

    /// The socket whose reservations leave most of it.
    fn roomiest_socket(&self, spec: &VmSpec) -> Option<SocketId> {
        let Inventory { topology, vms, .. } = &*self.inventory;
        let reserved = |socket: SocketId| -> MilliCpu {
            let here = vms.iter().zip(&self.assignment.holdings).filter(|(_, held)| held.socket == socket);
            here.map(|(spec, _)| spec.cpu.reservation).sum()
        };
        let left = topology.sockets().iter().map(|socket| {
            let left = socket.cpu().saturating_sub(reserved(socket.id));
            (left, socket.id)
        });
        let fits = left.filter(|(left, _)| *left >= spec.cpu.reservation);
        fits.max_by_key(|(left, socket)| (*left, std::cmp::Reverse(*socket))).map(|(_, socket)| socket)
    }

    /// Memory for a reservation, nearest nodes first; what is not free is reclaimed from others.
    fn make_memory_room(
        &self,
        spec: &VmSpec,
        socket: SocketId,
        after: &mut Assignment,
    ) -> Option<Vec<(NodeId, ByteSize)>> {
        let Inventory { topology, vms, .. } = &*self.inventory;
        let (growing, moving) = self.memory_under_way();
        let mut rest = spec.memory.reservation.get();
        let mut taken = Vec::new();
        for node in topology.nearest_nodes(socket) {
            let held: u64 = after.holdings.iter().map(|holding| holding.memory_on(*node).get()).sum();
            let there = topology.nodes()[node.index()].available().get();
            let free = there.saturating_sub(held).saturating_sub(growing[node.index()]);
            let spare: Vec<u64> = vms
                .iter()
                .zip(&after.holdings)
                .map(|(spec, holding)| {
                    let above = holding.total_memory().saturating_sub(spec.memory.reservation);
                    if moving.contains(&spec.id) { 0 } else { above.min(holding.memory_on(*node)).get() }
                })
                .collect();
            let here = rest.min(free + spare.iter().sum::<u64>());
            reclaim(here.saturating_sub(free), &spare, *node, after);
            rest -= here;
            if here > 0 {
                taken.push((*node, ByteSize::new(here)));
            }
        }
        taken.sort_by_key(|(node, _)| *node);
        (rest == 0).then_some(taken)
    }
}

fn without(assignment: &Assignment, vm: VmId) -> impl Iterator<Item = &Holding> {
    assignment.holdings.iter().filter(move |holding| holding.vm != vm)
}

/// Takes `wanted` bytes on a node from VMs, in proportion to what each can spare there.
fn reclaim(wanted: u64, spare: &[u64], node: NodeId, after: &mut Assignment) {
    let total: u128 = spare.iter().map(|spare| u128::from(*spare)).sum();
    if wanted == 0 || total == 0 {
        return;
    }
    let mut missing = wanted;
    for (spare, holding) in spare.iter().zip(&mut after.holdings) {
        // Rounded up, so that the last one is never asked for more than it has.
        let part = (u128::from(*spare) * u128::from(wanted)).div_ceil(total);
        let part = u64::try_from(part).unwrap_or(u64::MAX).min(missing).min(*spare);
        missing -= part;
        if let Some(entry) = holding.memory.iter_mut().find(|(held, _)| *held == node) {
            entry.1 -= ByteSize::new(part);
        }
        holding.memory.retain(|(_, size)| !size.is_zero());
    }
}

/// Shares that add up to at most `there`, each with its least; what is above that shrinks alike. Nothing
/// if the least do not fit.
fn squeeze(shares: &[(u64, u64)], there: u64) -> Option<Vec<u64>> {
    let asked: u64 = shares.iter().map(|(share, _)| share).sum();
    if asked <= there {
        return Some(shares.iter().map(|(share, _)| *share).collect());
    }
    let firm: u64 = shares.iter().map(|(share, least)| share.min(least)).sum();
    let (room, extra) = (there.checked_sub(firm)?, asked - firm);
    let part = |(share, least): &(u64, u64)| {
        let kept = u128::from(share.saturating_sub(*least)) * u128::from(room) / u128::from(extra.max(1));
        share.min(least) + u64::try_from(kept).unwrap_or(0)
    };
    Some(shares.iter().map(part).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_squeezed_to_their_least_and_no_further() {
        assert_eq!(squeeze(&[(10, 2), (20, 0)], 40), Some(vec![10, 20]));
        assert_eq!(squeeze(&[(10, 2), (20, 0)], 16), Some(vec![6, 10]));
        assert_eq!(squeeze(&[(10, 2), (20, 0)], 1), None);
    }
}
