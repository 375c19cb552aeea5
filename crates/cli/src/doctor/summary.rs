//! What the findings mean for Halcyon: which of the things it can do it could do on this host.

use serde::Serialize;

use super::finding::{Finding, Status};

/// One thing that Halcyon does, and the findings on which it rests.
struct Feature {
    name: &'static str,
    title: &'static str,
    /// Of each group at least one must be usable.
    needs: &'static [&'static [&'static str]],
    /// It works without these, but not all of it.
    better_with: &'static [&'static str],
}

const FEATURES: &[Feature] = &[
    Feature {
        name: "cpu_control",
        title: "CPU control",
        needs: &[&["cpu-controller"]],
        better_with: &["cpuset-controller", "pressure"],
    },
    Feature {
        name: "memory",
        title: "memory",
        needs: &[&["memory-controller", "qmp-sockets", "libvirt"]],
        better_with: &["memory-controller", "pressure"],
    },
    Feature {
        name: "memory_bandwidth",
        title: "memory bandwidth",
        needs: &[&["memory-bandwidth-allocation"]],
        better_with: &["cache-and-bandwidth-monitoring"],
    },
    Feature {
        name: "cache",
        title: "last-level cache",
        needs: &[&["cache-allocation"]],
        better_with: &["cache-and-bandwidth-monitoring"],
    },
    Feature {
        name: "device_hotplug",
        title: "device hot-plug",
        needs: &[&["qmp-sockets", "libvirt"]],
        better_with: &["iommu", "vfio"],
    },
    Feature {
        name: "link_control",
        title: "PCIe link control",
        needs: &[&["link-speed-control", "switchtec"]],
        better_with: &[],
    },
    Feature {
        name: "gpu",
        title: "GPU",
        needs: &[&["gpus"], &["nvidia-driver"], &["nvml"]],
        better_with: &["mig"],
    },
    Feature { name: "cxl", title: "CXL memory", needs: &[&["cxl"]], better_with: &[] },
];

/// How far one feature could be used, and because of what not further.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(crate) struct Verdict {
    #[serde(skip)]
    pub(crate) name: &'static str,
    #[serde(skip)]
    pub(crate) title: &'static str,
    pub(crate) status: Status,
    /// The names of the findings that keep it from being ready; empty when it is.
    pub(crate) held_back_by: Vec<&'static str>,
}

/// A verdict for each feature, always the same ones in the same order.
pub(crate) fn verdicts(findings: &[Finding]) -> Vec<Verdict> {
    FEATURES.iter().map(|feature| verdict(feature, findings)).collect()
}

fn verdict(feature: &Feature, findings: &[Finding]) -> Verdict {
    let mut status = Status::Ready;
    let mut held_back_by = Vec::new();
    for group in feature.needs {
        let best = group.iter().map(|name| status_of(findings, name)).min_by_key(|it| badness(*it));
        let best = best.unwrap_or(Status::Unknown);
        if best != Status::Ready {
            held_back_by.extend(group.iter().copied());
        }
        status = worse(status, best);
    }
    for name in feature.better_with {
        if status_of(findings, name) != Status::Ready {
            status = worse(status, Status::Limited);
            if !held_back_by.contains(name) {
                held_back_by.push(*name);
            }
        }
    }
    Verdict { name: feature.name, title: feature.title, status, held_back_by }
}

/// What no check reported on is not known.
fn status_of(findings: &[Finding], name: &str) -> Status {
    findings.iter().find(|finding| finding.name == name).map_or(Status::Unknown, |finding| finding.status)
}

fn badness(status: Status) -> u8 {
    match status {
        Status::Ready => 0,
        Status::Limited => 1,
        Status::Unknown => 2,
        Status::Missing => 3,
    }
}

fn worse(a: Status, b: Status) -> Status {
    if badness(a) >= badness(b) { a } else { b }
}

#[cfg(test)]
mod tests {
    use super::super::finding::Area;
    use super::*;

    fn one(findings: &[Finding], name: &str) -> Verdict {
        verdicts(findings).into_iter().find(|verdict| verdict.name == name).unwrap()
    }

    #[test]
    fn one_of_several_ways_is_enough() {
        let findings = [Area::Vms.missing("qmp-sockets", ""), Area::Vms.ready("libvirt", "")];
        let verdict = one(&findings, "device_hotplug");
        assert_eq!((verdict.status, verdict.held_back_by), (Status::Limited, vec!["iommu", "vfio"]));
    }

    #[test]
    fn what_is_missing_outweighs_what_is_unknown() {
        let findings = [Area::Gpu.ready("gpus", ""), Area::Gpu.missing("nvidia-driver", "")];
        assert_eq!(one(&findings, "gpu").status, Status::Missing);
        assert_eq!(one(&[], "cxl").status, Status::Unknown);
        assert_eq!(one(&[Area::Fabric.ready("cxl", "")], "cxl").held_back_by, Vec::<&str>::new());
    }
}
