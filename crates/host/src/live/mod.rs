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
    Assignment, Capabilities, HostTime, NodeId, Snapshot, Step, Topology, VmId, VmSample, VmSpec, World,
    admit,
};

use crate::cgroup::{Controller, CpuDriver, Group, Layout, SocketCpus, Tree};
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
                tracing::warn!(error = crate::error_chain(&error), "not read after guests changed");
            }
            self.bring_into_bounds();
        }
    }

    /// What a VM does, as far as that is known.
    #[must_use]
    pub fn life(&self, vm: VmId) -> Option<Life> {
        self.guests.values().find(|found| found.vm == Some(vm)).map(|found| found.life)
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
        let before = self.assembly.held().clone();
        let mut parts = Parts::default();
        let mut bound: BTreeMap<VmId, (PathBuf, VmSpec)> = BTreeMap::new();
        for (socket, found) in &mut self.guests {
            match self.ids.id(&found.instance.name) {
                Ok(vm) if bound.contains_key(&vm) => {
                    let why = format!("another VM has this name; give that of {} its own", socket.display());
                    self.trouble.insert(found.instance.name.clone(), why);
                }
                Ok(vm) => {
                    let spec = self.specs.of(vm, &found.instance, &self.topology);
                    bound.insert(vm, (socket.clone(), spec));
                }
                Err(error) => {
                    let why = crate::error_chain(&error);
                    self.trouble.insert(found.instance.name.clone(), why);
                }
            }
        }
        bound.retain(|vm, (socket, _)| match self.guests.get_mut(socket) {
            Some(found) => found.join(*vm, &self.tree, self.acts, &mut self.trouble),
            None => false,
        });
        parts.specs = bound.values().map(|(_, spec)| spec.clone()).collect();
        parts.believed = self.admit(&mut parts.specs);
        for spec in &parts.specs {
            let found = bound.get(&spec.id).and_then(|(socket, _)| self.guests.get(socket));
            let Some((found, holding)) = found.zip(parts.believed.holding(spec.id).cloned()) else {
                continue;
            };
            let kept = before.holding(spec.id).filter(|_| found.vm == Some(spec.id));
            let mut holding = kept.cloned().unwrap_or(holding);
            let node = self.topology.nearest_nodes(holding.socket).first().copied().unwrap_or(NodeId(0));
            if let Some(size) = found.instance.balloon_actual.or(found.instance.boot_memory) {
                holding.memory = vec![(node, halcyon_model::ByteSize::new(size))];
            }
            if found.instance.balloon_actual.is_some() {
                let binding =
                    MemoryBinding { client: found.instance.client.clone(), plug: Plug::Balloon { node } };
                parts.memory.insert(spec.id, binding);
            }
            if let Some((group, _)) = &found.group {
                parts.groups.insert(spec.id, group.clone());
            }
            if let Some(place) = parts.believed.holdings.iter_mut().find(|held| held.vm == spec.id) {
                *place = holding;
            }
        }
        let managed: BTreeMap<VmId, &VmSpec> = parts.specs.iter().map(|spec| (spec.id, spec)).collect();
        for found in self.guests.values_mut() {
            if let Some(vm) = found.vm.take() {
                self.sampler.forget(vm);
            }
        }
        for (vm, (socket, _)) in &bound {
            let Some(found) = self.guests.get_mut(socket).filter(|_| managed.contains_key(vm)) else {
                continue;
            };
            found.vm = Some(*vm);
            self.sampler.track(found.tracked(*vm));
        }
        parts.sockets.clone_from(&self.sockets);
        self.assembly = assemble(&self.topology, &self.capabilities, &self.profiles, parts, self.began);
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
                    tracing::warn!(error = crate::error_chain(&error), "not brought into its bounds");
                }
            }
            let _ = held.apply(&step);
        }
        self.assembly.believe(held);
    }
}

impl Found {
    /// Finds the group that it is limited by; whether it can be managed.
    fn join(&mut self, vm: VmId, tree: &Tree, acts: bool, trouble: &mut BTreeMap<String, String>) -> bool {
        let Some(process) = &self.instance.process else {
            let why = "its process cannot be seen; Halcyon has to run on the same host, as root".to_owned();
            trouble.insert(self.instance.name.clone(), why);
            return false;
        };
        if self.vm == Some(vm) && self.group.is_some() {
            return true;
        }
        let found = if acts { tree.adopt(process.pid, &self.instance.name) } else { tree.find(process.pid) };
        match found {
            Ok((_, Layout::Shared)) => self.group = None,
            Ok(found) => self.group = Some(found),
            Err(error) if acts => {
                trouble.insert(self.instance.name.clone(), crate::error_chain(&error));
                return false;
            }
            Err(_) => self.group = None,
        }
        true
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
#[derive(Default)]
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
        bounds::settle(inventory.world(), &mut snapshot.assignment);
        self.assembly.believe(snapshot.assignment.clone());
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
