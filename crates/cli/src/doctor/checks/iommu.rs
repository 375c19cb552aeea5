//! Giving a device to a VM: the IOMMU that fences it, and VFIO, which hands it out.

use super::super::finding::{Area, Finding};
use super::super::root::{Reading, Root, if_there};
use super::{host, pci};

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let iommu = iommu(root).unwrap_or_else(|cause| Area::Devices.unknown("iommu", &cause));
    let vfio = vfio(root).unwrap_or_else(|cause| Area::Devices.unknown("vfio", &cause));
    vec![iommu, vfio]
}

fn iommu(root: &Root) -> Reading<Finding> {
    let name = "iommu";
    let groups = if_there(root.entries("sys/kernel/iommu_groups"))?.unwrap_or_default().len();
    let units = if_there(root.entries("sys/class/iommu"))?.unwrap_or_default().len();
    let arguments = host::kernel_arguments(root);
    let said: Vec<String> = arguments.into_iter().filter(|word| word.contains("iommu")).collect();
    let said = if said.is_empty() { String::new() } else { format!(", booted with {}", said.join(" ")) };
    if groups > 0 {
        return Ok(Area::Devices.ready(name, format!("{groups} groups behind {units} unit(s){said}")));
    }
    let tables = if_there(root.entries("sys/firmware/acpi/tables"))?.unwrap_or_default();
    let table = ["DMAR", "IVRS", "IORT"].into_iter().find(|name| tables.iter().any(|it| it == name));
    Ok(match table {
        Some(table) => Area::Devices
            .limited(name, format!("the firmware describes one ({table}), the kernel does not use it{said}"))
            .enable(match table {
                "DMAR" => "boot with intel_iommu=on iommu=pt on the kernel command line",
                _ => "boot with iommu=pt on the kernel command line, and without anything that switches it off",
            }),
        None => Area::Devices
            .missing(name, format!("neither groups nor a firmware table (DMAR, IVRS, IORT){said}"))
            .enable("switch on VT-d (Intel) or the IOMMU (AMD) in the firmware's setup; in a VM, give it a virtual IOMMU"),
    })
}

fn vfio(root: &Root) -> Reading<Finding> {
    let name = "vfio";
    let driver = root.has("sys/bus/pci/drivers/vfio-pci")?;
    let container = root.has("dev/vfio/vfio")?;
    let iommufd = root.has("dev/iommu")?;
    let held = pci::functions(root)?.iter().filter(|it| it.driver.as_deref() == Some("vfio-pci")).count();
    Ok(match (driver, container || iommufd) {
        (true, true) => {
            let interface = if iommufd { "iommufd" } else { "legacy groups" };
            Area::Devices.ready(name, format!("vfio-pci holds {held} device(s), {interface}"))
        }
        (true, false) => Area::Devices
            .limited(name, "the vfio-pci driver is there, /dev/vfio/vfio is not")
            .enable("modprobe vfio; inside a container, pass /dev/vfio through"),
        (false, _) if module_exists(root, "vfio-pci") => {
            Area::Devices.limited(name, "not loaded").enable("modprobe vfio-pci")
        }
        (false, _) => Area::Devices
            .missing(name, "the kernel has no vfio-pci driver")
            .enable("use a kernel built with CONFIG_VFIO_PCI"),
    })
}

/// Whether the running kernel could load the module. The list is long; 4 MiB of it are read.
pub(crate) fn module_exists(root: &Root, module: &str) -> bool {
    let Ok(release) = root.text("proc/sys/kernel/osrelease") else { return false };
    if release.contains('/') {
        return false;
    }
    let Ok(list) = root.head(&format!("lib/modules/{release}/modules.dep"), 4 << 20) else { return false };
    let file = format!("/{module}.ko");
    list.lines().filter_map(|line| line.split_once(':')).any(|(path, _)| path.contains(&file))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    #[test]
    fn groups_make_it_ready() {
        let tree = Tree::new()
            .folder("sys/kernel/iommu_groups/0")
            .folder("sys/kernel/iommu_groups/1")
            .folder("sys/class/iommu/dmar0")
            .file("proc/cmdline", "quiet intel_iommu=on iommu=pt")
            .folder("sys/bus/pci/drivers/vfio-pci")
            .file("dev/vfio/vfio", "");
        let findings = check(&tree.root());
        assert_eq!(
            named(&findings, "iommu").1.detail,
            "2 groups behind 1 unit(s), booted with intel_iommu=on iommu=pt"
        );
        assert_eq!(named(&findings, "vfio").0, Status::Ready);
    }

    #[test]
    fn an_unused_iommu_and_an_unloaded_driver_say_how_to_enable_them() {
        let tree = Tree::new()
            .file("sys/firmware/acpi/tables/DMAR", "")
            .file("proc/sys/kernel/osrelease", "6.1.0-1-amd64\n")
            .file(
                "lib/modules/6.1.0-1-amd64/modules.dep",
                "kernel/drivers/vfio/pci/vfio-pci.ko.xz: kernel/x.ko\n",
            );
        let findings = check(&tree.root());
        let (status, iommu) = named(&findings, "iommu");
        assert_eq!(status, Status::Limited);
        assert!(iommu.enable.as_deref().unwrap().contains("intel_iommu=on"));
        assert_eq!(named(&findings, "vfio").1.enable.as_deref(), Some("modprobe vfio-pci"));
        let bare = check(&Tree::new().root());
        assert_eq!(named(&bare, "iommu").0, Status::Missing);
        assert_eq!(named(&bare, "vfio").0, Status::Missing);
        let refused = check(&tree.root().deny("sys/firmware/acpi/tables"));
        assert_eq!(named(&refused, "iommu").0, Status::Unknown);
    }
}
