//! What is free at this instant, changes under way included.
//!
//! Every step is posted to accounts. What a step takes counts from the moment that it begins; what it
//! gives back counts only when it is done. Whoever starts only steps that the ledger allows therefore
//! keeps the host feasible at every instant, in whatever order the steps end. Steps of one subject (a VM's
//! compute, its memory, a device, …) follow one another, as each names what it starts from, and a step
//! begins only when it [matches](Assignment::matches) what is held.

use crate::assignment::{Assignment, GpuInstance, Grant};
use crate::ids::{DeviceId, LinkId, NodeId, SocketId, VmId};
use crate::step::Step;
use crate::topology::{DeviceClass, LinkSetting};
use crate::units::{Bandwidth, MilliCpu};
use crate::vm::VmSpec;
use crate::world::World;

const CLASSES: usize = DeviceClass::ALL.len();
/// Per VM: memory, devices of each class, GPU slices.
const PER_VM: usize = 1 + CLASSES + 1;

/// Amounts are signed so that an account can be overdrawn by a state that was read, not planned.
#[derive(Debug, Clone, Copy)]
struct Account {
    /// Counted as taken: what is held, and what is on its way.
    high: i128,
    /// Counted as held for sure: what is held, less what is on its way out.
    low: i128,
    least: i128,
    most: i128,
}

impl Account {
    fn between(least: i128, most: u64) -> Self {
        Self { high: 0, low: 0, least, most: amount(most) }
    }

    fn up_to(most: u64) -> Self {
        Self::between(i128::MIN, most)
    }

    fn allows(self, change: i128) -> bool {
        if change > 0 { self.high + change <= self.most } else { self.low + change >= self.least }
    }
}

/// Accounts of one host.
#[derive(Debug, Clone)]
pub struct Ledger<'a> {
    world: World<'a>,
    accounts: Vec<Account>,
    gpu_slots: Vec<usize>,
}

/// Memory, devices of each class, and GPU slices of a VM.
fn of_vm(vm: &VmSpec) -> [Account; PER_VM] {
    let memory = Account::between(amount(vm.memory.reservation.get()), vm.memory.limit.get());
    let slices = Account::between(i128::from(vm.gpu_slices.reservation), u64::from(vm.gpu_slices.limit));
    let mut accounts = [memory; PER_VM];
    for (class, _) in DeviceClass::ALL {
        let count = vm.wish(class).map_or_else(Default::default, |wish| wish.count);
        accounts[1 + class as usize] =
            Account::between(i128::from(count.reservation), u64::from(count.limit));
    }
    accounts[1 + CLASSES] = slices;
    accounts
}

/// Wide enough that no sum of amounts, however hostile, overflows.
fn amount(raw: u64) -> i128 {
    i128::from(raw)
}

impl<'a> Ledger<'a> {
    /// Opens the books on what is held now.
    #[must_use]
    pub fn new(world: World<'a>, held: &Assignment) -> Self {
        let mut ledger = Self { world, accounts: Vec::new(), gpu_slots: Vec::new() };
        ledger.open();
        ledger.carry_forward(held);
        ledger
    }

    fn open(&mut self) {
        let World { topology, vms, .. } = self.world;
        let fabric = topology.fabric();
        let up_to = Account::up_to;
        let accounts = &mut self.accounts;
        accounts.reserve(vms.len() * PER_VM + fabric.links.len() + fabric.pools.len());
        accounts.extend(topology.sockets().iter().map(|socket| up_to(socket.cpu().get())));
        accounts.extend(
            topology.sockets().iter().map(|socket| up_to(topology.memory_bandwidth(socket.id).get())),
        );
        accounts.extend(topology.nodes().iter().map(|node| up_to(node.available().get())));
        // A link's account has no fixed capacity: its setting is posted like a taking, below zero.
        accounts.extend(fabric.links.iter().map(|_| up_to(0)));
        accounts.extend(fabric.pools.iter().map(|pool| up_to(u64::from(pool.lanes))));
        vms.iter().for_each(|vm| accounts.extend_from_slice(&of_vm(vm)));
        for gpu in topology.gpus() {
            self.gpu_slots.push(self.accounts.len());
            self.accounts.extend((0..gpu.slices).map(|_| up_to(1)));
        }
    }

