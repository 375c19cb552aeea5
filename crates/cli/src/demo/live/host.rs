//! The host from top to bottom: each socket with what is divided on it, and the fabric below it.

use halcyon_model::topology::{Attachment, LinkEnd, MemoryNode, PortKind};
use halcyon_model::{Assignment, DeviceId, LinkId, SocketId, Topology, VmSpec};
use halcyon_sim::SimHost;

use super::phrase::Names;
use super::scene::{HostRow, Meter, Owner, Unit};
use super::stage::Means;
use super::units::GIB;

/// All rows of a host.
pub(super) fn host_rows(host: &SimHost, specs: &[VmSpec], means: &Means) -> Vec<HostRow> {
    let rows = Rows {
        topology: host.topology(),
        held: host.assignment(),
        names: Names { topology: host.topology(), vms: specs },
        means,
    };
    let mut all = Vec::new();
    for socket in rows.topology.sockets() {
        all.push(rows.cpu(socket.id));
        let nodes = rows.topology.nodes().iter();
        nodes.filter(|node| rows.home(node) == Some(socket.id)).for_each(|node| all.extend(rows.node(node)));
        rows.roots(socket.id, &mut all);
    }
    let homeless = rows.topology.nodes().iter().filter(|node| rows.home(node).is_none());
    homeless.for_each(|node| all.extend(rows.node(node)));
    all.extend(rows.pools());
    all
}

struct Rows<'a> {
    topology: &'a Topology,
    held: &'a Assignment,
    names: Names<'a>,
    means: &'a Means,
}

