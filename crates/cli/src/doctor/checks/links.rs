//! PCIe links: which ones run below what both their ends can do, and whether their speed can be set.
//!
//! A link is looked at from its lower end, an endpoint or a switch's upstream port, because only there
//! sysfs speaks of one link for certain. What it could do is the lesser of the two ends: a x8 card in a
//! x16 slot is no fault. Under the root bus the ports alternate, so a bridge at an even depth is the
//! lower end of a link and one at an odd depth (root port, downstream port) the upper end.

use std::collections::BTreeMap;

use super::super::finding::{Area, Finding, listing};
use super::super::root::{Reading, Root, Unreadable, if_there};
use super::pci::{self, Function};

/// What one end of a link says: mega-transfers per second and lanes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Rate {
    speed_mt_s: u64,
    lanes: u64,
}

pub(crate) fn check(root: &Root) -> Vec<Finding> {
    let functions = match pci::functions(root) {
        Ok(functions) => functions,
        Err(cause) => {
            return ["pcie-links", "link-speed-control"]
                .map(|name| Area::Fabric.unknown(name, &cause))
                .into();
        }
    };
    let health = health(root, &functions).unwrap_or_else(|cause| Area::Fabric.unknown("pcie-links", &cause));
    let control =
        control(root, &functions).unwrap_or_else(|cause| Area::Fabric.unknown("link-speed-control", &cause));
    vec![health, control]
}

fn health(root: &Root, functions: &[Function]) -> Reading<Finding> {
    let name = "pcie-links";
    let by_address: BTreeMap<&str, &Function> =
        functions.iter().map(|it| (it.address.as_str(), it)).collect();
    let mut links = 0;
    let mut slow = Vec::new();
    for function in functions.iter().filter(|it| is_lower_end(it)) {
        let (Some(now), Some(own)) = (rate(root, function, "current")?, rate(root, function, "max")?) else {
            continue;
        };
        let port = function.above.last().and_then(|address| by_address.get(address.as_str()));
        let port = port.map_or(Ok(None), |port| rate(root, port, "max"))?.unwrap_or(own);
        let could =
            Rate { speed_mt_s: own.speed_mt_s.min(port.speed_mt_s), lanes: own.lanes.min(port.lanes) };
        links += 1;
        if now.speed_mt_s < could.speed_mt_s || now.lanes < could.lanes {
            slow.push(format!("{} runs {now} of {could}", function.address));
        }
    }
    Ok(match (links, slow.len()) {
        (0, _) => Area::Fabric.missing(name, "no PCIe link to be seen"),
        (_, 0) => Area::Fabric.ready(name, format!("{links} link(s), all as fast as both ends allow")),
        _ => Area::Fabric
            .limited(name, format!("{} of {links} link(s) below what both ends can do: {}", slow.len(), listing(&slow, 5)))
            .enable(
                "look again under load, since idle GPUs and disks slow their links down by themselves; if it stays, \
                 reseat the card and check the slot's bifurcation in the firmware's setup (lspci -vv -s ADDRESS)",
            ),
    })
}

fn is_lower_end(function: &Function) -> bool {
    !function.is_bridge() || function.above.len() % 2 == 1
}

/// `None` where there is no link: the file is missing, or says "Unknown" or zero lanes.
fn rate(root: &Root, function: &Function, which: &str) -> Reading<Option<Rate>> {
    let path = function.path();
    let Some(speed) = if_there(root.text(&format!("{path}/{which}_link_speed")))? else { return Ok(None) };
    let Some(width) = if_there(root.text(&format!("{path}/{which}_link_width")))? else { return Ok(None) };
    let speed = speed.split_once(" GT/s").and_then(|(number, _)| mega(number));
    // 255 is how some kernels write a width that the device does not tell.
    let lanes = width.parse().ok().filter(|lanes| (1..=32).contains(lanes));
    Ok(speed.zip(lanes).map(|(speed_mt_s, lanes)| Rate { speed_mt_s, lanes }))
}

/// "16.0" and "2.5" GT/s as whole mega-transfers.
fn mega(giga: &str) -> Option<u64> {
    let (whole, tenth) = giga.split_once('.').unwrap_or((giga, "0"));
    let tenth: u64 = tenth.get(..1)?.parse().ok()?;
    whole.parse::<u64>().ok().filter(|whole| *whole <= 1000).map(|whole| whole * 1000 + tenth * 100)
}

impl std::fmt::Display for Rate {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{} GT/s x{}", self.speed_mt_s / 1000, self.speed_mt_s % 1000 / 100, self.lanes)
    }
}

