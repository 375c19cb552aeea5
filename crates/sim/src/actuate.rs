//! Changes of the simulated host: how long they take, what they cost, and how they end.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Progress, Ticket};
use halcyon_model::{HostTime, Step, VmId};

use crate::host::SimHost;

/// Changes under way, and those that ended without anybody having asked yet.
#[derive(Debug, Default)]
pub(crate) struct Flights {
    next: u64,
    under_way: BTreeMap<Ticket, Flight>,
    landed: BTreeMap<Ticket, Progress>,
}

#[derive(Debug)]
struct Flight {
    step: Step,
    lands_at: HostTime,
    end: End,
}

/// How a change will end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Done,
    Refused,
    Failed,
}

impl Flights {
    /// The ticket of a step that is under way already.
    fn ticket_of(&self, step: &Step) -> Option<Ticket> {
        self.under_way.iter().find(|(_, flight)| flight.step == *step).map(|(ticket, _)| *ticket)
    }
}

impl SimHost {
    /// Whatever was under way for a VM that is gone comes to nothing.
    pub(crate) fn abandon(&mut self, vm: VmId) {
        let of_vm = |flight: &mut Flight| flight.step.vm() == Some(vm);
        let gone: Vec<_> = self.flights.under_way.extract_if(.., |_, flight| of_vm(flight)).collect();
        for (ticket, flight) in gone {
            self.come_to_rest(&flight.step);
            self.flights.landed.insert(ticket, Progress::Failed { why: "the VM is gone".into() });
        }
    }

    /// Memory on its way to VMs, by node, in bytes; and whose memory is in motion.
    pub(crate) fn memory_under_way(&self) -> (Vec<u64>, Vec<VmId>) {
        let mut growing = vec![0; self.inventory.topology.nodes().len()];
        let mut moving = Vec::new();
        for flight in self.flights.under_way.values() {
            match &flight.step {
                Step::SetMemory { vm, node, from, to } => {
                    growing[node.index()] += to.saturating_sub(*from).get();
                    moving.push(*vm);
                }
                Step::MigrateMemory { vm, to, size, .. } => {
                    growing[to.index()] += size.get();
                    moving.push(*vm);
                }
                _ => {}
            }
        }
        (growing, moving)
    }

    pub(crate) fn land_flights(&mut self) {
        let now = self.now;
        let landing: Vec<_> =
            self.flights.under_way.extract_if(.., |_, flight| flight.lands_at <= now).collect();
        for (ticket, flight) in landing {
            let progress = self.land(&flight);
            self.flights.landed.insert(ticket, progress);
        }
    }

    fn land(&mut self, flight: &Flight) -> Progress {
        self.come_to_rest(&flight.step);
        match flight.end {
            End::Failed => return Progress::Failed { why: "the device did not answer (simulated)".into() },
            End::Refused => {
                if let Some(position) = self.position(&flight.step) {
                    self.vms[position].refuses_until = Some(self.now + self.parameters.refusal_rest);
                }
                return Progress::Refused { why: "the guest uses the memory (simulated)".into() };
            }
            End::Done => {}
        }
        match self.make(&flight.step) {
            Ok(()) => Progress::Done,
            Err(error) => Progress::Failed { why: error.why },
        }
    }

    /// The machine is as the step says from now on.
    fn make(&mut self, step: &Step) -> Result<(), ActuateError> {
        self.assignment.apply(step).map_err(|error| refuse(step, &error.to_string()))?;
        match step {
            Step::SetMemory { .. } => self.come_to_rest(step),
            Step::Place { .. } => {
                // The other socket's cache knows nothing of it.
                if let Some(position) = self.position(step) {
                    self.vms[position].cache = 0.0;
                }
                self.compute.place(&self.assignment);
            }
            Step::CreateInstance { .. } | Step::DestroyInstance { .. } => self.follow_instances(),
            Step::Detach { .. } | Step::Attach { .. } => {
                // What takes no time never lands, and must not stay in motion.
                self.come_to_rest(step);
                self.fabric.follow(&self.inventory.topology, &self.assignment, self.inventory.world());
            }
            _ => {}
        }
        Ok(())
    }

    /// What is to be led back must not land any more. Says whether it was under way; then the machine is
    /// as before it.
    fn call_off(&mut self, step: &Step) -> bool {
        let found = self.flights.under_way.iter().find(|(_, flight)| flight.step == *step);
        let Some(ticket) = found.map(|(ticket, _)| *ticket) else { return false };
        self.flights.under_way.remove(&ticket);
        self.come_to_rest(step);
        true
    }

    /// A device that does not move any more can be used, and a guest has all the memory that it holds.
    fn come_to_rest(&mut self, step: &Step) {
        match step {
            Step::Detach { devices, .. } | Step::Attach { devices, .. } => {
                for (device, _) in devices {
                    self.fabric.in_motion[device.index()] = false;
                }
            }
            Step::SetMemory { .. } => {
                if let Some(position) = self.position(step) {
                    self.vms[position].memory = self.assignment.holdings[position].total_memory().as_f64();
                }
            }
            _ => {}
        }
    }

