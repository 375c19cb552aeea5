//! The line to a switch: whole messages there and back, and the clock by which they are waited for.

use std::collections::VecDeque;
use std::io;
use std::time::Duration;

use crate::cxl_fm::PhysicalPort;
use crate::cxl_fm::bytes::{DecodeError, Payload, Reader};
use crate::cxl_fm::cci::{Category, Message};
use crate::cxl_fm::dial_in::{Frame, FrameError, Frames, put_raw_frame};
use crate::cxl_fm::mctp::{MctpError, MctpMessage, MessageType, Packets, Route, put_packets};

/// A line to one switch. Time counts from when it was made.
pub trait Transport {
    /// What time it is.
    fn now(&self) -> Duration;

    /// Waits.
    fn wait(&mut self, until: Duration);

    /// Makes a connection, in place of one that there may be. What was under way on that is lost.
    ///
    /// # Errors
    /// When there was none to be had in time.
    fn connect(&mut self, until: Duration) -> Result<(), TransportError>;

    /// Sends a message.
    ///
    /// # Errors
    /// When there is no connection, or it fails; the message may have been sent.
    fn send(&mut self, message: &Outgoing) -> Result<(), TransportError>;

    /// The next message from the switch; none when there was none in time.
    ///
    /// # Errors
    /// When the connection fails, or what came is no message.
    fn receive(&mut self, until: Duration) -> Result<Option<Message>, TransportError>;
}

/// A message to a switch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outgoing {
    /// The port whose device executes it, where the framing can say so; 0 for the switch itself.
    pub port: PhysicalPort,
    /// The message.
    pub message: Message,
}

/// What can go wrong on a line.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// The system says so.
    #[error("{doing} {peer}")]
    Io {
        /// What was tried.
        doing: &'static str,
        /// With whom.
        peer: String,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no connection.
    #[error("there is no connection to {peer}")]
    NotConnected {
        /// To whom.
        peer: String,
    },
    /// What comes cannot be followed any more.
    #[error("what {peer} sends cannot be followed: {why}")]
    OutOfStep {
        /// Who sends it.
        peer: String,
        /// Why not.
        why: String,
    },
    /// One message is wrong; the next one may be right.
    #[error("a message is wrong: {0}")]
    Garbled(String),
}

impl TransportError {
    /// Whether nothing more will come before a new connection is made.
    #[must_use]
    pub const fn is_fatal(&self) -> bool {
        !matches!(self, Self::Garbled(_))
    }
}

/// What is wrong with what came.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FramingError {
    /// The stream cannot be followed any more.
    #[error("{0}")]
    OutOfStep(String),
    /// One message is wrong.
    #[error("{0}")]
    Garbled(String),
}

/// How messages become a stream of bytes. One for each connection.
#[derive(Debug)]
pub enum Framing {
    /// MCTP packets of a fixed size.
    Mctp {
        /// What came so far.
        packets: Packets,
        /// The number of the next packet to send.
        sequence: u8,
    },
    /// The frames of switches that dial the manager.
    DialIn(Frames),
}

/// Messages of a stream as they are read, with what the framing says of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Incoming {
    /// The port that the frame names; 0 in MCTP.
    pub port: PhysicalPort,
    /// What MCTP says the message is; FM-API in frames.
    pub kind: MessageType,
    /// The message.
    pub message: Message,
}

impl Framing {
    /// MCTP packets.
    #[must_use]
    pub fn mctp() -> Self {
        Self::Mctp { packets: Packets::default(), sequence: 0 }
    }

    /// Dial-in frames.
    #[must_use]
    pub fn dial_in() -> Self {
        Self::DialIn(Frames::default())
    }

    /// The bytes of a message. In MCTP the tag's three lower bits are those of the message, and the sender
    /// of a request owns it.
    ///
    /// # Errors
    /// When the message is too long for a frame.
    pub fn put(&mut self, outgoing: &Outgoing, out: &mut Vec<u8>) -> Result<(), FrameError> {
        let message = &outgoing.message;
        self.put_raw(outgoing.port, message.category, message.tag, message.to_bytes(), out)
    }

    /// Like [`put`](Self::put), for a message whose bytes are not quite as they should be.
    ///
    /// # Errors
    /// When the message is too long for a frame.
    pub fn put_raw(
        &mut self,
        port: PhysicalPort,
        category: Category,
        tag: u8,
        bytes: Vec<u8>,
        out: &mut Vec<u8>,
    ) -> Result<(), FrameError> {
        match self {
            Self::Mctp { sequence, .. } => {
                let owner = category == Category::Request;
                let route = Route { destination: 0, source: 0, owner, tag: tag & 7 };
                let message = MctpMessage { route, kind: MessageType::FmApi, body: bytes };
                *sequence = put_packets(&message, *sequence, out);
                Ok(())
            }
            Self::DialIn(_) => put_raw_frame(port, 0, &bytes, out),
        }
    }

    /// Takes what came.
    pub fn feed(&mut self, bytes: &[u8]) {
        match self {
            Self::Mctp { packets, .. } => packets.feed(bytes),
            Self::DialIn(frames) => frames.feed(bytes),
        }
    }

    /// The next message that is whole.
    ///
    /// Whether one from MCTP asks or answers is taken from the packet, since switches say it wrong in the
    /// message.
    pub fn next_message(&mut self) -> Option<Result<Incoming, FramingError>> {
        match self {
            Self::Mctp { packets, .. } => {
                packets.next_message().map(|packet| packet.map_err(packet_error).and_then(message))
            }
            Self::DialIn(frames) => frames.next_frame().map(|frame| match frame {
                Ok(Frame { port, message, .. }) => Ok(Incoming { port, kind: MessageType::FmApi, message }),
                Err(FrameError::Message(error)) => Err(FramingError::Garbled(error.to_string())),
                Err(error) => Err(FramingError::OutOfStep(error.to_string())),
            }),
        }
    }
}

fn packet_error(error: MctpError) -> FramingError {
    match error {
        MctpError::Version { .. } => FramingError::OutOfStep(error.to_string()),
        _ => FramingError::Garbled(error.to_string()),
    }
}

fn message(packet: MctpMessage) -> Result<Incoming, FramingError> {
    let garbled = |error: DecodeError| FramingError::Garbled(error.to_string());
    let mut message = Message::take(&mut Reader::new("a message", &packet.body)).map_err(garbled)?;
    message.category = if packet.route.owner { Category::Request } else { Category::Response };
    Ok(Incoming { port: PhysicalPort(0), kind: packet.kind, message })
}

/// Messages that were read and not asked for yet.
pub(crate) type Inbox = VecDeque<Result<Message, TransportError>>;

/// Moves all whole messages from a framing to an inbox.
pub(crate) fn drain(framing: &mut Framing, peer: &str, inbox: &mut Inbox) {
    while let Some(read) = framing.next_message() {
        let lost = matches!(read, Err(FramingError::OutOfStep(_)));
        inbox.push_back(match read {
            Ok(incoming) => Ok(incoming.message),
            Err(FramingError::Garbled(why)) => Err(TransportError::Garbled(why)),
            Err(FramingError::OutOfStep(why)) => {
                Err(TransportError::OutOfStep { peer: peer.to_owned(), why })
            }
        });
        if lost {
            return;
        }
    }
}
