//! Which last-level caches are on which socket. resctrl names caches by the ids that the processor gives
//! them, which may have gaps; a socket has one of them (Intel) or many (AMD).

use std::collections::BTreeMap;

use halcyon_model::SocketId;

use super::error::{Error, start_of};
use super::files::Files;
use super::info::parse_number;

/// The most bytes of a file below a CPU.
const SMALL: usize = 4 << 10;

/// The last-level caches of each socket.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sockets {
    caches: Vec<Vec<u32>>,
}

impl Sockets {
    /// From the ids of the caches of each socket.
    ///
    /// # Errors
    /// When a cache is on two sockets.
    pub fn new(mut caches: Vec<Vec<u32>>) -> Result<Self, Error> {
        let mut owner = BTreeMap::new();
        for (socket, ids) in caches.iter_mut().enumerate() {
            ids.sort_unstable();
            ids.dedup();
            for id in ids {
                if let Some(other) = owner.insert(*id, socket) {
                    let why = format!("cache {id} is on socket {other} and on socket {socket}");
                    return Err(Error::Sockets { why });
                }
            }
        }
        Ok(Self { caches })
    }

    /// From the kernel's description of the CPUs (`/sys/devices/system/cpu`). Sockets are numbered in the
    /// order of their package ids; CPUs that are offline say nothing and are passed over.
    ///
    /// # Errors
    /// When the folder cannot be listed, an id is none, or a cache is on two sockets.
    pub fn read(cpus: &impl Files) -> Result<Self, Error> {
        let root = cpus.root().to_owned();
        let entries = cpus.list("").map_err(|source| Error::Access {
            operation: "list",
            path: root,
            status: None,
            source,
        })?;
        let mut packages: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
        for entry in entries {
            let is_cpu = entry.name.strip_prefix("cpu").and_then(parse_number).is_some();
            if !is_cpu {
                continue;
            }
            let package = id(cpus, &format!("{}/topology/physical_package_id", entry.name))?;
            if let Some(package) = package {
                let caches = packages.entry(package).or_default();
                caches.extend(last_level(cpus, &entry.name)?);
            }
        }
        Self::new(packages.into_values().collect())
    }

    /// The ids of the caches of a socket, in order.
    #[must_use]
    pub fn caches(&self, socket: SocketId) -> &[u32] {
        self.caches.get(socket.index()).map_or(&[], Vec::as_slice)
    }

    /// How many sockets there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.caches.len()
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.caches.is_empty()
    }

    /// The sockets, by id.
    pub fn ids(&self) -> impl Iterator<Item = SocketId> + use<> {
        (0..self.caches.len()).map(SocketId::at)
    }
}

/// The third level is `index3` as a rule, but for processors that count otherwise.
fn last_level(cpus: &impl Files, cpu: &str) -> Result<Option<u32>, Error> {
    for index in [3, 2, 4, 1, 0] {
        let folder = format!("{cpu}/cache/index{index}");
        if id(cpus, &format!("{folder}/level"))? == Some(3) {
            return id(cpus, &format!("{folder}/id"));
        }
    }
    Ok(None)
}

/// A number alone in its file; nothing where there is no such file.
fn id(cpus: &impl Files, path: &str) -> Result<Option<u32>, Error> {
    let place = || cpus.root().join(path);
    match cpus.read(path, SMALL) {
        Ok(text) => match parse_number(&text) {
            Some(id) => Ok(Some(id)),
            None => {
                let expected = "the number of a package, a level or a cache";
                Err(Error::Form { path: place(), found: start_of(&text), expected })
            }
        },
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(Error::Access { operation: "read", path: place(), status: None, source }),
    }
}