impl Rows<'_> {
    fn cpu(&self, socket: SocketId) -> HostRow {
        let found = &self.topology.sockets()[socket.index()];
        let whole = found.cpu().as_f64() / 1000.0;
        let mut meter = Meter { ceiling: whole, whole, ..Meter::default() };
        let mut share = 0.0;
        let here = self.held.holdings.iter().zip(&self.means.vms).filter(|(held, _)| held.socket == socket);
        for (held, mean) in here {
            meter.used += mean.cpu;
            meter.wanted += mean.cpu_wanted;
            share += held.cpu.share.as_f64() / 1000.0;
        }
        meter.share = Some(share);
        HostRow::Meter { name: found.name.clone(), what: "CPU", meter, unit: Unit::Cores }
    }

    /// The socket whose part of the host a node is shown in.
    fn home(&self, node: &MemoryNode) -> Option<SocketId> {
        match node.kind {
            halcyon_model::topology::MemoryKind::Dram { socket } => Some(socket),
            halcyon_model::topology::MemoryKind::Cxl { device } => self.topology.fabric().socket(device),
        }
    }

    fn node(&self, node: &MemoryNode) -> [HostRow; 2] {
        let (mut granted, mut used, mut traffic) = (0.0, 0.0, 0.0);
        for (held, mean) in self.held.holdings.iter().zip(&self.means.vms) {
            let here = held.memory_on(node.id).as_f64();
            // Pages are spread over the nodes, and traffic with them.
            let part = here / held.total_memory().as_f64().max(1.0);
            granted += here;
            used += (mean.working_set * part).min(here);
            traffic += mean.memory_traffic * part;
        }
        let row = |what, meter, unit| HostRow::Meter { name: node.name.clone(), what, meter, unit };
        let memory =
            Meter { share: Some(granted / GIB), ..Meter::of(used / GIB, node.available().as_f64() / GIB) };
        let traffic = Meter::of(traffic / 1e9, node.bandwidth.as_f64() / 1e9);
        [row("memory", memory, Unit::Gib), row("traffic", traffic, Unit::GbPerSecond)]
    }

    fn roots(&self, socket: SocketId, rows: &mut Vec<HostRow>) {
        let fabric = self.topology.fabric();
        for link in &fabric.links {
            let port = &fabric.ports[link.upper.index()];
            if port.kind == (PortKind::Root { socket }) {
                self.link(link.id, &port.name, "", "", rows);
            }
        }
    }

    /// A link with all that is below it; `branch` leads to its own name and `stem` to its children's.
    fn link(&self, id: LinkId, port: &str, branch: &str, stem: &str, rows: &mut Vec<HostRow>) {
        let fabric = self.topology.fabric();
        let setting = self.held.links[id.index()];
        let name =
            |below: &str| if branch.is_empty() { format!("{port} {below}") } else { below.to_string() };
        match fabric.links[id.index()].lower {
            LinkEnd::Switch(switch) => {
                let switch = &fabric.switches[switch.index()];
                rows.push(HostRow::Fabric {
                    branch: branch.into(),
                    name: name(&switch.name),
                    link: Some(setting),
                    owner: Owner::Divided,
                    flow: self.through(id),
                    carries: setting.bandwidth().as_f64(),
                });
                let below: Vec<LinkId> = fabric
                    .links
                    .iter()
                    .filter(|link| switch.downstream.contains(&link.upper))
                    .map(|link| link.id)
                    .collect();
                for (index, link) in below.iter().enumerate() {
                    let (branch, next) = branches(stem, index + 1 == below.len());
                    self.link(*link, "", &branch, &next, rows);
                }
            }
            LinkEnd::Device(device) => {
                let carries = setting.bandwidth().min(fabric.devices[device.index()].bandwidth).as_f64();
                let label = name(&fabric.devices[device.index()].name);
                rows.push(HostRow::Fabric {
                    branch: branch.into(),
                    name: label,
                    link: Some(setting),
                    owner: self.owner(device),
                    flow: self.through(id),
                    carries,
                });
                self.parts(device, stem, rows);
                self.instances(device, stem, rows);
            }
        }
    }

    fn parts(&self, whole: DeviceId, stem: &str, rows: &mut Vec<HostRow>) {
        let devices = self.topology.fabric().devices.iter();
        let parts: Vec<_> = devices.filter(|device| device.attachment == Attachment::PartOf(whole)).collect();
        for (index, part) in parts.iter().enumerate() {
            rows.push(HostRow::Fabric {
                branch: branches(stem, index + 1 == parts.len()).0,
                name: part.name.clone(),
                link: None,
                owner: self.owner(part.id),
                flow: self.means.flows[part.id.index()],
                carries: part.bandwidth.as_f64(),
            });
        }
    }

    /// The instances that a GPU is divided into.
    fn instances(&self, device: DeviceId, stem: &str, rows: &mut Vec<HostRow>) {
        let Some(gpu) = self.topology.gpus().iter().find(|gpu| gpu.device == device) else { return };
        let made: Vec<_> = self.held.gpu_instances.iter().filter(|made| made.gpu == gpu.id).collect();
        for (index, instance) in made.iter().enumerate() {
            let profile = gpu.profiles.get(instance.profile as usize);
            rows.push(HostRow::Fabric {
                branch: branches(stem, index + 1 == made.len()).0,
                name: profile.map_or("?", |profile| &profile.name).into(),
                link: None,
                owner: Owner::Vm(self.names.vm(instance.owner).into()),
                flow: 0.0,
                carries: 0.0,
            });
        }
    }

    fn owner(&self, device: DeviceId) -> Owner {
        let fabric = self.topology.fabric();
        let divided = fabric.devices.iter().any(|other| other.attachment == Attachment::PartOf(device))
            || self.topology.gpus().iter().any(|gpu| gpu.device == device);
        match self.held.devices[device.index()].owner {
            Some(vm) => Owner::Vm(self.names.vm(vm).into()),
            None if divided => Owner::Divided,
            None if fabric.devices[device.index()].host_owned => Owner::Host,
            None => Owner::Nobody,
        }
    }

    fn through(&self, link: LinkId) -> f64 {
        let fabric = self.topology.fabric();
        let through = fabric.devices.iter().filter(|device| fabric.route(device.id).contains(&link));
        through.map(|device| self.means.flows[device.id.index()]).sum()
    }

    fn pools(&self) -> impl Iterator<Item = HostRow> {
        let fabric = self.topology.fabric();
        fabric.pools.iter().map(|pool| {
            let links = fabric.links.iter();
            let inside = links.filter(|link| fabric.ports[link.upper.index()].pool == Some(pool.id));
            let used = inside.map(|link| f64::from(self.held.links[link.id.index()].width.get())).sum();
            let meter = Meter::of(used, f64::from(pool.lanes));
            HostRow::Meter { name: pool.name.clone(), what: "lanes", meter, unit: Unit::Lanes }
        })
    }
}

fn branches(stem: &str, last: bool) -> (String, String) {
    if last {
        (format!("{stem}└ "), format!("{stem}  "))
    } else {
        (format!("{stem}├ "), format!("{stem}│ "))
    }
}
