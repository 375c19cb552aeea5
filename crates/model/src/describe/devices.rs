//! The devices of a host file, in slots of their own or parts of others.

use std::collections::{BTreeMap, BTreeSet};

use super::DescribeError;
use super::element::Element;
use super::fabric::Builder;
use super::form::{DeviceForm, HostForm};
use super::names::Kind;
use crate::ids::{DeviceId, IommuGroup, PciAddress, PortId};
use crate::topology::{Attachment, Device, LinkEnd, LinkSetting};

impl Builder<'_, '_> {
    /// Builds every device, once all have their names: a part may come before its whole.
    pub(super) fn devices(&mut self) -> Result<(), DescribeError> {
        let form = self.form;
        for (index, device) in form.device.iter().enumerate() {
            self.names.give(Kind::Device, index, &device.name)?;
        }
        let mut groups = Groups::new(form);
        let mut addresses = BTreeMap::new();
        let backing: BTreeSet<&str> = form
            .memory
            .iter()
            .filter_map(|memory| memory.device.as_ref())
            .map(|it| it.get_ref().as_str())
            .collect();
        for (index, device) in form.device.iter().enumerate() {
            let element = self.names.element(Kind::Device, &device.name);
            check_address(&element, device, &mut addresses)?;
            let attachment = self.attachment(&element, index, device)?;
            let backs = backing.contains(device.name.get_ref().as_str());
            self.parts.devices.push(Device {
                id: DeviceId::at(index),
                name: device.name.get_ref().clone(),
                address: device.address.as_ref().map(|address| *address.get_ref()),
                class: device.class,
                attachment,
                bandwidth: element.rate("bandwidth", &device.bandwidth)?,
                iommu_group: device.iommu_group.map_or_else(|| groups.fresh(), IommuGroup),
                hot_plug: device.hot_plug.unwrap_or(true),
                host_owned: host_owned(&element, device, backs)?,
            });
        }
        Ok(())
    }

    fn attachment(
        &mut self,
        element: &Element<'_>,
        index: usize,
        form: &DeviceForm,
    ) -> Result<Attachment, DescribeError> {
        match (&form.port, &form.part_of) {
            (Some(port), None) => {
                let upper = PortId::at(self.names.find(element, Kind::Port, port)?);
                let most = &self.parts.ports[upper.index()];
                let own = LinkSetting {
                    width: form.width.as_ref().map_or(most.max_width, |width| *width.get_ref()),
                    speed: form.speed.as_ref().map_or(most.max_speed, |speed| *speed.get_ref()),
                };
                let lower = LinkEnd::Device(DeviceId::at(index));
                self.plug(element, port, lower, own, form.initial_width.as_ref()).map(Attachment::Link)
            }
            (None, Some(whole)) => {
                let found = self.names.find(element, Kind::Device, whole)?;
                check_part(element, form, &self.form.device[found])?;
                Ok(Attachment::PartOf(DeviceId::at(found)))
            }
            _ => Err(element.fault("needs either `port` (a slot of its own) or `part_of` (another device)")),
        }
    }
}

/// A part has no slot and no link of its own, and moves no more than its whole.
fn check_part(element: &Element<'_>, part: &DeviceForm, whole: &DeviceForm) -> Result<(), DescribeError> {
    let name = whole.name.get_ref();
    element.ensure(whole.port.is_some(), || {
        format!("is part of `{name}`, which has no port of its own; name the device that sits in the slot")
    })?;
    let linkless = part.width.is_none() && part.speed.is_none() && part.initial_width.is_none();
    element.ensure(linkless, || {
        format!("has width, speed or initial_width, but the link is that of `{name}`; remove them")
    })?;
    let (own, most) = (*part.bandwidth.get_ref(), *whole.bandwidth.get_ref());
    element.ensure_at(&part.bandwidth, own <= most, || {
        format!("bandwidth is {own}, but `{name}`, which it is part of, has only {most}")
    })
}

fn check_address(
    element: &Element<'_>,
    form: &DeviceForm,
    taken: &mut BTreeMap<PciAddress, String>,
) -> Result<(), DescribeError> {
    let Some(address) = &form.address else { return Ok(()) };
    match taken.insert(*address.get_ref(), element.label().to_owned()) {
        None => Ok(()),
        Some(other) => {
            let problem = format!("{other} answers at {} already", address.get_ref());
            Err(element.fault_at(&address.span(), &problem))
        }
    }
}

/// A device that holds memory of the host stays with the host.
fn host_owned(element: &Element<'_>, form: &DeviceForm, backs: bool) -> Result<bool, DescribeError> {
    let Some(said) = &form.host_owned else { return Ok(backs) };
    element.ensure_at(said, *said.get_ref() || !backs, || {
        "holds memory of the host, which therefore owns it; remove `host_owned = false`".into()
    })?;
    Ok(*said.get_ref())
}

/// Numbers for the devices whose group the file leaves open; each is then movable by itself.
struct Groups {
    taken: BTreeSet<u32>,
    next: u32,
}

impl Groups {
    fn new(form: &HostForm) -> Self {
        Self { taken: form.device.iter().filter_map(|device| device.iommu_group).collect(), next: 0 }
    }

    fn fresh(&mut self) -> IommuGroup {
        // Fewer numbers are taken than there are, so that the search ends.
        while self.taken.contains(&self.next) {
            self.next += 1;
        }
        self.next += 1;
        IommuGroup(self.next - 1)
    }
}
