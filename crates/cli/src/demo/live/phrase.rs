//! Steps as a person reads them: names instead of numbers, and units that suit the amount.

use halcyon_model::topology::{Fabric, LinkEnd};
use halcyon_model::{
    Bandwidth, ByteSize, Change, ChangeKind, DeviceId, Grant, LinkId, NodeId, Step, Topology, VmId, VmSpec,
};

use super::units::{bytes, rate};

/// The names that steps are told with.
pub(super) struct Names<'a> {
    pub(super) topology: &'a Topology,
    pub(super) vms: &'a [VmSpec],
}

impl Names<'_> {
    pub(super) fn vm(&self, vm: VmId) -> &str {
        let found = self.vms.binary_search_by_key(&vm, |spec| spec.id);
        found.map_or("?", |position| &self.vms[position].name)
    }

    fn node(&self, node: NodeId) -> &str {
        self.topology.nodes().get(node.index()).map_or("?", |node| &node.name)
    }

    fn socket(&self, socket: halcyon_model::SocketId) -> &str {
        self.topology.sockets().get(socket.index()).map_or("?", |socket| &socket.name)
    }

    fn devices(&self, devices: &[(DeviceId, Grant<Bandwidth>)]) -> String {
        let names: Vec<&str> = devices.iter().map(|(id, _)| device(self.topology.fabric(), *id)).collect();
        names.join(", ")
    }

    /// What changes do and why. Of a plan that resizes many VMs, the largest change stands for all.
    pub(super) fn changes(&self, changes: &[&Change]) -> Vec<(String, String)> {
        let mut told = Vec::new();
        for kind in ChangeKind::ALL {
            let mut same: Vec<&Change> =
                changes.iter().copied().filter(|change| change.step.kind() == kind).collect();
            same.sort_by_key(|change| std::cmp::Reverse(moved(&change.step)));
            let apart =
                if matches!(kind, ChangeKind::Memory | ChangeKind::MemoryMigration) { 1 } else { same.len() };
            let more = same.len().saturating_sub(apart);
            for change in same.into_iter().take(apart) {
                let what = self.step(&change.step);
                let what = if more > 0 { format!("{what}, {more} more") } else { what };
                told.push((what, change.reason.to_string()));
            }
        }
        told
    }

    /// What a step does.
    pub(super) fn step(&self, step: &Step) -> String {
        match step {
            Step::Place { vm, from, to } => {
                format!("{} moves {} → {}", self.vm(*vm), self.socket(from.socket), self.socket(to.socket))
            }
            Step::SetMemory { vm, node, from, to } => {
                let more = to.as_f64() - from.as_f64();
                let sign = if more < 0.0 { '−' } else { '+' };
                format!("{} {sign}{} on {}", self.vm(*vm), bytes(more.abs()), self.node(*node))
            }
            Step::MigrateMemory { vm, from, to, size } => {
                let size = bytes(size.as_f64());
                format!("{} {size} of memory {} → {}", self.vm(*vm), self.node(*from), self.node(*to))
            }
            Step::Detach { vm, devices } => format!("{} leaves {}", self.devices(devices), self.vm(*vm)),
            Step::Attach { vm, devices } => format!("{} joins {}", self.devices(devices), self.vm(*vm)),
            Step::SetDeviceBandwidth { device: id, from, to } => {
                let (from, to) = (rate(from.ceiling.as_f64()), rate(to.ceiling.as_f64()));
                format!("{} may move {from} → {to}", device(self.topology.fabric(), *id))
            }
            Step::SetLink { link, from, to } => {
                format!("link to {} {from} → {to}", below(self.topology.fabric(), *link))
            }
            Step::SetClass { vm, from, to } => format!("{} cache {from} → {to}", self.vm(*vm)),
            Step::CreateInstance { instance } => {
                format!("GPU slice at {} made for {}", instance.start, self.vm(instance.owner))
            }
            Step::DestroyInstance { instance } => {
                format!("GPU slice at {} of {} dissolved", instance.start, self.vm(instance.owner))
            }
            Step::SetCpu { vm, to, .. } => {
                format!("{} CPU share → {:.2} cores", self.vm(*vm), to.share.as_f64() / 1000.0)
            }
            Step::SetMemoryBandwidth { vm, to, .. } => {
                format!("{} memory bandwidth → {}", self.vm(*vm), rate(to.ceiling.as_f64()))
            }
            Step::CreateClass { .. } | Step::RemoveClass { .. } | Step::SetMask { .. } => step.to_string(),
        }
    }
}

/// How much memory a step moves, in either direction.
fn moved(step: &Step) -> ByteSize {
    match step {
        Step::SetMemory { from, to, .. } => from.saturating_sub(*to).max(to.saturating_sub(*from)),
        Step::MigrateMemory { size, .. } => *size,
        _ => ByteSize::ZERO,
    }
}

fn device(fabric: &Fabric, id: DeviceId) -> &str {
    fabric.devices.get(id.index()).map_or("?", |device| &device.name)
}

fn below(fabric: &Fabric, id: LinkId) -> &str {
    match fabric.links.get(id.index()).map(|link| link.lower) {
        Some(LinkEnd::Switch(switch)) => fabric.switches.get(switch.index()).map_or("?", |found| &found.name),
        Some(LinkEnd::Device(id)) => device(fabric, id),
        None => "?",
    }
}
