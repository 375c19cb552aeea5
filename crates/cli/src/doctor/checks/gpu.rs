//! NVIDIA GPUs: the devices, their driver, the library that measures them (NVML), and whether they can
//! be cut into MIG instances. Read from the driver's own files; NVML itself is not called.

use super::super::finding::{Area, Finding, Status, listing};
use super::super::root::{Reading, Root, if_there};
use super::pci::{self, Function};

const NVIDIA: u64 = 0x10de;
const DRIVER: &str = "proc/driver/nvidia";
const LIBRARY_FOLDERS: &[&str] = &[
    "usr/lib/x86_64-linux-gnu",
    "usr/lib/aarch64-linux-gnu",
    "usr/lib64",
    "usr/lib",
    "usr/local/nvidia/lib64",
    "run/nvidia/driver/usr/lib/x86_64-linux-gnu",
];

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let gpus = gpus(root).unwrap_or_else(|cause| Area::Gpu.unknown("gpus", &cause));
    let driver = driver(root).unwrap_or_else(|cause| Area::Gpu.unknown("nvidia-driver", &cause));
    let library = library(root).unwrap_or_else(|cause| Area::Gpu.unknown("nvml", &cause));
    let mig = mig(root).unwrap_or_else(|cause| Area::Gpu.unknown("mig", &cause));
    vec![gpus, driver, library, mig]
}

fn gpus(root: &Root) -> Reading<Finding> {
    let name = "gpus";
    let functions = pci::functions(root)?;
    let shown: Vec<&Function> = functions
        .iter()
        .filter(|it| it.is_display() || (it.vendor == Some(NVIDIA) && is_accelerator(it)))
        .collect();
    let mut nvidia = Vec::new();
    let mut others = Vec::new();
    for function in shown {
        let driver = function.driver.as_deref().unwrap_or("no driver");
        if function.vendor == Some(NVIDIA) {
            nvidia.push(format!("{} ({}, {driver})", model(root, function), function.address));
        } else {
            let id = |id: Option<u64>| id.map_or("????".to_owned(), |id| format!("{id:04x}"));
            others.push(format!("{} [{}:{}]", function.address, id(function.vendor), id(function.device)));
        }
    }
    Ok(match (nvidia.is_empty(), others.is_empty()) {
        (false, _) => Area::Gpu.ready(name, format!("{} from NVIDIA: {}", nvidia.len(), listing(&nvidia, 8))),
        (true, false) => Area::Gpu
            .missing(name, format!("none from NVIDIA; other display devices: {}", listing(&others, 4))),
        (true, true) if !pci::untold(&functions).is_empty() => {
            let untold = listing(&pci::untold(&functions), 4);
            let detail =
                format!("none for certain, but the class of these functions cannot be read: {untold}");
            Finding::new(Area::Gpu, name, Status::Unknown, &detail)
        }
        (true, true) => Area::Gpu.missing(name, "none"),
    })
}

/// Class 0x12, "processing accelerator".
fn is_accelerator(function: &Function) -> bool {
    function.class.is_some_and(|class| class >> 16 == 0x12)
}

fn model(root: &Root, function: &Function) -> String {
    let text = root.text(&format!("{DRIVER}/gpus/{}/information", function.address)).unwrap_or_default();
    let named =
        text.lines().find_map(|line| line.strip_prefix("Model:")).map(|model| model.trim().to_owned());
    named.unwrap_or_else(|| format!("device {:04x}", function.device.unwrap_or_default()))
}

fn driver(root: &Root) -> Reading<Finding> {
    let name = "nvidia-driver";
    if let Some(text) = if_there(root.text(&format!("{DRIVER}/version")))? {
        let version = text.lines().next().and_then(version_in).unwrap_or("of unknown version");
        if !root.has("dev/nvidiactl")? {
            return Ok(Area::Gpu
                .limited(name, format!("{version} is loaded, /dev/nvidiactl is not there"))
                .enable("nvidia-modprobe -c0 -u; inside a container, use the NVIDIA container toolkit"));
        }
        return Ok(Area::Gpu.ready(name, version));
    }
    let held: Vec<Function> =
        pci::functions(root)?.into_iter().filter(|it| it.vendor == Some(NVIDIA)).collect();
    let by = |driver: &str| held.iter().any(|it| it.driver.as_deref() == Some(driver));
    Ok(if by("vfio-pci") {
        Area::Gpu.missing(name, "not loaded; vfio-pci holds the GPU, which a VM then owns whole")
    } else if by("nouveau") {
        Area::Gpu
            .missing(name, "nouveau holds the GPU")
            .enable("install NVIDIA's driver, which blocks nouveau, and boot anew")
    } else if held.is_empty() {
        Area::Gpu.missing(name, "not loaded, and no device of NVIDIA is there")
    } else {
        Area::Gpu
            .missing(name, "not loaded")
            .enable("install the package nvidia-driver, then modprobe nvidia")
    })
}

/// "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue …": the first word that looks like it.
fn version_in(line: &str) -> Option<&str> {
    let dotted = |word: &&str| word.contains('.') && word.bytes().all(|it| it.is_ascii_digit() || it == b'.');
    line.split_whitespace().find(dotted)
}

