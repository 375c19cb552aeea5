//! What a group did: cache that it fills, bytes that it moved.
//!
//! The counters of the hardware are narrow (24 bits of chunks, from 2020 on up to 44) and wrap within
//! seconds; the kernel reads them each second and adds up, so that the files hold 64 bits that do not wrap in
//! practice. They start anew with the group, so whoever forms rates takes a falling value as a new start.

use halcyon_model::ByteSize;

use super::error::Error;
use super::files::Files;
use super::tree::{SMALL, Tree, path};

/// What one group did, in one cache domain or in several of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Usage {
    /// Cache that it fills now.
    pub occupancy: Option<ByteSize>,
    /// Bytes moved to and from all memory since the group was made.
    pub total_bytes: Option<u64>,
    /// Those of them to and from the memory of the own socket.
    pub local_bytes: Option<u64>,
}

impl Usage {
    /// All domains together; what is not known of one is not known of all.
    #[must_use]
    pub fn sum(domains: impl IntoIterator<Item = Self>) -> Self {
        let add = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
        domains
            .into_iter()
            .reduce(|a, b| Self {
                occupancy: add(a.occupancy.map(ByteSize::get), b.occupancy.map(ByteSize::get))
                    .map(ByteSize::new),
                total_bytes: add(a.total_bytes, b.total_bytes),
                local_bytes: add(a.local_bytes, b.local_bytes),
            })
            .unwrap_or_default()
    }
}

/// A counter as its file has it. `Unavailable`, `Unassigned` and `Error` are no value, and no error.
///
/// # Errors
/// When it is none of all that.
pub fn parse_counter(text: &str) -> Result<Option<u64>, &str> {
    match text.trim() {
        "Unavailable" | "Unassigned" | "Error" => Ok(None),
        digits if !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit()) => {
            digits.parse().map(Some).map_err(|_| text)
        }
        _ => Err(text),
    }
}

impl<F: Files> Tree<F> {
    /// What a group did, by the id of the cache. Without monitoring there is nothing.
    ///
    /// # Errors
    /// When there is no such group, or a counter is no number.
    pub fn usage(&self, group: &str) -> Result<Vec<(u32, Usage)>, Error> {
        if self.info().monitoring.is_none() {
            return Ok(Vec::new());
        }
        let folder = path(group, "mon_data");
        let mut found = Vec::new();
        for entry in self.list(&folder)? {
            let id = entry.name.strip_prefix("mon_L3_").and_then(super::info::parse_number);
            if let Some(id) = id {
                let domain = path(&folder, &entry.name);
                found.push((
                    id,
                    Usage {
                        occupancy: self.counter(&domain, "llc_occupancy")?.map(ByteSize::new),
                        total_bytes: self.counter(&domain, "mbm_total_bytes")?,
                        local_bytes: self.counter(&domain, "mbm_local_bytes")?,
                    },
                ));
            }
        }
        found.sort_by_key(|(id, _)| *id);
        Ok(found)
    }

    fn counter(&self, domain: &str, event: &str) -> Result<Option<u64>, Error> {
        let path = path(domain, event);
        match self.read(&path, SMALL) {
            Ok(text) => parse_counter(&text).map_err(|found| self.form(&path, found, "a number of bytes")),
            // The processor does not count this, or the group went while it was read.
            Err(error) if error.is_gone() => Ok(None),
            // An offline domain, or a counter that could not be had.
            Err(error) if error.is(rustix::io::Errno::IO) || error.is(rustix::io::Errno::NODEV) => Ok(None),
            Err(error) => Err(error),
        }
    }
}
