//! Who holds what: the whole state of a host that Halcyon decides on.

use std::fmt;

use crate::capability::{Families, Family};
use crate::ids::{ClassId, DeviceId, GpuId, LinkId, NodeId, SocketId, VmId};
use crate::step::{Placement, Step};
use crate::topology::LinkSetting;
use crate::units::{Bandwidth, ByteSize, MilliCpu};

/// A rate that is set aside, and how far it may be exceeded while others leave theirs unused.
///
/// For CPU time the share becomes the weight and the ceiling the quota; where the hardware knows caps
/// only, the ceiling is the cap and the share is what admission counts on.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Grant<T> {
    /// What is set aside.
    pub share: T,
    /// What is never exceeded; at least the share.
    pub ceiling: T,
}

impl<T: Copy> Grant<T> {
    /// Exactly this much, no more even when there is more.
    pub const fn fixed(amount: T) -> Self {
        Self { share: amount, ceiling: amount }
    }
}

impl<T: fmt::Display + PartialEq> fmt::Display for Grant<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.share == self.ceiling {
            write!(f, "{}", self.share)
        } else {
            write!(f, "{} (up to {})", self.share, self.ceiling)
        }
    }
}

/// What one VM holds of the divisible resources.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holding {
    /// The VM.
    pub vm: VmId,
    /// The socket whose CPUs it runs on.
    pub socket: SocketId,
    /// CPU time of that socket.
    pub cpu: Grant<MilliCpu>,
    /// Bandwidth to that socket's memory.
    pub memory_bandwidth: Grant<Bandwidth>,
    /// Memory by node, ordered by node, no node twice, no empty entry.
    pub memory: Vec<(NodeId, ByteSize)>,
    /// Its class of service in the last-level cache.
    pub class: ClassId,
}

impl Holding {
    /// Memory on all nodes together.
    #[must_use]
    pub fn total_memory(&self) -> ByteSize {
        self.memory.iter().map(|(_, size)| *size).sum()
    }

    /// Memory on one node.
    #[must_use]
    pub fn memory_on(&self, node: NodeId) -> ByteSize {
        self.memory.iter().find(|(held, _)| *held == node).map_or(ByteSize::ZERO, |(_, size)| *size)
    }

    /// Sets the memory on one node and keeps the list ordered: for who reads it from a machine.
    pub fn put_memory(&mut self, node: NodeId, size: ByteSize) {
        match self.memory.binary_search_by_key(&node, |(held, _)| *held) {
            Ok(found) if size.is_zero() => {
                self.memory.remove(found);
            }
            Ok(found) => self.memory[found].1 = size,
            Err(_) if size.is_zero() => {}
            Err(place) => self.memory.insert(place, (node, size)),
        }
    }
}

/// Who owns a device, and what it may move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DeviceHolding {
    /// The VM, if any.
    pub owner: Option<VmId>,
    /// Bandwidth through the fabric; zero without an owner.
    pub bandwidth: Grant<Bandwidth>,
}

/// A capacity bit mask of a class of service on one socket.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CacheMask(pub u32);

impl CacheMask {
    /// A mask of all `ways`.
    #[must_use]
    pub const fn full(ways: u32) -> Self {
        Self(if ways >= 32 { u32::MAX } else { (1 << ways) - 1 })
    }

    /// The number of ways in it.
    #[must_use]
    pub const fn ways(self) -> u32 {
        self.0.count_ones()
    }

    /// Whether its ways are one run; an empty mask is none.
    #[must_use]
    pub const fn is_contiguous(self) -> bool {
        self.0 != 0 && {
            let run = self.0 >> self.0.trailing_zeros();
            run & run.wrapping_add(1) == 0
        }
    }
}

impl fmt::Display for CacheMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}", self.0)
    }
}

/// A partition of a GPU, and the VM that owns it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct GpuInstance {
    /// The GPU.
    pub gpu: GpuId,
    /// The first memory slice that it occupies.
    pub start: u32,
    /// Its profile, an index into the GPU's profiles.
    pub profile: u32,
    /// The VM.
    pub owner: VmId,
}