fn library(root: &Root) -> Reading<Finding> {
    for folder in LIBRARY_FOLDERS {
        let path = format!("{folder}/libnvidia-ml.so.1");
        if root.has(&path)? {
            return Ok(Area::Gpu.ready("nvml", format!("/{path}")));
        }
    }
    Ok(Area::Gpu
        .missing("nvml", "libnvidia-ml.so.1 is in none of the usual folders")
        .enable("install the package libnvidia-ml1 (or nvidia-utils) of the driver's own version"))
}

/// An instance shows as `gpuN/mig/giM`. Without one, only NVML can tell whether the mode is on.
fn mig(root: &Root) -> Reading<Finding> {
    let name = "mig";
    let folder = format!("{DRIVER}/capabilities");
    let mut instances = 0;
    for gpu in if_there(root.entries(&folder))?.unwrap_or_default() {
        let inside = if_there(root.entries(&format!("{folder}/{gpu}/mig")))?.unwrap_or_default();
        instances += inside.iter().filter(|it| gpu.starts_with("gpu") && it.starts_with("gi")).count();
    }
    Ok(if instances > 0 {
        Area::Gpu.ready(name, format!("{instances} GPU instance(s)"))
    } else if root.has(&format!("{folder}/mig"))? {
        Area::Gpu
            .limited(name, "the driver knows MIG, no instance exists")
            .enable("on a GPU that can be cut (A100, H100 and the like), while idle: nvidia-smi -i 0 -mig 1")
    } else {
        Area::Gpu.missing(name, "no driver that offers it")
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Tree, named};
    use super::*;

    fn h100() -> Tree {
        Tree::new()
            .files(
                "sys/bus/pci/devices/0000:17:00.0",
                &[("vendor", "0x10de\n"), ("device", "0x2330\n"), ("class", "0x030200\n")],
            )
            .link("sys/bus/pci/devices/0000:17:00.0/driver", "../../../../bus/pci/drivers/nvidia")
            .file(
                "proc/driver/nvidia/version",
                "NVRM version: NVIDIA UNIX x86_64 Kernel Module  550.54.15  Tue Mar  5 22:23:56 UTC 2024\n",
            )
            .file("proc/driver/nvidia/gpus/0000:17:00.0/information", "Model: \t\t NVIDIA H100\nIRQ: 1\n")
            .file("proc/driver/nvidia/capabilities/mig/config", "DeviceFileMinor: 1\n")
            .file("dev/nvidiactl", "")
            .file("usr/lib/x86_64-linux-gnu/libnvidia-ml.so.1", "")
    }

    #[test]
    fn a_gpu_with_its_driver_is_ready_and_mig_waits_for_an_instance() {
        let findings = check(&h100().root());
        assert_eq!(named(&findings, "gpus").1.detail, "1 from NVIDIA: NVIDIA H100 (0000:17:00.0, nvidia)");
        assert_eq!(named(&findings, "nvidia-driver").1.detail, "550.54.15");
        assert_eq!(named(&findings, "nvml").0, Status::Ready);
        assert_eq!(named(&findings, "mig").0, Status::Limited);
        let cut = h100().folder("proc/driver/nvidia/capabilities/gpu0/mig/gi1");
        assert_eq!(named(&check(&cut.root()), "mig").1.detail, "1 GPU instance(s)");
    }

    #[test]
    fn a_gpu_that_belongs_to_a_vm_has_no_driver_here() {
        let tree = Tree::new()
            .files("sys/bus/pci/devices/0000:17:00.0", &[("vendor", "0x10de\n"), ("class", "0x030200\n")])
            .link("sys/bus/pci/devices/0000:17:00.0/driver", "../../../../bus/pci/drivers/vfio-pci");
        let findings = check(&tree.root());
        assert!(named(&findings, "nvidia-driver").1.detail.contains("vfio-pci holds the GPU"));
        assert_eq!(named(&check(&Tree::new().root()), "gpus").0, Status::Missing);
    }

    #[test]
    fn another_makers_display_is_named_but_not_counted() {
        let tree = Tree::new().files(
            "sys/bus/pci/devices/0000:00:02.0",
            &[("vendor", "0x1234\n"), ("device", "garbage\n"), ("class", "0x030000\n")],
        );
        let findings = check(&tree.root());
        assert_eq!(
            named(&findings, "gpus").1.detail,
            "none from NVIDIA; other display devices: 0000:00:02.0 [1234:????]"
        );
        assert_eq!(named(&check(&h100().root().deny(DRIVER)), "nvidia-driver").0, Status::Unknown);
        let garbage = Tree::new().file("sys/bus/pci/devices/0000:00:02.0/class", "???");
        assert_eq!(named(&check(&garbage.root()), "gpus").0, Status::Unknown);
        let refused = check(&h100().root().deny("sys/bus/pci/devices/0000:17:00.0/class"));
        assert_eq!(named(&refused, "gpus").0, Status::Unknown);
    }
}
