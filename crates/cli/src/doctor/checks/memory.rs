//! How memory lies: NUMA nodes and sockets, and huge pages.

use std::collections::BTreeSet;

use super::super::finding::{Area, Finding, listing};
use super::super::root::{Reading, Root, if_there};

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let numa = numa(root).unwrap_or_else(|cause| Area::Memory.unknown("numa", &cause));
    let huge = huge_pages(root).unwrap_or_else(|cause| Area::Memory.unknown("huge-pages", &cause));
    vec![numa, huge]
}

fn numa(root: &Root) -> Reading<Finding> {
    let (cpus, sockets) = cpus_and_sockets(root)?;
    let machine = format!("{sockets} socket(s), {cpus} CPUs");
    let Some(names) = if_there(root.entries("sys/devices/system/node"))? else {
        return Ok(Area::Memory
            .limited("numa", format!("{machine}; the kernel knows no NUMA nodes, one is assumed")));
    };
    let mut nodes = Vec::new();
    for node in names.iter().filter(|name| numbered(name, "node")) {
        let folder = format!("sys/devices/system/node/{node}");
        let cpus = root.text(&format!("{folder}/cpulist"))?;
        let cpus = if cpus.is_empty() { "no CPUs".to_owned() } else { format!("CPUs {cpus}") };
        nodes.push(format!("{node}: {cpus}, {}", node_memory(root, &folder)?));
    }
    Ok(Area::Memory.ready("numa", format!("{machine}, {} node(s): {}", nodes.len(), listing(&nodes, 8))))
}

fn cpus_and_sockets(root: &Root) -> Reading<(usize, usize)> {
    let names = root.entries("sys/devices/system/cpu")?;
    let cpus: Vec<&String> = names.iter().filter(|name| numbered(name, "cpu")).collect();
    let mut sockets = BTreeSet::new();
    for cpu in &cpus {
        // An offline CPU has no topology.
        let path = format!("sys/devices/system/cpu/{cpu}/topology/physical_package_id");
        sockets.extend(if_there(root.text(&path))?);
    }
    Ok((cpus.len(), sockets.len().max(1)))
}

fn node_memory(root: &Root, folder: &str) -> Reading<String> {
    let text = root.text(&format!("{folder}/meminfo"))?;
    let total = text.lines().find(|line| line.contains("MemTotal:"));
    let kib: Option<u64> = total.and_then(|line| line.split_whitespace().rev().nth(1)?.parse().ok());
    Ok(kib.map_or("memory unknown".to_owned(), |kib| format!("{:.1} GiB", kib as f64 / f64::from(1 << 20))))
}

/// `cpu12` is a CPU, `cpufreq` is not.
fn numbered(name: &str, prefix: &str) -> bool {
    name.strip_prefix(prefix)
        .is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|it| it.is_ascii_digit()))
}

fn huge_pages(root: &Root) -> Reading<Finding> {
    let name = "huge-pages";
    let folder = "sys/kernel/mm/hugepages";
    let Some(sizes) = if_there(root.entries(folder))? else {
        return Ok(Area::Memory
            .missing(name, "the kernel has none")
            .enable("use a kernel built with CONFIG_HUGETLBFS"));
    };
    let mut parts = Vec::new();
    let mut reserved = 0;
    for size in &sizes {
        let all = root.number(&format!("{folder}/{size}/nr_hugepages"))?;
        let free = root.number(&format!("{folder}/{size}/free_hugepages"))?;
        reserved += all;
        parts.push(format!("{}: {free} of {all} free", size.trim_start_matches("hugepages-")));
    }
    let transparent = if_there(root.text("sys/kernel/mm/transparent_hugepage/enabled"))?.unwrap_or_default();
    let mode = transparent.split(['[', ']']).nth(1).unwrap_or("not there");
    let detail = format!("{}; transparent huge pages: {mode}", parts.join(", "));
    Ok(if reserved > 0 {
        Area::Memory.ready(name, detail)
    } else {
        Area::Memory.limited(name, format!("none reserved; {detail}")).enable(
            "reserve some for VMs: sysctl vm.nr_hugepages=N, or hugepages=N on the kernel command line",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    fn two_sockets() -> Tree {
        Tree::new()
            .file("sys/devices/system/cpu/cpu0/topology/physical_package_id", "0\n")
            .file("sys/devices/system/cpu/cpu1/topology/physical_package_id", "1\n")
            .folder("sys/devices/system/cpu/cpufreq")
            .file("sys/devices/system/node/node0/cpulist", "0\n")
            .file("sys/devices/system/node/node0/meminfo", "Node 0 MemTotal:       16777216 kB\n")
            .file("sys/devices/system/node/node1/cpulist", "1\n")
            .file("sys/devices/system/node/node1/meminfo", "Node 1 nonsense\n")
            .files(
                "sys/kernel/mm/hugepages/hugepages-2048kB",
                &[("nr_hugepages", "0"), ("free_hugepages", "0")],
            )
            .file("sys/kernel/mm/transparent_hugepage/enabled", "always [madvise] never\n")
    }

    #[test]
    fn nodes_and_sockets_are_counted() {
        let findings = check(&two_sockets().root());
        assert_eq!(
            named(&findings, "numa").1.detail,
            "2 socket(s), 2 CPUs, 2 node(s): node0: CPUs 0, 16.0 GiB, node1: CPUs 1, memory unknown"
        );
    }

    #[test]
    fn reserved_huge_pages_are_ready_and_none_is_limited() {
        let none = check(&two_sockets().root());
        assert_eq!(named(&none, "huge-pages").0, Status::Limited);
        assert!(named(&none, "huge-pages").1.detail.ends_with("madvise"));
        let some = two_sockets().file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "512\n");
        assert_eq!(named(&check(&some.root()), "huge-pages").0, Status::Ready);
        let garbage = two_sockets().file("sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages", "-3\n");
        assert_eq!(named(&check(&garbage.root()), "huge-pages").0, Status::Unknown);
    }
}
