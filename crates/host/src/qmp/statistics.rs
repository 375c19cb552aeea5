//! What QEMU counts of its block devices, and what a guest says of its memory through its balloon.
//!
//! Forms: QEMU's `qapi/block-core.json` (`query-blockstats`) and `docs/interop/virtio-balloon-stats.rst`.

use serde_json::{Value, json};

use super::command::Command;

const INTERVAL: &str = "guest-stats-polling-interval";

impl Command {
    /// What block devices have moved.
    #[must_use]
    pub fn block_statistics() -> Self {
        Self::new("query-blockstats", json!({}))
    }

    /// How often a balloon asks its guest for statistics, in seconds; zero is never.
    #[must_use]
    pub fn statistics_interval(balloon: &str) -> Self {
        Self::get(balloon, INTERVAL)
    }

    /// Sets how often a balloon asks its guest for statistics.
    #[must_use]
    pub fn set_statistics_interval(balloon: &str, seconds: u64) -> Self {
        Self::set(balloon, INTERVAL, Value::from(seconds))
    }

    /// What a guest last said of its memory.
    #[must_use]
    pub fn guest_statistics(balloon: &str) -> Self {
        Self::get(balloon, "guest-stats")
    }
}

/// What one block device has moved since QEMU started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct BlockCounts {
    /// Bytes read.
    pub read_bytes: u64,
    /// Bytes written.
    pub written_bytes: u64,
    /// Reads.
    pub reads: u64,
    /// Writes.
    pub writes: u64,
}

impl BlockCounts {
    /// Of the device or block node with this name, in a reply to [`Command::block_statistics`].
    ///
    /// A name fits the id of a device, also where QEMU gives the path of a part of it
    /// (`/machine/peripheral/ID/virtio-backend`), the name of its block node, or that of its old `-drive`.
    #[must_use]
    pub fn of(reply: &Value, name: &str) -> Option<Self> {
        let is = |entry: &&Value| {
            let text = |key: &str| entry.get(key).and_then(Value::as_str).unwrap_or_default();
            let part = |path: &str| path.split('/').any(|part| part == name);
            part(text("qdev")) || text("node-name") == name || text("device") == name
        };
        let stats = reply.as_array()?.iter().find(is)?.get("stats")?;
        let of = |key: &str| stats.get(key)?.as_u64();
        Some(Self {
            read_bytes: of("rd_bytes")?,
            written_bytes: of("wr_bytes")?,
            reads: of("rd_operations")?,
            writes: of("wr_operations")?,
        })
    }
}

/// What a guest said of its memory; what it did not say is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct GuestStatistics {
    /// When the answer came, in seconds of the host's own calendar; zero when none ever came.
    pub updated_s: u64,
    /// Memory that it has, in bytes.
    pub total_bytes: Option<u64>,
    /// Of that what nothing is in.
    pub free_bytes: Option<u64>,
    /// Of that what could be had without swapping.
    pub available_bytes: Option<u64>,
    /// Page faults that waited for a disk.
    pub major_faults: Option<u64>,
    /// Page faults that did not.
    pub minor_faults: Option<u64>,
    /// Bytes swapped in.
    pub swapped_in_bytes: Option<u64>,
    /// Bytes swapped out.
    pub swapped_out_bytes: Option<u64>,
}

impl GuestStatistics {
    /// Of a reply to [`Command::guest_statistics`].
    #[must_use]
    pub fn of(reply: &Value) -> Option<Self> {
        let stats = reply.get("stats")?;
        // All ones stand for what the guest did not say.
        let of = |key: &str| stats.get(key)?.as_u64().filter(|value| *value != u64::MAX);
        Some(Self {
            updated_s: reply.get("last-update")?.as_u64()?,
            total_bytes: of("stat-total-memory"),
            free_bytes: of("stat-free-memory"),
            available_bytes: of("stat-available-memory"),
            major_faults: of("stat-major-faults"),
            minor_faults: of("stat-minor-faults"),
            swapped_in_bytes: of("stat-swap-in"),
            swapped_out_bytes: of("stat-swap-out"),
        })
    }

    /// Memory that the guest cannot do without at once: what it has, less what it could give. Where its
    /// balloon gives way when memory runs out (`deflate-on-oom`), Linux counts what the balloon took among
    /// what the guest has; `actual`, what the balloon leaves it, puts that right.
    #[must_use]
    pub fn in_use_bytes(&self, actual: Option<u64>) -> Option<u64> {
        let has = self.total_bytes?.min(actual.unwrap_or(u64::MAX));
        has.checked_sub(self.available_bytes.or(self.free_bytes)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn devices_are_found_by_any_of_their_names() {
        let stats = json!({ "rd_bytes": 1, "wr_bytes": 2, "rd_operations": 3, "wr_operations": 4 });
        let reply = json!([
            { "device": "", "node-name": "n0", "qdev": "/machine/peripheral/disk0/virtio-backend", "stats": stats },
            { "device": "drive1", "qdev": "disk01", "stats": { "rd_bytes": -1 } },
        ]);
        let counts = BlockCounts { read_bytes: 1, written_bytes: 2, reads: 3, writes: 4 };
        assert_eq!(BlockCounts::of(&reply, "disk0"), Some(counts));
        assert_eq!(BlockCounts::of(&reply, "n0"), Some(counts));
        for absent in ["disk01", "drive1", "disk", "n1"] {
            assert_eq!(BlockCounts::of(&reply, absent), None, "{absent}");
        }
        assert_eq!(BlockCounts::of(&json!({}), "disk0"), None);
    }

    #[test]
    fn what_a_guest_does_not_say_is_none() {
        let stats =
            json!({ "stat-total-memory": 100, "stat-free-memory": 10, "stat-available-memory": u64::MAX });
        let said = GuestStatistics::of(&json!({ "stats": stats, "last-update": 5 })).expect("it is whole");
        assert_eq!((said.available_bytes, said.in_use_bytes(None)), (None, Some(90)));
        assert_eq!([60, 200].map(|actual| said.in_use_bytes(Some(actual))), [Some(50), Some(90)]);
        let odd = json!({ "stats": { "stat-total-memory": 1, "stat-free-memory": 2 }, "last-update": 5 });
        assert_eq!(GuestStatistics::of(&odd).and_then(|said| said.in_use_bytes(None)), None);
        assert_eq!(GuestStatistics::of(&json!({ "stats": {} })), None);
    }
}
