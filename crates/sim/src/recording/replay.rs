//! A host that is only read, and says once more what a recording holds.

use std::io::BufRead;
use std::path::Path;
use std::sync::Arc;

use halcyon_hal::{Inventory, Observe, ObserveError};
use halcyon_model::{HostTime, Snapshot};

use super::{ReadError, Reader};
use crate::trace::input;

/// Gives what was recorded, bit for bit, one snapshot each time that it is observed.
pub struct Replay<R> {
    reader: Reader<R>,
    /// The host at the next snapshot, which is read ahead.
    inventory: Arc<Inventory>,
    more: bool,
    /// Why there is no more, to be told when it is asked for.
    trouble: Option<ReadError>,
}

impl Replay<input::Bytes> {
    /// Opens a file.
    ///
    /// # Errors
    /// When it cannot be read, is no recording, or holds no snapshot.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::new(Reader::open(path)?, path)
    }
}

impl<R: BufRead> Replay<R> {
    /// Goes on with what a reader has not read yet; `path` only names it in complaints.
    ///
    /// # Errors
    /// When the next snapshot cannot be read or there is none.
    pub fn new(mut reader: Reader<R>, path: &Path) -> Result<Self, ReadError> {
        let more = reader.advance()?;
        match reader.inventory().cloned() {
            Some(inventory) if more => Ok(Self { reader, inventory, more, trouble: None }),
            _ => Err(ReadError::Form { path: path.into(), what: "it holds no snapshot".into() }),
        }
    }

    /// Whether everything was given, and nothing is wrong with what follows.
    #[must_use]
    pub const fn is_over(&self) -> bool {
        !self.more && self.trouble.is_none()
    }

    /// When the next snapshot was taken.
    #[must_use]
    pub const fn next_at(&self) -> HostTime {
        self.reader.now().snapshot.at
    }

    /// The recording, as far as it was read.
    #[must_use]
    pub const fn reader(&self) -> &Reader<R> {
        &self.reader
    }
}

impl<R: BufRead> Observe for Replay<R> {
    /// That of the next snapshot, as a host's is before it is observed; at the end that of the last.
    fn inventory(&self) -> Arc<Inventory> {
        Arc::clone(&self.inventory)
    }

    fn observe(&mut self, snapshot: &mut Snapshot) -> Result<(), ObserveError> {
        let failed = |what: &str, source| ObserveError { what: what.into(), source };
        if let Some(error) = self.trouble.take() {
            return Err(failed("the next part of the recording", Some(Box::new(error))));
        }
        if !self.more {
            return Err(failed("any more of the recording", None));
        }
        let (generation, busy) = (snapshot.generation, snapshot.busy);
        snapshot.clone_from(&self.reader.now().snapshot);
        (snapshot.generation, snapshot.busy) = (generation, busy);
        match self.reader.advance() {
            Ok(more) => self.more = more,
            Err(error) => (self.more, self.trouble) = (false, Some(error)),
        }
        if let Some(inventory) = self.reader.inventory().filter(|_| self.more) {
            self.inventory = Arc::clone(inventory);
        }
        Ok(())
    }
}
