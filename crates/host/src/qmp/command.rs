//! The commands that Halcyon uses, each with its arguments and the form of what it gives.

use serde_json::{Map, Value, json};

/// A command with its arguments.
#[derive(Debug, Clone, PartialEq)]
pub struct Command {
    /// Its name.
    pub name: &'static str,
    /// Its arguments, an object.
    pub arguments: Value,
}

impl Command {
    /// A command by name.
    #[must_use]
    pub fn new(name: &'static str, arguments: Value) -> Self {
        Self { name, arguments }
    }

    /// What QEMU does: `running`, `paused`, `shutdown`, …
    #[must_use]
    pub fn status() -> Self {
        Self::new("query-status", json!({}))
    }

    /// vCPUs with the threads that run them.
    #[must_use]
    pub fn cpus() -> Self {
        Self::new("query-cpus-fast", json!({}))
    }

    /// How much memory a balloon leaves its guest.
    #[must_use]
    pub fn balloon_actual() -> Self {
        Self::new("query-balloon", json!({}))
    }

    /// Asks a guest to make do with this much memory, in bytes. QEMU answers at once; the guest takes its
    /// time.
    #[must_use]
    pub fn balloon(bytes: u64) -> Self {
        Self::new("balloon", json!({ "value": bytes }))
    }

    /// Memory devices with their sizes.
    #[must_use]
    pub fn memory_devices() -> Self {
        Self::new("query-memory-devices", json!({}))
    }

    /// Reads a property.
    #[must_use]
    pub fn get(path: &str, property: &str) -> Self {
        Self::new("qom-get", json!({ "path": path, "property": property }))
    }

    /// Writes a property.
    #[must_use]
    pub fn set(path: &str, property: &str, value: Value) -> Self {
        Self::new("qom-set", json!({ "path": path, "property": property, "value": value }))
    }

    /// The children and properties of an object.
    #[must_use]
    pub fn list(path: &str) -> Self {
        Self::new("qom-list", json!({ "path": path }))
    }

    /// Opens a block node.
    #[must_use]
    pub fn blockdev_add(node: &Map<String, Value>) -> Self {
        Self::new("blockdev-add", Value::Object(node.clone()))
    }

    /// Closes a block node. Refused as long as something uses it.
    #[must_use]
    pub fn blockdev_del(node: &str) -> Self {
        Self::new("blockdev-del", json!({ "node-name": node }))
    }

    /// Opens a way into a network.
    #[must_use]
    pub fn netdev_add(network: &Map<String, Value>) -> Self {
        Self::new("netdev_add", Value::Object(network.clone()))
    }

    /// Closes a way into a network, also one that a device uses: its link goes down then.
    #[must_use]
    pub fn netdev_del(id: &str) -> Self {
        Self::new("netdev_del", json!({ "id": id }))
    }

    /// Plugs a device in.
    #[must_use]
    pub fn device_add(device: &Map<String, Value>) -> Self {
        Self::new("device_add", Value::Object(device.clone()))
    }

    /// Asks a guest to let go of a device. Done only when `DEVICE_DELETED` names it.
    #[must_use]
    pub fn device_del(id: &str) -> Self {
        Self::new("device_del", json!({ "id": id }))
    }

    /// The text that is sent, without the end of the line.
    pub(super) fn text(&self, id: u64) -> String {
        json!({ "execute": self.name, "arguments": self.arguments, "id": id }).to_string()
    }
}

/// The bytes of a reply to [`Command::balloon_actual`].
pub(super) fn actual(reply: &Value) -> Option<u64> {
    reply.get("actual")?.as_u64()
}

/// The names of the children in a reply to [`Command::list`].
pub(super) fn children(reply: &Value) -> Option<Vec<&str>> {
    let child = |entry: &Value| {
        entry.get("type").and_then(Value::as_str).is_some_and(|kind| kind.starts_with("child<"))
    };
    let entries = reply.as_array()?.iter().filter(|entry| child(entry));
    Some(entries.filter_map(|entry| entry.get("name")?.as_str()).collect())
}

/// Sizes of virtio-mem devices by id, of a reply to [`Command::memory_devices`].
pub(super) fn plugged(reply: &Value) -> Option<Vec<(&str, u64)>> {
    Some(
        reply
            .as_array()?
            .iter()
            .filter_map(|entry| {
                let data = entry.get("data")?;
                Some((data.get("id")?.as_str()?, data.get("size")?.as_u64()?))
            })
            .collect(),
    )
}

/// Host threads of vCPUs in their order, of a reply to [`Command::cpus`].
#[must_use]
pub fn threads(reply: &Value) -> Option<Vec<u64>> {
    reply.as_array()?.iter().map(|cpu| cpu.get("thread-id")?.as_u64()).collect()
}