    fn carry_forward(&mut self, held: &Assignment) {
        let mut accounts = std::mem::take(&mut self.accounts);
        let mut post = |list: &mut Vec<(usize, i128)>| {
            for (account, change) in list.drain(..) {
                accounts[account].high += change;
                accounts[account].low += change;
            }
        };
        let mut postings = self.blank();
        for holding in &held.holdings {
            postings.cpu(holding.socket, holding.cpu, 1);
            postings.memory_bandwidth(holding.socket, holding.memory_bandwidth, 1);
            for (node, size) in &holding.memory {
                postings.memory(holding.vm, *node, amount(size.get()));
            }
            post(&mut postings.list);
        }
        for (index, holding) in held.devices.iter().enumerate() {
            if let Some(owner) = holding.owner {
                postings.device(owner, DeviceId::at(index), holding.bandwidth, 1);
            }
        }
        for (index, setting) in held.links.iter().enumerate() {
            postings.link(LinkId::at(index), *setting, 1);
        }
        for instance in &held.gpu_instances {
            postings.instance(instance, 1);
        }
        post(&mut postings.list);
        self.accounts = accounts;
    }

    fn blank(&self) -> Postings<'_> {
        Postings { world: self.world, gpu_slots: &self.gpu_slots, list: Vec::new() }
    }

    fn postings(&self, step: &Step) -> Vec<(usize, i128)> {
        let mut postings = self.blank();
        postings.step(step);
        postings.net()
    }

    /// Whether a step can begin now.
    #[must_use]
    pub fn allows(&self, step: &Step) -> bool {
        self.postings(step).iter().all(|(account, change)| self.accounts[*account].allows(*change))
    }

    /// A step has begun: what it takes is taken.
    pub fn begin(&mut self, step: &Step) {
        self.post(
            step,
            |account, change| {
                if change > 0 { account.high += change } else { account.low += change }
            },
        );
    }

    /// A step is done: what it gives back is free.
    pub fn finish(&mut self, step: &Step) {
        self.post(
            step,
            |account, change| {
                if change > 0 { account.low += change } else { account.high += change }
            },
        );
    }

    /// A step that had begun left things as they were.
    pub fn cancel(&mut self, step: &Step) {
        self.post(
            step,
            |account, change| {
                if change > 0 { account.high -= change } else { account.low -= change }
            },
        );
    }

    fn post(&mut self, step: &Step, how: impl Fn(&mut Account, i128)) {
        for (account, change) in self.postings(step) {
            how(&mut self.accounts[account], change);
        }
    }
}

/// Collects the changes that one step makes to the accounts.
struct Postings<'a> {
    world: World<'a>,
    gpu_slots: &'a [usize],
    list: Vec<(usize, i128)>,
}