/// Who holds what on a host.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// What each VM holds, ordered by VM.
    pub holdings: Vec<Holding>,
    /// Who owns each device, by device id.
    pub devices: Vec<DeviceHolding>,
    /// How each link is trained, by link id.
    pub links: Vec<LinkSetting>,
    /// The masks of each class of service by socket; `None` for a class that is not in use.
    pub classes: Vec<Option<Vec<CacheMask>>>,
    /// The GPU instances, ordered by GPU and start.
    pub gpu_instances: Vec<GpuInstance>,
}

/// A step that does not start from the state that it was made for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the step `{step}` does not fit what is held now")]
pub struct Mismatch {
    /// The step.
    pub step: Box<Step>,
}

impl Assignment {
    /// What a VM holds.
    #[must_use]
    pub fn holding(&self, vm: VmId) -> Option<&Holding> {
        self.holdings.binary_search_by_key(&vm, |holding| holding.vm).ok().map(|found| &self.holdings[found])
    }

    /// The devices that a VM owns.
    pub fn devices_of(&self, vm: VmId) -> impl Iterator<Item = (DeviceId, &DeviceHolding)> {
        let owned = self.devices.iter().enumerate().filter(move |(_, held)| held.owner == Some(vm));
        owned.map(|(index, held)| (DeviceId::at(index), held))
    }

    /// This assignment with the families in `kept` taken from `other`.
    #[must_use]
    pub fn keeping(mut self, other: &Self, kept: Families) -> Self {
        if kept.contains(Family::Cache) {
            self.classes.clone_from(&other.classes);
        }
        if kept.contains(Family::Fabric) {
            self.devices.clone_from(&other.devices);
            self.links.clone_from(&other.links);
        }
        if kept.contains(Family::Gpu) {
            self.gpu_instances.clone_from(&other.gpu_instances);
        }
        for (mine, theirs) in self.holdings.iter_mut().zip(&other.holdings) {
            debug_assert_eq!(mine.vm, theirs.vm, "both assignments are of the same VMs");
            if kept.contains(Family::Compute) {
                (mine.socket, mine.cpu, mine.memory_bandwidth) =
                    (theirs.socket, theirs.cpu, theirs.memory_bandwidth);
            }
            if kept.contains(Family::Memory) {
                mine.memory.clone_from(&theirs.memory);
            }
            if kept.contains(Family::Cache) {
                mine.class = theirs.class;
            }
        }
        self
    }

    /// Makes one change.
    ///
    /// # Errors
    /// When what the step starts from is not what is held; nothing is changed then.
    pub fn apply(&mut self, step: &Step) -> Result<(), Mismatch> {
        if !self.matches(step) {
            return Err(Mismatch { step: Box::new(step.clone()) });
        }
        self.put(step);
        Ok(())
    }

    /// Whether what a step starts from is what is held.
    #[must_use]
    pub fn matches(&self, step: &Step) -> bool {
        self.try_matches(step).unwrap_or(false)
    }

    fn try_matches(&self, step: &Step) -> Option<bool> {
        Some(match step {
            Step::SetCpu { vm, socket, from, .. } => {
                let holding = self.holding(*vm)?;
                holding.socket == *socket && holding.cpu == *from
            }
            Step::SetMemoryBandwidth { vm, socket, from, .. } => {
                let holding = self.holding(*vm)?;
                holding.socket == *socket && holding.memory_bandwidth == *from
            }
            Step::Place { vm, from, .. } => Placement::from_holding(self.holding(*vm)?) == *from,
            Step::SetMemory { vm, node, from, .. } => self.holding(*vm)?.memory_on(*node) == *from,
            Step::MigrateMemory { vm, from, size, .. } => self.holding(*vm)?.memory_on(*from) >= *size,
            Step::SetClass { vm, from, to } => {
                self.holding(*vm)?.class == *from && self.classes.get(to.index())?.is_some()
            }
            Step::CreateClass { class, .. } => self.classes.get(class.index())?.is_none(),
            Step::RemoveClass { class, masks } => {
                self.classes.get(class.index())?.as_ref() == Some(masks)
                    && self.holdings.iter().all(|holding| holding.class != *class)
            }
            Step::SetMask { class, socket, from, .. } => {
                self.classes.get(class.index())?.as_ref()?.get(socket.index()) == Some(from)
            }
            Step::Detach { vm, devices } => devices.iter().all(|(device, bandwidth)| {
                let given = DeviceHolding { owner: Some(*vm), bandwidth: *bandwidth };
                self.devices.get(device.index()) == Some(&given)
            }),
            Step::Attach { vm, devices } => {
                self.holding(*vm)?;
                let free =
                    |device: &DeviceId| self.devices.get(device.index()) == Some(&DeviceHolding::default());
                devices.iter().all(|(device, _)| free(device))
            }
            Step::SetDeviceBandwidth { device, from, .. } => {
                self.devices.get(device.index())?.bandwidth == *from
            }
            Step::SetLink { link, from, .. } => self.links.get(link.index()) == Some(from),
            Step::CreateInstance { instance } => self.gpu_instances.binary_search(instance).is_err(),
            Step::DestroyInstance { instance } => self.gpu_instances.binary_search(instance).is_ok(),
        })
    }

