//! From snapshots to a file that is whole up to a few seconds ago, whatever happens.

use std::fs::File;
use std::io::{self, Write};
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::{HostTime, Snapshot};

use super::frame::{self, FRAME_HEAD, Kind, MOST_CONTENT, file_head, pack};
use super::wire::{Flaw, Form, put_number};
use super::{WriteError, inventory, snapshot};

/// What is taken together into a frame: a process that is killed loses as much.
const FRAME: Duration = Duration::from_secs(1);
/// How often what was written is brought to disk: a machine that fails loses as much.
const SYNC: Duration = Duration::from_secs(5);
/// Frames from one key frame to the next.
const KEY_EVERY: u32 = 300;
/// A frame that grew larger than this is written early; no snapshot makes the rest of what a frame can hold.
const LARGE: usize = MOST_CONTENT as usize / 8;

/// Where a recording is written to.
pub trait Durable: Write {
    /// Brings what was written to where a power cut does not reach it.
    ///
    /// # Errors
    /// When that failed.
    fn make_durable(&mut self) -> io::Result<()>;
}

impl Durable for File {
    fn make_durable(&mut self) -> io::Result<()> {
        self.sync_data()
    }
}

impl Durable for Vec<u8> {
    fn make_durable(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// How much was recorded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tally {
    /// Snapshots.
    pub snapshots: u64,
    /// Samples of single VMs in them.
    pub samples: u64,
    /// Bytes in the file.
    pub bytes: u64,
    /// Frames in the file.
    pub frames: u32,
    /// Those of them that are on disk for sure.
    pub durable: u32,
}

/// What frames differ from.
struct Key {
    inventory: Arc<Inventory>,
    form: Vec<u8>,
    first: Snapshot,
    frames: u32,
}

/// A frame that is not written yet.
struct Open {
    kind: Kind,
    began: HostTime,
    count: u64,
    snapshots: Vec<u8>,
    /// What stands before the snapshots.
    head: Vec<u8>,
}

/// Writes a recording. All that was handed over is in the file after [`Writer::finish`]; before that, all but
/// the last second, and for sure all but the last five.
pub struct Writer<W: Durable> {
    output: W,
    key: Option<Key>,
    /// What the next snapshot differs from.
    last: Snapshot,
    /// When the last snapshot was taken.
    taken: HostTime,
    open: Option<Open>,
    synced: HostTime,
    tally: Tally,
}

impl<W: Durable> Writer<W> {
    /// Begins a recording.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new(mut output: W) -> io::Result<Self> {
        output.write_all(&file_head())?;
        output.make_durable()?;
        let tally = Tally { bytes: frame::FILE_HEAD as u64, ..Tally::default() };
        let (last, taken, synced) = (Snapshot::default(), HostTime::ZERO, HostTime::ZERO);
        Ok(Self { output, key: None, last, taken, open: None, synced, tally })
    }

    /// How much was recorded so far; the last second is not in the file yet.
    #[must_use]
    pub const fn tally(&self) -> Tally {
        self.tally
    }

    /// Appends what was read of a host that has `inventory`, at `wall` since 1970.
    ///
    /// # Errors
    /// When it cannot be written, after which nothing should be; or when it is not what a host can have been:
    /// ids that lead nowhere, lists out of order, a clock that goes back.
    pub fn write(
        &mut self,
        inventory: &Arc<Inventory>,
        snapshot: &Snapshot,
        wall: Duration,
    ) -> Result<(), WriteError> {
        let unfit = |flaw: Flaw| WriteError::Unfit { what: flaw.0 };
        snapshot::check(inventory, snapshot).map_err(unfit)?;
        if self.key.is_some() && snapshot.at < self.taken {
            let what = format!("its clock went back from {:?} to {:?}", self.taken, snapshot.at);
            return Err(WriteError::Unfit { what });
        }
        let form = self.changed(inventory).map_err(unfit)?;
        if form.is_some() || self.key.as_ref().is_none_or(|key| key.frames >= KEY_EVERY) {
            self.close()?;
            self.begin_key(inventory, form, snapshot, wall);
        } else if self.open.is_none() {
            self.begin_delta(snapshot);
        }
        self.append(snapshot)
    }