impl Postings<'_> {
    fn step(&mut self, step: &Step) {
        match step {
            Step::SetCpu { socket, from, to, .. } => {
                self.cpu(*socket, *from, -1);
                self.cpu(*socket, *to, 1);
            }
            Step::SetMemoryBandwidth { socket, from, to, .. } => {
                self.memory_bandwidth(*socket, *from, -1);
                self.memory_bandwidth(*socket, *to, 1);
            }
            Step::Place { from, to, .. } => {
                for (placement, sign) in [(from, -1), (to, 1)] {
                    self.cpu(placement.socket, placement.cpu, sign);
                    self.memory_bandwidth(placement.socket, placement.memory_bandwidth, sign);
                }
            }
            Step::SetMemory { vm, node, from, to } => {
                self.memory(*vm, *node, amount(to.get()) - amount(from.get()));
            }
            Step::MigrateMemory { vm, from, to, size } => {
                self.memory(*vm, *from, -amount(size.get()));
                self.memory(*vm, *to, amount(size.get()));
            }
            Step::Detach { vm, devices } => {
                devices.iter().for_each(|(device, bandwidth)| self.device(*vm, *device, *bandwidth, -1));
            }
            Step::Attach { vm, devices } => {
                devices.iter().for_each(|(device, bandwidth)| self.device(*vm, *device, *bandwidth, 1));
            }
            Step::SetDeviceBandwidth { device, from, to } => {
                self.device_bandwidth(*device, *from, -1);
                self.device_bandwidth(*device, *to, 1);
            }
            Step::SetLink { link, from, to } => {
                self.link(*link, *from, -1);
                self.link(*link, *to, 1);
            }
            Step::CreateInstance { instance } => self.instance(instance, 1),
            Step::DestroyInstance { instance } => self.instance(instance, -1),
            Step::CreateClass { .. }
            | Step::RemoveClass { .. }
            | Step::SetMask { .. }
            | Step::SetClass { .. } => {}
        }
    }

    /// The changes with each account once, and none that comes to nothing.
    fn net(mut self) -> Vec<(usize, i128)> {
        self.list.sort_unstable_by_key(|(account, _)| *account);
        self.list.dedup_by(|next, kept| {
            let same = next.0 == kept.0;
            if same {
                kept.1 += next.1;
            }
            same
        });
        self.list.retain(|(_, change)| *change != 0);
        self.list
    }

    fn sockets(&self) -> usize {
        self.world.topology.sockets().len()
    }

    fn links_from(&self) -> usize {
        2 * self.sockets() + self.world.topology.nodes().len()
    }

    fn pools_from(&self) -> usize {
        self.links_from() + self.world.topology.fabric().links.len()
    }

    fn vm_from(&self, vm: VmId) -> Option<usize> {
        let first = self.pools_from() + self.world.topology.fabric().pools.len();
        self.world.position(vm).map(|position| first + position * PER_VM)
    }

    fn cpu(&mut self, socket: SocketId, cpu: Grant<MilliCpu>, sign: i128) {
        self.list.push((socket.index(), sign * amount(cpu.share.get())));
    }

    fn memory_bandwidth(&mut self, socket: SocketId, bandwidth: Grant<Bandwidth>, sign: i128) {
        self.list.push((self.sockets() + socket.index(), sign * amount(bandwidth.share.get())));
    }

    fn memory(&mut self, vm: VmId, node: NodeId, change: i128) {
        self.list.push((2 * self.sockets() + node.index(), change));
        if let Some(first) = self.vm_from(vm) {
            self.list.push((first, change));
        }
    }

    fn device(&mut self, owner: VmId, device: DeviceId, bandwidth: Grant<Bandwidth>, sign: i128) {
        self.device_bandwidth(device, bandwidth, sign);
        let class = self.world.topology.fabric().devices[device.index()].class;
        if let Some(first) = self.vm_from(owner) {
            self.list.push((first + 1 + class as usize, sign));
        }
    }

    fn device_bandwidth(&mut self, device: DeviceId, bandwidth: Grant<Bandwidth>, sign: i128) {
        let first = self.links_from();
        let share = sign * amount(bandwidth.share.get());
        for link in self.world.topology.fabric().route(device) {
            self.list.push((first + link.index(), share));
        }
    }

    /// What a link carries counts as taken below zero, so that shares may rise up to it.
    fn link(&mut self, link: LinkId, setting: LinkSetting, sign: i128) {
        self.list.push((self.links_from() + link.index(), -sign * amount(setting.bandwidth().get())));
        let fabric = self.world.topology.fabric();
        if let Some(pool) = fabric.ports[fabric.links[link.index()].upper.index()].pool {
            self.list.push((self.pools_from() + pool.index(), sign * i128::from(setting.width.get())));
        }
    }

    fn instance(&mut self, instance: &GpuInstance, sign: i128) {
        let Some(gpu) = self.world.topology.gpus().get(instance.gpu.index()) else { return };
        let Some(profile) = gpu.profiles.get(instance.profile as usize) else { return };
        let first = self.gpu_slots[instance.gpu.index()];
        let span = instance.start..instance.start.saturating_add(profile.span).min(gpu.slices);
        self.list.extend(span.map(|slot| (first + slot as usize, sign)));
        if let Some(first) = self.vm_from(instance.owner) {
            self.list.push((first + 1 + CLASSES, sign * i128::from(profile.compute)));
        }
    }
}
