//! Two guests as Halcyon sees them: a host with two VMs, drivers, and an executor that carries plans out.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use halcyon_hal::{Assembly, Driver, Event, Executor, Inventory, Journal, Observe as _, Unfinished};
use halcyon_model::describe::{Host, parse_host, parse_vms};
use halcyon_model::{
    Assignment, ByteSize, DeviceHolding, DeviceId, Families, Generation, Grant, HostTime, NodeId, Plan,
    Proposal, Standing, VmId, admit, approve, diff,
};

use crate::interrupt;

/// The first guest.
pub(crate) const A: VmId = VmId(0);
/// The second guest.
pub(crate) const B: VmId = VmId(1);
/// The drive that moves between them.
pub(crate) const DRIVE: DeviceId = DeviceId(0);
/// The node with all memory.
pub(crate) const NODE: NodeId = NodeId(0);

/// How often the executor asks after what is under way.
const ASK: Duration = Duration::from_millis(1);
/// How often the machine is read while nothing ends: once in each cycle of a daemon.
const CYCLE: Duration = Duration::from_millis(100);

const HOST: &str = include_str!("rig/host.toml");
const VMS: &str = include_str!("rig/vms.toml");

/// The host and the VMs, as `rig/host.toml` and `rig/vms.toml` say.
///
/// # Errors
/// When one of the files is not right.
pub(crate) fn inventory() -> anyhow::Result<Inventory> {
    let Host { topology, capabilities, .. } = parse_host(HOST).context("the lab's host")?;
    let vms = parse_vms(VMS, &topology).context("the lab's VMs")?;
    Ok(Inventory { topology, vms, capabilities, profiles: Arc::default() })
}

/// The lab's host with its drivers, and an executor.
#[derive(Debug)]
pub(crate) struct Rig<J> {
    host: Assembly,
    executor: Executor<J>,
    newest: Generation,
    began: Instant,
    next_cycle: HostTime,
}

impl<J: Journal> Rig<J> {
    /// A rig that begins with what the machine says, and takes up what a journal left unfinished.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub(crate) fn new(drivers: Vec<Box<dyn Driver>>, journal: J, open: Unfinished) -> anyhow::Result<Self> {
        let believed = admit(inventory()?.world()).context("the lab's VMs do not fit its host")?;
        Self::with(drivers, journal, open, believed)
    }

    /// The same, with VMs that hold `believed` as far as the drivers say nothing of it.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub(crate) fn with(
        drivers: Vec<Box<dyn Driver>>,
        journal: J,
        open: Unfinished,
        believed: Assignment,
    ) -> anyhow::Result<Self> {
        let inventory = inventory()?;
        let began = Instant::now();
        let mut host = Assembly::new(inventory, drivers, believed, move || began.elapsed());
        host.read()?;
        let newest = open.newest;
        Ok(Self {
            host,
            executor: Executor::resume(journal, open),
            newest,
            began,
            next_cycle: HostTime::ZERO,
        })
    }

    /// What is held, as last read.
    pub(crate) fn held(&self) -> &Assignment {
        self.host.held()
    }

    /// Reads the machine, where others than the executor changed it.
    ///
    /// # Errors
    /// When it cannot be read.
    pub(crate) fn refresh(&mut self) -> anyhow::Result<()> {
        Ok(self.host.read()?)
    }

    /// The executor.
    pub(crate) fn executor(&self) -> &Executor<J> {
        &self.executor
    }

    /// A plan that leads from what is held to `target`.
    ///
    /// # Errors
    /// When it would break a rule, or not all of it can be reached.
    pub(crate) fn plan(&self, target: &Assignment) -> anyhow::Result<Plan> {
        let (inventory, held) = (self.host.inventory(), self.held());
        let standing = Standing { snapshot: Generation(0), plan: self.newest };
        let difference = diff(inventory.world(), held, target);
        let plan = approve(inventory.world(), standing, &Proposal::default(), held, difference);
        let plan = plan.context("the lab's plan breaks a rule")?;
        if let Some(waits) = plan.deferred().first() {
            bail!("no order of steps makes room for `{}`", waits.step);
        }
        Ok(plan)
    }

    /// Takes a plan on, to be carried out by [`Rig::turn`].
    pub(crate) fn submit(&mut self, plan: &Plan) {
        self.newest = plan.generation();
        self.next_cycle = HostTime::ZERO;
        self.executor.submit(plan, self.began.elapsed());
    }

    /// Goes on with what is under way. Reads the machine and begins what can begin when something ended, or
    /// a cycle after the last time.
    ///
    /// # Errors
    /// When the journal cannot be written or the machine not be read.
    pub(crate) fn turn(&mut self) -> anyhow::Result<Vec<Event>> {
        let mut events = self.executor.settle(self.began.elapsed(), &mut self.host)?;
        if events.is_empty() && self.next_cycle > self.began.elapsed() {
            return Ok(events);
        }
        self.host.read()?;
        let (now, inventory) = (self.began.elapsed(), self.host.inventory());
        let mut held = self.held().clone();
        events.extend(self.executor.advance(now, inventory.world(), &mut held, &mut self.host)?);
        self.next_cycle = self.began.elapsed() + CYCLE;
        Ok(events)
    }

    /// Whether nothing is under way.
    pub(crate) fn is_idle(&self) -> bool {
        self.executor.busy() == Families::NONE
    }

    /// Leads everything to its end, and gives what happened.
    ///
    /// # Errors
    /// When that takes longer than `limit`.
    pub(crate) fn settle(&mut self, limit: Duration) -> anyhow::Result<Vec<Event>> {
        let deadline = Instant::now() + limit;
        let mut events = Vec::new();
        while !self.is_idle() {
            interrupt::check()?;
            if Instant::now() > deadline {
                bail!("a change did not come to its end within {} s", limit.as_secs());
            }
            events.extend(self.turn()?);
            if !self.is_idle() {
                std::thread::sleep(ASK);
            }
        }
        // The end of the last steps may wait for a record that does not come.
        self.executor.write_down(self.began.elapsed())?;
        self.host.read()?;
        Ok(events)
    }

    /// Leads from what is held to `target`, and gives what happened.
    ///
    /// # Errors
    /// When there is no plan, or it does not come to its end in time. Steps that failed are no error here.
    pub(crate) fn carry_out(&mut self, target: &Assignment, limit: Duration) -> anyhow::Result<Vec<Event>> {
        let plan = self.plan(target)?;
        self.submit(&plan);
        self.settle(limit)
    }
}

/// `held` with the drive in the hands of `owner`.
pub(crate) fn with_drive(held: &Assignment, owner: Option<VmId>) -> Assignment {
    let mut target = held.clone();
    target.devices[DRIVE.index()] = DeviceHolding { owner, bandwidth: Grant::default() };
    target
}

/// `held` with these sizes of memory, in MiB.
pub(crate) fn with_memory(held: &Assignment, sizes: [u64; 2]) -> Assignment {
    let mut target = held.clone();
    for (holding, size) in target.holdings.iter_mut().zip(sizes) {
        holding.memory = vec![(NODE, ByteSize::mib(size))];
    }
    target
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lab_s_own_files_describe_a_host_whose_vms_fit() {
        let inventory = inventory().unwrap();
        let held = admit(inventory.world()).unwrap();
        assert_eq!([held.holdings[0].vm, held.holdings[1].vm], [A, B]);
        assert_eq!(held.devices.len(), 1);
    }
}