    /// The form of an inventory that is another than the last.
    fn changed(&self, inventory: &Arc<Inventory>) -> Result<Option<Vec<u8>>, Flaw> {
        let key = self.key.as_ref();
        if key.is_some_and(|key| Arc::ptr_eq(&key.inventory, inventory)) {
            return Ok(None);
        }
        inventory::check(inventory)?;
        let mut form = Vec::new();
        inventory.put(&mut form);
        if form.len() > MOST_CONTENT as usize / 2 {
            return Err(Flaw::new(format!("a host that takes {} bytes to describe", form.len())));
        }
        Ok(Some(form).filter(|form| key.is_none_or(|key| key.form != *form)))
    }

    fn begin_key(
        &mut self,
        inventory: &Arc<Inventory>,
        form: Option<Vec<u8>>,
        first: &Snapshot,
        wall: Duration,
    ) {
        let form = form.or_else(|| self.key.take().map(|key| key.form)).unwrap_or_default();
        let mut head = Vec::new();
        wall.put(&mut head);
        head.extend_from_slice(&form);
        self.key = Some(Key { inventory: Arc::clone(inventory), form, first: first.clone(), frames: 0 });
        self.last = Snapshot::default();
        self.open = Some(Open { kind: Kind::Key, began: first.at, count: 0, snapshots: Vec::new(), head });
    }

    fn begin_delta(&mut self, first: &Snapshot) {
        if let Some(key) = &self.key {
            self.last.clone_from(&key.first);
        }
        let head = Vec::new();
        self.open = Some(Open { kind: Kind::Delta, began: first.at, count: 0, snapshots: Vec::new(), head });
    }

    fn append(&mut self, snapshot: &Snapshot) -> Result<(), WriteError> {
        let Some(open) = &mut self.open else { return Ok(()) };
        snapshot::put(&self.last, snapshot, &mut open.snapshots);
        open.count += 1;
        // Nobody knows how long the second snapshot takes.
        let gap = if self.tally.snapshots == 0 { FRAME } else { snapshot.at.saturating_sub(self.taken) };
        let full = open.snapshots.len() > LARGE || snapshot.at.saturating_sub(open.began) + gap >= FRAME;
        self.last.clone_from(snapshot);
        self.taken = snapshot.at;
        self.tally.snapshots += 1;
        self.tally.samples += snapshot.vms.len() as u64;
        if full {
            self.close()?;
        }
        Ok(())
    }

    /// Writes the frame that is open, so that a process that is killed from now on loses nothing.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn close(&mut self) -> Result<(), WriteError> {
        let Some(Open { kind, count, snapshots, mut head, .. }) = self.open.take() else { return Ok(()) };
        put_number(count, &mut head);
        head.extend_from_slice(&snapshots);
        self.put(kind, &head)?;
        if let Some(key) = &mut self.key {
            key.frames += 1;
        }
        if self.tally.frames == 1 || self.taken.saturating_sub(self.synced) >= SYNC {
            self.sync()?;
        }
        Ok(())
    }

    fn sync(&mut self) -> io::Result<()> {
        self.output.make_durable()?;
        self.tally.durable = self.tally.frames;
        self.synced = self.taken;
        Ok(())
    }

    fn put(&mut self, kind: Kind, content: &[u8]) -> io::Result<()> {
        let bytes = pack(kind, (self.tally.frames, self.tally.durable), content)?;
        debug_assert!(bytes.len() >= FRAME_HEAD, "a frame has a head");
        self.output.write_all(&bytes)?;
        self.tally.frames += 1;
        self.tally.bytes += bytes.len() as u64;
        Ok(())
    }

    /// Writes what is left and the mark of the end, and brings all of it to disk.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(mut self) -> Result<(W, Tally), WriteError> {
        self.close()?;
        let mut content = Vec::new();
        put_number(self.tally.snapshots, &mut content);
        self.put(Kind::End, &content)?;
        self.sync()?;
        Ok((self.output, self.tally))
    }
}
