//! Names in place of numbers, in text that people read.

use crate::ids::{DeviceId, LinkId, VmId};
use crate::topology::Topology;
use crate::vm::VmSpec;

/// Names for the numbers in the text of a step.
#[derive(Debug, Clone)]
pub struct Names {
    vms: Vec<(VmId, String)>,
    devices: Vec<String>,
    links: Vec<String>,
    nodes: Vec<String>,
    sockets: Vec<String>,
}

impl Names {
    /// The names of a host's parts and of these VMs, ordered by id.
    #[must_use]
    pub fn new(topology: &Topology, vms: &[VmSpec]) -> Self {
        let fabric = topology.fabric();
        Self {
            vms: vms.iter().map(|spec| (spec.id, spec.name.clone())).collect(),
            devices: fabric.devices.iter().map(|device| device.name.clone()).collect(),
            links: fabric
                .links
                .iter()
                .map(|link| format!("link {}", fabric.ports[link.upper.index()].name))
                .collect(),
            nodes: topology.nodes().iter().map(|node| node.name.clone()).collect(),
            sockets: topology.sockets().iter().map(|socket| socket.name.clone()).collect(),
        }
    }

    /// The text of a step with names in place of numbers.
    #[must_use]
    pub fn replace(&self, text: &str) -> String {
        text.split(' ').map(|word| self.word(word).unwrap_or(word)).collect::<Vec<_>>().join(" ")
    }

    fn word(&self, word: &str) -> Option<&str> {
        let split = word.find(|letter: char| letter.is_ascii_digit())?;
        let (kind, number) = word.split_at(split);
        let index: u32 = number.parse().ok()?;
        let found = match kind {
            "vm" => {
                let found = self.vms.binary_search_by_key(&VmId(index), |(vm, _)| *vm).ok()?;
                return Some(&self.vms[found].1);
            }
            "device" => self.devices.get(DeviceId(index).index()),
            "link" => self.links.get(LinkId(index).index()),
            "node" => self.nodes.get(index as usize),
            "socket" => self.sockets.get(index as usize),
            _ => None,
        };
        found.map(String::as_str)
    }
}
