//! From a file to snapshots, one at a time, believing nothing.

use std::io::{self, BufRead, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use halcyon_hal::Inventory;
use halcyon_model::Snapshot;

use super::frame::{FILE_HEAD, FRAME_HEAD, Head, Kind, MARK, VERSION, check_sum, unpack, version};
use super::wire::{Flaw, Form, Input, ensure};
use super::{Ending, ReadError, begins, snapshot};
use crate::trace::{Progress, TraceError, input};

/// What was read of a host at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// The snapshot, but for its number and what was under way.
    pub snapshot: Snapshot,
    /// When it was taken, since 1970: by the wall clock at the last key frame and the host's clock since.
    pub wall: Duration,
}

/// What frames differ from.
struct Key {
    inventory: Arc<Inventory>,
    /// The bytes that the inventory was made of.
    form: Vec<u8>,
    first: Option<Snapshot>,
    wall: Duration,
}

/// A frame whose snapshots are being read.
struct Open {
    content: Vec<u8>,
    read: usize,
    left: u64,
}

/// Reads a recording.
pub struct Reader<R> {
    input: R,
    path: PathBuf,
    /// Bytes read.
    at: u64,
    /// Where the present frame begins, and its number.
    frame: (u64, u32),
    frames: u32,
    key: Option<Key>,
    open: Option<Open>,
    now: Recorded,
    /// When the last snapshot was taken.
    latest: Duration,
    snapshots: u64,
    ending: Option<Ending>,
}

impl Reader<input::Bytes> {
    /// Opens a file; gzip is seen through.
    ///
    /// # Errors
    /// When it cannot be read or is no recording.
    pub fn open(path: &Path) -> Result<Self, ReadError> {
        Self::open_watched(path, &Arc::default())
    }

    /// As [`Reader::open`], telling `progress` of bytes read.
    ///
    /// # Errors
    /// As [`Reader::open`].
    pub fn open_watched(path: &Path, progress: &Arc<Progress>) -> Result<Self, ReadError> {
        let bytes = input::open(path, progress).map_err(|error| match error {
            TraceError::Read { source, .. } => ReadError::Read { path: path.into(), source },
            other => ReadError::Form { path: path.into(), what: other.to_string() },
        })?;
        Self::new(bytes, path)
    }
}

impl<R: BufRead> Reader<R> {
    /// Reads bytes; `path` only names them in complaints.
    ///
    /// # Errors
    /// When they cannot be read or do not begin as a recording does.
    pub fn new(input: R, path: &Path) -> Result<Self, ReadError> {
        let now = Recorded { snapshot: Snapshot::default(), wall: Duration::ZERO };
        let mut reader = Self {
            input,
            path: path.into(),
            at: 0,
            frame: (0, 0),
            frames: 0,
            key: None,
            open: None,
            now,
            latest: Duration::ZERO,
            snapshots: 0,
            ending: None,
        };
        let mut head = [0; FILE_HEAD];
        let length = reader.fill(&mut head)?;
        let what = match version(&head) {
            _ if !begins(&head) => "it does not begin as one".into(),
            _ if length < FILE_HEAD => "it ends within its first bytes".into(),
            Some(VERSION) => return Ok(reader),
            Some(other) => {
                format!("it is of version {other}, and this program reads {VERSION}: use one that wrote it")
            }
            None => "its first bytes are damaged".into(),
        };
        Err(ReadError::Form { path: path.into(), what })
    }

    /// Moves to the next snapshot; false at the end.
    ///
    /// # Errors
    /// When the file cannot be read, or was damaged after it was written. Nothing is to be read after that.
    pub fn advance(&mut self) -> Result<bool, ReadError> {
        while self.ending.is_none() {
            if self.open.as_ref().is_some_and(|open| open.left > 0) {
                let next = self.next_snapshot();
                return next.map(|()| true).map_err(|flaw| self.damaged(flaw.0));
            }
            self.next_frame()?;
        }
        Ok(false)
    }

    /// What was read last.
    #[must_use]
    pub const fn now(&self) -> &Recorded {
        &self.now
    }

    /// The host as it was then; nothing before the first snapshot.
    #[must_use]
    pub fn inventory(&self) -> Option<&Arc<Inventory>> {
        self.key.as_ref().map(|key| &key.inventory)
    }

    /// How the recording ends, once that was reached.
    #[must_use]
    pub const fn ending(&self) -> Option<Ending> {
        self.ending
    }

    /// Whole frames so far.
    #[must_use]
    pub const fn frames(&self) -> u32 {
        self.frames
    }

    /// Bytes read so far.
    #[must_use]
    pub const fn bytes(&self) -> u64 {
        self.at
    }

    fn damaged(&self, what: impl Into<String>) -> ReadError {
        let (at, frame) = self.frame;
        ReadError::Damaged { path: self.path.clone(), frame, at, what: what.into() }
    }

    fn unreadable(&self, source: io::Error) -> ReadError {
        ReadError::Read { path: self.path.clone(), source }
    }

