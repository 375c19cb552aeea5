//! The envelope of a frame: where it begins and ends, whether it is whole, and what was on disk before it.

use std::io::{self, Read};

use flate2::bufread::DeflateDecoder;
use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

use super::wire::{Flaw, ensure};

/// The first bytes of a recording. None of them is text, and a transfer that changes line ends shows.
pub const MAGIC: [u8; 8] = *b"\x89HREC\r\n\x1a";
/// The version of the form that is written and read.
pub const VERSION: u16 = 1;
pub(super) const FILE_HEAD: usize = 16;
pub(super) const FRAME_HEAD: usize = 32;
pub(super) const MARK: [u8; 4] = *b"\xf5FRM";
/// The largest content of a frame, in bytes.
pub(super) const MOST_CONTENT: u32 = 8 << 20;

/// What a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// An inventory, and snapshots of which the first stands by itself.
    Key = 1,
    /// Snapshots of which the first differs from the first of the last key frame.
    Delta = 2,
    /// That there is no more, and how many snapshots there were.
    End = 3,
}

/// What stands before the content of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) kind: Kind,
    pub(super) deflated: bool,
    /// Frames before it.
    pub(super) number: u32,
    /// Frames that were on disk for sure when it was written.
    pub(super) durable: u32,
    /// Bytes of its content.
    pub(super) content: u32,
    /// Bytes of it in the file.
    pub(super) stored: u32,
    pub(super) check: u32,
}

/// The CRC-32 of IEEE 802.3, as in gzip.
pub(super) fn check_sum(bytes: &[u8]) -> u32 {
    let mut crc = Crc::new();
    crc.update(bytes);
    crc.sum()
}

pub(super) fn file_head() -> [u8; FILE_HEAD] {
    let mut head = [0; FILE_HEAD];
    head[..8].copy_from_slice(&MAGIC);
    head[8..10].copy_from_slice(&VERSION.to_le_bytes());
    let check = check_sum(&head[..12]);
    head[12..].copy_from_slice(&check.to_le_bytes());
    head
}

fn word(bytes: &[u8], at: usize) -> u32 {
    let mut word = [0; 4];
    word.copy_from_slice(&bytes[at..at + 4]);
    u32::from_le_bytes(word)
}

/// The version in the head of a file, if that is one.
pub(super) fn version(head: &[u8; FILE_HEAD]) -> Option<u16> {
    let whole = head[..8] == MAGIC && word(head, 12) == check_sum(&head[..12]);
    whole.then(|| u16::from_le_bytes([head[8], head[9]]))
}

impl Head {
    fn bytes(&self) -> [u8; FRAME_HEAD] {
        let mut head = [0; FRAME_HEAD];
        head[..4].copy_from_slice(&MARK);
        head[4] = self.kind as u8;
        head[5] = u8::from(self.deflated);
        let words = [self.number, self.durable, self.content, self.stored, self.check];
        for (place, word) in words.into_iter().enumerate() {
            head[8 + 4 * place..12 + 4 * place].copy_from_slice(&word.to_le_bytes());
        }
        let check = check_sum(&head[..28]);
        head[28..].copy_from_slice(&check.to_le_bytes());
        head
    }

    /// The head of a frame, if that is what these bytes are.
    pub(super) fn parse(bytes: &[u8; FRAME_HEAD]) -> Option<Self> {
        let kind = match bytes[4] {
            1 => Kind::Key,
            2 => Kind::Delta,
            3 => Kind::End,
            _ => return None,
        };
        let [number, durable, content, stored, check] = [8, 12, 16, 20, 24].map(|at| word(bytes, at));
        let head = Self { kind, deflated: bytes[5] == 1, number, durable, content, stored, check };
        let sized = content <= MOST_CONTENT && stored <= content;
        (head.bytes() == *bytes && sized).then_some(head)
    }
}

/// A whole frame, deflated if that makes it smaller.
pub(super) fn pack(kind: Kind, (number, durable): (u32, u32), content: &[u8]) -> io::Result<Vec<u8>> {
    use io::Write;
    let mut encoder = DeflateEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(content)?;
    let packed = encoder.finish()?;
    let deflated = packed.len() < content.len();
    let stored = if deflated { &packed } else { content };
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    let head = Head {
        kind,
        deflated,
        number,
        durable,
        content: length(content),
        stored: length(stored),
        check: check_sum(stored),
    };
    Ok([&head.bytes()[..], stored].concat())
}

/// The content of a frame whose check sum is right. It takes no more memory than its head says.
pub(super) fn unpack(head: &Head, stored: Vec<u8>) -> Result<Vec<u8>, Flaw> {
    if !head.deflated {
        ensure(head.content == head.stored, || "two lengths of one content".into())?;
        return Ok(stored);
    }
    let mut content = Vec::new();
    let limit = u64::from(head.content) + 1;
    let read = DeflateDecoder::new(&stored[..]).take(limit).read_to_end(&mut content);
    read.map_err(|error| Flaw::new(error.to_string()))?;
    ensure(content.len() as u64 + 1 == limit, || "a content of another length than stated".into())?;
    Ok(content)
}
