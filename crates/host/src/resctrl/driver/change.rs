//! The steps on classes that are there.

use halcyon_hal::Progress;
use halcyon_model::{CacheMask, ClassId, Placement, SocketId, Step, VmId};

use super::super::error::Error;
use super::super::files::Files;
use super::super::schemata::Schemata;
use super::super::threads::Threads;
use super::super::tree::{class_group, vm_group};
use super::trail::Trail;
use super::{CacheDriver, Members};
use crate::error_chain;

/// How often threads that began during a move are looked for.
const ROUNDS: u32 = 4;

impl<F: Files, T: Threads> CacheDriver<F, T> {
    pub(super) fn change(&mut self, step: &Step) -> Result<Progress, String> {
        match step {
            Step::CreateClass { class, masks } => self.create(*class, masks),
            Step::RemoveClass { class, .. } => self.remove(*class),
            Step::SetMask { class, socket, to, .. } => self.set_mask(*class, *socket, *to),
            Step::SetClass { vm, to, .. } => self.set_class(*vm, *to),
            Step::SetMemoryBandwidth { vm, socket, to, .. } => {
                let mut members = self.members.clone();
                let member = members.get_mut(vm).ok_or_else(|| unknown(*vm))?;
                if member.socket != *socket {
                    return Err(format!("{vm} is on {}", member.socket));
                }
                member.ceiling = to.ceiling;
                self.set_throttle(*vm, members)
            }
            Step::Place { vm, to, .. } => self.place(*vm, to),
            _ => Err("this is no change of cache or memory bandwidth".into()),
        }
    }

    fn set_mask(&self, class: ClassId, socket: SocketId, mask: CacheMask) -> Result<Progress, String> {
        let group = class_group(class);
        let wanted = self.with_mask(Schemata::default(), socket, mask);
        let there = self.tree.schemata(&group).map_err(|error| error_chain(&error))?;
        let divided = wanted
            .lines
            .iter()
            .any(|(line, values)| values.keys().any(|cache| there.get(*line, *cache).is_some()));
        if !divided {
            return Err(format!("{socket} has no cache that can be divided"));
        }
        let mut trail = Trail::default();
        match trail.write(&self.tree, &group, &wanted) {
            Ok(()) => Ok(Progress::Done),
            Err(error) => trail.lead_back(&self.tree, &error),
        }
    }

    /// The bandwidth part of a move: the limits of the VM's class on the socket that it leaves and on the
    /// one that it comes to, with one write. CPUs and memory are moved by others.
    fn place(&mut self, vm: VmId, to: &Placement) -> Result<Progress, String> {
        let mut members = self.members.clone();
        let member = members.get_mut(&vm).ok_or_else(|| unknown(vm))?;
        (member.socket, member.ceiling) = (to.socket, to.memory_bandwidth.ceiling);
        if self.tree.info().throttle.is_none() {
            self.members = members;
            return Ok(Progress::Done);
        }
        self.set_throttle(vm, members)
    }

    fn set_throttle(&mut self, vm: VmId, members: Members) -> Result<Progress, String> {
        if self.tree.info().throttle.is_none() {
            return Err("memory bandwidth cannot be limited here (no `info/MB`)".into());
        }
        let class = members.get(&vm).ok_or_else(|| unknown(vm))?.class;
        let mut trail = Trail::default();
        match trail.write(&self.tree, &class_group(class), &self.throttles(class, &members)) {
            Ok(()) => {
                self.members = members;
                Ok(Progress::Done)
            }
            Err(error) => trail.lead_back(&self.tree, &error),
        }
    }

    /// First the class that the VM comes to gets the VM's bandwidth, then the threads move, last the class
    /// that it came from gives the bandwidth up: at no moment has the VM less than it may use.
    fn set_class(&mut self, vm: VmId, to: ClassId) -> Result<Progress, String> {
        let before = self.members.get(&vm).ok_or_else(|| unknown(vm))?.class;
        let threads = self.threads.of(vm).ok_or_else(|| format!("{vm} has no threads: is it running?"))?;
        let survey = self.survey().map_err(|error| error_chain(&error))?;
        if !survey.tasks.contains_key(&to) {
            return Err(format!("there is no group for {to}"));
        }
        if survey.class_of(&threads, before).is_none() {
            let why = format!(
                "no thread of {vm} is in a group of Halcyon: somebody else put them elsewhere, or they ended"
            );
            return Ok(Progress::Refused { why });
        }
        let mut members = self.members.clone();
        if let Some(member) = members.get_mut(&vm) {
            member.class = to;
        }
        let mut trail = Trail::default();
        match self.move_to(vm, before, to, &members, &mut trail) {
            Ok(()) => {
                self.members = members;
                // Counting is taken up again by `follow` where it cannot be now.
                self.watch_anew(vm, before, to);
                Ok(Progress::Done)
            }
            Err(error) => trail.lead_back(&self.tree, &error),
        }
    }

    fn move_to(
        &self,
        vm: VmId,
        before: ClassId,
        to: ClassId,
        members: &Members,
        trail: &mut Trail,
    ) -> Result<(), Error> {
        let group = class_group(to);
        trail.write(&self.tree, &group, &self.throttles(to, members))?;
        if before != to && self.tree.info().monitoring.is_some() {
            // All threads at once, and the count goes on. Older kernels cannot, and there may be no count.
            trail.rename(&self.tree, vm_group(before, vm), vm_group(to, vm));
        }
        for _ in 0..ROUNDS {
            let survey = self.survey()?;
            let threads = self.threads.of(vm).unwrap_or_default();
            let outside = survey.outside(&threads, to);
            if outside.is_empty() {
                break;
            }
            for (thread, from) in outside {
                trail.put(&self.tree, thread, class_group(from), &group)?;
            }
        }
        if before != to {
            trail.write(&self.tree, &class_group(before), &self.throttles(before, members))?;
        }
        Ok(())
    }
}

fn unknown(vm: VmId) -> String {
    format!("{vm} is not known: the machine has to be read first")
}
