//! Device traffic through the tree of links: max-min fair, below each device's ceiling.

use halcyon_model::{Assignment, DeviceId, LinkId, Topology, VmId, World};

use crate::host::SimHost;

/// What the sharing needs at hand.
#[derive(Debug)]
pub(crate) struct Fabric {
    /// The devices of each VM, by position.
    owned: Vec<(VmId, Vec<DeviceId>)>,
    /// Owned devices ordered by their root port, so that each tree is one run.
    by_root: Vec<(LinkId, DeviceId)>,
    /// Bytes that each device moved so far.
    moved: Vec<f64>,
    /// Devices that are changing hands.
    pub(crate) in_motion: Vec<bool>,
    /// Time for which each link is still down.
    pub(crate) down_s: Vec<f64>,
    flows: Vec<Flow>,
    /// How many devices each VM can use now, by position.
    usable: Vec<u32>,
    free: Vec<f64>,
    active: Vec<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Flow {
    root: LinkId,
    device: DeviceId,
    position: usize,
    wanted: f64,
    got: f64,
    open: bool,
}

impl Fabric {
    pub(crate) fn new(topology: &Topology, start: &Assignment, world: World<'_>) -> Self {
        let fabric = topology.fabric();
        let mut new = Self {
            owned: Vec::new(),
            by_root: Vec::new(),
            moved: vec![0.0; fabric.devices.len()],
            in_motion: vec![false; fabric.devices.len()],
            down_s: vec![0.0; fabric.links.len()],
            flows: Vec::new(),
            usable: Vec::new(),
            free: vec![0.0; fabric.links.len()],
            active: vec![0; fabric.links.len()],
        };
        new.follow(topology, start, world);
        new
    }

    /// Takes note of who owns what.
    pub(crate) fn follow(&mut self, topology: &Topology, assignment: &Assignment, world: World<'_>) {
        self.owned.clear();
        self.owned.extend(world.vms.iter().map(|spec| (spec.id, Vec::new())));
        self.by_root.clear();
        for (index, held) in assignment.devices.iter().enumerate() {
            let device = DeviceId::at(index);
            let root = topology.fabric().route(device).last();
            if let (Some(position), Some(root)) = (held.owner.and_then(|vm| world.position(vm)), root) {
                self.owned[position].1.push(device);
                self.by_root.push((*root, device));
            }
        }
        self.by_root.sort_unstable();
    }

    pub(crate) fn owned(&self, vm: VmId) -> &[DeviceId] {
        let found = self.owned.binary_search_by_key(&vm, |(owner, _)| *owner);
        found.map_or(&[], |found| &self.owned[found].1)
    }

    /// Counts the devices that each VM can use now.
    fn count_usable(&mut self) {
        let Self { owned, in_motion, usable, .. } = self;
        usable.clear();
        usable.extend(owned.iter().map(|(_, devices)| {
            let count = devices.iter().filter(|device| !in_motion[device.index()]).count();
            u32::try_from(count).unwrap_or(u32::MAX)
        }));
    }

    pub(crate) fn moved(&self, device: DeviceId) -> f64 {
        self.moved[device.index()]
    }
}

impl SimHost {
    pub(crate) fn share_fabric(&mut self) {
        self.ask_devices();
        let seconds = self.parameters.step.as_secs_f64();
        let mut from = 0;
        while from < self.fabric.flows.len() {
            let root = self.fabric.flows[from].root;
            let to = from + self.fabric.flows[from..].iter().take_while(|flow| flow.root == root).count();
            self.share_tree(from, to, seconds);
            from = to;
        }
        for down in &mut self.fabric.down_s {
            *down = (*down - seconds).max(0.0);
        }
        for flow in &self.fabric.flows {
            self.vms[flow.position].io += flow.got;
            self.fabric.moved[flow.device.index()] += flow.got * seconds;
        }
        // What the devices do not carry goes through the host, as far as that goes.
        for vm in &mut self.vms {
            vm.io += (vm.io_wanted - vm.io).clamp(0.0, self.parameters.paravirtual_bytes_s);
        }
    }

    /// Each VM spreads its traffic evenly over the devices that it can use now.
    fn ask_devices(&mut self) {
        for vm in &mut self.vms {
            vm.io_wanted = vm.cpu * vm.efficiency * vm.memory_factor * vm.workload.application.io_bytes;
            vm.io = 0.0;
        }
        self.fabric.flows.clear();
        self.fabric.count_usable();
        let in_motion = &self.fabric.in_motion;
        let devices = &self.inventory.topology.fabric().devices;
        for (root, device) in &self.fabric.by_root {
            let held = self.assignment.devices[device.index()];
            let Some(position) = held.owner.and_then(|owner| self.inventory.world().position(owner)) else {
                continue;
            };
            let wanted = self.vms[position].io_wanted;
            if wanted <= 0.0 || in_motion[device.index()] {
                continue;
            }
            let part = wanted / f64::from(self.fabric.usable[position].max(1));
            let most = held.bandwidth.ceiling.min(devices[device.index()].bandwidth).as_f64();
            let (root, device) = (*root, *device);
            self.fabric.flows.push(Flow {
                root,
                device,
                position,
                wanted: part.min(most),
                got: 0.0,
                open: true,
            });
        }
    }

    /// Raises all flows of one tree together until each has what it wants or meets a full link.
    fn share_tree(&mut self, from: usize, to: usize, seconds: f64) {
        let topology = &self.inventory.topology;
        let Fabric { flows, free, active, down_s, .. } = &mut self.fabric;
        let flows = &mut flows[from..to];
        let routes = topology.fabric();
        for link in flows.iter().flat_map(|flow| routes.route(flow.device)) {
            let up = 1.0 - (down_s[link.index()] / seconds).min(1.0);
            free[link.index()] = self.assignment.links[link.index()].bandwidth().as_f64() * up;
            active[link.index()] = 0;
        }
        for flow in flows.iter() {
            routes.route(flow.device).iter().for_each(|link| active[link.index()] += 1);
        }
        let mut open = flows.len();
        while open > 0 {
            let mut rise = f64::INFINITY;
            for flow in flows.iter().filter(|flow| flow.open) {
                rise = rise.min(flow.wanted - flow.got);
                for link in routes.route(flow.device) {
                    rise = rise.min(free[link.index()] / f64::from(active[link.index()]));
                }
            }
            let rise = rise.max(0.0);
            for flow in flows.iter_mut().filter(|flow| flow.open) {
                flow.got += rise;
                routes.route(flow.device).iter().for_each(|link| free[link.index()] -= rise);
            }
            for flow in flows.iter_mut().filter(|flow| flow.open) {
                let full = routes.route(flow.device).iter().any(|link| free[link.index()] <= 1.0);
                if full || flow.wanted - flow.got <= 1.0 {
                    flow.open = false;
                    open -= 1;
                    routes.route(flow.device).iter().for_each(|link| active[link.index()] -= 1);
                }
            }
        }
    }
}