/// From Linux 6.13 on, CONFIG_PCIE_THERMAL gives each port a cooling device; without it the target
/// speed is written to the port's configuration space, which a locked-down kernel refuses.
fn control(root: &Root, functions: &[Function]) -> Reading<Finding> {
    let name = "link-speed-control";
    let folder = "sys/class/thermal";
    let mut ports = 0;
    for entry in if_there(root.entries(folder))?.unwrap_or_default() {
        let kind = match root.text(&format!("{folder}/{entry}/type")) {
            Err(cause @ Unreadable::Denied { .. }) => return Err(cause),
            other => other.unwrap_or_default(),
        };
        if entry.starts_with("cooling_device") && kind.starts_with("PCIe_Port_Link_Speed_") {
            ports += 1;
        }
    }
    if ports > 0 {
        return Ok(
            Area::Fabric.ready(name, format!("{ports} port(s) with a cooling device for the link speed"))
        );
    }
    let bridges =
        functions.iter().filter(|it| it.is_bridge() && matches!(rate(root, it, "max"), Ok(Some(_)))).count();
    if bridges == 0 {
        return Ok(Area::Fabric.missing(name, "no PCIe port whose link could be set"));
    }
    let newer = "use Linux 6.13 or newer built with CONFIG_PCIE_THERMAL";
    let lockdown = if_there(root.text("sys/kernel/security/lockdown"))?.unwrap_or_default();
    Ok(if lockdown.contains("[integrity]") || lockdown.contains("[confidentiality]") {
        Area::Fabric
            .missing(
                name,
                "no cooling device, and the locked-down kernel refuses writes to configuration space",
            )
            .enable(newer)
    } else {
        Area::Fabric
            .limited(
                name,
                format!("{bridges} port(s), through configuration space only (retraining by hand)"),
            )
            .enable(newer)
    })
}

#[cfg(test)]
mod tests {
    use super::super::super::finding::Status;
    use super::super::super::fixture::{Tree, named};
    use super::*;

    fn port(
        tree: Tree,
        above: &str,
        address: &str,
        class: &str,
        now: (&str, &str),
        most: (&str, &str),
    ) -> Tree {
        let real = format!("sys/devices/pci0000:00/{above}{address}");
        let target = format!("../../../devices/pci0000:00/{above}{address}");
        tree.files(
            &real,
            &[
                ("class", class),
                ("current_link_speed", now.0),
                ("current_link_width", now.1),
                ("max_link_speed", most.0),
                ("max_link_width", most.1),
            ],
        )
        .link(&format!("sys/bus/pci/devices/{address}"), &target)
    }

    const BRIDGE: &str = "0x060400\n";
    const NVME: &str = "0x010802\n";
    const GEN4: &str = "16.0 GT/s PCIe\n";
    const GEN3: &str = "8.0 GT/s PCIe\n";

    #[test]
    fn a_narrow_card_in_a_wide_slot_is_no_fault_and_a_slow_one_is() {
        let tree = port(Tree::new(), "", "0000:00:01.0", BRIDGE, (GEN4, "8"), (GEN4, "16"));
        let fine = port(tree, "0000:00:01.0/", "0000:01:00.0", NVME, (GEN4, "8"), ("32.0 GT/s PCIe\n", "8"));
        assert_eq!(named(&check(&fine.root()), "pcie-links").0, Status::Ready);
        let tree = port(fine, "", "0000:00:02.0", BRIDGE, (GEN3, "4"), (GEN4, "16"));
        let slow = port(tree, "0000:00:02.0/", "0000:02:00.0", NVME, (GEN3, "4"), (GEN4, "8"));
        let findings = check(&slow.root());
        let (status, finding) = named(&findings, "pcie-links");
        assert_eq!(status, Status::Limited);
        assert_eq!(
            finding.detail,
            "1 of 2 link(s) below what both ends can do: 0000:02:00.0 runs 8.0 GT/s x4 of 16.0 GT/s x8"
        );
    }

    #[test]
    fn the_ports_of_a_switch_are_looked_at_once() {
        let tree = port(Tree::new(), "", "0000:00:01.0", BRIDGE, (GEN3, "16"), (GEN4, "16"));
        let tree = port(tree, "0000:00:01.0/", "0000:01:00.0", BRIDGE, (GEN3, "16"), (GEN4, "16"));
        let tree =
            port(tree, "0000:00:01.0/0000:01:00.0/", "0000:02:00.0", BRIDGE, (GEN3, "1"), (GEN4, "16"));
        let findings = check(&tree.root());
        assert!(named(&findings, "pcie-links").1.detail.starts_with("1 of 1 link(s)"), "{findings:?}");
        assert_eq!(named(&findings, "link-speed-control").0, Status::Limited);
    }

    #[test]
    fn garbage_in_a_link_is_no_link() {
        let tree = port(
            Tree::new(),
            "",
            "0000:00:01.0",
            NVME,
            ("Unknown\n", "0"),
            ("99999999999999999999 GT/s", "255"),
        );
        let findings = check(&tree.root());
        assert_eq!(named(&findings, "pcie-links").0, Status::Missing);
        assert_eq!(mega("2.5"), Some(2500));
        assert_eq!(mega("."), None);
        assert_eq!(mega("2.é"), None);
    }

    #[test]
    fn cooling_devices_make_the_speed_settable() {
        let tree = Tree::new()
            .file("sys/class/thermal/cooling_device0/type", "Processor\n")
            .file("sys/class/thermal/cooling_device1/type", "PCIe_Port_Link_Speed_0000:00:01.0\n");
        assert_eq!(named(&check(&tree.root()), "link-speed-control").0, Status::Ready);
        let locked = port(Tree::new(), "", "0000:00:01.0", BRIDGE, (GEN4, "8"), (GEN4, "16"))
            .file("sys/kernel/security/lockdown", "none [integrity] confidentiality\n");
        assert_eq!(named(&check(&locked.root()), "link-speed-control").0, Status::Missing);
    }
}
