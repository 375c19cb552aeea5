//! The PCI functions of the host as sysfs lists them, for the checks that look at them.

use super::super::root::{Reading, Root, Unreadable, if_there};

pub(crate) const DEVICES: &str = "sys/bus/pci/devices";

/// One PCI function.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Function {
    /// `0000:17:00.0`.
    pub(crate) address: String,
    /// `None` where the file is not there or holds no number.
    pub(crate) vendor: Option<u64>,
    pub(crate) device: Option<u64>,
    /// Class, subclass and programming interface, 24 bits.
    pub(crate) class: Option<u64>,
    /// The functions above it, the root port first. Empty on the root bus.
    pub(crate) above: Vec<String>,
    /// The name of the driver that holds it.
    pub(crate) driver: Option<String>,
}

impl Function {
    pub(crate) fn is_bridge(&self) -> bool {
        self.class.is_some_and(|class| class >> 8 == 0x0604)
    }

    pub(crate) fn is_display(&self) -> bool {
        self.class.is_some_and(|class| class >> 16 == 0x03)
    }

    pub(crate) fn path(&self) -> String {
        format!("{DEVICES}/{}", self.address)
    }
}

/// All functions, by address; none where there is no PCI at all.
pub(crate) fn functions(root: &Root) -> Reading<Vec<Function>> {
    let names = if_there(root.entries(DEVICES))?.unwrap_or_default();
    names.into_iter().map(|address| function(root, address)).collect()
}

/// The functions that do not tell what they are: with one of them about, nothing can be called absent.
pub(crate) fn untold(functions: &[Function]) -> Vec<String> {
    functions.iter().filter(|it| it.class.is_none()).map(|it| it.address.clone()).collect()
}

fn function(root: &Root, address: String) -> Reading<Function> {
    let path = format!("{DEVICES}/{address}");
    let id = |name: &str| match root.hex(&format!("{path}/{name}")) {
        Err(cause @ Unreadable::Denied { .. }) => Err(cause),
        other => Ok(other.ok()),
    };
    let driver = root.link(&format!("{path}/driver")).ok();
    let driver = driver.and_then(|target| Some(target.file_name()?.to_string_lossy().into_owned()));
    Ok(Function {
        vendor: id("vendor")?,
        device: id("device")?,
        class: id("class")?,
        above: above(root, &path),
        driver,
        address,
    })
}

/// The entry is a link such as `../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0`: the functions
/// on its way are the ports above it.
fn above(root: &Root, path: &str) -> Vec<String> {
    let Ok(target) = root.link(path) else { return Vec::new() };
    let mut ports: Vec<String> = target
        .components()
        .map(|part| part.as_os_str().to_string_lossy().into_owned())
        .filter(|part| is_address(part))
        .collect();
    ports.pop();
    ports
}

/// `0000:17:00.0`; a VMD or Hyper-V domain has more than four digits.
fn is_address(text: &str) -> bool {
    let hex = |part: &str| !part.is_empty() && part.bytes().all(|it| it.is_ascii_hexdigit());
    let mut parts = text.split([':', '.']);
    let lengths = [parts.next(), parts.next(), parts.next(), parts.next()];
    let [Some(domain), Some(bus), Some(slot), Some(function)] = lengths else { return false };
    parts.next().is_none() && domain.len() >= 4 && hex(domain) && hex(bus) && hex(slot) && hex(function)
}

#[cfg(test)]
mod tests {
    use super::super::super::fixture::Tree;
    use super::*;

    #[test]
    fn a_function_knows_the_ports_above_it() {
        let real = "sys/devices/pci0000:00/0000:00:01.0/0000:01:00.0";
        let tree = Tree::new()
            .files(real, &[("vendor", "0x10de\n"), ("device", "0x2330\n"), ("class", "0x030200\n")])
            .link(&format!("{real}/driver"), "../../../../bus/pci/drivers/vfio-pci")
            .link(
                "sys/bus/pci/devices/0000:01:00.0",
                "../../../devices/pci0000:00/0000:00:01.0/0000:01:00.0",
            );
        let found = functions(&tree.root()).unwrap();
        assert_eq!(found[0].above, ["0000:00:01.0"]);
        assert_eq!(found[0].driver.as_deref(), Some("vfio-pci"));
        assert!(found[0].is_display() && !found[0].is_bridge());
        assert_eq!(functions(&Tree::new().root()).unwrap(), []);
    }

    #[test]
    fn addresses_are_told_from_other_folders() {
        assert!(is_address("10000:e1:00.0"));
        for other in ["pci0000:00", "devices", "0000:00", "..", "0000:zz:00.0", "0000:00:00.0.1"] {
            assert!(!is_address(other), "{other}");
        }
    }
}
