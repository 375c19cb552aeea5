//! Policies that look at descriptions only, never at what VMs do. They have one answer for each set of
//! VMs, and repeat it, ever more rarely, while the host does not do as it says: a change may be refused.

use std::time::Duration;

use halcyon_model::fair::{Claim, divide};
use halcyon_model::{
    Bandwidth, ByteSize, DeviceId, Families, GpuInstance, HostTime, MilliCpu, Proposal, Reason, VmSpec,
    VmWish, Wish, World, project,
};

use crate::common::{claim, device_bounds, divide_by_socket, hand_out_devices, lay_out_memory};
use crate::slices::divide_slices;
use crate::turn::has_passed;
use crate::{Policy, View};

/// Every VM has a part by its weight, within its bounds, and no more: the assignment that virtualization
/// hosts have had so far.
#[derive(Debug, Default)]
pub struct Static {
    settled: Settled,
}

/// Every VM has what was asked for it: reservations are set aside, limits are the only ceilings, and
/// memory beyond the reservations goes to those who asked for more.
#[derive(Debug, Default)]
pub struct Reservation {
    settled: Settled,
}

/// Weights only, as the kernel applies them by itself: whatever one VM leaves, the others may use.
#[derive(Debug, Default)]
pub struct Proportional {
    settled: Settled,
}

impl Policy for Static {
    fn name(&self) -> &'static str {
        "static"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.settled.unless_settled(view, |view| {
            let mut proposal = by_weight(view, |share, _| share, Reason::Entitlement);
            proposal.device_bandwidth = divide_links(view);
            proposal
        })
    }
}

impl Policy for Reservation {
    fn name(&self) -> &'static str {
        "reservation"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.settled.unless_settled(view, as_asked)
    }
}

impl Policy for Proportional {
    fn name(&self) -> &'static str {
        "proportional"
    }

    fn decide(&mut self, view: &View<'_>) -> Proposal {
        self.settled.unless_settled(view, |view| {
            let mut proposal = by_weight(view, |_, limit| limit, Reason::Entitlement);
            proposal.device_bandwidth = open_devices(view, Reason::Entitlement);
            proposal
        })
    }
}

/// How often it is looked whether the host is as the answer says.
const PACE: Duration = Duration::from_secs(60);
/// How often what was refused so many times is asked for.
const PATIENCE: Duration = Duration::from_secs(3600);

/// Remembers for which VMs the answer was given, and how often.
///
/// ```text
///  new VMs ─► answered ×2 ─► as the answer says? ──no──► answered again, 8 times each minute,
///             (devices, then       ▲  each minute        then each hour
///              their bandwidth)    └──────────yes
/// ```
#[derive(Debug, Default)]
struct Settled {
    vms: Vec<VmSpec>,
    /// How often the answer was given.
    rounds: u32,
    looked_at: Option<HostTime>,
    answered_at: Option<HostTime>,
    /// GPU slices are divided once for all VMs that wish for some, so that a repeated answer is the same.
    instances: Option<Vec<GpuInstance>>,
}

impl Settled {
    /// Asks twice at once: devices are handed out in the first round, and their bandwidth set in the second.
    const ROUNDS: u32 = 2;
    /// Then so often before it loses patience.
    const TRIES: u32 = 8;

    fn unless_settled(&mut self, view: &View<'_>, decide: impl Fn(&View<'_>) -> Proposal) -> Proposal {
        let none = Proposal { based_on: view.snapshot.generation, ..Proposal::default() };
        let now = view.snapshot.at;
        let same = self.vms.len() == view.world.vms.len()
            && self.vms.iter().zip(view.world.vms).all(|(known, spec)| known.id == spec.id);
        let due = |last: Option<HostTime>, pace| last.is_none_or(|last| has_passed(last, pace, now));
        let looks = !same || self.rounds < Self::ROUNDS || due(self.looked_at, PACE);
        // While changes are under way, part of the answer would be lost.
        if !looks || view.frozen != Families::NONE {
            return none;
        }
        self.looked_at = Some(now);
        if self.vms != view.world.vms {
            self.meet(view.world.vms);
        }
        let pace = if self.rounds < Self::ROUNDS + Self::TRIES { Duration::ZERO } else { PATIENCE };
        if !due(self.answered_at, pace) {
            return none;
        }
        let mut proposal = decide(view);
        proposal.based_on = view.snapshot.generation;
        proposal.devices = hand_out_devices(view.world, &view.snapshot.assignment);
        proposal.gpu_instances = Some((self.instances(view), Reason::Entitlement));
        let held = &view.snapshot.assignment;
        if self.rounds >= Self::ROUNDS && project(view.world, held, Families::NONE, &proposal) == *held {
            return none;
        }
        self.rounds += 1;
        self.answered_at = Some(now);
        proposal
    }

    /// Begins anew for other VMs; those that wish for no slices change nothing about the GPUs.
    fn meet(&mut self, vms: &[VmSpec]) {
        let wishes = |vms: &[VmSpec]| -> Vec<_> {
            let wishing = vms.iter().filter(|spec| spec.gpu_slices.limit > 0);
            wishing.map(|spec| (spec.id, spec.weight, spec.gpu_slices)).collect()
        };
        if wishes(&self.vms) != wishes(vms) {
            self.instances = None;
        }
        self.vms = vms.to_vec();
        self.rounds = 0;
        self.answered_at = None;
    }

    fn instances(&mut self, view: &View<'_>) -> Vec<GpuInstance> {
        let divided =
            || divide_slices(view.world, &view.snapshot.assignment, slices_by_weight(view.world.vms));
        self.instances.get_or_insert_with(divided).clone()
    }
}