    fn position(&self, step: &Step) -> Option<usize> {
        step.vm().and_then(|vm| self.inventory.world().position(vm))
    }

    /// How long a step takes.
    fn duration(&self, step: &Step) -> Duration {
        let parameters = &self.parameters;
        match step {
            Step::SetMemory { from, to, .. } if to < from => {
                seconds((from.as_f64() - to.as_f64()) / parameters.balloon_inflate_bytes_s)
            }
            Step::SetMemory { from, to, .. } => {
                seconds((to.as_f64() - from.as_f64()) / parameters.balloon_deflate_bytes_s)
            }
            Step::MigrateMemory { size, .. } => seconds(size.as_f64() / parameters.migrate_bytes_s),
            Step::DestroyInstance { .. } => {
                let busy = self.position(step).is_some_and(|position| self.keeps_gpu_busy(position));
                let drain = if busy { parameters.gpu_drain } else { Duration::ZERO };
                drain + self.latency(step)
            }
            _ => self.latency(step),
        }
    }

    fn latency(&self, step: &Step) -> Duration {
        self.inventory.capabilities.get(step.kind()).map_or(Duration::ZERO, |control| control.latency)
    }

    /// How a step will end, and when.
    fn foresee(&mut self, step: &Step) -> (Duration, End) {
        let takes = self.duration(step);
        match step {
            Step::SetMemory { from, to, .. } if to < from => {
                let Some(position) = self.position(step) else { return (takes, End::Failed) };
                let vm = &self.vms[position];
                let left = vm.memory - (from.as_f64() - to.as_f64());
                // A guest does not give up what it uses.
                let refuses = left < 0.95 * vm.working_set;
                if refuses { (self.parameters.refusal_after, End::Refused) } else { (takes, End::Done) }
            }
            Step::Detach { .. } | Step::Attach { .. } => {
                let fails = self.noise.chance(self.parameters.device_failure);
                (takes, if fails { End::Failed } else { End::Done })
            }
            _ => (takes, End::Done),
        }
    }

    /// What a change does to its VM from the moment that it begins.
    fn disturb(&mut self, step: &Step, end: End) {
        let Some(control) = self.inventory.capabilities.get(step.kind()).copied() else { return };
        let position = self.position(step);
        let weight = position.map_or(100.0, |position| self.inventory.vms[position].weight.as_f64());
        self.charged += control.cost_s * weight;
        self.changes += 1;
        match step {
            Step::SetLink { link, .. } => {
                self.fabric.down_s[link.index()] += control.interruption.as_secs_f64();
            }
            Step::Detach { devices, .. } | Step::Attach { devices, .. } => {
                for (device, _) in devices {
                    self.fabric.in_motion[device.index()] = true;
                }
            }
            _ => {}
        }
        let Some(position) = position else { return };
        let drained = matches!(step, Step::DestroyInstance { .. }).then(|| self.duration(step));
        let vm = &mut self.vms[position];
        match drained {
            // Only the GPU part of the program stands still.
            Some(takes) => vm.gpu_down_s += (takes + control.interruption).as_secs_f64(),
            None if matches!(step, Step::CreateInstance { .. }) => {}
            None => vm.stall_s += control.interruption.as_secs_f64(),
        }
        if let Step::SetMemory { from, to, .. } = step
            && to < from
            && end == End::Done
        {
            // The balloon takes pages from the first moment on.
            vm.memory -= from.saturating_sub(*to).as_f64();
        }
    }
}

fn seconds(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX / 4)
}

fn refuse(step: &Step, why: &str) -> ActuateError {
    ActuateError { step: step.to_string(), why: why.into() }
}

impl Actuate for SimHost {
    fn estimate(&self, step: &Step) -> Duration {
        self.duration(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        if !self.inventory.capabilities.allows(step.kind()) {
            return Err(refuse(step, "this host cannot change that"));
        }
        if self.call_off(&step.inverse()) {
            return Ok(Progress::Done);
        }
        if !self.assignment.matches(step) {
            let there = self.assignment.matches(&step.inverse());
            return if there {
                Ok(Progress::Done)
            } else {
                Err(refuse(step, "it starts from another state"))
            };
        }
        if let Some(ticket) = self.flights.ticket_of(step) {
            return Ok(Progress::UnderWay(ticket));
        }
        let (takes, end) = self.foresee(step);
        self.disturb(step, end);
        if takes < self.parameters.step / 10 && end == End::Done {
            return self.make(step).map(|()| Progress::Done);
        }
        let ticket = Ticket(self.flights.next);
        self.flights.next += 1;
        let lands_at = self.now + takes;
        self.flights.under_way.insert(ticket, Flight { step: step.clone(), lands_at, end });
        Ok(Progress::UnderWay(ticket))
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        if let Some(progress) = self.flights.landed.remove(&ticket) {
            return progress;
        }
        if self.flights.under_way.contains_key(&ticket) {
            return Progress::UnderWay(ticket);
        }
        Progress::Failed { why: "no such change is under way".into() }
    }
}
