//! The files inside a tar archive, one after another, without trusting its headers.
//!
//! The `tar` crate decodes the headers; its own walk over the entries reads long names of any length
//! into memory, so the walk is done here. Nothing is ever unpacked to disk.

use std::io::{self, Read};

use tar::{EntryType, Header, PaxExtensions};

use super::error::{Place, Problem, TraceError, shown};
use super::limits::MAX_RECORD_BYTES;

const BLOCK: u64 = 512;
const FILE_EXPECTED: &str = "a plain file or a folder";

/// Walks the plain files of an archive.
pub(crate) struct Archive<R> {
    input: R,
    place: Place,
    left: u64,
    padding: u64,
}

impl<R: Read> Archive<R> {
    pub(crate) fn new(input: R, place: Place) -> Self {
        Self { input, place, left: 0, padding: 0 }
    }

    /// Moves to the next plain file and gives its path inside the archive; nothing at the end.
    pub(crate) fn next_file(&mut self) -> Result<Option<String>, TraceError> {
        let mut long_name = None;
        loop {
            self.skip_rest()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let path = long_name.take().unwrap_or_else(|| header.path_bytes().into_owned());
            match header.entry_type() {
                EntryType::Regular | EntryType::Continuous => return self.checked_path(&path).map(Some),
                EntryType::Directory | EntryType::XGlobalHeader => {}
                EntryType::GNULongName => long_name = Some(self.extension()?),
                EntryType::XHeader => long_name = pax_path(&self.extension()?),
                other => {
                    let found = format!("an entry of type {other:?}");
                    return Err(self.place.in_entry(&shown(&path)).wrong(Problem::new(found, FILE_EXPECTED)));
                }
            }
        }
    }

    fn checked_path(&self, path: &[u8]) -> Result<String, TraceError> {
        let text = String::from_utf8_lossy(path).into_owned();
        let odd = std::str::from_utf8(path).is_err()
            || text.starts_with('/')
            || text.split('/').any(|part| part == "..")
            || text.chars().any(char::is_control);
        if odd {
            let problem = Problem::field(path, "a relative path of UTF-8 inside the archive");
            return Err(self.place.in_entry(&text).wrong(problem));
        }
        Ok(text)
    }

    fn header(&mut self) -> Result<Option<Header>, TraceError> {
        let mut block = [0; BLOCK as usize];
        if !self.fill(&mut block)? {
            return Ok(None);
        }
        // A block of zeros ends the archive; what follows it is padding.
        if block.iter().all(|byte| *byte == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = block[..148].iter().chain(&block[156..]).map(|byte| u32::from(*byte)).sum::<u32>() + 8 * 32;
        if header.cksum().ok() != Some(sum) {
            return Err(self.place.wrong(Problem::new("a damaged header", "a tar header with its checksum")));
        }
        let size = header.entry_size().map_err(|error| self.place.unreadable(error))?;
        self.left = if header.entry_type() == EntryType::Directory { 0 } else { size };
        self.padding = (BLOCK - size % BLOCK) % BLOCK;
        Ok(Some(header))
    }

    /// The content of an entry that describes the next one.
    fn extension(&mut self) -> Result<Vec<u8>, TraceError> {
        if self.left > MAX_RECORD_BYTES as u64 {
            let expected = format!("at most {MAX_RECORD_BYTES} bytes");
            return Err(self.place.wrong(Problem::new("a longer name in a tar header", expected)));
        }
        let mut content = Vec::new();
        self.read_to_end(&mut content).map_err(|error| self.place.unreadable(error))?;
        while content.last() == Some(&0) {
            content.pop();
        }
        Ok(content)
    }

    fn skip_rest(&mut self) -> Result<(), TraceError> {
        let wanted = self.left.saturating_add(self.padding);
        let skipped = io::copy(&mut (&mut self.input).take(wanted), &mut io::sink());
        let skipped = skipped.map_err(|error| self.place.unreadable(error))?;
        // Some archives lack the padding of their last file.
        if skipped < self.left {
            return Err(self.place.unreadable(io::ErrorKind::UnexpectedEof.into()));
        }
        (self.left, self.padding) = (0, 0);
        Ok(())
    }

    /// Fills `block`; false if the input ended before its first byte.
    fn fill(&mut self, block: &mut [u8]) -> Result<bool, TraceError> {
        let mut filled = 0;
        while filled < block.len() {
            match self.input.read(&mut block[filled..]) {
                Ok(0) if filled == 0 => return Ok(false),
                Ok(0) => return Err(self.place.unreadable(io::ErrorKind::UnexpectedEof.into())),
                Ok(read) => filled += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(self.place.unreadable(error)),
            }
        }
        Ok(true)
    }
}

/// Reads the current file of the archive.
impl<R: Read> Read for Archive<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let most = usize::try_from(self.left).map_or(buffer.len(), |left| left.min(buffer.len()));
        let read = self.input.read(&mut buffer[..most])?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        self.left -= read as u64;
        Ok(read)
    }
}

fn pax_path(content: &[u8]) -> Option<Vec<u8>> {
    PaxExtensions::new(content)
        .flatten()
        .find(|extension| extension.key_bytes() == b"path")
        .map(|extension| extension.value_bytes().to_vec())
}
