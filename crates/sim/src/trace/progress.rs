//! What an import has done so far, for whoever watches it: bytes read, and what had to be adapted.

use std::collections::BTreeMap;
use std::io::{self, Read};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

/// Shared between an importer and its watcher.
#[derive(Debug, Default)]
pub struct Progress {
    bytes: AtomicU64,
    notes: Mutex<BTreeMap<&'static str, u64>>,
}

impl Progress {
    /// Bytes read from disk so far, before decompression.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }

    /// What had to be adapted or left out, in words, and how often.
    #[must_use]
    pub fn notes(&self) -> Vec<(&'static str, u64)> {
        let notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        notes.iter().map(|(note, times)| (*note, *times)).collect()
    }

    pub(crate) fn note(&self, note: &'static str) {
        let mut notes = self.notes.lock().unwrap_or_else(PoisonError::into_inner);
        *notes.entry(note).or_default() += 1;
    }

    pub(crate) fn add_bytes(&self, bytes: u64) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
    }
}

/// A reader that tells `Progress` what passes through it.
pub(crate) struct Counted<R> {
    inner: R,
    progress: Arc<Progress>,
}

impl<R> Counted<R> {
    pub(crate) fn new(inner: R, progress: Arc<Progress>) -> Self {
        Self { inner, progress }
    }
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.progress.add_bytes(read as u64);
        Ok(read)
    }
}
