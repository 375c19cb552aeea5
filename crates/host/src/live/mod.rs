//! A Linux host as it runs: its machine, the guests that the monitor finds, what the sampler counts of them,
//! and the drivers that change what they hold.
//!
//! When guests come or go, drivers and inventory are made anew, as soon as no change is under way. What
//! cannot be managed (no room for what it is promised, no control group, a name that another has) is left
//! as it is, and is said.

mod bounds;
mod detect;
mod ids;
mod specs;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use halcyon_hal::{
    Actuate, ActuateError, Assembly, Driver, Inventory, Observe, ObserveError, Progress, Ticket, Unfinished,
};
use halcyon_model::profile::Profiles;
use halcyon_model::{
    Assignment, ByteSize, Capabilities, Holding, HostTime, Snapshot, Step, Topology, VmId, VmSample, VmSpec,
    World, admit,
};

use crate::cgroup::{Controller, CpuDriver, Group, Layout, SocketCpus, Tree};
use crate::error_chain;
use crate::qmp::{Clock, MemoryBinding, MemoryDriver, Plug};
use crate::sampler::{Guest, Paces, Roots, Sampler};
use crate::vm::{Change, Instance, Life, Monitor, Place};

pub use detect::{DetectError, detect};
pub use ids::{Ids, IdsError};
pub use specs::Specs;

/// How long guests may take to say who they are when Halcyon starts.
const FIRST_LOOK: Duration = Duration::from_millis(1500);
/// Changes of guests are collected for so long before drivers are made anew.
const GATHER: Duration = Duration::from_millis(200);
/// For so long changes under way are waited for first; one that is lost then has failed and is led back.
const UNDER_WAY: Duration = Duration::from_secs(30);

/// What a live host is made of.
#[derive(Debug)]
pub struct Site {
    /// The machine.
    pub topology: Topology,
    /// What may be changed on it, as far as there is a driver for it.
    pub capabilities: Capabilities,
    /// What VMs are promised.
    pub specs: Specs,
    /// What is known of programs.
    pub profiles: Arc<Profiles>,
    /// Where sockets of guests are.
    pub places: Vec<Place>,
    /// Which VM has which number.
    pub ids: Ids,
    /// Where the kernel's trees are.
    pub roots: Roots,
    /// Where the kernel shows the machine, usually `/sys`.
    pub sys: PathBuf,
    /// Where control groups are.
    pub cgroups: PathBuf,
}

/// A Linux host with its guests.
pub struct Live {
    topology: Topology,
    capabilities: Capabilities,
    specs: Specs,
    profiles: Arc<Profiles>,
    ids: Ids,
    tree: Tree,
    sockets: Vec<SocketCpus>,
    monitor: Monitor,
    sampler: Sampler,
    began: Instant,
    /// Guests by their sockets.
    guests: BTreeMap<PathBuf, Found>,
    assembly: Assembly,
    /// Whether guests may be changed.
    acts: bool,
    /// Since when guests are others than drivers know.
    stale: Option<HostTime>,
    samples: Vec<VmSample>,
    trouble: BTreeMap<String, String>,
}

/// A guest that was found.
struct Found {
    instance: Arc<Instance>,
    vm: Option<VmId>,
    life: Life,
    group: Option<(Group, Layout)>,
}

impl Live {
    /// A host whose guests are to be found, with what may be changed left alone.
    ///
    /// # Errors
    /// When the system has no thread to give.
    pub fn new(site: Site) -> std::io::Result<Self> {
        let Site { topology, capabilities, specs, profiles, places, ids, roots, sys, cgroups } = site;
        let monitor = Monitor::new(places, &roots.proc)?;
        let tree = Tree::open(&cgroups, &roots.proc);
        let sockets = detect::socket_cpus(&sys, &topology);
        let sampler = Sampler::new(roots, Paces::default());
        let began = Instant::now();
        let assembly = assemble(&topology, &capabilities, &profiles, Parts::default(), began);
        Ok(Self {
            topology,
            capabilities,
            specs,
            profiles,
            ids,
            tree,
            sockets,
            monitor,
            sampler,
            began,
            guests: BTreeMap::new(),
            assembly,
            acts: false,
            stale: None,
            samples: Vec::new(),
            trouble: BTreeMap::new(),
        })
    }

