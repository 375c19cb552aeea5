//! The processor's control of cache and memory bandwidth, as the kernel's resctrl file system has it
//! (Documentation/filesystems/resctrl.rst): allocation (CAT, CDP, MBA) and monitoring (CMT, MBM).

use super::super::finding::{Area, Finding, Status};
use super::super::root::{Reading, Root, if_there};
use super::host::{self, Cpu};

const MOUNT: &str = "mount -t resctrl resctrl /sys/fs/resctrl";

/// What there is of resctrl on the way from the processor to a mounted file system.
struct Support {
    cpu: Cpu,
    compiled_in: bool,
    /// The mount point, in the form `Root` takes.
    mounted: Option<String>,
}

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let support = match support(root) {
        Ok(support) => support,
        Err(cause) => return vec![Area::Cache.unknown("resctrl", &cause)],
    };
    let mut findings = vec![support.finding()];
    findings.push(feature(&support, "cache-allocation", &["cat_l3", "cat_l2"], |info| cache(root, info)));
    findings
        .push(feature(&support, "code-data-prioritization", &["cdp_l3", "cdp_l2"], |info| cdp(root, info)));
    let amd = support.cpu.vendor == "AuthenticAMD";
    findings
        .push(feature(&support, "memory-bandwidth-allocation", &["mba"], |info| bandwidth(root, info, amd)));
    findings.push(feature(&support, "cache-and-bandwidth-monitoring", &["cqm", "cqm_llc"], |info| {
        monitoring(root, info)
    }));
    findings
}

fn support(root: &Root) -> Reading<Support> {
    let file_systems = root.text("proc/filesystems")?;
    let mounts = host::mounts(root)?;
    Ok(Support {
        cpu: host::cpu(root)?,
        compiled_in: file_systems.split_whitespace().any(|word| word == "resctrl"),
        mounted: mounts.into_iter().find(|it| it.kind == "resctrl").map(|it| it.point),
    })
}

impl Support {
    fn in_processor(&self) -> bool {
        ["rdt_a", "cat_l3", "cat_l2", "mba", "cqm"].iter().any(|flag| self.cpu.has(flag))
    }

    fn finding(&self) -> Finding {
        let name = "resctrl";
        match (&self.mounted, self.compiled_in, self.in_processor()) {
            (Some(point), _, _) => Area::Cache.ready(name, format!("mounted at /{point}")),
            (None, true, true) => {
                Area::Cache.limited(name, "in the kernel and the processor, not mounted").enable(MOUNT)
            }
            (None, false, true) => Area::Cache
                .missing(name, "the processor has it, the kernel does not")
                .enable("use a kernel built with CONFIG_X86_CPU_RESCTRL, without rdt= switching it off"),
            (None, compiled_in, false) => {
                let kernel = if compiled_in { "the kernel has it" } else { "nor does the kernel" };
                let why =
                    if self.cpu.has("hypervisor") { " (a hypervisor hides it from its guests)" } else { "" };
                Area::Cache.missing(name, format!("the processor does not show it{why}; {kernel}"))
            }
        }
    }
}

/// One part of resctrl: what its info folder says once it is mounted, the processor's flags before.
fn feature(
    support: &Support,
    name: &'static str,
    flags: &[&str],
    read: impl Fn(&str) -> Reading<Option<(Status, String)>>,
) -> Finding {
    let in_processor = flags.iter().any(|flag| support.cpu.has(flag));
    let Some(point) = &support.mounted else {
        return if in_processor {
            let finding = Area::Cache
                .limited(name, "the processor has it; it shows its figures once resctrl is mounted");
            if support.compiled_in { finding.enable(MOUNT) } else { finding }
        } else {
            Area::Cache.missing(name, "the processor does not show it")
        };
    };
    match read(&format!("{point}/info")) {
        Ok(Some((status, detail))) => Finding::new(Area::Cache, name, status, &detail),
        Ok(None) if in_processor => {
            Area::Cache.limited(name, "in the processor, but not offered by the mounted resctrl")
        }
        Ok(None) => Area::Cache.missing(name, "not offered by this processor"),
        Err(cause) => Area::Cache.unknown(name, &cause),
    }
}

/// The resources of `info` whose folder is one of `names`.
fn present<'a>(root: &Root, info: &str, names: &[&'a str]) -> Reading<Vec<&'a str>> {
    let there = root.entries(info)?;
    Ok(names.iter().filter(|name| there.iter().any(|it| it == *name)).copied().collect())
}

fn cache(root: &Root, info: &str) -> Reading<Option<(Status, String)>> {
    let mut parts = Vec::new();
    for level in present(root, info, &["L3", "L3DATA", "L3CODE", "L2", "L2DATA", "L2CODE"])? {
        let classes = root.number(&format!("{info}/{level}/num_closids"))?;
        let mask = root.hex(&format!("{info}/{level}/cbm_mask"))?;
        let least = root.number(&format!("{info}/{level}/min_cbm_bits"))?;
        let ways = mask.count_ones();
        parts.push(format!(
            "{level}: {classes} classes (CLOSIDs), mask {mask:x} ({ways} ways), at least {least} in a class"
        ));
    }
    Ok((!parts.is_empty()).then(|| (Status::Ready, parts.join("; "))))
}

fn cdp(root: &Root, info: &str) -> Reading<Option<(Status, String)>> {
    let split = present(root, info, &["L3CODE", "L2CODE"])?;
    Ok((!split.is_empty()).then(|| (Status::Ready, "on: code and data have masks of their own".to_owned())))
}