    /// Fills `bytes` as far as the file goes, and gives how far.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<usize, ReadError> {
        let mut filled = 0;
        while filled < bytes.len() {
            match self.input.read(&mut bytes[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.unreadable(error)),
            }
        }
        self.at += filled as u64;
        Ok(filled)
    }

    fn next_frame(&mut self) -> Result<(), ReadError> {
        self.open = None;
        self.frame = (self.at, self.frames);
        let mut head = [0; FRAME_HEAD];
        let length = self.fill(&mut head)?;
        if length == 0 {
            self.ending = Some(Ending::Unclosed);
            return Ok(());
        }
        let Some(parsed) = Head::parse(&head).filter(|_| length == FRAME_HEAD) else {
            return self.torn(&head[..length]);
        };
        let mut stored = Vec::new();
        let wanted = u64::from(parsed.stored);
        let read = (&mut self.input).take(wanted).read_to_end(&mut stored);
        self.at += read.map_err(|error| self.unreadable(error))? as u64;
        if stored.len() as u64 != wanted || check_sum(&stored) != parsed.check {
            return self.torn(&stored);
        }
        if parsed.number != self.frames {
            return Err(self.damaged(format!("it is number {}; frames were lost or doubled", parsed.number)));
        }
        self.frames += 1;
        let content = unpack(&parsed, stored).map_err(|flaw| self.damaged(flaw.0))?;
        let begun = match parsed.kind {
            Kind::Key => self.begin_key(content),
            Kind::Delta => self.begin_delta(content),
            Kind::End => self.end(&content),
        };
        begun.map_err(|flaw| self.damaged(flaw.0))?;
        if self.ending.is_some() && self.fill(&mut [0])? > 0 {
            return Err(self.damaged("something follows the end"));
        }
        Ok(())
    }

    fn begin_key(&mut self, content: Vec<u8>) -> Result<(), Flaw> {
        let mut input = Input(&content);
        let wall = Duration::take(&mut input)?;
        let known = self.key.take().filter(|key| input.0.starts_with(&key.form));
        let (inventory, form) = match known {
            Some(Key { inventory, form, .. }) => {
                input.bytes(form.len())?;
                (inventory, form)
            }
            None => {
                let before = input.0;
                let inventory = Arc::new(Inventory::take(&mut input)?);
                (inventory, before[..before.len() - input.0.len()].to_vec())
            }
        };
        self.key = Some(Key { inventory, form, first: None, wall });
        let read = content.len() - input.0.len();
        self.begin(content, read, Snapshot::default())
    }

    fn begin_delta(&mut self, content: Vec<u8>) -> Result<(), Flaw> {
        let first = self.key.as_ref().and_then(|key| key.first.clone());
        let first = first.ok_or_else(|| Flaw::new("differences without a key frame"))?;
        self.begin(content, 0, first)
    }

    fn begin(&mut self, content: Vec<u8>, read: usize, before: Snapshot) -> Result<(), Flaw> {
        let mut input = Input(&content[read..]);
        let left = input.number()?;
        ensure(left > 0, || "a frame without a snapshot".into())?;
        let read = content.len() - input.0.len();
        self.latest = self.now.snapshot.at;
        self.now.snapshot = before;
        self.open = Some(Open { content, read, left });
        Ok(())
    }

    fn next_snapshot(&mut self) -> Result<(), Flaw> {
        let (Some(open), Some(key)) = (&mut self.open, &mut self.key) else {
            return Err(Flaw::new("a snapshot outside of any frame"));
        };
        let now = &mut self.now.snapshot;
        let mut input = Input(&open.content[open.read..]);
        snapshot::take(now, &mut input)?;
        open.read = open.content.len() - input.0.len();
        open.left -= 1;
        if open.left == 0 {
            input.end()?;
        }
        snapshot::check(&key.inventory, now)?;
        ensure(now.at >= self.latest, || "its clock goes back".into())?;
        self.latest = now.at;
        let first = key.first.get_or_insert_with(|| now.clone());
        let since = now.at.saturating_sub(first.at);
        self.now.wall = key.wall.checked_add(since).ok_or_else(|| Flaw::new("a time that cannot be"))?;
        self.snapshots += 1;
        Ok(())
    }

    fn end(&mut self, content: &[u8]) -> Result<(), Flaw> {
        let mut input = Input(content);
        let (stated, read) = (input.number()?, self.snapshots);
        ensure(stated == read, || format!("it states {stated} snapshots, and there are {read}"))?;
        input.end()?;
        self.ending = Some(Ending::Closed);
        Ok(())
    }

    /// The end, if nothing tells that the frame was on disk before what follows it was written: then it is
    /// what a crash left. `begun` is what was read of it.
    fn torn(&mut self, begun: &[u8]) -> Result<(), ReadError> {
        let mut durable = 0;
        let mut window = begun.to_vec();
        let mut chunk = vec![0; 64 * 1024];
        loop {
            for head in window.windows(FRAME_HEAD).filter(|bytes| bytes.starts_with(&MARK)) {
                let head = head.try_into().ok().and_then(Head::parse);
                durable = head.map_or(durable, |head| durable.max(head.durable));
            }
            window.drain(..window.len().saturating_sub(FRAME_HEAD - 1));
            let read = self.fill(&mut chunk)?;
            if read == 0 {
                break;
            }
            window.extend_from_slice(&chunk[..read]);
        }
        if durable > self.frames {
            return Err(self.damaged("it was changed since it was written"));
        }
        let (at, _) = self.frame;
        self.ending = Some(Ending::Torn { at, bytes: self.at - at });
        Ok(())
    }
}