    fn put(&mut self, step: &Step) {
        match step {
            Step::SetCpu { vm, to, .. } => self.change(*vm, |holding| holding.cpu = *to),
            Step::SetMemoryBandwidth { vm, to, .. } => {
                self.change(*vm, |holding| holding.memory_bandwidth = *to);
            }
            Step::Place { vm, to, .. } => self.change(*vm, |holding| to.put(holding)),
            Step::SetMemory { vm, node, to, .. } => {
                self.change(*vm, |holding| holding.put_memory(*node, *to));
            }
            Step::MigrateMemory { vm, from, to, size } => self.change(*vm, |holding| {
                holding.put_memory(*from, holding.memory_on(*from) - *size);
                holding.put_memory(*to, holding.memory_on(*to) + *size);
            }),
            Step::SetClass { vm, to, .. } => self.change(*vm, |holding| holding.class = *to),
            Step::CreateClass { class, masks } => self.classes[class.index()] = Some(masks.clone()),
            Step::RemoveClass { class, .. } => self.classes[class.index()] = None,
            Step::SetMask { class, socket, to, .. } => {
                if let Some(masks) = &mut self.classes[class.index()] {
                    masks[socket.index()] = *to;
                }
            }
            Step::Detach { devices, .. } => {
                for (device, _) in devices {
                    self.devices[device.index()] = DeviceHolding::default();
                }
            }
            Step::Attach { vm, devices } => {
                for (device, bandwidth) in devices {
                    self.devices[device.index()] = DeviceHolding { owner: Some(*vm), bandwidth: *bandwidth };
                }
            }
            Step::SetDeviceBandwidth { device, to, .. } => self.devices[device.index()].bandwidth = *to,
            Step::SetLink { link, to, .. } => self.links[link.index()] = *to,
            Step::CreateInstance { instance } => {
                let place = self.gpu_instances.partition_point(|held| held < instance);
                self.gpu_instances.insert(place, *instance);
            }
            Step::DestroyInstance { instance } => self.gpu_instances.retain(|held| held != instance),
        }
    }

    /// Takes it that what a step changes is as the step says, whatever was believed: for CPU time and
    /// bandwidth, which machines show only roughly, before they are read anew. Other steps change nothing,
    /// as what they change can be read.
    pub fn suppose(&mut self, step: &Step) {
        match step {
            Step::SetCpu { .. } | Step::SetMemoryBandwidth { .. } | Step::Place { .. } => self.put(step),
            Step::SetDeviceBandwidth { device, to, .. } => {
                if let Some(holding) = self.devices.get_mut(device.index()) {
                    holding.bandwidth = *to;
                }
            }
            Step::Attach { vm, devices } => {
                for (device, bandwidth) in devices {
                    if let Some(holding) = self.devices.get_mut(device.index()) {
                        *holding = DeviceHolding { owner: Some(*vm), bandwidth: *bandwidth };
                    }
                }
            }
            _ => {}
        }
    }

    fn change(&mut self, vm: VmId, change: impl FnOnce(&mut Holding)) {
        if let Ok(found) = self.holdings.binary_search_by_key(&vm, |holding| holding.vm) {
            change(&mut self.holdings[found]);
        }
    }

    /// How a link is trained.
    ///
    /// # Panics
    /// When the link is not one of this host.
    #[must_use]
    pub fn link(&self, link: LinkId) -> LinkSetting {
        self.links[link.index()]
    }
}
