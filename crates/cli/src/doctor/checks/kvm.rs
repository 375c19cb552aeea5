//! KVM: the device, who may use it, and VMs within VMs.

use super::super::finding::{Area, Finding};
use super::super::root::{Reading, Root, if_there};
use super::host;
use super::iommu::module_exists;

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let kvm = kvm(root).unwrap_or_else(|cause| Area::Vms.unknown("kvm", &cause));
    let nested = nested(root).unwrap_or_else(|cause| Area::Vms.unknown("nested-virtualization", &cause));
    vec![kvm, nested]
}

fn kvm(root: &Root) -> Reading<Finding> {
    let name = "kvm";
    let cpu = host::cpu(root)?;
    let extension = ["vmx", "svm"].into_iter().find(|flag| cpu.has(flag));
    let module = match extension {
        Some("vmx") => "kvm_intel",
        _ => "kvm_amd",
    };
    if !root.has("dev/kvm")? {
        return Ok(absent(root, extension, module));
    }
    if !root.may_write("dev/kvm")? {
        return Ok(Area::Vms
            .limited(name, "/dev/kvm is there, this user may not open it")
            .enable("run as root, or add the user to the group kvm: usermod -aG kvm USER"));
    }
    if let Err(cause) = root.opens("dev/kvm") {
        return Ok(Area::Vms
            .limited(name, format!("the mode of /dev/kvm allows it, but opening it fails: {cause}"))
            .enable("inside a container, pass /dev/kvm in (docker run --device /dev/kvm)"));
    }
    let known = ["x86", "GenuineIntel", "AuthenticAMD"].iter().any(|it| cpu.vendor.contains(it));
    Ok(match extension {
        Some(flag) => Area::Vms.ready(name, format!("/dev/kvm can be opened, {flag} in the processor")),
        None if known => Area::Vms
            .limited(
                name,
                "/dev/kvm can be opened, but the processor shows neither vmx nor svm: guests may not start",
            )
            .enable("switch virtualization on in the firmware's setup; in a VM, its host must pass it on"),
        None => Area::Vms.ready(name, "/dev/kvm can be opened"),
    })
}

fn absent(root: &Root, extension: Option<&str>, module: &str) -> Finding {
    let name = "kvm";
    match extension {
        Some(flag) if module_exists(root, module.replace('_', "-").as_str()) => Area::Vms
            .missing(name, format!("the processor has {flag}, the module is not loaded"))
            .enable(format!("modprobe {module}")),
        Some(flag) => Area::Vms
            .missing(name, format!("the processor has {flag}, the kernel offers no /dev/kvm"))
            .enable(format!(
                "modprobe {module}, on a kernel built with CONFIG_KVM; inside a container, pass /dev/kvm in"
            )),
        None => Area::Vms
            .missing(name, "no /dev/kvm, and the processor shows neither vmx nor svm")
            .enable("switch virtualization on in the firmware's setup; in a VM, its host must pass it on"),
    }
}

fn nested(root: &Root) -> Reading<Finding> {
    let name = "nested-virtualization";
    for module in ["kvm_intel", "kvm_amd"] {
        let path = format!("sys/module/{module}/parameters/nested");
        let Some(value) = if_there(root.text(&path))? else { continue };
        return Ok(if ["Y", "1"].contains(&value.as_str()) {
            Area::Vms.ready(name, format!("on ({module})"))
        } else {
            Area::Vms.missing(name, format!("off ({module})")).enable(format!(
                "echo 'options {module} nested=1' > /etc/modprobe.d/nested.conf, then load {module} anew"
            ))
        });
    }
    Ok(Area::Vms.missing(name, "neither kvm_intel nor kvm_amd is loaded"))
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    const INTEL: &str = "vendor_id : GenuineIntel\nflags : fpu vmx\n";

    #[test]
    fn a_device_without_the_processor_extension_is_limited() {
        let ready = Tree::new().file("dev/kvm", "").file("proc/cpuinfo", INTEL);
        assert_eq!(named(&check(&ready.root()), "kvm").0, Status::Ready);
        let doubtful = ready.file("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : fpu\n");
        assert_eq!(named(&check(&doubtful.root()), "kvm").0, Status::Limited);
        let arm = doubtful.file("proc/cpuinfo", "Features : fp asimd\n");
        assert_eq!(named(&check(&arm.root()), "kvm").0, Status::Ready);
        assert_eq!(named(&check(&arm.root().deny("dev/kvm")), "kvm").0, Status::Unknown);
        assert_eq!(named(&check(&arm.root().deny("proc/cpuinfo")), "kvm").0, Status::Unknown);
    }

    #[test]
    fn what_to_load_is_named() {
        let findings = check(&Tree::new().file("proc/cpuinfo", INTEL).root());
        let (status, finding) = named(&findings, "kvm");
        assert_eq!(status, Status::Missing);
        assert!(finding.enable.as_deref().unwrap().starts_with("modprobe kvm_intel"));
        let nested = Tree::new().file("sys/module/kvm_amd/parameters/nested", "0\n");
        assert_eq!(named(&check(&nested.root()), "nested-virtualization").0, Status::Missing);
    }
}
