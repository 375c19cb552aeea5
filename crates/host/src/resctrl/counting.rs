//! The files that count what one group did, kept open: they are read once a second for as long as a VM lives.

use std::io;
use std::path::{Path, PathBuf};

use rustix::io::Errno;

use halcyon_model::ByteSize;

use super::error::{Error, start_of};
use super::files::{Disk, Files};
use super::info::parse_number;
use super::monitor::{Usage, parse_counter};
use super::tree::SMALL;
use crate::kept::Kept;

/// After so many readings the caches are listed again, as CPUs and their caches come and go.
const LIST_EVERY: u32 = 60;

/// The counters of one group.
#[derive(Debug)]
pub struct UsageFiles {
    files: Disk,
    /// `mon_data` of the group, relative to the root.
    folder: PathBuf,
    /// By cache: occupancy, total bytes, local bytes.
    domains: Vec<[Kept; 3]>,
    readings: u32,
}

impl UsageFiles {
    /// The counters of a group, which is a path below `root`, as [`vm_group`](super::vm_group) gives it.
    #[must_use]
    pub fn of(root: &Path, group: &str) -> Self {
        let folder = Path::new(group).join("mon_data");
        Self { files: Disk::new(root), folder, domains: Vec::new(), readings: 0 }
    }

    /// What the group did, all caches together.
    ///
    /// # Errors
    /// When there is no such group, or a counter is no number.
    pub fn read(&mut self, buffer: &mut String) -> Result<Usage, Error> {
        if self.readings.is_multiple_of(LIST_EVERY) || self.domains.is_empty() {
            self.list()?;
        }
        self.readings = self.readings.wrapping_add(1);
        let read = self.read_domains(buffer);
        // The group may be another one of the same name by now.
        if !matches!(&read, Ok(usage) if *usage != Usage::default()) {
            self.readings = 0;
        }
        read
    }

    fn read_domains(&mut self, buffer: &mut String) -> Result<Usage, Error> {
        let mut sum: Option<Usage> = None;
        for [occupancy, total, local] in &mut self.domains {
            let usage = Usage {
                occupancy: counter(occupancy, buffer)?.map(ByteSize::new),
                total_bytes: counter(total, buffer)?,
                local_bytes: counter(local, buffer)?,
            };
            sum = Some(sum.map_or(usage, |sum| Usage::sum([sum, usage])));
        }
        Ok(sum.unwrap_or_default())
    }

    fn list(&mut self) -> Result<(), Error> {
        let place = self.files.root().join(&self.folder);
        let listed = self.files.list(&self.folder.to_string_lossy());
        let entries = listed.map_err(|source| access("list", &place, source))?;
        self.domains.clear();
        for entry in entries {
            if entry.name.strip_prefix("mon_L3_").and_then(parse_number).is_some() {
                let domain = place.join(entry.name);
                self.domains.push(
                    ["llc_occupancy", "mbm_total_bytes", "mbm_local_bytes"]
                        .map(|event| Kept::new(domain.join(event))),
                );
            }
        }
        Ok(())
    }
}

fn access(operation: &'static str, path: &Path, source: io::Error) -> Error {
    Error::Access { operation, path: path.into(), status: None, source }
}

fn counter(file: &mut Kept, buffer: &mut String) -> Result<Option<u64>, Error> {
    match file.read(SMALL, buffer) {
        Ok(()) => parse_counter(buffer).map_err(|found| Error::Form {
            path: file.path().into(),
            found: start_of(found),
            expected: "a number of bytes",
        }),
        // The processor does not count this, the domain is offline, or the counter could not be had.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error)
            if [Errno::IO, Errno::NODEV]
                .map(Errno::raw_os_error)
                .map(Some)
                .contains(&error.raw_os_error()) =>
        {
            Ok(None)
        }
        Err(error) => Err(access("read", file.path(), error)),
    }
}