    /// What people call it.
    #[must_use]
    pub fn name(&self) -> &str {
        self.topology.name()
    }

    /// Time since it was made.
    #[must_use]
    pub fn now(&self) -> HostTime {
        self.began.elapsed()
    }

    /// Finds the guests that are there, and reads what they hold with what a journal left unfinished in mind.
    ///
    /// # Errors
    /// When the machine cannot be read.
    pub fn start(&mut self, acts: bool, unfinished: &Unfinished) -> Result<(), ObserveError> {
        self.acts = acts;
        if acts {
            self.tree.sweep();
        }
        let mut last = self.now();
        while self.now() < FIRST_LOOK && self.now().saturating_sub(last) < FIRST_LOOK / 3 {
            if self.follow() {
                last = self.now();
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.renew();
        self.assembly.resume(unfinished)?;
        self.bring_into_bounds();
        Ok(())
    }

    /// Whether guests may be changed from now on.
    pub fn let_act(&mut self, acts: bool) {
        if acts != self.acts {
            self.acts = acts;
            self.stale = Some(self.now().saturating_sub(GATHER));
        }
    }

    /// Follows guests that come, change and go. Call it before each reading.
    pub fn pass(&mut self) {
        let now = self.now();
        if self.follow() && self.stale.is_none() {
            self.stale = Some(now);
        }
        let waited = self.stale.map(|since| now.saturating_sub(since));
        if waited.is_some_and(|waited| waited >= UNDER_WAY || waited >= GATHER && self.assembly.is_idle()) {
            self.renew();
            if let Err(error) = self.assembly.read() {
                tracing::warn!(error = error_chain(&error), "not read after guests changed");
            }
            self.bring_into_bounds();
        }
    }

    /// What VMs do.
    pub fn lives(&self) -> impl Iterator<Item = (VmId, Life)> {
        self.guests.values().filter_map(|found| Some((found.vm?, found.life)))
    }

    /// What keeps guests from being managed or measured, each on a line.
    #[must_use]
    pub fn troubles(&self) -> Vec<String> {
        let names = |vm: VmId| self.ids.name(vm).unwrap_or("?");
        let told = self.trouble.iter().map(|(name, why)| format!("{name}: {why}"));
        let sources = self.sampler.troubles();
        let sources =
            sources.map(|trouble| format!("{}: {}: {}", names(trouble.vm), trouble.source, trouble.why));
        told.chain(self.monitor.troubles(self.now())).chain(sources).collect()
    }

    /// Takes what the monitor saw; whether drivers have to know of it.
    fn follow(&mut self) -> bool {
        let mut matters = false;
        for change in self.monitor.poll(self.now()) {
            match change {
                Change::Came(instance) => {
                    tracing::info!(vm = instance.name, socket = %instance.socket.display(), "a VM came");
                    let (socket, life) = (instance.socket.clone(), instance.life);
                    self.guests.insert(socket, Found { instance, vm: None, life, group: None });
                    matters = true;
                }
                Change::Renewed(instance) => {
                    if let Some(found) = self.guests.get_mut(&instance.socket) {
                        found.instance = instance;
                        matters = true;
                    }
                }
                Change::Rebooted(socket) => {
                    if let Some(found) = self.guests.get(&socket) {
                        tracing::info!(vm = found.instance.name, "a VM began anew");
                    }
                }
                Change::Life(socket, life) => {
                    if let Some(found) = self.guests.get_mut(&socket) {
                        tracing::info!(vm = found.instance.name, %life, "a VM's life");
                        found.life = life;
                    }
                }
                Change::Went(socket, how) => {
                    if let Some(found) = self.guests.remove(&socket) {
                        tracing::info!(vm = found.instance.name, %how, "a VM went");
                        self.leave(&found);
                        matters = true;
                    }
                }
            }
        }
        matters
    }

    fn leave(&mut self, found: &Found) {
        if let Some(vm) = found.vm {
            self.sampler.forget(vm);
        }
        if let Some((group, Layout::Own)) = &found.group
            && self.tree.is_ours(group)
        {
            // One that still holds a process says no, and stays.
            let _ = self.tree.remove(group);
        }
    }

    /// Makes inventory and drivers of the guests that are there.
    fn renew(&mut self) {
        self.stale = None;
        self.trouble.clear();
        let sockets = self.bind();
        let guest = |vm: VmId| self.guests.get(sockets.get(&vm)?);
        let spec = |vm: &VmId| Some(self.specs.of(*vm, &guest(*vm)?.instance, &self.topology));
        let mut specs: Vec<VmSpec> = sockets.keys().filter_map(spec).collect();
        let mut believed = self.admit(&mut specs);
        let (mut groups, mut memory) = (BTreeMap::new(), BTreeMap::new());
        for holding in &mut believed.holdings {
            let vm = holding.vm;
            let Some(found) = sockets.get(&vm).and_then(|socket| self.guests.get(socket)) else { continue };
            let kept = self.assembly.held().holding(vm).filter(|_| found.vm == Some(vm));
            let node = |held: &Holding| self.topology.nearest_nodes(held.socket).first().copied();
            match kept {
                Some(kept) => holding.clone_from(kept),
                None => {
                    let size = found.instance.balloon_actual.or(found.instance.boot_memory);
                    let on = node(holding).unwrap_or_default();
                    holding.memory = size.map(|size| (on, ByteSize::new(size))).into_iter().collect();
                }
            }
            if found.instance.balloon_actual.is_some() {
                let plug = Plug::Balloon { node: node(holding).unwrap_or_default() };
                memory.insert(vm, MemoryBinding { client: found.instance.client.clone(), plug });
            }
            if let Some((group, _)) = &found.group {
                groups.insert(vm, group.clone());
            }
        }
        self.track(&sockets, &believed);
        let parts = Parts { specs, believed, groups, memory, sockets: self.sockets.clone() };
        self.assembly = assemble(&self.topology, &self.capabilities, &self.profiles, parts, self.began);
    }

    /// The socket of each VM that has a number of its own and a group where it needs one.
    fn bind(&mut self) -> BTreeMap<VmId, PathBuf> {
        let mut sockets = BTreeMap::new();
        for (socket, found) in &mut self.guests {
            let bound = match self.ids.id(&found.instance.name) {
                Ok(vm) if sockets.contains_key(&vm) => {
                    Err(format!("another VM has this name; give that of {} its own", socket.display()))
                }
                Ok(vm) => found.join(vm, &self.tree, self.acts).map(|()| vm),
                Err(error) => Err(error_chain(&error)),
            };
            match bound {
                Ok(vm) => drop(sockets.insert(vm, socket.clone())),
                Err(why) => drop(self.trouble.insert(found.instance.name.clone(), why)),
            }
        }
        sockets
    }

    /// Lets the sampler know who is managed. Those who were before keep their counters.
    fn track(&mut self, sockets: &BTreeMap<VmId, PathBuf>, believed: &Assignment) {
        let managed: BTreeMap<&PathBuf, VmId> = sockets
            .iter()
            .filter(|(vm, _)| believed.holding(**vm).is_some())
            .map(|(vm, socket)| (socket, *vm))
            .collect();
        for (socket, found) in &mut self.guests {
            let before = std::mem::replace(&mut found.vm, managed.get(socket).copied());
            if let Some(before) = before.filter(|before| found.vm != Some(*before)) {
                self.sampler.forget(before);
            }
        }
        for found in self.guests.values() {
            if let Some(vm) = found.vm {
                self.sampler.track(found.tracked(vm));
            }
        }
    }

    /// What VMs hold at first; those for which there is no room are left out, and said.
    fn admit(&mut self, specs: &mut Vec<VmSpec>) -> Assignment {
        loop {
            let world = World { topology: &self.topology, vms: specs, capabilities: &self.capabilities };
            match admit(world) {
                Ok(assignment) => return assignment,
                Err(error) => {
                    let before = specs.len();
                    specs.retain(|spec| spec.name != error.vm);
                    self.trouble.insert(error.vm.clone(), format!("it is left alone: {error}"));
                    if specs.len() == before {
                        specs.clear();
                    }
                }
            }
        }
    }

    /// Brings CPU time that was granted by others into what each VM is promised and may reach.
    fn bring_into_bounds(&mut self) {
        let inventory = self.assembly.inventory();
        let mut held = self.assembly.held().clone();
        for step in bounds::steps(inventory.world(), &held) {
            if self.acts {
                tracing::info!(%step, "brought into its bounds");
                if let Err(error) = self.assembly.begin(&step) {
                    tracing::warn!(error = error_chain(&error), "not brought into its bounds");
                }
            }
            let _ = held.apply(&step);
        }
        self.assembly.believe(held);
    }
}

impl Found {
    /// Finds the group that it is limited by, or why it cannot be managed.
    fn join(&mut self, vm: VmId, tree: &Tree, acts: bool) -> Result<(), String> {
        let Some(process) = &self.instance.process else {
            return Err("its process cannot be seen; Halcyon has to run on the same host, as root".into());
        };
        if self.vm == Some(vm) && self.group.is_some() {
            return Ok(());
        }
        let found = if acts { tree.adopt(process.pid, &self.instance.name) } else { tree.find(process.pid) };
        self.group = match found {
            Ok((_, Layout::Shared)) => None,
            Ok(found) => Some(found),
            Err(error) if acts => return Err(error_chain(&error)),
            Err(_) => None,
        };
        Ok(())
    }

    /// Where its figures are read.
    fn tracked(&self, vm: VmId) -> Guest {
        Guest {
            group: self.group.as_ref().map(|(group, _)| group.clone()),
            process: self.instance.process.clone(),
            qmp: Some(self.instance.client.clone()),
            balloon: self.instance.balloon.clone(),
            ..Guest::new(vm)
        }
    }
}

/// What drivers and inventory are made of.
#[derive(Debug, Default)]
struct Parts {
    specs: Vec<VmSpec>,
    believed: Assignment,
    groups: BTreeMap<VmId, Group>,
    memory: BTreeMap<VmId, MemoryBinding>,
    sockets: Vec<SocketCpus>,
}

fn assemble(
    topology: &Topology,
    capabilities: &Capabilities,
    profiles: &Arc<Profiles>,
    parts: Parts,
    began: Instant,
) -> Assembly {
    let clock: Clock = Arc::new(move || began.elapsed());
    let mut drivers: Vec<Box<dyn Driver>> = vec![Box::new(MemoryDriver::new(parts.memory, clock))];
    if parts.groups.values().all(|group| group.has(Controller::Cpu)) {
        drivers.push(Box::new(CpuDriver::new(parts.groups, parts.sockets)));
    }
    let inventory = Inventory {
        topology: topology.clone(),
        vms: parts.specs,
        capabilities: capabilities.clone(),
        profiles: Arc::clone(profiles),
    };
    Assembly::new(inventory, drivers, parts.believed, move || began.elapsed())
}

impl Observe for Live {
    fn inventory(&self) -> Arc<Inventory> {
        self.assembly.inventory()
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        self.assembly.observe(snapshot)?;
        let inventory = self.assembly.inventory();
        if bounds::settle(inventory.world(), &mut snapshot.assignment) {
            self.assembly.believe(snapshot.assignment.clone());
        }
        self.sampler.sample(self.began.elapsed(), &mut self.samples);
        let mut samples = self.samples.iter().peekable();
        for sample in &mut snapshot.vms {
            while samples.next_if(|other| other.vm < sample.vm).is_some() {}
            if let Some(known) = samples.next_if(|other| other.vm == sample.vm) {
                sample.clone_from(known);
            }
        }
        Ok(())
    }
}

impl Actuate for Live {
    fn estimate(&self, step: &Step) -> Duration {
        self.assembly.estimate(step)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        self.assembly.begin(step)
    }

    fn poll(&mut self, ticket: Ticket) -> Progress {
        self.assembly.poll(ticket)
    }
}

impl std::fmt::Debug for Live {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Live")
            .field("monitor", &self.monitor)
            .field("acts", &self.acts)
            .finish_non_exhaustive()
    }
}

/// The folder that a file of state is in, made if it is not there.
fn make_folder(path: &Path) -> std::io::Result<()> {
    path.parent().map_or(Ok(()), std::fs::create_dir_all)
}
