//! Fabrics: Switchtec PCIe switches by their management endpoint, and CXL memory.

use super::super::finding::{Area, Finding, listing};
use super::super::root::{Reading, Root, if_there};
use super::iommu::module_exists;
use super::pci;

/// Microsemi/Microchip, the vendor of every Switchtec endpoint.
const SWITCHTEC_VENDOR: u64 = 0x11f8;
/// The management endpoint's class: "memory controller, other".
const MANAGEMENT_CLASS: u64 = 0x05_8000;

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let switchtec = switchtec(root).unwrap_or_else(|cause| Area::Fabric.unknown("switchtec", &cause));
    let cxl = cxl(root).unwrap_or_else(|cause| Area::Fabric.unknown("cxl", &cause));
    vec![switchtec, cxl]
}

fn switchtec(root: &Root) -> Reading<Finding> {
    let name = "switchtec";
    let folder = "sys/class/switchtec";
    let mut switches = Vec::new();
    let mut closed = Vec::new();
    for device in if_there(root.entries(folder))?.unwrap_or_default() {
        let node = format!("dev/{device}");
        if !root.has(&node)? || !root.may_write(&node)? {
            closed.push(format!("/{node}"));
        }
        switches.push(described(root, folder, &device));
    }
    if !switches.is_empty() {
        let detail = listing(&switches, 4);
        return Ok(if closed.is_empty() {
            Area::Fabric.ready(name, detail)
        } else {
            Area::Fabric
                .limited(name, format!("{detail}; not to be opened: {}", listing(&closed, 4)))
                .enable("run as root; inside a container, pass the device nodes in")
        });
    }
    let endpoints = pci::functions(root)?
        .into_iter()
        .filter(|it| it.vendor == Some(SWITCHTEC_VENDOR) && it.class == Some(MANAGEMENT_CLASS))
        .map(|it| it.address)
        .collect::<Vec<_>>();
    Ok(if endpoints.is_empty() {
        Area::Fabric.missing(name, "no Switchtec management endpoint")
    } else {
        let how = if module_exists(root, "switchtec") {
            "modprobe switchtec"
        } else {
            "use a kernel built with CONFIG_PCI_SW_SWITCHTEC (distribution kernels often are not)"
        };
        Area::Fabric
            .missing(name, format!("a switch at {} without its driver", listing(&endpoints, 4)))
            .enable(how)
    })
}

fn described(root: &Root, folder: &str, device: &str) -> String {
    let file =
        |name: &str| root.text(&format!("{folder}/{device}/{name}")).unwrap_or_else(|_| "?".to_owned());
    format!(
        "{device}: {} firmware {}, in partition {} of {}",
        file("component_id"),
        file("fw_version"),
        file("partition"),
        file("partition_count")
    )
}

fn cxl(root: &Root) -> Reading<Finding> {
    let name = "cxl";
    let devices = if_there(root.entries("sys/bus/cxl/devices"))?;
    let of = |prefix: &str| numbered(devices.as_deref().unwrap_or_default(), prefix);
    let (memory, roots, ports) = (of("mem"), of("root").len(), of("port").len());
    if memory.is_empty() && roots == 0 {
        return without_cxl(root, devices.is_some());
    }
    if memory.is_empty() {
        return Ok(Area::Fabric
            .limited(name, format!("{roots} root(s) and {ports} port(s), no memory device"))
            .enable("plug a CXL memory device, or load its drivers: modprobe -a cxl_acpi cxl_pci cxl_mem"));
    }
    let nodes = memory.iter().map(|it| format!("dev/cxl/{it}"));
    let closed: Vec<String> = nodes.filter(|it| !root.may_write(it).unwrap_or(false)).collect();
    let detail = format!(
        "{} memory device(s): {}; {roots} root(s), {ports} port(s)",
        memory.len(),
        listing(&memory, 8)
    );
    Ok(if closed.is_empty() {
        Area::Fabric.ready(name, detail)
    } else {
        Area::Fabric
            .limited(name, format!("{detail}; {} cannot be opened", listing(&closed, 4)))
            .enable("run as root")
    })
}

/// `mem0` of the prefix `mem`, and not `memory_region`.
fn numbered(names: &[String], prefix: &str) -> Vec<String> {
    let is_numbered = |it: &&String| {
        it.strip_prefix(prefix).is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
    };
    names.iter().filter(is_numbered).cloned().collect()
}

/// No CXL in use: whether the firmware describes any decides what is to be done.
fn without_cxl(root: &Root, bus: bool) -> Reading<Finding> {
    let tables = if_there(root.entries("sys/firmware/acpi/tables"))?.unwrap_or_default();
    let kernel =
        if bus { "the kernel has a CXL bus with nothing on it" } else { "the kernel has no CXL bus" };
    Ok(if tables.iter().any(|it| it == "CEDT") {
        Area::Fabric
            .missing("cxl", format!("the firmware describes CXL (CEDT), {kernel}"))
            .enable("modprobe -a cxl_acpi cxl_pci cxl_mem, on a kernel built with CONFIG_CXL_BUS")
    } else {
        Area::Fabric.missing("cxl", format!("no firmware table describes any (CEDT); {kernel}"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    #[test]
    fn a_switch_is_described_or_its_driver_named() {
        let tree = Tree::new()
            .files(
                "sys/class/switchtec/switchtec0",
                &[("component_id", "PM8536\n"), ("fw_version", "03b00f12\n"), ("partition", "0\n")],
            )
            .file("dev/switchtec0", "");
        let findings = check(&tree.root());
        let (status, finding) = named(&findings, "switchtec");
        assert_eq!(status, Status::Ready);
        assert_eq!(finding.detail, "switchtec0: PM8536 firmware 03b00f12, in partition 0 of ?");
        let bare = Tree::new()
            .files("sys/bus/pci/devices/0000:05:00.1", &[("vendor", "0x11f8\n"), ("class", "0x058000\n")]);
        let (status, advice) = (named(&check(&bare.root()), "switchtec").0, check(&bare.root()));
        assert_eq!(status, Status::Missing);
        assert!(named(&advice, "switchtec").1.enable.as_deref().unwrap().contains("CONFIG_PCI_SW_SWITCHTEC"));
    }

    #[test]
    fn cxl_needs_a_memory_device_to_be_ready() {
        let bus = Tree::new().folder("sys/bus/cxl/devices/root0").folder("sys/bus/cxl/devices/decoder0.0");
        assert_eq!(named(&check(&bus.root()), "cxl").0, Status::Limited);
        let with_memory = bus.folder("sys/bus/cxl/devices/mem0").file("dev/cxl/mem0", "");
        let findings = check(&with_memory.root());
        assert_eq!(named(&findings, "cxl").1.detail, "1 memory device(s): mem0; 1 root(s), 0 port(s)");
        assert_eq!(named(&findings, "cxl").0, Status::Ready);
        let idle = Tree::new().folder("sys/bus/cxl/devices");
        assert_eq!(named(&check(&idle.root()), "cxl").0, Status::Missing);
        let described = Tree::new().file("sys/firmware/acpi/tables/CEDT", "");
        assert!(named(&check(&described.root()), "cxl").1.enable.is_some());
        assert_eq!(named(&check(&described.root().deny("sys/bus/cxl")), "cxl").0, Status::Unknown);
    }
}
