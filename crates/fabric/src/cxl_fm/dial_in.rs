//! The framing of switches that dial the fabric manager, in which messages are not MCTP.
//!
//! ```text
//!   0                                          2     3      4
//!   type (bits 3:0), length with header << 4   port  class  message
//! ```
//! The port says whose logical devices a command is for; there is no tunnelling. The switch also sends requests
//! of its own, which nobody has to answer.

use std::collections::VecDeque;

use super::bytes::{DecodeError, Payload, Reader, codes};
use super::cci::{HEADER, Message, Opcode};
use super::ids::{PhysicalPort, VcsId, VppbId};

/// Bytes before the message.
pub const FRAME_HEADER: usize = 4;
/// The longest frame that the 12 bits of its length can say.
pub const LONGEST_FRAME: usize = 0xFFF;
/// The type of frames with messages of the command interface.
const CCI: u16 = 4;

/// A command that a switch sends by itself: what became of a port or a bridge.
pub const PORT_CHANGED: Opcode = Opcode(0xC000);
/// See [`PORT_CHANGED`].
pub const BRIDGE_CHANGED: Opcode = Opcode(0xC001);
/// See [`PORT_CHANGED`].
pub const DEVICES_CHANGED: Opcode = Opcode(0xC002);

/// One message and whom it is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frame {
    /// The port whose device executes the command; 0 for the switch itself.
    pub port: PhysicalPort,
    /// 1 for requests and 2 for answers in the switch's source; what it sends is 0.
    pub class: u8,
    /// The message.
    pub message: Message,
}

/// Why a stream cannot be followed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The type is another one.
    #[error("a frame is of type {found} and not of type 4: the stream is out of step")]
    Type {
        /// The type that it is of.
        found: u8,
    },
    /// The length leaves no room for a message.
    #[error("a frame says that it has {found} bytes, and the least is 16: the stream is out of step")]
    Length {
        /// What it says.
        found: usize,
    },
    /// The message is longer than a frame can say.
    #[error("a message of {found} bytes does not fit into a frame of 4095")]
    TooLong {
        /// Bytes of the message.
        found: usize,
    },
    /// The message is wrong; the stream goes on after it.
    #[error(transparent)]
    Message(#[from] DecodeError),
}

/// Appends a frame.
///
/// # Errors
/// When the message is too long for one.
pub fn put_frame(frame: &Frame, out: &mut Vec<u8>) -> Result<(), FrameError> {
    put_raw_frame(frame.port, frame.class, &frame.message.to_bytes(), out)
}

/// Appends a frame around the bytes of a message.
///
/// # Errors
/// When the message is too long for one.
pub fn put_raw_frame(
    port: PhysicalPort,
    class: u8,
    message: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), FrameError> {
    let total = FRAME_HEADER + message.len();
    if total > LONGEST_FRAME {
        return Err(FrameError::TooLong { found: message.len() });
    }
    let length = u16::try_from(total).unwrap_or(u16::MAX);
    out.extend((CCI | length << 4).to_le_bytes());
    out.extend([port.0, class]);
    out.extend(message);
    Ok(())
}

/// Cuts a stream into frames.
#[derive(Debug, Default)]
pub struct Frames {
    stream: VecDeque<u8>,
}

impl Frames {
    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.stream.extend(bytes);
    }

    /// The next frame that is whole, or what is wrong with it.
    pub fn next_frame(&mut self) -> Option<Result<Frame, FrameError>> {
        let (first, second) = (*self.stream.front()?, *self.stream.get(1)?);
        let word = u16::from_le_bytes([first, second]);
        if word & 0xF != CCI {
            return Some(Err(FrameError::Type { found: first & 0xF }));
        }
        let total = usize::from(word >> 4);
        if total < FRAME_HEADER + HEADER {
            return Some(Err(FrameError::Length { found: total }));
        }
        if self.stream.len() < total {
            return None;
        }
        let bytes: Vec<u8> = self.stream.drain(..total).collect();
        let message = Message::take(&mut Reader::new("a message", &bytes[FRAME_HEADER..]));
        let frame = |message| Frame { port: PhysicalPort(bytes[2]), class: bytes[3], message };
        Some(message.map(frame).map_err(FrameError::from))
    }

    /// Whether part of a frame is waiting for the rest.
    #[must_use]
    pub fn is_midway(&self) -> bool {
        !self.stream.is_empty()
    }
}

codes! {
    /// What became of a bridge.
    BridgeChange(u8) {
        Unbound = 0: "unbound",
        InProgress = 1: "being bound or unbound",
        Bound = 3: "bound",
    }
}

/// What a switch tells by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Notice {
    /// A port has or has lost its device.
    Port {
        /// The port.
        port: PhysicalPort,
        /// Whether there is a device now.
        connected: bool,
    },
    /// A bridge was bound or unbound.
    Bridge {
        /// Its virtual switch.
        vcs: VcsId,
        /// The bridge.
        vppb: VppbId,
        /// What became of it.
        change: BridgeChange,
    },
    /// Devices came or went.
    Devices,
    /// Something that has no name here.
    Other(Opcode),
}

impl Notice {
    /// What a switch's own request says.
    ///
    /// # Errors
    /// When its payload is too short.
    pub fn read(message: &Message) -> Result<Self, DecodeError> {
        let mut reader = Reader::new("a notice", &message.payload);
        Ok(match message.opcode {
            PORT_CHANGED => {
                Self::Port { port: PhysicalPort(reader.u8("port")?), connected: reader.u8("connected")? != 0 }
            }
            BRIDGE_CHANGED => Self::Bridge {
                vcs: VcsId(reader.u8("VCS")?),
                vppb: VppbId(reader.u8("vPPB")?),
                change: BridgeChange::from_code(reader.u8("status")?),
            },
            DEVICES_CHANGED => Self::Devices,
            other => Self::Other(other),
        })
    }

    /// The request that says it.
    #[must_use]
    pub fn message(self) -> Message {
        let (opcode, payload) = match self {
            Self::Port { port, connected } => (PORT_CHANGED, vec![port.0, u8::from(connected)]),
            Self::Bridge { vcs, vppb, change } => (BRIDGE_CHANGED, vec![vcs.0, vppb.0, change.code()]),
            Self::Devices => (DEVICES_CHANGED, Vec::new()),
            Self::Other(opcode) => (opcode, Vec::new()),
        };
        Message::request(0, opcode, payload)
    }
}