/// Every VM is to have a slice; what there is beyond goes by weight, as the sum of logarithms is largest
/// where parts are in proportion to weights.
fn slices_by_weight(vms: &[VmSpec]) -> impl Fn(usize, u32) -> f64 {
    const FIRST: f64 = 10.0;
    move |position, slices| {
        let more = if slices == 0 { 0.0 } else { FIRST + libm::log(f64::from(slices)) };
        vms[position].weight.as_f64() * more
    }
}

fn by_weight(view: &View<'_>, ceiling: impl Fn(f64, f64) -> f64, reason: Reason) -> Proposal {
    let World { topology, vms, .. } = view.world;
    let held = &view.snapshot.assignment;
    let cpu = divide_by_socket(
        view.world,
        held,
        |socket| topology.sockets()[socket.index()].cpu().as_f64(),
        |_, spec| claim(spec.weight.as_f64(), spec.cpu, MilliCpu::as_f64),
    );
    let bandwidth = divide_by_socket(
        view.world,
        held,
        |socket| topology.memory_bandwidth(socket).as_f64(),
        |_, spec| claim(spec.weight.as_f64(), spec.memory_bandwidth, Bandwidth::as_f64),
    );
    let claims: Vec<_> =
        vms.iter().map(|spec| claim(spec.weight.as_f64(), spec.memory, ByteSize::as_f64)).collect();
    let memory = lay_out_memory(view.world, held, &claims, |_| reason);
    let wishes = vms.iter().zip(memory).enumerate().map(|(position, (spec, memory))| {
        let wish = |share: f64, limit: f64| Wish { share, ceiling: ceiling(share, limit), reason };
        VmWish {
            vm: spec.id,
            cpu: Some(wish(cpu[position], spec.cpu.limit.as_f64())),
            memory_bandwidth: Some(wish(bandwidth[position], spec.memory_bandwidth.limit.as_f64())),
            memory: Some(memory),
            ..VmWish::default()
        }
    });
    Proposal { vms: wishes.collect(), ..Proposal::default() }
}

fn as_asked(view: &View<'_>) -> Proposal {
    let vms = view.world.vms;
    let reason = Reason::AsAsked;
    // Beyond the reservation, memory goes by how much more was asked for.
    let extra = |spec: &halcyon_model::VmSpec| {
        spec.memory.limit.saturating_sub(spec.memory.reservation).as_f64().max(1.0)
    };
    let claims: Vec<_> = vms.iter().map(|spec| claim(extra(spec), spec.memory, ByteSize::as_f64)).collect();
    let memory = lay_out_memory(view.world, &view.snapshot.assignment, &claims, |_| reason);
    let wishes = vms.iter().zip(memory).map(|(spec, memory)| VmWish {
        vm: spec.id,
        cpu: Some(Wish { share: spec.cpu.reservation.as_f64(), ceiling: spec.cpu.limit.as_f64(), reason }),
        memory_bandwidth: Some(Wish {
            share: spec.memory_bandwidth.reservation.as_f64(),
            ceiling: spec.memory_bandwidth.limit.as_f64(),
            reason,
        }),
        memory: Some(memory),
        ..VmWish::default()
    });
    Proposal { vms: wishes.collect(), device_bandwidth: open_devices(view, reason), ..Proposal::default() }
}

/// Every owned device may use what its links have free.
pub(crate) fn open_devices(view: &View<'_>, reason: Reason) -> Vec<(DeviceId, Wish)> {
    let devices = view.snapshot.assignment.devices.iter().enumerate();
    let open = devices.filter_map(|(index, held)| {
        let device = DeviceId::at(index);
        let (least, most) = device_bounds(view.world, device, held.owner?)?;
        Some((device, Wish { share: least, ceiling: most, reason }))
    });
    open.collect()
}

/// Every owned device has a fixed part of its narrowest link, by its owner's weight.
fn divide_links(view: &View<'_>) -> Vec<(DeviceId, Wish)> {
    let fabric = view.world.topology.fabric();
    let held = &view.snapshot.assignment;
    let mut parts: Vec<f64> = vec![f64::INFINITY; held.devices.len()];
    for link in &fabric.links {
        let mut below = Vec::new();
        let mut claims = Vec::new();
        for (index, device) in held.devices.iter().enumerate() {
            let id = DeviceId::at(index);
            let Some(owner) = device.owner.filter(|_| fabric.route(id).contains(&link.id)) else { continue };
            let Some((least, most)) = device_bounds(view.world, id, owner) else { continue };
            let weight = view.world.vm(owner).map_or(1.0, |spec| spec.weight.as_f64());
            below.push(index);
            claims.push(Claim { weight, least, most });
        }
        let mut divided = Vec::new();
        divide(held.link(link.id).bandwidth().as_f64(), &claims, &mut divided);
        below.iter().zip(divided).for_each(|(index, part)| parts[*index] = parts[*index].min(part));
    }
    let owned = parts.iter().enumerate().filter(|(_, part)| part.is_finite());
    let wish = |share: f64| Wish { share, ceiling: share, reason: Reason::Entitlement };
    owned.map(|(index, part)| (DeviceId::at(index), wish(*part))).collect()
}
