//! MCTP packets of a fixed size on a byte stream: 4 bytes of header, 64 of payload, the last one padded
//! with zeros (DMTF DSP0236 for the header; the fixed size is how FM-API over TCP is spoken).
//!
//! ```text
//!   0               1                2            3                                4
//!   header version  destination EID  source EID   SOM EOM sequence(2) TO tag(3)    64 bytes
//! ```
//! The first byte of a message, in its first packet, is its type.

use std::collections::VecDeque;

/// Bytes of one packet.
pub const PACKET: usize = 68;
/// Bytes of a message that one packet carries.
pub const CHUNK: usize = PACKET - 4;
/// The longest message that is put together: type, header and the longest payload.
pub const LONGEST_MESSAGE: usize = 1 + super::cci::HEADER + super::bytes::LONGEST_PAYLOAD;
/// Messages that may be incomplete at one time; the oldest is given up for another one.
const OPEN: usize = 8;

const VERSION: u8 = 1;
const START: u8 = 0x80;
const END: u8 = 0x40;
const SEQUENCE: u8 = 0x30;
const OWNER: u8 = 0x08;
const TAG: u8 = 0x07;

super::bytes::codes! {
    /// What a message is.
    MessageType(u8) {
        Control = 0x00: "MCTP control",
        FmApi = 0x07: "CXL FM-API",
        Cci = 0x08: "CXL CCI of a type 3 device",
    }
}

/// Between whom a message goes, and which exchange it belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Route {
    /// Endpoint that it goes to.
    pub destination: u8,
    /// Endpoint that it comes from.
    pub source: u8,
    /// Whether the sender made up the tag, which is so in requests.
    pub owner: bool,
    /// Tag of the exchange, 0 to 7.
    pub tag: u8,
}

/// A whole message, from one packet or put together from many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MctpMessage {
    /// Between whom it goes.
    pub route: Route,
    /// What it is.
    pub kind: MessageType,
    /// All after the type byte. The padding of the last packet is part of it, as MCTP does not know how
    /// long a message is.
    pub body: Vec<u8>,
}

/// Why packets are no message. Streams cannot be followed after [`MctpError::Version`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum MctpError {
    /// The first byte is not the version of the header.
    #[error("a packet begins with {found:#04x} and not with header version 1: the stream is out of step")]
    Version {
        /// What it begins with.
        found: u8,
    },
    /// A packet continues a message that has no beginning.
    #[error("a packet with tag {tag} continues a message that was not begun")]
    NoStart {
        /// Its tag.
        tag: u8,
    },
    /// A packet of a message is missing.
    #[error("packet {found} of a message with tag {tag} came where {expected} was due")]
    OutOfOrder {
        /// Its tag.
        tag: u8,
        /// The sequence number that was due.
        expected: u8,
        /// The one that came.
        found: u8,
    },
    /// A message has no end in sight.
    #[error("a message is longer than {LONGEST_MESSAGE} bytes")]
    TooLong,
}

impl Route {
    /// The way back: the answer to what came this way.
    #[must_use]
    pub const fn reply(self) -> Self {
        Self { destination: self.source, source: self.destination, owner: false, tag: self.tag }
    }
}

/// Appends a message as packets, the first with sequence number `sequence`. Gives the number that the
/// next message may begin with.
pub fn put_packets(message: &MctpMessage, sequence: u8, out: &mut Vec<u8>) -> u8 {
    let mut bytes = Vec::with_capacity(1 + message.body.len());
    bytes.push(message.kind.code());
    bytes.extend(&message.body);
    let route = message.route;
    let owner = if route.owner { OWNER } else { 0 };
    let chunks = bytes.chunks(CHUNK);
    let last = chunks.len() - 1;
    let mut number = sequence & 3;
    for (index, chunk) in chunks.enumerate() {
        let start = if index == 0 { START } else { 0 };
        let end = if index == last { END } else { 0 };
        let flags = start | end | number << 4 | owner | route.tag & TAG;
        out.extend([VERSION, route.destination, route.source, flags]);
        out.extend(chunk);
        out.resize(out.len() + CHUNK - chunk.len(), 0);
        number = (number + 1) & 3;
    }
    number
}

/// Cuts a stream into packets and puts their messages together.
#[derive(Debug, Default)]
pub struct Packets {
    stream: VecDeque<u8>,
    open: VecDeque<Open>,
}

#[derive(Debug)]
struct Open {
    route: Route,
    next: u8,
    bytes: Vec<u8>,
}

impl Packets {
    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.stream.extend(bytes);
    }

    /// The next message that is whole, or what is wrong with the next packet.
    pub fn next_message(&mut self) -> Option<Result<MctpMessage, MctpError>> {
        while self.stream.len() >= PACKET {
            let mut packet = [0; PACKET];
            self.stream.drain(..PACKET).zip(&mut packet).for_each(|(byte, place)| *place = byte);
            if let Some(message) = self.packet(&packet).transpose() {
                return Some(message);
            }
        }
        None
    }

    /// Whether part of a packet or of a message is waiting for the rest.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        !self.stream.is_empty() || !self.open.is_empty()
    }

    fn packet(&mut self, packet: &[u8; PACKET]) -> Result<Option<MctpMessage>, MctpError> {
        let [version, destination, source, flags, ref chunk @ ..] = *packet;
        if version & 0x0F != VERSION {
            return Err(MctpError::Version { found: version });
        }
        let number = (flags & SEQUENCE) >> 4;
        let route = Route { destination, source, owner: flags & OWNER != 0, tag: flags & TAG };
        let known = self.open.iter().position(|open| open.route == route);
        let mut open = match known.and_then(|index| self.open.remove(index)) {
            _ if flags & START != 0 => Open { route, next: number, bytes: Vec::new() },
            Some(open) => open,
            None => return Err(MctpError::NoStart { tag: route.tag }),
        };
        // Numbers run on across messages: only that they rise by one means something.
        if number != open.next {
            return Err(MctpError::OutOfOrder { tag: route.tag, expected: open.next, found: number });
        }
        open.next = (number + 1) & 3;
        if open.bytes.len() >= LONGEST_MESSAGE {
            return Err(MctpError::TooLong);
        }
        open.bytes.extend(chunk);
        if flags & END != 0 {
            let kind = MessageType::from_code(open.bytes[0] & 0x7F);
            open.bytes.drain(..1);
            return Ok(Some(MctpMessage { route, kind, body: open.bytes }));
        }
        if self.open.len() == OPEN {
            self.open.pop_front();
        }
        self.open.push_back(open);
        Ok(None)
    }
}
