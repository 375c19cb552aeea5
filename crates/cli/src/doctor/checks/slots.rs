//! Devices that come and go: hot-plug slots and SR-IOV.

use super::super::finding::{Area, Finding, listing};
use super::super::root::{Reading, Root, if_there};
use super::pci;

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let slots = slots(root).unwrap_or_else(|cause| Area::Devices.unknown("hotplug-slots", &cause));
    let sriov = sriov(root).unwrap_or_else(|cause| Area::Devices.unknown("sriov", &cause));
    vec![slots, sriov]
}

/// A slot with a `power` file can be switched; one without only has a number.
fn slots(root: &Root) -> Reading<Finding> {
    let name = "hotplug-slots";
    let folder = "sys/bus/pci/slots";
    let native = root.has("sys/bus/pci_express/drivers/pciehp")?;
    let mut switched = Vec::new();
    let mut fixed = 0;
    for slot in if_there(root.entries(folder))?.unwrap_or_default() {
        if !root.has(&format!("{folder}/{slot}/power"))? {
            fixed += 1;
            continue;
        }
        let taken = match if_there(root.text(&format!("{folder}/{slot}/adapter")))?.as_deref() {
            Some("1") => "taken",
            Some("0") => "empty",
            _ => "adapter not known",
        };
        let address = if_there(root.text(&format!("{folder}/{slot}/address")))?.unwrap_or_default();
        switched.push(format!("{slot} ({address}, {taken})"));
    }
    let means = if native { "native (pciehp)" } else { "by the firmware (ACPI)" };
    Ok(if !switched.is_empty() {
        Area::Devices.ready(name, format!("{} slot(s), {means}: {}", switched.len(), listing(&switched, 6)))
    } else if fixed > 0 || native {
        Area::Devices
            .limited(name, format!("{fixed} slot(s) with a number but no power control"))
            .enable("boot with pcie_ports=native if the board's slots can be switched at all")
    } else {
        Area::Devices
            .missing(name, "no slot that could be switched")
            .enable("use a kernel built with CONFIG_HOTPLUG_PCI_PCIE, and switch on PCIe hot-plug in the firmware's setup")
    })
}

fn sriov(root: &Root) -> Reading<Finding> {
    let name = "sriov";
    let mut capable = Vec::new();
    for function in pci::functions(root)? {
        let path = function.path();
        let Some(total) = if_there(root.number(&format!("{path}/sriov_totalvfs")))? else { continue };
        let active = if_there(root.number(&format!("{path}/sriov_numvfs")))?.unwrap_or(0);
        if total > 0 {
            capable.push(format!("{} ({active} of {total} virtual functions)", function.address));
        }
    }
    Ok(if capable.is_empty() {
        Area::Devices.missing(name, "no device that can be split into virtual functions")
    } else {
        Area::Devices.ready(name, listing(&capable, 6))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    #[test]
    fn only_a_slot_with_power_control_is_ready() {
        let tree = Tree::new()
            .folder("sys/bus/pci_express/drivers/pciehp")
            .files(
                "sys/bus/pci/slots/1",
                &[("address", "0000:01:00\n"), ("power", "1\n"), ("adapter", "1\n")],
            )
            .files(
                "sys/bus/pci/slots/2",
                &[("address", "0000:02:00\n"), ("power", "0\n"), ("adapter", "what\n")],
            );
        let findings = check(&tree.root());
        assert_eq!(
            named(&findings, "hotplug-slots").1.detail,
            "2 slot(s), native (pciehp): 1 (0000:01:00, taken), 2 (0000:02:00, adapter not known)"
        );
        let numbers = Tree::new().files("sys/bus/pci/slots/1", &[("address", "0000:01:00\n")]);
        assert_eq!(named(&check(&numbers.root()), "hotplug-slots").0, Status::Limited);
        let refused = check(&tree.root().deny("sys/bus/pci/slots"));
        assert_eq!(named(&refused, "hotplug-slots").0, Status::Unknown);
    }

    #[test]
    fn splittable_devices_are_listed() {
        let tree = Tree::new()
            .files("sys/bus/pci/devices/0000:03:00.0", &[("sriov_totalvfs", "8\n"), ("sriov_numvfs", "2\n")]);
        let (status, finding) = (named(&check(&tree.root()), "sriov").0, check(&tree.root()));
        assert_eq!(status, Status::Ready);
        assert_eq!(named(&finding, "sriov").1.detail, "0000:03:00.0 (2 of 8 virtual functions)");
        let garbage = Tree::new().file("sys/bus/pci/devices/0000:03:00.0/sriov_totalvfs", "many\n");
        assert_eq!(named(&check(&garbage.root()), "sriov").0, Status::Unknown);
    }
}