fn bandwidth(root: &Root, info: &str, amd: bool) -> Reading<Option<(Status, String)>> {
    let folder = format!("{info}/MB");
    if !root.has(&folder)? {
        return Ok(None);
    }
    let classes = root.number(&format!("{folder}/num_closids"))?;
    let least = root.number(&format!("{folder}/min_bandwidth"))?;
    let step = root.number(&format!("{folder}/bandwidth_gran"))?;
    // AMD counts in eighths of a GB/s and 2048 means no limit; Intel in per cent.
    let unit = if amd { "× 1/8 GB/s" } else { "%" };
    let mut detail = format!("{classes} classes (CLOSIDs), from {least} {unit} in steps of {step} {unit}");
    if let Some(mode) = if_there(root.text(&format!("{folder}/thread_throttle_mode")))? {
        detail.push_str(&format!(", throttle mode {mode}"));
    }
    Ok(Some((Status::Ready, detail)))
}

fn monitoring(root: &Root, info: &str) -> Reading<Option<(Status, String)>> {
    let folder = format!("{info}/L3_MON");
    if !root.has(&folder)? {
        return Ok(None);
    }
    let ids = root.number(&format!("{folder}/num_rmids"))?;
    let features = root.text(&format!("{folder}/mon_features"))?;
    let features: Vec<&str> = features.split_whitespace().collect();
    let detail = format!("{} with {ids} monitoring ids (RMIDs)", features.join(", "));
    let complete = ["llc_occupancy", "mbm_total_bytes"].iter().all(|it| features.contains(it));
    Ok(Some((if complete { Status::Ready } else { Status::Limited }, detail)))
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::{Tree, named};
    use super::*;

    const FLAGS: &str = "vendor_id\t: GenuineIntel\nflags\t\t: fpu cqm rdt_a cat_l3 cdp_l3 mba cqm_llc\n";

    fn host(flags: &str, mounted: bool) -> Tree {
        let mounts = if mounted { "resctrl /sys/fs/resctrl resctrl rw,relatime 0 0\n" } else { "" };
        Tree::new()
            .file("proc/cpuinfo", flags)
            .file("proc/filesystems", "nodev\tproc\nnodev\tresctrl\n\text4\n")
            .file("proc/self/mounts", mounts)
    }

    fn mounted() -> Tree {
        host(FLAGS, true)
            .files(
                "sys/fs/resctrl/info/L3",
                &[("num_closids", "16\n"), ("cbm_mask", "fffff\n"), ("min_cbm_bits", "1\n")],
            )
            .files(
                "sys/fs/resctrl/info/MB",
                &[("num_closids", "8\n"), ("min_bandwidth", "10\n"), ("bandwidth_gran", "10\n")],
            )
            .files(
                "sys/fs/resctrl/info/L3_MON",
                &[
                    ("num_rmids", "160\n"),
                    ("mon_features", "llc_occupancy\nmbm_total_bytes\nmbm_local_bytes\n"),
                ],
            )
    }

    #[test]
    fn a_mounted_resctrl_shows_its_figures() {
        let findings = check(&mounted().root());
        assert_eq!(named(&findings, "resctrl").0, Status::Ready);
        assert_eq!(
            named(&findings, "cache-allocation").1.detail,
            "L3: 16 classes (CLOSIDs), mask fffff (20 ways), at least 1 in a class"
        );
        assert_eq!(
            named(&findings, "memory-bandwidth-allocation").1.detail,
            "8 classes (CLOSIDs), from 10 % in steps of 10 %"
        );
        assert_eq!(
            named(&findings, "cache-and-bandwidth-monitoring").1.detail,
            "llc_occupancy, mbm_total_bytes, mbm_local_bytes with 160 monitoring ids (RMIDs)"
        );
        assert_eq!(named(&findings, "code-data-prioritization").0, Status::Limited);
    }

    #[test]
    fn an_amd_host_counts_bandwidth_in_eighths() {
        let tree = mounted().file("proc/cpuinfo", "vendor_id : AuthenticAMD\nflags : mba cat_l3\n");
        let findings = check(&tree.root());
        assert!(named(&findings, "memory-bandwidth-allocation").1.detail.contains("1/8 GB/s"));
    }

    #[test]
    fn not_mounted_and_not_there_are_told_apart() {
        let findings = check(&host(FLAGS, false).root());
        let (status, finding) = named(&findings, "resctrl");
        assert_eq!((status, finding.enable.as_deref()), (Status::Limited, Some(MOUNT)));
        assert_eq!(named(&findings, "cache-allocation").0, Status::Limited);

        let findings = check(&host("flags : fpu hypervisor\n", false).root());
        let (status, finding) = named(&findings, "resctrl");
        assert_eq!(status, Status::Missing);
        assert!(finding.detail.contains("hypervisor hides it"));
        assert_eq!(named(&findings, "memory-bandwidth-allocation").0, Status::Missing);
    }

    #[test]
    fn garbage_and_refusals_are_unknown() {
        let findings = check(&mounted().file("sys/fs/resctrl/info/L3/cbm_mask", "\u{1b}[31mzz").root());
        let (status, finding) = named(&findings, "cache-allocation");
        assert_eq!(status, Status::Unknown);
        assert!(
            finding.detail.contains("cbm_mask") && !finding.detail.contains('\u{1b}'),
            "{}",
            finding.detail
        );
        let findings = check(&mounted().root().deny("sys/fs/resctrl/info"));
        assert_eq!(named(&findings, "cache-allocation").0, Status::Unknown);
        assert_eq!(named(&findings, "memory-bandwidth-allocation").0, Status::Unknown);
    }
}
