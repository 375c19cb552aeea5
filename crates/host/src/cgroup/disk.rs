//! What VMs may move to and from disks: a grant's ceiling in each direction, on the owner's group.

use std::collections::BTreeMap;
use std::time::Duration;

use halcyon_hal::{Actuate, ActuateError, Driver, ObserveError, Progress, Ticket, error_chain};
use halcyon_model::{Assignment, Bandwidth, Capabilities, ChangeKind, Control, DeviceId, Grant, Step, VmId};

use super::access::CgroupError;
use super::files::{IoMax, Limit};
use super::group::Group;
use crate::ceiling;

/// A disk as the kernel knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Disk {
    /// Its major and minor number.
    pub number: (u32, u32),
    /// What it moves in a second; a ceiling of that or more is no limit.
    pub most: Bandwidth,
}

/// Limits disk traffic of VMs through their groups.
#[derive(Debug)]
pub struct DiskDriver {
    groups: BTreeMap<VmId, Group>,
    disks: BTreeMap<DeviceId, Disk>,
    owners: BTreeMap<DeviceId, VmId>,
}

impl DiskDriver {
    /// A driver of these groups and disks.
    #[must_use]
    pub fn new(groups: BTreeMap<VmId, Group>, disks: BTreeMap<DeviceId, Disk>) -> Self {
        Self { groups, disks, owners: BTreeMap::new() }
    }

    fn set(&self, vm: VmId, device: DeviceId, grant: Grant<Bandwidth>) -> Result<(), String> {
        let group = self.groups.get(&vm).ok_or_else(|| format!("{vm} has no control group"))?;
        let disk = *self.disks.get(&device).ok_or_else(|| format!("{device} is no disk that is known"))?;
        let said = |error: CgroupError| error_chain(&error);
        let before = group.io_max(disk.number).map_err(said)?;
        let limit = ceiling::limit(grant.ceiling, disk.most).map_or(Limit::None, Limit::At);
        let set = group.set_io_max(IoMax { read_bytes: limit, write_bytes: limit, ..before });
        set.inspect_err(|_| drop(group.set_io_max(before))).map_err(said)
    }
}

impl Actuate for DiskDriver {
    fn estimate(&self, _: &Step) -> Duration {
        Duration::from_micros(100)
    }

    fn begin(&mut self, step: &Step) -> Result<Progress, ActuateError> {
        let refuse = |why: String| ActuateError { step: step.to_string(), why };
        let Step::SetDeviceBandwidth { device, to, .. } = step else {
            return Err(refuse("this driver changes disk traffic only".into()));
        };
        let owner = self.owners.get(device).copied();
        let owner = owner.ok_or_else(|| refuse(format!("nobody owns {device}")))?;
        self.set(owner, *device, *to).map(|()| Progress::Done).map_err(refuse)
    }

    fn poll(&mut self, _: Ticket) -> Progress {
        Progress::Failed { why: "no such change is under way".into() }
    }
}

impl Driver for DiskDriver {
    fn name(&self) -> &'static str {
        "cgroup-disk"
    }

    fn capabilities(&self) -> Capabilities {
        let disk = Control { pace: Duration::from_millis(100), ..Control::FREE };
        Capabilities::none().with(ChangeKind::DeviceBandwidth, Some(disk))
    }

    fn read(&mut self, held: &mut Assignment) -> Result<(), ObserveError> {
        self.owners.clear();
        for (device, disk) in &self.disks {
            let Some(holding) = held.devices.get_mut(device.index()) else { continue };
            let Some(owner) = holding.owner else { continue };
            self.owners.insert(*device, owner);
            let Some(read) = self.groups.get(&owner).map(|group| group.io_max(disk.number)) else { continue };
            let Ok(max) = read else { continue };
            // One figure stands for both directions: the larger, as it is what the disk may have to give.
            let found = match max.read_bytes.max(max.write_bytes) {
                Limit::At(bytes) => Some(bytes),
                Limit::None => None,
            };
            holding.bandwidth = ceiling::grant(holding.bandwidth, found, disk.most);
        }
        Ok(())
    }
}
